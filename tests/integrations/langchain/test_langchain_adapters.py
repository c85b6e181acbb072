"""What LangChain's own parts expect of retrievers, stores and rerankers beyond their interfaces."""

from __future__ import annotations

import asyncio
import copy
import datetime
import decimal
import enum
import json
import pickle
import uuid
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from langchain_core.callbacks import BaseCallbackHandler, get_usage_metadata_callback
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models import BaseChatModel
from langchain_core.load import dumps
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableLambda
from langchain_core.structured_query import Comparator, Comparison, Operation, Operator, StructuredQuery
from langchain_rader import (
    LangChainChat,
    RaderEmbeddings,
    RaderReranker,
    RaderRetriever,
    RaderTranslator,
    RaderVectorStore,
    TrajectoryRecorder,
)

from rader_plugins import LLMReranker, ReasoningQuery
from rader_plugins.errors import InputError
from rader_plugins.recording import read_recorded

TEXTS = ["a tree with n vertices has n-1 edges", "degrees sum to twice the edges", "bayes relates probabilities"]
IDS = ["tree", "handshake", "bayes"]
FAKE = DeterministicFakeEmbedding(size=8)


class Says(BaseChatModel):
    """Says one thing, and tells how many tokens it used."""

    said: str

    @property
    def _llm_type(self) -> str:
        return "says"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        usage = {"input_tokens": 10, "output_tokens": 1, "total_tokens": 11}
        message = AIMessage(self.said, usage_metadata=usage, response_metadata={"model_name": "m"})
        return ChatResult(generations=[ChatGeneration(message=message)])


class Trace(BaseCallbackHandler):
    """Keeps parents and tags of runs."""

    run_inline = True

    def __init__(self) -> None:
        self.retrievers: set[Any] = set()
        self.models: list[tuple[Any, list[str]]] = []
        self.roots = 0

    def on_retriever_start(
        self, serialized: Any, query: str, *, run_id: Any, parent_run_id: Any = None, **_: Any
    ) -> None:
        self.retrievers.add(run_id)
        self.roots += parent_run_id is None

    def on_chain_start(self, serialized: Any, inputs: Any, *, parent_run_id: Any = None, **_: Any) -> None:
        self.roots += parent_run_id is None

    def on_chat_model_start(
        self, serialized: Any, messages: Any, *, parent_run_id: Any = None, tags: Any = None, **_: Any
    ) -> None:
        self.models.append((parent_run_id, list(tags or ())))
        self.roots += parent_run_id is None


def graded(**options: Any) -> RaderRetriever:
    return RaderRetriever.from_texts(
        TEXTS,
        ids=IDS,
        model=FAKE,
        reasoning=ReasoningQuery(LangChainChat(Says(said="a text to search for"), **options)),
        reranker=LLMReranker(LangChainChat(Says(said="Grade: 4"), **options)),
        rerank_top=3,
    )


@pytest.mark.parametrize("options", [{}, {"config": {"tags": ["own"]}}])
@pytest.mark.parametrize("asynchronous", [True, False])
def test_model_calls_of_a_search_are_runs_below_it(options: dict[str, Any], asynchronous: bool, tmp_path: Path) -> None:
    trace = Trace()
    chain = graded(**options) | RunnableLambda(len)
    with TrajectoryRecorder(tmp_path / "runs.jsonl") as recorder, get_usage_metadata_callback() as used:
        config: Any = {"callbacks": [trace, recorder], "tags": ["mine"]}
        if asynchronous:
            asyncio.run(chain.ainvoke("edges?", config))
        else:
            chain.invoke("edges?", config)
    assert trace.roots == 1
    assert len(trace.models) == 4
    for parent, tags in trace.models:
        assert parent in trace.retrievers
        assert {"rader:inner", "nostream", "mine"} <= set(tags)
        assert ("own" in tags) == bool(options)
    assert sum(usage["total_tokens"] for usage in used.usage_metadata.values()) == 44
    [run] = read_recorded(recorder.writer.path)
    assert [step.kind for step in run.steps] == ["query", "retrieval"]
    assert recorder.counts["skipped"] == 0


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_reranker_in_a_chain_is_no_thought(asynchronous: bool, tmp_path: Path) -> None:
    plain = RaderRetriever.from_texts(TEXTS, ids=IDS, model=FAKE)
    reranker = RaderReranker(model=LLMReranker(LangChainChat(Says(said="Grade: 4"))))
    if asynchronous:

        async def arerank(found: list[Document], config: Any) -> list[Document]:
            return list(await reranker.acompress_documents(found, "edges?", config["callbacks"]))

        chain: Any = plain | RunnableLambda(arerank)
    else:
        rerank: Any = RunnableLambda(
            lambda found, config: reranker.compress_documents(found, "edges?", config["callbacks"])
        )
        chain = plain | rerank
    trace = Trace()
    with TrajectoryRecorder(tmp_path / "runs.jsonl", only_with_retrieval=False) as recorder:
        asyncio.run(chain.ainvoke("edges?", {"callbacks": [trace, recorder]}))
    [run] = read_recorded(recorder.writer.path)
    assert [step.kind for step in run.steps] == ["query", "retrieval"]
    assert (len(trace.models), trace.roots) == (3, 1)


