"""The database of an index: documents, their fields and terms, and what is committed.

SQLite with a rollback journal and full synchronisation. It is the one source of truth; vectors and derived structures
count only as far as it says so.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rader_plugins.documents import Document
from rader_plugins.errors import (
    IndexCorruptError,
    IndexLockedError,
    IndexVersionError,
    IndexWriteError,
    InputError,
    RaderError,
)

__all__ = ["FORMAT_VERSION", "Store"]

FORMAT_VERSION = 1
_APPLICATION_ID = 0x52614465  # "RaDe": tells our files from any other SQLite database
_BUSY_SECONDS = 60.0
_BATCH = 500  # names per IN (...) list; SQLite's own limit was 999 for long
_TERMS_KEPT = 50_000  # ids of terms remembered between queries

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, text TEXT NOT NULL, metadata TEXT NOT NULL);
CREATE TABLE fields (key TEXT, type INTEGER, value, row INTEGER, PRIMARY KEY (key, type, value, row)) WITHOUT ROWID;
CREATE TABLE lexical (row INTEGER PRIMARY KEY, length INTEGER NOT NULL, terms BLOB NOT NULL);
CREATE TABLE terms (id INTEGER PRIMARY KEY, term TEXT NOT NULL UNIQUE);
CREATE TABLE tombstones (row INTEGER PRIMARY KEY, generation INTEGER NOT NULL);
CREATE TABLE shards (name TEXT PRIMARY KEY, start INTEGER NOT NULL, rows INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE blocks (start INTEGER PRIMARY KEY, rows INTEGER NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE derived (kind TEXT PRIMARY KEY, file TEXT NOT NULL, rows INTEGER NOT NULL, crc INTEGER NOT NULL)
    WITHOUT ROWID;
"""


