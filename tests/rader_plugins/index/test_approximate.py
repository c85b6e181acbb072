"""FAISS structures: found rows carry exact scores, filters and later changes hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rader_plugins import Document, RaderIndex, RaderRetriever
from rader_plugins.errors import InputError
from tests.support.encoders import HashEncoder

pytest.importorskip("faiss")
ROWS, DIMENSION = 3000, 32


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """Clustered, as embeddings are."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((60, DIMENSION))
    points = centres[rng.integers(0, 60, ROWS)] + 0.3 * rng.standard_normal((ROWS, DIMENSION))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def build(path: Path | None, vectors: np.ndarray, ann: object) -> RaderIndex:
    index = RaderIndex.create(path, encoder=HashEncoder(DIMENSION), ann=ann)  # type: ignore[arg-type]
    index.add(
        [Document(id=f"{n:04d}", text="x", metadata={"n": n, "rare": n % 100 == 0}) for n in range(len(vectors))],
        vectors=vectors,
    )
    index.optimize()
    return index


def search(index: RaderIndex, queries: np.ndarray, **options: object) -> list[dict[str, float]]:
    retriever = RaderRetriever(index, mode="dense")
    rankings = retriever.search_batch(["?"] * len(queries), 10, query_vectors=queries, **options)  # type: ignore[arg-type]
    return [{hit.document.id: hit.score for hit in hits} for hits in rankings]


@pytest.mark.parametrize("ann", ["hnsw", {"kind": "ivfpq", "lists": 32, "probes": 16, "code_bytes": 16}])
@pytest.mark.parametrize("where", ["memory", "disk"])
@pytest.mark.slow
def test_recall_scores_filters_and_changes(vectors: np.ndarray, ann: object, where: str, tmp_path: Path) -> None:
    index = build(tmp_path / "i" if where == "disk" else None, vectors, ann)
    exact = build(None, vectors, None)
    assert index.stats()["ann_rows"] == ROWS
    queries = vectors[:40] + np.float32(0.01)
    approximate, truth = search(index, queries), search(exact, queries)
    recall = np.mean(
        [len(ranking.keys() & other.keys()) / 10 for ranking, other in zip(approximate, truth, strict=True)]
    )
    assert recall > 0.5, "of random rows it would be 10 / 3000"
    for ranking, other in zip(approximate, truth, strict=True):
        assert all(ranking[name] == other[name] for name in ranking.keys() & other.keys()), "scores are exact cosines"

    # Few rows pass: all of them are found, as by an exact search.
    assert search(index, queries, filter={"rare": True}) == search(exact, queries, filter={"rare": True})
    # Many rows pass: ten come back and all pass.
    for hits in search(index, queries, filter={"n": {"$lt": 1500}}):
        assert len(hits) == 10
        assert all(int(name) < 1500 for name in hits)

    # Added after the structure was built: found at once. Deleted: never seen again.
    index.add([Document(id="new", text="x")], vectors=queries[:1])
    assert "new" in search(index, queries[:1])[0]
    index.delete(["new", "0000"])
    assert not {"new", "0000"} & search(index, queries[:1])[0].keys()

    if where == "disk":
        index.optimize()
        after = search(index, queries)
        index.close()
        reopened = RaderIndex.open(tmp_path / "i", HashEncoder(DIMENSION))
        assert reopened.stats()["ann_rows"] == ROWS - 1
        assert search(reopened, queries) == after


@pytest.mark.slow
def test_a_damaged_structure_is_left_out(vectors: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    build(tmp_path / "i", vectors, "hnsw").close()
    file = next((tmp_path / "i" / "derived").glob("hnsw-*"))
    file.write_bytes(file.read_bytes()[:1000])
    index = RaderIndex.open(tmp_path / "i", HashEncoder(DIMENSION))
    assert search(index, vectors[:5]) == search(build(None, vectors, None), vectors[:5])
    assert "optimize() rebuilds it" in caplog.text
    index.optimize()
    assert index.stats()["ann_rows"] == ROWS


def test_what_another_writer_commits_is_in_the_next_search(vectors: np.ndarray, tmp_path: Path) -> None:
    build(tmp_path / "i", vectors[:1000], "hnsw").close()
    reader, writer = (RaderIndex.open(tmp_path / "i", HashEncoder(DIMENSION)) for _ in range(2))
    assert reader.stats()["ann_rows"] == 1000
    before = search(reader, vectors[:1])[0]
    for name in ("new", "newer"):
        writer.add([Document(id=name, text="x")], vectors=vectors[:1])
        assert name in search(reader, vectors[:1])[0]
    writer.delete(["new", "newer", *before])
    assert not {"new", "newer", *before} & search(reader, vectors[:1])[0].keys()


def test_few_rows_are_searched_exactly(vectors: np.ndarray) -> None:
    index = build(None, vectors[:500], "hnsw")
    assert index.stats()["ann_rows"] == 0
    assert search(index, vectors[:5]) == search(build(None, vectors[:500], None), vectors[:5])


def test_code_bytes_must_divide_the_dimension(vectors: np.ndarray) -> None:
    with pytest.raises(InputError, match="divide the dimension 32"):
        build(None, vectors, {"kind": "ivfpq", "code_bytes": 7})


def test_gpu_without_one_says_so(vectors: np.ndarray) -> None:
    import faiss

    if hasattr(faiss, "get_num_gpus") and faiss.get_num_gpus():
        pytest.skip("this machine has a GPU")
    with pytest.raises(InputError, match=r"rader-plugins\[faiss-gpu\]"):
        build(None, vectors, {"kind": "flat", "gpu": True})
    with pytest.raises(InputError, match="no HNSW on GPUs"):
        build(None, vectors, {"kind": "hnsw", "gpu": True})


def test_the_gpu_path_with_a_stand_in_for_the_gpu(vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """The structure stays on the CPU: this covers the filtering around a GPU structure, not FAISS on a GPU."""
    import faiss

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", lambda index: index, raising=False)
    index, exact = build(None, vectors, {"kind": "flat", "gpu": True}), build(None, vectors, None)
    queries = vectors[:10] + np.float32(0.01)
    for condition in (None, {"n": {"$lt": 1500}}, {"n": {"$lt": 70}}):
        assert search(index, queries, filter=condition) == search(exact, queries, filter=condition)
