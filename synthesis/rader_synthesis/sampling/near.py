"""Near-duplicates: texts most of whose word 3-grams are the same, found by MinHash and checked exactly.

Broder, "On the resemblance and containment of documents" (1997). The table lies in a file: memory does not grow with
the number of texts.
"""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from rader_plugins.text_matching import normal, words

__all__ = ["NearIndex", "jaccard", "shingles"]

# 24 bands of 5: of pairs at 0.8 similarity 1 in 14,000 is missed, of pairs at 0.9 none to speak of.
_BANDS, _ROWS = 24, 5
_MOST_CANDIDATES = 64  # those with most bands in common; texts that follow one template would all be candidates
_LONGEST = 3

Shingles = npt.NDArray[np.uint32]


def shingles(text: str) -> Shingles:
    """Return the distinct word 3-grams of a text as sorted numbers; of a shorter text, itself.

    Example:
        >>> len(shingles("Among any six people three know each other"))
        6
    """
    tokens = words(text)
    size = _LONGEST if len(tokens) > _LONGEST else len(tokens)
    grams = (
        [" ".join(tokens[start : start + size]) for start in range(len(tokens) - size + 1)]
        if tokens
        else [normal(text)]
    )
    return np.unique(np.array([zlib.crc32(gram.encode("utf-8")) for gram in grams], dtype=np.uint32))


def jaccard(first: Shingles, other: Shingles) -> float:
    """Return the share of the 3-grams of either text that both have."""
    both = len(np.intersect1d(first, other, assume_unique=True))
    return both / (len(first) + len(other) - both)


class NearIndex:
    """Finds, among the texts that were added, those near a text.

    Args:
        connection: Connection to the database that the tables are made in.
        name: Name of the tables.
        threshold: Least Jaccard similarity, 0 to 1.
    """

    def __init__(self, connection: sqlite3.Connection, name: str, threshold: float) -> None:
        self._connection = connection
        self._name = name
        self._threshold = threshold
        connection.execute(f"CREATE TABLE {name} (item INTEGER PRIMARY KEY, shingles BLOB NOT NULL)")
        connection.execute(
            f"CREATE TABLE {name}_bands (band INTEGER, item INTEGER, PRIMARY KEY (band, item)) WITHOUT ROWID"
        )

    def near(self, text: Shingles) -> Iterator[int]:
        """Yield the items near a text, the likeliest first."""
        bands = _bands(text)
        slots = ",".join("?" * len(bands))
        candidates = self._connection.execute(
            f"SELECT item, count(*) FROM {self._name}_bands WHERE band IN ({slots}) "
            "GROUP BY item ORDER BY 2 DESC, 1 LIMIT ?",
            (*bands, _MOST_CANDIDATES),
        ).fetchall()
        for item, _ in candidates:
            (blob,) = self._connection.execute(f"SELECT shingles FROM {self._name} WHERE item = ?", (item,)).fetchone()
            if jaccard(text, np.frombuffer(blob, dtype="<u4")) >= self._threshold:
                yield item

    def add(self, item: int, text: Shingles) -> None:
        """Remember a text under a number."""
        self._connection.execute(f"INSERT INTO {self._name} VALUES (?, ?)", (item, text.astype("<u4").tobytes()))
        self._connection.executemany(
            f"INSERT OR IGNORE INTO {self._name}_bands VALUES (?, ?)", [(band, item) for band in _bands(text)]
        )


def _parameters() -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Return the multipliers (odd) and summands of the hash functions: the same on every machine."""
    raw = hashlib.shake_256(b"rader near-duplicates").digest(16 * _BANDS * _ROWS)
    numbers = np.frombuffer(raw, dtype="<u8").astype(np.uint64)
    return numbers[: _BANDS * _ROWS] | np.uint64(1), numbers[_BANDS * _ROWS :]


_MULTIPLIERS, _SUMMANDS = _parameters()


def _bands(text: Shingles) -> list[int]:
    """Return one number for every band of the MinHash signature."""
    smallest = np.full(_BANDS * _ROWS, np.iinfo(np.uint64).max, dtype=np.uint64)
    for start in range(0, len(text), 4096):  # a text of a million words must not make a gigabyte of hashes
        block = text[start : start + 4096, None].astype(np.uint64)
        smallest = np.minimum(smallest, (block * _MULTIPLIERS + _SUMMANDS).min(axis=0))
    rows = smallest.reshape(_BANDS, _ROWS).astype("<u8")
    hashed: list[Any] = [
        int.from_bytes(hashlib.blake2b(bytes([number]) + row.tobytes(), digest_size=8).digest(), "little", signed=True)
        for number, row in enumerate(rows)
    ]
    return hashed
