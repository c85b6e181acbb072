"""`RunTracker`: puts the events of concurrent runs together into trajectories."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any, Literal

from rader_plugins.errors import InputError
from rader_plugins.recording.results import without_repeats
from rader_plugins.trajectories import Considered, Step, Trajectory

__all__ = ["RecordingLimits", "RunKind", "RunTracker", "TrackerCounts"]

RunKind = Literal["chain", "retriever", "tool", "llm"]


@dataclass(frozen=True)
class RecordingLimits:
    """Bounds of what a recorder keeps in memory.

    Args:
        open_runs: Most root runs under way; the one that was quiet longest is forgotten for a new one.
        run_seconds: A run without an event for so long is forgotten.
        steps: Most steps of a trajectory; later ones are left out.
        documents: Most documents of a retrieval.
        characters: Most characters of a text; the rest is cut off.
    """

    open_runs: int = 1000
    run_seconds: float = 3600.0
    steps: int = 200
    documents: int = 100
    characters: int = 20_000

    def __post_init__(self) -> None:
        if min(self.open_runs, self.steps, self.documents, self.characters) < 1 or not self.run_seconds > 0:
            raise InputError("Limits of recording must be at least 1, run_seconds above 0.")


@dataclass(frozen=True)
class TrackerCounts:
    """What became of root runs.

    Args:
        finished: Runs that became trajectories.
        skipped: Runs that ended without a retrieval or a question, or that failed where failed ones are not wanted.
        forgotten: Runs that never ended, or had no event for too long.
    """

    finished: int = 0
    skipped: int = 0
    forgotten: int = 0


@dataclass
class _Run:
    id: str
    question: str | None
    started: datetime
    clock: float
    last: float
    metadata: dict[str, Any]
    slots: list[list[Step]] = field(default_factory=list)
    members: set[str] = field(default_factory=set)
    truncated: bool = False
    answer: str | None = None


@dataclass
class _Node:
    run: _Run
    parent: str | None
    kind: RunKind
    hidden: bool
    slot: int | None
    searched: bool = False
    root: bool = False


class RunTracker:
    """Follows runs from their events and hands over each root run, once it ends, as a trajectory.

    A run is what has an id; one whose parent is not known is a root. Steps stand in the order in which they began, a
    retrieval after its query, however concurrent they were. Below a retriever nothing is recorded: what its own
    sub-retrievers and models do is its business, and what counts is what it returned. Safe to use from several threads.

    Args:
        sink: Gets the trajectories; must not block.
        source: What they call their maker.
        limits: Bounds of memory.
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
        self._nodes: dict[str, _Node] = {}
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
        root_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """A run begins.

        Args:
            id: Of the run.
            parent: Of the run that started it.
            kind: What it is.
            text: The query of a retriever; of a root, the question.
            root_id: Name of the trajectory, if this is a root; default: ``id``.
            metadata: Of the trajectory, if this is a root.
        """
        with self._lock:
            above = self._nodes.get(parent) if parent is not None else None
            if above is None and parent in self._gone:
                self._forget_id(id)
                return
            if above is None:
                run = self._open(root_id or id, text, metadata)
            else:
                run = above.run
                if len(run.members) > 20 * self._limits.steps:
                    self._forget_id(id)
                    return
                self._touch(run)
            hidden = above is not None and (above.hidden or above.kind == "retriever")
            slot = None
            if not hidden and kind != "chain":
                slot = self._slot(run)
                if kind == "retriever":
                    if slot is not None and text and text.strip():
                        run.slots[slot] = [Step("query", self._cut(text.strip(), run))]
                    self._searched(parent)
            run.members.add(id)
            self._nodes[id] = _Node(run, parent, kind, hidden, slot, root=above is None)

    def knows(self, id: str | None) -> bool:
        """Whether a run is under way."""
        with self._lock:
            return id in self._nodes

    def ask(self, id: str, question: str | None) -> None:
        """The question of a root became known after it began; that of another run is not of interest."""
        with self._lock:
            node = self._nodes.get(id)
            if node is not None and node.root and question:
                node.run.question = question

    def ask_first(self, id: str, question: str | None) -> None:
        """As :meth:`ask`, where the root has no question yet."""
        with self._lock:
            node = self._nodes.get(id)
            if node is not None and node.root and not node.run.question:
                node.run.question = question

    def retrieved(self, id: str, documents: Sequence[Considered]) -> None:
        """A retriever returned documents, best first."""
        with self._lock:
            node = self._nodes.get(id)
            if node is not None and node.slot is not None:
                node.run.slots[node.slot].append(self._retrieval(documents, node.run))

    def thought(self, id: str, text: str) -> None:
        """A language model wrote something."""
        with self._lock:
            node = self._nodes.get(id)
            if node is None or node.slot is None or not text.strip():
                return
            step = Step("thought", self._cut(text.strip(), node.run))
            before = next((slot[-1] for slot in reversed(node.run.slots[: node.slot]) if slot), None)
            if step != before:  # models that are built on one another tell of one text twice
                node.run.slots[node.slot] = [step]

    def tool_result(
        self, id: str, name: str, asked: str, query: str | None, result: str, documents: Sequence[Considered] | None
    ) -> None:
        """A tool returned.

        Args:
            id: Of its run.
            name: Of the tool.
            asked: Its input as text.
            query: What it searched for, if it returned documents.
            result: What it returned, as text.
            documents: What it found; None if it is no search. Ignored if a retriever ran below it.
        """
        with self._lock:
            node = self._nodes.get(id)
            if node is None or node.slot is None or node.searched:
                return
            if documents is None:
                steps = [Step("thought", self._cut(f"{name}({asked}) -> {result}", node.run))]
            else:
                self._searched(node.parent)
                steps = [Step("query", self._cut(query, node.run))] if query else []
                steps.append(self._retrieval(documents, node.run))
            node.run.slots[node.slot] = steps

    def finish(self, id: str, answer: str | None = None, error: str | None = None) -> None:
        """A run ended; if it is a root, its trajectory is handed over.

        Args:
            id: Of the run.
            answer: Its answer. A root without one takes the last that a run below it had, else what was thought last.
            error: What it failed with.
        """
        with self._lock:
            node = self._nodes.pop(id, None)
            if node is None:
                return
            node.run.members.discard(id)
            if not node.root:
                node.run.answer = node.run.answer if answer is None else answer
                self._touch(node.run)
                return
            self._close(node.run)
            trajectory = self._trajectory(node.run, node.run.answer if answer is None else answer, error)
            made = trajectory is not None
            self._counts = replace(
                self._counts,
                finished=self._counts.finished + made,
                skipped=self._counts.skipped + (not made),
            )
        if trajectory is not None:
            self._sink(trajectory)

    # Below here the lock is held.

    def _open(self, id: str, question: str | None, metadata: Mapping[str, Any] | None) -> _Run:
        now = time.monotonic()
        while self._runs:
            oldest = next(iter(self._runs.values()))
            if len(self._runs) < self._limits.open_runs and now - oldest.last <= self._limits.run_seconds:
                break
            self._close(oldest)
            self._counts = replace(self._counts, forgotten=self._counts.forgotten + 1)
        run = _Run(id, question, datetime.now(timezone.utc), now, now, dict(metadata or {}))
        key = id
        while key in self._runs:  # one name for two runs at once
            key += "'"
        run.id = key
        self._runs[key] = run
        return run

    def _close(self, run: _Run) -> None:
        self._runs.pop(run.id, None)
        for member in run.members:
            self._nodes.pop(member, None)
            self._forget_id(member)

    def _forget_id(self, id: str) -> None:
        self._gone[id] = None
        while len(self._gone) > 20 * self._limits.open_runs:
            self._gone.popitem(last=False)

    def _touch(self, run: _Run) -> None:
        run.last = time.monotonic()
        if run.id in self._runs:
            self._runs.move_to_end(run.id)

    def _slot(self, run: _Run) -> int | None:
        if len(run.slots) >= self._limits.steps:
            run.truncated = True
            return None
        run.slots.append([])
        return len(run.slots) - 1

    def _searched(self, id: str | None) -> None:
        while id is not None and (node := self._nodes.get(id)) is not None:
            node.searched = True
            id = node.parent

    def _cut(self, text: str, run: _Run) -> str:
        if len(text) <= self._limits.characters:
            return text
        run.truncated = True
        return text[: self._limits.characters]

    def _retrieval(self, documents: Sequence[Considered], run: _Run) -> Step:
        if len(documents) > self._limits.documents:
            run.truncated = True
        kept = without_repeats(documents[: self._limits.documents])
        return Step("retrieval", considered=tuple(replace(one, text=self._cut(one.text, run)) for one in kept))

    def _trajectory(self, run: _Run, answer: str | None, error: str | None) -> Trajectory | None:
        steps = [step for slot in run.slots for step in slot]
        searched = any(step.kind == "retrieval" for step in steps)
        if (self._only_with_retrieval and not searched) or (error is not None and not self._record_failed):
            return None
        metadata: dict[str, Any] = {
            **run.metadata,
            "started": run.started.isoformat(timespec="milliseconds"),
            "seconds": round(time.monotonic() - run.clock, 3),
        }
        question = run.question
        if not question or not question.strip():
            question = next((step.text for step in steps if step.kind == "query"), None)
            metadata["question_from"] = "query"
        if not question:
            return None
        if error is not None:
            metadata["error"] = error
            answer = None
        else:
            last = steps[-1] if steps and steps[-1].kind == "thought" else None
            if answer is None and last is not None:
                answer = last.text
            if answer is not None:
                answer = self._cut(answer, run)
                if last is not None and last.text.strip() == answer.strip():
                    steps.pop()
                steps.append(Step("answer", answer))
        question = self._cut(question, run)
        if run.truncated:
            metadata["truncated"] = True
        return Trajectory(run.id, "", question, tuple(steps), answer, None, None, self._source, metadata)


_trackers: weakref.WeakSet[RunTracker] = weakref.WeakSet()


def _after_fork() -> None:
    # A thread of the parent may have held the lock; nobody in the child will ever release it.
    for tracker in list(_trackers):
        tracker._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
