"""`RaderRetriever(reranker=...)`: how deep it looks, by which question, and what comes back."""

from __future__ import annotations

import pytest

from rader_plugins import Document, RaderIndex, RaderRetriever
from rader_plugins.errors import InputError
from rader_plugins.reranking.base import as_hits
from tests.support.encoders import HashEncoder
from tests.support.tiny_rerankers import LengthReranker

TEXTS = [f"graph prime {'colour ' * (at % 7)}{at}" for at in range(40)]


@pytest.fixture
def index():
    with RaderIndex.create(None, encoder=HashEncoder()) as index:
        index.add([Document(f"d{number:02}", text) for number, text in enumerate(TEXTS)])
        yield index


@pytest.mark.parametrize("mode", ["hybrid", "dense", "bm25"])
def test_the_best_of_the_first_stage_are_reranked(index, mode):
    reranker = LengthReranker()
    retriever = RaderRetriever(index, mode=mode, reranker=reranker, rerank_top=12)
    first = RaderRetriever(index, mode=mode).search("prime graph", k=12)
    hits = retriever.search("prime graph", k=5)
    expected = sorted(first, key=lambda hit: len(hit.document.text))[:5]
    assert [hit.document.id for hit in hits] == [hit.document.id for hit in expected]
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
    before = {hit.document.id: hit for hit in first}
    for hit in hits:
        assert hit.score == hit.scores["rerank"] == -len(hit.document.text)
        assert hit.scores == {**before[hit.document.id].scores, "rerank": hit.score}
    assert reranker.calls == [(["prime graph"], [12])]


def test_more_than_rerank_top(index):
    reranker = LengthReranker()
    assert len(RaderRetriever(index, reranker=reranker, rerank_top=5).search("prime", k=20)) == 20
    assert reranker.calls == [(["prime"], [20])]


async def test_one_many_sync_and_async_agree(index):
    retriever = RaderRetriever(index, reranker=LengthReranker(), rerank_top=10)
    queries = ["prime graph", "colour 3", "39"]
    alone = [retriever.search(query, k=3, exclude_ids=["d00"]) for query in queries]
    batch = retriever.search_batch(queries, k=3, exclude_ids=[["d00"]] * 3)
    assert batch == alone
    assert await retriever.asearch_batch(queries, k=3, exclude_ids=[["d00"]] * 3) == alone
    assert [await retriever.asearch(query, k=3, exclude_ids=["d00"]) for query in queries] == alone


def test_the_question_is_reranked_and_not_its_vector(index):
    reranker = LengthReranker()
    retriever = RaderRetriever(index, mode="dense", reranker=reranker)
    vectors = index.encoder.encode_queries(["colour colour colour"])
    retriever.search_batch(["the question"], k=2, query_vectors=vectors)
    assert reranker.calls[0][0] == ["the question"]


def test_nothing_to_rerank(index):
    reranker = LengthReranker()
    retriever = RaderRetriever(index, mode="bm25", reranker=reranker)
    assert retriever.search("prime", k=0) == []
    assert retriever.search("word that no document has: xyzzy", k=3) == []
    assert retriever.search_batch([], k=3) == []
    assert reranker.calls == []


def test_bad_arguments(index):
    with pytest.raises(InputError, match="load_reranker"):
        RaderRetriever(index, reranker="rader-reranker-7b")
    for wrong in (0, True, 2.5):
        with pytest.raises(InputError, match="rerank_top"):
            RaderRetriever(index, rerank_top=wrong)


def test_a_cross_encoder_behind_hybrid_search(tmp_path, index):
    pytest.importorskip("sentence_transformers")
    from rader_plugins.reranking import load_reranker
    from tests.support.tiny_rerankers import tiny_cross_encoder

    reranker = load_reranker(tiny_cross_encoder(tmp_path / "model"))
    hits = RaderRetriever(index, reranker=reranker, rerank_top=40).search("prime graph", k=40)
    scores = reranker.score_pairs([("prime graph", hit.document.text) for hit in hits])
    assert [hit.score for hit in hits] == pytest.approx(scores.tolist(), abs=1e-5)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert set(hits[0].scores) == {"dense", "bm25", "fused", "rerank"}


@pytest.mark.parametrize(
    ("ids", "scores", "names", "numbers"),
    [
        (["a", "b"], [0.5, 2], ["a", "b"], [0.5, 2.0]),
        (["a", "a"], [0.5, None], ["0", "1"], [0.0, 0.0]),
        (["a", None], [0.5, float("nan")], ["0", "1"], [0.0, 0.0]),
    ],
)
def test_hits_of_texts_from_elsewhere(ids, scores, names, numbers):
    hits = as_hits(["x", "y"], ids=ids, scores=scores)
    assert [hit.document.id for hit in hits] == names
    assert [hit.score for hit in hits] == numbers
    assert [(hit.document.text, hit.rank) for hit in hits] == [("x", 1), ("y", 2)]
