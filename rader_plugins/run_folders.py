"""The folder of a run: it refuses another run and another process, and a run that was killed goes on in it.

Evaluations, syntheses and trainings keep themselves in such folders. :class:`RunFolder` holds what the run is, a
:class:`Journal` what it has finished.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import filelock

from rader_plugins.errors import InputError
from rader_plugins.files import as_utf8, differences, naming, sync_folder, write_json

__all__ = ["Journal", "RunFolder"]

_LOCK = "run.lock"
_BLOCK = 1 << 16
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class Journal:
    """Rows of JSON, one a line, that are only ever appended.

    A row is handed to the operating system as it comes, which keeps it when this process is killed. A last line that a
    kill cut off is dropped when the journal is opened, one that a full disk cut off at once. Threads may share it.

    Args:
        path: The file; made when it is opened.
        sync_every: Seconds between two waits for the disk. 0 waits after every row, which then survives a power cut,
            too; where rows come faster than a disk turns, that would take longer than the work.
        header: The first line belongs to the folder (its settings) and is no row.

    Example:
        >>> with Journal(Path(folder) / "finished.jsonl").opened() as journal:  # doctest: +SKIP
        ...     done = {row["id"] for _, row in journal.rows()}
        ...     journal.append({"id": "problem-7"})
    """

    def __init__(self, path: str | os.PathLike[str], *, sync_every: float = 0.0, header: bool = False) -> None:
        self.path = Path(path)
        self._sync_every = sync_every
        self._header = header
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._end = 0
        self._synced = 0.0

    @contextlib.contextmanager
    def opened(self) -> Iterator[Journal]:
        """Drop a line that was cut off, then take :meth:`append` calls until the block ends."""
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            self._end = _complete(self.path)
            os.ftruncate(self._descriptor, self._end)
            sync_folder(self.path.parent)
            self._synced = time.monotonic()
            yield self
            os.fsync(self._descriptor)
        finally:
            with self._lock:
                os.close(self._descriptor)
                self._descriptor = None

    def append(self, row: Mapping[str, Any]) -> int:
        """Write a row; when this returns it survives a kill. Returns the byte at which it begins.

        Raises:
            InputError: The journal is not open.
            OSError: The disk is full, or worse. What was appended before is intact.
        """
        line = as_utf8(_encode(row)) + b"\n"
        with self._lock:
            if self._descriptor is None:
                raise InputError(f"{self.path} is not open: rows are written within `with journal.opened():`.")
            start = self._end
            os.lseek(self._descriptor, start, os.SEEK_SET)
            try:
                with naming(self.path):
                    offset = 0
                    while offset < len(line):
                        offset += os.write(self._descriptor, line[offset:])
            except BaseException:
                os.ftruncate(self._descriptor, start)
                raise
            self._end = start + len(line)
            if time.monotonic() - self._synced >= self._sync_every:
                os.fsync(self._descriptor)
                self._synced = time.monotonic()
        return start

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield every complete row with the byte at which it begins.

        Raises:
            InputError: A line in the midst is damaged.
        """
        if not self.path.exists():
            return
        start = 0
        with self.path.open("rb") as stream:
            for number, line in enumerate(stream):
                if not line.endswith(b"\n"):
                    return
                if number or not self._header:
                    yield start, self._parsed(line, start)
                start += len(line)

    def row_at(self, start: int) -> dict[str, Any]:
        """Return the row that begins at a byte."""
        with self.path.open("rb") as stream:
            stream.seek(start)
            return self._parsed(stream.readline(), start)

    def _parsed(self, line: bytes, start: int) -> dict[str, Any]:
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise InputError(
                f"{self.path} is damaged at byte {start}. Delete that line, and what it held is done again; or choose "
                "another folder."
            )
        return row


