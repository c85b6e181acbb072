"""Finished queries of an evaluation on disk, so that one that was killed goes on where it stopped."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import filelock

from rader_plugins.errors import InputError
from rader_plugins.files import differences

__all__ = ["Progress"]

_FILE = "progress.jsonl"
_SYNC_EVERY = 10.0
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class Progress:
    """Keeps one JSON line per finished call: a header with the manifest first, then results.

    Lines are only ever appended. Each is handed to the operating system as it comes, which keeps it when this process
    is killed; what it has not put on the disk yet is gone after a power cut, so it is told to every ten seconds. (To
    wait for the disk after every line would take longer than many a search.) A last line that was cut off is dropped.

    Args:
        folder: Where it lies; None keeps nothing.
        manifest: What makes the results; a file with another manifest is refused.
    """

    def __init__(self, folder: Path | None, manifest: Mapping[str, Any]) -> None:
        self._path = folder / _FILE if folder else None
        self._manifest = dict(manifest)
        self._stream: IO[bytes] | None = None
        self._synced = 0.0
        self.rows: list[dict[str, Any]] = []

    @contextlib.contextmanager
    def opened(self) -> Iterator[Progress]:
        """Read what is there, then take :meth:`add` calls until the block ends.

        Raises:
            InputError: The folder belongs to another evaluation, or another process is writing to it.
        """
        if self._path is None:
            yield self
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self._path.with_suffix(".lock"), timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise InputError(
                f"Another process is evaluating into {self._path.parent}. Choose another folder."
            ) from None
        try:
            whole = self._read()
            with self._path.open("r+b" if self._path.exists() else "wb") as stream:
                stream.truncate(whole)
                stream.seek(whole)
                self._stream = stream
                self._synced = time.monotonic()
                if not whole:
                    self._write({"manifest": self._manifest})
                yield self
                os.fsync(stream.fileno())
        finally:
            self._stream = None
            lock.release()

    def add(self, row: dict[str, Any]) -> None:
        """Keep one finished call. It survives a kill of this process."""
        self.rows.append(row)
        if self._stream is not None:
            self._write(row)

    def _write(self, row: dict[str, Any]) -> None:
        if self._stream is not None:
            self._stream.write(_encode(row).encode("utf-8") + b"\n")
            self._stream.flush()
            if time.monotonic() - self._synced > _SYNC_EVERY:
                os.fsync(self._stream.fileno())
                self._synced = time.monotonic()

    def _read(self) -> int:
        """Read complete lines; return how many bytes they take."""
        if self._path is None or not self._path.exists():
            return 0
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        lines = data[:whole].split(b"\n")[:-1]
        try:
            rows = [json.loads(line) for line in lines]
            header = rows[0]["manifest"] if rows else self._manifest
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{self._path} is damaged. Delete it, or choose another folder.") from None
        if different := differences(header, self._manifest):
            raise InputError(
                f"{self._path.parent} holds another evaluation: it differs in {', '.join(different)}. Choose another "
                "folder, or delete that one."
            )
        self.rows = rows[1:]
        return whole
