"""Where the documents of files wait until they are encoded: on disk, so that memory does not grow with their number.

A spool beside an index outlives its process: a reading that was killed goes on behind the last file that it finished.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO

import filelock

from rader_plugins.documents import Document
from rader_plugins.files import naming
from rader_plugins.ingestion.file_reading import FileContent
from rader_plugins.ingestion.file_records import FileRecord

__all__ = ["SPOOL_NAMES", "Spool"]

_FILE = ".reading.jsonl"
_LOCK = ".reading.lock"
SPOOL_NAMES = (_FILE, _LOCK)
"""Files beside an index that a reading leaves when it is killed."""


class Spool:
    """A file of what files gave, one a line.

    Args:
        folder: Folder that keeps the file for the next process, made if there is none yet; None, or another process
            that reads for the same index, lets it vanish with this object.
        reading: The :func:`rader_plugins.ingestion.file_records.reading_fingerprint`: what was left by a reading of
            another kind is dropped.

    Attributes:
        records: File -> record of those that were read already.
    """

    def __init__(self, folder: Path | None, reading: str) -> None:
        self._folder = folder
        self._made_folder = False
        self._lock: filelock.FileLock | None = None
        self.records: dict[str, FileRecord] = {}
        self._offsets: dict[str, int] = {}
        self._stream: IO[bytes] = self._open(reading)

    def add(self, file: str, record: FileRecord, content: FileContent) -> None:
        """Store what a file gave."""
        rows = [[document.id, document.text, dict(document.metadata)] for document in content.documents]
        self._stream.seek(0, 2)
        self.records[file], self._offsets[file] = record, self._stream.tell()
        line = json.dumps({"file": file, "record": asdict(record), "documents": rows}).encode("ascii")
        with naming(self._place):
            self._stream.write(line + b"\n")
            self._stream.flush()

    @property
    def _place(self) -> Path:
        """Where it is, for messages."""
        if self._lock is None or self._folder is None:
            return Path(tempfile.gettempdir())
        return self._folder / _FILE

    def documents(self, file: str) -> Iterator[Document]:
        """Yield the documents that a file gave."""
        self._stream.seek(self._offsets[file])
        for id, text, metadata in json.loads(self._stream.readline())["documents"]:
            yield Document(id, text, metadata)

    def discard(self) -> None:
        """Remove it, with a folder that was made for it alone."""
        with naming(self._place):  # of a full disk, which refuses again what was not written
            self._stream.close()
        if self._lock is None or self._folder is None:
            return
        (self._folder / _FILE).unlink(missing_ok=True)
        self._lock.release()
        (self._folder / _LOCK).unlink(missing_ok=True)
        if self._made_folder:
            with contextlib.suppress(OSError):  # there is an index in it now
                self._folder.rmdir()

    def _open(self, reading: str) -> IO[bytes]:
        if self._folder is None:
            return tempfile.TemporaryFile(prefix="rader-reading-")
        self._made_folder = not self._folder.exists()
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self._folder / _LOCK)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            return tempfile.TemporaryFile(prefix="rader-reading-")
        self._lock = lock
        path = self._folder / _FILE
        path.touch()
        stream = path.open("r+b")
        header = json.dumps({"reading": reading}).encode("ascii") + b"\n"
        if stream.readline() != header:
            stream.seek(0)
            stream.truncate()
            stream.write(header)
            return stream
        end = stream.tell()
        for offset, file, record in _rows(stream):
            self.records[file], self._offsets[file] = record, offset
            end = stream.tell()
        stream.truncate(end)  # a line that was cut short, or is damaged
        return stream


def _rows(stream: IO[bytes]) -> Iterator[tuple[int, str, FileRecord]]:
    while True:
        offset = stream.tell()
        line = stream.readline()
        if not line.endswith(b"\n"):
            return
        try:
            row = json.loads(line)
            file, record = row["file"], FileRecord.from_row(row["record"])
        except (ValueError, KeyError, TypeError):
            return
        yield offset, file, record
