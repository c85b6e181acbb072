from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters
from llama_index.core.vector_stores.utils import build_metadata_filter_fn
from llama_index.retrievers.rader import RaderRetriever
from llama_index.retrievers.rader.filters import core_filter, ids_where
from llama_index.retrievers.rader.nodes import node_to_document

from rader_plugins import Document, RaderIndex
from rader_plugins.errors import InputError
from tests.support.encoders import HashEncoder
from tests.support.examples import examples

KEYS = ["a", "b", "a.b", "$c"]
NUMBERS = st.integers(-2, 2) | st.sampled_from([0.0, 1.0, 0.5, -1.5, 2**53, float(2**53), 2**70, 1e300])
STRINGS = st.sampled_from(["", "a", "A", "ab", "b", "Ünï", "1"])
SCALARS = st.none() | st.booleans() | NUMBERS | STRINGS
METADATA = st.dictionaries(
    st.sampled_from(KEYS),
    SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.sampled_from(["b", "a"]), SCALARS, max_size=2),
    max_size=3,
)
VALUES = (
    st.none()
    | NUMBERS
    | STRINGS
    | st.lists(STRINGS, max_size=3)
    | st.lists(st.integers(-2, 2), max_size=3)
    | st.lists(st.sampled_from([0.0, 1.0, 0.5]), max_size=3)
    | st.just(float("inf"))
)
LEAVES = st.builds(
    MetadataFilter, key=st.sampled_from(KEYS), value=VALUES, operator=st.sampled_from(list(FilterOperator))
)
FLAT = st.builds(
    MetadataFilters,
    filters=st.lists(LEAVES, max_size=3),
    condition=st.sampled_from([*FilterCondition, None]),
)
_ROUNDED = 2**63


def _expected(filters: MetadataFilters, metadata: dict[str, Any]) -> bool:
    """What LlamaIndex answers; leaf by leaf, so that one that it cannot compare counts as no match."""
    verdicts = []
    for part in filters.filters:
        if isinstance(part, MetadataFilters):
            verdicts.append(_expected(part, metadata))
            continue
        try:
            verdicts.append(build_metadata_filter_fn(lambda _: metadata, MetadataFilters(filters=[part]))("x"))
        except TypeError:
            verdicts.append(part.operator == FilterOperator.NIN)
    return build_metadata_filter_fn(
        lambda _: {str(index): "yes" if verdict else "no" for index, verdict in enumerate(verdicts)},
        MetadataFilters(
            filters=[MetadataFilter(key=str(index), value="yes") for index in range(len(verdicts))],
            condition=filters.condition,
        ),
    )("x")


def _passing(index: RaderIndex, filters: MetadataFilters) -> list[str]:
    condition = core_filter(index, filters, None, None)
    if callable(condition):
        return [document.id for document in index.documents() if condition(document)]
    assert condition is not None
    return ids_where(index, condition)


def _rounds(metadata: dict[str, Any]) -> bool:
    return any(isinstance(value, int) and abs(value) >= _ROUNDED for value in metadata.values())


@pytest.fixture(scope="module")
def encoder() -> HashEncoder:
    return HashEncoder(4)


def _check(encoder: HashEncoder, rows: list[dict[str, Any]], filters: MetadataFilters) -> None:
    rows = [row for row in rows if not _rounds(row)]
    try:
        with RaderIndex.create(None, encoder) as index:
            index.add([node_to_document(TextNode(id_=str(number), metadata=row)) for number, row in enumerate(rows)])
            passing = _passing(index, filters)
    except InputError as error:
        # Filters that LlamaIndex answers with a TypeError for every value are refused at once.
        assert "takes a" in str(error)  # noqa: PT017
        return
    assert passing == [str(number) for number, row in enumerate(rows) if _expected(filters, row)]


@settings(
    max_examples=examples(100),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows=st.lists(METADATA, min_size=1, max_size=6), filters=FLAT)
@pytest.mark.filterwarnings("ignore::rader_plugins.errors.FilterWarning")
def test_filters_pass_what_llama_index_lets_pass(
    encoder: HashEncoder, rows: list[dict[str, Any]], filters: MetadataFilters
) -> None:
    _check(encoder, rows, filters)


@settings(
    max_examples=examples(50),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    rows=st.lists(METADATA, min_size=1, max_size=6),
    filters=st.builds(
        MetadataFilters,
        filters=st.lists(LEAVES | FLAT, min_size=1, max_size=3),
        condition=st.sampled_from([*FilterCondition, None]),
    ),
)
@pytest.mark.filterwarnings("ignore::rader_plugins.errors.FilterWarning")
def test_nested_filters(encoder: HashEncoder, rows: list[dict[str, Any]], filters: MetadataFilters) -> None:
    _check(encoder, rows, filters)


