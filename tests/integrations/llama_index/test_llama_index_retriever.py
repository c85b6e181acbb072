from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.evaluation import RetrieverEvaluator
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.retrieval import RetrievalEndEvent, RetrievalStartEvent
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers.no_text import NoText
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.retrievers.fusion_retriever import FUSION_MODES
from llama_index.core.schema import Document as LlamaDocument
from llama_index.core.schema import IndexNode, MetadataMode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters
from llama_index.embeddings.rader import RaderEmbedding
from llama_index.retrievers.rader import RaderRetriever
from llama_index.retrievers.rader.nodes import node_to_document

from rader_plugins import Encoder, RaderIndex, Recipe
from rader_plugins import RaderRetriever as CoreRetriever
from rader_plugins.errors import FingerprintMismatchError, InputError
from tests.support.encoders import HashEncoder

QUESTION = "What is the smallest number of guests so that three know each other or three are strangers?"


@pytest.fixture(scope="module")
def vectors() -> dict[str, Any]:
    return {}


@pytest.fixture
def retriever(nodes: list[TextNode], mini: Encoder, vectors: dict[str, Any]) -> RaderRetriever:
    """Twelve nodes under a real model; each test may change its index, the vectors are made once."""
    documents = [node_to_document(node) for node in nodes]
    if not vectors:
        vectors["all"] = mini.encode_documents([document.text for document in documents])
    index = RaderIndex.create(None, mini)
    index.add(documents, vectors=vectors["all"])
    return RaderRetriever(index, 5)


def _ids(scored: Sequence[NodeWithScore]) -> list[str]:
    return [result.node_id for result in scored]


# What it returns


def test_is_a_base_retriever() -> None:
    assert BaseRetriever.__name__ in [base.__name__ for base in RaderRetriever.__mro__]


@pytest.mark.parametrize("mode", ["dense", "bm25", "hybrid"])
def test_results_are_those_of_the_core(retriever: RaderRetriever, mode: Any) -> None:
    narrowed = RaderRetriever(retriever.index, 5, mode=mode, alpha=0.5)
    hits = CoreRetriever(retriever.index, mode, 0.5).search(QUESTION, 5)
    results = narrowed.retrieve(QUESTION)
    assert _ids(results) == [hit.document.id for hit in hits]
    assert [result.score for result in results] == [hit.score for hit in hits]
    assert [result.node.metadata["scores"] for result in results] == [hit.scores for hit in hits]
    assert all(type(result.score) is float for result in results)
    assert sorted((result.score for result in results), reverse=True) == [result.score for result in results]
    if mode != "hybrid":  # fused scores are z-scores, which lie on both sides of zero
        assert results[0].score is not None
        assert results[0].score > 0


def test_nodes_come_back_whole(retriever: RaderRetriever, nodes: list[TextNode]) -> None:
    added = {node.node_id: node for node in nodes}
    for scored in retriever.retrieve(QUESTION):
        node, before = scored.node, added[scored.node_id]
        assert isinstance(node, TextNode)
        assert (node.text, node.start_char_idx, node.end_char_idx) == (
            before.text,
            before.start_char_idx,
            before.end_char_idx,
        )
        assert node.ref_doc_id == before.ref_doc_id
        assert node.get_content(MetadataMode.LLM) == before.get_content(MetadataMode.LLM)


def test_what_a_caller_does_to_a_result_stays_with_the_caller(retriever: RaderRetriever) -> None:
    first = retriever.retrieve(QUESTION)
    before = [(result.node.text, result.score) for result in first]  # type: ignore[attr-defined]
    for result in first:
        result.score = 0.0
        result.node.metadata.clear()
        result.node.set_content("gone")
    second = retriever.retrieve(QUESTION)
    assert [(result.node.text, result.score) for result in second] == before  # type: ignore[attr-defined]
    assert second[0].node.metadata["field"] == "combinatorics"


