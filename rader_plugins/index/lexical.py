"""BM25 with the weighting of the query that BRIGHT and RaDeR use, over immutable blocks of postings.

A sparse dot product (DESIGN section 4): with sat(f, n) = f / (f + k1 (1 - b + b n / avgdl)) and
idf(t) = ln(1 + (N - df + 0.5) / (df + 0.5)),

    score(q, d) = sum over terms t of idf(t)^2 * sat(tf(t, q), |q|) * sat(tf(t, d), |d|)

where |q| counts the query's terms that the corpus holds. Lucene's own BM25 is the option ``query_weighted=False``:
idf(t) * tf(t, q) * sat(tf(t, d), |d|). N, df and avgdl are taken over the living documents at each commit, so scores
equal those of an index built afresh.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from rader_plugins.errors import InputError

__all__ = ["Bm25Config", "LexicalView", "Postings", "pack_terms"]

Array = npt.NDArray[Any]
_FREQUENT = 512  # postings of a term from which on they are worth keeping between queries


@dataclass(frozen=True)
class Bm25Config:
    """Parameters of BM25: ``k1`` >= 0, ``b`` in 0..1, and whether the query is weighted as a document is."""

    k1: float = 0.9
    b: float = 0.4
    query_weighted: bool = True

    def __post_init__(self) -> None:
        if not (self.k1 >= 0 and 0 <= self.b <= 1):
            raise InputError(f"BM25 needs k1 >= 0 and b between 0 and 1, not k1={self.k1}, b={self.b}.")


def pack_terms(counts: Mapping[int, int]) -> bytes:
    """Serialise term id -> frequency as little-endian pairs of 32-bit integers, sorted by term id."""
    return np.array(sorted(counts.items()), dtype="<u4").tobytes()


@dataclass(frozen=True)
class Postings:
    """Which documents hold which terms, for some rows of the index.

    Attributes:
        terms: Sorted term ids, shape (t,).
        starts: Where each term's postings begin, shape (t + 1,).
        rows: Row of each posting, shape (p,).
        frequencies: How often the term stands in that document, shape (p,).
    """

    terms: Array
    starts: Array
    rows: Array
    frequencies: Array

    @classmethod
    def build(cls, rows: Sequence[int], packed: Sequence[bytes]) -> Postings:
        """Invert documents given as rows and :func:`pack_terms` blobs."""
        pairs = np.frombuffer(b"".join(packed), dtype="<u4").reshape(-1, 2)
        sizes = [len(blob) // 8 for blob in packed]
        return cls._sorted(pairs[:, 0].astype(np.int32), np.repeat(np.array(rows, dtype=np.int32), sizes), pairs[:, 1])

    @classmethod
    def merge(cls, parts: Sequence[Postings]) -> Postings:
        """Join blocks of postings; rows of a later block must be larger."""
        if len(parts) == 1:
            return parts[0]
        return cls._sorted(
            np.concatenate([np.repeat(part.terms, np.diff(part.starts)) for part in parts]),
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.frequencies for part in parts]),
        )

    @classmethod
    def _sorted(cls, terms: Array, rows: Array, frequencies: Array) -> Postings:
        order = np.argsort(terms, kind="stable")  # stable: rows stay ascending within a term
        unique, first = np.unique(terms[order], return_index=True)
        smallest = np.uint16 if frequencies.size == 0 or frequencies.max() < 2**16 else np.uint32
        return cls(
            terms=unique.astype(np.int32),
            starts=np.append(first, len(terms)).astype(np.int64),
            rows=rows[order],
            frequencies=frequencies[order].astype(smallest),
        )

    def __len__(self) -> int:
        return len(self.rows)

    def spans(self, terms: Array) -> list[tuple[int, int]]:
        """Return where the postings of each of these terms begin and end."""
        if not len(self.terms):
            return [(0, 0)] * len(terms)
        places = np.minimum(np.searchsorted(self.terms, terms), len(self.terms) - 1)
        first = self.starts[places]
        last = np.where(self.terms[places] == terms, self.starts[places + 1], first)
        return list(zip(first.tolist(), last.tolist(), strict=True))

    def add_frequencies(self, counts: Array, alive: Array | None) -> None:
        """Add each term's number of living documents to ``counts``, indexed by term id."""
        if alive is None:
            counts[self.terms] += np.diff(self.starts)
        elif len(self.rows):
            counts[self.terms] += np.add.reduceat(alive[self.rows].astype(np.int64), self.starts[:-1])

    def write(self, stream: IO[bytes]) -> None:
        """Write the four arrays, one after the other, in numpy's own format."""
        for array in (self.terms, self.starts, self.rows, self.frequencies):
            np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)

    @classmethod
    def read(cls, stream: IO[bytes]) -> Postings:
        """Read what :meth:`write` wrote; raises ValueError on damage."""
        return cls(*(np.lib.format.read_array(stream, allow_pickle=False) for _ in range(4)))


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
        self._kept: dict[tuple[int, int], npt.NDArray[np.float32]] = {}

    def idf(self, term: int) -> float:
        """Inverse document frequency, or 0 for a term that no living document holds."""
        frequency = self._frequency(term)
        return float(np.log1p((self.documents - frequency + 0.5) / (frequency + 0.5))) if frequency else 0.0

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

    def scores(self, counts: Counter[int] | Mapping[int, int]) -> npt.NDArray[np.float64]:
        """Score every row for one query.

        Args:
            counts: Term id -> frequency in the query, in the order of the query: sums are taken in that order,
                so that they do not depend on how terms happen to be numbered.

        Returns:
            float64 array of shape (rows,); 0 where no term matches. Rows of deleted documents may have a score.
        """
        # All postings in one go: a few calls on long arrays instead of several for every term.
        weighted = self.query_weights(counts)
        if not weighted:
            return np.zeros(self.rows)
        terms = np.array(list(weighted), dtype=np.int32)
        spans = [part.spans(terms) for part in self.parts]
        rows, values = [], []
        for at, weight in enumerate(weighted.values()):
            for number, part in enumerate(self.parts):
                first, last = spans[number][at]
                if first < last:
                    rows.append(part.rows[first:last])
                    values.append(self._saturations(number, first, last) * np.float32(weight))
        # Adds in the order given, in double precision.
        summed = np.bincount(np.concatenate(rows), weights=np.concatenate(values), minlength=self.rows)
        return np.asarray(summed, dtype=np.float64)

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
