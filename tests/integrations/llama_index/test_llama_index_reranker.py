from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode
from llama_index.postprocessor.rader import RaderRerank
from llama_index.retrievers.rader import RaderRetriever

from rader_plugins import Encoder, RaderIndex
from rader_plugins.reranking import PointwiseReranker, load_reranker
from tests.support.tiny_rerankers import LengthReranker, tiny_cross_encoder


def scored_nodes() -> list[NodeWithScore]:
    texts = {"long": "a long text about friends", "short": "short", "middle": "middle text"}
    return [
        NodeWithScore(node=TextNode(id_=name, text=text, metadata={"number": number}), score=0.9 - number / 10)
        for number, (name, text) in enumerate(texts.items())
    ]


def names(nodes: list[NodeWithScore]) -> list[str]:
    return [scored.node.node_id for scored in nodes]


@pytest.fixture(scope="module")
def cross(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sentence_transformers")
    return tiny_cross_encoder(tmp_path_factory.mktemp("cross"))


def test_class_name_and_base() -> None:
    assert BaseNodePostprocessor in RaderRerank.__mro__
    assert RaderRerank.class_name() == "RaderRerank"


def test_new_nodes_come_back_best_first() -> None:
    nodes = scored_nodes()
    before = copy.deepcopy(nodes)
    reranked = RaderRerank(LengthReranker()).postprocess_nodes(nodes, query_str="question")
    assert names(reranked) == ["short", "middle", "long"]
    lengths = [len(scored.node.get_content(metadata_mode=MetadataMode.EMBED)) for scored in reranked]
    assert [scored.score for scored in reranked] == [-float(length) for length in lengths]
    assert all(type(scored.score) is float for scored in reranked)
    assert nodes == before, "the nodes given were changed"
    assert not {id(scored) for scored in reranked} & {id(scored) for scored in nodes}


def test_the_embedded_text_is_what_it_reads() -> None:
    node = TextNode(text="x", metadata={"title": "a title that counts", "file": "hidden " * 20})
    node.excluded_embed_metadata_keys = ["file"]
    reranked = RaderRerank(LengthReranker()).postprocess_nodes([NodeWithScore(node=node)], query_str="question")
    assert reranked[0].score == -len(node.get_content(metadata_mode=MetadataMode.EMBED))
    assert reranked[0].score != -1


@pytest.mark.parametrize(("top_n", "count"), [(None, 3), (2, 2), (0, 0), (9, 3)])
def test_top_n(top_n: int | None, count: int) -> None:
    reranked = RaderRerank(LengthReranker(), top_n=top_n).postprocess_nodes(scored_nodes(), query_str="question")
    assert names(reranked) == ["short", "middle", "long"][:count]


async def test_query_and_nodes_are_needed() -> None:
    core = LengthReranker()
    rerank = RaderRerank(core)
    for nodes in ([], scored_nodes()):
        with pytest.raises(ValueError, match="query_str"):
            rerank.postprocess_nodes(nodes)
        with pytest.raises(ValueError, match="query_str"):
            await rerank.apostprocess_nodes(nodes)
    assert rerank.postprocess_nodes([], query_str="question") == []
    assert await rerank.apostprocess_nodes([], query_str="question") == []
    assert core.calls == []


def test_the_question_and_not_its_rewriting_is_reranked() -> None:
    core = LengthReranker()
    bundle = QueryBundle("the question", custom_embedding_strs=["reasoning about it"])
    RaderRerank(core).postprocess_nodes(scored_nodes(), bundle)
    assert core.calls == [(["the question"], [3])]


async def test_async_is_the_same_and_runs_native() -> None:
    class Asynchronous(LengthReranker):
        native = 0

        async def arerank_batch(self, queries, hits):
            self.native += 1
            return self.rerank_batch(queries, hits)

    core = Asynchronous()
    rerank = RaderRerank(core, top_n=2)
    reranked = await rerank.apostprocess_nodes(scored_nodes(), query_str="question")
    assert reranked == rerank.postprocess_nodes(scored_nodes(), query_str="question")
    assert core.native == 1


def test_retrieval_score_is_kept_in_a_copy() -> None:
    nodes = scored_nodes()
    before = copy.deepcopy(nodes)
    reranked = RaderRerank(LengthReranker(), keep_retrieval_score=True).postprocess_nodes(nodes, query_str="question")
    assert [scored.node.metadata["retrieval_score"] for scored in reranked] == [0.8, 0.7, 0.9]
    for mode in (MetadataMode.EMBED, MetadataMode.LLM):
        assert "retrieval_score" not in reranked[0].node.get_content(metadata_mode=mode)
    assert nodes == before, "the nodes given were changed"
    reranked_twice = RaderRerank(LengthReranker(), keep_retrieval_score=True).postprocess_nodes(
        reranked, query_str="question"
    )
    assert names(reranked_twice) == names(reranked)


class _Events(BaseEventHandler):
    seen: list = []

    def handle(self, event, **kwargs) -> None:
        if isinstance(event, ReRankStartEvent | ReRankEndEvent):
            self.seen.append(event)


async def test_events_and_callbacks() -> None:
    handler, debug = _Events(), LlamaDebugHandler(print_trace_on_end=False)
    root = get_dispatcher()
    root.add_event_handler(handler)
    try:
        rerank = RaderRerank(LengthReranker(), top_n=2, callback_manager=CallbackManager([debug]))
        bundle = QueryBundle("question")
        rerank.postprocess_nodes(scored_nodes(), bundle)
        await rerank.apostprocess_nodes(scored_nodes(), bundle)
    finally:
        root.event_handlers.remove(handler)
    starts = [event for event in handler.seen if isinstance(event, ReRankStartEvent)]
    ends = [event for event in handler.seen if isinstance(event, ReRankEndEvent)]
    assert [(event.query, event.top_n, event.model_name) for event in starts] == [(bundle, 2, "LengthReranker")] * 2
    assert [names(event.nodes) for event in starts] == [["long", "short", "middle"]] * 2
    assert [names(event.nodes) for event in ends] == [["short", "middle"]] * 2
    pairs = debug.get_event_pairs(CBEventType.RERANKING)
    assert len(pairs) == 2
    start, end = pairs[0]
    assert start.payload[EventPayload.QUERY_STR] == "question"
    assert start.payload[EventPayload.TOP_K] == 2
    assert names(end.payload[EventPayload.NODES]) == ["short", "middle"]


def test_a_failure_closes_the_event_and_is_passed_on() -> None:
    class Broken(LengthReranker):
        def rerank_batch(self, queries, hits):
            raise RuntimeError("no model")

    debug = LlamaDebugHandler(print_trace_on_end=False)
    rerank = RaderRerank(Broken(), callback_manager=CallbackManager([debug]))
    with pytest.raises(RuntimeError, match="no model"):
        rerank.postprocess_nodes(scored_nodes(), query_str="question")


def test_a_model_by_its_directory(cross: Path) -> None:
    rerank = RaderRerank(cross, reranker_options={"batch_tokens": 64})
    assert isinstance(rerank.reranker, PointwiseReranker)
    assert rerank.reranker.batch_tokens == 64
    nodes = scored_nodes()
    reranked = rerank.postprocess_nodes(nodes, query_str="friends")
    texts = [scored.node.get_content(metadata_mode=MetadataMode.EMBED) for scored in nodes]
    scores = load_reranker(cross).score_pairs([("friends", text) for text in texts]).tolist()
    expected = dict(zip(names(nodes), scores, strict=True))
    assert {scored.node.node_id: scored.score for scored in reranked} == pytest.approx(expected)
    assert names(reranked) == sorted(expected, key=lambda name: -expected[name])


def test_kept_as_dict_copied_and_pickled(cross: Path) -> None:
    rerank = RaderRerank(cross, top_n=2, keep_retrieval_score=True)
    expected = names(rerank.postprocess_nodes(scored_nodes(), query_str="friends"))
    data = rerank.to_dict()
    assert "reranker_options" not in data
    assert data == {
        "model": str(cross),
        "top_n": 2,
        "keep_retrieval_score": True,
        "class_name": "RaderRerank",
    }
    sent = pickle.loads(pickle.dumps(rerank))  # noqa: S301 - as LlamaIndex does between its own processes
    for restored in (RaderRerank.from_dict(data), copy.deepcopy(rerank), sent):
        assert names(restored.postprocess_nodes(scored_nodes(), query_str="friends")) == expected
        assert (restored.top_n, restored.keep_retrieval_score) == (2, True)
    assert copy.deepcopy(rerank).reranker is rerank.reranker


def test_wrong_arguments(cross: Path) -> None:
    with pytest.raises(ValueError, match="retriever"):
        RaderRerank("mini")
    with pytest.raises(ValueError, match="Unknown options"):
        RaderRerank(cross, reranker_options={"batch": 2})
    with pytest.raises(ValueError, match="no effect"):
        RaderRerank(LengthReranker(), reranker_options={"device": "cpu"})
    with pytest.raises(ValueError, match="top_n"):
        RaderRerank(LengthReranker(), top_n=-1)


def test_behind_our_retriever(nodes: list, mini: Encoder) -> None:
    with RaderIndex.create(None, encoder=mini) as index:
        retriever = RaderRetriever(index, similarity_top_k=8)
        retriever.add_nodes(nodes)
        retrieved = retriever.retrieve("How many guests must I invite?")
        rerank = RaderRerank(LengthReranker(), top_n=3, keep_retrieval_score=True)
        best = rerank.postprocess_nodes(retrieved, query_str="How many guests must I invite?")
    before = {scored.node.node_id: scored for scored in retrieved}
    assert len(best) == 3
    for scored in best:
        first = before[scored.node.node_id]
        assert scored.node.metadata["retrieval_score"] == first.score
        assert scored.node.hash == first.node.hash, "fusion would take one node for two"
        assert scored.score != first.score


def test_rerankers_of_one_model_share_it(cross: Path) -> None:
    top_one, top_two = (RaderRerank(str(cross), top_n=number) for number in (1, 2))
    other = RaderRerank(str(cross), reranker_options={"dtype": "bfloat16"})
    first, second, third = (postprocessor.reranker for postprocessor in (top_one, top_two, other))
    assert isinstance(first, PointwiseReranker)
    assert isinstance(second, PointwiseReranker)
    assert isinstance(third, PointwiseReranker)
    assert first._model is second._model
    assert first._model is not third._model
    assert [
        len(postprocessor.postprocess_nodes(scored_nodes(), query_str="q")) for postprocessor in (top_one, top_two)
    ] == [1, 2]
