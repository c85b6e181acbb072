"""What an index remembers of the files that it was built from, so that what is unchanged is not read again."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rader_plugins.documents import Document, document_digest
from rader_plugins.files import atomic_write, fingerprint, sha256_file
from rader_plugins.ingestion.file_reading import FileContent, FileReader
from rader_plugins.ingestion.findings import Findings
from rader_plugins.ingestion.stores import Location, StorePath, absolute

if TYPE_CHECKING:
    from rader_plugins.index import Index

__all__ = ["FileRecord", "FileState", "intact_records", "read_records", "reading_fingerprint", "write_records"]

_FILE = "files.jsonl"
_SCHEMA = "rader-files/1"
_SETTLED = 2.0  # seconds after which a file that is written once more has another time
_LIBRARIES = ("pypdf", "markitdown", "openpyxl", "semantic-text-splitter", "tree-sitter", "PyYAML")
_VERSION = 4
"""Of what this library itself makes of a file; another one has files read again."""


@dataclass(frozen=True)
class FileState:
    """By what a file is recognised.

    Args:
        size: Length of the file, in bytes.
        mtime_ns: When it was written; None if that was so shortly before it was read that it says nothing.
        ctime_ns: When the system last noted a change of it, its name and its times included, which no tool can put
            back; None as before. On Windows, when it was made, which says nothing.
        tag: What a store has of an object that is another one once its content is; None where there is none.
    """

    size: int
    mtime_ns: int | None
    ctime_ns: int | None = None
    tag: str | None = None

    @classmethod
    def of(cls, file: Location) -> FileState:
        """Return the state of a file.

        Raises:
            OSError: It is not there.
        """
        if isinstance(file, StorePath):  # as it was listed: what has changed since is another one next time
            return cls(-1 if file.size is None else file.size, None, None, file.tag)
        status, now = file.stat(), time.time()
        written = status.st_mtime_ns if abs(now - status.st_mtime) > _SETTLED else None
        return cls(status.st_size, written, status.st_ctime_ns if abs(now - status.st_ctime) > _SETTLED else None)

    def is_unchanged(self, before: FileState) -> bool:
        """Whether a file of this state is sure to hold what it held in the state of before."""
        times = self.mtime_ns, self.ctime_ns
        return self == before and (self.tag is not None or None not in times)


@dataclass(frozen=True)
class FileRecord:
    """What a file was when it was read, and what it gave.

    Args:
        state: Size and times, by which the file is recognised.
        sha256: SHA-256 of its content, in hexadecimal.
        ids: Ids of its documents.
        digest: Digest of its documents; see :func:`documents_digest`.
        findings: Kind -> name -> detail of what is wrong with it.
        replaced: Characters that became U+FFFD.
        name: What it was called in its source, which is in the ids; as part of another source it has another name.
    """

    state: FileState
    sha256: str
    ids: tuple[str, ...] = ()
    digest: str = ""
    findings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    replaced: int = 0
    name: str = ""

    @classmethod
    def of(cls, name: str, state: FileState, content: FileContent) -> FileRecord:
        """Return the record of a file that was just read."""
        ids = tuple(document.id for document in content.documents)
        digest = _digest({document.id: document_digest(document) for document in content.documents})
        findings = content.findings
        return cls(state, content.sha256, ids, digest, findings.to_dict(empty=False), findings.replaced, name)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> FileRecord:
        """Read what :func:`dataclasses.asdict` made of it."""
        values = dict(row)
        return cls(**{**values, "state": FileState(**values["state"]), "ids": tuple(values["ids"])})

    def is_of(self, file: Location, state: FileState, *, check_content: bool = False) -> bool:
        """Whether a file is what it was: the same size and times, or else the same content.

        Args:
            file: The file to compare.
            state: Size and times of the file now.
            check_content: Compare the content in any case.

        Raises:
            OSError: It cannot be read.
        """
        if state.size != self.state.size:
            return False
        return (state.is_unchanged(self.state) and not check_content) or _sha256(file) == self.sha256

    def as_findings(self) -> Findings:
        """Return what is wrong with the file."""
        return Findings({kind: dict(names) for kind, names in self.findings.items()}, self.replaced)  # type: ignore[misc]


def _sha256(file: Location) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest() if isinstance(file, StorePath) else sha256_file(file)


def reading_fingerprint(reader: FileReader) -> str:
    """Return a digest of everything that decides what a file gives: how it is read, and by which libraries."""
    versions: dict[str, str | None] = {}
    for library in _LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            versions[library] = None
    return fingerprint({"version": _VERSION, "reader": asdict(reader), "libraries": versions})


def read_records(folder: Path, reading: str) -> dict[str, FileRecord]:
    """Return absolute path -> record of the files of an index that were read in the same way.

    A file of records that is missing or damaged is as good as an empty one: all is read again.

    Args:
        folder: Folder of the index.
        reading: How files are read now, as :func:`reading_fingerprint` says it.
    """
    try:
        return {row["file"]: FileRecord.from_row(row["record"]) for row in _rows(folder) if row["reading"] == reading}
    except (ValueError, KeyError, TypeError):
        return {}


def _rows(folder: Path) -> list[dict[str, Any]]:
    try:
        header, *rows = map(json.loads, (folder / _FILE).read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):
        return []
    is_usable = header == {"schema": _SCHEMA} and all(isinstance(row.get("file"), str) for row in rows)
    return rows if is_usable else []


def write_records(folder: Path, reading: str, source: Location, records: Mapping[str, FileRecord]) -> None:
    """Store the records of a source, in place of those that the index had of it; those of others stay.

    Args:
        folder: Folder of the index.
        reading: How the files were read, as :func:`reading_fingerprint` says it.
        source: Folder or file that the records are of.
        records: Absolute path, or URL, -> record.
    """
    root = absolute(source)
    prefix = root.rstrip("/") + "/" if isinstance(source, StorePath) else root.rstrip(os.sep) + os.sep
    rows = [row for row in _rows(folder) if row["file"] != root and not row["file"].startswith(prefix)]
    rows += [{"file": file, "reading": reading, "record": asdict(record)} for file, record in records.items()]
    with atomic_write(folder / _FILE) as stream:
        for row in ({"schema": _SCHEMA}, *rows):
            stream.write(json.dumps(row).encode("ascii") + b"\n")


def intact_records(index: Index, records: Mapping[str, FileRecord]) -> dict[str, FileRecord]:
    """Return those records whose documents an index still holds as they were read."""
    owners = {id: file for file, record in records.items() for id in record.ids}
    digests: dict[str, dict[str, bytes]] = {file: {} for file in records}
    for document in _documents(index, owners):
        digests[owners[document.id]][document.id] = document_digest(document)
    return {file: record for file, record in records.items() if _digest(digests[file]) == record.digest}


def _documents(index: Index, ids: Mapping[str, Any]) -> Iterable[Document]:
    from rader_plugins.index import read_documents

    return (document for document in read_documents(index) if document.id in ids) if ids else ()


def _digest(documents: Mapping[str, bytes]) -> str:
    return hashlib.sha256(b"".join(documents[id] for id in sorted(documents))).hexdigest()