class RunFolder:
    """A folder that holds one run.

    Args:
        path: The folder; made when it is opened.
        settings: What decides the result, a JSON object: a folder with other settings is refused.
        noun: What messages call the run: "evaluation", "training run".
        settings_file: Where the settings stand: a JSON file, or a journal (``.jsonl``), whose first line they are.
        settings_key: Under which key they stand there; None: they are the object.
        about: What else the settings' file tells beside them (where a server is); not compared.
        absent: What a key stands for that the folder does not have, for settings that came with a later version.
        uncompared: Keys of the settings that may differ, such as versions of libraries.
        neighbours: Patterns of the files that may lie in the folder before its first run; None lets any lie there.

    Example:
        >>> folder = RunFolder("runs/hybrid", {"model": "mini"}, noun="evaluation")
        >>> with folder.opened(), folder.journal("progress.jsonl").opened() as journal:  # doctest: +SKIP
        ...     rows = [row for _, row in journal.rows()]
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        settings: Mapping[str, Any],
        *,
        noun: str = "run",
        settings_file: str = "config.json",
        settings_key: str | None = "settings",
        about: Mapping[str, Any] | None = None,
        absent: Mapping[str, Any] | None = None,
        uncompared: Sequence[str] = (),
        neighbours: Sequence[str] | None = None,
    ) -> None:
        self.path = Path(path)
        self.settings = dict(settings)
        self.resumed = False
        """Whether the folder held this run already when it was opened."""
        self._noun = noun
        self._file = settings_file
        self._key = settings_key
        self._about = dict(about or {})
        self._absent = dict(absent or {})
        self._uncompared = frozenset(uncompared)
        self._neighbours = neighbours

    def check(self, *, resume: bool = True) -> None:
        """Find out, before anything long is loaded, whether the run may use the folder. Writes nothing.

        Args:
            resume: Whether a run that is there goes on.

        Raises:
            InputError: The path is a file; the folder holds another run, files that are none, or a run although
                ``resume`` is off.
        """
        self.refuse_strangers()
        before = self._stored()
        self.resumed = before is not None
        if before is None:
            return
        if not resume:
            raise InputError(
                f"{self.path} holds an earlier {self._noun}. Go on with it (resume=True, or --resume), or choose "
                "another folder."
            )
        if different := differences(self._compared(_filled(before, self._absent)), self._compared(self.settings)):
            raise InputError(
                f"{self.path} holds another {self._noun}: it differs in {', '.join(different)}. Choose another folder "
                "for this one."
            )

    @contextlib.contextmanager
    def opened(self, *, resume: bool = True) -> Iterator[RunFolder]:
        """Keep others out until the block ends, check the folder and write the settings into it.

        Args:
            resume: Whether a run that is there goes on.

        Raises:
            InputError: As :meth:`check`, or another process is running in the folder.
        """
        self.refuse_strangers()  # before a lock is put there
        self.path.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.path / _LOCK, timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise InputError(
                f"Another process is writing the {self._noun} in {self.path}. Choose another folder."
            ) from None
        try:
            self.check(resume=resume)  # again: between the check and the lock another may have begun
            self._store()
            yield self
        finally:
            lock.release()

    def journal(self, name: str, *, sync_every: float = 0.0) -> Journal:
        """Return a journal in this folder."""
        return Journal(self.path / name, sync_every=sync_every, header=name == self._file)

    @property
    def _in_journal(self) -> bool:
        return self._file.endswith(".jsonl")

    def _compared(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in settings.items() if key not in self._uncompared}

    def _stored(self) -> dict[str, Any] | None:
        """Return the settings of the run that is there; None where there is none."""
        path = self.path / self._file
        if not path.is_file():
            return None
        with path.open("rb") as stream:
            text = stream.readline() if self._in_journal else stream.read()
        if self._in_journal and not text.endswith(b"\n"):
            return None  # killed while it wrote its first line
        try:
            content = json.loads(text)
            settings = content if self._key is None else content[self._key]
        except (ValueError, KeyError, TypeError):
            settings = None
        if not isinstance(settings, dict):
            raise InputError(f"{path} is damaged. Delete it, or choose another folder.")
        return settings

    def _store(self) -> None:
        content = {**self._about, **(self.settings if self._key is None else {self._key: self.settings})}
        if not self._in_journal:
            write_json(self.path / self._file, content)
        elif not self.resumed:
            with Journal(self.path / self._file).opened() as journal:
                journal.append(content)

    def refuse_strangers(self) -> None:
        """Refuse a path that is a file, and a folder that holds something else than such a run.

        Raises:
            InputError: It is one of these.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file; name a folder for the {self._noun}.")
        if self._neighbours is None or not self.path.is_dir() or (self.path / self._file).is_file():
            return
        allowed = (*self._neighbours, _LOCK, f".{self._file}*")
        names = (file.name for file in self.path.iterdir())
        strangers = sorted(name for name in names if not any(fnmatch(name, pattern) for pattern in allowed))
        if strangers:
            raise InputError(
                f"{self.path} holds no {self._noun}, and other files ({', '.join(strangers[:3])}): choose a new folder."
            )


def _complete(path: Path) -> int:
    """Return how many bytes the complete lines of a file take."""
    with path.open("rb") as stream:
        end = stream.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - _BLOCK)
            stream.seek(start)
            newline = stream.read(end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0


def _filled(stored: Mapping[str, Any], absent: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored settings with the values of keys that they do not have, at any depth."""
    filled = dict(stored)
    for key, value in absent.items():
        if key not in filled:
            filled[key] = value
        elif isinstance(value, Mapping) and isinstance(filled[key], Mapping):
            filled[key] = _filled(filled[key], value)
    return filled