def test_every_operator_with_every_kind_of_value(encoder: HashEncoder) -> None:
    stored_values = [
        None,
        True,
        False,
        0,
        1,
        1.0,
        -1,
        0.5,
        2**53,
        "",
        "a",
        "A",
        "ab",
        "1",
        [],
        ["a"],
        ["a", "b"],
        [1],
        {"b": 1},
    ]
    rows: list[dict[str, Any]] = [{}, {"a": {"b": 1}}, *({key: value} for key in KEYS for value in stored_values)]
    values = [None, 0, 1, 1.0, 0.5, -1, "", "a", "A", "1", [], ["a"], ["a", "b"], [1], [1, 0], [0.0], float("inf")]
    index = RaderIndex.create(None, encoder)
    index.add([node_to_document(TextNode(id_=str(number), metadata=row)) for number, row in enumerate(rows)])
    checked = 0
    for kind in FilterOperator:
        for value in values:
            for key in ("a", "a.b"):
                filters = MetadataFilters(filters=[MetadataFilter(key=key, value=value, operator=kind)])
                try:
                    passing = _passing(index, filters)
                except InputError:
                    continue
                expected = [str(number) for number, row in enumerate(rows) if _expected(filters, row)]
                assert passing == expected, (key, kind, value)
                checked += 1
    assert checked > 300


@pytest.fixture(scope="module")
def retriever(encoder: HashEncoder) -> RaderRetriever:
    nodes = [
        TextNode(
            id_=f"n{number}", text="prime divisor " * (number + 1), metadata={"year": 1900 + number, "tags": ["x"]}
        )
        for number in range(20)
    ]
    return RaderRetriever.from_defaults(nodes=nodes, model=encoder, similarity_top_k=3)


@pytest.mark.parametrize(
    "filters",
    [
        MetadataFilters(filters=[MetadataFilter(key="year", value=1917, operator=FilterOperator.GTE)]),
        MetadataFilters(
            filters=[
                MetadataFilter(key="year", value=1917, operator=FilterOperator.GTE),
                MetadataFilter(key="tags", value="x", operator=FilterOperator.CONTAINS),
            ]
        ),
        {"year": {"$gte": 1917}},
        lambda document: document.metadata["year"] >= 1917,
        lambda document: set(document.metadata) == {"year", "tags"} and document.id in {"n17", "n18", "n19"},
    ],
)
@pytest.mark.parametrize("mode", ["dense", "bm25", "hybrid"])
def test_filters_come_before_the_ranking(retriever: RaderRetriever, filters: Any, mode: Any) -> None:
    # Ranked first, the three would be cut away: all texts say the same.
    narrowed = RaderRetriever(retriever.index, 3, filters=filters, mode=mode)
    assert {scored.node_id for scored in narrowed.retrieve("prime")} == {"n17", "n18", "n19"}


def test_node_ids_doc_ids_and_excluded_ids(encoder: HashEncoder) -> None:
    index = RaderIndex.create(None, encoder)
    retriever = RaderRetriever(index, 10, mode="dense")
    parent = LlamaParent("doc")
    retriever.add_nodes([parent.child("a"), parent.child("b"), TextNode(id_="c", text="c", metadata={"k": 1})])
    index.add([Document("plain", "d", {"k": 1})])

    def found(**options: Any) -> set[str]:
        return {scored.node_id for scored in RaderRetriever(index, 10, mode="dense", **options).retrieve("x")}

    assert found() == {"a", "b", "c", "plain"}
    assert found(node_ids=["a", "c", "missing"]) == {"a", "c"}
    assert found(node_ids=["a", "plain"]) == {"a", "plain"}
    assert found(node_ids=["a", "plain"], filters={"k": 1}) == {"plain"}
    assert found(node_ids=[]) == set()
    assert found(doc_ids=["doc"]) == {"a", "b"}
    assert found(doc_ids=["doc"], exclude_ids=["a"]) == {"b"}
    assert found(exclude_ids=["a", "missing"]) == {"b", "c", "plain"}
    assert found(filters=lambda document: document.id != "a", doc_ids=["doc"]) == {"b"}


class LlamaParent:
    def __init__(self, name: str) -> None:
        self.name = name

    def child(self, name: str) -> TextNode:
        from llama_index.core.schema import NodeRelationship, RelatedNodeInfo

        return TextNode(
            id_=name, text=name, relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=self.name)}
        )


@pytest.mark.parametrize(
    ("operator", "value"),
    [
        (FilterOperator.TEXT_MATCH, 3),
        (FilterOperator.TEXT_MATCH_INSENSITIVE, None),
        (FilterOperator.IN, 3),
        (FilterOperator.ALL, None),
        (FilterOperator.GT, None),
    ],
)
def test_filters_that_can_never_be_compared_are_refused(
    retriever: RaderRetriever, operator: FilterOperator, value: Any
) -> None:
    filters = MetadataFilters(filters=[MetadataFilter(key="year", value=value, operator=operator)])
    with pytest.raises(InputError, match="'year'"):
        RaderRetriever(retriever.index, filters=filters)


def test_wrong_arguments(retriever: RaderRetriever) -> None:
    with pytest.raises(InputError, match="MetadataFilters"):
        RaderRetriever(retriever.index, filters=3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="node_ids"):
        RaderRetriever(retriever.index, node_ids="n1")
    with pytest.raises(InputError, match="exclude_ids"):
        RaderRetriever(retriever.index, exclude_ids="n1")
