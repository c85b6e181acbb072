"""Search by 8-bit codes finds what scoring every row finds, to the last bit; its file is trusted where it is whole."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rader_plugins import Document, RaderIndex
from rader_plugins.errors import InputError
from rader_plugins.index import SearchRequest, maintenance, mapped, quantised
from rader_plugins.index.dense import CodedQueries, codes, exact, gather_scores, kernels, quantise
from rader_plugins.index.dense.kernels import integer_products
from rader_plugins.index.storage import shards
from tests.support.encoders import HashEncoder
from tests.support.examples import examples

Array = npt.NDArray[Any]
FEW = settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def plain_products(queries: Array) -> Callable[[Array], Array]:
    return lambda vectors: queries.astype(np.int64) @ vectors.T.astype(np.int64)


@pytest.fixture(params=["numpy", "numkong"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel for codes, and codes used however few rows there are."""
    if request.param == "numkong":
        pytest.importorskip("numkong")
        if integer_products() is None:
            pytest.skip("NumKong is not exact on this processor.")
    else:
        for module in (codes, quantised, maintenance):
            monkeypatch.setattr(module, "integer_products", lambda: plain_products)
    monkeypatch.setattr(quantised, "_SMALLEST", 1)
    monkeypatch.setattr(quantised, "_SHARE", 0)
    monkeypatch.setattr(codes, "_WORTH_IT", 1)


# Vectors that are hard to round: what is drawn is turned into rows of length 1, as an index stores them.
KINDS = ("normal", "one-hot", "equal", "outlier", "tiny rest", "denormal rest", "near ties", "duplicates", "halves")


def hard_vectors(kind: str, count: int, dimension: int, seed: int, dtype: str = "float32") -> Array:
    rng = np.random.default_rng(seed)
    drawn = rng.standard_normal((count, dimension))
    rows, spots = np.arange(count), rng.integers(dimension, size=count)
    if kind == "one-hot":
        drawn[:] = 0
        drawn[rows, spots] = rng.choice([-1, 1], count)
    elif kind == "equal":
        drawn[:] = rng.choice([-1, 1], (count, dimension))
    elif kind == "outlier":
        drawn[rows, spots] = 100
    elif kind in ("tiny rest", "denormal rest"):
        drawn *= 1e-20 if kind == "tiny rest" else 1e-42
        drawn[rows, spots] = 1
    elif kind == "near ties":
        drawn[:] = drawn[0] + 1e-7 * drawn
    elif kind == "duplicates":
        drawn[:] = drawn[rng.integers(min(3, count), size=count)]
    elif kind == "halves":  # components half way between two codes
        drawn[:] = (rng.integers(-126, 126, drawn.shape) + 0.5) / 127
        drawn[:, 0] = 1
    unit = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return unit.astype(np.float32).astype(dtype)


drawings = st.tuples(st.sampled_from(KINDS), st.integers(1, 40), st.integers(1, 70), st.integers(0, 2**16))
dtypes = st.sampled_from(["float32", "float16"])


@FEW
@given(drawings, dtypes)
def test_no_row_is_further_from_its_code_than_its_residual(drawing: tuple[str, int, int, int], dtype: str) -> None:
    vectors = hard_vectors(*drawing, dtype)
    run = quantise(vectors)
    assert run is not None
    rounded = run.codes.astype(np.longdouble) * run.scales[:, None].astype(np.longdouble)
    errors = np.sqrt(((vectors.astype(np.longdouble) - rounded) ** 2).sum(axis=1))
    assert (errors <= run.residuals).all()
    assert np.abs(run.codes.astype(int)).max() <= 127
    again = quantise(vectors[::-1].copy())
    assert again is not None
    assert np.array_equal(again.codes, run.codes[::-1])


