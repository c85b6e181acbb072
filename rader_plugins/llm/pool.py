"""`RollingPool`: many calls of a slow function, so many at once and no more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

__all__ = ["RollingPool"]

T = TypeVar("T")
R = TypeVar("R")


class RollingPool:
    """Calls a function on many items, ``concurrency`` at once over all callers.

    The next item starts as soon as any earlier one is done, whatever list it came with: a server with as many slots
    is never idle while there is work. The threads are made when they are first needed.

    Args:
        concurrency: Calls at once.
        name: Of the threads.
    """

    def __init__(self, concurrency: int, name: str) -> None:
        self._concurrency = concurrency
        self._name = name
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None

    def run(self, work: Callable[[T], R], items: Sequence[T], watch: Callable[[int, R], None]) -> None:
        """Call ``work`` on every item; ``watch`` gets place and result of each, in the order in which they end.

        What ``work`` or ``watch`` raises ends the run: items that have not begun are given up.
        """
        futures = self._submit(work, items)
        ended: SimpleQueue[Future[R]] = SimpleQueue()
        for future in futures:
            future.add_done_callback(ended.put)
        try:
            for _ in futures:
                future = ended.get()
                watch(futures[future], future.result())
        finally:
            _cancel(futures)

    async def arun(self, work: Callable[[T], R], items: Sequence[T], watch: Callable[[int, R], None]) -> None:
        """As :meth:`run`, without blocking the event loop; ``watch`` is called on the loop's thread.

        Cancelling the task gives up the items that have not begun.
        """
        futures = self._submit(work, items)

        async def one(future: Future[R], place: int) -> tuple[int, R]:
            return place, await asyncio.wrap_future(future)

        tasks = [asyncio.ensure_future(one(future, place)) for future, place in futures.items()]
        try:
            for task in asyncio.as_completed(tasks):
                watch(*await task)
        finally:
            _cancel(futures)
            for waiting in tasks:
                waiting.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _submit(self, work: Callable[[T], R], items: Sequence[T]) -> dict[Future[R], int]:
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(self._concurrency, thread_name_prefix=self._name)
            return {self._executor.submit(work, item): place for place, item in enumerate(items)}


def _cancel(futures: dict[Future[R], int]) -> None:
    for future in futures:
        future.cancel()
