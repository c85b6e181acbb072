"""Derived structures, checksums and repair of an index. The caller holds the write lock where something is written."""

from __future__ import annotations

import contextlib
import io
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rader_plugins.errors import IndexWriteError
from rader_plugins.files import atomic_write
from rader_plugins.index.dense import Approximate, gather, integer_products
from rader_plugins.index.home import Home, renew_terms
from rader_plugins.index.lexical import Postings
from rader_plugins.index.quantised import QuantisedRows, is_behind, write_codes
from rader_plugins.index.snapshot import Snapshot
from rader_plugins.index.storage import Derived, Shard, checksum

__all__ = ["codes_file", "damaged_rows", "derived_is_behind", "fill_missing", "rebuild", "store_derived"]

_NO_CODES = ""  # name of the file where vectors have no codes, so that nobody tries again for every addition
_COMPACT_ROWS = 16384


def derived_is_behind(home: Home) -> bool:
    """Whether so many rows stand behind a stored structure that opening the index, or the first search, takes long."""
    if home.derived is None:
        return False
    with home.store.reading():
        records = home.store.derived()
        rows: int = home.store.meta("rows")
        epoch: int = home.store.meta("epoch")
    covered = {kind: record.rows for kind, record in records.items()}
    if is_behind(covered.get("lexical", 0), rows):
        return True
    if home.shards is None or home.settings.ann is not None:
        return False
    codes = records.get("codes")
    is_current = codes is not None and codes.file in (_codes_name(epoch, codes.rows), _NO_CODES)
    # The library of the kernel is loaded where there is use for it.
    return is_behind(codes.rows if codes is not None and is_current else 0, rows) and integer_products() is not None


def _codes_name(epoch: int, rows: int) -> str:
    return f"codes-{epoch:06d}-{rows:010d}.bin"


def codes_file(home: Home, epoch: int) -> tuple[Path, Derived] | None:
    """Return where the 8-bit copy of the vectors lies and what is recorded of it, if it is of an epoch."""
    with home.store.reading():
        record = home.store.derived().get("codes")
    if home.derived is None or record is None or record.file != _codes_name(epoch, record.rows):
        return None
    return home.derived / record.file, record


def store_derived(home: Home, snapshot: Snapshot, approximate: Approximate | None) -> None:
    """Write a snapshot's postings, and a FAISS structure if one is given, and remove files that nobody refers to.

    Raises:
        IndexWriteError: The disk is full or the folder read-only. Nothing depends on these files but time.
    """
    if home.derived is None:
        return
    try:
        records = {"lexical": _write_lexical(home.derived, snapshot)}
        if approximate is not None:
            records["ann"] = _write_approximate(home.derived, approximate, snapshot)
        elif snapshot.quantised is not None and home.settings.ann is None and snapshot.rows and integer_products():
            records["codes"] = _write_codes(home.derived, snapshot, snapshot.quantised)
    except (OSError, RuntimeError) as error:  # FAISS raises the latter
        reason = getattr(error, "strerror", None) or error
        raise IndexWriteError(
            f"The search structures in {home.derived} could not be written: {reason}. All documents are stored and "
            "found as before; free some space or make the folder writable, and call optimize()."
        ) from error
    with home.store.writing() as changes:
        for kind, record in records.items():
            changes.set_derived(kind, record)
    used = {derived.file for derived in home.store.derived().values()}
    for file in home.derived.glob("*-*-*.*"):
        if file.name not in used:
            with contextlib.suppress(PermissionError):  # on Windows, while somebody has it mapped
                file.unlink(missing_ok=True)
    if snapshot.quantised is not None:
        snapshot.quantised.forget()


def _write_lexical(folder: Path, snapshot: Snapshot) -> Derived:
    buffer = io.BytesIO()
    Postings.merge(snapshot.postings or [Postings.build([], [])]).write(buffer)
    np.lib.format.write_array(buffer, snapshot.lengths, allow_pickle=False)
    name = f"lexical-{snapshot.epoch:06d}-{snapshot.rows:010d}.bin"
    with atomic_write(folder / name) as stream:
        stream.write(buffer.getbuffer())
    return Derived(name, snapshot.rows, zlib.crc32(buffer.getbuffer()))


def _write_codes(folder: Path, snapshot: Snapshot, quantised: QuantisedRows) -> Derived:
    """Write the 8-bit copy of the vectors, or record that there can be none."""
    name = _codes_name(snapshot.epoch, snapshot.rows)
    try:
        with atomic_write(folder / name) as stream:
            runs = quantised.all_runs(snapshot.shards, snapshot.starts, snapshot.rows)
            return Derived(name, snapshot.rows, write_codes(stream, runs))
    except ValueError:
        return Derived(_NO_CODES, snapshot.rows, 0)


def _write_approximate(folder: Path, approximate: Approximate, snapshot: Snapshot) -> Derived:
    name = f"{approximate.config.kind}-{snapshot.epoch:06d}-{snapshot.generation:010d}.faiss"
    temporary = folder / f".{name}.tmp"
    try:
        approximate.write(temporary)
        temporary.replace(folder / name)
    finally:
        temporary.unlink(missing_ok=True)
    return Derived(name, approximate.rows, (folder / name).stat().st_size)


def damaged_rows(home: Home) -> list[int]:
    """Return the rows of every block of vectors whose checksum differs; none for an index in memory.

    Blocks without a living document do not matter and are not looked at.
    """
    if home.folder is None or home.shards is None:
        return []
    with home.store.reading():
        blocks = home.store.blocks()
        shards = home.store.shards()
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
    for shard in home.store.shards():
        path = home.folder / "vectors" / shard.name
        with path.open("r+b" if path.exists() else "wb") as stream:
            if stream.seek(0, io.SEEK_END) < (needed := shard.rows * home.shards.row_bytes):
                stream.truncate(needed)


def _compact(home: Home, snapshot: Snapshot) -> None:
    """Write the living rows anew, without gaps; the caller removes the old shards."""
    epoch = snapshot.epoch + 1
    living = np.flatnonzero(snapshot.alive)
    shards: list[Shard] = []
    blocks: list[tuple[int, int, int]] = []
    if home.shards is not None:
        for first in range(0, len(living), _COMPACT_ROWS):
            vectors = gather(snapshot.shards, snapshot.starts, living[first : first + _COMPACT_ROWS])
            shards = home.shards.append(shards, vectors, epoch)
            blocks.append((first, len(vectors), checksum(vectors)))
    with home.store.writing() as changes:
        changes.next_generation()
        changes.compact(living.tolist(), epoch)
        changes.set_shards(shards)
        changes.add_blocks(blocks)


def rebuild(home: Home, snapshot_now: Callable[[], Snapshot]) -> None:
    """Drop deleted rows and build the derived structures anew.

    Args:
        home: The parts of the index that is rebuilt.
        snapshot_now: Returns the newest committed state.
    """
    renew_terms(home)
    snapshot = snapshot_now()
    if len(snapshot) < snapshot.rows:
        _compact(home, snapshot)
        snapshot = snapshot_now()
        home.store.vacuum()
    approximate = None
    if home.settings.ann is not None and snapshot.shards:
        approximate = Approximate.build(snapshot.shards, home.settings.ann)
    store_derived(home, snapshot, approximate)
    snapshot.approximate = approximate
    if home.shards is not None:
        home.shards.remove_unused(home.store.shards())
