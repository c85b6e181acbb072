"""Shares of a source: what one task reads. Nothing of the source is read to make them, but sizes of files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rader_plugins.documents import Document
from rader_plugins.errors import InputError, import_extra
from rader_plugins.ingestion.chunking import Chunking
from rader_plugins.ingestion.findings import Findings
from rader_plugins.ingestion.rows import parse_row, row_fault
from rader_plugins.ingestion.source import Source, open_source

__all__ = ["Share", "open_shared_source", "shares_of"]

_FILES = 16  # of a folder
_BYTES = 4 << 20  # of a JSONL file
_EACH = 4  # shares for each worker, if they are not larger than that
_PARQUET = ".parquet"
_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Share:
    """A part of a source that is read at once.

    Attributes:
        source: The source, with the files of this share alone.
        start, end: Bytes of a JSONL file: the rows that begin there. Row groups of a Parquet file. Unused for files of
            a folder.
    """

    source: Source
    start: int = 0
    end: int = 0

    def documents(self, findings: Findings) -> Iterator[Document]:
        """Yield the documents, or their chunks.

        A row that is unusable or has no id is noted and left out.

        Raises:
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
        with file.open("rb") as stream:
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
                yield from self._row(text, findings, f"byte {position:,}")

    def _groups(self, findings: Findings) -> Iterator[Document]:
        [file] = self.source.files
        parquet = import_extra("pyarrow.parquet", "ray").ParquetFile(file)
        for group in range(self.start, self.end):
            for number, row in enumerate(parquet.read_row_group(group).to_pylist(), start=1):
                values = {name: value for name, value in row.items() if value is not None}
                yield from self._row(values, findings, f"row {number:,} of group {group:,}")

    def _row(self, row: str | dict[str, Any], findings: Findings, position: str) -> Iterator[Document]:
        """Yield the document of a row, or note what is wrong with it."""
        of_row = Findings()
        try:
            text = row if isinstance(row, str) else json.dumps(row, allow_nan=False)
            document = parse_row(text, self.source.id_keys, None, of_row)
        except (ValueError, TypeError, RecursionError) as error:
            findings.add("faulty", f"{self.source.name_of(self.source.files[0])}, {position}", row_fault(error))
            return
        findings.take(of_row)
        yield document


def open_shared_source(path: Path, globs: Sequence[str], chunking: Chunking | None, **options: Any) -> Source:
    """Find out what ``path`` is, as :func:`~rader_plugins.ingestion.open_source` does; also Parquet files.

    Raises:
        InputError: It is none of what can be read.
    """
    is_folder = path.is_dir()
    files = sorted(path.glob(f"*{_PARQUET}")) if is_folder and not globs else [path] if path.suffix == _PARQUET else []
    if not files or not files[0].is_file():
        source = open_source(path, globs, chunking, **options)
        chosen = [file for file in source.files if file.suffix == _PARQUET]
        if not chosen:
            return source
        if len(chosen) < len(source.files):
            raise InputError(f"--glob chooses Parquet files and others in {path}: they are read one kind at a time.")
        return replace(source, kind="parquet")
    if not is_folder and globs:
        raise InputError(f"--glob chooses files in a folder, but {path} is a file.")
    if options.get("columns") is not None:
        raise InputError(f"{path} holds no CSV or TSV files, whose rows --rows would read. Leave it out.")
    if is_folder and (others := sorted(file.name for file in path.iterdir() if file not in files and file.is_file())):
        raise InputError(f"{path} holds Parquet files and others ({', '.join(others[:3])}): choose some with --glob.")
    return Source(path, "parquet", tuple(files), chunking)


def shares_of(source: Source, workers: int = 1) -> list[Share]:
    """Cut a source into shares: some for each worker, also of a small source."""
    least = workers * _EACH
    if source.kind == "text":
        files = source.files
        step = max(1, min(_FILES, len(files) // least))
        return [Share(replace(source, files=files[n : n + step])) for n in range(0, len(files), step)]
    if source.kind == "parquet":
        library = import_extra("pyarrow.parquet", "ray")
        groups = {file: library.ParquetFile(file).metadata.num_row_groups for file in source.files}
        return [
            Share(replace(source, files=(file,)), group, group + 1)
            for file, count in groups.items()
            for group in range(count)
        ]
    [file] = source.files
    size = os.stat(file).st_size  # noqa: PTH116 - of the file, also behind a link
    step = max(1, min(_BYTES, size // least))
    return [Share(source, start, min(start + step, size)) for start in range(0, size, step)]
