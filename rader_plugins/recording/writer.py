"""`TrajectoryWriter`: appends recorded trajectories to a file from a thread of its own."""

from __future__ import annotations

import atexit
import json
import logging
import math
import numbers
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rader_plugins.arguments import check_path, expand_path
from rader_plugins.construction import ByConstruction
from rader_plugins.errors import InputError
from rader_plugins.recording.append import append_rows
from rader_plugins.recording.feedback import feedback_path, feedback_row
from rader_plugins.recording.redaction import Redact, question_id, redacted
from rader_plugins.trajectories import Trajectory

__all__ = ["RecordingCounts", "TrajectoryWriter"]

_logger = logging.getLogger("rader_plugins.recording")
_BATCH = 64


@dataclass(frozen=True)
class RecordingCounts:
    """What became of the rows of a writer.

    Args:
        written: Trajectories in the file.
        feedback: Rows of feedback in its file.
        dropped: Rows that found the queue full, or the writer closed.
        refused: Rows that the redaction hook failed on, or that are no JSON: they were not written.
        failed: Rows that could not be written before the writer was closed.
    """

    written: int = 0
    feedback: int = 0
    dropped: int = 0
    refused: int = 0
    failed: int = 0


class TrajectoryWriter(ByConstruction):
    """Appends rows to JSONL files, in the background; nothing that its user calls waits for a disk or raises.

    Rows wait in a queue of limited length; one that finds it full is dropped and counted. Each batch is appended in
    one piece under a lock file, so that several writers and processes can share a file. A process that is killed loses
    what is in its queue; a row that it was writing is taken away by the next writer and passed over by
    :func:`read_recorded`. While the file cannot be written (full disk) the writer tries again. A forked child begins
    with an empty queue.

    Args:
        path: The file, such as ``runs.jsonl``; its folder is made. Feedback goes to ``runs.feedback.jsonl``.
        redact: Applied to every text before it is written; what it raises on is not written.
        queue_size: Most rows that wait.
        max_bytes: A file that would grow beyond this is renamed (``runs.00001.jsonl``, ...) and a new one begun; None
            lets it grow.
        retry_seconds: How long to wait before writing is tried again.

    Raises:
        InputError: An option is unusable.
        OSError: The folder cannot be made.

    Example:
        >>> import tempfile
        >>> from rader_plugins.recording import read_recorded
        >>> path = Path(tempfile.mkdtemp()) / "runs.jsonl"
        >>> with TrajectoryWriter(path) as writer:
        ...     _ = writer.put(Trajectory("run-1", "", "How many guests?", ()))
        ...     _ = writer.feedback("run-1", reward=1.0)
        >>> [(run.question, run.reward) for run in read_recorded(path)]
        [('How many guests?', 1.0)]
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        redact: Redact | None = None,
        queue_size: int = 1000,
        max_bytes: int | None = None,
        retry_seconds: float = 1.0,
    ) -> None:
        if queue_size < 1 or (max_bytes is not None and max_bytes < 1) or not retry_seconds > 0:
            raise InputError("queue_size and max_bytes must be at least 1, retry_seconds above 0.")
        if redact is not None and not callable(redact):
            raise InputError("redact must be a function from text to text.")
        self.path = expand_path(
            check_path(path, "The file of a recording")
        ).absolute()  # wherever the process goes later
        if self.path.is_dir():
            raise InputError(f"{self.path} is a folder; name a file in it: {self.path / 'runs.jsonl'}.")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.queue_size = queue_size
        self._redact = redact
        self._max_bytes = max_bytes
        self._retry_seconds = retry_seconds
        self._reset()
        _writers.add(self)

    def _reset(self) -> None:
        """Begin with nothing under way: at first, and in a forked child, which has neither thread nor a sound lock."""
        self._condition = threading.Condition()
        self._waiting: deque[Trajectory | Mapping[str, Any]] = deque()
        self._accepted = 0
        self._done = 0
        self._closing = False
        self._thread: threading.Thread | None = None
        self._counts = RecordingCounts()
        self._in_trouble = False

    @property
    def counts(self) -> RecordingCounts:
        """What became of the rows so far."""
        with self._condition:
            return self._counts

    def put(self, trajectory: Trajectory) -> bool:
        """Queue a trajectory; False if it was dropped. One without a problem id gets a digest of its question."""
        return self._queue(trajectory)

    def feedback(
        self,
        run_id: object,
        *,
        reward: float | None = None,
        gold_answer: str | None = None,
        comment: str | None = None,
    ) -> bool:
        """Queue what became known of a run after it ended; False if it was dropped or is unusable (which is logged).

        Args:
            run_id: Id of the trajectory; anything whose text is its id (a ``UUID``).
            reward: 1.0 for a right answer, 0.0 for a wrong one, or anything between.
            gold_answer: The right answer, where it is known.
            comment: A remark in the user's words.
        """
        sound = reward is None or (isinstance(reward, numbers.Real) and math.isfinite(reward))
        if not sound or not all(text is None or isinstance(text, str) for text in (gold_answer, comment)):
            _logger.warning("Feedback for the run %s is unusable and was dropped: %r", run_id, reward)
            self._count(dropped=1)
            return False
        return self._queue(feedback_row(str(run_id), reward, gold_answer, comment))

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until what was queued so far is written; False if that took longer than ``timeout`` seconds."""
        with self._condition:
            target = self._accepted
            return self._condition.wait_for(lambda: self._done >= target, timeout)

    def close(self, timeout: float = 10.0) -> bool:
        """Write what is queued and end the thread; False if that took longer than ``timeout`` seconds.

        Later rows are dropped. Also done when the interpreter exits.
        """
        with self._condition:
            self._closing = True
            self._condition.notify_all()
            thread = self._thread
        if thread is None:
            return True
        thread.join(timeout)
        return not thread.is_alive()

    def __enter__(self) -> TrajectoryWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _queue(self, row: Trajectory | Mapping[str, Any]) -> bool:
        with self._condition:
            if not self._closing and len(self._waiting) < self.queue_size:
                self._waiting.append(row)
                self._accepted += 1
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="rader-recording", daemon=True)
                    self._thread.start()
                self._condition.notify_all()
                return True
        if self._count(dropped=1).dropped == 1:
            _logger.warning("Recording to %s cannot keep up or is closed: rows are dropped.", self.path)
        return False

    def _count(self, **more: int) -> RecordingCounts:
        with self._condition:
            self._counts = replace(
                self._counts, **{name: getattr(self._counts, name) + number for name, number in more.items()}
            )
            return self._counts

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._waiting or self._closing)
                batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            if not batch:
                return
            runs = [line for row in batch if isinstance(row, Trajectory) and (line := self._line(row))]
            self._write(self.path, runs, "written")
            notes = [line for row in batch if not isinstance(row, Trajectory) and (line := self._line(row))]
            self._write(feedback_path(self.path), notes, "feedback")
            with self._condition:
                self._done += len(batch)
                self._condition.notify_all()

    def _line(self, row: Trajectory | Mapping[str, Any]) -> bytes | None:
        try:
            if isinstance(row, Trajectory):
                if self._redact is not None:
                    row = redacted(row, self._redact)
                if not row.problem_id:
                    row = replace(row, problem_id=question_id(row.question))
                row = row.row()
            elif self._redact is not None:
                texts = {name: self._redact(row[name]) for name in ("gold_answer", "comment") if row.get(name)}
                row = {**row, **texts}
            # "replace": lone surrogates, which some tokenizers give, cannot be written.
            return json.dumps(row, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace") + b"\n"
        except Exception:  # noqa: BLE001 - a hook of the user's may raise anything; the thread has to go on
            if self._count(refused=1).refused == 1:
                _logger.warning("A recorded row was not written; further ones are only counted.", exc_info=True)
            return None

    def _write(self, path: Path, lines: Sequence[bytes], what: str) -> None:
        if not lines:
            return
        limit = self._max_bytes if path == self.path else None
        while True:
            try:
                append_rows(path, b"".join(lines), limit)
            except OSError:
                if not self._in_trouble:
                    _logger.warning("%s cannot be written; trying again.", path, exc_info=True)
                    self._in_trouble = True
                with self._condition:
                    closing = self._closing or self._condition.wait_for(lambda: self._closing, self._retry_seconds)
                if not closing:
                    continue
                self._count(failed=len(lines))
                return
            except Exception:  # noqa: BLE001 - the thread has to go on whatever the cause
                _logger.warning("Rows of %s were not written.", path, exc_info=True)
                self._count(failed=len(lines))
                return
            self._in_trouble = False
            self._count(**{what: len(lines)})
            return


_writers: weakref.WeakSet[TrajectoryWriter] = weakref.WeakSet()


def _close_all() -> None:
    until = time.monotonic() + 10
    for writer in list(_writers):
        writer.close(max(0.1, until - time.monotonic()))


def _after_fork() -> None:
    for writer in list(_writers):
        writer._reset()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
