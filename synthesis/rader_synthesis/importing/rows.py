"""Rows of files as the tools of others export them: any JSON layout, packing and Unicode encoding."""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from rader_plugins.errors import InputError, import_extra
from rader_plugins.recording.printed import parse_printed
from rader_plugins.text_files import encoding_of_mark
from rader_synthesis.importing.report import ImportReport

__all__ = ["Paths", "Row", "parsed_cell", "read_rows", "unquoted_cell"]

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

_PRINTED = re.compile(r"[\[{][\[{\s]*['\"]")
_GZIP = b"\x1f\x8b"
_SURROGATE = re.compile("[\ud800-\udfff]")
_MENDED = "half of a character (an emoji that was cut in two), replaced"
_NO_NUMBER = "NaN or Infinity, which JSON does not have, taken for null"
_WRAPPERS = ("data", "traces", "runs", "rows", "spans", "observations", "conversations", "items", "results")


@dataclass(frozen=True)
class Row:
    """A row that has not been parsed yet, and where it stands.

    Args:
        path: Path of the file that it stands in.
        number: Counted from 1: its line, or its position in a JSON list or table.
        content: Bytes or text of a line, or a value that is parsed already.
    """

    path: Path
    number: int
    content: Any

    @property
    def where(self) -> str:
        """How to call it in messages."""
        return f"{self.path}, row {self.number}"

    @property
    def name(self) -> str:
        """An id for a row that has none: ``<file>#<number>``."""
        stem = self.path.stem if self.path.suffix != ".gz" else Path(self.path.stem).stem
        return f"{stem}#{self.number}"

    def value(self, report: ImportReport | None = None) -> Any:
        """Return the JSON value; lone surrogates become U+FFFD, NaN and Infinity null, and both are counted.

        Raises:
            InputError: It is not JSON.
        """
        constants: list[str] = []
        is_text = isinstance(self.content, bytes | str)
        parsed = _load(self.content, self.where, constants.append) if is_text else self.content
        if report is not None and constants:
            report.notes[_NO_NUMBER] += len(constants)
        if not _has_surrogates(self.content):
            return parsed
        value, count = _mended(parsed)
        if report is not None and count:
            report.notes[_MENDED] += count
        return value


