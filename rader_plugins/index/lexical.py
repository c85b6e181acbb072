"""BM25 with the weighting of the query that BRIGHT and RaDeR use, over immutable blocks of postings.

A sparse dot product (DESIGN section 4): with sat(f, n) = f / (f + k1 (1 - b + b n / avgdl)) and
idf(t) = ln(1 + (N - df + 0.5) / (df + 0.5)),

    score(q, d) = sum over terms t of idf(t)^2 * sat(tf(t, q), |q|) * sat(tf(t, d), |d|)

where |q| counts the query's terms that the corpus holds. Lucene's own BM25 is the option ``query_weighted=False``:
idf(t) * tf(t, q) * sat(tf(t, d), |d|). N, df and avgdl are taken over the living documents at each commit, so scores
equal those of an index built afresh.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rader_plugins.errors import InputError
from rader_plugins.index.postings import Postings

__all__ = ["Bm25Config", "LexicalView"]

Array = npt.NDArray[Any]
_FREQUENT = 512  # postings of a term from which on they are worth keeping between queries
_POSTINGS_AT_ONCE = 8192
_BUFFERS = 4  # kept for the next queries; more threads make their own
_SAFE = 1 - 1e-9  # bounds are sums of rounded numbers


@dataclass(frozen=True)
class Bm25Config:
    """Parameters of BM25: ``k1`` >= 0, ``b`` in 0..1, and whether the query is weighted as a document is."""

    k1: float = 0.9
    b: float = 0.4
    query_weighted: bool = True

    def __post_init__(self) -> None:
        if not (self.k1 >= 0 and 0 <= self.b <= 1):
            raise InputError(f"BM25 needs k1 >= 0 and b between 0 and 1, not k1={self.k1}, b={self.b}.")


class LexicalView:
    """BM25 over one state of an index.

    Args:
        parts: Blocks of postings, in ascending order of rows.
        lengths: Number of terms of every row, shape (rows,).
        alive: Which rows hold a living document, shape (rows,).
        term_count: One more than the largest term id.
        config: k1, b and the weighting of the query.
    """

    def __init__(
        self, parts: Sequence[Postings], lengths: Array, alive: Array, term_count: int, config: Bm25Config
    ) -> None:
        self.parts = tuple(parts)
        self.config = config
        self.rows = len(lengths)
        self.documents = int(np.count_nonzero(alive))
        total = int(lengths[alive].sum(dtype=np.int64))
        self.mean_length = total / self.documents if total else 1.0
        everyone = self.documents == self.rows
        counts = np.zeros(term_count, dtype=np.int64)
        for part in self.parts:
            part.add_frequencies(counts, None if everyone else alive)
        self._document_frequency = counts.astype(np.int32)
        # A posting's saturation is f / (f + norm): the norm depends on the row alone.
        self._norms = (config.k1 * (1 - config.b + config.b * lengths / self.mean_length)).astype(np.float32)
        self._smallest_norm = float(self._norms.min(initial=np.inf))
        self._kept: dict[tuple[int, int], npt.NDArray[np.float32]] = {}
        self._maxima: dict[tuple[int, int], int] = {}
        self._buffers: list[npt.NDArray[np.float64]] = []  # append and pop are atomic

    def idf(self, term: int) -> float:
        """Inverse document frequency, or 0 for a term that no living document holds."""
        frequency = self._frequency(term)
        return math.log1p((self.documents - frequency + 0.5) / (frequency + 0.5)) if frequency else 0.0

    def _frequency(self, term: int) -> int:
        return int(self._document_frequency[term]) if term < len(self._document_frequency) else 0

    def query_weights(self, counts: Mapping[int, int]) -> dict[int, float]:
        """Return the weight of each term that the corpus holds, given term id -> frequency in the query."""
        known = {term: count for term, count in counts.items() if self._frequency(term)}
        if not self.config.query_weighted:
            return {term: self.idf(term) * count for term, count in known.items()}
        k1, b = self.config.k1, self.config.b
        norm = k1 * (1 - b + b * sum(known.values()) / self.mean_length)
        return {term: self.idf(term) ** 2 * count / (count + norm) for term, count in known.items()}

    def scores(self, counts: Mapping[int, int]) -> npt.NDArray[np.float64]:
        """Score every row for one query.

        Args:
            counts: Term id -> frequency in the query, in the order of the query.

        Returns:
            float64 array of shape (rows,); 0 where no term matches. Rows of deleted documents may have a score.
        """
        # All postings in one go: a few calls on long arrays instead of several for every term.
        asked = self._asked(counts)
        found = [self._values(number, first, last, term.weight) for term in asked for number, first, last in term.spans]
        if not found:
            return np.zeros(self.rows)
        rows, values = zip(*found, strict=True)
        # Adds in the order given, in double precision.
        summed = np.bincount(np.concatenate(rows), weights=np.concatenate(values), minlength=self.rows)
        return np.asarray(summed, dtype=np.float64)

    def best(
        self, counts: Mapping[int, int], k: int, allowed: npt.NDArray[np.bool_] | None
    ) -> tuple[Array, npt.NDArray[np.float64]]:
        """Find rows among which the ``k`` best are, ties at the limit included, without scoring every row.

        Terms are taken from the rarest on. A row that none of these holds cannot score more than the rest of the terms
        together may give; once the ``k``-th best row is beyond that, the frequent terms are only looked up for the
        rows that can still be among the best (Turtle and Flood, IP&M 1995: "max score").

        Args:
            counts: Term id -> frequency in the query, in the order of the query.
            k: How many rows are wanted.
            allowed: Which rows may be found, shape (rows,); None allows all.

        Returns:
            Rows and their scores, the very ones of :meth:`scores`, in no order.
        """
        asked = self._asked(counts)
        most = [term.weight * self._most(term) for term in asked]
        limit, done = 0.0, 0
        rows: Array = np.zeros(0, dtype=np.int32)
        scores: npt.NDArray[np.float64] = np.zeros(0)
        with self._buffer() as sums:
            while done < len(asked):
                # As many rare terms at once as a look at the limit costs.
                first, budget = done, _POSTINGS_AT_ONCE
                while done < len(asked) and (done == first or budget >= asked[done].postings):
                    budget -= asked[done].postings
                    done += 1
                rows = _union(rows, self._add(sums, asked[first:done]))
                possible = rows if allowed is None else rows[allowed[rows]]
                scores = sums[possible]
                if len(possible) >= k and sum(most[done:]) < (limit := _kth(scores, k)) * _SAFE:
                    break
            sums[rows] = 0.0
        rows = rows if allowed is None else rows[allowed[rows]]
        for place in range(done, len(asked) + 1):
            if len(rows) > k:
                limit = max(limit, _kth(scores, k))
                kept = np.flatnonzero(scores + sum(most[place:]) >= limit * _SAFE)
                rows, scores = rows[kept], scores[kept]
            if place < len(asked):
                self._look_up(scores, rows, asked[place])
        return rows.astype(np.int64), scores

    def _add(self, sums: npt.NDArray[np.float64], asked: Sequence[_Asked]) -> Array:
        """Add the postings of some terms to the sums, one after the other; return their distinct rows in order."""
        spans = [(self.parts[number], start, end, term.weight) for term in asked for number, start, end in term.spans]
        rows = np.concatenate([part.rows[start:end] for part, start, end, _ in spans])
        frequencies = np.concatenate([part.frequencies[start:end] for part, start, end, _ in spans]).astype(np.float32)
        weights = np.array([weight for *_, weight in spans], dtype=np.float32)
        values = frequencies / (frequencies + self._norms[rows])
        values *= np.repeat(weights, [end - start for _, start, end, _ in spans])
        np.add.at(sums, rows.astype(np.intp), values.astype(np.float64))
        rows.sort()
        return rows if len(rows) < 2 else rows[np.append(True, rows[1:] != rows[:-1])]

    def _most(self, term: _Asked) -> float:
        """Return what the saturation of a term's postings does not exceed; looked up for frequent terms only."""
        if term.postings < _FREQUENT:
            return 1.0
        largest = max(self._largest(*span) for span in term.spans)
        return largest / (largest + self._smallest_norm)

    def _largest(self, number: int, first: int, last: int) -> int:
        known = self._maxima.get((number, first))
        if known is None:
            known = self._maxima[number, first] = int(self.parts[number].frequencies[first:last].max())
        return known

    def _asked(self, counts: Mapping[int, int]) -> list[_Asked]:
        """Return the terms of a query that the corpus holds, the rarest first, equally rare ones as in the query.

        Every sum is taken in this order: it depends neither on how terms happen to be numbered nor on how a search
        goes about it.
        """
        weighted = self.query_weights(counts)
        if not weighted:
            return []
        terms = np.array(list(weighted), dtype=np.int32)
        blocks = [part.spans(terms) for part in self.parts]
        asked = []
        for at, (term, weight) in enumerate(weighted.items()):
            spans = [(number, *block[at]) for number, block in enumerate(blocks) if block[at][0] < block[at][1]]
            postings = sum(last - first for _, first, last in spans)
            asked.append(_Asked(weight, self._frequency(term), postings, spans))
        return sorted(asked, key=lambda term: term.frequency)

    def _values(self, number: int, first: int, last: int, weight: float) -> tuple[Array, npt.NDArray[np.float32]]:
        """Return the rows of some postings of a block, and what they add to the score."""
        return self.parts[number].rows[first:last], self._saturations(number, first, last) * np.float32(weight)

    def _look_up(self, scores: npt.NDArray[np.float64], rows: Array, term: _Asked) -> None:
        """Add what a term gives to the scores of some rows."""
        for number, first, last in term.spans:
            posted = self.parts[number].rows[first:last]
            places = np.searchsorted(posted, rows)
            places[places == last - first] = 0
            hits = np.flatnonzero(posted[places] == rows)
            if not len(hits):
                continue
            frequencies = self.parts[number].frequencies[first:last][places[hits]].astype(np.float32)
            scores[hits] += frequencies / (frequencies + self._norms[rows[hits]]) * np.float32(term.weight)

    def _saturations(self, number: int, first: int, last: int) -> npt.NDArray[np.float32]:
        """Return sat(f, n) of some postings; those of frequent terms are kept."""
        known = self._kept.get((number, first))
        if known is not None:
            return known
        part = self.parts[number]
        saturations = part.frequencies[first:last].astype(np.float32)
        saturations /= saturations + self._norms[part.rows[first:last]]
        if last - first >= _FREQUENT:
            self._kept[number, first] = saturations
        return saturations

    @contextlib.contextmanager
    def _buffer(self) -> Iterator[npt.NDArray[np.float64]]:
        """Give zeros for every row, to be left as zeros; a new array for each query would cost more than the sums."""
        try:
            buffer = self._buffers.pop()
        except IndexError:
            buffer = np.zeros(self.rows)
        yield buffer
        if len(self._buffers) < _BUFFERS:
            self._buffers.append(buffer)


def _union(one: Array, other: Array) -> Array:
    return np.union1d(one, other) if len(one) else other


def _kth(scores: npt.NDArray[np.float64], k: int) -> float:
    return float(np.partition(scores, len(scores) - k)[len(scores) - k])


class _Asked(NamedTuple):
    """A term of a query: its weight, in how many living documents it stands, and its postings in each block."""

    weight: float
    frequency: int
    postings: int
    spans: list[tuple[int, int, int]]
