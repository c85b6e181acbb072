"""Postings: which documents hold which terms, for some rows of an index. Immutable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from rader_plugins.analysis import TermCounts
from rader_plugins.sorting import stable_order

__all__ = ["Postings", "pack_counts", "pack_terms", "unpack_terms"]

Array = npt.NDArray[Any]


def pack_terms(counts: Mapping[int, int]) -> bytes:
    """Serialise term id -> frequency as little-endian pairs of 32-bit integers, sorted by term id."""
    return np.array(sorted(counts.items()), dtype="<u4").tobytes()


def pack_counts(counts: TermCounts, numbers: npt.NDArray[np.uint32]) -> list[bytes]:
    """Serialise the frequencies of the terms of documents, each as :func:`pack_terms` does.

    Args:
        counts: What the documents hold.
        numbers: Id of each term, in the order of their names: different ones, shape (t,).
    """
    starts, terms, frequencies = counts.numbered(numbers)
    packed = np.stack([terms, frequencies], axis=1).astype("<u4").tobytes()
    return [packed[first:last] for first, last in pairwise((8 * starts).tolist())]


def unpack_terms(packed: bytes) -> list[int]:
    """Return the term ids that :func:`pack_terms` serialised, without their frequencies."""
    ids: list[int] = np.frombuffer(packed, dtype="<u4")[::2].tolist()
    return ids


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
        order = stable_order(terms)  # rows stay ascending within a term
        terms = terms[order]
        first = np.flatnonzero(np.diff(terms, prepend=-1))
        smallest = np.uint16 if frequencies.size == 0 or frequencies.max() < 2**16 else np.uint32
        return cls(
            terms=terms[first].astype(np.int32),
            starts=np.append(first, len(terms)).astype(np.int64),
            rows=rows[order],
            frequencies=frequencies[order].astype(smallest),
        )

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def most(self) -> Array:
        """The largest frequency of each term, shape (t,)."""
        return np.maximum.reduceat(self.frequencies, self.starts[:-1]) if len(self.rows) else self.frequencies

    def find(self, terms: Array) -> tuple[Array, Array, Array]:
        """Return where the postings of each of these terms begin and end, and its largest frequency.

        Args:
            terms: Term ids, shape (n,).

        Returns:
            Three integer arrays of shape (n,); of a term without postings, beginning and end are equal.
        """
        if not len(self.terms):
            return (np.zeros(len(terms), dtype=np.int64),) * 3
        positions = np.minimum(self.terms.searchsorted(terms), len(self.terms) - 1)
        matches = self.terms[positions] == terms
        first = self.starts[positions]
        return first, np.where(matches, self.starts[positions + 1], first), self.most[positions] * matches

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
