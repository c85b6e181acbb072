"""Reading documents from what a user has: a folder of texts, a JSONL file, or a BEIR folder.

Text that is not valid Unicode is mended, never refused: undecodable bytes and lone surrogates become U+FFFD, and the
report counts them.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from rader_plugins.documents import Document
from rader_plugins.errors import InputError, import_extra

__all__ = ["JSONL_SUFFIXES", "TEXT_SUFFIXES", "Chunking", "Report", "Source", "open_source"]

TEXT_SUFFIXES = (".txt", ".md", ".markdown", ".rst")
JSONL_SUFFIXES = (".jsonl", ".ndjson")
_MARKDOWN = (".md", ".markdown")
_ID_KEYS = ("id", "_id", "doc_id")
_BEIR_ID_KEYS = ("_id", "id", "doc_id")
_SURROGATE = re.compile("[\ud800-\udfff]")
_FENCE = re.compile(r"^ {0,3}(```|~~~)")
_ATX_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$")
_MARKDOWN_UNDERLINE = re.compile(r"^(=+|-{3,})$")
_RST_UNDERLINE = re.compile(r"^([=\-~^\"'#*+.:`_])\1{2,}$")


@dataclass
class Report:
    """What was met while reading.

    Args:
        empty: Files or rows without text, which were skipped.
        mended: Texts in which something was replaced.
        replaced: Characters that became U+FFFD.
    """

    empty: int = 0
    mended: int = 0
    replaced: int = 0

    def decode(self, raw: bytes) -> str:
        """Decode UTF-8 (or UTF-16, if a byte order mark says so); count what had to be replaced."""
        if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return self._decode(raw, "utf-16", raw.decode("utf-16", "ignore").count("\ufffd"))
        return self._decode(raw, "utf-8-sig", raw.count("\ufffd".encode()))

    def _decode(self, raw: bytes, encoding: str, there_before: int) -> str:
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            text = raw.decode(encoding, "replace")
            self.replaced += text.count("\ufffd") - there_before
            return text

    def clean(self, value: Any) -> Any:
        """Return a JSON value with its lone surrogates replaced, keys included; count them."""
        if isinstance(value, str):
            value, found = _SURROGATE.subn("\ufffd", value)
            self.replaced += found
        elif isinstance(value, list):
            value = [self.clean(item) for item in value]
        elif isinstance(value, dict):
            value = {self.clean(key): self.clean(item) for key, item in value.items()}
        return value


@dataclass(frozen=True)
class Chunking:
    """Splits long texts with ``semantic-text-splitter``, Markdown along its structure.

    Args:
        size: Most characters in a chunk.
        overlap: Most characters that two neighbouring chunks share.
    """

    size: int
    overlap: int = 0

    def __post_init__(self) -> None:
        if self.size < 1 or not 0 <= self.overlap < self.size:
            raise InputError(
                f"A chunk size of {self.size} with an overlap of {self.overlap} does not work: the size must be at "
                "least 1, the overlap at least 0 and below the size."
            )

    @cached_property
    def _splitters(self) -> dict[bool, Any]:
        library = import_extra("semantic_text_splitter", "chunk")
        return {
            False: library.TextSplitter(self.size, overlap=self.overlap),
            True: library.MarkdownSplitter(self.size, overlap=self.overlap),
        }

    def split(self, document: Document, *, markdown: bool) -> Iterator[Document]:
        """Yield the chunks of a document, ``<id>#<n>``, with its metadata and where they were cut."""
        for number, (start, text) in enumerate(self._splitters[markdown].chunk_indices(document.text)):
            place = {"parent_id": document.id, "chunk": number, "chunk_start": start}
            yield Document(f"{document.id}#{number}", text, {**document.metadata, **place})


