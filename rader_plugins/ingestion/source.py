"""What a user names as documents: a folder of texts, a JSONL file, a BEIR folder, or a single text file."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rader_plugins.arguments import check_flag, check_path, check_string, expand_path, iterate, shown
from rader_plugins.documents import Document
from rader_plugins.errors import IncompleteSourceWarning, InputError
from rader_plugins.ingestion.chunking import Chunking
from rader_plugins.ingestion.code import CODE_SUFFIXES
from rader_plugins.ingestion.file_reading import FileReader
from rader_plugins.ingestion.findings import KINDS, Findings
from rader_plugins.ingestion.formats import DOCUMENT_SUFFIXES
from rader_plugins.ingestion.headings import MARKDOWN_SUFFIXES
from rader_plugins.ingestion.listing import Listing, glob_matcher, list_folder
from rader_plugins.ingestion.rows import encoding_of_rows, read_rows
from rader_plugins.ingestion.tables import TABLE_SUFFIXES, TableColumns
from rader_plugins.text_files import check_encoding

__all__ = ["JSONL_SUFFIXES", "TEXT_SUFFIXES", "Source", "open_source"]

TEXT_SUFFIXES = (".txt", *MARKDOWN_SUFFIXES, ".rst")
_FOLDER_SUFFIXES = (*TEXT_SUFFIXES, *DOCUMENT_SUFFIXES, *TABLE_SUFFIXES, *CODE_SUFFIXES)
JSONL_SUFFIXES = (".jsonl", ".ndjson")
_ID_KEYS = ("id", "_id", "doc_id")
_BEIR_ID_KEYS = ("_id", "id", "doc_id")


@dataclass(frozen=True)
class Source:
    """Documents that can be read more than once, so that all is checked before anything is encoded.

    Args:
        path: What the user named.
        kind: ``text`` (files, each a document), ``jsonl`` or ``beir`` (rows, each a document); ``parquet`` is read by
            workers of Ray alone.
        files: The files to read.
        chunking: How to split documents; None leaves them whole.
        encoding: Encoding of files that are not UTF-8 and bear no byte order mark; None guesses.
        mounts: Folders below ``path`` on which other file systems are mounted.
        listed: What lies there and is not read.
        columns: What the columns of CSV and TSV files are for; None reads such files as texts.
    """

    path: Path
    kind: Literal["text", "jsonl", "beir", "parquet"]
    files: tuple[Path, ...]
    chunking: Chunking | None = None
    encoding: str | None = None
    mounts: tuple[str, ...] = ()
    listed: Findings = field(default_factory=Findings, compare=False)
    columns: TableColumns | None = None

    def read(self, findings: Findings) -> Iterator[tuple[int, Document]]:
        """Yield documents (or their chunks), each with the number that :meth:`origin` takes.

        A file or row that cannot be read, holds no text or is empty is noted and left out, and so is a row with the
        id of an earlier one.

        Raises:
            InputError: The encoding of a JSONL file cannot be told.
        """
        findings.update(self.listed, KINDS)
        if self.kind == "text":
            for number, file in enumerate(self.files):
                content = self.reader.read(file, self.name_of(file))
                findings.take(content.findings)
                yield from ((number, document) for document in content.documents)
            return
        for number, document in self._rows(findings):
            yield from ((number, chunk) for chunk in self._chunks(document))

    def documents(self) -> Iterator[Document]:
        """Yield the documents (or their chunks) alone; an :class:`IncompleteSourceWarning` names what is left out."""
        findings = Findings()
        yield from (document for _, document in self.read(findings))
        self.warn(findings)

    def warn(self, findings: Findings) -> None:
        """Warn of files and rows that were left out, if any were: for whoever has no summary that names them."""
        if losses := findings.losses():
            message = f"Not all of {self.path} was read: {losses}. `rader index build` names all of them."
            warnings.warn(message, IncompleteSourceWarning, stacklevel=2)

    @property
    def reader(self) -> FileReader:
        """What reads the files of a folder."""
        return FileReader(self.chunking, self.encoding, self.columns)

    def name_of(self, file: Path) -> str:
        """Return what a file is called in ids: its path in the folder, with ``/``; may hold lone surrogates."""
        return file.relative_to(self.path if self.path.is_dir() else self.path.parent).as_posix()

    @property
    def id_keys(self) -> tuple[str, ...]:
        """Keys of a row that may name its document, the first of them that is there."""
        return _BEIR_ID_KEYS if self.kind == "beir" else _ID_KEYS

    def origin(self, number: int) -> str:
        """Say where a document came from."""
        return str(self.files[number]) if self.kind == "text" else f"{self.files[0]}, line {number}"

    def _chunks(self, document: Document) -> Iterator[Document]:
        if self.chunking is None:
            yield document
        else:
            yield from self.chunking.split(document, markdown=False)

    def _rows(self, findings: Findings) -> Iterator[tuple[int, Document]]:
        [file] = self.files
        encoding = encoding_of_rows(file, self.encoding, findings)
        yield from read_rows(file, encoding, self.id_keys, findings)


def open_source(
    path: str | os.PathLike[str],
    globs: Sequence[str] = (),
    chunking: Chunking | None = None,
    *,
    encoding: str | None = None,
    follow_links: bool = False,
    columns: TableColumns | None = None,
) -> Source:
    """Find out what ``path`` is.

    Args:
        path: A folder with texts, a BEIR folder, a JSONL file or a single text file. ``~`` and environment variables
            are replaced.
        globs: Which files of a folder to read, in place of texts, documents, tables and source code by their endings.
        chunking: How to split documents.
        encoding: Encoding of files that are not UTF-8 and bear no byte order mark; None guesses.
        follow_links: Also read linked folders, each once.
        columns: Read each row of CSV and TSV files as a document; None reads such files as texts.

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
    source = _opened(path, globs, chunking, encoding, follow_links=follow_links)
    if columns is None:
        return source
    if source.kind != "text" or not any(file.suffix.lower() in TABLE_SUFFIXES for file in source.files):
        raise InputError(f"{path} holds no CSV or TSV files, whose rows --rows would read. Leave it out.")
    return dataclasses.replace(source, columns=columns)


