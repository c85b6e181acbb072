"""One writer at a time: threads of one index wait for each other, another process or object is told."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import filelock

from rader_plugins.errors import IndexLockedError, IndexWriteError

__all__ = ["WriteLock"]


class WriteLock:
    """The right to write to an index.

    Args:
        folder: Where the index lies; None in memory, where only threads of this process can meet.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._threads = threading.RLock()
        # The system releases it when the process ends, however it ends.
        self._file = filelock.FileLock(folder / "write.lock", timeout=0, thread_local=False) if folder else None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock; a thread that holds it may take it again.

        Raises:
            IndexLockedError: Another process or object writes to the same index.
            IndexWriteError: The folder is read-only.
        """
        with self._threads:
            if self._file is None:
                yield
                return
            try:
                self._file.acquire()
            except filelock.Timeout:
                raise IndexLockedError(
                    f"Another process or object is writing to {self._folder}. Nothing was changed; try again when it "
                    "has finished."
                ) from None
            except OSError as error:
                raise IndexWriteError(f"{self._folder} cannot be written: {error}. Nothing was changed.") from error
            try:
                yield
            finally:
                self._file.release()
