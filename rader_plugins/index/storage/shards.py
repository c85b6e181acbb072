"""Where vectors lie: append-only shards of raw little-endian floats, in files or in memory.

A shard has no header. What it is called, how many of its rows are committed and their checksums stand in the index's
database, so bytes behind the last committed row (from a writer that was killed) mean nothing and are overwritten.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from rader_plugins.errors import IndexCorruptError, IndexWriteError
from rader_plugins.files import sync_folder
from rader_plugins.index.mapped import map_rows

__all__ = ["FileShards", "MemoryShards", "Shard", "Shards"]

Array = npt.NDArray[Any]
SHARD_BYTES = 128 << 20


@dataclass(frozen=True)
class Shard:
    """One shard: its name, its first row in the index and how many rows are committed."""

    name: str
    start: int
    rows: int


class Shards(Protocol):
    """Storage of vectors, shape (rows, dimension), spread over shards."""

    @property
    def row_bytes(self) -> int:
        """Bytes of one vector."""

    def append(self, shards: Sequence[Shard], vectors: Array, epoch: int) -> list[Shard]:
        """Write vectors durably behind the committed rows and return the new list of shards (not yet committed)."""

    def arrays(self, shards: Sequence[Shard]) -> list[Array]:
        """Return a read-only array of shape (rows, dimension) for every shard."""

    def remove_unused(self, shards: Sequence[Shard]) -> None:
        """Delete the storage of every shard that is not listed."""


class _Layout:
    def __init__(self, dimension: int, dtype: str) -> None:
        self.dimension = dimension
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.row_bytes = dimension * self.dtype.itemsize
        self.capacity = max(1, SHARD_BYTES // self.row_bytes)

    def split(self, shards: Sequence[Shard], vectors: Array, epoch: int) -> list[tuple[Shard, Array]]:
        """Distribute vectors over the last shard and new ones; each shard is given as it is before the write."""
        parts: list[tuple[Shard, Array]] = []
        last = shards[-1] if shards else None
        number, position = len(shards), 0
        end = last.start + last.rows if last else 0
        while position < len(vectors):
            if last is None or last.rows >= self.capacity:
                last = Shard(f"{epoch:06d}-{number:05d}.f{8 * self.dtype.itemsize}", end, 0)
                number += 1
            part = vectors[position : position + self.capacity - last.rows]
            parts.append((last, part))
            position += len(part)
            end += len(part)
            last = replace(last, rows=last.rows + len(part))
        return parts


def _appended(shards: Sequence[Shard], parts: Sequence[tuple[Shard, Array]]) -> list[Shard]:
    named = {shard.name: shard for shard in shards}
    named.update({shard.name: replace(shard, rows=shard.rows + len(part)) for shard, part in parts})
    return list(named.values())


class FileShards(_Layout):
    """Shards as files of one folder, read through memory maps that processes share."""

    def __init__(self, folder: Path, dimension: int, dtype: str) -> None:
        super().__init__(dimension, dtype)
        self.folder = folder

    def append(self, shards: Sequence[Shard], vectors: Array, epoch: int) -> list[Shard]:
        """See :class:`Shards`.

        Raises:
            IndexWriteError: The disk is full or the folder cannot be written; committed rows are untouched.
        """
        parts = self.split(shards, vectors, epoch)
        for shard, part in parts:
            path = self.folder / shard.name
            committed = shard.rows * self.row_bytes
            try:
                # A new shard may have a namesake from a writer that was killed: it is emptied here.
                with path.open("r+b" if committed else "wb") as stream:
                    stream.truncate(committed)
                    stream.seek(committed)
                    stream.write(np.ascontiguousarray(part, dtype=self.dtype).data)
                    stream.flush()
                    os.fsync(stream.fileno())
                if not committed:
                    sync_folder(self.folder)
            except OSError as error:
                raise IndexWriteError(
                    f"Could not write {len(part)} vectors to {path}: {error.strerror or error}. What was "
                    "committed before is intact; free some space (or make the folder writable) and add the documents "
                    "again."
                ) from error
        return _appended(shards, parts)

    def arrays(self, shards: Sequence[Shard]) -> list[Array]:
        """See :class:`Shards`.

        Raises:
            IndexCorruptError: A file is shorter than its committed rows.
            FileNotFoundError: A file is gone (a concurrent ``optimize`` may have replaced it).
        """
        arrays: list[Array] = []
        for shard in shards:
            path = self.folder / shard.name
            needed = shard.rows * self.row_bytes
            if (size := path.stat().st_size) < needed:
                raise IndexCorruptError(
                    f"{path} is truncated: {size} bytes, but {needed} were committed. The documents are intact in "
                    "the database; `rader index repair` encodes the lost vectors again."
                )
            arrays.append(map_rows(path, self.dtype, shard.rows, self.dimension))
        return arrays

    def remove_unused(self, shards: Sequence[Shard]) -> None:
        """See :class:`Shards`. A file that another process still maps may stay until the next call (Windows)."""
        used = {shard.name for shard in shards}
        for path in self.folder.glob("*-*.f*"):
            if path.name not in used:
                try:
                    path.unlink(missing_ok=True)
                except PermissionError:
                    continue


class MemoryShards(_Layout):
    """Shards as arrays of this process."""

    def __init__(self, dimension: int, dtype: str) -> None:
        super().__init__(dimension, dtype)
        self._arrays: dict[str, Array] = {}

    def append(self, shards: Sequence[Shard], vectors: Array, epoch: int) -> list[Shard]:
        """See :class:`Shards`."""
        parts = self.split(shards, vectors, epoch)
        for shard, part in parts:
            array = self._arrays.get(shard.name)
            needed = shard.rows + len(part)
            if array is None or len(array) < needed:
                grown = np.empty((min(self.capacity, max(needed, 2 * shard.rows, 256)), self.dimension), self.dtype)
                if array is not None:
                    grown[: shard.rows] = array[: shard.rows]
                self._arrays[shard.name] = array = grown
            array[shard.rows : needed] = part
        return _appended(shards, parts)

    def arrays(self, shards: Sequence[Shard]) -> list[Array]:
        """See :class:`Shards`."""
        return [self._arrays[shard.name][: shard.rows] for shard in shards]

    def remove_unused(self, shards: Sequence[Shard]) -> None:
        """See :class:`Shards`."""
        used = {shard.name for shard in shards}
        self._arrays = {name: array for name, array in self._arrays.items() if name in used}


def checksum(vectors: Array) -> int:
    """CRC-32 of vectors as they are stored."""
    return zlib.crc32(np.ascontiguousarray(vectors).data)
