"""`evaluate` over LlamaIndex: retrievers and query engines, with and without `searchable`."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import CustomQueryEngine, RetrieverQueryEngine
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import NodeRelationship, NodeWithScore, QueryBundle, RelatedNodeInfo, TextNode
from llama_index.embeddings.rader import RaderEmbedding
from llama_index.retrievers.rader import RaderRetriever, evaluation, searchable

from rader_plugins import Document, Encoder, RaderIndex
from rader_plugins import RaderRetriever as CoreRetriever
from rader_plugins.errors import InputError
from rader_plugins.evaluation import RetrievalDataset, UnusableResultsError, evaluate, index_corpus
from tests.support.encoders import HashEncoder
from tests.support.entries import declared

pytest.importorskip("ir_measures")

WORDS = ["prime", "divisor", "graph", "colour", "entropy", "heat", "wave", "market", "cell", "orbit", "matrix", "limit"]
QUERIES = {"q0": "prime divisor", "q1": "colour graph heat"}


@pytest.fixture(autouse=True)
def _adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rader_plugins.evaluation.adapters.entry_points", lambda group: declared(group))


@pytest.fixture(scope="module")
def dataset() -> RetrievalDataset:
    corpus = {
        f"d{number:02}": Document(
            f"d{number:02}", f"{WORDS[number % 12]} {WORDS[(number * 5 + 1) % 12]} {WORDS[number * 7 % 12]} {number}"
        )
        for number in range(24)
    }
    return RetrievalDataset(corpus, QUERIES, {"q0": {"d00": 1, "d01": 1}, "q1": {"d03": 1}})


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return HashEncoder()


@pytest.fixture(scope="module")
def core(dataset: RetrievalDataset, encoder: Encoder) -> CoreRetriever:
    index = RaderIndex.create(None, encoder)
    index_corpus(dataset, index)
    return CoreRetriever(index)


@pytest.fixture
def retriever(core: CoreRetriever) -> RaderRetriever:
    return RaderRetriever(core.index, 2)


def texts(dataset: RetrievalDataset) -> list[TextNode]:
    return [TextNode(id_=document.id, text=document.text) for document in dataset.corpus.values()]


def ranking(found: Any) -> dict[str, list[str]]:
    return {query: list(scores) for query, scores in found.run.items()}


# Retrievers


@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("wrap", [lambda it: it, searchable, lambda it: searchable(it, use_async=True)])
def test_our_retriever_ranks_as_in_the_core(
    retriever: RaderRetriever,
    core: CoreRetriever,
    dataset: RetrievalDataset,
    wrap: Callable[[Any], Any],
    batch_size: int,
) -> None:
    expected = evaluate(core, dataset, k_values=[10])
    report = evaluate(wrap(retriever), dataset, k_values=[10], batch_size=batch_size)
    assert ranking(report) == ranking(expected)
    assert report.mean == expected.mean
    assert report.mean["RR@10"] > 0
    assert retriever.similarity_top_k == 2  # a copy was asked for more
    about = report.manifest["retriever"]["description"]
    assert about["retriever"] == expected.manifest["retriever"]
    assert report.name == "RaderRetriever"


def test_a_vector_index_s_retriever(encoder: Encoder, core: CoreRetriever, dataset: RetrievalDataset) -> None:
    index = VectorStoreIndex(texts(dataset), embed_model=RaderEmbedding(model=encoder))
    expected = ranking(evaluate(CoreRetriever(core.index, mode="dense"), dataset, k_values=[10]))
    over_vectors = index.as_retriever(similarity_top_k=3)
    assert ranking(evaluate(over_vectors, dataset, k_values=[10])) == expected
    assert over_vectors.similarity_top_k == 3  # type: ignore[attr-defined]
    own = evaluate(searchable(over_vectors, pass_k=False), dataset, k_values=[10])
    assert ranking(own) == {query: ids[:3] for query, ids in expected.items()}
    assert own.manifest["retriever"]["description"]["settings"] == {"similarity_top_k": 3}
    fused = QueryFusionRetriever([over_vectors, over_vectors], llm=MockLLM(), num_queries=1, use_async=False)
    assert ranking(evaluate(fused, dataset, k_values=[10])).keys() == expected.keys()
    with pytest.raises(InputError, match="as_retriever"):
        evaluate(index, dataset)


def test_split_documents_count_as_their_source(encoder: Encoder, dataset: RetrievalDataset) -> None:
    parts = [
        TextNode(
            text=f"{document.text} {part}",
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=document.id)},
        )
        for document in dataset.corpus.values()
        for part in ("first", "second")
    ]
    over_parts = RaderRetriever.from_defaults(nodes=parts, model=encoder)
    assert len(over_parts.index) > len(dataset.corpus)
    report = evaluate(over_parts, dataset, k_values=[10], depth=30)
    assert report.left_out["results_not_in_corpus"] == 0
    assert report.left_out["chunks_merged"] > 0
    assert len(report.run["q0"]) > 10
    with pytest.raises(UnusableResultsError, match="id_key"):
        evaluate(searchable(over_parts, id_key="node_id"), dataset, k_values=[10])


class Fixed(BaseRetriever):
    """Returns what it was given, whatever the question; has no similarity_top_k."""

    def __init__(self, found: list[NodeWithScore]) -> None:
        super().__init__()
        self.found = found

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self.found


def node(id: str, score: float | None = None, source: str | None = None, **metadata: Any) -> NodeWithScore:
    text_node = TextNode(id_=id, text=id, metadata=metadata)
    if source is not None:
        text_node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=source)
    return NodeWithScore(node=text_node, score=score)


def test_which_id_counts() -> None:
    fixed = Fixed([node("a", 0.9, source="s1", key="k1"), node("b", 0.5, key=7)])

    def ids(**options: Any) -> list[str]:
        rankings: Any = searchable(fixed, **options)(["q"])
        return [id for id, _ in rankings[0]]

    assert ids() == ["s1", "b"]
    assert ids(id_key="node_id") == ["a", "b"]
    assert ids(id_key="key") == ["k1", "7"]
    with pytest.raises(UnusableResultsError, match=r"'b' has no id.*'ref_doc_id', 'node_id' or a metadata key"):
        ids(id_key="ref_doc_id")
    with pytest.raises(UnusableResultsError, match=r"no 'chunk' \(id_key\).*\['key'\]"):
        ids(id_key="chunk")


def test_missing_ids_end_the_evaluation(dataset: RetrievalDataset) -> None:
    with pytest.raises(UnusableResultsError, match="id_key"):
        evaluate(searchable(Fixed([node("a", 0.9)]), id_key="source"), dataset, max_failures=1.0)


def test_scores_count_where_they_agree_with_the_order() -> None:
    def scores(*given: float | None) -> list[float]:
        rankings: Any = searchable(Fixed([node(str(number), score) for number, score in enumerate(given)]))(["q"])
        return [score for _, score in rankings[0]]

    assert scores(0.9, 0.2) == [0.9, 0.2]
    assert scores(0.2, 0.9) == [2.0, 1.0]
    assert scores(0.9, None) == [2.0, 1.0]
    assert scores() == []


# Query engines


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("use_async", [False, True])
def test_a_query_engine_with_a_model(
    retriever: RaderRetriever, core: CoreRetriever, dataset: RetrievalDataset, use_async: bool, streaming: bool
) -> None:
    answers: list[str] = []

    class Watched(MockLLM):
        def _generate_text(self, length: int) -> str:
            answers.append("asked")
            return super()._generate_text(length)

    engine = RetrieverQueryEngine.from_args(retriever, llm=Watched(max_tokens=3), streaming=streaming)
    search = searchable(engine, use_async=True) if use_async else engine
    report = evaluate(search, dataset, k_values=[10])
    expected = {query: [hit.document.id for hit in core.search(text, 2)] for query, text in QUERIES.items()}
    assert ranking(report) == expected
    assert report.manifest["retriever"]["description"]["k"] == "its own"
    assert report.left_out["queries_with_fewer_results_than_asked"] == 2
    assert len(answers) >= 2  # the whole engine ran, its answer included
    with pytest.raises(InputError, match="similarity_top_k"):
        searchable(engine, pass_k=True)


def test_an_engine_that_raises_on_one_question(retriever: RaderRetriever, dataset: RetrievalDataset) -> None:
    class Moody(RetrieverQueryEngine):
        def _query(self, query_bundle: QueryBundle) -> Any:
            if "heat" in query_bundle.query_str:
                raise KeyError("no luck")
            return super()._query(query_bundle)

    engine = Moody.from_args(retriever, llm=MockLLM())
    for batch_size in (1, 2):
        report = evaluate(engine, dataset, max_failures=0.5, batch_size=batch_size)
        assert report.left_out["queries_failed"] == {"q1": "KeyError: 'no luck'"}
        assert report.per_query["q1"]["RR@10"] == 0
        assert report.per_query["q0"]["RR@10"] > 0


def test_an_engine_that_reports_no_sources(dataset: RetrievalDataset) -> None:
    class Plain(CustomQueryEngine):
        def custom_query(self, query_str: str) -> str:
            return "6"

    report = evaluate(Plain(), dataset, max_failures=1.0)  # LlamaIndex makes a response without sources of it
    assert report.left_out["queries_without_results"] == ["q0", "q1"]

    class Odd(CustomQueryEngine):
        def custom_query(self, query_str: str) -> Any:
            return 6

    with pytest.raises(UnusableResultsError, match="int, which has no source_nodes"):
        evaluate(Odd(), dataset, max_failures=1.0)


def test_what_cannot_be_searched(dataset: RetrievalDataset) -> None:
    with pytest.raises(InputError, match="remembers"):
        evaluate(SimpleChatEngine.from_defaults(llm=MockLLM()), dataset)
    with pytest.raises(InputError, match="MockLLM cannot be evaluated"):
        evaluate(MockLLM(), dataset)
    with pytest.raises(InputError, match="not MockLLM"):
        searchable(MockLLM())  # type: ignore[arg-type]


def test_what_is_known_decides_whether_a_run_goes_on(
    retriever: RaderRetriever, dataset: RetrievalDataset, tmp_path: Path
) -> None:
    search = searchable(retriever, about={"nodes": "v1"})
    evaluate(search, dataset, out=tmp_path)
    assert evaluate(search, dataset, out=tmp_path).latency["calls"] == 2
    with pytest.raises(InputError, match=r"about\.nodes"):
        evaluate(searchable(retriever, about={"nodes": "v2"}), dataset, out=tmp_path)
    retriever.exclude_ids = ["d00"]
    with pytest.raises(InputError, match=r"settings\.exclude_ids"):
        evaluate(search, dataset, out=tmp_path)


def test_the_example(mini: Encoder) -> None:
    result = doctest.testmod(evaluation)
    assert (result.attempted, result.failed) == (5, 0)
