"""What counts the terms of documents while they are added, and while statistics are renewed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from rader_plugins.engines.sparse import Counts
from rader_plugins.engines.statistics import StatisticsBuilder

__all__ = ["CountedTexts", "FirstAdd"]

_REMEMBERED, _OVERHEAD = 1 << 20, 40  # terms that are remembered (some 8 MB), and what a document takes beside


@dataclass
class FirstAdd:
    """A call of add() that found an empty index: it counts what it adds.

    Attributes:
        builder: Counts the terms of what the call adds.
        stamp: Stamp of its rows as long as nobody else has renewed the statistics; None before its first batch.
    """

    builder: StatisticsBuilder = field(default_factory=StatisticsBuilder)
    stamp: int | None = None


class CountedTexts:
    """Counts the terms of texts that are read twice, the second time from memory, as far as that goes.

    Args:
        count: Counts those of a text.
    """

    def __init__(self, count: Callable[[str], Counts]) -> None:
        self._count = count
        self._room = _REMEMBERED
        self._counts: dict[tuple[str, str], tuple[int, bytes]] = {}

    def first(self, partition: str, id: str, text: str) -> Counts:
        """Count a text that will be read again."""
        counts = self._count(text)
        if self._room > 0:
            self._room -= len(counts[0]) + _OVERHEAD
            self._counts[partition, id] = (
                hash(text),
                np.concatenate(counts, dtype=np.uint32, casting="unsafe").tobytes(),
            )
        return counts

    def again(self, partition: str, id: str, text: str) -> Counts:
        """Count it, unless it is remembered and has not changed since."""
        digest, packed = self._counts.pop((partition, id), (None, b""))
        if digest != hash(text):
            return self._count(text)
        names, counts = np.frombuffer(packed, np.uint32).reshape(2, -1)
        return names, counts.astype(np.int64)
