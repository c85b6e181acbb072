"""Derived structures, checksums and repair of an index. The caller holds the write lock where something is written."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rader_plugins.errors import InputError
from rader_plugins.files import atomic_write
from rader_plugins.index.dense import Approximate
from rader_plugins.index.home import Home
from rader_plugins.index.loader import read_shards
from rader_plugins.index.postings import Postings
from rader_plugins.index.snapshot import Snapshot
from rader_plugins.index.writer import compact

__all__ = ["damaged_rows", "fill_missing", "lexical_is_behind", "rebuild", "storable", "store_derived"]

_LEXICAL_TAIL = 5000  # rows that may stand behind the stored postings before they are stored anew
_Record = tuple[str, int, int]


def storable(vectors: npt.ArrayLike, count: int, dimension: int, dtype: str) -> npt.NDArray[Any]:
    """Check vectors, scale them to length 1 and convert them to the storage type.

    Args:
        vectors: Shape (count, dimension).
        count: How many there must be.
        dimension: How long each must be.
        dtype: ``float32`` or ``float16``.

    Raises:
        InputError: Another shape, NaN, infinity or a zero vector.
    """
    array = np.asarray(vectors)
    if array.size == 0 and count == 0:
        return np.zeros((0, dimension), dtype=dtype)
    if array.shape != (count, dimension):
        raise InputError(f"Vectors must have the shape ({count}, {dimension}), not {array.shape}.")
    with np.errstate(all="ignore"):
        array = array.astype(np.float32)
        lengths = np.linalg.norm(array.astype(np.float64), axis=1)
    if len(wrong := np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))):
        raise InputError(f"Vector {wrong[0]} is zero or holds NaN or infinity; no document of this part was stored.")
    if np.abs(lengths - 1).max(initial=0) > 1e-4:
        array = (array / lengths[:, None]).astype(np.float32)
    return array.astype(dtype)


def lexical_is_behind(home: Home) -> bool:
    """Whether so many rows stand behind the stored postings that opening the index would take long."""
    if home.derived is None:
        return False
    with home.store.reading() as database:
        found = database.execute("SELECT rows FROM derived WHERE kind = 'lexical'").fetchone()
        rows: int = home.store.meta("rows")
    covered: int = found[0] if found else 0
    return rows - covered >= max(_LEXICAL_TAIL, covered // 2)


def store_derived(home: Home, snapshot: Snapshot, approximate: Approximate | None) -> None:
    """Write a snapshot's postings, and a FAISS structure if one is given, and remove files that nobody refers to."""
    if home.derived is None:
        return
    records = {"lexical": _write_lexical(home.derived, snapshot)}
    if approximate is not None:
        records["ann"] = _write_approximate(home.derived, approximate, snapshot)
    with home.store.writing() as database:
        for kind, record in records.items():
            database.execute("INSERT OR REPLACE INTO derived VALUES (?, ?, ?, ?)", (kind, *record))
        used = {file for (file,) in database.execute("SELECT file FROM derived")}
    for file in home.derived.glob("*-*-*.*"):
        if file.name not in used:
            file.unlink(missing_ok=True)


def _write_lexical(folder: Path, snapshot: Snapshot) -> _Record:
    buffer = io.BytesIO()
    Postings.merge(snapshot.postings or [Postings.build([], [])]).write(buffer)
    np.lib.format.write_array(buffer, snapshot.lengths, allow_pickle=False)
    name = f"lexical-{snapshot.epoch:06d}-{snapshot.rows:010d}.bin"
    with atomic_write(folder / name) as stream:
        stream.write(buffer.getbuffer())
    return name, snapshot.rows, zlib.crc32(buffer.getbuffer())


def _write_approximate(folder: Path, approximate: Approximate, snapshot: Snapshot) -> _Record:
    name = f"{approximate.config.kind}-{snapshot.epoch:06d}-{snapshot.generation:010d}.faiss"
    temporary = folder / f".{name}.tmp"
    approximate.write(temporary)
    temporary.replace(folder / name)
    return name, approximate.rows, (folder / name).stat().st_size


def damaged_rows(home: Home) -> list[int]:
    """Return the rows of every block of vectors whose checksum differs; none for an index in memory.

    Blocks without a living document do not matter and are not looked at.
    """
    if home.folder is None or home.shards is None:
        return []
    with home.store.reading() as database:
        blocks = database.execute(
            "SELECT start, rows, crc FROM blocks AS b WHERE EXISTS"
            " (SELECT 1 FROM documents WHERE row >= b.start AND row < b.start + b.rows) ORDER BY start"
        ).fetchall()
        shards = read_shards(home.store)
        arrays = home.shards.arrays(shards)
    damaged: list[int] = []
    for start, rows, expected in blocks:
        check = 0
        for shard, array in zip(shards, arrays, strict=True):
            low, high = max(start, shard.start), min(start + rows, shard.start + shard.rows)
            if low < high:
                part = array[low - shard.start : high - shard.start]
                check = zlib.crc32(np.ascontiguousarray(part).data, check)
        if check != expected:
            damaged += range(start, start + rows)
    return damaged


def fill_missing(home: Home) -> None:
    """Extend truncated or lost shard files with zeros, so that they can be mapped and their documents replaced."""
    if home.folder is None or home.shards is None:
        return
    for shard in read_shards(home.store):
        path = home.folder / "vectors" / shard.name
        with path.open("r+b" if path.exists() else "wb") as stream:
            if stream.seek(0, io.SEEK_END) < (needed := shard.rows * home.shards.row_bytes):
                stream.truncate(needed)


def rebuild(home: Home, snapshot_now: Callable[[], Snapshot]) -> None:
    """Drop deleted rows and build the derived structures anew.

    Args:
        home: Of the index.
        snapshot_now: Returns the newest committed state.
    """
    snapshot = snapshot_now()
    if len(snapshot) < snapshot.rows:
        compact(home, snapshot)
        snapshot = snapshot_now()
        home.store.vacuum()
    approximate = None
    if home.settings.ann is not None and snapshot.shards:
        approximate = Approximate.build(snapshot.shards, home.settings.ann)
    store_derived(home, snapshot, approximate)
    snapshot.approximate = approximate
    if home.shards is not None:
        home.shards.remove_unused(read_shards(home.store))
