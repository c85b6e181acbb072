"""CSV and TSV: each row a document, where a user says which columns are its text."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rader_plugins.errors import InputError
from rader_plugins.ingestion.formats import UnusableFileError

__all__ = ["TABLE_SUFFIXES", "Row", "TableColumns", "read_table"]

TABLE_SUFFIXES = (".csv", ".tsv")
_DELIMITERS = ",;\t|"
_LARGEST_CELL = 2**31 - 1
_LONG = re.compile(r"-?\d{19,}")
_WHOLE = re.compile(r"-?(0|[1-9]\d{0,17})")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d{1,3})?")


@dataclass(frozen=True)
class TableColumns:
    """What the columns of tables are for.

    Args:
        text: Columns that a document's text is put together from, in this order.
        id: Column with the documents' ids; None names them ``<file>:<row>``.
    """

    text: tuple[str, ...]
    id: str | None = None

    def __post_init__(self) -> None:
        if not self.text or not all(name.strip() for name in self.text):
            raise InputError("Name the columns that hold the text, such as --rows title,body.")
        if repeated := [name for name in self.text if self.text.count(name) > 1]:
            raise InputError(f"The column {repeated[0]!r} stands twice in --rows: name it once.")


@dataclass(frozen=True)
class Row:
    """A row as a document would have it.

    Args:
        number: 1 for the first row below the names of the columns.
        id: What the column of ids says; None without one.
        text: What the columns of the text say, a line each.
        metadata: The other columns: a number where all rows of the column have numbers; empty cells are left out.
        is_open: A cell of it begins with quotes that do not end, so that it holds all rows that follow.
        surplus: How many cells that say something it has beyond the last column with a name.
    """

    number: int
    id: str | None
    text: str
    metadata: Mapping[str, Any]
    is_open: bool = False
    surplus: int = 0


def read_table(text: str, suffix: str, columns: TableColumns) -> list[Row]:
    """Return the rows of a table whose first line names its columns.

    Args:
        text: Content of the file.
        suffix: ``.tsv`` is separated by tabs, ``.csv`` by whatever its first line has most of: , ; tab or |.
        columns: What the columns are for.

    Raises:
        UnusableFileError: It lacks a column, or is no table.
    """
    csv.field_size_limit(_LARGEST_CELL)
    text = text.removeprefix("\ufeff")
    delimiter = "\t" if suffix == ".tsv" else _delimiter(text)
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(line)]
    except csv.Error as error:
        raise UnusableFileError(f"no table: {error}") from None
    if not lines:
        raise UnusableFileError("it is empty")
    names = list(_names(lines[0]))
    required = dict.fromkeys(columns.text if columns.id is None else (*columns.text, columns.id))
    if missing := [name for name in required if name not in names]:
        raise UnusableFileError(f"it has no column {', '.join(map(repr, missing))}; it has {', '.join(names)}")
    width = len(names)
    for number in range(len(names) + 1, max(map(len, lines)) + 1):
        names.append(f"column {number}")
    rows = [dict(zip(names, line, strict=False)) for line in lines[1:]]
    kinds = {name: _kind([row[name] for row in rows if row.get(name)]) for name in names if name not in required}
    table = [
        replace(_row(number, row, columns, kinds), surplus=len([cell for cell in line[width:] if cell.strip()]))
        for number, (row, line) in enumerate(zip(rows, lines[1:], strict=True), start=1)
    ]
    if table and lines[-1][-1].endswith(("\n", "\r")) and not text.rstrip().endswith('"'):
        table[-1] = replace(table[-1], is_open=True)
    return table


def _row(number: int, cells: Mapping[str, str], columns: TableColumns, kinds: Mapping[str, Any]) -> Row:
    text = "\n".join(cell for name in columns.text if (cell := cells.get(name, "").strip()))
    metadata = {name: kind(cells[name]) for name, kind in kinds.items() if cells.get(name)}
    id = None if columns.id is None else cells.get(columns.id, "").strip()
    return Row(number, id, text, metadata)


def _delimiter(text: str) -> str:
    head = re.sub(r'"[^"]*"', "", next((line for line in text.splitlines() if line.strip()), ""))
    return max(_DELIMITERS, key=head.count)


def _names(header: Sequence[str]) -> Iterator[str]:
    seen: set[str] = set()
    for number, cell in enumerate(header, start=1):
        name = cell.strip()
        if not name or name in seen:
            name = f"column {number}"
        seen.add(name)
        yield name


def _kind(cells: Sequence[str]) -> type:
    """Return what the cells of a column are; numbers only where that loses nothing, as it would of 007."""
    if all(_WHOLE.fullmatch(cell) for cell in cells):
        return int
    return float if all(_NUMBER.fullmatch(cell) and _is_exact(cell) for cell in cells) else str


def _is_exact(cell: str) -> bool:
    """Whether a float tells a number from others: of an account of 22 digits it loses the last."""
    return not _LONG.fullmatch(cell) and abs(float(cell)) < float("inf")