def _opened(
    path: Path, globs: Sequence[str], chunking: Chunking | None, encoding: str | None, *, follow_links: bool
) -> Source:
    try:
        is_folder = path.is_dir()
    except OSError as error:
        raise InputError(f"{shown(str(path))} cannot be looked at: {error.strerror}.") from None
    if is_folder:
        if not globs and (path / "corpus.jsonl").is_file():
            return Source(path, "beir", (path / "corpus.jsonl",), chunking, encoding, listed=_beside(path))
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
        f"document), {' '.join(TABLE_SUFFIXES)} (a table), {' '.join(CODE_SUFFIXES)} (source code) or "
        f"{' '.join(JSONL_SUFFIXES)} (one JSON object with 'text' per line)."
    )


def _beside(folder: Path) -> Findings:
    """Return the files of a BEIR folder that would be read if it were none."""
    findings = Findings()
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in _FOLDER_SUFFIXES and file.stem.lower() != "readme":
            findings.add("left_out", file.name, "corpus.jsonl alone is read, where there is one")
    return findings


def _nothing_to_read(path: Path, globs: Sequence[str], listing: Listing) -> InputError:
    patterns = " ".join(globs) or " ".join(f"*{suffix}" for suffix in _FOLDER_SUFFIXES)
    if unreadable := listing.findings.names.get("unreadable"):
        name, reason = next(iter(unreadable.items()))
        return InputError(f"{path} holds nothing that could be read: {name} ({reason}).")
    return InputError(
        f"{path} holds no files that match {patterns}, and no corpus.jsonl. Choose other files with --glob, "
        "or name a JSONL file itself."
    )
