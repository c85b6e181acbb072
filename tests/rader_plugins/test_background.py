"""Executors and threads of ours: order, limits, fork, exit."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import weakref

import pytest

from rader_plugins import background
from rader_plugins.background import Workers

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


def test_calls_run_and_raise() -> None:
    workers = Workers(3, "test")
    assert sorted(future.result() for future in [workers.submit(pow, 2, n) for n in range(20)]) == [
        2**n for n in range(20)
    ]
    with pytest.raises(ZeroDivisionError):
        workers.submit(lambda: 1 / 0).result()
    assert list(workers.map(abs, [-1, -2])) == [1, 2]


def test_no_more_threads_than_allowed_and_none_before_work() -> None:
    workers = Workers(3, "limited")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("limited")]
    gate = threading.Event()
    futures = [workers.submit(gate.wait, 20) for _ in range(10)]
    assert len([thread for thread in threading.enumerate() if thread.name.startswith("limited")]) == 3
    gate.set()
    assert all(future.result() for future in futures)


def test_first_goes_before_what_waits() -> None:
    workers = Workers(1, "test")
    order: list[str] = []
    gate = threading.Event()
    workers.submit(gate.wait, 20)
    futures = [workers.submit(order.append, name) for name in "ab"]
    futures += [workers.submit_first(order.append, name) for name in "12"]
    gate.set()
    for future in futures:
        future.result()
    assert order == ["1", "2", "a", "b"]


def test_shutdown_gives_up_what_waits() -> None:
    workers = Workers(1, "test")
    gate, begun = threading.Event(), threading.Event()

    def wait() -> bool:
        begun.set()
        return gate.wait(20)

    running, queued = workers.submit(wait), workers.submit(print)
    assert begun.wait(20)
    workers.shutdown(wait=False, cancel_futures=True)
    assert queued.cancelled()
    gate.set()
    assert running.result()
    with pytest.raises(RuntimeError, match="shut down"):
        workers.submit(print)


def test_threads_end_with_the_object() -> None:
    workers = Workers(2, "forgotten")
    workers.submit(int).result()
    (thread,) = [thread for thread in threading.enumerate() if thread.name.startswith("forgotten")]
    del workers
    gc.collect()
    thread.join(20)
    assert not thread.is_alive()


def test_results_are_not_held_by_idle_threads() -> None:
    class Large:
        pass

    workers = Workers(1, "test")
    large = Large()
    reference = weakref.ref(large)
    workers.submit(id, large).result()
    del large
    workers.submit(int).result()  # the thread has gone on
    gc.collect()
    assert reference() is None


def test_calls_see_the_context_of_who_made_them() -> None:
    variable = contextvars.ContextVar("variable", default="none")
    workers = Workers(1, "test")
    variable.set("mine")
    assert workers.submit(variable.get).result() == "mine"
    other = contextvars.copy_context()
    other.run(variable.set, "other")
    assert other.run(workers.submit, variable.get).result() == "other"
    assert asyncio.run(background.in_thread(variable.get)) == "mine"


def test_pickled_workers_are_new_ones() -> None:
    workers = Workers(2, "test")
    workers.submit(int).result()
    assert pickle.loads(pickle.dumps(workers)).submit(pow, 2, 3).result() == 8  # noqa: S301


class Heard:
    def __init__(self) -> None:
        self.forked = 0
        self.ended = 0
        background.after_fork(self.on_fork)
        background.at_exit(self.on_exit)

    def on_fork(self) -> None:
        self.forked += 1

    def on_exit(self) -> None:
        self.ended += 1


def test_registering_keeps_nothing_alive() -> None:
    heard = Heard()
    reference = weakref.ref(heard)
    del heard
    gc.collect()
    assert reference() is None


@needs_fork
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_starts_anew() -> None:
    workers, heard = Workers(2, "test"), Heard()
    gate = threading.Event()
    begun = threading.Event()

    def wait() -> None:
        begun.set()
        gate.wait(60)

    busy = [workers.submit(wait) for _ in range(5)]  # both threads, and a queue
    assert begun.wait(20)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            right = workers.submit(pow, 2, 3).result(10) == 8 and heard.forked == 1 and background.forks() == 1
            right = right and asyncio.run(background.in_thread(pow, 2, 3)) == 8
            os._exit(0 if right else 3)
        except BaseException:
            os._exit(4)
    gate.set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [future.result() for future in busy] == [None] * 5
    assert heard.forked == 0
    assert background.forks() == 0


ENDS = """
import os, sys, threading, time
from rader_plugins.background import Workers
waits = Workers(2, "waits")
waits.submit(time.sleep, 3600)
computes = Workers(1, "computes", computes=True)
begun = threading.Event()
def compute():
    begun.set()
    with computes._crew.changed:
        computes._crew.changed.wait_for(lambda: computes._crew.stopped)  # the process is ending
    sum(range(10**7))
    os.write(1, b"computed ")
computes.submit(compute)
begun.wait(20)
computes.submit(os.write, 1, b"never begun")
print("begun", flush=True)
{end}
"""


@pytest.mark.parametrize("end", ["pass", "sys.exit(3)", "raise KeyboardInterrupt"])
def test_the_end_of_a_process_waits_for_computing_alone(end: str) -> None:
    done = subprocess.run([sys.executable, "-c", ENDS.format(end=end)], capture_output=True, text=True, timeout=60)
    assert done.stdout.replace("\n", " ") == "begun computed "
    assert done.returncode == {"pass": 0, "sys.exit(3)": 3}.get(end, -signal.SIGINT)