def test_a_document_is_equal_whatever_it_was_found_by() -> None:
    retriever = RaderRetriever.from_texts(TEXTS, [{"n": 1}, {"n": 2}, {"n": 3}], ids=IDS, model=FAKE)
    first, second = ({document.id: document for document in retriever.invoke(text)} for text in ("edges", "trees"))
    for id in IDS:
        assert first[id].metadata["score"] != second[id].metadata["score"]
        assert first[id] == second[id]
        plain = Document(id=id, page_content=first[id].page_content, metadata={"n": first[id].metadata["n"]})
        assert plain == first[id]
        assert first[id] == plain
        assert first[id] != plain.model_copy(update={"metadata": {"n": 0}})
    assert first["tree"] != first["bayes"]


def test_a_result_is_stored_and_printed_as_a_plain_document() -> None:
    [document] = RaderRetriever.from_texts(TEXTS, ids=IDS, model=FAKE).invoke("edges", k=1)
    unpickled = pickle.loads(pickle.dumps(document))  # noqa: S301
    assert type(unpickled) is Document
    assert unpickled.metadata == document.metadata
    assert repr(document).startswith("Document(id=")
    assert json.loads(dumps(document))["id"] == ["langchain", "schema", "document", "Document"]
    assert copy.deepcopy(document).metadata == document.metadata
    serde = pytest.importorskip("langgraph.checkpoint.serde.jsonplus", reason="needs langgraph")
    deserialized = serde.JsonPlusSerializer().loads_typed(serde.JsonPlusSerializer().dumps_typed(document))
    assert type(deserialized) is Document


def test_retrievers_that_merge_results() -> None:
    classic = pytest.importorskip("langchain_classic.retrievers", reason="needs langchain-classic")
    from langchain_core.language_models import FakeListLLM

    retriever = RaderRetriever.from_texts(TEXTS, ids=IDS, model=FAKE, k=2)
    store = RaderVectorStore.from_texts(TEXTS, FAKE, ids=IDS)
    llm = FakeListLLM(responses=["edges of a tree\nhow many edges\nsum of degrees"])
    ids = [document.id for document in classic.MultiQueryRetriever.from_llm(retriever, llm).invoke("edges?")]
    assert len(ids) == len(set(ids))
    both = classic.EnsembleRetriever(retrievers=[retriever, store.as_retriever()], weights=[0.5, 0.5], id_key="doc_id")
    assert sorted(document.id for document in both.invoke("edges?")) == sorted(IDS)
    assert all(document.metadata["doc_id"] == document.id for document in asyncio.run(both.ainvoke("edges?")))
    reranker = RaderReranker(model=LLMReranker(LangChainChat(Says(said="Grade: 4"))), top_n=2)
    compressed = classic.ContextualCompressionRetriever(base_retriever=store.as_retriever(), base_compressor=reranker)
    assert len(compressed.invoke("edges?")) == 2


def test_store_documents_come_back_as_they_were_stored() -> None:
    store = RaderVectorStore.from_texts(TEXTS, FAKE, [{"n": 1}, {"n": 2}, {"n": 3}], ids=IDS)
    [document] = store.similarity_search("edges", k=1)
    assert set(document.metadata) == {"n"}
    [retrieved] = store.as_retriever(search_kwargs={"k": 1}).invoke("edges")
    assert retrieved.metadata == {**document.metadata, "doc_id": document.id}
    assert retrieved == document


