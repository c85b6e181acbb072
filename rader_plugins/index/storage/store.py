"""`Store`: the database of an index, the one source of truth.

SQLite with a rollback journal and full synchronisation. Vectors and derived structures count only as far as it says so.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rader_plugins.background import after_fork
from rader_plugins.documents import Document
from rader_plugins.errors import (
    IndexCorruptError,
    IndexLockedError,
    IndexWriteError,
    RaderError,
)
from rader_plugins.index.storage.changes import Changes, Derived
from rader_plugins.index.storage.schema import (
    FORMAT_VERSION,
    check_format,
    convert,
    create_tables,
    database_uri,
    read_version,
)
from rader_plugins.index.storage.selection import select_in
from rader_plugins.index.storage.shards import Shard
from rader_plugins.index.storage.term_ids import TermIds

__all__ = ["IndexState", "Store", "StoredText"]

_BUSY_SECONDS = 60.0
_TERMS_KEPT = 50_000  # ids of terms remembered between queries
_MISSING = object()


@dataclass(frozen=True)
class StoredText:
    """One stored document: its row, its text, and its metadata as JSON."""

    row: int
    text: str
    metadata: str


@dataclass(frozen=True)
class IndexState:
    """What a snapshot is made from.

    Attributes:
        generation, epoch: Number of the commit, and of the last compaction.
        rows: How many there are, dead ones included.
        named_rows, names: Row and id of every document (of an extended snapshot: of every new one), in no order.
        dead: Rows that were deleted (since then).
        lexical: Row, number of terms and packed terms, of the rows that no postings cover yet.
        terms: One more than the largest term id.
        shards: The shards that were committed.
        derived: Files that can be rebuilt, by kind.
    """

    generation: int
    epoch: int
    rows: int
    named_rows: array[int]
    names: list[str]
    dead: list[int]
    lexical: list[tuple[int, int, bytes]]
    terms: int
    shards: list[Shard]
    derived: dict[str, Derived]


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
        self.file = file.absolute() if file is not None else None
        self._lock = threading.RLock()
        self._reader: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None
        self._version = FORMAT_VERSION if create else 0
        self._terms: dict[str, int] = {}
        self._term_ids = TermIds()
        after_fork(self._forget_connections)
        if create:
            connection = self._connect("rwc")
            with self._translated():
                create_tables(connection)
            self._writer = connection
            self._reader = connection if file is None else None
        else:
            with self.reading() as database:
                size = check_format(database, self.file)
            if self.file is not None and self.file.stat().st_size < size:
                raise IndexCorruptError(f"{self.file} is truncated; restore it from a copy.")

    # Connections and transactions

    def _connect(self, mode: str) -> sqlite3.Connection:
        with self._translated():
            if self.file is None:
                return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            connection = sqlite3.connect(
                database_uri(self.file, mode),
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                timeout=_BUSY_SECONDS,
            )
            connection.execute("PRAGMA synchronous = FULL")
            return connection

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
            if isinstance(error, sqlite3.ProgrammingError):
                raise RaderError(f"{where} was closed: {text}") from error
            raise RaderError(f"{where}: {text}") from error

    def _forget_connections(self) -> None:
        # In a forked process: a connection must not cross a fork, and who held the lock may not be there.
        self._lock = threading.RLock()
        self._reader = self._writer = None

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give a connection that sees one committed state throughout the block; blocks nest."""
        with self._lock, self._translated():
            if self._reader is None:
                if self.file is None:
                    raise RaderError("An index in memory cannot be used after it was closed, nor in a forked process.")
                self._reader = self._connect("rw")
            nested = self._reader.in_transaction
            if not nested:
                self._reader.execute("BEGIN")
            try:
                if self._version < FORMAT_VERSION:  # another process may have converted it
                    self._version = read_version(self._reader)
                yield self._reader
            finally:
                if not nested:
                    self._reader.execute("ROLLBACK")

    @contextlib.contextmanager
    def writing(self) -> Iterator[Changes]:
        """Give what changes the index; all of it is committed at the end of the block, or nothing."""
        # In memory there is one connection: readers have to wait, or they would see half a transaction.
        with self._lock if self.file is None else contextlib.nullcontext(), self._translated():
            if self._writer is None:
                self._writer = self._connect("rw")
            database = self._writer
            database.execute("BEGIN IMMEDIATE")
            try:
                if read_version(database) < FORMAT_VERSION:
                    convert(database)
                self._term_ids.begin(database)
                yield Changes(database, self._term_ids)
                state = self._term_ids.state(database)
                database.execute("COMMIT")
                self._term_ids.end(state)
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise

    def vacuum(self) -> None:
        """Give free pages back to the file system."""
        with self._lock if self.file is None else contextlib.nullcontext(), self._translated():
            if self._writer is not None:
                self._writer.execute("VACUUM")

    @contextlib.contextmanager
    def _statement(self) -> Iterator[sqlite3.Connection]:
        """Give a connection for single statements, each of which is a transaction of its own."""
        if self._version < FORMAT_VERSION:
            with self.reading() as database:
                yield database
            return
        with self._lock, self._translated():
            if self._reader is None:
                with self.reading():
                    pass  # connects
            if self._reader is None:
                raise RaderError("The index is closed.")
            yield self._reader

    # Look-ups. Each sees one state of its own unless called within `reading()`.

    @property
    def _metadata(self) -> tuple[str, str]:
        """What gives a document's metadata in a statement, and the tables that it stands in (NULL stands for {})."""
        if self._version < FORMAT_VERSION:
            return "documents.metadata", "documents"
        return "metadata.json", "documents LEFT JOIN metadata ON metadata.row = documents.row"

    def generation(self) -> int:
        """Return the number of the newest commit; asked by every search."""
        with self._statement() as database:
            return int(database.execute("SELECT value FROM meta WHERE key = 'generation'").fetchone()[0])

    def meta(self, key: str, default: Any = _MISSING) -> Any:
        """Return one value of the meta table.

        Raises:
            IndexCorruptError: It is not there, and there is no default.
        """
        with self.reading() as database:
            row = database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        if row is not None:
            return json.loads(row[0])
        if default is _MISSING:
            raise IndexCorruptError(f"{self.file} lacks {key!r}; restore it from a copy.")
        return default

    def rows_of(self, ids: Sequence[str]) -> dict[str, int]:
        """Return id -> row for those ids that are stored."""
        with self.reading() as database:
            return dict(select_in(database, "SELECT id, row FROM documents WHERE id", ids))

    def texts(self, ids: Sequence[str]) -> dict[str, StoredText]:
        """Return id -> what is stored for those ids that are stored."""
        with self.reading() as database:
            column, tables = self._metadata
            query = f"SELECT id, documents.row, text, {column} FROM {tables} WHERE id"
            return {id: StoredText(row, text, data or "{}") for id, row, text, data in select_in(database, query, ids)}

    def documents(self, ids: Sequence[str]) -> dict[str, Document]:
        """Return id -> document for those ids that are stored."""
        return {id: _document(id, entry.text, entry.metadata) for id, entry in self.texts(ids).items()}

    def documents_at(self, rows: Sequence[int], generation: int) -> dict[int, Document] | None:
        """Return row -> document for those rows that hold one, or None if ``generation`` is not the newest commit."""
        if not rows:
            return {} if self.generation() == generation else None
        documents: dict[int, Document] = {}
        with self._statement() as database:
            column, tables = self._metadata
            # Documents and number of the commit in one statement: both are of the same state.
            newest = "(SELECT value FROM meta WHERE key = 'generation')"
            query = f"SELECT documents.row, id, text, {column}, {newest} FROM {tables} WHERE documents.row"
            for row, id, text, data, current in select_in(database, query, rows):
                if int(current) != generation:
                    return None
                documents[row] = _document(id, text, data)
        return documents if len(documents) == len(rows) else None

    def scan(self, batch: int = 1024) -> Iterator[tuple[int, Document]]:
        """Yield row and document of everything stored, in order of rows, a batch per transaction."""
        last = -1
        while True:
            with self.reading() as database:
                column, tables = self._metadata
                part = database.execute(
                    f"SELECT documents.row, id, text, {column} FROM {tables} WHERE documents.row > ?"
                    " ORDER BY documents.row LIMIT ?",
                    (last, batch),
                ).fetchall()
            if not part:
                return
            for row, id, text, data in part:
                yield row, _document(id, text, data)
            last = part[-1][0]

    def metadata(self, first: int = 0, rows: Sequence[int] = ()) -> Iterator[tuple[int, str]]:
        """Yield row and JSON of every document that has metadata, from row ``first`` on and of some more rows.

        Within `reading()`, and to be read to its end there.
        """
        with self.reading() as database:
            table, column = ("documents", "metadata") if self._version < FORMAT_VERSION else ("metadata", "json")
            query = f"SELECT row, {column} FROM {table} WHERE {column} <> '{{}}' AND row"
            yield from select_in(database, query, rows)
            yield from database.execute(f"{query} >= ? ORDER BY row", (first,))

    def relabelled(self, since: int) -> list[int]:
        """Return the rows whose metadata was written anew after a commit."""
        with self.reading() as database:
            if self._version < FORMAT_VERSION:
                return []
            return [row for (row,) in database.execute("SELECT row FROM relabelled WHERE generation > ?", (since,))]

    def term_ids(self, terms: Sequence[str]) -> dict[str, int]:
        """Return term -> id for those terms that the index has met."""
        remembered = self._terms  # another thread may exchange it
        numbers = {term: remembered[term] for term in terms if term in remembered}
        if len(numbers) < len(terms):
            # A term keeps its id within an epoch; one that is not there may come: only those that are there are kept.
            with self._statement() as database:
                missing_terms = [term for term in terms if term not in numbers]
                numbers.update(select_in(database, "SELECT term, id FROM terms WHERE term", missing_terms))
            if len(self._terms) > _TERMS_KEPT:
                self._terms = {}
            self._terms.update(numbers)
        return numbers

    def forget_terms(self) -> None:
        """Forget the ids of terms: some may have been dropped, and numbered anew."""
        self._terms = {}

    def shards(self) -> list[Shard]:
        """Return the committed shards in order."""
        with self.reading() as database:
            return [Shard(*row) for row in database.execute("SELECT name, start, rows FROM shards ORDER BY start")]

    def blocks(self) -> list[tuple[int, int, int]]:
        """Return first row, rows and checksum of every block of vectors that holds a living document."""
        with self.reading() as database:
            return database.execute(
                "SELECT start, rows, crc FROM blocks AS b WHERE EXISTS"
                " (SELECT 1 FROM documents WHERE row >= b.start AND row < b.start + b.rows) ORDER BY start"
            ).fetchall()

    def derived(self) -> dict[str, Derived]:
        """Return the files that can be rebuilt, by kind."""
        with self.reading() as database:
            files = database.execute("SELECT kind, file, rows, crc FROM derived")
            return {kind: Derived(file, rows, check) for kind, file, rows, check in files}

    def state(self, *, first: int = 0, since: int = -1, lexical_first: int = 0) -> IndexState:
        """Return what a snapshot is made from.

        Args:
            first: Only names of rows from here on.
            since: Only deletions after this commit.
            lexical_first: Only terms of rows from here on.
        """
        with self.reading() as database:
            if first:
                documents = database.execute("SELECT id, row FROM documents WHERE row >= ?", (first,))
            else:  # the index over ids holds the rows too: the texts need not be read
                documents = database.execute("SELECT id, row FROM documents ORDER BY id")
            # One by one: of a million pairs at once, the memory would stay with the process.
            named_rows, names = array("q"), []
            for id, row in documents:
                named_rows.append(row)
                names.append(id)
            lexical = "SELECT row, length, terms FROM lexical WHERE row >= ? ORDER BY row"
            return IndexState(
                generation=self.generation(),
                epoch=self.meta("epoch"),
                rows=self.meta("rows"),
                named_rows=named_rows,
                names=names,
                dead=[row for (row,) in database.execute("SELECT row FROM tombstones WHERE generation > ?", (since,))],
                lexical=database.execute(lexical, (lexical_first,)).fetchall(),
                terms=database.execute("SELECT COALESCE(MAX(id) + 1, 0) FROM terms").fetchone()[0],
                shards=self.shards(),
                derived=self.derived(),
            )


def _document(id: str, text: str, metadata: str | None) -> Document:
    return Document(id, text, json.loads(metadata) if metadata and metadata != "{}" else {})
