"""`evaluate` over LangChain: retrievers, chains, agents' messages, with and without `searchable`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import ParrotFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_core.tools import create_retriever_tool
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_rader import RaderEmbeddings, RaderRetriever, evaluation, searchable

from rader_plugins import Document as CoreDocument
from rader_plugins import RaderIndex
from rader_plugins import RaderRetriever as CoreRetriever
from rader_plugins.errors import InputError, RaderError
from rader_plugins.evaluation import RetrievalDataset, UnusableResultsError, evaluate
from tests.support.entries import declared

pytest.importorskip("ir_measures")

QUESTIONS = {
    "ramsey": "Why must a large complete graph with red and blue edges hold a one-coloured clique?",
    "pigeonhole": "Why do two of thirteen people share a month of birth?",
}


@pytest.fixture(autouse=True)
def _adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rader_plugins.evaluation.adapters.entry_points", lambda group: declared(group))


@pytest.fixture(scope="module")
def dataset(principles: list[Document]) -> RetrievalDataset:
    corpus = {str(item.id): CoreDocument(str(item.id), item.page_content) for item in principles}
    qrels = {"ramsey": {"ramsey-theorem": 1}, "pigeonhole": {"pigeonhole-principle": 1}}
    return RetrievalDataset(corpus, QUESTIONS, qrels)


@pytest.fixture(scope="module")
def retriever(principles_index: RaderIndex) -> RaderRetriever:
    return RaderRetriever(index=principles_index, k=2)


def same(found: Any, expected: Any) -> None:
    assert found.run.keys() == expected.run.keys()
    for query, scores in expected.run.items():
        # Queries that wait are encoded together, which changes the last bits of their scores.
        assert found.run[query] == pytest.approx(scores, abs=1e-5)
        assert list(found.run[query]) == list(scores)


# Retrievers


@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("wrap", [lambda it: it, searchable, lambda it: searchable(it, use_async=True)])
def test_our_retriever_ranks_as_in_the_core(
    retriever: RaderRetriever,
    principles_index: RaderIndex,
    dataset: RetrievalDataset,
    wrap: Callable[[Any], Any],
    batch_size: int,
) -> None:
    expected = evaluate(CoreRetriever(principles_index), dataset, k_values=[10])
    report = evaluate(wrap(retriever), dataset, k_values=[10], batch_size=batch_size)
    same(report, expected)
    assert report.mean == expected.mean
    assert report.mean["RR@10"] > 0
    about = report.manifest["retriever"]["description"]
    assert about["retriever"] == expected.manifest["retriever"]
    assert (about["name"], about["k"]) == ("RaderRetriever", "asked for")
    assert report.name == "RaderRetriever"


@pytest.mark.filterwarnings("ignore::rader_plugins.errors.RaderWarning")
def test_excluded_documents_do_not_shorten_the_ranking(retriever: RaderRetriever, dataset: RetrievalDataset) -> None:
    first = evaluate(retriever, dataset, k_values=[5])
    gone = list(first.run["ramsey"])[:2]
    excluding = RetrievalDataset(dataset.corpus, dataset.queries, dataset.qrels, {"ramsey": frozenset(gone)})
    ranking = evaluate(retriever, excluding, k_values=[5]).run["ramsey"]
    assert len(ranking) == 5
    assert not set(gone) & set(ranking)


def test_a_vector_store_s_retriever(
    embeddings: RaderEmbeddings, principles: list[Document], principles_index: RaderIndex, dataset: RetrievalDataset
) -> None:
    store = InMemoryVectorStore(embeddings)
    store.add_documents(principles)
    report = evaluate(store.as_retriever(), dataset, k_values=[10])
    expected = evaluate(CoreRetriever(principles_index, mode="dense"), dataset, k_values=[10])
    assert {query: list(scores) for query, scores in report.run.items()} == {
        query: list(scores) for query, scores in expected.run.items()
    }
    own = evaluate(searchable(store.as_retriever(search_kwargs={"k": 3}), pass_k=False), dataset, k_values=[10])
    assert {len(scores) for scores in own.run.values()} == {3}
    assert own.left_out["queries_with_fewer_results_than_asked"] == 2
    assert own.manifest["retriever"]["description"]["settings"]["search_kwargs"] == {"k": 3}
    with pytest.raises(InputError, match="as_retriever"):
        evaluate(store, dataset)


class Fixed(BaseRetriever):
    """Returns what it was given, whatever the question; takes no k."""

    found: list[Document]

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return self.found


def documents(*ids: str | None, **metadata: list[Any]) -> list[Document]:
    return [
        Document(
            id=id, page_content=f"text {number}", metadata={key: values[number] for key, values in metadata.items()}
        )
        for number, id in enumerate(ids)
    ]


def test_chunks_of_a_document_by_a_metadata_key(dataset: RetrievalDataset) -> None:
    chunks = documents("x1", "x2", "x3", "x4", source_id=["moment", "ramsey-theorem", "moment", "pigeonhole-principle"])
    report = evaluate(searchable(Fixed(found=chunks), id_key="source_id"), dataset)
    assert list(report.run["ramsey"]) == ["moment", "ramsey-theorem", "pigeonhole-principle"]
    assert report.per_query["ramsey"]["RR@10"] == 0.5
    assert report.left_out["chunks_merged"] == 2
    # Ids of chunks as they come from our own splitters need no key.
    chunks = documents("moment#0", "ramsey-theorem#3", "ramsey-theorem#1")
    report = evaluate(Fixed(found=chunks), RetrievalDataset({**dataset.corpus, "moment": CoreDocument("moment", "x")},
                     dataset.queries, dataset.qrels))  # fmt: skip
    assert list(report.run["ramsey"]) == ["moment", "ramsey-theorem"]


def test_which_id_counts() -> None:
    both = documents("own", doc_id=["of the metadata"], n=[7])
    assert searchable(Fixed(found=both))(["q"]) == [[("of the metadata", 1.0)]]
    assert searchable(Fixed(found=both), id_key="n")(["q"]) == [[("7", 1.0)]]


def test_missing_ids_say_what_to_set(dataset: RetrievalDataset) -> None:
    nameless = Fixed(found=documents(None, source=["a.md"]))
    with pytest.raises(UnusableResultsError, match=r"'text 0' has no id.*id_key='source_id'"):
        evaluate(nameless, dataset, max_failures=1.0)
    with pytest.raises(UnusableResultsError, match=r"no 'chunk' \(id_key\).*\['source'\]"):
        evaluate(searchable(nameless, id_key="chunk"), dataset, max_failures=1.0)
    assert searchable(nameless, id_key="source")(["q"]) == [[("a.md", 1.0)]]


def test_scores_count_where_they_agree_with_the_order() -> None:
    def scores(**metadata: list[Any]) -> list[float]:
        rankings: Any = searchable(Fixed(found=documents("a", "b", **metadata)))(["q"])
        return [score for _, score in rankings[0]]

    assert scores(score=[0.9, 0.2]) == [0.9, 0.2]
    assert scores(score=[0.2, 0.9]) == [2.0, 1.0]
    assert scores(score=[0.2, 0.9], relevance_score=[5.0, -1.0]) == [5.0, -1.0]
    pairs = RunnableLambda(lambda query: list(zip(documents("a", "b", score=[1, 0]), [0.7, 0.6], strict=True)))
    assert searchable(pairs)(["q"]) == [[("a", 0.7), ("b", 0.6)]]


# Chains


def answering(retriever: Any) -> Any:
    """A chain with a chat model that returns its answer and its documents."""
    prompt = ChatPromptTemplate.from_template("Context: {context}\nQuestion: {question}")
    answer = prompt | ParrotFakeChatModel() | StrOutputParser()
    return {"context": retriever, "question": RunnablePassthrough()} | RunnablePassthrough.assign(answer=answer)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_chain_with_a_chat_model(
    retriever: RaderRetriever, dataset: RetrievalDataset, tmp_path: Path, batch_size: int
) -> None:
    chain = answering(retriever)
    report = evaluate(chain, dataset, k_values=[10], batch_size=batch_size, out=tmp_path)
    assert list(report.run["ramsey"]) == [document.id for document in retriever.invoke(QUESTIONS["ramsey"])]
    assert report.manifest["retriever"]["description"]["k"] == "its own"
    assert report.left_out["queries_with_fewer_results_than_asked"] == 2
    assert report.latency["calls"] == 2 / batch_size
    same(evaluate(chain, dataset, k_values=[10], batch_size=batch_size, out=tmp_path), report)


@pytest.mark.parametrize(
    "output",
    [
        lambda found: found,
        tuple,
        lambda found: {"context": "joined texts", "source_documents": found},
        lambda found: {"documents": found, "answer": "6"},
        lambda found: ToolMessage("joined", artifact=found, tool_call_id="1"),
        lambda found: AIMessage("6", artifact={"documents": found}),
        lambda found: {
            "messages": [
                HumanMessage("q"),
                AIMessage("", tool_calls=[{"name": "search", "args": {}, "id": "1"}]),
                ToolMessage("joined", artifact=found[:1], tool_call_id="1"),
                ToolMessage("joined", artifact=found, tool_call_id="2"),
                AIMessage("6"),
            ]
        },
    ],
)
def test_outputs_that_report_documents(output: Callable[[list[Document]], Any], dataset: RetrievalDataset) -> None:
    chain = RunnableLambda(lambda query: output(documents("pigeonhole-principle", "ramsey-theorem")))
    found = evaluate(chain, dataset)
    assert list(found.run["ramsey"]) == ["pigeonhole-principle", "ramsey-theorem"]


@pytest.mark.parametrize("output", ["6", {"answer": "6"}, AIMessage("6"), {"context": "joined"}, [1], 7, None,
                                    [ToolMessage("joined", tool_call_id="1")]])  # fmt: skip
def test_outputs_that_do_not(output: Any, dataset: RetrievalDataset) -> None:
    with pytest.raises(UnusableResultsError, match=r"reports no documents.*sources="):
        evaluate(RunnableLambda(lambda query: output), dataset, max_failures=1.0)


def test_an_agent_that_searched_for_nothing_found_nothing() -> None:
    assert searchable(RunnableLambda(lambda query: [HumanMessage("q"), AIMessage("6")]))(["q"]) == [[]]
    assert searchable(RunnableLambda(lambda query: []))(["q"]) == [[]]


def test_where_the_documents_are_and_what_the_input_is(retriever: RaderRetriever) -> None:
    chain = RunnableLambda(lambda given: {"docs": retriever.invoke(given["question"]), "context": []})
    expected = [document.id for document in retriever.invoke(QUESTIONS["ramsey"])]

    def ids(search: Any) -> list[str]:
        return [id for id, _ in search([QUESTIONS["ramsey"]])[0]]

    assert ids(searchable(chain, input="question", sources="docs")) == expected
    as_function = searchable(chain, input=lambda query: {"question": query}, sources=lambda output: output["docs"])
    assert ids(as_function) == expected
    with pytest.raises(UnusableResultsError, match=r"no 'hits' \(sources=\) in a dict with the keys 'docs', 'context'"):
        ids(searchable(chain, input="question", sources="hits"))
    tool = create_retriever_tool(retriever, "find", "Finds.", response_format="content_and_artifact")

    def call(query: str) -> dict[str, Any]:
        return {"type": "tool_call", "id": "1", "name": "find", "args": {"query": query}}

    assert ids(searchable(tool, input=call)) == expected


def test_a_chain_that_raises_on_one_question(retriever: RaderRetriever, dataset: RetrievalDataset) -> None:
    def moody(query: str) -> list[Document]:
        if "birth" in query:
            raise KeyError("no luck")
        return retriever.invoke(query)

    chain = RunnableLambda(moody)
    for batch_size in (1, 2):
        report = evaluate(chain, dataset, max_failures=0.5, batch_size=batch_size)
        assert report.left_out["queries_failed"] == {"pigeonhole": "KeyError: 'no luck'"}
        assert report.per_query["pigeonhole"]["RR@10"] == 0
        assert report.per_query["ramsey"]["RR@10"] == 1
    with pytest.raises(RaderError, match="max_failures"):
        evaluate(chain, dataset)


async def test_a_chain_that_can_only_be_awaited(retriever: RaderRetriever, dataset: RetrievalDataset) -> None:
    async def slow(query: str) -> list[Document]:
        await asyncio.sleep(0)
        return await retriever.ainvoke(query)

    chain = RunnableLambda(slow) | RunnableLambda(lambda found: {"context": found})
    for batch_size in (1, 2):
        found = evaluate(searchable(chain, use_async=True), dataset, batch_size=batch_size)
        assert list(found.run["ramsey"]) == [document.id for document in retriever.invoke(QUESTIONS["ramsey"])]
    with pytest.raises(UnusableResultsError, match="use_async=True"):
        evaluate(chain, dataset, max_failures=1.0)


def test_callbacks_see_every_question(retriever: RaderRetriever, dataset: RetrievalDataset) -> None:
    calls = []

    class Watch(BaseCallbackHandler):
        def on_retriever_start(self, serialized: Any, query: str, **kwargs: Any) -> None:
            calls.append((query, kwargs["tags"]))

    evaluate(searchable(retriever, config={"callbacks": [Watch()], "tags": ["evaluation"]}), dataset)
    assert calls == [(query, ["evaluation"]) for query in QUESTIONS.values()]


def test_what_is_known_decides_whether_a_run_goes_on(
    retriever: RaderRetriever, dataset: RetrievalDataset, tmp_path: Path
) -> None:
    chain = answering(retriever)
    evaluate(searchable(chain, about={"prompt": "v1"}), dataset, out=tmp_path)
    with pytest.raises(InputError, match=r"about\.prompt"):
        evaluate(searchable(chain, about={"prompt": "v2"}), dataset, out=tmp_path)
    with pytest.raises(InputError, match="about"):
        searchable(chain, about={"prompt": object()})


def test_what_cannot_be_searched(dataset: RetrievalDataset, embeddings: RaderEmbeddings) -> None:
    with pytest.raises(InputError, match="RaderEmbeddings cannot be evaluated"):
        evaluate(embeddings, dataset)
    with pytest.raises(InputError, match="not RaderEmbeddings"):
        searchable(embeddings)  # type: ignore[arg-type]
    assert evaluation.adapt(searchable(RunnableLambda(len))) is not None