@pytest.mark.parametrize(("k", "count"), [(0, 0), (1, 1), (12, 12), (500, 12)])
async def test_similarity_top_k(retriever: RaderRetriever, k: int, count: int) -> None:
    retriever.similarity_top_k = k
    assert len(retriever.retrieve(QUESTION)) == count
    assert len(await retriever.aretrieve(QUESTION)) == count


@pytest.mark.parametrize("k", [-1, 1.5, True, None])
def test_a_wrong_top_k_is_refused(retriever: RaderRetriever, k: Any) -> None:
    with pytest.raises(InputError, match="similarity_top_k"):
        RaderRetriever(retriever.index, k)
    retriever.similarity_top_k = k
    with pytest.raises(InputError, match="similarity_top_k"):
        retriever.retrieve(QUESTION)


def test_wrong_arguments_are_refused_at_once(retriever: RaderRetriever, tmp_path: Path) -> None:
    for arguments in ({"mode": "dens"}, {"alpha": 2}, {"instruction": "find: "}, {"candidates": 0}):
        with pytest.raises(InputError):
            RaderRetriever(retriever.index, **arguments)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no index"):
        RaderRetriever(tmp_path)
    with pytest.raises(InputError, match="similarity_top_k"):
        RaderRetriever(retriever.index, top_k=3)  # type: ignore[call-arg]


# What it searches by


def test_the_embedding_of_a_bundle_is_used(retriever: RaderRetriever, mini: Encoder) -> None:
    dense = RaderRetriever(retriever.index, 3, mode="dense")
    other = "how parity arguments count edges"
    vector = (mini.encode_queries([other])[0] * 7).tolist()
    by_vector = dense.retrieve(QueryBundle(QUESTION, embedding=vector))
    assert _ids(by_vector) == _ids(dense.retrieve(other)) != _ids(dense.retrieve(QUESTION))
    assert [result.score for result in by_vector] == pytest.approx([result.score for result in dense.retrieve(other)])
    own = RaderRetriever(retriever.index, 3, mode="dense", use_query_embedding=False)
    assert _ids(own.retrieve(QueryBundle(QUESTION, embedding=vector))) == _ids(dense.retrieve(QUESTION))


async def test_unusable_embeddings_of_a_bundle(retriever: RaderRetriever) -> None:
    for embedding, message in (([1.0, 2.0], "use_query_embedding=False"), ([0.0] * 384, "zero")):
        with pytest.raises(InputError, match=message):
            retriever.retrieve(QueryBundle(QUESTION, embedding=embedding))
        with pytest.raises(InputError, match=message):
            await retriever.aretrieve(QueryBundle(QUESTION, embedding=embedding))
    lexical = RaderRetriever(retriever.index, 3, mode="bm25")
    assert _ids(lexical.retrieve(QueryBundle("graph", embedding=[1.0]))) == _ids(lexical.retrieve("graph"))


async def test_custom_embedding_strs(retriever: RaderRetriever, mini: Encoder) -> None:
    dense = RaderRetriever(retriever.index, 12, mode="dense")
    strings = ["cliques in a coloured graph", "parties and strangers"]
    vectors = mini.encode_queries(strings)
    bundle = QueryBundle(QUESTION, custom_embedding_strs=strings)
    expected = dense.retrieve(QueryBundle(QUESTION, embedding=vectors.mean(axis=0).tolist()))
    for results in (dense.retrieve(bundle), await dense.aretrieve(bundle)):
        assert _ids(results) == _ids(expected)
        np.testing.assert_allclose([e.score for e in results], [e.score for e in expected], atol=1e-5)
    lexical = RaderRetriever(retriever.index, 3, mode="bm25")
    assert _ids(lexical.retrieve(bundle)) == _ids(lexical.retrieve(QUESTION))


