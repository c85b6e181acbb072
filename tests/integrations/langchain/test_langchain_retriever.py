from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import ParrotFakeChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnablePassthrough
from langchain_core.tools import create_retriever_tool
from langchain_rader import RaderEmbeddings, RaderRetriever

from rader_plugins import Encoder, RaderIndex, Recipe
from rader_plugins import RaderRetriever as CoreRetriever
from rader_plugins.errors import FingerprintMismatchError, InputError

QUESTION = "Why must a large complete graph with red and blue edges hold a one-coloured clique?"


@pytest.fixture(scope="module")
def retriever(principles_index: RaderIndex) -> RaderRetriever:
    return RaderRetriever(index=principles_index, k=4)


def ids(documents: list[Document]) -> list[str | None]:
    return [document.id for document in documents]


# What it returns


def test_finds_what_the_core_finds(retriever: RaderRetriever, principles_index: RaderIndex) -> None:
    hits = CoreRetriever(principles_index).search(QUESTION, k=4)
    documents = retriever.invoke(QUESTION)
    assert documents[0].id == "ramsey-theorem"
    assert ids(documents) == [hit.document.id for hit in hits]
    for document, hit in zip(documents, hits, strict=True):
        assert document.page_content == hit.document.text
        assert document.metadata["doc_id"] == hit.document.id
        assert document.metadata["score"] == pytest.approx(hit.score)
        assert document.metadata["scores"].keys() == {"dense", "bm25", "fused"}
        assert document.metadata["number"] == hit.document.metadata["number"]


def test_stored_metadata_is_not_touched(retriever: RaderRetriever, principles_index: RaderIndex) -> None:
    document = retriever.invoke(QUESTION, k=1)[0]
    document.metadata["field"] = "changed"
    document.metadata["scores"]["dense"] = -1.0
    metadata = principles_index.get(["ramsey-theorem"])[0].metadata
    assert metadata["field"] != "changed"
    assert not {"doc_id", "score", "scores"} & metadata.keys()
    assert retriever.invoke(QUESTION, k=1)[0].metadata["scores"]["dense"] > 0


def test_metadata_of_the_same_names_is_kept_aside(mini: Encoder) -> None:
    metadata = {"doc_id": "parent-7", "score": "A+", "stored": 1, "page": 3}
    retriever = RaderRetriever.from_texts(["Bayes' theorem"], [metadata], ids=["bayes"], model=mini)
    result_metadata = retriever.invoke("Bayes")[0].metadata
    assert result_metadata["doc_id"] == "bayes"
    assert isinstance(result_metadata["score"], float)
    assert result_metadata["page"] == 3
    assert result_metadata["stored"] == {"doc_id": "parent-7", "score": "A+", "stored": 1}
    assert retriever.index.get(["bayes"])[0].metadata == metadata


# Arguments at construction and at call


