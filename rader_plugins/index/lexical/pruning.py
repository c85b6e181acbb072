"""The best documents by BM25 without scoring all that match: MaxScore (Turtle and Flood 1995), with exact results.

A query's rare terms decide who its best documents are, the more so as the weighting squares the idf. So the postings
of the terms are read in descending order of what a term can add at most. As soon as the terms that are left cannot
lift a document that has none of the others into the first ``k``, no further document is considered; the few that are
are looked up in the long lists of the frequent terms. What remains is scored as :meth:`LexicalView.scores` does it, to
the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rader_plugins.index.lexical.postings import Array
from rader_plugins.index.lexical.scoring import LexicalView, WeightedQuery

__all__ = ["promising"]

_ROUND = 2048  # postings read before looking whether more are needed
_MOST_READ = 8192  # postings (or one for every 16 rows) beyond which every row is scored
_LOWER = 1 - 1e-9  # partial sums are taken in another order than scores, and may differ from them by this

_TRUE = np.ones(1, dtype=np.bool_)

_Read = tuple[Array, Array, Array]
Candidates = tuple[Array, npt.NDArray[np.float64]]
"""Rows, ascending, and their scores."""


def promising(
    view: LexicalView, query: WeightedQuery, k: int, allowed: npt.NDArray[np.bool_] | None
) -> Candidates | None:
    """Return some rows that hold the ``k`` best, with all that tie with the last of them, and their scores.

    Args:
        view: The state of the index that is searched.
        query: The query, its terms weighted.
        k: How many are wanted, at least 1.
        allowed: Which rows may be found, shape (rows,); None allows all.

    Returns:
        None if so many postings would have to be read that scoring every row is as fast.
    """
    if not len(query):
        return np.zeros(0, dtype=np.int32), np.zeros(0)
    sequence = np.argsort(-query.bounds, kind="stable")
    sizes = (query.last - query.first).sum(axis=0)[sequence].tolist()
    # rests[n]: what a document can get at most from all but the first n terms.
    rests = [*query.bounds[sequence][::-1].cumsum()[::-1].tolist(), 0.0]
    budget = max(_MOST_READ, view.rows // 16)
    taken, limit = 0, 0.0
    read: list[_Read] = []
    rows, sums = np.zeros(0, dtype=np.int32), np.zeros(0)
    while taken < len(query) and not rests[taken] < limit * _LOWER:
        first, grown = taken, 0
        while taken < len(query) and (taken == first or grown + sizes[taken] <= max(_ROUND, k)):
            grown += sizes[taken]
            taken += 1
        budget -= grown
        if budget < 0:
            return None
        read.append(_read(view, query, sequence[first:taken], allowed))
        rows, sums = _summed(read)
        if len(sums) >= k:
            limit = _kth(sums, k)
    keep = (sums >= limit * _LOWER - rests[taken]).nonzero()[0]
    rows, sums = rows[keep], sums[keep]
    contributions = _values(view, query, sequence[taken:], rows)
    if len(rows) > k:
        sums = sums + contributions.sum(axis=0)
        keep = (sums >= _kth(sums, k) * _LOWER).nonzero()[0]
        rows, contributions = rows[keep], contributions[:, keep]
    values = np.zeros((len(query), len(rows)), dtype=np.float32)
    values[sequence[taken:]] = contributions
    for holders, terms, added in read if len(rows) else ():
        positions = np.minimum(rows.searchsorted(holders), len(rows) - 1)
        matches = (rows[positions] == holders).nonzero()[0]
        values[terms[matches], positions[matches]] = added[matches]
    scores = np.zeros(len(rows))
    for added in values:  # one term after the other
        scores += added
    return rows, scores


def _kth(sums: Array, k: int) -> float:
    return float(np.partition(sums, len(sums) - k)[len(sums) - k])


def _read(view: LexicalView, query: WeightedQuery, terms: Array, allowed: npt.NDArray[np.bool_] | None) -> _Read:
    """Return all postings of some terms: their rows, their places in the query and their values."""
    first, last = query.first[:, terms], query.last[:, terms]
    rows, counts = [], []
    for part, starts, stops in zip(view.parts, first.tolist(), last.tolist(), strict=True):
        for start, stop in zip(starts, stops, strict=True):
            rows.append(part.rows[start:stop])
            counts.append(part.frequencies[start:stop])
    holders, values = np.concatenate(rows), np.concatenate(counts).astype(np.float32)
    owners = np.concatenate([terms] * len(view.parts)).repeat((last - first).ravel())
    if allowed is not None:
        keep = allowed[holders].nonzero()[0]
        holders, values, owners = holders[keep], values[keep], owners[keep]
    values /= values + view.norms[holders]
    values *= query.weights[owners]
    return holders, owners, values


def _summed(read: Sequence[_Read]) -> Candidates:
    """Return every row that was read, ascending, and the sum of its values."""
    rows, _, values = read[0] if len(read) == 1 else map(np.concatenate, zip(*read, strict=True))
    if not len(rows):
        return rows, np.zeros(0)
    order = rows.argsort(kind="stable")
    rows = rows[order]
    starts = np.concatenate((_TRUE, rows[1:] != rows[:-1])).nonzero()[0]
    return rows[starts], np.add.reduceat(values[order].astype(np.float64), starts)


def _values(view: LexicalView, query: WeightedQuery, terms: Array, rows: Array) -> npt.NDArray[np.float32]:
    """Return what each of some terms of the query adds to each of some rows, shape (terms, rows)."""
    values = np.zeros((len(terms), len(rows)), dtype=np.float32)
    if not len(rows):
        return values
    for line, term in enumerate(terms.tolist()):
        column = view.column(int(query.terms[term]))
        if column is not None:
            values[line] = column[rows]
            continue
        for part, first, last in zip(
            view.parts, query.first[:, term].tolist(), query.last[:, term].tolist(), strict=True
        ):
            if first < last:
                holders = part.rows[first:last]
                positions = np.minimum(holders.searchsorted(rows), last - first - 1)
                values[line] += part.frequencies[first:last][positions] * (holders[positions] == rows)
    values /= values + view.norms[rows]
    values *= query.weights[terms, None]
    return values