def test_rows_that_the_bound_does_not_hold_for_have_no_codes() -> None:
    good = hard_vectors("normal", 5, 8, 0)
    for value in (np.nan, np.inf, -np.inf, 3e38, 1.1):
        bad = good.copy()
        bad[2, 3] = value
        assert quantise(bad) is None
    assert quantise(np.full((2, 8), 1e-30, np.float32)) is None
    zeros = quantise(np.zeros((2, 8), np.float32))  # rows that `repair` fills in
    assert zeros is not None
    assert not zeros.codes.any()
    assert not zeros.residuals.any()
    assert quantise(np.zeros((1, kernels.MOST_DIMENSIONS + 1), np.float32)) is None


@FEW
@given(drawings, dtypes, st.sampled_from(KINDS), st.sampled_from([1e-14, 1e-3, 1.0, 7.0, 1e14]))
@pytest.mark.usefixtures("kernel")
def test_scores_differ_from_estimates_by_less_than_the_radius(
    drawing: tuple[str, int, int, int], dtype: str, query_kind: str, length: float
) -> None:
    vectors = hard_vectors(*drawing, dtype)
    count, dimension = vectors.shape
    queries = (hard_vectors(query_kind, 3, dimension, drawing[3] + 1) * length).astype(np.float32)
    queries[1] = vectors[0]
    run = quantise(vectors)
    assert run is not None
    for chosen in (queries, queries[:1]):
        coded = CodedQueries(chosen, [run], count)
        for number, query in enumerate(chosen):
            scores = gather_scores([vectors], [0], query, np.arange(count)).astype(np.float64)
            assert (np.abs(scores - coded.estimates[number]) <= coded.radii(number, np.arange(count))).all()


def best(vectors: Array, ids: Sequence[str], query: Array, k: int, allowed: Array) -> list[tuple[str, float]]:
    """Score every row in double precision, in the plainest way."""
    scores = np.einsum("ij,j->i", vectors.astype(np.float64), query.astype(np.float64)).astype(np.float32)
    rows = sorted(np.flatnonzero(allowed).tolist(), key=lambda row: (-scores[row], ids[row]))
    return [(ids[row], float(scores[row])) for row in rows[:k]]


def found(index: RaderIndex, queries: Array, k: int, **options: Any) -> list[list[tuple[str, float]]]:
    request = SearchRequest(["q"] * len(queries), k=k, mode="dense", vectors=queries, **options)
    return [[(hit.document.id, hit.score) for hit in hits] for hits in index.search(request)]


@FEW
@given(
    drawings,
    dtypes,
    st.sampled_from(KINDS),
    st.integers(1, 45),
    st.sampled_from([0.0, 1e-40, 1e-15, 1e-3, 1.0, 1e3, 1e15]),
    st.sets(st.integers(0, 39)),
    st.sets(st.integers(0, 39)),
    st.integers(1, 17),
)
@example(("near ties", 40, 64, 1), "float32", "normal", 3, 1.0, {1}, {2}, 13)
@example(("duplicates", 40, 64, 1), "float16", "normal", 1, 1.0, set(), set(), 40)
@pytest.mark.usefixtures("kernel")
def test_results_are_those_of_scoring_every_row(
    drawing: tuple[str, int, int, int],
    dtype: str,
    query_kind: str,
    k: int,
    length: float,
    deleted: set[int],
    excluded: set[int],
    commit_every: int,
) -> None:
    vectors = hard_vectors(*drawing, "float32")
    count, dimension = vectors.shape
    queries = (hard_vectors(query_kind, 3, dimension, drawing[3] + 1) * length).astype(np.float32)
    ids = [f"d{(7 * n) % 41:02d}" for n in range(count)]
    with RaderIndex.create(None, HashEncoder(dimension), dtype=dtype) as index:  # type: ignore[arg-type]
        documents = [Document(id=id, text="t", metadata={"odd": n % 2}) for n, id in enumerate(ids)]
        half = count // 2
        index.add(documents[:half], vectors=vectors[:half], commit_every=commit_every)
        if half:
            found(index, queries, k)  # codes grow from here
        index.add(documents[half:], vectors=vectors[half:], commit_every=commit_every)
        index.delete([ids[n] for n in deleted if n < count])
        stored = vectors.astype(dtype)
        alive = np.array([n not in deleted for n in range(count)])
        odd = np.arange(count) % 2 == 1
        out = np.array([n not in excluded for n in range(count)])
        names = [ids[n] for n in excluded if n < count]
        assert found(index, queries, k) == [best(stored, ids, query, k, alive) for query in queries]
        assert found(index, queries[:1], k) == [best(stored, ids, queries[0], k, alive)]
        assert found(index, queries, k, filter={"odd": 1}) == [best(stored, ids, q, k, alive & odd) for q in queries]
        assert found(index, queries, k, exclude_ids=[names, [], names]) == [
            best(stored, ids, query, k, mask)
            for query, mask in zip(queries, (alive & out, alive, alive & out), strict=True)
        ]


