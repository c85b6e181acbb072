"""The `Index` protocol: anything that fulfils it stands in for the embedded index, and what it cannot do is refused."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from rader_plugins import Document, RaderIndex, RaderRetriever, create_index, open_index
from rader_plugins.errors import InputError
from rader_plugins.index import AddReport, Index, SearchRequest, check_index, encoder_of, is_index, read_documents
from rader_plugins.retrieval import Mode
from tests.support.brute_index import BruteIndex
from tests.support.encoders import HashEncoder, random_text


def corpus(count: int, seed: int = 5) -> list[Document]:
    rng = np.random.default_rng(seed)
    return [Document(f"d{n:03d}", random_text(rng, int(rng.integers(1, 12))), {"n": n}) for n in range(count)]


def both(documents: Sequence[Document], *, vectors: bool = True) -> tuple[Index, BruteIndex]:
    embedded = create_index(None, HashEncoder() if vectors else None)
    brute = BruteIndex(HashEncoder() if vectors else None)
    embedded.add(documents)
    brute.add(documents)
    return embedded, brute


def stages(hits: Sequence[Any]) -> list[tuple[str, int, dict[str, Any]]]:
    return [
        (hit.document.id, hit.rank, {name: pytest.approx(value, abs=1e-6) for name, value in hit.scores.items()})
        for hit in hits
    ]


@pytest.mark.parametrize("mode", ["dense", "bm25", "hybrid"])
@pytest.mark.parametrize("candidates", [3, 1000])
def test_any_index_gives_the_results_of_the_embedded_one(mode: Mode, candidates: int) -> None:
    embedded, brute = both(corpus(60))
    queries = [random_text(np.random.default_rng(seed), 5) for seed in range(8)]
    excluded = [[f"d{n:03d}" for n in range(start, 60, 7)] for start in range(8)]

    def search(index: Index) -> list[Any]:
        retriever = RaderRetriever(index, mode, 0.6, candidates=candidates)
        hits = retriever.search_batch(
            queries, 9, exclude_ids=excluded, filter=lambda document: document.metadata["n"] > 4
        )
        assert hits == asyncio.run(
            retriever.asearch_batch(
                queries, 9, exclude_ids=excluded, filter=lambda document: document.metadata["n"] > 4
            )
        )
        return hits

    ours, brute_hits = search(embedded), search(brute)
    assert [stages(hits) for hits in brute_hits] == [
        [(hit.document.id, hit.rank, dict(hit.scores)) for hit in hits] for hits in ours
    ]


def test_an_index_gets_one_request_with_everything_in_it() -> None:
    _, brute = both(corpus(5))
    RaderRetriever(brute, "hybrid", 0.3, candidates=7).search("prime", 2, exclude_ids=["d001"])
    [request] = brute.requests
    assert (request.k, request.mode, request.alpha, request.candidates) == (2, "hybrid", 0.3, 7)
    assert request.queries == ["prime"]
    assert request.exclude_ids == [["d001"]]
    assert request.vectors is not None and request.vectors.shape == (1, 16)  # noqa: PT018


@pytest.mark.parametrize("kind", ["embedded", "brute"])
def test_an_index_without_vectors_is_searched_by_bm25(kind: str) -> None:
    index: Index = both(corpus(20), vectors=False)[kind == "brute"]
    assert (index.recipe, index.fingerprint, index.dimension, index.encoder) == (None, None, None, None)
    assert index.vectors(["d001"]) == {}
    assert RaderRetriever(index, "bm25").search("prime divisor", 3)
    with pytest.raises(InputError, match="mode='bm25'"):
        RaderRetriever(index)
    with pytest.raises(InputError, match="mode='bm25'"):
        RaderRetriever(index, "bm25").search("prime", mode="dense")
    with pytest.raises(InputError, match="no vectors"):
        encoder_of(index)


def test_an_index_without_vectors_lives_on_disk(tmp_path: Any) -> None:
    index = create_index(tmp_path / "i", None)
    assert index.add(corpus(30)) == 30
    index.delete(["d003"])
    index.add([Document("d004", "orbit orbit")])
    before = RaderRetriever(index, "bm25").search("orbit matrix", 5)
    index.optimize()
    index.close()
    opened = open_index(tmp_path / "i")
    assert opened.recipe is None
    assert RaderRetriever(opened, "bm25").search("orbit matrix", 5) == before
    assert len(opened) == 29
    for refused in (
        lambda: opened.add([Document("x", "y")], vectors=np.ones((1, 4))),
        lambda: open_index(tmp_path / "i", HashEncoder()),
        lambda: create_index(tmp_path / "j", None, ann="hnsw"),
    ):
        with pytest.raises(InputError):
            refused()
    assert not (tmp_path / "j").exists()


class Counting:
    """An expansion that counts how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0

    def expand(self, queries: Sequence[str]) -> list[str]:
        self.calls += 1
        return list(queries)

    async def aexpand(self, queries: Sequence[str]) -> list[str]:
        return self.expand(queries)


