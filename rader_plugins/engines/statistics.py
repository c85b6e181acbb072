"""What BM25 knows of a corpus: how many documents, how long, and in how many each term occurs, at a stated moment.

An engine keeps them beside the documents. They are not kept up to date with every write, which would cost each writer a
turn at one counter of all: :meth:`EngineIndex.optimize` renews them, and :class:`Drift` says how far the corpus has
moved since.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rader_plugins.errors import IndexCorruptError

__all__ = ["Drift", "Statistics", "StatisticsBuilder"]

_PENDING = 1 << 18  # dimensions that are counted at once
_BLOCK = 1 << 18  # values that are moved at once


@dataclass(frozen=True)
class Statistics:
    """The statistics of one moment. Eight bytes a term: 40 MB for five million.

    Attributes:
        documents: How many there were.
        mean_length: Mean number of terms of a document; 1 where there are none.
        dimensions: Dimensions of the terms that occur, ascending, uint32 array of shape (t,).
        frequencies: Number of documents in which each term occurs, uint32 array of shape (t,).
    """

    documents: int
    mean_length: float
    dimensions: npt.NDArray[np.uint32]
    frequencies: npt.NDArray[np.uint32]

    @classmethod
    def empty(cls) -> Statistics:
        """Return the statistics of no documents."""
        return cls(0, 1.0, np.zeros(0, np.uint32), np.zeros(0, np.uint32))

    def frequency_of(self, dimensions: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
        """Return in how many documents each of some dimensions occurs, shape (n,); 0 for unknown ones."""
        if not len(self.dimensions):
            return np.zeros(len(dimensions), np.int64)
        places = np.minimum(self.dimensions.searchsorted(dimensions), len(self.dimensions) - 1)
        matches = self.dimensions[places] == dimensions
        return np.where(matches, self.frequencies[places], 0).astype(np.int64)

    def pieces(self) -> tuple[memoryview, memoryview]:
        """Serialise the terms: their dimensions and their frequencies, as little-endian 32-bit integers.

        They are not copied where the processor has them so. Joined they are what :meth:`from_bytes` reads.
        """
        dimensions, frequencies = (
            np.ascontiguousarray(part, dtype="<u4").data.cast("B") for part in (self.dimensions, self.frequencies)
        )
        return dimensions, frequencies

    @classmethod
    def from_bytes(cls, data: bytes, documents: int, mean_length: float) -> Statistics:
        """Read what :meth:`pieces` wrote.

        Raises:
            IndexCorruptError: It is something else.
        """
        if len(data) % 8:
            raise IndexCorruptError("The statistics of the index are damaged: optimize() makes them anew.")
        dimensions, frequencies = np.frombuffer(data, dtype="<u4").astype(np.uint32, copy=False).reshape(2, -1)
        return cls(documents, mean_length, dimensions, frequencies)


class StatisticsBuilder:
    """Counts the terms of documents, in memory that grows with the vocabulary alone."""

    def __init__(self) -> None:
        self.documents = 0
        self._total = 0
        self._dimensions = np.zeros(0, np.uint32)
        self._frequencies = np.zeros(0, np.uint32)
        self._shared = False  # whether statistics that were returned hold these two
        self._pending = np.zeros(_PENDING, np.uint32)
        self._size = 0

    def add(self, counted: Iterable[tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]]) -> None:
        """Take what :func:`~rader_plugins.engines.sparse.term_counts` gives of each of some documents."""
        for names, counts in counted:
            self.documents += 1
            self._total += int(counts.sum())
            for start in range(0, len(names), _PENDING):
                part = names[start : start + _PENDING]
                if self._size + len(part) > _PENDING:
                    self._merge()
                self._pending[self._size : self._size + len(part)] = part
                self._size += len(part)

    def _merge(self) -> None:
        fresh, counts = np.unique(self._pending[: self._size], return_counts=True)
        self._size = 0
        if self._shared:
            self._dimensions, self._frequencies = self._dimensions.copy(), self._frequencies.copy()
            self._shared = False
        frequencies = counts.astype(np.uint32)
        positions = self._dimensions.searchsorted(fresh)
        is_counted = positions < len(self._dimensions)
        is_counted[is_counted] = self._dimensions[positions[is_counted]] == fresh[is_counted]
        self._frequencies[positions[is_counted]] += frequencies[is_counted]
        new = ~is_counted
        for array, values in ((self._dimensions, fresh[new]), (self._frequencies, frequencies[new])):
            _insert(array, positions[new], values)

    @property
    def mean_length(self) -> float:
        """Mean number of terms of what was added; 1 where there are none."""
        return self._total / self.documents if self._total else 1.0

    def statistics(self, mean_length: float | None = None) -> Statistics:
        """Return the statistics of what was added.

        Args:
            mean_length: Stands for the mean of the documents, where vectors were made with it already.
        """
        self._merge()
        self._shared = True
        return Statistics(
            self.documents,
            self.mean_length if mean_length is None else mean_length,
            self._dimensions,
            self._frequencies,
        )


@dataclass(frozen=True)
class Drift:
    """How far a corpus has moved from its statistics.

    Attributes:
        documents: How many the statistics count.
        written: How many that are stored now came, or came anew, since.
        gone: How many of those that the statistics count are not stored any more, or not as they were.
    """

    documents: int
    written: int
    gone: int

    @property
    def share(self) -> float:
        """Documents that came, changed or went, relative to those that the statistics count."""
        return max(self.written, self.gone) / max(self.documents, 1)


def _insert(array: npt.NDArray[np.uint32], positions: npt.NDArray[np.int64], values: npt.NDArray[np.uint32]) -> None:
    """Do what ``numpy.insert`` does, without a second array: from the end on, a block at a time.

    Args:
        array: Grows by as many values.
        positions: Before which of its values each is put, ascending.
        values: What is inserted.
    """
    length, end = len(array), len(values)
    array.resize(length + end, refcheck=False)
    for start in reversed(range(0, max(length, 1), _BLOCK)):
        if not end:
            return
        stop = min(start + _BLOCK, length)
        first = int(positions.searchsorted(start)) if start else 0
        block = np.insert(array[start:stop], positions[first:end] - start, values[first:end])
        array[start + first : stop + end] = block
        end = first
