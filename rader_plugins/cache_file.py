"""A SQLite file that only saves work: what vector and answer caches have in common."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from typing import ClassVar

from rader_plugins.arguments import check_path
from rader_plugins.background import Lock
from rader_plugins.construction import ByConstruction
from rader_plugins.errors import CacheWriteError, InputError

__all__ = ["CacheFile"]

_VERSION = 1
_PATIENCE = 60.0  # seconds


class CacheFile(ByConstruction):
    """A SQLite file of one table. Safe to use from several threads and processes at once.

    A subclass says what it keeps.

    Attributes:
        what: How messages call it.
        remedy: What happens after it was deleted.
        application: SQLite's application id, which tells it from other files.
        table, columns: Name of the table, and its columns as SQL declares them.

    Args:
        path: The file; made if it is not there, with its folder.

    Raises:
        InputError: The file is damaged or is something else.
        CacheWriteError: The disk is full, the folder read-only, or another process keeps the file locked.
    """

    what: ClassVar[str]
    remedy: ClassVar[str]
    application: ClassVar[int]
    table: ClassVar[str]
    columns: ClassVar[str]

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = check_path(path, self.what)
        self._file = self.path.absolute()  # a process may go to another folder before it is opened anew
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise InputError(f"The {self.what} {str(self.path)!r} would lie in what is no folder.") from None
        except OSError as error:
            raise self._write_error(error.strerror or str(error)) from error
        with self._open():
            pass

    def __len__(self) -> int:
        with self._open() as connection:
            return int(connection.execute(f"SELECT count(*) FROM {self.table}").fetchone()[0])

    def close(self) -> None:
        """Close the file; it opens again when it is needed."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                # A connection must not be carried into a forked process.
                if self._connection is None or self._process != os.getpid():
                    self._connection = self._connect()
                    self._process = os.getpid()
                yield self._connection
            except sqlite3.OperationalError as error:
                if self._unwritable(str(error)):
                    raise self._write_error(str(error)) from error
                raise InputError(f"The {self.what} {str(self.path)!r} cannot be used: {error}.") from error
            except sqlite3.DatabaseError as error:
                raise self._damaged(str(error)) from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._file, timeout=_PATIENCE, check_same_thread=False)
        try:
            # In this order: a process that makes the file at this moment sets the id before there is a table.
            tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if tables and application != self.application:
                raise InputError(f"{str(self.path)!r} is another program's SQLite file. Choose another cache path.")
            if version > _VERSION:
                raise InputError(f"The {self.what} {str(self.path)!r} is of a newer version. Upgrade, or delete it.")
            _log_ahead(connection)
            # A lost last transaction after a power cut only means doing that work again.
            connection.execute("PRAGMA synchronous=NORMAL")
            with connection:
                connection.execute(f"PRAGMA application_id={self.application}")
                connection.execute(f"PRAGMA user_version={_VERSION}")
                connection.execute(f"CREATE TABLE IF NOT EXISTS {self.table} ({self.columns}) WITHOUT ROWID")
        except BaseException:
            connection.close()
            raise
        return connection

    def _unwritable(self, what: str) -> bool:
        """Whether it is the disk that fails, and not the path: a folder, or one in a folder that is none."""
        if any(sign in what for sign in ("full", "disk I/O", "readonly", "locked")):
            return True
        return "unable to open" in what and self.path.is_file()

    def _write_error(self, what: str) -> CacheWriteError:
        return CacheWriteError(
            f"The {self.what} {str(self.path)!r} cannot be written: {what}. What it held before is intact; free some "
            "space, or make file and folder writable, and do the same again."
        )

    def _damaged(self, what: str) -> InputError:
        return InputError(f"The {self.what} {str(self.path)!r} is damaged: {what}. Delete it; {self.remedy}.")


def _log_ahead(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead logging, which needs the file for itself for a moment.

    SQLite does not wait for that as it does for other locks: of two that make the file at once, one would fail.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
