"""An event loop in a thread of its own, for what can only be awaited."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import ExitStack
from typing import TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

__all__ = ["EventLoopThread"]

T = TypeVar("T")


class EventLoopThread:
    """Runs awaitables on one event loop, from code that is not asynchronous.

    One loop for all of them, since connections that an asynchronous client keeps open belong to the loop that opened
    them. A thread of its own, since the caller may be on a loop (a notebook is). The thread starts at the first use.

    Example:
        >>> async def answer() -> int:
        ...     return 42
        >>> loop = EventLoopThread()
        >>> loop.run(answer())
        42
        >>> loop.close()
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None

    def run(self, awaitable: Awaitable[T]) -> T:
        """Return what an awaitable gives, or raise what it raises; a call that is interrupted cancels it."""
        if self._portal is None:
            self._portal = self._stack.enter_context(start_blocking_portal())
        future = self._portal.start_task_soon(_result, awaitable)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End the loop, with what still runs on it."""
        if self._portal is not None:
            self._portal.call(self._portal.stop, True)
        self._portal = None
        self._stack.close()


async def _result(awaitable: Awaitable[T]) -> T:
    return await awaitable