def test_an_instruction_reaches_the_encoder(nodes: list[TextNode]) -> None:
    class Instructed(HashEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.recipe = Recipe(name="hash", model="tests/hash", query_template="{instruction}{text}")
            self.instructions: list[str | None] = []

        def encode_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> Any:
            self.instructions.append(instruction)
            return super().encode_queries(texts)

    encoder = Instructed()
    retriever = RaderRetriever.from_defaults(nodes=nodes, model=encoder, instruction="find: ")
    retriever.retrieve("x")
    retriever.retrieve(QueryBundle("x", custom_embedding_strs=["y"]))
    assert encoder.instructions == ["find: ", "find: "]


# Async and threads


async def test_async_gives_what_sync_gives(retriever: RaderRetriever) -> None:
    for options in ({}, {"mode": "bm25"}, {"filters": {"number": {"$lt": 6}}}, {"node_ids": ["ramsey-theorem"]}):
        narrowed = RaderRetriever(retriever.index, 5, **options)  # type: ignore[arg-type]
        by_sync, by_async = narrowed.retrieve(QUESTION), await narrowed.aretrieve(QUESTION)
        assert [(e.node_id, e.score) for e in by_sync] == [(e.node_id, e.score) for e in by_async]
        assert by_sync


@pytest.mark.parametrize("where", ["encoding", "filter", "index"])
async def test_the_loop_runs_on_during_a_search(
    nodes: list[TextNode], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, released, in_time = threading.Event(), threading.Event(), []

    def wait(*_: object) -> bool:
        entered.set()
        in_time.append(released.wait(20))
        return True

    class Slow(HashEncoder):
        async def aencode_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> Any:
            await asyncio.to_thread(wait)
            return self._encode(texts)

    filters = wait if where == "filter" else None
    retriever = RaderRetriever.from_defaults(nodes=nodes, model=(Slow if where == "encoding" else HashEncoder)())
    retriever.filters = filters
    if where == "index":
        retriever.node_ids = [node.node_id for node in nodes]
        get = retriever.index.get
        monkeypatch.setattr(retriever.index, "get", lambda ids: wait() and get(ids))
    task = asyncio.create_task(retriever.aretrieve("x"))
    # The search waits until this very loop lets it go on: one that ran on the loop would wait in vain.
    assert await asyncio.to_thread(entered.wait, 20)
    assert not task.done()
    released.set()
    assert len(await task) == 4
    assert in_time
    assert all(in_time)


def test_threads(retriever: RaderRetriever) -> None:
    queries = [f"{QUESTION} {word}" for word in ("graph", "parity", "colour", "tree", "count", "set")]
    expected = {query: _ids(retriever.retrieve(query)) for query in queries}
    ids_by_query: dict[str, list[str]] = {}
    threads = [
        threading.Thread(target=lambda query=query: ids_by_query.update({query: _ids(retriever.retrieve(query))}))
        for query in queries
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ids_by_query == expected


# Making, changing, keeping


def test_from_defaults_needs_nodes(tmp_path: Path) -> None:
    for arguments in ({}, {"nodes": []}, {"documents": []}, {"docstore": SimpleDocumentStore()}, {"path": tmp_path}):
        with pytest.raises(ValueError, match="no nodes"):
            RaderRetriever.from_defaults(model=HashEncoder(), **arguments)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_from_defaults_twice_adds_and_encodes_nothing_twice(nodes: list[TextNode], tmp_path: Path) -> None:
    encoder = HashEncoder()
    first = RaderRetriever.from_defaults(nodes=nodes, model=encoder, path=tmp_path)
    assert sum(encoder.calls) == len(first.index) == 12
    first.index.close()
    changed = [nodes[0].model_copy(update={"text": "new"}), *nodes[1:], TextNode(id_="more", text="more")]
    second = RaderRetriever.from_defaults(nodes=changed, model=encoder, path=tmp_path)
    assert len(second.index) == 13
    assert sum(encoder.calls) == 12 + 2
    assert (
        RaderRetriever.from_defaults(path=tmp_path, model=encoder).index.get(["ramsey-theorem"])[0].text.endswith("new")
    )
    with pytest.raises(FingerprintMismatchError):
        RaderRetriever.from_defaults(path=tmp_path, model=HashEncoder(name="other"))


def test_from_documents_replaces_the_nodes_of_a_document(tmp_path: Path) -> None:
    encoder = HashEncoder()
    splitter = SentenceSplitter(chunk_size=32, chunk_overlap=0)
    texts = {name: " ".join(f"Sentence {number} of {name}." for number in range(20)) for name in ("one", "two")}

    def build() -> RaderRetriever:
        documents = [LlamaDocument(id_=name, text=text, metadata={"name": name}) for name, text in texts.items()]
        return RaderRetriever.from_defaults(
            documents=documents, transformations=[splitter], model=encoder, path=tmp_path, similarity_top_k=100
        )

    first = build()
    before, encoded = (
        {document.id: document.metadata["name"] for document in first.index.documents()},
        sum(encoder.calls),
    )
    assert len(before) > 4
    assert {document.id for document in build().index.documents()} == set(before)
    assert sum(encoder.calls) == encoded
    texts["two"] = "Another text."
    after = {document.id: document.metadata["name"] for document in build().index.documents()}
    assert {id for id, name in after.items() if name == "one"} == {id for id, name in before.items() if name == "one"}
    assert [name for id, name in after.items() if id not in before] == ["two"]
    assert sorted(after.values()).count("two") == 1


def test_from_documents_with_the_default_splitter() -> None:
    document = LlamaDocument(id_="doc", text="A short text.", metadata={"a": 1})
    retriever = RaderRetriever.from_defaults(documents=[document], model=HashEncoder())
    [result] = retriever.retrieve("text")
    assert (result.node.get_content(), result.node.ref_doc_id, result.node.metadata["a"]) == ("A short text.", "doc", 1)


def test_from_a_docstore_and_from_an_index(nodes: list[TextNode]) -> None:
    docstore = SimpleDocumentStore()
    docstore.add_documents(nodes)
    embedding = RaderEmbedding(model=HashEncoder())
    vectors = VectorStoreIndex(nodes, embed_model=embedding)
    for arguments in ({"docstore": docstore}, {"index": vectors}):
        built = RaderRetriever.from_defaults(model=embedding, similarity_top_k=2, **arguments)  # type: ignore[arg-type]
        assert {document.id for document in built.index.documents()} == {node.node_id for node in nodes}
        assert built.index.encoder is embedding.encoder
    empty = VectorStoreIndex([], embed_model=embedding, storage_context=StorageContext.from_defaults())
    with pytest.raises(ValueError, match="docstore"):
        RaderRetriever.from_defaults(index=empty, model=embedding)
    index = RaderIndex.create(None, HashEncoder())
    assert RaderRetriever.from_defaults(nodes=nodes, index=index).index is index
    assert len(index) == 12
    with pytest.raises(InputError, match="leave path and model out"):
        RaderRetriever.from_defaults(nodes=nodes, index=index, model="mini")


def test_three_lines_by_name(nodes: list[TextNode]) -> None:
    retriever = RaderRetriever.from_defaults(nodes=nodes[:3], model="mini", path=None)
    assert retriever.index.recipe.name == "mini"
    assert len(retriever.retrieve(QUESTION)) == 3


def test_add_and_delete(retriever: RaderRetriever, nodes: list[TextNode]) -> None:
    assert retriever.add_nodes(nodes) == 0
    assert retriever.add_nodes([TextNode(id_="late", text=QUESTION)]) == 1
    assert _ids(retriever.retrieve(QUESTION))[0] == "late"
    assert retriever.delete_nodes(["late", "missing"]) == 1
    assert "late" not in _ids(retriever.retrieve(QUESTION))
    assert retriever.delete_ref_doc("source-1") == 6
    assert retriever.delete_ref_doc("source-1") == 0
    assert {document.metadata["file"] for document in retriever.index.documents()} == {"0.md"}
    with pytest.raises(InputError, match="list of nodes"):
        retriever.add_nodes(nodes[0])  # type: ignore[arg-type]


def test_persist_and_load_keep_the_configuration(retriever: RaderRetriever, tmp_path: Path) -> None:
    filters = MetadataFilters(filters=[MetadataFilter(key="number", value=3, operator="!=")])
    configured = RaderRetriever(
        retriever.index,
        7,
        mode="dense",
        alpha=0.3,
        filters=filters,
        node_ids=[document.id for document in retriever.index.documents()],
        doc_ids=["source-0", "source-1"],
        exclude_ids=["ramsey-theorem"],
        candidates=50,
        use_query_embedding=False,
        verbose=True,
    )
    configured.persist(tmp_path / "deep" / "kept")
    loaded = RaderRetriever.from_persist_dir(tmp_path / "deep" / "kept")
    for name in ("similarity_top_k", "mode", "alpha", "filters", "node_ids", "doc_ids", "exclude_ids"):
        assert getattr(loaded, name) == getattr(configured, name), name
    assert (loaded.instruction, loaded.use_query_embedding, loaded._verbose) == (None, False, True)
    assert loaded._core.candidates == 50
    assert [(e.node_id, e.score) for e in loaded.retrieve(QUESTION)] == [
        (e.node_id, e.score) for e in configured.retrieve(QUESTION)
    ]
    assert RaderRetriever.from_persist_dir(tmp_path / "deep" / "kept", similarity_top_k=1, mode="bm25").mode == "bm25"


def test_persist_copies_vectors_and_follows_changes(nodes: list[TextNode], tmp_path: Path) -> None:
    encoder = HashEncoder()
    built = RaderRetriever.from_defaults(nodes=nodes, model=encoder)
    encoded = sum(encoder.calls)
    built.persist(tmp_path)
    built.delete_nodes([nodes[0].node_id])
    built.add_nodes([nodes[1].model_copy(update={"text": "changed"}), TextNode(id_="new", text="new")])
    built.persist(tmp_path)
    assert sum(encoder.calls) == encoded + 2
    loaded = RaderRetriever.from_persist_dir(tmp_path, model=encoder)
    assert {d.id: d for d in loaded.index.documents()} == {d.id: d for d in built.index.documents()}
    assert [(e.node_id, e.score) for e in loaded.retrieve("graph")] == [
        (e.node_id, e.score) for e in built.retrieve("graph")
    ]
    loaded.similarity_top_k = 9
    loaded.persist()
    assert RaderRetriever.from_persist_dir(tmp_path, model=encoder).similarity_top_k == 9
    with pytest.raises(FingerprintMismatchError):
        RaderRetriever.from_defaults(nodes=nodes, model=HashEncoder(name="other")).persist(tmp_path)


def test_a_function_as_filter_is_never_lost_in_silence(nodes: list[TextNode], tmp_path: Path) -> None:
    built = RaderRetriever.from_defaults(
        nodes=nodes, model=HashEncoder(), filters=lambda document: document.metadata["number"] == 3
    )
    built.persist(tmp_path)
    with pytest.raises(InputError, match="filters="):
        RaderRetriever.from_persist_dir(tmp_path)
    loaded = RaderRetriever.from_persist_dir(tmp_path, model=HashEncoder(), filters={"number": 3})
    assert len(loaded.retrieve("graph")) == 1


def test_unusable_folders(nodes: list[TextNode], tmp_path: Path) -> None:
    built = RaderRetriever.from_defaults(nodes=nodes, model=HashEncoder(), path=tmp_path)
    with pytest.raises(InputError, match="opens an index"):
        RaderRetriever.from_persist_dir(tmp_path)
    built.persist()
    file = tmp_path / "llama_index_retriever.json"
    assert json.loads(file.read_text())["schema"] == "rader-llama-index-retriever/1"
    for content in ("{", "[]", '{"schema": "rader-llama-index-retriever/9"}'):
        file.write_text(content)
        with pytest.raises(InputError, match="Persist the retriever again"):
            RaderRetriever.from_persist_dir(tmp_path)
    with pytest.raises(InputError, match="in memory"):
        RaderRetriever.from_defaults(nodes=nodes, model=HashEncoder()).persist()


# Inside LlamaIndex


def test_events_spans_and_callbacks(retriever: RaderRetriever) -> None:
    events: list[Any] = []

    class Handler(BaseEventHandler):
        def handle(self, event: Any, **_: Any) -> None:
            events.append(event)

    debug = LlamaDebugHandler(print_trace_on_end=False)
    watched = RaderRetriever(retriever.index, 2, callback_manager=CallbackManager([debug]))
    root, handler, spans = get_dispatcher(), Handler(), SimpleSpanHandler()
    root.add_event_handler(handler)
    root.add_span_handler(spans)
    try:
        results = watched.retrieve(QUESTION)
    finally:
        root.event_handlers.remove(handler)
        root.span_handlers.remove(spans)
    assert [type(event) for event in events] == [RetrievalStartEvent, RetrievalEndEvent]
    assert _ids(events[1].nodes) == _ids(results)
    names = [span.id_.split("-")[0] for span in spans.completed_spans]
    assert names == ["RaderRetriever._retrieve", "RaderRetriever.retrieve"]
    [(start, end)] = debug.get_event_pairs(CBEventType.RETRIEVE)
    assert start.payload is not None
    assert end.payload is not None
    assert start.payload["query_str"] == QUESTION
    assert _ids(end.payload["nodes"]) == _ids(results)


def test_query_engine(retriever: RaderRetriever) -> None:
    engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM())
    response = engine.query(QUESTION)
    assert "clique" in str(response)
    assert "fused" not in str(response)
    quiet = RetrieverQueryEngine(retriever, response_synthesizer=NoText(llm=MockLLM()))
    assert _ids(quiet.query(QUESTION).source_nodes) == _ids(retriever.retrieve(QUESTION))


@pytest.mark.parametrize("use_async", [False, True])
@pytest.mark.parametrize("mode", list(FUSION_MODES))
def test_fusion_counts_a_node_once(retriever: RaderRetriever, mode: FUSION_MODES, use_async: bool) -> None:
    parts = [RaderRetriever(retriever.index, 12, mode=part) for part in ("dense", "bm25")]
    fusion = QueryFusionRetriever(
        parts, llm=MockLLM(), mode=mode, num_queries=1, similarity_top_k=50, use_async=use_async
    )
    results = fusion.retrieve(QUESTION)
    assert len(results) == 12
    if mode == FUSION_MODES.RECIPROCAL_RANK:
        ranks = [{id: rank for rank, id in enumerate(_ids(part.retrieve(QUESTION)))} for part in parts]
        expected = {id: sum(1 / (60 + rank[id]) for rank in ranks if id in rank) for id in ranks[0]}
        assert {result.node_id: result.score for result in results} == pytest.approx(expected)


def test_evaluator(retriever: RaderRetriever) -> None:
    evaluator = RetrieverEvaluator.from_metric_names(["hit_rate", "mrr"], retriever=retriever)
    best, second = _ids(retriever.retrieve(QUESTION))[:2]
    assert evaluator.evaluate(QUESTION, [best]).metric_vals_dict == {"hit_rate": 1.0, "mrr": 1.0}
    assert evaluator.evaluate(QUESTION, [second]).metric_vals_dict == {"hit_rate": 1.0, "mrr": 0.5}
    assert evaluator.evaluate(QUESTION, ["nowhere"]).metric_vals_dict == {"hit_rate": 0.0, "mrr": 0.0}


async def test_index_nodes_lead_to_their_objects(nodes: list[TextNode]) -> None:
    target = TextNode(id_="target", text="the whole section")
    pointer = IndexNode(id_="pointer", text="zebra zebra", index_id="section", obj=target)
    retriever = RaderRetriever.from_defaults(nodes=[*nodes, pointer], model=HashEncoder(), similarity_top_k=1)
    assert pointer.obj is target
    assert _ids(retriever.retrieve("zebra zebra")) == ["target"]
    assert _ids(await retriever.aretrieve("zebra zebra")) == ["target"]
    retriever.add_nodes([IndexNode(id_="other", text="yak yak", index_id="other", obj=TextNode(id_="t2", text="x"))])
    assert _ids(retriever.retrieve("yak yak")) == ["t2"]
    assert _ids(RaderRetriever(retriever.index, 1).retrieve("zebra zebra")) == ["pointer"]
    assert _ids(RaderRetriever(retriever.index, 1, object_map={"section": target}).retrieve("zebra zebra")) == [
        "target"
    ]
