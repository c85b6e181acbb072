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

_PENDING = 1 << 20  # dimensions that are counted at once
_SOUGHT = 1 << 18  # dimensions that are sought at once: where each stands takes twice as much as itself


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

    def to_bytes(self) -> bytes:
        """Serialise the terms: their dimensions, then their frequencies, as little-endian 32-bit integers."""
        return self.dimensions.astype("<u4").tobytes() + self.frequencies.astype("<u4").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes, documents: int, mean_length: float) -> Statistics:
        """Read what :meth:`to_bytes` wrote.

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
        self._pending: list[npt.NDArray[np.uint32]] = []
        self._size = 0

    def add(self, counted: Iterable[tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]]) -> None:
        """Take what :func:`~rader_plugins.engines.sparse.term_counts` gives of each of some documents."""
        for names, counts in counted:
            self.documents += 1
            self._total += int(counts.sum())
            self._pending.append(names)
            self._size += len(names)
        if self._size > _PENDING:
            self._merge()

    def _merge(self) -> None:
        fresh, counts = np.unique(np.concatenate([np.zeros(0, np.uint32), *self._pending]), return_counts=True)
        self._pending, self._size = [], 0
        names = np.union1d(self._dimensions, fresh)
        frequencies = np.zeros(len(names), np.uint32)
        for dimensions, numbers in ((self._dimensions, self._frequencies), (fresh, counts.astype(np.uint32))):
            for start in range(0, len(dimensions), _SOUGHT):
                part = slice(start, start + _SOUGHT)
                frequencies[names.searchsorted(dimensions[part])] += numbers[part]
        self._dimensions, self._frequencies = names, frequencies

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
