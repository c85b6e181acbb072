"""The one registry of what works in the background: executors, and what has to hear of a fork or of the end.

Whoever needs threads takes a :class:`Workers`. Whoever has a thread, a connection or a lock of his own registers with
:func:`after_fork` and :func:`at_exit`. So three promises hold for the whole library, and one test covers them:

- **fork**: a forked process has none of its parent's threads, and its locks may be held by threads that do not exist.
  Everything here starts anew in the child when it is next used.
- **Ctrl-C and exit**: threads that wait for a server never keep a process alive. Work that has not begun is given up;
  threads that compute are waited for, since a process that ends under native code crashes.
- **context**: what is submitted sees the context variables of who submitted it, so that traces and callbacks reach it.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, TypeVar

from typing_extensions import ParamSpec

__all__ = ["Lock", "Workers", "after_fork", "at_exit", "close", "forks", "in_thread"]

P = ParamSpec("P")
R = TypeVar("R")

# How long the end of a process waits for threads that compute.
_PATIENCE = 10.0  # seconds
# How long a thread without work stays.
_IDLE = 30.0  # seconds
# Whoever waits for one thread must not wait for all: as many as are needed.
_IN_THREAD = 1000


class _Job:
    """A call and where its result goes."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call
        self.future: Future[Any] = Future()

    def run(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self.call()
        except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class _Crew:
    """The threads of one :class:`Workers` in one process, which must not keep the `Workers` itself alive."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.jobs: deque[_Job] = deque()
        self.urgent: deque[_Job] = deque()
        self.threads: list[threading.Thread] = []
        self.idle = 0
        self.stopped = False

    def serve(self) -> None:
        while (job := self._next()) is not None:
            job.run()
            del job  # or an idle thread would keep what it worked on

    def waiting(self) -> int:
        return len(self.urgent) + len(self.jobs)

    def _next(self) -> _Job | None:
        """Wait for a call; None ends the thread."""
        with self.changed:
            patient = True
            while not self.waiting():
                if self.stopped or not patient:
                    self.threads.remove(threading.current_thread())
                    return None
                self.idle += 1
                patient = self.changed.wait(_IDLE)
                self.idle -= 1
            return (self.urgent or self.jobs).popleft()

    def stop(self, *, cancel: bool = True) -> None:
        with self.changed:
            self.stopped = True
            pending_jobs = [*self.urgent, *self.jobs] if cancel else []
            if cancel:
                self.urgent.clear()
                self.jobs.clear()
            self.changed.notify_all()
        for job in pending_jobs:
            job.future.cancel()


class Workers(Executor):
    """An executor whose threads start when they are needed, survive a fork and keep no process alive.

    Args:
        threads: Most threads at once.
        name: What the threads are called.
        computes: They compute (rather than wait for a server): the end of the process waits for them.

    Example:
        >>> workers = Workers(2, "rader-example")
        >>> workers.submit(pow, 2, 10).result()
        1024
    """

    def __init__(self, threads: int, name: str, *, computes: bool = False) -> None:
        self.threads = threads
        self.name = name
        self.computes = computes
        self._new_crew()
        _workers.add(self)

    def _new_crew(self) -> None:
        self._crew = _Crew()
        self._finalizer = weakref.finalize(self, self._crew.stop)
        self._finalizer.atexit = False  # close() comes first

    def _after_fork(self) -> None:
        stopped = self._crew.stopped
        self._finalizer.detach()
        self._new_crew()
        self._crew.stopped = stopped

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Workers, self.threads, self.name, computes=self.computes), ()

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Call a function in one of the threads, in the order of submission.

        Raises:
            RuntimeError: It was shut down, or the interpreter is ending.
        """
        return self._submit(self._crew.jobs, partial(fn, *args, **kwargs))

    def submit_first(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """As :meth:`submit`, before all calls that wait and were not submitted like this themselves."""
        return self._submit(self._crew.urgent, partial(fn, *args, **kwargs))

    def _submit(self, queue: deque[_Job], call: Callable[[], R]) -> Future[R]:
        crew = self._crew
        job = _Job(partial(contextvars.copy_context().run, call))
        with crew.changed:
            if crew.stopped:
                raise RuntimeError(f"The workers {self.name!r} were shut down.")
            queue.append(job)
            if crew.idle < crew.waiting() and len(crew.threads) < self.threads:
                self._start_thread(crew, queue, job)
            else:
                crew.changed.notify()
        return job.future

    def _start_thread(self, crew: _Crew, queue: deque[_Job], job: _Job) -> None:
        # Daemons: the interpreter waits for other threads before it runs anything that could stop them.
        thread = threading.Thread(target=crew.serve, name=f"{self.name}-{len(crew.threads)}", daemon=True)
        crew.threads.append(thread)
        try:
            thread.start()
        except RuntimeError:
            crew.threads.remove(thread)
            if not crew.threads:
                queue.remove(job)
                raise
            # No more threads can be started: those that there are do it.

    async def call(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """As :meth:`submit`, awaited; a task that is cancelled gives up a call that has not begun."""
        return await asyncio.wrap_future(self.submit(fn, *args, **kwargs))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; see :meth:`concurrent.futures.Executor.shutdown`."""
        crew = self._crew
        crew.stop(cancel=cancel_futures)
        if wait:
            for thread in list(crew.threads):
                if thread is not threading.current_thread():
                    thread.join()

    def _end(self, until: float) -> bool:
        """Give up what has not begun, wait for threads that compute; return whether none of these is left."""
        crew = self._crew
        crew.stop()
        if not self.computes:
            return True
        threads = list(crew.threads)
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)


_workers: weakref.WeakSet[Workers] = weakref.WeakSet()


class _Methods:
    """Bound methods whose objects may go at any time."""

    def __init__(self) -> None:
        self._entries: list[tuple[weakref.ref[Any], Callable[[Any], object]]] = []
        self._purge_at = 100

    def add(self, method: Callable[[], object]) -> None:
        bound: Any = method
        self._entries.append((weakref.ref(bound.__self__), bound.__func__))
        if len(self._entries) >= self._purge_at:
            self._entries = [entry for entry in self._entries if entry[0]() is not None]
            self._purge_at = 100 + 2 * len(self._entries)

    def call(self) -> None:
        for reference, function in list(self._entries):
            if (instance := reference()) is not None:
                function(instance)


_after_fork = _Methods()
_at_exit = _Methods()
_forks = 0


def after_fork(method: Callable[[], object]) -> None:
    """Have a bound method called in every forked process, before anything else runs there.

    The object is not kept alive. The method must be quick, take no lock that another thread may have held, and not
    raise: it makes new locks, and forgets threads and connections.
    """
    _after_fork.add(method)


def at_exit(method: Callable[[], object]) -> None:
    """Have a bound method called at the end of the process and by :func:`close`; the object is not kept alive.

    The method must end what waits (a queue, a retry) without waiting long itself. It may be called more than once.
    """
    _at_exit.add(method)


def forks() -> int:
    """Return how many forks lie between this process and the one that imported the library: 0 in that one.

    What cannot be used beyond a fork (a model on a GPU) keeps the number and compares.
    """
    return _forks


class Lock:
    """A lock for a ``with`` block that is free again in a forked process, whoever held it when the process forked."""

    def __init__(self) -> None:
        self._renew()
        after_fork(self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exception: object) -> None:
        self._lock.release()


async def in_thread(fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """As :func:`asyncio.to_thread`, in threads of ours: those of asyncio belong to the application.

    For short work. What may take long (encoding, a server) has workers of its own.
    """
    return await _threads.call(fn, *args, **kwargs)


def close(patience: float = _PATIENCE) -> bool:
    """End all background work of this process: for an interrupted command, or before the process ends.

    Args:
        patience: Seconds to wait for threads that compute.

    Returns:
        Whether they all ended. If not, leave with :func:`os._exit`: the end of the interpreter under native code
        crashes.
    """
    until = time.monotonic() + patience
    _at_exit.call()
    # Stop all before waiting for any.
    workers = list(_workers)
    for worker in workers:
        worker._crew.stop()
    outcomes = [worker._end(until) for worker in workers]  # every one, also after one that did not end
    return all(outcomes)


def _forked() -> None:
    global _forks
    _forks += 1
    for worker in list(_workers):
        worker._after_fork()
    _after_fork.call()


_threads = Workers(_IN_THREAD, "rader-thread")
atexit.register(close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