@pytest.mark.parametrize("how", ["from_documents", "afrom_documents", "add_documents", "store"])
def test_a_changed_source_leaves_no_text_behind(tmp_path: Path, how: str) -> None:
    def page(text: str, source: str) -> Document:
        return Document(text, metadata={"source": source})

    before = [page("old one", "a.md"), page("old two", "a.md"), page("other", "b.md"), Document("no source")]
    after = [page("new one", "a.md"), page("old two", "a.md")]
    path = tmp_path / "index"
    retriever = RaderRetriever.from_documents(before, FAKE, path)
    if how == "from_documents":
        retriever = RaderRetriever.from_documents(after, FAKE, path)
    elif how == "afrom_documents":
        retriever = asyncio.run(RaderRetriever.afrom_documents(after, FAKE, path))
    elif how == "add_documents":
        retriever.add_documents(after, source_id_key="source")
    else:
        RaderVectorStore(FAKE, path).add_documents(after, source_id_key="source")
    texts = sorted(document.page_content for document in RaderVectorStore(FAKE, path).similarity_search("one", k=10))
    assert texts == ["new one", "no source", "old two", "other"]
    RaderRetriever.from_documents([page("a third page", "a.md")], FAKE, path, source_id_key=None)
    assert len(RaderVectorStore(FAKE, path).similarity_search("one", k=10)) == 5


def test_arguments_of_other_names_are_named() -> None:
    retriever = RaderRetriever.from_texts(TEXTS, ids=IDS, model=FAKE)
    for arguments, meant in ({"similarity_top_k": 2}, "k"), ({"filters": {}}, "filter"), ({"top_k": 2}, "k"):
        with pytest.raises(InputError, match=f"Did you mean '{meant}'"):
            retriever.invoke("edges", **arguments)
        with pytest.raises(ValueError, match=f"Did you mean '{meant}'"):
            RaderRetriever(index=retriever.index, **arguments)


def test_a_retriever_has_a_schema_and_a_dump(tmp_path: Path) -> None:
    retriever = RaderRetriever.from_texts(TEXTS, model=FAKE, path=tmp_path / "index", filter={"n": {"$gt": 1}})
    assert set(RaderRetriever.model_json_schema()["properties"]) >= {"index", "k", "filter", "reranker", "reasoning"}
    fields = json.loads(retriever.model_dump_json())
    assert (fields["index"], fields["k"], fields["filter"]) == (str(tmp_path / "index"), 4, {"n": {"$gt": 1}})
    fields = json.loads(graded().model_dump_json())
    assert (fields["reranker"], fields["reasoning"], fields["index"]["index"]) == (
        "LLMReranker", "ReasoningQuery", "RaderIndex"
    )  # fmt: skip


@pytest.fixture
def objects(tmp_path: Path, mini: Any) -> dict[str, Any]:
    embeddings = RaderEmbeddings(model="mini")
    chat = LangChainChat(Says(said="Grade: 4"))
    return {
        "RaderEmbeddings": embeddings,
        "RaderEmbeddings of an encoder": RaderEmbeddings(model=mini),
        "RaderRetriever": RaderRetriever.from_texts(TEXTS, model=embeddings, path=tmp_path / "one"),
        "RaderVectorStore": RaderVectorStore.from_texts(TEXTS, embeddings, path=tmp_path / "two"),
        "LangChainChat": chat,
        "RaderReranker": RaderReranker(model=LLMReranker(chat)),
        "TrajectoryRecorder": TrajectoryRecorder(tmp_path / "runs.jsonl", metadata={"app": "v1"}),
    }