@settings(
    max_examples=examples(20),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.integers(0, 2**16), st.sampled_from([16, 100, 384]), st.integers(1, 3))
@pytest.mark.usefixtures("kernel")
def test_a_best_row_that_rounding_hides_is_found(seed: int, dimension: int, k: int) -> None:
    """The worst case of the bound: errors along the query, upwards for the best row, downwards for all others."""
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], dimension)
    whole = rng.integers(-120, 120, dimension).astype(np.float64)
    whole[0] = 127 * signs[0]  # fixes the scale
    shift = np.where(np.arange(dimension) == 0, 0, signs)
    best_row = whole + 0.48 * shift
    lifted = np.arange(dimension) < 0.9 * dimension
    others = [whole + np.append(True, rng.permutation(lifted[1:])) * shift - 0.48 * shift for _ in range(30)]
    drawn = np.array([*others[:11], best_row, *others[11:]])
    vectors = (drawn / np.linalg.norm(drawn, axis=1).max()).astype(np.float32)
    query = (signs / np.sqrt(dimension)).astype(np.float32)
    run = quantise(vectors)
    assert run is not None
    coded = CodedQueries(query[None], [run], len(vectors))
    assert coded.estimates[0, 11] < coded.estimates[0].max()
    rows = coded.candidates(0, k)
    ids = [f"d{n:02d}" for n in range(len(vectors))]
    right = [id for id, _ in best(vectors, ids, query, k, np.ones(len(vectors), bool))]
    assert right[0] == "d11"
    assert rows is not None
    assert {int(id[1:]) for id in right} <= set(rows.tolist())


@pytest.mark.usefixtures("kernel")
def test_few_rows_are_scored_and_codes_are_what_rules_the_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = hard_vectors("normal", 3000, 64, 0)
    run = quantise(vectors)
    assert run is not None
    rows = CodedQueries(vectors[5:6], [run], 3000).candidates(0, 10)
    assert rows is not None
    assert 10 <= len(rows) < 300
    monkeypatch.setattr(codes, "_WORTH_IT", 1000)
    assert CodedQueries(vectors[5:6], [run], 3000).candidates(0, 1) is not None
    assert CodedQueries(np.zeros((1, 64), np.float32), [run], 3000).candidates(0, 1) is None


def test_vectors_and_queries_that_are_not_finite_are_refused_as_before() -> None:
    with RaderIndex.create(None, HashEncoder()) as index:
        index.add([Document(id="a", text="t")])
        for value in (np.nan, np.inf):
            with pytest.raises(InputError, match="NaN"):
                index.add([Document(id="b", text="t")], vectors=np.full((1, 16), value))
            with pytest.raises(InputError, match="NaN"):
                found(index, np.full((1, 16), value, np.float32), 1)


@pytest.mark.parametrize("mode", ["dense", "hybrid"])
def test_queries_so_long_that_scores_overflow_are_refused(mode: Any) -> None:
    vectors = hard_vectors("normal", 40, 16, 0)
    with RaderIndex.create(None, HashEncoder()) as index:
        index.add([Document(id=f"d{n:02d}", text="q") for n in range(40)], vectors=vectors)
        queries = vectors[:2] * np.float32(9e37)
        assert [len(hits) for hits in index.search(SearchRequest(["q"] * 2, k=40, mode=mode, vectors=queries))] == [
            40,
            40,
        ]
        assert found(index, queries, 40) == [
            best(vectors, [f"d{n:02d}" for n in range(40)], query, 40, np.ones(40, bool)) for query in queries
        ]
        with pytest.raises(InputError, match="longer than"):
            index.search(SearchRequest(["q"] * 2, k=3, mode=mode, vectors=queries * 2))


