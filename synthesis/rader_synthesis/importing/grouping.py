"""Rows that belong together, put together by a key: in a scratch file, so that memory does not grow with them."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rader_synthesis.importing.rows import Row
from rader_synthesis.scratch import scratch_database

__all__ = ["RowGroups"]


class RowGroups:
    """Rows by a key, such as the id of their trace.

    Args:
        connection: Connection to an empty database.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.execute("CREATE TABLE groups (n INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE)")
        connection.execute(
            "CREATE TABLE rows (n INTEGER PRIMARY KEY, grp INTEGER NOT NULL, path TEXT, number INTEGER, content TEXT)"
        )
        connection.execute("CREATE INDEX rows_by_group ON rows (grp)")

    @classmethod
    @contextlib.contextmanager
    def opened(cls) -> Iterator[RowGroups]:
        """Make groups in a scratch file, which goes at the end."""
        with scratch_database() as connection:
            yield cls(connection)

    def add(self, key: str, row: Row, value: Any) -> None:
        """Put a row, or a part of one, to those of its key."""
        self._connection.execute("INSERT OR IGNORE INTO groups (key) VALUES (?)", (key,))
        (group,) = self._connection.execute("SELECT n FROM groups WHERE key = ?", (key,)).fetchone()
        self._connection.execute(
            "INSERT INTO rows (grp, path, number, content) VALUES (?, ?, ?, ?)",
            (group, str(row.path), row.number, json.dumps(value)),
        )

    def keys(self) -> list[str]:
        """Return the keys in the order in which they came."""
        return [key for (key,) in self._connection.execute("SELECT key FROM groups ORDER BY n")]

    def rows(self, key: str) -> Sequence[Row]:
        """Return the rows of a key, in their order, with their values as contents."""
        rows = self._connection.execute(
            "SELECT path, number, content FROM rows WHERE grp = (SELECT n FROM groups WHERE key = ?) ORDER BY n", (key,)
        )
        return [Row(Path(path), number, json.loads(content)) for path, number, content in rows]
