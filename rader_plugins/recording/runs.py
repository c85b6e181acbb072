"""`RunTracker`: puts the events of concurrent runs together into trajectories."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

from rader_plugins.recording.assembly import RunAssembly
from rader_plugins.recording.entries import RunKind
from rader_plugins.recording.limits import RecordingLimits
from rader_plugins.trajectories import Considered, Trajectory

__all__ = ["RecordingLimits", "RunKind", "RunTracker", "TrackerCounts"]


@dataclass(frozen=True)
class TrackerCounts:
    """What became of root runs.

    Args:
        finished: Runs that became trajectories.
        skipped: Runs that ended without a retrieval or a question, or that failed where failed ones are not wanted.
        forgotten: Runs that never ended, or had no event for too long.
        unread: Results, arguments and documents within runs that could not be read and were left out.
    """

    finished: int = 0
    skipped: int = 0
    forgotten: int = 0
    unread: int = 0


@dataclass
class _Run:
    """A root run under way, and when it began and was last heard of."""

    assembly: RunAssembly
    started: datetime
    clock: float
    last: float
    members: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Member:
    run: _Run
    root: bool


class RunTracker:
    """Follows runs from their events and hands over each root run, once it ends, as a trajectory.

    A run is what has an id; one whose parent is not known is a root. What becomes of its events is
    :class:`RunAssembly`'s to say; this one keeps many apart, in bounded memory. Safe to use from several threads.

    Args:
        sink: Gets the trajectories; must not block.
        source: What they call their maker.
        limits: Bounds of what is kept in memory.
        only_with_retrieval: Leave out runs that searched for nothing.
        record_failed: Also record runs that failed, with ``error`` in their metadata and no reward.
    """

    def __init__(
        self,
        sink: Callable[[Trajectory], object],
        *,
        source: str,
        limits: RecordingLimits | None = None,
        only_with_retrieval: bool = True,
        record_failed: bool = True,
    ) -> None:
        self._sink = sink
        self._source = source
        self._limits = limits or RecordingLimits()
        self._only_with_retrieval = only_with_retrieval
        self._record_failed = record_failed
        self._lock = threading.Lock()
        self._runs: OrderedDict[str, _Run] = OrderedDict()
        self._members: dict[str, _Member] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._counts = TrackerCounts()
        _trackers.add(self)

    @property
    def counts(self) -> TrackerCounts:
        """What became of the root runs so far."""
        with self._lock:
            return self._counts

    @property
    def open_runs(self) -> int:
        """How many root runs are under way."""
        with self._lock:
            return len(self._runs)

    def start(
        self,
        id: str,
        parent: str | None,
        kind: RunKind,
        text: str | None = None,
        *,
        hidden: bool = False,
        root_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """A run begins.

        Args:
            id: Id of the run.
            parent: Id of the run that started it.
            kind: Kind of the run.
            text: The query of a retriever; of a root, the question.
            hidden: Whether nothing of it and of what runs below it is a step.
            root_id: Name of the trajectory, if this is a root; default: ``id``.
            metadata: Metadata of the trajectory, if this is a root.
        """
        with self._lock:
            parent_member = self._members.get(parent) if parent is not None else None
            if parent_member is None and parent in self._gone:
                self._forget_id(id)
                return
            if parent_member is None:
                run = self._open(root_id or id, text, metadata)
            else:
                run = parent_member.run
                if run.assembly.full:
                    self._forget_id(id)
                    return
                self._touch(run)
            run.assembly.start(id, parent, kind, text, hidden)
            run.members.add(id)
            self._members[id] = _Member(run, parent_member is None)

    def knows(self, id: str | None) -> bool:
        """Whether a run is under way."""
        with self._lock:
            return id in self._members

    def has_open(self, id: str) -> bool:
        """Whether something that a run started is under way."""
        with self._assembly_of(id) as assembly:
            return assembly is not None and assembly.has_open(id)

    def name_of(self, id: str) -> str | None:
        """Name of the trajectory that a run under way belongs to."""
        with self._assembly_of(id) as assembly:
            return None if assembly is None else assembly.id

    def ask(self, id: str, question: str | None) -> None:
        """The question of a root became known after it began; that of another run is not of interest."""
        with self._lock:
            member = self._members.get(id)
            if member is not None and member.root and question:
                member.run.assembly.question = question

    def ask_first(self, id: str, question: str | None) -> None:
        """As :meth:`ask`, where the root has no question yet."""
        with self._lock:
            member = self._members.get(id)
            if member is not None and member.root and not member.run.assembly.question:
                member.run.assembly.question = question

    def retrieved(self, id: str, documents: Sequence[Considered], query: str | None = None) -> None:
        """A retriever, or a tool or chain that searched by itself, found documents: :meth:`RunAssembly.retrieved`."""
        with self._assembly_of(id) as assembly:
            if assembly is not None:
                assembly.retrieved(id, documents, query)

    def thought(self, id: str, text: str, *, answers: bool = True) -> None:
        """A language model wrote something: :meth:`RunAssembly.thought`."""
        with self._assembly_of(id) as assembly:
            if assembly is not None:
                assembly.thought(id, text, answers=answers)

    def write(self, id: str, part: str, *, answers: bool = True) -> None:
        """A language model that streams wrote a part of its text: :meth:`RunAssembly.write`."""
        with self._assembly_of(id) as assembly:
            if assembly is not None:
                assembly.write(id, part, answers=answers)

    def tool_result(self, id: str, call: str, result: str | None, unread: int = 0) -> None:
        """A tool that is no search returned: :meth:`RunAssembly.tool_result`."""
        with self._assembly_of(id) as assembly:
            if assembly is not None:
                assembly.tool_result(id, call, result, unread)

    def leave_out(self, id: str, count: int = 1) -> None:
        """Something of a run could not be read; counted in its metadata and in :attr:`counts`."""
        with self._assembly_of(id) as assembly:
            if assembly is not None:
                assembly.leave_out(count)

    def mark(self, id: str, **metadata: Any) -> None:
        """Put something into the metadata of the trajectory that a run belongs to."""
        with self._assembly_of(id) as assembly:
            if assembly is not None:
                assembly.metadata.update(metadata)

    def finish(self, id: str, answer: str | None = None, error: str | None = None) -> None:
        """A run ended; if it is a root, its trajectory is handed over.

        Args:
            id: Id of the run.
            answer: Answer of the run; ``""`` says that there is none. A root without one takes the last that a run
                below it had, else what was thought last.
            error: What it failed with.
        """
        with self._lock:
            member = self._members.pop(id, None)
            if member is None:
                return
            run = member.run
            run.members.discard(id)
            run.assembly.finish(id, answer=answer, error=error)
            if not member.root:
                self._touch(run)
                return
            self._close(run)
            trajectory = self._trajectory(run)
            has_trajectory = trajectory is not None
            self._counts = replace(
                self._counts,
                finished=self._counts.finished + has_trajectory,
                skipped=self._counts.skipped + (not has_trajectory),
                unread=self._counts.unread + run.assembly.unread,
            )
        if trajectory is not None:
            self._sink(trajectory)

    @contextlib.contextmanager
    def _assembly_of(self, id: str) -> Iterator[RunAssembly | None]:
        with self._lock:
            member = self._members.get(id)
            yield None if member is None else member.run.assembly

    # Below here the lock is held.

    def _open(self, id: str, question: str | None, metadata: Mapping[str, Any] | None) -> _Run:
        now = time.monotonic()
        while self._runs:
            oldest = next(iter(self._runs.values()))
            if len(self._runs) < self._limits.open_runs and now - oldest.last <= self._limits.run_seconds:
                break
            self._close(oldest)
            self._counts = replace(self._counts, forgotten=self._counts.forgotten + 1)
        name = id
        while name in self._runs:  # one name for two runs at once
            name += "'"
        assembly = RunAssembly(name, question, source=self._source, limits=self._limits, metadata=metadata)
        run = _Run(assembly, datetime.now(timezone.utc), now, now)
        self._runs[name] = run
        return run

    def _close(self, run: _Run) -> None:
        self._runs.pop(run.assembly.id, None)
        for member in run.members:
            self._members.pop(member, None)
            self._forget_id(member)

    def _forget_id(self, id: str) -> None:
        self._gone[id] = None
        while len(self._gone) > 20 * self._limits.open_runs:
            self._gone.popitem(last=False)

    def _touch(self, run: _Run) -> None:
        run.last = time.monotonic()
        if run.assembly.id in self._runs:
            self._runs.move_to_end(run.assembly.id)

    def _trajectory(self, run: _Run) -> Trajectory | None:
        trajectory = run.assembly.trajectory(
            {
                "started": run.started.isoformat(timespec="milliseconds"),
                "seconds": round(time.monotonic() - run.clock, 3),
            }
        )
        if trajectory is None or (run.assembly.error is not None and not self._record_failed):
            return None
        if trajectory.question and (trajectory.retrievals or not self._only_with_retrieval):
            return trajectory
        # Another part may have what this one lacks; read_recorded leaves out what stays without.
        fragment = replace(trajectory, metadata={**trajectory.metadata, "fragment": True})
        return fragment if run.assembly.is_part else None


_trackers: weakref.WeakSet[RunTracker] = weakref.WeakSet()


def _after_fork() -> None:
    # A thread of the parent may have held the lock; nobody in the child will ever release it.
    for tracker in list(_trackers):
        tracker._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
