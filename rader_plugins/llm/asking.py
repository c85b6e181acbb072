"""`ask_all`: ask a model about many items, so many at once, and give up in time where going on is of no use."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sized
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Generic, TypeVar, cast

from rader_plugins.background import Workers
from rader_plugins.errors import InputError, LLMError
from rader_plugins.llm.base import RequestRefusedError

__all__ = ["Asked", "GaveUpError", "GiveUp", "aask_all", "ask_all"]

T = TypeVar("T")
R = TypeVar("R")

# So many times as many items as calls at once are under way or wait to be taken: the slots stay busy, and a long list
# is not held as calls.
_AHEAD = 4


class GaveUpError(LLMError):
    """Asking went no further; what had come until then was yielded before this was raised."""


@dataclass(frozen=True)
class GiveUp:
    """When to ask no further. Failures are counted in the order in which calls end.

    What every other call would meet too (a missing key, an unknown model) ends the run at once, whatever stands here.

    Args:
        in_a_row: So many failures one after another; None goes on for ever. A refusal that concerns one item alone (too
            long, filtered) says nothing of the next and does not count.
        count_refusals: Count in ``in_a_row`` what a server refuses for another reason, too.
        share: Largest share of the items, 0 to 1, that may go without a useful result; None allows all. Where it is not
            known how many items there are, it is taken of those that have ended, from ``at_least`` on.
        at_least: How many calls must have ended before ``share`` counts.
        is_useful: Tells a result of use from one that counts in ``share`` as a failure; None finds all of use.
        caught: Exceptions that are the failure of one item; any other ends the run as it is.
    """

    in_a_row: int | None = 10
    count_refusals: bool = True
    share: float | None = None
    at_least: int = 20
    is_useful: Callable[[Any], bool] | None = None
    caught: tuple[type[Exception], ...] = (LLMError,)


@dataclass(frozen=True)
class Asked(Generic[T, R]):
    """What became of one item.

    Args:
        position: Number of the item, from 0.
        item: What was asked about.
        result: What the work returned; None where it failed.
        error: The exception that the call raised; None where it returned.
    """

    position: int
    item: T
    result: R | None = None
    error: Exception | None = None


def ask_all(
    items: Iterable[T],
    work: Callable[[T], R],
    *,
    concurrency: int | Workers,
    give_up: GiveUp,
    in_order: bool = True,
) -> Iterator[Asked[T, R]]:
    """Call a function on every item, so many at once, and yield what became of each.

    Args:
        items: Read a little ahead of what was yielded.
        work: Asks about one item; called in threads.
        concurrency: Calls at once, or the workers to call it in, where several callers share one bound.
        give_up: When to stop asking.
        in_order: Yield in the order of the items; False: as they end.

    Raises:
        GaveUpError: See :class:`GiveUp`. What had ended was yielded before.
        Exception: What ``work`` raises and ``give_up.caught`` does not name; a permanent refusal as it is.
    """
    verdict = _Verdict(give_up, items)
    workers = concurrency if isinstance(concurrency, Workers) else Workers(_checked(concurrency), "rader-asking")
    source = enumerate(items)
    queue: SimpleQueue[Future[Asked[T, R]]] = SimpleQueue()
    under_way: set[Future[Asked[T, R]]] = set()
    results: dict[int, Asked[T, R]] = {}
    following = 0
    has_next = True
    try:
        while True:
            while has_next and len(under_way) + len(results) < _AHEAD * workers.threads:
                if (entry := next(source, None)) is None:
                    has_next = False
                    break
                future = workers.submit(_call, work, entry[0], entry[1], give_up.caught)
                under_way.add(future)
                future.add_done_callback(queue.put)
            if not under_way:
                return
            future = queue.get()
            under_way.remove(future)
            outcome = future.result()
            results[outcome.position] = outcome
            stop = verdict.of(outcome)
            while results and (stop or not in_order or following in results):
                following = min(results)
                yield results.pop(following)
                following += 1
            if stop is not None:
                raise stop
    finally:
        for future in under_way:
            future.cancel()
        if workers is not concurrency:
            workers.shutdown(wait=False, cancel_futures=True)


async def aask_all(
    items: Iterable[T],
    work: Callable[[T], R] | Callable[[T], Awaitable[R]],
    *,
    concurrency: int | Workers,
    give_up: GiveUp,
) -> AsyncGenerator[Asked[T, R], None]:
    """As :func:`ask_all`, without blocking the event loop, and yielding as the calls end.

    A coroutine function runs on the loop, any other in threads. Where the reader stops early (read it under
    ``contextlib.aclosing``) or its task is cancelled, calls that have not begun are given up and coroutines cancelled.
    """
    verdict = _Verdict(give_up, items)
    on_loop = inspect.iscoroutinefunction(work)
    workers = concurrency if isinstance(concurrency, Workers) else Workers(_checked(concurrency), "rader-asking")
    limit = workers.threads if on_loop else _AHEAD * workers.threads

    outcomes: list[Asked[T, R]] = []  # in the order in which they ended

    async def ask(position: int, item: T) -> None:
        if not on_loop:
            outcomes.append(await workers.call(_call, cast("Callable[[T], R]", work), position, item, give_up.caught))
            return
        try:
            outcomes.append(Asked(position, item, await cast("Callable[[T], Awaitable[R]]", work)(item)))
        except give_up.caught as error:
            outcomes.append(Asked(position, item, error=error))

    source = enumerate(items)
    under_way: set[asyncio.Task[None]] = set()
    has_next = True
    try:
        while True:
            while has_next and len(under_way) < limit:
                if (entry := next(source, None)) is None:
                    has_next = False
                    break
                under_way.add(asyncio.ensure_future(ask(*entry)))
            if not under_way:
                return
            done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            stop: BaseException | None = None
            while outcomes:
                outcome = outcomes.pop(0)
                stop = stop or verdict.of(outcome)
                yield outcome
            raised = [error for task in done if (error := task.exception())]  # of all: asyncio complains of others
            if stop := stop or next(iter(raised), None):
                raise stop
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        if workers is not concurrency:
            workers.shutdown(wait=False, cancel_futures=True)


def _call(work: Callable[[T], R], position: int, item: T, caught: tuple[type[Exception], ...]) -> Asked[T, R]:
    try:
        return Asked(position, item, work(item))
    except caught as error:
        return Asked(position, item, error=error)


def _checked(concurrency: int) -> int:
    if not isinstance(concurrency, int) or concurrency < 1:
        raise InputError(f"concurrency must be a whole number of at least 1, not {concurrency!r}.")
    return concurrency


class _Verdict:
    """Counts what became of items and tells when to stop."""

    def __init__(self, rule: GiveUp, items: Iterable[Any]) -> None:
        self._rule = rule
        self._total = len(items) if isinstance(items, Sized) else None
        self._ended = 0
        self._failed = 0
        self._in_a_row = 0

    def of(self, asked: Asked[Any, Any]) -> Exception | None:
        """Count an item; return what to raise if nothing more should be asked."""
        rule, error = self._rule, asked.error
        self._ended += 1
        useful = error is None and (rule.is_useful is None or rule.is_useful(asked.result))
        self._failed += not useful
        self._in_a_row = self._in_a_row + 1 if error is not None and not self._is_of_one_item(error) else 0
        if isinstance(error, LLMError) and error.permanent:
            return error
        if rule.in_a_row is not None and self._in_a_row >= rule.in_a_row:
            return self._gave_up(f"{self._in_a_row} calls in a row failed", error)
        if rule.share is not None:
            of = self._total if self._total is not None else max(self._ended, rule.at_least)
            if self._failed > rule.share * of:
                return self._gave_up(f"{self._failed} of {of} have no useful result", error)
        return None

    def _gave_up(self, what: str, error: Exception | None) -> GaveUpError:
        last = "" if error is None else f", the last with: {error}"
        stop = GaveUpError(f"Nothing more is asked, since {what}{last}")
        stop.__cause__ = error
        return stop

    def _is_of_one_item(self, error: Exception) -> bool:
        if not isinstance(error, RequestRefusedError):
            return False
        return error.kind in ("context", "filter") or not self._rule.count_refusals
