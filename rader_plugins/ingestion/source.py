"""What a user names as documents: a folder of texts, a JSONL file, a BEIR folder, or a single text file."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from rader_plugins.arguments import check_flag, check_string, iterate, shown
from rader_plugins.documents import Document, document_digest
from rader_plugins.errors import IncompleteSourceWarning, InputError
from rader_plugins.ingestion.chunking import Chunking
from rader_plugins.ingestion.code import CODE_SUFFIXES
from rader_plugins.ingestion.file_reading import FileReader
from rader_plugins.ingestion.findings import KINDS, Findings
from rader_plugins.ingestion.formats import DOCUMENT_SUFFIXES
from rader_plugins.ingestion.headings import MARKDOWN_SUFFIXES
from rader_plugins.ingestion.listing import Listing, glob_matcher, list_folder
from rader_plugins.ingestion.parquet import PARQUET_SUFFIX, read_parquet
from rader_plugins.ingestion.rows import encoding_of_rows, read_rows
from rader_plugins.ingestion.store_listing import StoredFolder, list_store, single_object
from rader_plugins.ingestion.stores import Location, StorePath, read_location
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
        path: What the user named: a path, or the URL of a store.
        kind: ``text`` (files, each a document), ``jsonl``, ``beir`` or ``parquet`` (rows, each a document).
        files: The files to read.
        chunking: How to split documents; None leaves them whole.
        encoding: Encoding of files that are not UTF-8 and bear no byte order mark; None guesses.
        mounts: Folders below ``path`` on which other file systems are mounted.
        listed: What lies there and is not read.
        columns: What the columns of CSV and TSV files are for; None reads such files as texts.
    """

    path: Location
    kind: Literal["text", "jsonl", "beir", "parquet"]
    files: tuple[Location, ...]
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

    def name_of(self, file: Location) -> str:
        """Return what a file is called in ids: its path in the folder, with ``/``; may hold lone surrogates."""
        if isinstance(file, StorePath):
            return file.inner
        root = Path(str(self.path))
        return file.relative_to(root if root.is_dir() else root.parent).as_posix()

    @property
    def id_keys(self) -> tuple[str, ...]:
        """Keys of a row that may name its document, the first of them that is there."""
        return _BEIR_ID_KEYS if self.kind == "beir" else _ID_KEYS

    def origin(self, number: int) -> str:
        """Say where a document came from."""
        if self.kind == "text":
            return str(self.files[number])
        return f"{self.files[0]}, line {number}" if self.kind != "parquet" else f"{self.path}, row {number}"

    def _chunks(self, document: Document) -> Iterator[Document]:
        if self.chunking is None:
            yield document
        else:
            yield from self.chunking.split(document, markdown=False)

    def _rows(self, findings: Findings) -> Iterator[tuple[int, Document]]:
        if self.kind == "parquet":
            yield from enumerate(self._parquet_rows(findings), start=1)
            return
        [file] = self.files
        try:
            encoding = encoding_of_rows(file, self.encoding, findings)
        except OSError as error:
            if isinstance(file, StorePath):  # all of it was to be copied here
                raise InputError(f"{file} cannot be read: {error}.") from None
            raise
        yield from read_rows(file, encoding, self.id_keys, findings)

    def _parquet_rows(self, findings: Findings) -> Iterator[Document]:
        first: dict[str, tuple[str, int]] = {}  # id -> where it stands, and what tells documents of that id apart
        for file in self.files:
            name = self.name_of(file)
            for label, document in read_parquet(file, name, self.id_keys, findings):
                if not document.text.strip():
                    findings.add("empty", document.id)
                    continue
                row = f"{name}, {label}", hash(document_digest(document))
                if (earlier := first.setdefault(document.id, row)) is not row:
                    detail = "the same" if earlier[1] == row[1] else "with something else, which stays"
                    findings.add("repeated", row[0], f"the id {document.id!r} is that of {earlier[0]}, {detail}")
                    continue
                yield document


def open_source(
    path: str | os.PathLike[str] | StorePath,
    globs: Sequence[str] = (),
    chunking: Chunking | None = None,
    *,
    encoding: str | None = None,
    follow_links: bool = False,
    columns: TableColumns | None = None,
) -> Source:
    """Find out what ``path`` is.

    Args:
        path: A folder with texts, a BEIR folder, a JSONL or Parquet file, a folder of Parquet files or a single text
            file; or the URL of such in a store that fsspec knows (``s3://bucket/folder/``). ``~`` and environment
            variables of a path are replaced.
        globs: Which files of a folder to read, in place of texts, documents, tables and source code by their endings.
        chunking: How to split documents.
        encoding: Encoding of files that are not UTF-8 and bear no byte order mark; None guesses.
        follow_links: Also read linked folders, each once.
        columns: Read each row of CSV and TSV files as a document; None reads such files as texts.

    Raises:
        InputError: It is none of these, or holds no such file.
        SourceError: The store is not reached.
        MissingExtraError: A package that a store needs is not installed.
    """
    path = read_location(path)
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
    path: Location, globs: Sequence[str], chunking: Chunking | None, encoding: str | None, *, follow_links: bool
) -> Source:
    if isinstance(path, StorePath):
        if follow_links:
            raise InputError(f"--follow-links has no effect on {path}: a store has no linked folders. Leave it out.")
        if (file := single_object(path)) is None:
            return _of_store(path, list_store(path), globs, chunking, encoding)
        return _of_file(file, globs, chunking, encoding)
    try:
        is_folder = path.is_dir()
    except OSError as error:
        raise InputError(f"{shown(str(path))} cannot be looked at: {error.strerror}.") from None
    if is_folder:
        if not globs and (path / "corpus.jsonl").is_file():
            beside = _beside(file.name for file in path.iterdir())
            return Source(path, "beir", (path / "corpus.jsonl",), chunking, encoding, listed=beside)

        def choose(chosen: Callable[[str], bool]) -> Listing:
            return list_folder(path, chosen, follow_links=follow_links)

        return _of_folder(path, choose, globs, chunking, encoding, has_parquet=any(path.glob(f"*{PARQUET_SUFFIX}")))
    if not path.exists():
        raise InputError(f"{path} does not exist.")
    if not path.is_file() and not globs:
        raise InputError(f"{path} is no ordinary file: it is read twice, so write it to a file first.")
    return _of_file(path, globs, chunking, encoding)


