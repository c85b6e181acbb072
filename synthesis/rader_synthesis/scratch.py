"""Scratch databases: what would not fit into memory lies in a file of SQLite's that goes at the end."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["scratch_database", "scratch_errors"]


@contextlib.contextmanager
def scratch_errors(where: str) -> Iterator[None]:
    """Say what SQLite says of a full disk as an :class:`OSError`.

    Args:
        where: What the message calls the file.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise OSError(f"{where} cannot be written: {error}. Free some space and do the same again.") from error


@contextlib.contextmanager
def scratch_database() -> Iterator[sqlite3.Connection]:
    """Open an empty database in the folder for temporary files, in a transaction that is never committed.

    Raises:
        OSError: There is no room, or no folder for temporary files.
    """
    where = f"A scratch file in {tempfile.gettempdir()} (another folder: TMPDIR)"
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rader-scratch-"))
        stack.enter_context(scratch_errors(where))
        connection = sqlite3.connect(Path(folder) / "rows.sqlite", isolation_level=None)
        stack.callback(connection.close)
        connection.execute("PRAGMA journal_mode=OFF")
        connection.execute("BEGIN")
        yield connection
