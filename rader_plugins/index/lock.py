"""One writer at a time: threads of one index wait for each other, another process or object waits for a while."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator
from pathlib import Path

import filelock

from rader_plugins.background import after_fork
from rader_plugins.errors import IndexLockedError, IndexWriteError, InputError

__all__ = ["LOCK_TIMEOUT", "WriteLock", "check_timeout"]

LOCK_TIMEOUT = 10.0
"""Seconds to wait for another writer, where nothing else is said. Most writes take milliseconds."""
_POLL = 0.01
_FOREVER = 10**9
_INHERITED: list[filelock.BaseFileLock] = []


def check_timeout(seconds: object) -> float:
    """Return ``lock_timeout`` if it is one.

    Raises:
        InputError: It is no number of at least 0; infinity waits for ever.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        raise InputError(f"lock_timeout is a number of seconds of at least 0, not {seconds!r}.")
    return float(min(seconds, _FOREVER)) if seconds < math.inf else math.inf


class WriteLock:
    """The right to write to an index.

    Args:
        folder: Where the index lies; None in memory, where only threads of this process can meet.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._set_up()
        after_fork(self._start_anew)

    def _start_anew(self) -> None:
        # In a forked process: what the parent holds is let go by the parent alone, not when this copy is forgotten.
        if self._file is not None and self._file.is_locked:
            _INHERITED.append(self._file)
        self._set_up()

    def _set_up(self) -> None:
        self._threads = threading.RLock()
        # The system releases it when the process ends, however it ends.
        file = self._folder / "write.lock" if self._folder else None
        self._file = filelock.FileLock(file, thread_local=False) if file else None

    @contextlib.contextmanager
    def held(self, timeout: float) -> Iterator[None]:
        """Hold the lock; a thread that holds it may take it again.

        Args:
            timeout: Seconds to wait for another process or object. Threads of this object are waited for in any case.

        Raises:
            IndexLockedError: Another process or object writes to the same index.
            IndexWriteError: The folder is read-only.
        """
        with self._threads:
            if self._file is None:
                yield
                return
            try:
                self._file.acquire(timeout=-1 if timeout == math.inf else timeout, poll_interval=_POLL)
            except filelock.Timeout:
                waited = f", and has been for {timeout:g} s" if timeout else ""
                raise IndexLockedError(
                    f"Another process or object is writing to {self._folder}{waited}. Nothing was changed; try again "
                    "when it has finished, or wait longer (lock_timeout=)."
                ) from None
            except OSError as error:
                raise IndexWriteError(
                    f"{self._folder} cannot be written: {error.strerror or error}. Nothing was changed."
                ) from error
            try:
                yield
            finally:
                self._file.release()
