"""What a user names as documents: a folder of texts, a JSONL file, a BEIR folder, or a single text file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from rader_plugins.arguments import check_flag, check_path, check_string, expand_path, iterate, shown
from rader_plugins.documents import Document
from rader_plugins.errors import InputError, MissingExtraError
from rader_plugins.ingestion.chunking import Chunking
from rader_plugins.ingestion.findings import KINDS, Findings
from rader_plugins.ingestion.formats import DOCUMENT_SUFFIXES, Part, PartsMemory, UnusableFileError
from rader_plugins.ingestion.headings import MARKDOWN_SUFFIXES, first_heading
from rader_plugins.ingestion.listing import Listing, glob_matcher, list_folder
from rader_plugins.ingestion.rows import encoding_of_rows, read_rows
from rader_plugins.text_files import (
    binary_kind,
    check_encoding,
    decode,
    detect_encoding,
    encoding_of_mark,
    has_byte_lines,
)

__all__ = ["JSONL_SUFFIXES", "TEXT_SUFFIXES", "Source", "open_source"]

TEXT_SUFFIXES = (".txt", *MARKDOWN_SUFFIXES, ".rst")
_FOLDER_SUFFIXES = (*TEXT_SUFFIXES, *DOCUMENT_SUFFIXES)
JSONL_SUFFIXES = (".jsonl", ".ndjson")
_ID_KEYS = ("id", "_id", "doc_id")
_BEIR_ID_KEYS = ("_id", "id", "doc_id")
_MOST_CONTROLS = 0.01


@dataclass(frozen=True)
class Source:
    """Documents that can be read more than once, so that all is checked before anything is encoded.

    Args:
        path: What the user named.
        kind: ``text`` (files, each a document), ``jsonl`` or ``beir`` (rows, each a document).
        files: The files to read.
        chunking: How to split documents; None leaves them whole.
        encoding: Of files that are not UTF-8 and bear no byte order mark; None guesses.
        mounts: Folders below ``path`` on which other file systems are mounted.
        listed: What lies there and is not read.
    """

    path: Path
    kind: Literal["text", "jsonl", "beir"]
    files: tuple[Path, ...]
    chunking: Chunking | None = None
    encoding: str | None = None
    mounts: tuple[str, ...] = ()
    listed: Findings = field(default_factory=Findings, compare=False)
    _memory: PartsMemory = field(default_factory=PartsMemory, compare=False, repr=False)

    def read(self, findings: Findings) -> Iterator[tuple[int, Document]]:
        """Yield documents (or their chunks), each with the number that :meth:`origin` takes.

        A file that cannot be read, holds no text or is empty is noted and left out.

        Raises:
            InputError: A row of a JSONL file is unusable; the message names file and line.
        """
        findings.update(self.listed, KINDS)
        if self.kind == "text":
            for number, file in enumerate(self.files):
                yield from ((number, document) for document in self._documents_of(file, findings))
            return
        for number, document in self._rows(findings):
            if not document.text.strip():
                findings.add("empty", f"{document.id} (line {number})")
            else:
                yield from ((number, chunk) for chunk in self._chunks(document, markdown=False))

    def documents(self) -> Iterator[Document]:
        """Yield the documents (or their chunks) alone."""
        return (document for _, document in self.read(Findings()))

    def origin(self, number: int) -> str:
        """Say where a document came from."""
        return str(self.files[number]) if self.kind == "text" else f"{self.files[0]}, line {number}"

    def _chunks(self, document: Document, *, markdown: bool, first: int = 0) -> Iterator[Document]:
        if self.chunking is None:
            yield document
        else:
            yield from self.chunking.split(document, markdown=markdown, first=first)

    def _documents_of(self, file: Path, findings: Findings) -> Iterator[Document]:
        """Yield what a file gives: itself, its chunks, or the pages that it consists of."""
        root = self.path if self.path.is_dir() else self.path.parent
        before = findings.replaced
        name = findings.clean(file.relative_to(root).as_posix())
        parts = self._parts(file, name, findings)
        if findings.replaced > before:
            findings.add("mended", name, f"{findings.replaced - before} replaced")
        suffix = file.suffix.lower()
        number = 0
        for part in parts:
            if not part.text.strip():
                findings.add("empty", ", ".join([name, *(f"{kind} {place}" for kind, place in part.metadata.items())]))
                continue
            title = first_heading(parts[0].text, ".md" if parts[0].markdown else suffix)
            metadata = {"path": name, **({"title": title} if title else {}), **part.metadata}
            document = Document(name, part.text, metadata)
            if len(parts) > 1 and self.chunking is None:
                # A page is found and cited by itself, as a chunk is.
                origin = {"parent_id": name, "chunk": number}
                document = Document(f"{name}#{number}", part.text, {**metadata, **origin})
            for chunk in self._chunks(document, markdown=part.markdown, first=number):
                yield chunk
                number += 1

    def _parts(self, file: Path, name: str, findings: Findings) -> list[Part]:
        """Return what a file holds; nothing, which is noted, if it cannot be read or is no text."""
        try:
            raw = file.read_bytes()
        except OSError as error:
            findings.add("unreadable", name, error.strerror or str(error))
            return []
        suffix = file.suffix.lower()
        if suffix not in DOCUMENT_SUFFIXES:
            text = self._text(raw, name, findings)
            return [] if text is None else [Part(text, markdown=suffix in MARKDOWN_SUFFIXES)]
        try:
            parts = self._memory.parts(suffix, raw)
            return [replace(part, text=findings.clean(part.text)) for part in parts]
        except UnusableFileError as error:
            findings.add("binary", name, str(error))
        except MissingExtraError as error:
            findings.add("left_out", name, f"pip install 'rader-plugins[documents]' reads it ({error})")
        return []

    def _text(self, raw: bytes, name: str, findings: Findings) -> str | None:
        """Return the text of a file; None, which is noted, if it holds none."""
        if self.encoding is None or not _is_in(self.encoding, raw):
            detected = detect_encoding(raw)
            if detected.name is None:
                findings.add("binary", name, detected.reason)
                return None
            if not detected.certain and detected.name != "utf-8":
                findings.add("guessed", name, detected.name)
            text, replaced = decode(raw, detected.name)
        else:
            text, replaced = decode(raw, self.encoding)
            controls = sum(character < " " and character not in "\t\n\r\f\v\x1a\x1b" for character in text)
            if "\x00" in text or controls > _MOST_CONTROLS * len(text):
                findings.add("binary", name, f"no text in {self.encoding}")
                return None
        findings.replaced += replaced
        cleaned: str = findings.clean(text)
        return cleaned

    def _rows(self, findings: Findings) -> Iterator[tuple[int, Document]]:
        [file] = self.files
        encoding = encoding_of_rows(file, self.encoding, findings)
        keys = _BEIR_ID_KEYS if self.kind == "beir" else _ID_KEYS
        yield from read_rows(file, encoding, keys, findings)


def _is_in(encoding: str, raw: bytes) -> bool:
    """Whether the encoding that a user names is meant for a file: the bytes do not say themselves what they are."""
    if encoding_of_mark(raw) or binary_kind(raw):
        return False
    if raw.isascii():  # that of 7-bit encodings too, which give something else than the letters of ASCII
        return has_byte_lines(encoding) or b"\x00" in raw
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return False


def open_source(
    path: str | os.PathLike[str],
    globs: Sequence[str] = (),
    chunking: Chunking | None = None,
    *,
    encoding: str | None = None,
    follow_links: bool = False,
) -> Source:
    """Find out what ``path`` is.

    Args:
        path: A folder with texts, a BEIR folder, a JSONL file or a single text file. ``~`` and environment variables
            are replaced.
        globs: Which files of a folder to read, in place of :data:`TEXT_SUFFIXES` and
            :data:`rader_plugins.ingestion.formats.DOCUMENT_SUFFIXES`.
        chunking: How to split documents.
        encoding: Of files that are not UTF-8 and bear no byte order mark; None guesses.
        follow_links: Also read linked folders, each once.

    Raises:
        InputError: It is none of these, or holds no such file.
    """
    path = expand_path(check_path(path, "path"))
    globs = [check_string(pattern, "a pattern of globs") for pattern in iterate(globs, "globs")]
    if chunking is not None and not isinstance(chunking, Chunking):
        raise InputError(f"chunking must be a Chunking, not {shown(chunking)}.")
    if encoding is not None:
        encoding = check_encoding(encoding)
    check_flag(follow_links, "follow_links")
    try:
        is_folder = path.is_dir()
    except OSError as error:
        raise InputError(f"{shown(str(path))} cannot be looked at: {error.strerror}.") from None
    if is_folder:
        if not globs and (path / "corpus.jsonl").is_file():
            return Source(path, "beir", (path / "corpus.jsonl",), chunking, encoding)
        matcher = glob_matcher(globs) if globs else lambda name: name.lower().endswith(_FOLDER_SUFFIXES)
        listing = list_folder(path, matcher, follow_links=follow_links)
        if not listing.files:
            raise _nothing_to_read(path, globs, listing)
        mounts = tuple(sorted(listing.mounts))
        return Source(path, "text", tuple(listing.files), chunking, encoding, mounts, listing.findings)
    if not path.exists():
        raise InputError(f"{path} does not exist.")
    if globs:
        raise InputError(f"--glob chooses files in a folder, but {path} is a file.")
    if not path.is_file():
        raise InputError(f"{path} is no ordinary file: it is read twice, so write it to a file first.")
    suffix = path.suffix.lower()
    if suffix in JSONL_SUFFIXES:
        return Source(path, "jsonl", (path,), chunking, encoding)
    if suffix in _FOLDER_SUFFIXES:
        return Source(path, "text", (path,), chunking, encoding)
    raise InputError(
        f"{path} has none of the known endings: {' '.join(TEXT_SUFFIXES)} (a text), {' '.join(DOCUMENT_SUFFIXES)} (a "
        f"document) or {' '.join(JSONL_SUFFIXES)} (one JSON object with 'text' per line)."
    )


def _nothing_to_read(path: Path, globs: Sequence[str], listing: Listing) -> InputError:
    patterns = " ".join(globs) or " ".join(f"*{suffix}" for suffix in _FOLDER_SUFFIXES)
    if unreadable := listing.findings.names.get("unreadable"):
        name, reason = next(iter(unreadable.items()))
        return InputError(f"{path} holds nothing that could be read: {name} ({reason}).")
    return InputError(
        f"{path} holds no files that match {patterns}, and no corpus.jsonl. Choose other files with --glob, "
        "or name a JSONL file itself."
    )
