"""Changes to an index, each one transaction. The caller holds the write lock."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rader_plugins.analysis import analyze
from rader_plugins.documents import Document, check_text, metadata_json
from rader_plugins.errors import InputError
from rader_plugins.index.dense import gather
from rader_plugins.index.filters import flatten
from rader_plugins.index.home import Home
from rader_plugins.index.loader import read_shards
from rader_plugins.index.postings import pack_terms
from rader_plugins.index.snapshot import Snapshot
from rader_plugins.index.store import new_term_ids, set_meta
from rader_plugins.index.vectors import Shard, checksum

__all__ = ["Prepared", "commit_documents", "compact", "delete_documents", "id_list", "prepare"]

Array = npt.NDArray[Any]
_COMPACT_ROWS = 16384


@dataclass(frozen=True)
class Prepared:
    """A checked document with its serialised metadata."""

    document: Document
    metadata: str


def prepare(document: object, seen: set[str] | None = None) -> Prepared:
    """Check one document; with ``seen``, also that its id is not among those, and add it to them.

    Raises:
        InputError: It is no :class:`Document`; its id, text or metadata cannot be stored; its id was seen before.
    """
    if not isinstance(document, Document):
        raise InputError(f"add() takes Document objects, not {type(document).__name__}: Document(id=..., text=...).")
    if not isinstance(document.id, str) or not document.id:
        raise InputError(f"A document's id must be a non-empty string, not {document.id!r}.")
    check_text(document.id, f"the id {document.id!r}")
    if "\x00" in document.id:
        raise InputError(f"The id {document.id!r} holds a NUL character.")
    if seen is not None:
        if document.id in seen:
            raise InputError(
                f"The id {document.id!r} stands twice in one call of add(), so it is unclear which text should win."
            )
        seen.add(document.id)
    check_text(document.text, f"document {document.id!r}")
    return Prepared(document, metadata_json(document.metadata, f"document {document.id!r}"))


def commit_documents(home: Home, batch: Sequence[Prepared], vectors: Array | None) -> None:
    """Store documents; documents with the same id are replaced.

    Args:
        home: The index.
        batch: The documents.
        vectors: Their vectors in the storage type, shape (n, dimension); None in an index without vectors.
    """
    counts = [Counter(analyze(item.document.text)) for item in batch]
    first: int = home.store.meta("rows")
    # Vectors are on disk before the commit that counts them; until then their bytes mean nothing.
    shards = read_shards(home.store)
    if home.shards is not None and vectors is not None:
        shards = home.shards.append(shards, vectors, home.store.meta("epoch"))
    with home.store.writing() as database:
        generation = _next_generation(database)
        _bury(database, [item.document.id for item in batch], generation)
        terms = new_term_ids(database, (term for count in counts for term in count))
        rows = range(first, first + len(batch))
        database.executemany(
            "INSERT INTO documents (row, id, text, metadata) VALUES (?, ?, ?, ?)",
            [(row, item.document.id, item.document.text, item.metadata) for row, item in zip(rows, batch, strict=True)],
        )
        database.executemany(
            "INSERT INTO fields (key, type, value, row) VALUES (?, ?, ?, ?)",
            [
                (key, kind, value, row)
                for row, item in zip(rows, batch, strict=True)
                for key, (kind, value) in flatten(json.loads(item.metadata)).items()
            ],
        )
        database.executemany(
            "INSERT INTO lexical (row, length, terms) VALUES (?, ?, ?)",
            [
                (row, count.total(), pack_terms({terms[term]: number for term, number in count.items()}))
                for row, count in zip(rows, counts, strict=True)
            ],
        )
        if vectors is not None:
            _set_shards(database, shards)
            database.execute("INSERT INTO blocks VALUES (?, ?, ?)", (first, len(batch), checksum(vectors)))
        set_meta(database, {"rows": first + len(batch)})


def delete_documents(home: Home, ids: Sequence[str]) -> int:
    """Delete documents by id; return how many were there."""
    if not home.store.rows_of(ids):
        return 0
    with home.store.writing() as database:
        return _bury(database, ids, _next_generation(database))


def compact(home: Home, snapshot: Snapshot) -> list[Shard]:
    """Write the living rows anew, without gaps, and return the new shards; the caller removes the old ones."""
    epoch = snapshot.epoch + 1
    living = np.flatnonzero(snapshot.alive)
    shards: list[Shard] = []
    blocks: list[tuple[int, int, int]] = []
    for first in range(0, len(living) if home.shards is not None else 0, _COMPACT_ROWS):
        vectors = gather(snapshot.shards, snapshot.starts, living[first : first + _COMPACT_ROWS])
        shards = home.shards.append(shards, vectors, epoch)  # type: ignore[union-attr]  # none without shards
        blocks.append((first, len(vectors), checksum(vectors)))
    with home.store.writing() as database:
        _next_generation(database)
        database.execute("CREATE TEMP TABLE moved (old INTEGER PRIMARY KEY, new INTEGER)")
        try:
            database.executemany(
                "INSERT INTO moved VALUES (?, ?)", zip(living.tolist(), range(len(living)), strict=True)
            )
            # Rows only move down, and in ascending order each lands on a free place.
            for table in ("documents", "lexical"):
                database.executemany(f"UPDATE {table} SET row = ? WHERE row = ?", _moves(living))
            database.execute(
                "CREATE TEMP TABLE kept AS SELECT key, type, value, new FROM fields JOIN moved ON row = old"
            )
            database.execute("DELETE FROM fields")
            database.execute("INSERT INTO fields SELECT key, type, value, new FROM kept ORDER BY key, type, value, new")
        finally:
            database.execute("DROP TABLE IF EXISTS moved")
            database.execute("DROP TABLE IF EXISTS kept")
        database.execute("DELETE FROM tombstones")
        database.execute("DELETE FROM blocks")
        database.executemany("INSERT INTO blocks VALUES (?, ?, ?)", blocks)
        database.execute("DELETE FROM derived")
        _set_shards(database, shards)
        set_meta(database, {"rows": len(living), "epoch": epoch})
    return shards


def _moves(living: Array) -> Iterator[tuple[int, int]]:
    return ((new, old) for new, old in enumerate(living.tolist()) if new != old)


def _next_generation(database: sqlite3.Connection) -> int:
    current = json.loads(database.execute("SELECT value FROM meta WHERE key = 'generation'").fetchone()[0])
    set_meta(database, {"generation": current + 1})
    return int(current) + 1


def _set_shards(database: sqlite3.Connection, shards: Sequence[Shard]) -> None:
    database.execute("DELETE FROM shards")
    database.executemany("INSERT INTO shards VALUES (?, ?, ?)", [(s.name, s.start, s.rows) for s in shards])


def _bury(database: sqlite3.Connection, ids: Sequence[str], generation: int) -> int:
    buried = 0
    for id in dict.fromkeys(ids):
        found = database.execute("SELECT row, metadata FROM documents WHERE id = ?", (id,)).fetchone()
        if found is None:
            continue
        row, metadata = found
        fields = flatten(json.loads(metadata)).items()
        database.execute("DELETE FROM documents WHERE row = ?", (row,))
        database.execute("DELETE FROM lexical WHERE row = ?", (row,))
        database.executemany(
            "DELETE FROM fields WHERE key = ? AND type = ? AND value = ? AND row = ?",
            [(key, kind, value, row) for key, (kind, value) in fields],
        )
        database.execute("INSERT INTO tombstones VALUES (?, ?)", (row, generation))
        buried += 1
    return buried


def id_list(ids: Iterable[str]) -> list[str]:
    """Return ids as a list; one string, or anything else than strings, raises :class:`InputError`."""
    if isinstance(ids, str):
        raise InputError(f"ids must be a list of strings: [{ids!r}].")
    names = list(ids)
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise InputError(f"ids must be strings, not {type(wrong[0]).__name__}.")
    return names
