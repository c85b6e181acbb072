"""The tables of an index, and how a database of an older format becomes one of today's."""

from __future__ import annotations

import json
import sqlite3
from pathlib import PurePath, PureWindowsPath
from urllib.parse import quote

from rader_plugins.errors import IndexCorruptError, IndexVersionError

__all__ = ["FORMAT_VERSION", "check_format", "convert", "create_tables", "database_uri", "read_version"]

FORMAT_VERSION = 2
_APPLICATION_ID = 0x52614465  # "RaDe": tells our files from any other SQLite database

# Metadata stands apart from the texts, so that filters read it without them; they need no table of their own.
_DOCUMENTS = """
CREATE TABLE documents (row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, text TEXT NOT NULL);
CREATE TABLE metadata (row INTEGER PRIMARY KEY, json TEXT NOT NULL);
CREATE TABLE relabelled (row INTEGER PRIMARY KEY, generation INTEGER NOT NULL);
"""
_SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
{_DOCUMENTS}
CREATE TABLE lexical (row INTEGER PRIMARY KEY, length INTEGER NOT NULL, terms BLOB NOT NULL);
CREATE TABLE terms (id INTEGER PRIMARY KEY, term TEXT NOT NULL UNIQUE);
CREATE TABLE tombstones (row INTEGER PRIMARY KEY, generation INTEGER NOT NULL);
CREATE TABLE shards (name TEXT PRIMARY KEY, start INTEGER NOT NULL, rows INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE blocks (start INTEGER PRIMARY KEY, rows INTEGER NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE derived (kind TEXT PRIMARY KEY, file TEXT NOT NULL, rows INTEGER NOT NULL, crc INTEGER NOT NULL)
    WITHOUT ROWID;
"""
_PLACEHOLDER = "no-vectors"  # the recipe that format 1 gave to an index without vectors


def create_tables(database: sqlite3.Connection) -> None:
    """Make the tables of a new index, in one transaction."""
    database.executescript(
        f"BEGIN IMMEDIATE; PRAGMA application_id = {_APPLICATION_ID}; "
        f"PRAGMA user_version = {FORMAT_VERSION}; {_SCHEMA} COMMIT;"
    )


def read_version(database: sqlite3.Connection) -> int:
    """Return the format of a database."""
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def check_format(database: sqlite3.Connection, file: object) -> int:
    """Return how many bytes a database has by its own account.

    Raises:
        IndexCorruptError: It is no index.
        IndexVersionError: A newer version of the library wrote it.
    """
    if database.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
        raise IndexCorruptError(f"{file} is an SQLite database, but not an index of rader-plugins.")
    if (version := read_version(database)) > FORMAT_VERSION:
        raise IndexVersionError(
            f"{file} has format {version}; this version of rader-plugins reads up to {FORMAT_VERSION}. "
            "Nothing was changed. To mend it: pip install --upgrade rader-plugins"
        )
    pages, size = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return int(pages) * int(size)


def convert(database: sqlite3.Connection) -> None:
    """Bring a database of format 1 to today's, within a transaction: texts are written anew, vectors stay."""
    statements = [line for line in _DOCUMENTS.replace("documents (", "texts (").split(";") if line.strip()]
    for statement in statements:
        database.execute(statement)
    database.execute("INSERT INTO texts SELECT row, id, text FROM documents")
    database.execute("INSERT INTO metadata SELECT row, metadata FROM documents WHERE metadata <> '{}'")
    database.execute("DROP TABLE documents")
    database.execute("ALTER TABLE texts RENAME TO documents")
    database.execute("DROP TABLE fields")
    recipe = json.loads(database.execute("SELECT value FROM meta WHERE key = 'recipe'").fetchone()[0])
    if is_placeholder(recipe):
        database.execute("UPDATE meta SET value = 'null' WHERE key IN ('recipe', 'fingerprint', 'dimension')")
        database.execute("DELETE FROM shards")
        database.execute("DELETE FROM blocks")
    database.execute(f"PRAGMA user_version = {FORMAT_VERSION}")


def is_placeholder(recipe: dict[str, object] | None) -> bool:
    """Whether a stored recipe stands for none, as in an index without vectors of format 1."""
    return recipe is not None and recipe.get("name") == _PLACEHOLDER and recipe.get("model") == "none"


def database_uri(file: PurePath, mode: str) -> str:
    """Return what SQLite opens a file by.

    Of a Windows share (``\\\\server\\share``), ``as_uri`` makes a URI with an authority, which SQLite refuses.

    Example:
        >>> database_uri(PureWindowsPath(r"C:\\data\\50%.db"), "rw")
        'file:///C:/data/50%25.db?mode=rw'
        >>> database_uri(PureWindowsPath(r"\\\\server\\share\\index.db"), "rw")
        'file:////server/share/index.db?mode=rw'
    """
    name = file.as_posix()
    for prefix, plain in (("//?/UNC/", "//"), ("//?/", "")):  # long paths of Windows
        if name.startswith(prefix):
            name = plain + name.removeprefix(prefix)
            break
    if isinstance(file, PureWindowsPath):
        name = f"/{name}" if not name.startswith("/") else f"//{name.lstrip('/')}"
        return f"file://{quote(name, safe='/:')}?mode={mode}"
    return f"file://{quote(name.encode('utf-8', 'surrogateescape'))}?mode={mode}"