class Store:
    """Connections to one index database: one for reading, one for writing (the same one in memory).

    Args:
        file: The database file, or None to keep it in memory.
        create: Make a new database; otherwise it must exist.

    Raises:
        IndexCorruptError: The file is not an index or is damaged.
        IndexVersionError: A newer version of the library wrote it.
    """

    def __init__(self, file: Path | None, *, create: bool) -> None:
        self.file = file
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._reader: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None
        self._terms: dict[str, int] = {}
        if create:
            connection = self._connect("rwc")
            with self._translated():
                connection.executescript(
                    f"BEGIN IMMEDIATE; PRAGMA application_id = {_APPLICATION_ID}; "
                    f"PRAGMA user_version = {FORMAT_VERSION}; {_SCHEMA} COMMIT;"
                )
            self._writer = connection
            self._reader = connection if file is None else None
        else:
            self._check_format()

    def _connect(self, mode: str) -> sqlite3.Connection:
        with self._translated():
            if self.file is None:
                return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            connection = sqlite3.connect(
                f"{self.file.resolve().as_uri()}?mode={mode}",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                timeout=_BUSY_SECONDS,
            )
            connection.execute("PRAGMA synchronous = FULL")
            return connection

    def _check_format(self) -> None:
        with self.reading() as database:
            application = database.execute("PRAGMA application_id").fetchone()[0]
            version = database.execute("PRAGMA user_version").fetchone()[0]
            pages = database.execute("PRAGMA page_count").fetchone()[0]
            page_size = database.execute("PRAGMA page_size").fetchone()[0]
        if application != _APPLICATION_ID:
            raise IndexCorruptError(f"{self.file} is an SQLite database, but not an index of rader-plugins.")
        if version > FORMAT_VERSION:
            raise IndexVersionError(
                f"{self.file} has format {version}; this version of rader-plugins reads up to {FORMAT_VERSION}. "
                "Nothing was changed. To mend it: pip install --upgrade rader-plugins"
            )
        if self.file is not None and self.file.stat().st_size < pages * page_size:
            raise IndexCorruptError(f"{self.file} is truncated; restore it from a copy.")

    def close(self) -> None:
        """Close both connections."""
        with self._lock:
            for connection in {self._reader, self._writer} - {None}:
                connection.close()  # type: ignore[union-attr]
            self._reader = self._writer = None

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn SQLite's errors into ours."""
        try:
            yield
        except sqlite3.Error as error:
            text = str(error)
            where = self.file or "the index in memory"
            if "locked" in text:
                raise IndexLockedError(f"{where} stayed locked for {_BUSY_SECONDS:.0f} s: {text}.") from error
            if any(sign in text for sign in ("readonly", "full", "disk I/O", "unable to open")):
                raise IndexWriteError(
                    f"{where} could not be written or opened: {text}. What was committed before is intact; "
                    "free some space or make the folder writable and try again."
                ) from error
            if isinstance(error, sqlite3.DatabaseError) and any(
                sign in text for sign in ("malformed", "not a database", "corrupt", "no such table")
            ):
                raise IndexCorruptError(f"{where} is damaged: {text}. Restore it from a copy.") from error
            raise RaderError(f"{where}: {text}") from error

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give a connection that sees one committed state throughout the block."""
        with self._lock, self._translated():
            if self._process != os.getpid():  # a connection must not cross a fork
                self._process, self._reader, self._writer = os.getpid(), None, None
            if self._reader is None:
                if self.file is None:
                    raise RaderError("An index in memory cannot be used after it was closed, nor in a forked process.")
                self._reader = self._connect("rw")
            nested = self._reader.in_transaction
            if not nested:
                self._reader.execute("BEGIN")
            try:
                yield self._reader
            finally:
                if not nested:
                    self._reader.execute("ROLLBACK")

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give a connection whose changes are committed together at the end of the block, or not at all."""
        # In memory there is one connection: readers have to wait, or they would see half a transaction.
        with self._lock if self.file is None else contextlib.nullcontext(), self._translated():
            if self._process != os.getpid():
                self._process, self._reader, self._writer = os.getpid(), None, None
            if self._writer is None:
                self._writer = self._connect("rw")
            database = self._writer
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise

    def vacuum(self) -> None:
        """Give free pages back to the file system."""
        with self._lock if self.file is None else contextlib.nullcontext(), self._translated():
            if self._writer is not None:
                self._writer.execute("VACUUM")

    # Look-ups. Each runs in its own transaction unless called within `reading()`.

    @contextlib.contextmanager
    def _statement(self) -> Iterator[sqlite3.Connection]:
        """Give a connection for single statements, each of which is a transaction of its own."""
        with self._lock, self._translated():
            if self._reader is None or self._process != os.getpid():
                with self.reading():
                    pass  # connects
            if self._reader is None:
                raise RaderError("The index is closed.")
            yield self._reader

    def generation(self) -> int:
        """Return the number of the newest commit; asked by every search."""
        with self._statement() as database:
            return int(database.execute("SELECT value FROM meta WHERE key = 'generation'").fetchone()[0])

    def meta(self, key: str) -> Any:
        """Return one value of the meta table."""
        with self.reading() as database:
            found = database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        if found is None:
            raise IndexCorruptError(f"{self.file} lacks {key!r}; restore it from a copy.")
        return json.loads(found[0])

    def field_rows(self, key: str, condition: str, arguments: Sequence[Any]) -> npt.NDArray[np.int64]:
        """See :class:`rader_plugins.index.filters.FieldTable`."""
        with self.reading() as database:
            found = database.execute(f"SELECT row FROM fields WHERE key = ? AND {condition}", (key, *arguments))
            return np.fromiter((row for (row,) in found), dtype=np.int64)

    def rows_of(self, ids: Sequence[str]) -> dict[str, int]:
        """Return id -> row for those ids that are stored."""
        with self.reading() as database:
            return dict(_select_in(database, "SELECT id, row FROM documents WHERE id", ids))

    def term_ids(self, terms: Sequence[str]) -> dict[str, int]:
        """Return term -> id for those terms that the index has met."""
        known = self._terms  # another thread may exchange it
        found = {term: known[term] for term in terms if term in known}
        if len(found) < len(terms):
            # A term keeps its id for good; one that is not there may come, so only those that are there are kept.
            with self._statement() as database:
                wanted = [term for term in terms if term not in found]
                found.update(_select_in(database, "SELECT term, id FROM terms WHERE term", wanted))
            if len(self._terms) > _TERMS_KEPT:
                self._terms = {}
            self._terms.update(found)
        return found

    def documents(self, ids: Sequence[str]) -> dict[str, Document]:
        """Return id -> document for those ids that are stored."""
        with self.reading() as database:
            found = _select_in(database, "SELECT id, text, metadata FROM documents WHERE id", ids)
            return {id: Document(id=id, text=text, metadata=json.loads(data)) for id, text, data in found}

    def documents_at(self, rows: Sequence[int], generation: int) -> dict[int, Document] | None:
        """Return row -> document for those rows that hold one, or None if ``generation`` is not the newest commit."""
        if not rows:
            return {} if self.generation() == generation else None
        with self._statement() as database:
            found: dict[int, Document] = {}
            for start in range(0, len(rows), _BATCH):
                part = rows[start : start + _BATCH]
                # Documents and number of the commit in one statement: both are of the same state.
                for row, id, text, data, current in database.execute(
                    "SELECT row, id, text, metadata, (SELECT value FROM meta WHERE key = 'generation')"
                    f" FROM documents WHERE row IN ({','.join('?' * len(part))})",
                    part,
                ):
                    if int(current) != generation:
                        return None
                    found[row] = Document(id, text, {} if data == "{}" else json.loads(data))
        return found if len(found) == len(rows) else None

    def scan(self, batch: int = 1024) -> Iterator[tuple[int, Document]]:
        """Yield row and document of everything stored, in order of rows, a batch per transaction."""
        last = -1
        while True:
            with self.reading() as database:
                found = database.execute(
                    "SELECT row, id, text, metadata FROM documents WHERE row > ? ORDER BY row LIMIT ?",
                    (last, batch),
                ).fetchall()
            if not found:
                return
            for row, id, text, data in found:
                yield row, Document(id=id, text=text, metadata=json.loads(data))
            last = found[-1][0]


def set_meta(database: sqlite3.Connection, values: dict[str, Any]) -> None:
    """Write values of the meta table within a transaction."""
    database.executemany(
        "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        [(key, json.dumps(value)) for key, value in values.items()],
    )


def new_term_ids(database: sqlite3.Connection, terms: Iterable[str]) -> dict[str, int]:
    """Return term -> id for all terms, numbering new ones in order, within a transaction."""
    wanted = list(dict.fromkeys(terms))
    known: dict[str, int] = dict(_select_in(database, "SELECT term, id FROM terms WHERE term", wanted))
    following = database.execute("SELECT COALESCE(MAX(id) + 1, 0) FROM terms").fetchone()[0]
    fresh = [(following + number, term) for number, term in enumerate(term for term in wanted if term not in known)]
    database.executemany("INSERT INTO terms (id, term) VALUES (?, ?)", fresh)
    known.update({term: id for id, term in fresh})
    return known


def _select_in(database: sqlite3.Connection, query: str, values: Sequence[str] | Sequence[int]) -> Iterator[Any]:
    for start in range(0, len(values), _BATCH):
        part = values[start : start + _BATCH]
        try:
            yield from database.execute(f"{query} IN ({','.join('?' * len(part))})", part)
        except UnicodeEncodeError as error:
            raise InputError(f"An id holds a lone surrogate, which no stored id can: {error.object!r}.") from None
