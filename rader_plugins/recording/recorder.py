"""`Recorder`: what the recorders of the frameworks share, and the guard between them and the application."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar, cast

from typing_extensions import Self

from rader_plugins.documents import metadata_json
from rader_plugins.errors import InputError
from rader_plugins.recording.redaction import Redact
from rader_plugins.recording.runs import RecordingLimits, RunTracker
from rader_plugins.recording.writer import TrajectoryWriter

__all__ = ["Recorder", "guarded"]

_logger = logging.getLogger("rader_plugins.recording")
_Method = TypeVar("_Method", bound=Callable[..., Any])


def guarded(method: _Method) -> _Method:
    """Make a method of a :class:`Recorder` harmless: what it raises is counted and logged, and it returns None."""

    @functools.wraps(method)
    def call(self: Recorder, *arguments: Any, **named: Any) -> Any:
        try:
            return method(self, *arguments, **named)
        except Exception:  # noqa: BLE001 - the boundary to the application: recording must never break what it records
            self.trouble(method.__name__)
            return None

    return cast(_Method, call)


class Recorder:
    """Base of the recorders: where trajectories go, what is known of runs afterwards, and counts.

    Args:
        path: The file that trajectories are appended to, or a writer that several recorders share.
        source: What the trajectories call their maker.
        redact: Applied to every text before it is written.
        limits: Bounds of memory.
        only_with_retrieval: Leave out runs that searched for nothing.
        record_failed: Also record runs that failed, with ``error`` in their metadata and no reward.
        metadata: Goes into every trajectory: the version of the application, say.
        queue_size, max_bytes: Of the writer; see :class:`TrajectoryWriter`.

    Raises:
        InputError: An option is unusable.
        OSError: The folder of the file cannot be made.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | TrajectoryWriter,
        *,
        source: str,
        redact: Redact | None = None,
        limits: RecordingLimits | None = None,
        only_with_retrieval: bool = True,
        record_failed: bool = True,
        metadata: Mapping[str, Any] | None = None,
        queue_size: int = 1000,
        max_bytes: int | None = None,
    ) -> None:
        metadata_json(metadata or {}, "every trajectory")
        self._own = not isinstance(path, TrajectoryWriter)
        if isinstance(path, TrajectoryWriter):
            if redact is not None:
                raise InputError("redact belongs to the writer that is shared: TrajectoryWriter(path, redact=...).")
            self.writer = path
        else:
            self.writer = TrajectoryWriter(path, redact=redact, queue_size=queue_size, max_bytes=max_bytes)
        self.metadata = dict(metadata or {})
        self.tracker = RunTracker(
            self.writer.put,
            source=source,
            limits=limits,
            only_with_retrieval=only_with_retrieval,
            record_failed=record_failed,
        )
        self._troubles = 0

    @property
    def counts(self) -> dict[str, int]:
        """What became of runs and rows: those of the tracker and the writer, and ``errors`` of the recorder itself."""
        return {**asdict(self.tracker.counts), **asdict(self.writer.counts), "errors": self._troubles}

    def feedback(
        self,
        run_id: object,
        *,
        reward: float | None = None,
        gold_answer: str | None = None,
        comment: str | None = None,
    ) -> bool:
        """Attach what became known of a run after it ended; False if it could not be queued. Never blocks or raises.

        Args:
            run_id: Of the run (a ``UUID`` or its text).
            reward: 1.0 for a right answer, 0.0 for a wrong one, or anything between.
            gold_answer: The right answer.
            comment: In the user's words.
        """
        return self.writer.feedback(run_id, reward=reward, gold_answer=gold_answer, comment=comment)

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until what ended so far is written; False if that took longer than ``timeout`` seconds."""
        return self.writer.flush(timeout)

    def close(self, timeout: float = 10.0) -> bool:
        """Write what is queued and stop; a shared writer is only flushed."""
        return self.writer.close(timeout) if self._own else self.writer.flush(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def trouble(self, where: str) -> None:
        """Count and log an error of the recorder; call it while the error is handled."""
        self._troubles += 1
        if self._troubles == 1:
            _logger.warning("Recording failed in %s; further errors are only counted.", where, exc_info=True)
