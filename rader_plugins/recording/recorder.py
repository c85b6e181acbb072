"""`Recorder`: what the recorders of the frameworks share, and the guard between them and the application."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from typing import Any, TypedDict, TypeVar, cast
from uuid import uuid4

from typing_extensions import Self

from rader_plugins.documents import metadata_json
from rader_plugins.errors import InputError
from rader_plugins.recording.redaction import Redact
from rader_plugins.recording.results import is_retrieval_name, read_documents
from rader_plugins.recording.runs import RecordingLimits, RunTracker
from rader_plugins.recording.writer import TrajectoryWriter

__all__ = ["RecordedRun", "Recorder", "RecorderOptions", "guarded", "is_control_flow", "named_error"]

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


def is_control_flow(error: BaseException) -> bool:
    """Whether an exception says that nobody waits any more (a closed stream, a cancelled task): that is no failure."""
    return isinstance(error, GeneratorExit | asyncio.CancelledError)


def named_error(error: BaseException) -> str:
    """Return an error in a line."""
    return f"{type(error).__name__}: {error}"[:500]


@dataclass
class RecordedRun:
    """A run that was opened with :meth:`Recorder.run`.

    Args:
        id: Name of its trajectory; feedback is attached by it.
        answer: The answer, if the application sets it; else that of the last engine or chain that ran within.
    """

    id: str
    answer: str | None = None
    _recorder: Recorder | None = field(default=None, repr=False, compare=False)
    _key: str = field(default="", repr=False, compare=False)

    def retrieved(self, query: str, documents: Sequence[Any]) -> None:
        """Record a search that the application made without a retriever of the framework. Never raises.

        Args:
            query: What was searched for.
            documents: What came back, best first: documents or nodes of a framework, hits, dicts with ``id`` and
                ``text``, pairs of these with a score.
        """
        if self._recorder is not None:
            self._recorder.note_search(self._key, query, documents)


class RecorderOptions(TypedDict, total=False):
    """What every recorder takes, whatever the framework.

    Args:
        retrieval_tools: Names of tools whose results are documents; None: those whose name says so, and those that
            return documents of the framework.
        redact: Applied to every text before it is written; what it raises on is not written.
        limits: Bounds of what is kept in memory.
        only_with_retrieval: Leave out runs that searched for nothing (default: True).
        record_failed: Also record runs that failed, with ``error`` in their metadata and no reward (default: True).
        metadata: Goes into every trajectory: the version of the application, say.
        queue_size: Most rows that wait to be written (default: 1,000).
        max_bytes: Rename a file that would grow beyond this and begin a new one.
    """

    retrieval_tools: Sequence[str] | None
    redact: Redact | None
    limits: RecordingLimits | None
    only_with_retrieval: bool
    record_failed: bool
    metadata: Mapping[str, Any] | None
    queue_size: int
    max_bytes: int | None


class Recorder:
    """Base of the recorders: where trajectories go, what is known of runs afterwards, and counts.

    Args:
        path: The file that trajectories are appended to, or a writer that several recorders share.
        source: What the trajectories call their maker.
        retrieval_tools, redact, limits, only_with_retrieval, record_failed, metadata, queue_size, max_bytes: Options
            that all recorders share; see :class:`RecorderOptions`.

    Raises:
        InputError: An option is unusable.
        OSError: The folder of the file cannot be made.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | TrajectoryWriter,
        *,
        source: str,
        retrieval_tools: Sequence[str] | None = None,
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
        self._retrieval_tools = None if retrieval_tools is None else frozenset(retrieval_tools)
        self.tracker = RunTracker(
            self.writer.put,
            source=source,
            limits=limits,
            only_with_retrieval=only_with_retrieval,
            record_failed=record_failed,
        )
        self._troubles = 0
        self._within: ContextVar[str | None] = ContextVar("rader_run", default=None)

    def is_retrieval_tool(self, name: str) -> bool:
        """Whether what a tool of this name returns is to be read as documents."""
        return is_retrieval_name(name) if self._retrieval_tools is None else name in self._retrieval_tools

    @property
    def counts(self) -> dict[str, int]:
        """What became of runs and rows: those of the tracker and the writer, and ``errors`` of the recorder itself."""
        return {**asdict(self.tracker.counts), **asdict(self.writer.counts), "errors": self._troubles}

    @contextlib.contextmanager
    def run(self, run_id: object = None, *, question: str | None = None) -> Iterator[RecordedRun]:
        """Make everything within one run: give it a name for feedback, or tie a retriever and a model together.

        Works around ``await`` too; what other tasks do meanwhile is not part of it. Read a streamed answer within it.

        Args:
            run_id: Name of the run (a ``UUID`` or a text); default: a new one.
            question: Question of the run; None takes that of the first call within.

        Example:
            >>> with recorder.run(question="How many guests?") as run:  # doctest: +SKIP
            ...     documents = search("guests who share a hobby")
            ...     run.retrieved("guests who share a hobby", documents)
            ...     run.answer = llm.invoke(f"{documents} How many guests?").text
        """
        key = f"run-{uuid4()}"
        run = RecordedRun(str(run_id or uuid4()), None, self, key)
        self._begin(key, run, question)
        error: BaseException | None = None
        token = self._within.set(key)
        try:
            yield run
        except BaseException as caught:
            error = caught
            raise
        finally:
            with contextlib.suppress(ValueError):  # a generator that was closed in another context
                self._within.reset(token)
            self._end(key, run, error)

    @guarded
    def note_search(self, key: str, query: str, documents: Sequence[Any]) -> None:
        """Record a search of a run that is under way."""
        considered = read_documents(list(documents), plain=False)
        if considered is None:
            self.tracker.leave_out(key, len(documents))
            return
        search = f"search-{uuid4()}"
        self.tracker.start(search, key, "retriever", query)
        self.tracker.retrieved(search, considered)
        self.tracker.finish(search)

    @guarded
    def _begin(self, key: str, run: RecordedRun, question: str | None) -> None:
        self.tracker.start(key, None, "chain", question, root_id=run.id, metadata=self.metadata)

    @guarded
    def _end(self, key: str, run: RecordedRun, error: BaseException | None) -> None:
        if error is not None and is_control_flow(error):
            self.tracker.mark(key, closed_early=True)
            error = None
        self.tracker.finish(key, run.answer, None if error is None else named_error(error))

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
            run_id: Name of the run (a ``UUID`` or its text).
            reward: 1.0 for a right answer, 0.0 for a wrong one, or anything between.
            gold_answer: The right answer, where it is known.
            comment: A remark in the user's words.
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