@dataclass(frozen=True)
class Source:
    """Documents that can be read more than once, so that all is checked before anything is encoded.

    Args:
        path: What the user named.
        kind: ``text`` (files, each a document), ``jsonl`` or ``beir`` (rows, each a document).
        files: The files to read.
        chunking: How to split documents; None leaves them whole.
    """

    path: Path
    kind: Literal["text", "jsonl", "beir"]
    files: tuple[Path, ...]
    chunking: Chunking | None = None

    def read(self, report: Report) -> Iterator[tuple[int, Document]]:
        """Yield documents (or their chunks), each with the number that :meth:`place` takes.

        Raises:
            InputError: A row of a JSONL file is unusable; the message names file and line.
        """
        for number, document, markdown in self._files(report) if self.kind == "text" else self._rows(report):
            if not document.text.strip():
                report.empty += 1
            elif self.chunking is None:
                yield number, document
            else:
                for chunk in self.chunking.split(document, markdown=markdown):
                    yield number, chunk

    def place(self, number: int) -> str:
        """Say where a document came from."""
        return str(self.files[number]) if self.kind == "text" else f"{self.files[0]}, line {number}"

    def _files(self, report: Report) -> Iterator[tuple[int, Document, bool]]:
        root = self.path if self.path.is_dir() else self.path.parent
        for number, file in enumerate(self.files):
            before = report.replaced
            text = report.clean(report.decode(file.read_bytes()))
            name = report.clean(file.relative_to(root).as_posix())
            report.mended += report.replaced > before
            suffix = file.suffix.lower()
            title = _first_heading(text, suffix) if suffix in (*_MARKDOWN, ".rst") else None
            metadata = {"path": name, "title": title} if title else {"path": name}
            yield number, Document(name, text, metadata), suffix in _MARKDOWN

    def _rows(self, report: Report) -> Iterator[tuple[int, Document, bool]]:
        keys = _BEIR_ID_KEYS if self.kind == "beir" else _ID_KEYS
        with self.files[0].open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if not line.strip():
                    continue
                before = report.replaced
                try:
                    row = report.clean(json.loads(report.decode(line), parse_constant=_refuse))
                    document = _document(row, keys, f"{self.files[0].name}:{number}")
                except (ValueError, RecursionError) as error:
                    raise InputError(f"{self.place(number)}: {error}") from None
                report.mended += report.replaced > before
                yield number, document, False


def open_source(path: Path, globs: Sequence[str] = (), chunking: Chunking | None = None) -> Source:
    """Find out what ``path`` is.

    Args:
        path: A folder with texts, a BEIR folder, a JSONL file or a single text file.
        globs: Which files of a folder to read, in place of :data:`TEXT_SUFFIXES`.
        chunking: How to split documents.

    Raises:
        InputError: It is none of these, or holds no such file.
    """
    if path.is_dir():
        if not globs and (path / "corpus.jsonl").is_file():
            return Source(path, "beir", (path / "corpus.jsonl",), chunking)
        files = tuple(sorted(_text_files(path, globs)))
        if not files:
            wanted = " ".join(globs) or " ".join(f"*{suffix}" for suffix in TEXT_SUFFIXES)
            raise InputError(
                f"{path} holds no files that match {wanted}, and no corpus.jsonl. Choose other files with --glob, "
                "or name a JSONL file itself."
            )
        return Source(path, "text", files, chunking)
    if not path.exists():
        raise InputError(f"{path} does not exist.")
    if globs:
        raise InputError(f"--glob chooses files in a folder, but {path} is a file.")
    if not path.is_file():
        raise InputError(f"{path} is no ordinary file: it is read twice, so write it to a file first.")
    suffix = path.suffix.lower()
    if suffix in JSONL_SUFFIXES:
        return Source(path, "jsonl", (path,), chunking)
    if suffix in TEXT_SUFFIXES:
        return Source(path, "text", (path,), chunking)
    raise InputError(
        f"{path} has none of the known endings: {' '.join(TEXT_SUFFIXES)} (a text) or {' '.join(JSONL_SUFFIXES)} "
        "(one JSON object with 'text' per line)."
    )


def _text_files(folder: Path, globs: Sequence[str]) -> set[Path]:
    found: set[Path] = set()
    try:
        for pattern in globs or ("*",):
            matches = folder.glob(pattern) if "/" in pattern else folder.rglob(pattern)
            found.update(file for file in matches if globs or file.suffix.lower() in TEXT_SUFFIXES)
    except (ValueError, NotImplementedError) as error:
        raise InputError(f"--glob {pattern!r} is no pattern: {error}.") from None
    # Hidden folders (.git, .venv) hold nothing that a reader wrote.
    return {
        file
        for file in found
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    }


def _document(row: Any, id_keys: Sequence[str], default_id: str) -> Document:
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


def _refuse(constant: str) -> None:
    raise InputError(f"{constant} is not JSON. Write null, or leave the key out.")


def _first_heading(text: str, suffix: str) -> str | None:
    lines = text.splitlines()
    return _rst_heading(lines) if suffix == ".rst" else _markdown_heading(lines)


def _rst_heading(lines: Sequence[str]) -> str | None:
    for title, line in pairwise(lines):
        if title.strip() and not _RST_UNDERLINE.match(title.rstrip()) and _RST_UNDERLINE.match(line.rstrip()):
            return title.strip()
    return None


def _markdown_heading(lines: Sequence[str]) -> str | None:
    start = 0
    if lines and lines[0].strip() == "---":  # YAML front matter
        start = 1 + next((at for at, line in enumerate(lines[1:], 1) if line.strip() == "---"), -1)
    fence: str | None = None
    previous = ""
    for line in lines[start:]:
        if mark := _FENCE.match(line):
            fence = mark[1] if fence is None else (None if mark[1] == fence else fence)
            previous = ""
        elif fence is None:
            if heading := _ATX_HEADING.match(line):
                return heading[1]
            if previous and _MARKDOWN_UNDERLINE.match(line.rstrip()):
                return previous
            previous = line.strip()
    return None
