"""Shares of a source: what one task reads. Nothing of the source is read to make them, but sizes of files."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import IO, Any

from rader_plugins.documents import Document
from rader_plugins.errors import InputError
from rader_plugins.ingestion.chunking import Chunking
from rader_plugins.ingestion.findings import Findings
from rader_plugins.ingestion.parquet import PARQUET_SUFFIX, group_count, noting_faults, read_parquet
from rader_plugins.ingestion.rows import parse_row, row_fault
from rader_plugins.ingestion.source import Source, open_source
from rader_plugins.ingestion.store_urls import WEB
from rader_plugins.ingestion.stores import Location, StorePath

__all__ = ["Share", "check_names", "open_shared_source", "origin_of", "shares_of", "shares_of_all"]

_FILES = 16  # of a folder
_BYTES = 4 << 20  # of a JSONL file
_EACH = 4  # shares for each worker, if they are not larger than that
_ALL = sys.maxsize
_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Share:
    """A part of a source that is read at once.

    Attributes:
        source: The source, with the files of this share alone.
        start, end: Bytes of a JSONL file: the rows that begin there. Row groups of a Parquet file. Unused for files of
            a folder.
        origin: What stands before names of files in findings, where several sources are read.
    """

    source: Source
    start: int = 0
    end: int = 0
    origin: str = ""

    def documents(self, findings: Findings) -> Iterator[Document]:
        """Yield the documents, or their chunks.

        A row that is unusable or has no id is noted and left out; so is what of a file cannot be read.

        Raises:
            SourceError: The store that it is in is not reached.
            InputError: A row is not UTF-8; the message names the file and where.
        """
        if self.source.kind == "text":
            yield from (document for _, document in self.source.read(findings))
            return
        rows = self._groups(findings) if self.source.kind == "parquet" else self._lines(findings)
        for document in rows:
            if not document.text.strip():
                findings.add("empty", document.id)
            elif self.source.chunking is None:
                yield document
            else:
                yield from self.source.chunking.split(document, markdown=False)

    def _lines(self, findings: Findings) -> Iterator[Document]:
        [file] = self.source.files
        with noting_faults(file, self.source.name_of(file), findings):
            _check_unchanged(file)
            with file.open("rb") as stream:
                yield from self._lines_of(stream, findings)

    def _lines_of(self, stream: IO[bytes], findings: Findings) -> Iterator[Document]:
        [file] = self.source.files
        if self.start:
            stream.seek(self.start - 1)
            stream.readline()  # the rest of a row that begins in the share before
        while (position := stream.tell()) < self.end and (line := stream.readline()):
            if not line.strip():
                continue
            try:
                text = line.removeprefix(_MARK if position == 0 else b"").decode("utf-8")
            except UnicodeDecodeError:
                raise InputError(
                    f"{file}, byte {position:,}: it is not UTF-8, and --ray reads no other rows."
                ) from None
            label, of_row = f"{self.source.name_of(file)}, byte {position:,}", Findings()
            try:
                document = parse_row(text, self.source.id_keys, None, of_row)
            except (ValueError, TypeError, RecursionError) as error:
                findings.add("faulty", label, row_fault(error))
                continue
            findings.take(of_row)
            yield document

    def _groups(self, findings: Findings) -> Iterator[Document]:
        [file] = self.source.files
        name = self.source.name_of(file)
        with noting_faults(file, name, findings):
            _check_unchanged(file)
            rows = read_parquet(file, name, self.source.id_keys, findings, range(self.start, self.end))
            yield from (document for _, document in rows)


def _check_unchanged(file: Location) -> None:
    """Refuse an object that is another one than when shares of it were made.

    Raises:
        OSError: It is, or it is gone.
    """
    if isinstance(file, StorePath) and file.store.protocol not in WEB and file.with_state() != file:
        raise OSError("it has changed since it was listed: run the command again")


def open_shared_source(
    path: str | os.PathLike[str] | StorePath, globs: Sequence[str], chunking: Chunking | None, **options: Any
) -> Source:
    """Find out what ``path`` is, as :func:`~rader_plugins.ingestion.open_source` does.

    Raises:
        InputError: It is none of what can be read, or holds Parquet files and others.
    """
    source = open_source(path, globs, chunking, **options)
    names = source.listed.names.get("left_out", {})
    if source.kind == "text" and not globs and any(name.endswith(PARQUET_SUFFIX) and "/" not in name for name in names):
        examples = ", ".join(source.name_of(file) for file in source.files[:3])
        raise InputError(f"{source.path} holds Parquet files and others ({examples}): choose some with --glob.")
    return source


def check_names(sources: Sequence[Source]) -> None:
    """Refuse sources whose files would have the same ids, as far as that is known before they are read.

    Raises:
        InputError: An id stands in two of them; both are named.
    """
    first: dict[str, Location] = {}
    for source in sources:
        for file in source.files if source.kind == "text" and source.columns is None else ():
            name = source.name_of(file)
            if (other := first.setdefault(name, file)) is not file:
                raise InputError(
                    f"The id {name!r} stands twice: {other} and {file}. Nothing was encoded: name a folder that holds "
                    "both, or build two indexes."
                )


def shares_of_all(sources: Sequence[Source], workers: int = 1) -> list[Share]:
    """Cut sources into shares; in findings the files of several have the name of their source before their own."""
    if len(sources) == 1:
        return shares_of(sources[0], workers)
    return [replace(share, origin=origin_of(source)) for source in sources for share in shares_of(source, workers)]


def origin_of(source: Source) -> str:
    """Return what stands before the name of a file of a source, where several are read: the way to it."""
    path = str(source.path)
    is_file = [str(file) for file in source.files] == [path]
    return f"{path.rpartition('/')[0] if is_file else path.rstrip('/')}/"


def shares_of(source: Source, workers: int = 1) -> list[Share]:
    """Cut a source into shares: some for each worker, also of a small source."""
    share_count = workers * _EACH
    # What lies beside the files is known already: no share need repeat it.
    source = replace(source, listed=Findings())
    if source.kind == "text":
        files = source.files
        step = max(1, min(_FILES, len(files) // share_count))
        return [Share(replace(source, files=files[n : n + step])) for n in range(0, len(files), step)]
    return [share for file in source.files for share in _shares_of_rows(replace(source, files=(file,)), share_count)]


def _shares_of_rows(source: Source, share_count: int) -> list[Share]:
    [file] = source.files
    if isinstance(file, StorePath):
        file = replace(file, copy=None)
        source = replace(source, files=(file,))
        if file.store.protocol in WEB:  # not every server gives parts of a file
            return [Share(source, 0, _ALL)]
        with contextlib.suppress(OSError):  # which its reader will say
            file = file.with_state()
        source = replace(source, files=(file,))
    if source.kind == "parquet":
        count = group_count(file)
        return [Share(source, group, group + 1) for group in range(count)] if count else [Share(source, 0, _ALL)]
    size = file.size if isinstance(file, StorePath) else file.stat().st_size
    if size is None:
        return [Share(source, 0, _ALL)]
    step = max(1, min(_BYTES, size // share_count))
    return [Share(source, start, min(start + step, size)) for start in range(0, size, step)]