def _of_store(
    path: StorePath, folder: StoredFolder, globs: Sequence[str], chunking: Chunking | None, encoding: str | None
) -> Source:
    if not globs and (rows := folder.objects.get("corpus.jsonl")):
        beside = _beside(name for name in folder.objects if "/" not in name)
        return Source(path, "beir", (rows.copied(),), chunking, encoding, listed=beside)
    has_parquet = any(map(_is_top_parquet, folder.objects))
    return _of_folder(path, folder.choose, globs, chunking, encoding, has_parquet=has_parquet)


def _of_folder(
    path: Location,
    choose: Callable[[Callable[[str], bool]], Listing],
    globs: Sequence[str],
    chunking: Chunking | None,
    encoding: str | None,
    *,
    has_parquet: bool,
) -> Source:
    if has_parquet and not globs:
        listing = choose(_is_top_parquet)
        if not any("/" not in name for name in listing.findings.names.get("left_out", {})):
            return _of_parquet(path, listing, chunking, encoding)
    matcher = glob_matcher(globs) if globs else lambda name: name.lower().endswith(_FOLDER_SUFFIXES)
    listing = choose(matcher)
    if not listing.files:
        raise _nothing_to_read(path, globs, listing)
    parquet = [file for file in listing.files if file.suffix == PARQUET_SUFFIX]
    if parquet and len(parquet) < len(listing.files):
        raise InputError(f"--glob chooses Parquet files and others in {path}: they are read one kind at a time.")
    if parquet:
        return _of_parquet(path, listing, chunking, encoding)
    mounts = tuple(sorted(listing.mounts))
    return Source(path, "text", tuple(listing.files), chunking, encoding, mounts, listing.findings)


def _of_parquet(path: Location, listing: Listing, chunking: Chunking | None, encoding: str | None) -> Source:
    if encoding is not None:
        raise InputError(f"--encoding has no effect on the Parquet files of {path}. Leave it out.")
    return Source(path, "parquet", tuple(listing.files), chunking, listed=listing.findings)


def _is_top_parquet(name: str) -> bool:
    return name.endswith(PARQUET_SUFFIX) and "/" not in name


def _of_file(path: Location, globs: Sequence[str], chunking: Chunking | None, encoding: str | None) -> Source:
    if globs:
        raise InputError(f"--glob chooses files in a folder, but {path} is a file.")
    suffix = path.suffix.lower()
    if suffix in JSONL_SUFFIXES:
        return Source(path, "jsonl", (path.copied() if isinstance(path, StorePath) else path,), chunking, encoding)
    if path.suffix == PARQUET_SUFFIX:
        return _of_parquet(path, Listing([path.copied() if isinstance(path, StorePath) else path]), chunking, encoding)
    if suffix in _FOLDER_SUFFIXES:
        return Source(path, "text", (path,), chunking, encoding)
    hint = " (a URL that ends in / is a folder)" if isinstance(path, StorePath) else ""
    raise InputError(
        f"{path} has none of the known endings{hint}: {' '.join(TEXT_SUFFIXES)} (a text), "
        f"{' '.join(DOCUMENT_SUFFIXES)} (a document), {' '.join(TABLE_SUFFIXES)} (a table), {' '.join(CODE_SUFFIXES)} "
        f"(source code), {' '.join(JSONL_SUFFIXES)} (one JSON object with 'text' per line) or {PARQUET_SUFFIX}."
    )


def _beside(names: Iterable[str]) -> Findings:
    """Return the files of a BEIR folder that would be read if it were none."""
    findings = Findings()
    for file in sorted(map(PurePosixPath, names)):
        if file.suffix.lower() in _FOLDER_SUFFIXES and file.stem.lower() != "readme":
            findings.add("left_out", file.name, "corpus.jsonl alone is read, where there is one")
    return findings


def _nothing_to_read(path: Location, globs: Sequence[str], listing: Listing) -> InputError:
    patterns = " ".join(globs) or " ".join(f"*{suffix}" for suffix in _FOLDER_SUFFIXES)
    if unreadable := listing.findings.names.get("unreadable"):
        name, reason = next(iter(unreadable.items()))
        return InputError(f"{path} holds nothing that could be read: {name} ({reason}).")
    return InputError(
        f"{path} holds no files that match {patterns}, and no corpus.jsonl. Choose other files with --glob, "
        "or name a JSONL file itself."
    )
