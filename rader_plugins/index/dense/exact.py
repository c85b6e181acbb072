"""Exact dense search over memory-mapped shards.

The shards are multiplied where they lie, without copying them; then the scores of the best rows are computed again in
double precision. So a text has the same score wherever it stands, alone or in a batch, and equal texts tie.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rader_plugins.index.dense.products import inner_products, share
from rader_plugins.index.mapped import read_rows

__all__ = ["Array", "exact_scores", "float_error", "gather", "gather_scores"]

Array = npt.NDArray[Any]

_GATHER = 512  # rows: what is read for them stays in the cache
_LARGE = 512 << 20  # bytes of vectors from which on few of them shall be in memory


def exact_scores(shards: Sequence[Array], starts: Sequence[int], queries: Array, rows: int) -> Array:
    """Inner product of every query with every row.

    Args:
        shards: Arrays of shape (n_i, dimension), float32 or float16.
        starts: First row of each shard.
        queries: float32 array of shape (q, dimension).
        rows: Number of rows in all.

    Returns:
        float32 array of shape (q, rows), exact to :func:`float_error`.
    """
    scores = np.empty((len(queries), rows), dtype=np.float32)
    for shard, start in zip(shards, starts, strict=True):
        if len(queries) == 1:
            inner_products(shard, queries[0], out=scores[0, start : start + len(shard)])
            continue
        # Half precision is widened in blocks that stay in the cache.
        step = len(shard) if shard.dtype == np.float32 else 8192
        for first in range(0, len(shard), max(1, step)):
            part = shard[first : first + step]
            part = part if part.dtype == np.float32 else part.astype(np.float32)
            np.matmul(queries, part.T, out=scores[:, start + first : start + first + len(part)])
    return scores


def float_error(query: Array) -> float:
    """Bound by how much a single precision product of a query with a stored vector differs from :func:`gather_scores`.

    A sum of n rounded products differs from the true one by at most n u / (1 - n u) times the product of both lengths,
    in whatever order it is taken (Higham 2002, section 3.1; u = 2^-24). Stored vectors are no longer than 1.01, and a
    score itself is rounded once.

    Args:
        query: float32 array of shape (dimension,).
    """
    terms = (len(query) + 2) * 2.0**-24
    return float(1.02 * terms / (1 - min(terms, 0.5)) * np.linalg.norm(query.astype(np.float64))) + 1e-37


def gather(shards: Sequence[Array], starts: Sequence[int], rows: Array) -> Array:
    """Return the vectors of some rows as an array of shape (len(rows), dimension)."""
    pick = read_rows if sum(shard.nbytes for shard in shards) >= _LARGE else _picked
    if len(shards) == 1:
        return pick(shards[0], rows)
    if (rows[1:] < rows[:-1]).any():
        order = np.argsort(rows)
        vectors = np.empty((len(rows), shards[0].shape[1]), dtype=shards[0].dtype)
        vectors[order] = gather(shards, starts, rows[order])
        return vectors
    ends = np.searchsorted(rows, [*starts[1:], rows[-1] + 1 if len(rows) else 0])
    firsts = [0, *ends[:-1].tolist()]
    return np.concatenate(
        [
            pick(shard, rows[first:end] - start)
            for shard, start, first, end in zip(shards, starts, firsts, ends, strict=True)
            if end > first or shard is shards[0]
        ]
    )


def _picked(vectors: Array, rows: Array) -> Array:
    return vectors.take(rows, axis=0)  # faster than indexing, which iterates over what it copies


def gather_scores(
    shards: Sequence[Array],
    starts: Sequence[int],
    query: Array,
    rows: Array,
    precision: type[np.floating[Any]] = np.float64,
) -> Array:
    """Inner product of one query with some rows; float32 array of shape (len(rows),).

    Args:
        shards: Arrays of shape (n_i, dimension), float32 or float16.
        starts: First row of each shard.
        query: float32 array of shape (dimension,).
        rows: Which rows, in any order.
        precision: In which it is summed: double defines a score, single is exact to :func:`float_error`.
    """
    scores = np.empty(len(rows), dtype=np.float32)
    wide = query.astype(precision)
    order = np.argsort(rows)  # neighbours share pages

    def score(first: int) -> None:
        positions = order[first : first + _GATHER]
        # Not by BLAS: see rader_plugins.index.dense.products.
        vectors = gather(shards, starts, rows[positions]).astype(precision, copy=False)
        scores[positions] = np.einsum("ij,j->i", vectors, wide)

    if len(rows) <= _GATHER:
        score(0)
    else:
        share(score, range(0, len(rows), _GATHER))
    return scores
