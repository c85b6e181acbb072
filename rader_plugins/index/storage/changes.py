"""`Changes`: the statements that a commit consists of, within one transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rader_plugins.analysis import TermCounts
from rader_plugins.index.lexical.postings import pack_counts, unpack_terms
from rader_plugins.index.storage.selection import select_in
from rader_plugins.index.storage.shards import Shard
from rader_plugins.index.storage.term_ids import TermIds

__all__ = ["Changes", "Derived"]

_BATCH = 500  # documents that are read at once


@dataclass(frozen=True)
class Derived:
    """A file that can be rebuilt: its name, how many rows it covers, and a check of its content."""

    file: str
    rows: int
    check: int


class Changes:
    """Changes of an index that are committed together; :meth:`rader_plugins.index.storage.Store.writing` gives one."""

    def __init__(self, database: sqlite3.Connection, term_ids: TermIds) -> None:
        self._database = database
        self._term_ids = term_ids

    def set_meta(self, values: Mapping[str, Any]) -> None:
        """Write values of the meta table."""
        self._database.executemany(
            "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [(key, json.dumps(value)) for key, value in values.items()],
        )

    def next_generation(self) -> int:
        """Number this commit."""
        current = self._database.execute("SELECT value FROM meta WHERE key = 'generation'").fetchone()[0]
        self.set_meta({"generation": int(current) + 1})
        return int(current) + 1

    def insert(self, first: int, documents: Sequence[tuple[str, str, str]], terms: TermCounts) -> None:
        """Store documents in new rows.

        Args:
            first: Row of the first of them.
            documents: Id, text and metadata as JSON of each.
            terms: Those of each.
        """
        rows = range(first, first + len(documents))
        self._database.executemany(
            "INSERT INTO documents (row, id, text) VALUES (?, ?, ?)",
            [(row, id, text) for row, (id, text, _) in zip(rows, documents, strict=True)],
        )
        self._database.executemany(
            "INSERT INTO metadata (row, json) VALUES (?, ?)",
            [(row, data) for row, (*_, data) in zip(rows, documents, strict=True) if data != "{}"],
        )
        self._database.executemany(
            "INSERT INTO lexical (row, length, terms) VALUES (?, ?, ?)",
            zip(rows, terms.lengths().tolist(), self._packed(terms), strict=True),
        )
        self.set_meta({"rows": first + len(documents)})

    def _packed(self, counts: TermCounts) -> list[bytes]:
        """Return what is stored of the terms of each document; new ones are numbered."""
        ids = self._term_ids.of(self._database, counts.names)
        return pack_counts(counts, np.fromiter(map(ids.__getitem__, counts.names), dtype=np.uint32))

    def renew_terms(self, count: Callable[[Sequence[str]], TermCounts]) -> None:
        """Count the terms of every document anew.

        Args:
            count: Counts those of some texts.
        """
        last = -1
        query = "SELECT row, text FROM documents WHERE row > ? ORDER BY row LIMIT ?"
        while part := self._database.execute(query, (last, _BATCH)).fetchall():
            counts = count([text for _, text in part])
            self._database.executemany(
                "UPDATE lexical SET length = ?, terms = ? WHERE row = ?",
                zip(counts.lengths().tolist(), self._packed(counts), [row for row, _ in part], strict=True),
            )
            last = part[-1][0]
        self._database.execute("DELETE FROM derived WHERE kind = 'lexical'")
        self.drop_unused_terms()

    def drop_unused_terms(self) -> None:
        """Remove the terms that no document holds. Their numbers are not given to others."""
        used: set[int] = set()
        for (packed,) in self._database.execute("SELECT terms FROM lexical"):
            used.update(unpack_terms(packed))
        numbers = [number for (number,) in self._database.execute("SELECT id FROM terms")]
        unused = [(number,) for number in numbers if number not in used]
        if unused:
            following = int(self._database.execute("SELECT MAX(id) + 1 FROM terms").fetchone()[0])
            before = self._database.execute("SELECT value FROM meta WHERE key = 'next_term'").fetchone()
            self.set_meta({"next_term": max(following, int(before[0]) if before else 0)})
            self._database.executemany("DELETE FROM terms WHERE id = ?", unused)

    def relabel(self, metadata: Mapping[int, str], generation: int) -> None:
        """Write the metadata of some rows anew: row -> JSON."""
        self._database.executemany("DELETE FROM metadata WHERE row = ?", [(row,) for row in metadata])
        self._database.executemany(
            "INSERT INTO metadata (row, json) VALUES (?, ?)", [pair for pair in metadata.items() if pair[1] != "{}"]
        )
        self._database.executemany(
            "INSERT OR REPLACE INTO relabelled VALUES (?, ?)", [(row, generation) for row in metadata]
        )

    def delete(self, ids: Sequence[str], generation: int) -> int:
        """Delete documents by id; return how many were there."""
        rows = [(row,) for (row,) in select_in(self._database, "SELECT row FROM documents WHERE id", ids)]
        for table in ("documents", "metadata", "lexical", "relabelled"):
            self._database.executemany(f"DELETE FROM {table} WHERE row = ?", rows)
        self._database.executemany("INSERT INTO tombstones VALUES (?, ?)", [(row, generation) for (row,) in rows])
        return len(rows)

    def set_shards(self, shards: Sequence[Shard]) -> None:
        """Commit the state of the shards."""
        self._database.execute("DELETE FROM shards")
        self._database.executemany("INSERT INTO shards VALUES (?, ?, ?)", [(s.name, s.start, s.rows) for s in shards])

    def add_blocks(self, blocks: Sequence[tuple[int, int, int]]) -> None:
        """Record first row, rows and checksum of vectors that were written."""
        self._database.executemany("INSERT INTO blocks VALUES (?, ?, ?)", blocks)

    def compact(self, living: Sequence[int], epoch: int) -> None:
        """Renumber the living rows without gaps; blocks, deletions and derived files are forgotten."""
        # Rows only move down, and in ascending order each lands on a free place.
        moves = [(new, old) for new, old in enumerate(living) if new != old]
        for table in ("documents", "metadata", "lexical"):
            self._database.executemany(f"UPDATE {table} SET row = ? WHERE row = ?", moves)
        for table in ("tombstones", "relabelled", "blocks", "derived"):
            self._database.execute(f"DELETE FROM {table}")
        self.drop_unused_terms()
        self.set_meta({"rows": len(living), "epoch": epoch})

    def set_derived(self, kind: str, derived: Derived) -> None:
        """Record a file that can be rebuilt."""
        row = kind, derived.file, derived.rows, derived.check
        self._database.execute("INSERT OR REPLACE INTO derived VALUES (?, ?, ?, ?)", row)