def test_what_an_index_cannot_do_is_refused_before_anything_runs() -> None:
    _, brute = both(corpus(5))
    encoder, expansion = encoder_of(brute), Counting()
    assert isinstance(encoder, HashEncoder)
    encoder.calls.clear()
    retriever = RaderRetriever(brute, reasoning=expansion)
    with pytest.raises(InputError, match="filter"):
        retriever.search("prime", filter={"n": 1})
    with pytest.raises(InputError, match="filter"):
        asyncio.run(retriever.asearch("prime", filter={"n": 1}))
    assert not encoder.calls
    assert not expansion.calls
    embedded = both(corpus(5))[0]
    with pytest.raises(InputError, match="partition"):
        embedded.search(SearchRequest(["prime"], mode="bm25", partition="tenant-1"))
    with pytest.raises(InputError, match="needs the vectors"):
        embedded.search(SearchRequest(["prime"]))


def test_what_is_no_index_is_refused_and_asking_loads_no_model() -> None:
    class Lazy(BruteIndex):
        @property
        def encoder(self) -> Any:
            raise AssertionError("the model was loaded")

        @encoder.setter
        def encoder(self, value: object) -> None:
            pass

    assert is_index(Lazy(None))
    check_index(Lazy(None))
    for other in ("path", 3, None, RaderIndex, HashEncoder()):
        assert not is_index(other)
        with pytest.raises(InputError, match="index must be"):
            RaderRetriever(other)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["embedded", "brute"])
def test_deleting_needs_ids_or_a_filter(kind: str) -> None:
    index: Index = both(corpus(20))[kind == "brute"]
    with pytest.raises(InputError, match="ids"):
        index.delete()
    assert len(index) == 20
    assert index.delete([]) == 0
    assert index.delete(filter=lambda document: document.metadata["n"] < 5) == 5
    assert index.delete(["d005", "d006", "none"], filter=lambda document: document.metadata["n"] < 6) == 1
    assert [document.id for document in read_documents(index)] == [f"d{n:03d}" for n in range(6, 20)]


def test_a_report_is_a_number_that_tells_more() -> None:
    report = AddReport(added=2, replaced=1, unchanged=4, encoded=3, skipped=5)
    assert report == 3
    assert repr(report) == "AddReport(added=2, replaced=1, unchanged=4, encoded=3, skipped=5)"
    for same in (copy.deepcopy(report), pickle.loads(pickle.dumps(report)), AddReport.total([report])):  # noqa: S301
        assert same.counts == report.counts
    assert AddReport.total([report, AddReport(added=1)]).added == 3
    assert AddReport.total([]) == 0


def test_a_retriever_describes_whatever_decides_its_results() -> None:
    embedded, brute = both(corpus(5))
    retrievers = [
        RaderRetriever(embedded),
        RaderRetriever(embedded, "bm25"),
        RaderRetriever(embedded, alpha=0.5),
        RaderRetriever(embedded, candidates=7),
        RaderRetriever(embedded, instruction="Find: "),
        RaderRetriever(embedded, reasoning=Counting()),
        RaderRetriever(both(corpus(6))[0]),
        RaderRetriever(create_index(None, HashEncoder(8))),
    ]
    described = [retriever.describe() for retriever in retrievers]
    assert all(described.count(about) == 1 for about in described)
    other = RaderRetriever(both(corpus(5, seed=6))[0]).describe(corpus=True)
    assert RaderRetriever(embedded).describe(corpus=True) != other
    assert RaderRetriever(brute).describe(corpus=True)["corpus"] == retrievers[0].describe(corpus=True)["corpus"]


def test_a_place_that_no_engine_is_known_for_is_refused() -> None:
    for call in (lambda: create_index("cloud://host/x", None), lambda: open_index("nowhere://x")):
        with pytest.raises(InputError, match="engine"):
            call()


def test_another_package_brings_an_engine(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution on the path, as pip installs it: its entry point makes the scheme of its URLs known."""
    (tmp_path / "sky_engine.py").write_text(
        "from tests.support.brute_index import BruteIndex\n"
        "from tests.support.encoders import HashEncoder\n"
        "INDEXES = {}\n"
        "def create(url, encoder, **options):\n"
        "    INDEXES[url] = BruteIndex(encoder)\n"
        "    return INDEXES[url]\n"
        "def open(url, encoder):\n"
        "    return INDEXES[url]\n"
    )
    info = tmp_path / "sky_engine-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sky-engine\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[rader.engines]\nsky = sky_engine\nbroken = not_there_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    index = create_index("sky://host/docs", HashEncoder())
    assert index.add(corpus(4)) == 4
    assert RaderRetriever(open_index("sky://host/docs"), "dense").search("prime", 2)
    with pytest.raises(InputError, match="'broken'.*cannot be loaded"):
        open_index("broken://host")
    with pytest.raises(InputError, match="sky"):
        create_index("cloud://host", None)
