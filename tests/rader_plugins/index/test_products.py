"""Inner products of one query: right for every type and size, from several threads and after a fork."""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
import pytest

from rader_plugins.index.dense import exact_scores, float_error, products
from rader_plugins.index.dense.products import inner_products


def _vectors(rows: int, dimension: int, dtype: str = "float32") -> Any:
    rng = np.random.default_rng(rows)
    vectors = rng.standard_normal((rows, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(dtype)


@pytest.mark.parametrize("rows", [0, 1, 4095, 4096, 4097, 20_000])
@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_products_are_right(rows: int, dtype: str) -> None:
    vectors, query = _vectors(rows, 64, dtype), _vectors(1, 64)[0]
    out = np.full(rows, np.nan, dtype=np.float32)
    inner_products(vectors, query, out)
    assert np.allclose(out, vectors.astype(np.float64) @ query.astype(np.float64), atol=float_error(query))


@pytest.mark.parametrize("kind", ["random", "equal", "positive"])
def test_single_precision_sums_stay_within_the_stated_rounding(kind: str) -> None:
    rng = np.random.default_rng(5)
    rows = {
        "random": rng.standard_normal((500, 4096)),
        "equal": 1 + 1e-3 * rng.standard_normal((500, 4096)),
        "positive": rng.exponential(1.0, (500, 4096)),
    }[kind]
    vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    scores = exact_scores([vectors], [0], vectors[:1], 500)[0]
    assert np.abs(scores - vectors.astype(np.float64) @ vectors[0].astype(np.float64)).max() < float_error(vectors[0])


def test_one_query_and_a_batch_agree_over_shards() -> None:
    vectors, queries = _vectors(9000, 32), _vectors(3, 32)
    shards, starts = [vectors[:5000], vectors[5000:]], [0, 5000]
    batch = exact_scores(shards, starts, queries, 9000)
    for query, scores in zip(queries, batch, strict=True):
        assert np.allclose(exact_scores(shards, starts, query[None], 9000)[0], scores, atol=2 * float_error(query))


def test_many_threads_get_their_own_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_threads", lambda: 4)
    vectors, queries = _vectors(30_000, 16), _vectors(8, 16)
    scores = np.empty((8, 30_000), dtype=np.float32)

    def search(place: int) -> None:
        for _ in range(5):
            inner_products(vectors, queries[place], scores[place])

    threads = [threading.Thread(target=search, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.allclose(scores, queries @ vectors.T, atol=2 * float_error(queries[0]))


def test_an_error_in_a_helping_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_threads", lambda: 2)
    first = threading.get_ident()

    def work(item: int) -> None:
        if threading.get_ident() != first:
            raise ValueError("no")
        while not failed.is_set():  # leave the rest to the helper
            failed.wait(0.01)

    failed = threading.Event()

    def recording(item: int) -> None:
        try:
            work(item)
        except ValueError:
            failed.set()
            raise

    with pytest.raises(ValueError, match="no"):
        products.share(recording, range(4))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_makes_its_own_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_threads", lambda: 2)
    vectors, query = _vectors(20_000, 16), _vectors(1, 16)[0]
    out = np.empty(20_000, dtype=np.float32)
    inner_products(vectors, query, out)  # the pool exists now
    child = os.fork()
    if child == 0:
        after_fork = np.empty_like(out)
        inner_products(vectors, query, after_fork)
        os._exit(0 if np.array_equal(out, after_fork) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_threads_are_the_cores_of_the_process_or_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert 1 <= products._threads() <= (os.cpu_count() or 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert products._threads() == 1
    for value in ("", "0", "4,2"):
        monkeypatch.setenv("OMP_NUM_THREADS", value)
        assert products._threads() >= 1
