"""Dense, BM25 and hybrid search: against a plain computation, one and many, sync and async, and what is refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rader_plugins import Document, Hit, RaderIndex, RaderRetriever
from rader_plugins.encoding.base import Vectors
from rader_plugins.errors import InputError
from rader_plugins.index.snapshot import Snapshot, kth_largest
from rader_plugins.reranking import Reranker
from rader_plugins.retrieval import fuse, z_scores
from tests.support.encoders import HashEncoder, random_text
from tests.support.examples import examples


@pytest.fixture(scope="module")
def index() -> RaderIndex:
    rng = np.random.default_rng(3)
    index = RaderIndex.create(None, encoder=HashEncoder())
    index.add([Document(id=f"d{n:03d}", text=random_text(rng), metadata={"n": n}) for n in range(400)])
    return index


def ranking(hits: Sequence[Any]) -> list[tuple[str, float]]:
    return [(hit.document.id, hit.score) for hit in hits]


@settings(max_examples=examples(40), deadline=None)
@given(
    st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=30),
    st.floats(0, 1),
    st.randoms(use_true_random=False),
)
def test_fusion_is_the_weighted_sum_of_population_z_scores(dense: list[float], alpha: float, random: Any) -> None:
    bm25 = [random.random() * 10 for _ in dense]
    fused = fuse(np.array(dense), np.array(bm25), alpha)

    def normalise(values: list[float]) -> np.ndarray:
        array = np.array(values)
        return np.zeros(len(array)) if np.ptp(array) == 0 else (array - array.mean()) / array.std(ddof=0)

    if min(np.ptp(dense), np.ptp(bm25)) > 1e-6:  # below that, the rounding of the mean decides
        assert fused == pytest.approx(alpha * normalise(dense) + (1 - alpha) * normalise(bm25), abs=1e-6)


def test_constant_scores_contribute_nothing() -> None:
    assert z_scores(np.full(7, 0.1)).tolist() == [0.0] * 7
    assert z_scores(np.zeros(0)).tolist() == []
    assert fuse(np.full(3, 0.3), np.array([1.0, 2.0, 3.0]), 0.5).argmax() == 2


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("candidates", [1000, 20])
def test_hybrid_scores_the_union_of_both_lists_by_both(index: RaderIndex, alpha: float, candidates: int) -> None:
    query = "prime graph heat heat"
    retriever = RaderRetriever(index, alpha=alpha, candidates=candidates)
    dense = {hit.document.id: hit.score for hit in retriever.search(query, k=400, mode="dense")}
    bm25 = {hit.document.id: hit.score for hit in retriever.search(query, k=400, mode="bm25")}
    pool = sorted({*list(dense)[:candidates], *list(bm25)[:candidates]})
    fused = fuse(np.array([dense[i] for i in pool]), np.array([bm25.get(i, 0.0) for i in pool]), alpha)
    expected = sorted(zip((-fused).tolist(), pool, strict=True))[:15]
    hits = retriever.search(query, k=15)
    assert [hit.document.id for hit in hits] == [name for _, name in expected]
    assert [hit.score for hit in hits] == pytest.approx([-score for score, _ in expected])
    for rank, hit in enumerate(hits, start=1):
        assert hit.rank == rank
        assert hit.scores == {
            "dense": dense[hit.document.id],
            "bm25": bm25.get(hit.document.id, 0.0),
            "fused": hit.score,
        }


def test_alpha_one_is_plain_cosine_and_touches_no_bm25(index: RaderIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    retriever = RaderRetriever(index)
    expected = retriever.search("prime heat", mode="dense")
    monkeypatch.setattr(Snapshot, "bm25_scores", lambda *_: pytest.fail("BM25 was computed"))
    assert retriever.search("prime heat", alpha=1) == expected
    assert expected[0].scores == {"dense": expected[0].score}


def test_bm25_mode_encodes_nothing_and_returns_matches_only(index: RaderIndex) -> None:
    encoder = index.encoder
    assert isinstance(encoder, HashEncoder)
    before = len(encoder.calls)
    retriever = RaderRetriever(index, mode="bm25")
    assert retriever.search("unheardof") == []
    assert all("prime" in hit.document.text for hit in retriever.search("prime", k=400))
    assert len(encoder.calls) == before


@pytest.mark.parametrize("mode", ["dense", "bm25", "hybrid"])
def test_a_batch_equals_its_single_searches_and_encodes_once(index: RaderIndex, mode: Any) -> None:
    rng = np.random.default_rng(0)
    queries = [random_text(rng, 4) for _ in range(50)]
    excluded = [[f"d{n:03d}" for n in rng.integers(0, 400, 5)] for _ in queries]
    retriever = RaderRetriever(index, mode=mode)
    singles = [retriever.search(q, k=7, exclude_ids=e) for q, e in zip(queries, excluded, strict=True)]
    encoder = index.encoder
    assert isinstance(encoder, HashEncoder)
    before = len(encoder.calls)
    assert retriever.search_batch(queries, k=7, exclude_ids=excluded) == singles
    assert len(encoder.calls) - before == (mode != "bm25")
    for hits, names in zip(singles, excluded, strict=True):
        assert len(hits) == 7
        assert not {hit.document.id for hit in hits} & set(names)


def test_large_batches_are_cut_into_blocks(index: RaderIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    queries = [f"prime {n}" for n in range(30)]
    expected = RaderRetriever(index).search_batch(queries)
    monkeypatch.setattr("rader_plugins.index.snapshot._SCORE_BLOCK", 4 * 400 * 7)
    assert RaderRetriever(index).search_batch(queries) == expected


@pytest.mark.parametrize("mode", ["dense", "bm25", "hybrid"])
def test_ties_break_by_document_id(mode: Any) -> None:
    index = RaderIndex.create(None, encoder=HashEncoder())
    rng = np.random.default_rng(0)
    names = [f"t{n:02d}" for n in rng.permutation(40)]
    index.add([Document(id=name, text="prime heat") for name in names[:20]] + [Document(id="other", text="cell")])
    index.add([Document(id=name, text="prime heat") for name in names[20:]])
    for k in (1, 5, 39, 41):
        expected = sorted(names)[:k] + ["other"] * (k > 40 and mode != "bm25")
        retriever = RaderRetriever(index, mode=mode, candidates=3 if k == 1 else 1000)
        assert [hit.document.id for hit in retriever.search("prime", k=k)] == expected
        assert [hit.document.id for hit in retriever.search_batch(["prime", "heat"], k=k)[0]] == expected


def test_k_of_zero_and_beyond_the_size(index: RaderIndex) -> None:
    retriever = RaderRetriever(index)
    assert retriever.search("prime", k=0) == []
    assert retriever.search_batch([], k=5) == []
    assert len(retriever.search("prime", k=10_000)) == 400
    empty = RaderRetriever(RaderIndex.create(None, encoder=HashEncoder()))
    for mode in ("dense", "bm25", "hybrid"):
        assert empty.search("prime", mode=mode) == []  # type: ignore[arg-type]


def test_unknown_excluded_ids_are_ignored(index: RaderIndex) -> None:
    retriever = RaderRetriever(index)
    assert retriever.search("prime", exclude_ids=["nope"]) == retriever.search("prime")


async def test_async_equals_sync_and_leaves_the_loop_free(index: RaderIndex) -> None:
    retriever = RaderRetriever(index)
    queries = [f"prime heat {n}" for n in range(8)]
    assert await asyncio.gather(*(retriever.asearch(q, k=3) for q in queries)) == [
        retriever.search(q, k=3) for q in queries
    ]
    assert await retriever.asearch_batch(queries, 3) == retriever.search_batch(queries, 3)

    entered, free = threading.Event(), threading.Event()

    def slow(document: Document) -> bool:  # runs inside the search: blocks until the loop has run something else
        entered.set()
        return free.wait(timeout=30)

    search = asyncio.create_task(retriever.asearch("prime", k=1, filter=slow))
    await asyncio.to_thread(entered.wait, 30)
    free.set()
    assert len(await search) == 1


class Instructed(HashEncoder):
    instruction: str | None = "unset"

    def encode_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> Vectors:
        self.instruction = instruction
        return super().encode_queries(texts)


def test_the_instruction_reaches_the_encoder() -> None:
    encoder = Instructed()
    index = RaderIndex.create(None, encoder=encoder)
    index.add([Document(id="a", text="x")])
    retriever = RaderRetriever(index, instruction="find theorems: ")
    retriever.search("x")
    assert encoder.instruction == "find theorems: "
    retriever.search("x", instruction="other: ")
    assert encoder.instruction == "other: "
    RaderRetriever(index).search("x")
    assert encoder.instruction is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": -1}, "k must be"),
        ({"k": 2.5}, "k must be"),
        ({"k": True}, "k must be"),
        ({"alpha": 1.5}, "alpha must lie"),
        ({"alpha": float("nan")}, "alpha must lie"),
        ({"mode": "sparse"}, "hybrid, dense, bm25"),
        ({"top_k": 3}, "top_k"),
        ({"query": 3}, "must be a string"),
        ({"query": "\udcff"}, "lone surrogate"),
        ({"exclude_ids": "abc"}, "list of ids"),
    ],
)
def test_wrong_arguments(index: RaderIndex, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RaderRetriever(index).search(**{"query": "x", **options})


def test_wrong_construction(index: RaderIndex) -> None:
    with pytest.raises(InputError, match="RaderIndex"):
        RaderRetriever("path")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="alpha"):
        RaderRetriever(index, alpha=2)
    with pytest.raises(InputError, match="candidates"):
        RaderRetriever(index, candidates=0)
    with pytest.raises(InputError, match="search\\(\\) takes one"):
        RaderRetriever(index).search_batch("prime")
    with pytest.raises(InputError, match="shape"):
        RaderRetriever(index).search_batch(["x"], query_vectors=np.ones((1, 3)))
    with pytest.raises(InputError, match="NaN"):
        RaderRetriever(index).search_batch(["x"], query_vectors=np.full((1, 16), np.nan))


@settings(max_examples=examples(200), deadline=None)
@given(
    st.lists(
        st.sampled_from([-np.inf, -1.0, 0.0, 0.25, 0.5, 3.0]) | st.floats(-5, 5, width=32), min_size=1, max_size=400
    ),
    st.integers(1, 60),
)
def test_kth_largest(values: list[float], k: int) -> None:
    expected = sorted(values, reverse=True)[min(k, len(values)) - 1]
    assert kth_largest(np.array(values, dtype=np.float32), k) == expected


class Expansion:
    def expand(self, queries: Sequence[str]) -> list[str]:
        return [f"{query} heat" for query in queries]

    async def aexpand(self, queries: Sequence[str]) -> list[str]:
        return self.expand(queries)


class Recorder(Reranker):
    def __init__(self) -> None:
        self.asked: list[str] = []

    def rerank_batch(self, queries: Sequence[str], hits: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        self.asked += queries
        return [list(group) for group in hits]


@pytest.mark.parametrize("mode", ["dense", "bm25", "hybrid"])
async def test_reasoning_is_searched_for_and_the_question_is_reranked_by(index: RaderIndex, mode: Any) -> None:
    recorder = Recorder()
    retriever = RaderRetriever(index, mode=mode, reasoning=Expansion(), reranker=recorder, rerank_top=5)
    expected = ranking(RaderRetriever(index, mode=mode).search("prime heat", k=5))
    assert ranking(retriever.search("prime", k=5)) == expected
    assert ranking(await retriever.asearch("prime", k=5)) == expected
    assert recorder.asked == ["prime", "prime"]
    assert retriever.search("prime", k=0) == []