# The file


def filled(path: Path | None, vectors: Array, **options: Any) -> RaderIndex:
    index = RaderIndex.create(path, HashEncoder(vectors.shape[1]), **options)
    index.add([Document(id=f"d{n:05d}", text="t") for n in range(len(vectors))], vectors=vectors)
    return index


def codes_of(path: Path) -> list[Path]:
    return sorted((path / "derived").glob("codes-*"))


@pytest.fixture
def vectors() -> Array:
    return hard_vectors("normal", 400, 16, 3)


@pytest.fixture
def path(tmp_path: Path, kernel: None, vectors: Array) -> Path:
    with filled(tmp_path / "index", vectors) as index:
        index.optimize()
    return tmp_path / "index"


def expected(vectors: Array, k: int = 7) -> list[list[tuple[str, float]]]:
    ids = [f"d{n:05d}" for n in range(len(vectors))]
    return [best(vectors, ids, query, k, np.ones(len(vectors), bool)) for query in vectors[:3]]


def test_codes_are_stored_and_read(path: Path, vectors: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = codes_of(path)
    assert file.stat().st_size == 400 * (16 + 8)
    monkeypatch.setattr(quantised, "quantise", lambda part: pytest.fail("they were made again"))
    with RaderIndex.open(path, HashEncoder()) as index:
        assert found(index, vectors[:3], 7) == expected(vectors)
        index.optimize()
    assert codes_of(path) == [file]


@pytest.mark.parametrize("change", ["nothing", "removed", "another file", "shorter", "no preadv"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_rows_of_large_files_are_read_not_mapped(
    tmp_path: Path, dtype: str, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the files that were mapped have no name any more, or others have it."""
    monkeypatch.setattr(exact, "_LARGE", 0)
    monkeypatch.setattr(shards, "SHARD_BYTES", 4000)
    vectors = hard_vectors("normal", 400, 16, 3)
    filled(tmp_path / "index", vectors, dtype=dtype).close()
    reads: list[int] = []
    plain = mapped.read_rows
    monkeypatch.setattr(exact, "read_rows", lambda array, rows: reads.append(len(rows)) or plain(array, rows))
    stored = vectors.astype(dtype)
    ids = [f"d{n:05d}" for n in range(400)]
    right = [best(stored, ids, query, 7, np.ones(400, bool)) for query in vectors[:3]]
    with RaderIndex.open(tmp_path / "index", HashEncoder()) as index:
        assert found(index, vectors[:3], 7) == right
        files = sorted((tmp_path / "index").rglob("*-*.f*"))
        assert len(files) > 2
        if change == "removed":
            files[0].unlink()
        elif change == "another file":
            other = files[0].with_name("other")
            other.write_bytes(bytes(files[0].stat().st_size))
            other.replace(files[0])
        elif change == "no preadv":
            monkeypatch.delattr(os, "preadv", raising=False)
        elif change == "shorter":
            monkeypatch.setattr(os, "preadv", lambda *_: 1, raising=False)
        assert found(index, vectors[:3], 7) == right
        assert {name: list(vector) for name, vector in index.vectors(ids[:9]).items()} == {
            name: list(vector.astype(np.float32)) for name, vector in zip(ids[:9], stored, strict=False)
        }
    assert sum(reads) >= 6 * 7


@pytest.mark.parametrize("part", [slice(None), slice(50), slice(3, None), slice(None, None, 2), slice(None, None, -1)])
def test_rows_of_a_part_of_a_file_are_those_of_the_part(tmp_path: Path, part: slice) -> None:
    numbers = np.arange(400, dtype=np.float32).reshape(100, 4)
    (tmp_path / "rows").write_bytes(numbers.tobytes())
    array = mapped.map_rows(tmp_path / "rows", np.float32, 100, 4)[part]
    rows = np.array([0, 7, 49])
    assert np.array_equal(mapped.read_rows(array, rows), numbers[part][rows])


@pytest.mark.parametrize("damage", ["truncate", "extend", "flip", "swap", "remove", "folder"])
def test_damaged_codes_are_never_used(
    path: Path, vectors: Array, damage: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = codes_of(path)
    content = file.read_bytes()
    file.unlink()
    if damage == "truncate":
        file.write_bytes(content[:-1])
    elif damage == "extend":
        file.write_bytes(content + b"\0")
    elif damage == "flip":
        file.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    elif damage == "swap":
        file.write_bytes(content[16:32] + content[:16] + content[32:])
    elif damage == "folder":
        file.mkdir()
    monkeypatch.setattr(quantised, "_TAIL", 1)  # so that the codes are not simply made in memory
    with caplog.at_level(logging.WARNING), RaderIndex.open(path, HashEncoder()) as index:
        for _ in range(3):
            assert found(index, vectors[:3], 7) == expected(vectors)
        assert [record.name for record in caplog.records].count("rader_plugins.index.quantised") == (damage != "remove")
        if damage != "folder":
            index.optimize()
            assert codes_of(path)[0].read_bytes() == content
            assert found(index, vectors[:3], 7) == expected(vectors)


def test_codes_of_a_file_that_another_one_replaced(path: Path, vectors: Array) -> None:
    with RaderIndex.open(path, HashEncoder()) as reader, RaderIndex.open(path, HashEncoder()) as writer:
        assert len(reader) == 400  # sees this state before its codes are read
        writer.delete(["d00399"])
        writer.optimize()
        writer.add([Document(id="d00399", text="t")], vectors=vectors[399:])
        assert found(writer, vectors[:3], 7) == expected(vectors)
        snapshot = reader.snapshot(newest=False)
        assert snapshot.rows == 400
        rows, scores = snapshot.dense_top(vectors[:1], 7, [None])[0]
        best_first = sorted(zip((-scores).tolist(), [snapshot.ids[row] for row in rows.tolist()], strict=True))
        assert [(id, -score) for score, id in best_first] == expected(vectors)[0]
        assert found(reader, vectors[:3], 7) == expected(vectors)


def test_codes_of_another_epoch_are_never_used(path: Path, vectors: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows get other numbers when deleted ones are dropped: codes of before fit no row of after, and the reverse."""
    with RaderIndex.open(path, HashEncoder()) as reader, RaderIndex.open(path, HashEncoder()) as writer:
        before = reader.snapshot()  # its codes are read below, when those of the next epoch are there
        added = hard_vectors("normal", 500, 16, 4)
        writer.add([Document(id=f"e{n:05d}", text="t") for n in range(500)], vectors=added)
        writer.delete([f"d{n:05d}" for n in range(0, 400, 2)])
        writer.optimize()
        (rows, scores), *_ = before.dense_top(vectors[:1], 7, [None])
        best_first = sorted(zip((-scores).tolist(), [before.ids[row] for row in rows.tolist()], strict=True))
        assert [(id, -score) for score, id in best_first] == expected(vectors)[0]
        ids = [f"d{n:05d}" for n in range(1, 400, 2)] + [f"e{n:05d}" for n in range(500)]
        matrix = np.concatenate([vectors[1::2], added])
        # An optimize() that ends before its last step leaves the record of the codes from before.
        writer.delete([f"e{n:05d}" for n in range(0, 500, 5)])
        monkeypatch.setattr(maintenance, "store_derived", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            writer.optimize()
        keep = np.array([not (id.startswith("e") and int(id[1:]) % 5 == 0) for id in ids])
        with RaderIndex.open(path, HashEncoder()) as again:
            for index in (again, writer, reader):
                right = [best(matrix, ids, query, 7, keep) for query in matrix[-3:]]
                assert found(index, matrix[-3:], 7) == right


def test_an_index_without_codes_is_searched_and_gets_them(
    tmp_path: Path, kernel: None, vectors: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (quantised, maintenance):
        monkeypatch.setattr(module, "integer_products", lambda: None)  # as on a machine without NumKong
    with filled(tmp_path / "i", vectors) as index:
        index.optimize()
        assert found(index, vectors[:3], 7) == expected(vectors)
    assert codes_of(tmp_path / "i") == []
    for module in (quantised, maintenance):
        monkeypatch.setattr(module, "integer_products", lambda: plain_products)
    monkeypatch.setattr(codes, "integer_products", lambda: plain_products)
    monkeypatch.setattr(quantised, "_TAIL", 100)
    with RaderIndex.open(tmp_path / "i", HashEncoder()) as index:
        assert found(index, vectors[:3], 7) == expected(vectors)
        assert codes_of(tmp_path / "i") == []  # reading writes nothing
        index.add([Document(id="new", text="t")], vectors=-vectors[:1])
        assert len(codes_of(tmp_path / "i")) == 1
        assert found(index, vectors[:3], 7) == expected(vectors)


def test_codes_grow_with_additions_and_follow_deletions(
    tmp_path: Path, kernel: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantised, "_TAIL", 64)
    rng = np.random.default_rng(0)
    stored: dict[str, Array] = {}
    with (
        RaderIndex.create(tmp_path / "i", HashEncoder()) as writer,
        RaderIndex.open(tmp_path / "i", HashEncoder()) as reader,
    ):
        for step in range(12):
            names = [f"d{number:04d}" for number in rng.choice(600, 40, replace=False)]
            added = hard_vectors("normal", 40, 16, step)
            writer.add([Document(id=name, text=f"t{step}") for name in names], vectors=added)
            stored.update(zip(names, added, strict=True))
            gone = [str(name) for name in rng.choice(sorted(stored), 5, replace=False)]
            writer.delete(gone)
            for name in gone:
                del stored[name]
            if step % 5 == 4:
                writer.optimize()
            ids, matrix = list(stored), np.array(list(stored.values()))
            right = [best(matrix, ids, query, 9, np.ones(len(ids), bool)) for query in added[:2]]
            for index in (writer, reader):
                assert found(index, added[:2], 9) == right
    assert len(codes_of(tmp_path / "i")) == 1


def test_threads_share_the_codes(kernel: None, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = hard_vectors("normal", 2000, 16, 1)
    made: list[int] = []
    plain = quantised.quantise
    monkeypatch.setattr(quantised, "quantise", lambda part: made.append(len(part)) or plain(part))
    with filled(None, vectors) as index:
        wrong: list[object] = []

        def search() -> None:
            for _ in range(5):
                if found(index, vectors[:3], 7) != expected(vectors):
                    wrong.append(1)

        threads = [threading.Thread(target=search) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong
    assert made == [2000]


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid"), reason="folders are read-only otherwise there")
def test_a_damaged_vector_file_keeps_codes_away(path: Path, vectors: Array) -> None:
    """Rows that are no vectors (a file damaged after it was checked) are searched as without codes."""
    shard = next((path / "vectors").iterdir())
    content = np.frombuffer(shard.read_bytes(), "<f4").copy()
    content[5 * 16] = np.nan
    shard.write_bytes(content.tobytes())
    codes_of(path)[0].unlink()
    with RaderIndex.open(path, HashEncoder(), verify=False) as index:
        index.optimize()
        assert codes_of(path) == []
        found(index, vectors[:3], 7)
        index.add([Document(id="x", text="t")], vectors=vectors[:1])
        assert codes_of(path) == []


def test_a_search_that_keeps_writers_waiting_and_another_one_end(path: Path, vectors: Array) -> None:
    """The database is not asked for the file by whoever holds the codes: who holds the database may wait for these."""
    with RaderIndex.open(path, HashEncoder()) as index:
        snapshot = index.snapshot()
        assert snapshot.quantised is not None
        find_file = snapshot.quantised._find_file
        assert find_file is not None
        asks = threading.Event()

        def asked() -> Any:
            asks.set()
            return find_file()

        snapshot.quantised._find_file = asked
        results: list[int] = []

        def search() -> None:
            results.append(len(snapshot.dense_top(vectors[:1], 7, [None])[0][0]))

        other = threading.Thread(target=search, daemon=True)
        with index.frozen():
            other.start()
            assert asks.wait(60)
            assert snapshot.quantised._lock.acquire(timeout=60), "one search waits for the other, for ever"
            snapshot.quantised._lock.release()
            search()
        other.join(60)
    assert results == [7, 7]


def test_codes_of_a_later_state_are_not_written(path: Path, vectors: Array) -> None:
    run = quantise(vectors[:350])
    assert run is not None
    with RaderIndex.open(path, HashEncoder()) as index:
        snapshot = index.snapshot()
        assert snapshot.quantised is not None
        written = quantised.CodeRun.joined(list(snapshot.quantised.all_runs([vectors[:350]], [0], 350)))
    assert np.array_equal(written.codes, run.codes)


def test_codes_that_were_damaged_while_they_were_mapped_are_not_written_again(path: Path, vectors: Array) -> None:
    (file,) = codes_of(path)
    content = file.read_bytes()
    with RaderIndex.open(path, HashEncoder()) as index:
        assert found(index, vectors[:3], 7) == expected(vectors)
        with file.open("r+b") as stream:
            stream.write(bytes(byte ^ 0x55 for byte in content[:1600]))
        index.optimize()
        assert codes_of(path)[0].read_bytes() == content
        assert found(index, vectors[:3], 7) == expected(vectors)


def test_numkong_is_loaded_where_there_is_use_for_it(tmp_path: Path) -> None:
    """Opening, adding to and searching a small index does without it."""
    program = (
        "import sys; from rader_plugins import Document, RaderIndex; from rader_plugins.index import SearchRequest\n"
        "from tests.support.encoders import HashEncoder\n"
        "RaderIndex.create(sys.argv[1], HashEncoder()).add([Document(id='a', text='t')])\n"
        "index = RaderIndex.open(sys.argv[1], HashEncoder())\n"
        "assert index.search(SearchRequest(['t'], k=1, mode='dense', vectors=HashEncoder().encode_queries(['t'])))[0]\n"
        "assert 'numkong' not in sys.modules\n"
    )
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "i")], check=True, cwd=root)  # noqa: S603 - ours


# The kernel


def test_a_library_that_is_not_exact_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def saturating(queries: Array, vectors: Array, metric: str) -> Array:
        return np.clip(queries.astype(np.int64) @ vectors.T.astype(np.int64), -(2**15), 2**15 - 1)

    library = types.SimpleNamespace(
        cdist=saturating,
        dots_pack=lambda queries, kind: queries,
        dots_packed=lambda vectors, queries: saturating(vectors, queries, "dot"),
    )
    monkeypatch.setitem(sys.modules, "numkong", library)  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        assert kernels.integer_products.__wrapped__() is None
    assert "not exact" in caplog.text
    library.cdist = lambda *args, **options: 1 / 0
    assert kernels.integer_products.__wrapped__() is None
    assert "ZeroDivisionError" in caplog.text
    monkeypatch.setitem(sys.modules, "numkong", None)  # type: ignore[arg-type]
    assert kernels.integer_products.__wrapped__() is None


def test_the_kernel_of_this_machine_is_exact_for_many_shapes() -> None:
    pytest.importorskip("numkong")
    kernel = integer_products()
    if kernel is None:
        pytest.skip("NumKong is not exact on this processor.")
    rng = np.random.default_rng(1)
    for dimension in (1, 3, 31, 33, 128, 768, 3584):
        for rows in (1, 2, 5, 64, 1000):
            vectors = rng.integers(-127, 128, (rows, dimension)).astype(np.int8)
            vectors.flags.writeable = False  # as mapped files are
            for count in (1, 2, 3, 40):
                queries = rng.integers(-127, 128, (count, dimension)).astype(np.int8)
                assert np.array_equal(kernel(queries)(vectors), plain_products(queries)(vectors))