NAMES = ["RaderEmbeddings", "RaderEmbeddings of an encoder", "RaderRetriever", "RaderVectorStore", "LangChainChat",
         "RaderReranker", "TrajectoryRecorder"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_copies_share_and_pickles_hold_how_to_load(objects: dict[str, Any], name: str) -> None:
    original = objects[name]
    copied = copy.deepcopy({"inner": original})["inner"]
    for attribute in ("encoder", "index", "reranker", "llm", "writer"):
        if (shared := getattr(original, attribute, None)) is not None:
            assert getattr(copied, attribute) is shared
    data = pickle.dumps(original)
    assert len(data) < 20_000
    unpickled = pickle.loads(data)  # noqa: S301
    if hasattr(original, "invoke"):
        assert [document.id for document in unpickled.invoke("edges")] == [
            document.id for document in original.invoke("edges")
        ]
    if hasattr(original, "embed_query"):
        assert unpickled.embed_query("edges") == pytest.approx(original.embed_query("edges"), abs=1e-5)
    if name == "TrajectoryRecorder":
        assert (unpickled.writer.path, unpickled.metadata) == (original.writer.path, original.metadata)


def test_a_store_in_memory_says_that_it_cannot_be_pickled() -> None:
    with pytest.raises(InputError, match="give it a path"):
        pickle.dumps(RaderVectorStore.from_texts(TEXTS, FAKE))


def test_structured_queries_become_filters() -> None:
    def compare(name: str, attribute: str, value: Any) -> Comparison:
        return Comparison(comparator=Comparator(name), attribute=attribute, value=value)

    metadatas = [{"field": "graphs", "year": 1857}, {"field": "graphs", "year": 1736}, {"field": "logic", "year": 1900}]
    store = RaderVectorStore.from_texts(TEXTS, FAKE, metadatas, ids=IDS)
    graphs, late = compare("eq", "field", "graphs"), compare("gt", "year", 1800)
    cases: list[tuple[Any, set[str]]] = [
        (Operation(operator=Operator("and"), arguments=[graphs, late]), {"tree"}),
        (Operation(operator=Operator("or"), arguments=[graphs, late]), set(IDS)),
        (Operation(operator=Operator("not"), arguments=[graphs]), {"bayes"}),
        (compare("in", "year", [1736, 1900]), {"handshake", "bayes"}),
        (compare("nin", "year", [1736]), {"tree", "bayes"}),
        (None, set(IDS)),
    ]
    for condition, ids in cases:
        text, options = RaderTranslator().visit_structured_query(
            StructuredQuery(query="edges", filter=condition, limit=None)
        )
        assert {document.id for document in store.similarity_search(text, **options)} == ids
    query = StructuredQuery(query="edges", filter=compare("lt", "day", {"type": "date", "date": "2024-05-01"}), limit=2)
    assert RaderTranslator().visit_structured_query(query)[1] == {"filter": {"day": {"$lt": "2024-05-01"}}, "k": 2}
    with pytest.raises(InputError, match="contain"):
        RaderTranslator().visit_comparison(compare("contain", "field", "x"))


def test_a_self_querying_retriever() -> None:
    base = pytest.importorskip("langchain_classic.retrievers.self_query.base", reason="needs langchain-classic")
    store = RaderVectorStore.from_texts(TEXTS, FAKE, [{"year": year} for year in (1857, 1736, 1900)], ids=IDS)
    later = Comparison(comparator=Comparator("gt"), attribute="year", value=1800)
    fixed: Any = RunnableLambda(lambda _: StructuredQuery(query="edges", filter=later, limit=None))
    retriever = base.SelfQueryRetriever(
        query_constructor=fixed, vectorstore=store, structured_query_translator=RaderTranslator()
    )
    assert {document.id for document in retriever.invoke("what came after 1800?")} == {"tree", "bayes"}


class Color(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (datetime.datetime(2024, 5, 1, 12), "2024-05-01T12:00:00"),
        (datetime.date(2024, 5, 1), "2024-05-01"),
        (uuid.UUID(int=5), str(uuid.UUID(int=5))),
        (decimal.Decimal("1.50"), 1.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (Color.RED, "red"),
        (PurePosixPath("a/b.txt"), "a/b.txt"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_metadata_of_every_type_are_stored_and_filter_as_such(value: Any, stored: Any) -> None:
    store = RaderVectorStore.from_texts(["text a", "text b"], FAKE, [{"key": value}, {"key": "other"}], ids=["a", "b"])
    retriever = RaderRetriever(index=store.index)
    for condition in ({"key": value}, {"key": stored}, {"key": {"$in": [value]}}):
        for documents in (
            store.similarity_search("text", filter=condition),
            retriever.invoke("text", filter=condition),
        ):
            assert [(document.id, document.metadata["key"]) for document in documents] == [("a", stored)]
            assert type(documents[0].metadata["key"]) is type(stored)
