"""Workbooks (XLSX), by openpyxl: each sheet a table of Markdown, its cells as the workbook says them."""

from __future__ import annotations

import datetime
import importlib
import io
import zipfile
from collections.abc import Iterator
from contextlib import closing
from itertools import zip_longest
from typing import Any

from rader_plugins.ingestion.parts import Part, names_of

__all__ = ["read_sheets"]


def read_sheets(raw: bytes) -> list[Part]:
    """Return the sheets of a workbook that say something; blank rows and columns at its edges are left out.

    A formula stands for the value that the program stored with it. Programs other than spreadsheets store none: such
    cells are named.

    Raises:
        ImportError: openpyxl, which the extra ``documents`` brings, is not installed.
        Exception: It is damaged; of whatever kind openpyxl raises.
    """
    library = importlib.import_module("openpyxl")
    with closing(library.load_workbook(io.BytesIO(raw), read_only=True, data_only=True)) as book:
        tables = {sheet.title: [list(row) for row in _rows(sheet)] for sheet in book.worksheets}
    unknown = _unknown_values(library, raw, tables) if _has_formulas(raw) else {}
    parts = []
    for title, rows in tables.items():
        cells = unknown.get(title, [])
        missing = f"formulas whose value the file does not hold: {names_of(cells)}" if cells else ""
        parts.append(Part(_table(rows), {"sheet": title}, missing=missing))
    return parts


def _rows(sheet: Any) -> Iterator[tuple[Any, ...]]:
    sheet.reset_dimensions()  # what a file says of them is often wrong
    yield from sheet.iter_rows(values_only=True)


def _has_formulas(raw: bytes) -> bool:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        names = (name for name in archive.namelist() if name.startswith("xl/worksheets/") and name.endswith(".xml"))
        return any(b"<f>" in (sheet := archive.read(name)) or b"<f " in sheet for name in names)


def _unknown_values(library: Any, raw: bytes, tables: dict[str, list[list[Any]]]) -> dict[str, list[str]]:
    """Return sheet -> names of cells that have a formula and no value."""
    unknown: dict[str, list[str]] = {}
    letter = importlib.import_module("openpyxl.utils").get_column_letter
    with closing(library.load_workbook(io.BytesIO(raw), read_only=True)) as book:
        for sheet in book.worksheets:
            pairs = zip(_rows(sheet), tables[sheet.title], strict=False)
            unknown[sheet.title] = [
                f"{letter(column)}{number}"
                for number, (formulas, values) in enumerate(pairs, start=1)
                for column, (formula, value) in enumerate(zip_longest(formulas, values), start=1)
                if formula is not None and value is None
            ]
    return unknown


def _table(rows: list[list[Any]]) -> str:
    """Return rows as a table of Markdown, whose first row is its head; "" if no cell says anything."""
    texts = [[_cell(value) for value in row] for row in rows]
    texts = [row for row in texts if any(row)]
    used = sorted({column for row in texts for column, text in enumerate(row) if text})
    if not used:
        return ""
    lines = [[row[column] if column < len(row) else "" for column in range(used[0], used[-1] + 1)] for row in texts]
    head, *body = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([head, f"|{' --- |' * len(lines[0])}", *body])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime.datetime):
        return value.isoformat(" ").removesuffix(" 00:00:00")
    return " ".join(str(value).split()).replace("|", "\\|")
