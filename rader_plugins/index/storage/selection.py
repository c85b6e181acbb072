"""Rows of a database by a list of names."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from rader_plugins.errors import InputError

__all__ = ["select_in"]

_BATCH = 500  # names per IN (...) list; SQLite's own limit was 999 for long


def select_in(database: sqlite3.Connection, query: str, values: Sequence[str] | Sequence[int]) -> Iterator[Any]:
    """Return the rows of a query that ends before ``IN (...)``, one by one.

    Raises:
        InputError: A value is no valid Unicode.
    """
    return chain.from_iterable(_selections(database, query, values))


def _selections(
    database: sqlite3.Connection, query: str, values: Sequence[str] | Sequence[int]
) -> Iterator[sqlite3.Cursor]:
    for start in range(0, len(values), _BATCH):
        part = values[start : start + _BATCH]
        try:
            yield database.execute(f"{query} IN ({','.join('?' * len(part))})", part)
        except UnicodeEncodeError as error:
            raise InputError(f"An id holds a lone surrogate, which no stored id can: {error.object!r}.") from None