def read_rows(path: str | os.PathLike[str]) -> Iterator[Row]:
    """Yield the rows of a file.

    These are the lines of JSONL, one at a time and however long; the elements of one JSON value, or of the only list of
    objects within it (``{"data": [...]}``); or the lines of a table (``.csv``, ``.parquet``) as objects. ``.gz`` is
    unpacked, and UTF-8, UTF-16 and UTF-32 are told by their byte order mark, whatever the name of the file.

    Raises:
        InputError: There is no such file, or it is packed or encoded in a way that its beginning does not show.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{file} is not a file.")
    suffixes = [suffix.lower() for suffix in file.suffixes if suffix.lower() != ".gz"]
    kind = suffixes[-1] if suffixes else ""
    try:
        if kind == ".parquet":
            yield from _table_rows(file)
            return
        stream, start = _opened(file)
        with stream:
            one_value = kind == ".json" or (kind != ".csv" and _is_one_value(stream, start))
            stream.seek(start)
            read = _csv_rows if kind == ".csv" else _value_rows if one_value else _line_rows
            yield from read(file, stream)
    except (gzip.BadGzipFile, EOFError) as error:
        raise InputError(f"{file} is packed with gzip and damaged: {error}.") from error
    except UnicodeError as error:
        raise InputError(f"{file} is not what its byte order mark says: {error}.") from error


def _opened(file: Path) -> tuple[IO[bytes], int]:
    """Return the unpacked content as UTF-8, and where it begins behind its byte order mark."""
    with file.open("rb") as beginning:
        packed = beginning.read(2) == _GZIP
    stream = cast(IO[bytes], gzip.open(file, "rb") if packed else file.open("rb"))  # noqa: SIM115 - the caller closes it
    head = stream.read(4)
    stream.seek(0)
    encoding = encoding_of_mark(head)
    if encoding == "utf-8-sig":
        return stream, len(codecs.BOM_UTF8)
    if encoding is None and len(head) == 4 and head[1] == 0 and head[0] in b"{[":
        encoding = "utf-16-le"  # without a mark, as some programs of Windows write it
    if encoding is None:
        return stream, 0
    with stream:
        text = stream.read().decode(encoding, "surrogatepass")
    return io.BytesIO(text.encode("utf-8", "surrogatepass")), 0


def _is_one_value(stream: IO[bytes], start: int) -> bool:
    """Whether a file that is not called ``.json`` is one JSON value, and not a value a line."""
    stream.seek(start)
    lines = (line.strip() for line in stream if line.strip())
    first, second = next(lines, b""), next(lines, b"")
    stream.seek(start)
    if first[:1] not in (b"[", b"{"):
        return False
    value, following = _parsed_or_none(first), _parsed_or_none(second)
    if value is None:
        return bool(second) and not isinstance(following, dict | list)  # printed over several lines
    return not second and isinstance(value, list) and not _is_conversation(value)


def _parsed_or_none(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _is_conversation(elements: Sequence[Any]) -> bool:
    """Whether a list is one conversation: its elements are messages, and not conversations."""
    return not any(isinstance(element, Mapping) for element in elements) or any(
        isinstance(element, Mapping) and ("role" in element or ("type" in element and "content" in element))
        for element in elements
    )


def _line_rows(file: Path, stream: IO[bytes]) -> Iterator[Row]:
    for number, line in enumerate(stream, start=1):
        if line.strip():
            yield Row(file, number, line)


def _value_rows(file: Path, stream: IO[bytes]) -> Iterator[Row]:
    content = stream.read()
    constants: list[float] = []

    def number(constant: str) -> float:
        constants.append(float(constant))
        return constants[-1]

    try:
        value = _load(content, str(file), number)
    except InputError:
        lines = [line for line in content.splitlines() if line.strip()]
        # JSONL under the name .json, as several tools export it.
        if len(lines) < 2 or not all(line.lstrip()[:1] in (b"{", b"[") for line in lines[:2]):
            raise
        try:
            json.loads(lines[0])
        except ValueError:
            raise InputError(f"{file} is not JSON, neither as a whole nor its first line.") from None
        yield from (Row(file, position, line) for position, line in enumerate(lines, start=1))
        return
    to_mend = bool(constants) or _has_surrogates(content)
    for position, element in enumerate(_elements(value), start=1):
        yield Row(file, position, json.dumps(element) if to_mend else element)


def _elements(value: Any) -> list[Any]:
    """Return the rows of a JSON value: its elements, those of the list that a page of an interface wraps, or itself."""
    if isinstance(value, list):
        if value and all(isinstance(element, Mapping) for element in value) and _is_conversation(value):
            return [value]
        return value
    if isinstance(value, Mapping) and not {"messages", "input", "id", "trace_id", "info", "steps"} & value.keys():
        for key in _WRAPPERS:
            rows = value.get(key)
            if isinstance(rows, list) and rows and all(isinstance(row, Mapping) for row in rows):
                return rows if not any("from" in row for row in rows) else [value]
    return [value]


def _csv_rows(file: Path, stream: IO[bytes]) -> Iterator[Row]:
    csv.field_size_limit(1 << 30)
    text = io.TextIOWrapper(stream, "utf-8", errors="surrogatepass", newline="")
    try:
        for number, row in enumerate(csv.DictReader(text), start=1):
            filled = {key: cell for key, cell in row.items() if isinstance(key, str) and cell}
            cells = {key: unquoted_cell(cell) for key, cell in filled.items()}
            yield Row(file, number, json.dumps(cells))
    except csv.Error as error:
        raise InputError(f"{file} is no table of comma-separated values: {error}.") from error


def _table_rows(file: Path) -> Iterator[Row]:
    pyarrow, parquet = import_extra("pyarrow", "hub"), import_extra("pyarrow.parquet", "hub")
    try:
        with parquet.ParquetFile(file) as table:
            number = 0
            for batch in table.iter_batches(batch_size=64):
                for row in batch.to_pylist():
                    number += 1
                    cells = {key: unquoted_cell(cell) for key, cell in row.items() if cell is not None}
                    yield Row(file, number, json.dumps(cells, default=str))
    except pyarrow.ArrowException as error:
        raise InputError(f"{file} is damaged or no Parquet file: {error}.") from error


def unquoted_cell(cell: Any) -> Any:
    """Return the value of a cell that is JSON, a text in JSON's quotes too, or what Python prints for a list or dict.

    Exports of tables write the one or the other; pandas writes the last.
    """
    if isinstance(cell, str) and len(cell) > 1 and cell[0] == cell[-1] == '"':
        try:
            return json.loads(cell)
        except ValueError:
            return cell
    value = parsed_cell(cell)
    if isinstance(value, str) and _PRINTED.match(value):
        with contextlib.suppress(ValueError):
            return parse_printed(value)
    return value


def parsed_cell(cell: Any) -> Any:
    """Return the JSON value that a text is; any other value, and text that is no JSON object or list, as it is."""
    if not isinstance(cell, str) or cell.lstrip()[:1] not in ("[", "{"):
        return cell
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell


def _load(content: bytes | str, where: str, constant: Callable[[str], Any]) -> Any:
    try:
        if isinstance(content, bytes):
            content = content.decode("utf-8", "surrogatepass")
        return json.loads(content, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON: {error}") from None


def _has_surrogates(content: Any) -> bool:
    """Whether a lone surrogate may be in a line: as an escape, or as the bytes that some programs write for one."""
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogatepass")
    return isinstance(content, bytes) and (b"\\ud" in content or b"\\uD" in content or b"\xed" in content)


def _mended(value: Any) -> tuple[Any, int]:
    if isinstance(value, str):
        return _SURROGATE.subn("\ufffd", value)
    if isinstance(value, list):
        pairs = [_mended(element) for element in value]
        return [element for element, _ in pairs], sum(count for _, count in pairs)
    if isinstance(value, dict):
        items = [(_mended(key), _mended(element)) for key, element in value.items()]
        return {key: element for (key, _), (element, _) in items}, sum(
            first + second for (_, first), (_, second) in items
        )
    return value, 0
