"""Inner products of one query with many vectors, without waking BLAS.

A BLAS library keeps its threads spinning for some milliseconds after each product, and so does the OpenMP of torch
after encoding a query. Where both have as many threads as there are cores, one query after the other is encoded and
searched for several times slower than either alone takes. Products for one query need no more than to read the vectors
once, so they are made here: by numpy's own loops, in threads that sleep when they have nothing to do.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from rader_plugins.processor import cores, threads

__all__ = ["inner_products", "share"]

Array = npt.NDArray[Any]

_BLOCK = 4096  # rows
_MOST_THREADS = 16


def inner_products(vectors: Array, query: Array, out: Array) -> None:
    """Write the inner product of a query with every vector to ``out``.

    Args:
        vectors: Array of shape (n, dimension), float32 or float64; float16 is widened block by block.
        query: Array of shape (dimension,), float32 or float64.
        out: Array of shape (n,) and the type of ``query``.
    """
    blocks = range(0, len(vectors), _BLOCK)

    def multiply(first: int) -> None:
        part = vectors[first : first + _BLOCK]
        if part.dtype != query.dtype:
            part = part.astype(query.dtype)
        np.einsum("ij,j->i", part, query, out=out[first : first + _BLOCK])

    share(multiply, blocks)


def share(work: Callable[[int], None], items: Sequence[int]) -> None:
    """Call ``work`` with every item, in this thread and in as many idle ones as help."""
    queue = iter(items)
    lock = threading.Lock()

    def take() -> None:
        for item in _locked(queue, lock):
            work(item)

    # Whoever is free takes the next block: a thread that finds no core delays nobody.
    helpers = [future for _ in range(min(_threads(), len(items)) - 1) if (future := _helper(take)) is not None]
    try:
        take()
    finally:
        for helper in helpers:
            if not helper.cancel():
                helper.result()


def _locked(items: Iterator[int], lock: threading.Lock) -> Iterator[int]:
    while True:
        with lock:
            item = next(items, None)
        if item is None:
            return
        yield item


_pool: ThreadPoolExecutor | None = None
_pool_lock = threading.Lock()


def _helper(take: Callable[[], None]) -> Future[None] | None:
    global _pool
    try:
        with _pool_lock:
            if _pool is None:
                _pool = ThreadPoolExecutor(_MOST_THREADS - 1, thread_name_prefix="rader-products")
            return _pool.submit(take)
    except RuntimeError:  # the interpreter is ending, or can start no more threads: the caller does all
        return None


def _forget_pool() -> None:
    """A forked process has none of the threads that its copy of the pool believes in."""
    global _pool, _pool_lock
    _pool, _pool_lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def _threads() -> int:
    """Return how many threads may work: the cores of this process, or OMP_NUM_THREADS if that is fewer."""
    return min(cores(), threads(), _MOST_THREADS)
