"""Many files are read: in this process, or in others where a reader may hang, eat all memory, or have company."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Generic, TypeVar, cast

from rader_plugins.background import Workers
from rader_plugins.documents import Document
from rader_plugins.ingestion.file_reading import FileContent, FileReader
from rader_plugins.ingestion.findings import Findings, printable
from rader_plugins.ingestion.formats import DOCUMENT_SUFFIXES
from rader_plugins.ingestion.stores import LocalCopy, Location

__all__ = ["ReadingLimits", "ReaderProcesses"]

T = TypeVar("T")
_AHEAD = 8  # files per process that are begun before the first of them is asked for


@dataclass(frozen=True)
class ReadingLimits:
    """What reading one file may take.

    Args:
        seconds: After which its reader is ended.
        memory: Bytes that its reader may have, on systems that can limit that (Linux).
    """

    seconds: float = 300.0
    memory: int = 4 << 30


class ReaderProcesses(Generic[T]):
    """Reads files, and gives what they hold in the order in which they were named.

    Documents of applications are read in processes of their own; all files are if there is more than one process.

    Args:
        reader: How files are read.
        jobs: How many processes read at once.
        limits: What one file may take.
    """

    def __init__(self, reader: FileReader, jobs: int, limits: ReadingLimits) -> None:
        self._reader = reader
        self._jobs = jobs
        self._limits = limits
        self._idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        self._processes: list[_Process] = []
        self._threads = Workers(jobs, "rader-reading")
        self._closed = False

    def __enter__(self) -> ReaderProcesses[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closed = True
        for process in list(self._processes):
            process.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for process in self._processes:
            process.end()

    def read(self, tasks: Iterable[tuple[T, Location | None, str]]) -> Iterator[tuple[T, FileContent | None]]:
        """Yield each task's key with what its file holds; None for a task without a file, which keeps its turn.

        Args:
            tasks: Key, file and name of the file; they are looked at as reading goes on.
        """
        pending: collections.deque[tuple[T, Future[FileContent] | FileContent | None]] = collections.deque()
        for key, file, name in tasks:
            pending.append((key, None if file is None else self._begin(file, name)))
            while len(pending) > _AHEAD * self._jobs or (pending and _is_done(pending[0][1])):
                yield _finished(*pending.popleft())
        while pending:
            yield _finished(*pending.popleft())

    def _begin(self, file: Location, name: str) -> Future[FileContent] | FileContent:
        if self._jobs == 1 and file.suffix.lower() not in DOCUMENT_SUFFIXES:
            return self._reader.read(file, name)
        return self._threads.submit(self._read_apart, file, name)

    def _read_apart(self, location: Location, name: str) -> FileContent:
        if isinstance(location, Path):
            return self._read_file(location, name)
        copy = LocalCopy()  # the other process has no need of the store
        try:
            file = copy.path(location)
        except OSError as error:
            return FileContent([], Findings({"unreadable": {printable(name): str(error)}}), "")
        return self._read_file(file, name)

    def _read_file(self, file: Path, name: str) -> FileContent:
        try:
            process = self._idle.get_nowait()
        except queue.Empty:
            process = _Process(self._reader, self._limits)
            self._processes.append(process)
            if self._closed:  # while it was started
                process.kill()
        content = process.read(file, name)
        if isinstance(content, FileContent):
            self._idle.put(process)
            return content
        process.end()
        self._processes.remove(process)
        return _without_text(name, content)


def _is_done(content: Future[FileContent] | FileContent | None) -> bool:
    return not isinstance(content, Future) or content.done()


def _finished(key: T, content: Future[FileContent] | FileContent | None) -> tuple[T, FileContent | None]:
    return key, content.result() if isinstance(content, Future) else content


def _without_text(name: str, reason: str) -> FileContent:
    return FileContent([], Findings({"binary": {printable(name): reason}}), "")


class _Process:
    """A process of :mod:`rader_plugins.ingestion.worker`."""

    def __init__(self, reader: FileReader, limits: ReadingLimits) -> None:
        self._limits = limits
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in end()
        start = f"import sys; sys.path[:] = {sys.path!r}; from rader_plugins.ingestion.worker import main; main()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", start],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="ascii",
            # Each thread of a pool takes memory for itself, of which the limit would be used up on many cores.
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        # Both are pipes.
        self._requests = cast("IO[str]", self._process.stdin)
        self._answers = cast("IO[str]", self._process.stdout)
        self._is_late = False
        with contextlib.suppress(BrokenPipeError):  # the first file hears why
            self._send({"reader": asdict(reader), "seconds": limits.seconds, "memory": limits.memory})

    def _send(self, row: dict[str, Any]) -> None:
        self._requests.write(json.dumps(row) + "\n")
        self._requests.flush()

    def _stop_late(self) -> None:
        self._is_late = True
        self._process.kill()

    def read(self, file: Path, name: str) -> FileContent | str:
        """Return what a file holds; why there is nothing, if that ended the process."""
        timer = threading.Timer(self._limits.seconds, self._stop_late)
        timer.daemon = True
        timer.start()
        try:
            self._send({"path": str(file), "name": name})
            line = self._answers.readline()
            row = json.loads(line) if line.endswith("\n") else None
        except (BrokenPipeError, ValueError):  # it ended
            row = None
        finally:
            timer.cancel()
        if row is None:
            return self._reason()
        documents = [Document(*values) for values in row["documents"]]
        return FileContent(documents, Findings(row["findings"], row["replaced"]), row["sha256"])

    def _reason(self) -> str:
        code = self._process.wait()
        if self._is_late:
            return f"reading it took longer than {self._limits.seconds:,g} seconds"
        self._errors.seek(0)
        lines = self._errors.read()[-2000:].decode("utf-8", "replace").strip().splitlines()
        return f"its reader ended with code {code}" + (f": {lines[-1][:160]}" if lines else "")

    def kill(self) -> None:
        """End the process, which may be read from."""
        self._process.kill()

    def end(self) -> None:
        """End the process, which nobody reads from any more."""
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):  # of what was not written any more
            self._requests.close()
        self._answers.close()
        self._errors.close()
