"""Searches of one index that come at once: few run, and those that wait meanwhile are run together.

Threads that search take Python's lock and the processor from each other, so that many answer fewer questions a second
than one does. Here a thread that finds as many at work as is useful waits; the next one whose turn it is searches for
all that wait for the same (a batch reads the vectors once), and they get their hits from it.

Waiting must never become waiting for ever, whatever locks callers hold:

- who waits for its turn does so for at most :data:`PATIENCE`, and then searches alone;
- a thread within :func:`unhindered` (it holds the database, for which those at work wait) does not wait at all.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np

from rader_plugins.background import after_fork
from rader_plugins.documents import Hit
from rader_plugins.index.request import SearchRequest, Vector

__all__ = ["PATIENCE", "SearchLane", "unhindered"]

Hits = list[list[Hit]]
Run = Callable[[SearchRequest, Vector | None], Hits]

PATIENCE = 0.25
"""Seconds that a search waits for its turn at most: longer than searches take, hardly longer than a caller notices."""

_MOST_QUERIES = 32  # searched for together
# All that a request asks but what it asks for each query; a filter is its caller's own, and asked alone.
_SHARED = tuple(
    field.name for field in fields(SearchRequest) if field.name not in ("queries", "vectors", "exclude_ids", "filter")
)


class _Thread(threading.local):
    unhindered = 0  # blocks that the thread is in


_thread = _Thread()


@contextlib.contextmanager
def unhindered() -> Iterator[None]:
    """Let this thread search without waiting for others; blocks nest."""
    _thread.unhindered += 1
    try:
        yield
    finally:
        _thread.unhindered -= 1


class _Call:
    """A search that somebody waits for.

    Attributes:
        turn: Locked until it is this call's turn, or somebody else searched for it.
        batch: If it is its turn: whom to search for, itself first.
        hits: What was found.
    """

    def __init__(self, request: SearchRequest, vectors: Vector | None) -> None:
        self.request = request
        self.vectors = vectors
        self.turn = threading.Lock()
        self.turn.acquire()
        self.batch: list[_Call] = []
        self.hits: Hits | None = None

    @functools.cached_property
    def kind(self) -> list[Any] | None:
        """Calls of equal kind can be answered together; None: only alone."""
        return None if self.request.filter is not None else [getattr(self.request, name) for name in _SHARED]


class _Line:
    """Those that wait, and how many more may search. Every change is made under the lock."""

    def __init__(self, free: int) -> None:
        self.lock = threading.Lock()
        self.free = free
        self.calls: list[_Call] = []

    def begin(self, call: _Call) -> bool:
        """Return whether a call may search at once; otherwise it waits from now on."""
        with self.lock:
            if self.free:
                self.free -= 1
                call.batch = [call]
                return True
            self.calls.append(call)
            return False

    def withdraw(self, call: _Call) -> bool:
        """Return whether a call was still waiting; it does so no longer."""
        with self.lock:
            waiting = call in self.calls
            if waiting:
                self.calls.remove(call)
            return waiting

    def end(self) -> None:
        """Give the turn of one that has searched to the next."""
        with self.lock:
            if not self.calls:
                self.free += 1
                return
            following = self.calls.pop(0)
            following.batch = [following]
        following.turn.release()

    def join(self, leader: _Call) -> None:
        """Let those that wait be answered together with a call whose turn it is.

        It does so when it begins, not when it is woken: whoever was answered last comes back meanwhile.
        """
        with self.lock:
            if self.calls:
                leader.batch = _together([leader, *self.calls])
                self.calls = [call for call in self.calls if call not in leader.batch]


def _together(calls: list[_Call]) -> list[_Call]:
    batch = calls[:1]
    count = len(calls[0].request.queries)
    for call in calls[1:]:
        if call.kind is not None and call.kind == calls[0].kind:
            count += len(call.request.queries)
            if count > _MOST_QUERIES:
                break
            batch.append(call)
    return batch


class SearchLane:
    """The way that searches of one index take.

    Args:
        width: How many may be at work at once.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._start_anew()
        after_fork(self._start_anew)

    def _start_anew(self) -> None:
        self._line = _Line(self._width)

    def search(self, request: SearchRequest, vectors: Vector | None, run: Run) -> Hits:
        """Return what ``run`` does for a request, alone or together with others.

        Args:
            request, vectors: What ``run`` takes.
            run: Searches; the same function in all calls.
        """
        # A function that filters is the caller's: it may take any time and any lock.
        if _thread.unhindered or callable(request.filter) or len(request.queries) > _MOST_QUERIES:
            return run(request, vectors)
        with unhindered():  # also while waiting: a signal's handler may search
            line = self._line
            call = _Call(request, vectors)
            if (line.begin(call) or self._has_waited(call, line)) and call.batch:
                _lead(call, line, run)
            return run(request, vectors) if call.hits is None else call.hits

    def _has_waited(self, call: _Call, line: _Line) -> bool:
        """Wait until a call leads or was answered; False if that took too long, and it is to be answered alone."""
        if call.turn.acquire(timeout=PATIENCE):
            return True
        if line.withdraw(call):
            # Long searches; or a caller was interrupted in the very moment between its turn and what would end it.
            if self._line is line:
                self._start_anew()
            return False
        return call.turn.acquire(timeout=20 * PATIENCE)  # somebody searches for it just now


def _lead(leader: _Call, line: _Line, run: Run) -> None:
    """Search for all calls of a batch, whose first is this thread's own, and let the next begin."""
    try:
        line.join(leader)
        if len(leader.batch) == 1:
            leader.hits = run(leader.request, leader.vectors)
        else:
            # Whatever fails here is raised where each searches for itself.
            with contextlib.suppress(Exception):
                _answer(leader.batch, run)
    finally:
        for call in leader.batch[1:]:
            call.turn.release()
        line.end()


def _answer(batch: list[_Call], run: Run) -> None:
    requests = [call.request for call in batch]
    joined = replace(
        requests[0],
        queries=[query for request in requests for query in request.queries],
        exclude_ids=[ids for request in requests for ids in request.exclude_ids or ()],
        vectors=None,
    )
    arrays = [call.vectors for call in batch if call.vectors is not None]
    hits = run(joined, np.concatenate(arrays) if arrays else None)
    first = 0
    for call in batch:
        last = first + len(call.request.queries)
        call.hits = hits[first:last]
        first = last
