"""Metadata filters, against a plain evaluation in Python and in searches."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rader_plugins import Document, RaderIndex, RaderRetriever
from rader_plugins.errors import InputError
from tests.support.encoders import HashEncoder

MISSING = object()
values = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.5, 1.0, 2**70]), st.sampled_from(["", "a", "b"]),
    st.lists(st.integers(0, 1), max_size=2),
)  # fmt: skip
metadata = st.fixed_dictionaries(
    {}, optional={"x": values, "y": values, "z": st.fixed_dictionaries({}, optional={"x": values})}
)
keys = st.sampled_from(["x", "y", "z.x"])
comparable = st.one_of(st.integers(-3, 3), st.sampled_from(["", "a", 0.5]))
conditions: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.one_of(
        st.tuples(keys, values),
        st.tuples(keys, st.dictionaries(st.sampled_from(["$eq", "$ne"]), values, min_size=1)),
        st.tuples(keys, st.dictionaries(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), comparable, min_size=1)),
        st.tuples(keys, st.dictionaries(st.sampled_from(["$in", "$nin"]), st.lists(values, max_size=3), min_size=1)),
        st.tuples(keys, st.fixed_dictionaries({"$exists": st.booleans()})),
    ).map(lambda pair: {pair[0]: pair[1]}),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=1, max_size=3)).map(
            lambda p: {p[0]: p[1]}
        ),
        inner.map(lambda condition: {"$not": condition}),
    ),
    max_leaves=4,
)


def lookup(document: dict[str, Any], key: str) -> Any:
    value: Any = document
    for part in key.split("."):
        value = value.get(part, MISSING) if isinstance(value, dict) else MISSING
    return value


def kind(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return repr(type(value))
    return "number" if isinstance(value, int | float) else repr(type(value))


def same(one: Any, other: Any) -> bool:
    if other is None:
        return one is None or one is MISSING
    return one is not MISSING and kind(one) == kind(other) and one == other


def holds(document: dict[str, Any], condition: dict[str, Any]) -> bool:
    for key, value in condition.items():
        if key == "$and":
            ok = all(holds(document, part) for part in value)
        elif key == "$or":
            ok = any(holds(document, part) for part in value)
        elif key == "$not":
            ok = not holds(document, value)
        else:
            operators = value if isinstance(value, dict) else {"$eq": value}
            ok = all(operator_holds(lookup(document, key), *item) for item in operators.items())
        if not ok:
            return False
    return True


def operator_holds(value: Any, operator: str, operand: Any) -> bool:
    if operator in ("$eq", "$ne"):
        return same(value, operand) == (operator == "$eq")
    if operator in ("$in", "$nin"):
        return any(same(value, choice) for choice in operand) == (operator == "$in")
    if operator == "$exists":
        return (value is not MISSING) == operand
    if value is MISSING or kind(value) != kind(operand) or kind(operand) not in ("number", repr(str)):
        return False
    return {"$gt": value > operand, "$gte": value >= operand, "$lt": value < operand, "$lte": value <= operand}[
        operator
    ]


@settings(max_examples=150, deadline=None)
@given(st.lists(metadata, min_size=1, max_size=8), st.lists(conditions, min_size=1, max_size=3))
def test_filters_agree_with_plain_evaluation(rows: list[dict[str, Any]], filters: list[dict[str, Any]]) -> None:
    index = RaderIndex.create(None, encoder=HashEncoder())
    index.add([Document(id=str(n), text="x", metadata=row) for n, row in enumerate(rows)])
    retriever = RaderRetriever(index, mode="dense")
    for condition in filters:
        found = {hit.document.id for hit in retriever.search("x", k=10, filter=condition)}
        assert found == {str(n) for n, row in enumerate(rows) if holds(row, condition)}
        by_function = retriever.search("x", k=10, filter=lambda d, c=condition: holds(dict(d.metadata), c))
        assert {hit.document.id for hit in by_function} == found
    index.close()


@pytest.mark.parametrize("mode", ["dense", "bm25", "hybrid"])
@pytest.mark.parametrize("path", [None, "disk"])
def test_k_hits_come_back_if_k_exist(mode: str, path: str | None, tmp_path: Any) -> None:
    """The filter comes before the ranking: the one hundred best are all of the wrong year."""
    index = RaderIndex.create(tmp_path / "i" if path else None, encoder=HashEncoder())
    index.add([Document(id=f"old{n}", text="prime prime", metadata={"year": 1900}) for n in range(100)])
    index.add([Document(id=f"new{n}", text="prime heat wave", metadata={"year": 2000}) for n in range(5)])
    retriever = RaderRetriever(index, mode=mode, candidates=10)  # type: ignore[arg-type]
    for condition in ({"year": {"$gt": 1950}}, lambda document: document.metadata["year"] > 1950):
        hits = retriever.search("prime", k=5, filter=condition)
        assert {hit.document.id for hit in hits} == {f"new{n}" for n in range(5)}


def test_filters_follow_replacement_deletion_and_optimize(tmp_path: Any) -> None:
    index = RaderIndex.create(tmp_path / "i", encoder=HashEncoder())
    index.add([Document(id=str(n), text="x", metadata={"n": n}) for n in range(20)])
    index.delete([str(n) for n in range(0, 20, 2)])
    index.add([Document(id="1", text="x", metadata={"n": 100})])
    retriever = RaderRetriever(index, mode="dense")
    for _ in range(2):
        found = {hit.document.id for hit in retriever.search("x", k=50, filter={"n": {"$gte": 15}})}
        assert found == {"15", "17", "19", "1"}
        index.optimize()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"x": {"$near": 1}}, r"\$near"),
        ({"$nor": []}, r"\$nor"),
        ({"$or": []}, "non-empty list"),
        ({"$or": {"x": 1}}, "non-empty list"),
        ({"x": {"$in": "abc"}}, "list of values"),
        ({"x": {"$gt": [1]}}, "numbers or strings"),
        ({"x": {"$gt": float("nan")}}, "nan"),
        ({"x": {"$exists": 1}}, "true or false"),
        ({"x": object()}, "JSON values"),
        ({"x": "\ud800"}, "lone surrogate"),
        ({"$not": 3}, "dict or a function"),
        ([("x", 1)], "dict or a function"),
    ],
)
def test_wrong_filters(wrong: Any, message: str) -> None:
    index = RaderIndex.create(None, encoder=HashEncoder())
    index.add([Document(id="a", text="x", metadata={"x": 1})])
    with pytest.raises(InputError, match=message):
        RaderRetriever(index).search("x", filter=wrong)