@pytest.mark.parametrize("arguments", [{"K": 3}, {"top_k": 3}, {"search_kwargs": {}}])
def test_unknown_constructor_argument(principles_index: RaderIndex, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        RaderRetriever(index=principles_index, **arguments)


@pytest.mark.parametrize("arguments", [{"k": -1}, {"mode": "sparse"}, {"alpha": 1.5}, {"index": 5}])
def test_bad_constructor_argument(principles_index: RaderIndex, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        RaderRetriever(**{"index": principles_index, **arguments})


def test_no_index_at_path(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no index"):
        RaderRetriever(index=tmp_path / "none")  # type: ignore[arg-type]


CALLS: list[tuple[dict[str, Any], int]] = [
    ({"k": 2}, 2),
    ({"k": 0}, 0),
    ({"k": 1000}, 24),
    ({"k": 3, "mode": "dense"}, 3),
    ({"k": 3, "mode": "bm25"}, 3),
    ({"k": 3, "alpha": 0.1}, 3),
    ({"filter": {"number": {"$lt": 3}}}, 3),
    ({"filter": lambda document: document.metadata["number"] < 3}, 3),
    ({"k": 24, "exclude_ids": ["ramsey-theorem"]}, 23),
    ({}, 4),
    ({"k": None, "filter": None, "mode": None, "alpha": None, "exclude_ids": None, "instruction": None}, 4),
]


@pytest.mark.parametrize(("arguments", "count"), CALLS)
async def test_call_arguments_sync_and_async(
    retriever: RaderRetriever, principles_index: RaderIndex, arguments: dict[str, Any], count: int
) -> None:
    documents = retriever.invoke(QUESTION, **arguments)
    assert len(documents) == count
    assert await retriever.ainvoke(QUESTION, **arguments) == documents
    if not callable(arguments.get("filter")):
        effective = {"k": 4} | {name: value for name, value in arguments.items() if value is not None}
        assert ids(documents) == [
            hit.document.id for hit in CoreRetriever(principles_index).search(QUESTION, **effective)
        ]


async def test_unknown_call_argument(retriever: RaderRetriever) -> None:
    with pytest.raises(InputError, match=r"no argument 'filters'.*Did you mean 'filter'"):
        retriever.invoke(QUESTION, filters={"number": 1})
    with pytest.raises(InputError, match="no argument 'top_k'"):
        await retriever.ainvoke(QUESTION, top_k=1)


async def test_instruction_is_refused_where_the_model_takes_none(retriever: RaderRetriever) -> None:
    with pytest.raises(InputError, match="takes no instruction"):
        retriever.invoke(QUESTION, instruction="Find.")
    with pytest.raises(InputError, match="takes no instruction"):
        await retriever.ainvoke(QUESTION, instruction="Find.")


def test_constructor_arguments_hold_until_a_call_replaces_them(principles_index: RaderIndex) -> None:
    few = RaderRetriever(
        index=principles_index, k=9, mode="dense", filter={"number": {"$lt": 5}}, exclude_ids=["ramsey-theorem"]
    )
    documents = few.invoke(QUESTION)
    assert len(documents) == 4
    assert "ramsey-theorem" not in ids(documents)
    assert documents[0].metadata["scores"].keys() == {"dense"}
    assert len(few.invoke(QUESTION, filter=None)) == 4
    assert len(few.invoke(QUESTION, filter={})) == 9
    assert few.invoke(QUESTION, exclude_ids=[], k=1)[0].id == "ramsey-theorem"


def test_verbose_belongs_to_langchain(retriever: RaderRetriever) -> None:
    assert len(retriever.invoke(QUESTION, verbose=True)) == 4


@pytest.mark.parametrize("bad", [7, "number = 1", {"number": {"$near": 1}}])
def test_bad_filter(retriever: RaderRetriever, bad: Any) -> None:
    with pytest.raises(InputError, match="filter"):
        retriever.invoke(QUESTION, filter=bad)


def test_a_coroutine_is_no_filter(retriever: RaderRetriever) -> None:
    async def never(document: Document) -> bool:
        return False

    with pytest.raises(InputError, match="plain function"):
        retriever.invoke(QUESTION, filter=never)


@pytest.mark.parametrize("query", [{"question": QUESTION}, None, "a\ud800"])
def test_bad_query(retriever: RaderRetriever, query: Any) -> None:
    with pytest.raises(InputError):
        retriever.invoke(query)


# Runnable


async def test_batch_bind_and_configure(retriever: RaderRetriever) -> None:
    queries = [QUESTION, "Which principle says two pigeons share a hole?", QUESTION]
    single = [retriever.invoke(query, k=2) for query in queries]
    assert retriever.batch(queries, k=2) == single
    assert await retriever.abatch(queries, k=2) == single
    assert retriever.bind(k=2).invoke(QUESTION) == single[0]
    assert list(retriever.stream(QUESTION, k=2)) == [single[0]]
    configurable = retriever.configurable_fields(k=ConfigurableField(id="k"))
    assert configurable.invoke(QUESTION, config={"configurable": {"k": 2}}) == single[0]
    assert len(configurable.invoke(QUESTION)) == 4


async def test_in_a_chain_with_a_model(retriever: RaderRetriever) -> None:
    prompt = ChatPromptTemplate.from_template("Context: {context}\nQuestion: {question}")

    def join(documents: list[Document]) -> str:
        return "\n".join(document.page_content for document in documents)

    chain = (
        {"context": retriever | join, "question": RunnablePassthrough()}
        | prompt
        | ParrotFakeChatModel()
        | StrOutputParser()
    )
    expected = f"Context: {join(retriever.invoke(QUESTION))}\nQuestion: {QUESTION}"
    assert chain.invoke(QUESTION) == expected
    assert await chain.ainvoke(QUESTION) == expected


def test_as_a_tool(retriever: RaderRetriever) -> None:
    tool = create_retriever_tool(
        retriever.bind(k=1),  # type: ignore[arg-type]
        "principles",
        "Finds a principle.",
        response_format="content_and_artifact",
    )
    message = tool.invoke({"type": "tool_call", "id": "1", "name": "principles", "args": {"query": QUESTION}})
    assert ids(message.artifact) == ["ramsey-theorem"]


def test_merging_by_doc_id(retriever: RaderRetriever) -> None:
    """What EnsembleRetriever(id_key="doc_id") does: reciprocal ranks summed per metadata["doc_id"]."""
    totals: dict[str, float] = {}
    for mode in ("dense", "bm25"):
        for rank, document in enumerate(retriever.invoke(QUESTION, mode=mode, k=10), start=1):
            totals[document.metadata["doc_id"]] = totals.get(document.metadata["doc_id"], 0) + 1 / (60 + rank)
    assert max(totals, key=totals.__getitem__) == "ramsey-theorem"
    assert len(totals) < 20


# Callbacks


class Recorder(BaseCallbackHandler):
    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self.metadata: dict[str, Any] = {}

    def on_retriever_start(self, serialized: Any, query: str, **kwargs: Any) -> None:
        self.metadata = kwargs["metadata"]
        self.events.append(("start", query))

    def on_retriever_end(self, documents: Any, **kwargs: Any) -> None:
        self.events.append(("end", ids(documents)))

    def on_retriever_error(self, error: BaseException, **kwargs: Any) -> None:
        self.events.append(("error", str(error)))


class AsyncRecorder(AsyncCallbackHandler):
    def __init__(self) -> None:
        self.events: list[str] = []

    async def on_retriever_start(self, *_: Any, **__: Any) -> None:
        self.events.append("start")

    async def on_retriever_end(self, *_: Any, **__: Any) -> None:
        self.events.append("end")

    async def on_retriever_error(self, *_: Any, **__: Any) -> None:
        self.events.append("error")


def test_callbacks(retriever: RaderRetriever) -> None:
    recorder = Recorder()
    run_id = uuid4()
    documents = retriever.invoke(QUESTION, config={"callbacks": [recorder], "metadata": {"user": "u1"}}, run_id=run_id)
    assert recorder.events == [("start", QUESTION), ("end", ids(documents))]
    assert recorder.metadata["user"] == "u1"
    assert recorder.metadata["ls_retriever_name"] == "rader"
    assert recorder.metadata["ls_vector_store_provider"] == "RaderIndex"
    assert recorder.metadata["ls_embedding_provider"] == "rader_plugins"
    assert recorder.metadata["ls_embedding_model"] == "mini"


def test_callback_of_an_error(retriever: RaderRetriever) -> None:
    recorder = Recorder()
    with pytest.raises(InputError):
        retriever.invoke(QUESTION, config={"callbacks": [recorder]}, k=-1)
    assert [event for event, _ in recorder.events] == ["start", "error"]
    assert "k must be" in recorder.events[1][1]


async def test_async_callbacks(retriever: RaderRetriever) -> None:
    recorder = AsyncRecorder()
    await retriever.ainvoke(QUESTION, config={"callbacks": [recorder]})
    with pytest.raises(InputError):
        await retriever.ainvoke(QUESTION, config={"callbacks": [recorder]}, alpha=2)
    assert recorder.events == ["start", "end", "start", "error"]


# Concurrency


async def test_the_event_loop_is_not_blocked(retriever: RaderRetriever) -> None:
    searching, released = threading.Event(), threading.Event()

    def wait_for_the_loop(document: Document) -> bool:
        searching.set()
        if not released.wait(20):
            raise RuntimeError("nothing else ran while a search was under way")
        return True

    search = asyncio.create_task(retriever.ainvoke(QUESTION, filter=wait_for_the_loop))
    while not searching.is_set() and not search.done():
        await asyncio.sleep(0)
    released.set()
    assert ids(await search) == ids(retriever.invoke(QUESTION))


async def test_adding_does_not_block_the_event_loop(mini: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    add = RaderIndex.add

    def recorded(self: RaderIndex, *arguments: Any, **options: Any) -> int:
        threads.append(threading.get_ident())
        return add(self, *arguments, **options)

    monkeypatch.setattr(RaderIndex, "add", recorded)
    retriever = await RaderRetriever.afrom_texts(["Bayes"], ids=["b"], model=mini)
    assert await retriever.aadd_documents([Document(page_content="Ramsey", id="r")]) == ["r"]
    assert threads
    assert threading.get_ident() not in threads
    assert set(ids(await retriever.ainvoke("Bayes"))) == {"b", "r"}


def test_from_many_threads(retriever: RaderRetriever) -> None:
    queries = [QUESTION, "two pigeons share a hole", "an infinite set and its subsets"] * 8
    expected = {query: ids(retriever.invoke(query)) for query in set(queries)}
    with ThreadPoolExecutor(8) as pool:
        rankings = list(pool.map(lambda query: ids(retriever.invoke(query)), queries))
    assert rankings == [expected[query] for query in queries]


async def test_many_at_once(retriever: RaderRetriever) -> None:
    expected = ids(retriever.invoke(QUESTION))
    results = await asyncio.gather(*(retriever.ainvoke(QUESTION, k=1 + number % 4) for number in range(12)))
    assert [ids(documents) for documents in results] == [expected[: 1 + number % 4] for number in range(12)]


# From documents to a retriever


def test_from_documents_keeps_them_and_reopens(tmp_path: Path, mini: Encoder, principles: list[Document]) -> None:
    built = RaderRetriever.from_documents(principles[:10], model=mini, path=tmp_path / "index", k=2)
    expected = built.invoke(QUESTION)
    built.index.close()
    opened = RaderRetriever(index=str(tmp_path / "index"), k=2)  # type: ignore[arg-type]
    assert opened.invoke(QUESTION) == expected
    extended = RaderRetriever.from_documents(principles[5:20], model=mini, path=tmp_path / "index")
    assert len(extended.index) == 20
    assert len(extended.invoke(QUESTION)) == 4


def test_documents_without_id_are_not_doubled(tmp_path: Path, mini: Encoder) -> None:
    documents = [Document(page_content="Bayes", metadata={"page": page}) for page in (1, 2, 2)]
    first = RaderRetriever.from_documents(documents, model=mini, path=tmp_path / "index")
    assert len(first.index) == 2
    assert len({document.id for document in first.index.documents()}) == 2
    first.index.close()
    reopened = RaderRetriever.from_documents(documents, model=mini, path=tmp_path / "index")
    assert len(reopened.index) == 2
    assert documents[0].id is None


def test_unchanged_documents_are_not_encoded_again(mini: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    retriever = RaderRetriever.from_texts(["a", "b"], [{"n": 1}, {"n": 1}], ids=["1", "2"], model=mini)
    encoded: list[str] = []
    encode = mini.encode_documents

    def recorded(texts: Any) -> Any:
        encoded.extend(texts)
        return encode(texts)

    monkeypatch.setattr(mini, "encode_documents", recorded)
    changed = [
        Document("a", id="1", metadata={"n": 1}),
        Document("b", id="2", metadata={"n": True}),
        Document("c", id="3"),
    ]
    assert retriever.add_documents(changed) == ["1", "2", "3"]
    assert encoded == ["c"]
    assert retriever.index.get(["2"])[0].metadata == {"n": True}


def test_an_index_of_another_model_is_refused(tmp_path: Path, mini: Encoder, prefixed: Recipe) -> None:
    RaderRetriever.from_texts(["a"], model=mini, path=tmp_path / "index").index.close()
    with pytest.raises(FingerprintMismatchError, match="'mini'.*'prefixed'"):
        RaderRetriever.from_texts(["b"], model=prefixed, path=tmp_path / "index")
    assert len(RaderIndex.open(tmp_path / "index")) == 1


def test_nothing_to_index(mini: Encoder) -> None:
    retriever = RaderRetriever.from_documents([], model=mini)
    for mode in ("hybrid", "dense", "bm25"):
        assert retriever.invoke(QUESTION, mode=mode) == []
    assert retriever.add_documents([]) == []


def test_instruction_of_embeddings_comes_along(prefixed: Recipe) -> None:
    embeddings = RaderEmbeddings(model=prefixed, instruction="Find the theorem. ")
    retriever = RaderRetriever.from_texts(["a"], model=embeddings)
    assert retriever.index.encoder is embeddings.encoder
    assert retriever.instruction == "Find the theorem. "
    score = retriever.invoke("b", mode="dense")[0].metadata["score"]
    assert score != retriever.invoke("b", mode="dense", instruction="")[0].metadata["score"]


@pytest.mark.parametrize(
    ("texts", "metadatas", "names", "message"),
    [
        ("one string", None, None, "list of texts"),
        (["a", 5], None, None, "text 1"),
        (["a"], [{}, {}], None, "2 metadatas for 1"),
        (["a"], None, ["x", "y"], "2 ids for 1"),
        (["a"], None, "x", "ids must be a list"),
        (["a"], None, [""], "non-empty"),
        (["a", "b"], None, ["x", "x"], "stands twice"),
        (["a"], [{"when": threading.Event()}], None, "'when'"),
        (["a"], [{"score": float("nan")}], None, "'score'"),
        (["a\ud800"], None, None, "surrogate"),
    ],
)
def test_bad_documents(mini: Encoder, texts: Any, metadatas: Any, names: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        RaderRetriever.from_texts(texts, metadatas, names, model=mini)


def test_bad_document_lists(mini: Encoder) -> None:
    with pytest.raises(InputError, match="Pass a list"):
        RaderRetriever.from_documents(Document("a"), model=mini)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="from_texts"):
        RaderRetriever.from_documents(["a"], model=mini)  # type: ignore[list-item]
    with pytest.raises(InputError, match="no argument 'K'.*'k'"):
        RaderRetriever.from_texts(["a"], model=mini, K=2)
    with pytest.raises(InputError, match="takes no encoder_options"):
        RaderRetriever.from_texts(["a"], model=mini, encoder_options={"device": "cpu"})
