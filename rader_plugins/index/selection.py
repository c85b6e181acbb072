"""The best of many scores, with equal ones ordered by the ids of their documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Ranking", "best_rows", "kth_largest", "top_places"]

Array = npt.NDArray[Any]

Ranking = tuple[Array, Array]
"""Rows (int64) and their scores."""


def kth_largest(scores: Array, k: int) -> Any:
    """Return the ``k``-th largest of some scores (the smallest, where there are no more than ``k``).

    Looks at the largest of every group first: the ``k``-th largest of these bounds the result from below, so that only
    few scores have to be partitioned.
    """
    if len(scores) <= k:
        return scores.min()
    group = min(64, len(scores) // (4 * k))
    if group > 1:
        maxima = scores[: len(scores) // group * group].reshape(group, -1).max(axis=0)
        scores = scores[scores >= np.partition(maxima, len(maxima) - k)[len(maxima) - k]]
    return np.partition(scores, len(scores) - k)[len(scores) - k]


def best_rows(rows: Array, scores: Array, k: int, ids: Sequence[str]) -> Ranking:
    """Keep the ``k`` best of some rows, in no order; of equal scores at the limit, the smallest document ids.

    Args:
        rows: int64 array of shape (n,).
        scores: Score of each of these rows, shape (n,).
        k: How many to keep.
        ids: Id of every row of the index.
    """
    keep = _best(rows, scores, k, ids)
    return rows[keep], scores[keep]


def top_places(rows: Array, scores: Array, k: int, ids: Sequence[str]) -> Array:
    """As :func:`best_rows`, but return their places in the arrays, best first; equal scores by ascending id."""
    keep = _best(rows, scores, k, ids)
    names = [ids[row] for row in rows[keep].tolist()]
    order = [position for *_, position in sorted(zip((-scores[keep]).tolist(), names, range(len(names)), strict=True))]
    positions: Array = keep[order]
    return positions


def _best(rows: Array, scores: Array, k: int, ids: Sequence[str]) -> Array:
    if len(rows) <= k:
        return np.arange(len(rows))
    limit = kth_largest(scores, k)
    certain = np.flatnonzero(scores > limit)
    tied = np.flatnonzero(scores == limit)
    if len(certain) + len(tied) > k:
        tied_rows: list[int] = rows[tied].tolist()
        by_id = sorted(range(len(tied)), key=lambda place: ids[tied_rows[place]])
        tied = tied[by_id[: k - len(certain)]]
    return np.concatenate([certain, tied])
