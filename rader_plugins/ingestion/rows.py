"""Rows of JSONL files as documents, each judged by itself: one that cannot be used does not keep out the others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from rader_plugins.documents import Document, document_digest
from rader_plugins.errors import InputError
from rader_plugins.ingestion.findings import Findings
from rader_plugins.ingestion.stores import Location
from rader_plugins.text_files import decode, detect_encoding, encoding_of_mark, has_byte_lines, read_lines

__all__ = ["encoding_of_rows", "parse_row", "read_rows", "row_fault"]

_SAMPLE = 4 << 20  # bytes of lines beyond ASCII that an encoding is told from
_LONGEST_FAULT = 200  # characters


def encoding_of_rows(path: Location, encoding: str | None, findings: Findings) -> str:
    """Return the encoding of a JSONL file, and note it where it is a guess.

    Args:
        path: The JSONL file to look into.
        encoding: What the user names for files that are not UTF-8 and bear no byte order mark.
        findings: Where a guess is noted.

    Raises:
        InputError: It is neither UTF-8 nor anything else that can be told.
    """
    with path.open("rb") as stream:
        if mark := encoding_of_mark(stream.read(4)):
            return mark
        stream.seek(0)
        sample, intact, has_plain_lines = bytearray(), True, False
        for line in stream:
            if b"\x00" in line[:1024]:
                if has_plain_lines:  # zeros that a crash has left in the place of rows: of one-byte letters, it may be
                    continue
                sample += line[:_SAMPLE]
                intact = False
                break
            has_plain_lines = has_plain_lines or not line.isspace()
            if len(sample) < _SAMPLE and (not line.isascii() or b"~{" in line):
                sample += line
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                intact = False
    guess = detect_encoding(bytes(sample))
    if intact and guess.name != "hz":
        return "utf-8"
    if encoding is not None:
        return encoding
    if guess.name is None or guess.name.startswith("utf-16"):
        raise InputError(f"{path} is not UTF-8 ({guess.reason or guess.name}). Name its encoding with --encoding.")
    if guess.name != "utf-8":
        findings.add("guessed", path.name, guess.name)
    return guess.name


def read_rows(
    path: Location, encoding: str, id_keys: Sequence[str], findings: Findings
) -> Iterator[tuple[int, Document]]:
    """Yield the number of the line and the document of every row that can be used.

    Of the others it is noted that they are faulty, without text, or have the id of an earlier row; the first stays.
    """
    first: dict[str, tuple[int, int]] = {}  # id -> line, and what tells documents of that id apart
    for number, line, replaced in _lines(path, encoding):
        if not line.strip():
            continue
        label, of_row = f"{path.name}, line {number}", Findings(replaced=replaced)
        try:
            document = parse_row(line.rstrip("\r\n"), id_keys, f"{path.name}:{number}", of_row)
        except (ValueError, RecursionError) as error:
            findings.add("faulty", label, row_fault(error))
            continue
        if not document.text.strip():
            findings.add("empty", f"{document.id} (line {number})")
            continue
        content = hash(document_digest(document))
        line_of_first, content_of_first = first.setdefault(document.id, (number, content))
        if line_of_first != number:
            detail = "the same" if content == content_of_first else "with something else, which stays"
            findings.add("repeated", label, f"the id {document.id!r} is that of line {line_of_first}, {detail}")
            continue
        if of_row.replaced:
            findings.replaced += of_row.replaced
            findings.add("mended", document.id, f"line {number}: {of_row.replaced} replaced")
        yield number, document


def row_fault(error: Exception) -> str:
    """Return what is wrong with a row as one short line."""
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON: {error.msg.removesuffix(' at')}, at character {error.pos + 1:,}"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    fault = " ".join(str(error).split())
    return fault if len(fault) <= _LONGEST_FAULT else fault[: _LONGEST_FAULT - 3] + "..."


def _lines(path: Location, encoding: str) -> Iterator[tuple[int, str, int]]:
    if not has_byte_lines(encoding):
        with path.open("rb") as stream:
            for number, text in read_lines(stream, encoding):
                yield number, text, 0
        return
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            yield number, *decode(line, encoding)


def parse_row(line: str, id_keys: Sequence[str], default_id: str | None, findings: Findings) -> Document:
    """Return the document that a row holds; characters that are mended are counted in ``findings``.

    Args:
        line: One line of the file, a JSON object.
        id_keys: Keys that may name the document, the first of them that is there.
        default_id: What it is called otherwise; None refuses a row without an id.

    Raises:
        ValueError: It is unusable, or holds what no index stores; see :func:`row_fault`.
        RecursionError: Its objects or lists are nested too deeply.
    """
    from rader_plugins.index.adding import prepare  # brings numpy, which `rader --help` can do without

    row = findings.clean(json.loads(line, parse_constant=_refuse_constant))
    document = _document(row, id_keys, default_id)
    prepare(document)
    return document


def _document(row: Any, id_keys: Sequence[str], default_id: str | None) -> Document:
    if not isinstance(row, dict):
        raise InputError(f"it holds {_json_type(row)}, not a JSON object.")
    if "text" not in row:
        raise InputError(f"there is no 'text' (keys: {', '.join(map(repr, row)) or 'none'}).")
    text = row["text"]
    if not isinstance(text, str):
        raise InputError(f"'text' must be a string, not {_json_type(text)}.")
    extra = row.get("metadata")
    if extra is not None and not isinstance(extra, dict):
        raise InputError(f"'metadata' must be a JSON object, not {_json_type(extra)}.")
    id_key = next((key for key in id_keys if row.get(key) is not None), None)
    id = default_id if id_key is None else row[id_key]
    if id is None:
        raise InputError(f"there is no {' or '.join(map(repr, id_keys))} that names it.")
    if isinstance(id, bool) or not isinstance(id, str | int) or id == "":
        raise InputError(f"{id_key!r} must be a non-empty string or a whole number, not {json.dumps(id)}.")
    metadata = dict(extra or {})
    metadata.update((key, value) for key, value in row.items() if key not in ("text", "metadata", id_key))
    title = row.get("title")
    if isinstance(title, str):
        text = f"{title} {text}".strip()
    if "title" in row and title in (None, ""):
        del metadata["title"]
    return Document(str(id), text, metadata)


def _json_type(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _refuse_constant(constant: str) -> None:
    raise InputError(f"{constant} is not JSON. Write null, or leave the key out.")
