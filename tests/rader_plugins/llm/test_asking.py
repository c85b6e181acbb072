"""`ask_all`: order, bounds and when it gives up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from rader_plugins.background import Workers
from rader_plugins.errors import InputError, LLMError
from rader_plugins.llm import Asked, GaveUpError, GiveUp, RequestRefusedError, aask_all, ask_all

NEVER = GiveUp(in_a_row=None)


def failing(*kinds: str) -> Callable[[int], int]:
    """Work that fails for item k as the k-th kind says; ``ok`` and all further ones succeed."""

    def work(item: int) -> int:
        kind = kinds[item] if item < len(kinds) else "ok"
        if kind == "outage":
            raise LLMError(f"no answer to {item}")
        if kind != "ok":
            raise RequestRefusedError(f"{kind} {item}", kind=kind)  # type: ignore[arg-type]
        return 10 * item

    return work


def collect(items: Any, work: Any, **options: Any) -> tuple[list[Asked[int, int]], Exception | None]:
    got: list[Asked[int, int]] = []
    try:
        for answer in ask_all(items, work, **options):
            got.append(answer)
    except Exception as error:
        return got, error
    return got, None


def acollect(items: Any, work: Any, **options: Any) -> tuple[list[Asked[int, int]], Exception | None]:
    got: list[Asked[int, int]] = []

    async def read() -> None:
        async for answer in aask_all(items, work, **options):
            got.append(answer)

    try:
        asyncio.run(read())
    except Exception as error:
        return got, error
    return got, None


@pytest.mark.parametrize("threads", [1, 3, 8])
def test_results_come_in_the_order_of_the_items(threads: int) -> None:
    got, error = collect(iter(range(100)), failing(), concurrency=threads, give_up=NEVER)
    assert error is None
    assert [(answer.position, answer.item, answer.result) for answer in got] == [(n, n, 10 * n) for n in range(100)]


def test_the_first_may_end_last_and_still_comes_first() -> None:
    last = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert last.wait(20)
        if item == 5:
            last.set()
        return item

    assert [a.item for a in ask_all(range(6), work, concurrency=6, give_up=NEVER)] == list(range(6))


def test_as_they_end() -> None:
    first = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert first.wait(20)
        return item

    order = []
    for answer in ask_all(range(4), work, concurrency=4, give_up=NEVER, in_order=False):
        order.append(answer.item)
        if len(order) == 3:
            first.set()
    assert order[-1] == 0
    assert sorted(order) == [0, 1, 2, 3]


def test_items_are_read_a_little_ahead_and_no_more() -> None:
    read: list[int] = []

    def items() -> Any:
        for number in range(10_000):
            read.append(number)
            yield number

    answers = ask_all(items(), failing(), concurrency=2, give_up=NEVER)
    assert next(answers).item == 0
    assert len(read) < 20
    answers.close()


@pytest.mark.parametrize("run", [collect, acollect])
@pytest.mark.parametrize("limit", [1, 4])
def test_failures_in_a_row_end_it_and_what_came_is_not_lost(run: Any, limit: int) -> None:
    work = failing("ok", "outage", "ok", *["outage"] * limit)
    got, error = run(range(100), work, concurrency=1, give_up=GiveUp(in_a_row=limit))
    assert isinstance(error, GaveUpError)
    assert "no answer" in str(error)
    assert got[0].result == 0
    if limit > 1:
        assert got[2].result == 20
        assert len(got) >= 3 + limit


@pytest.mark.parametrize("run", [collect, acollect])
@pytest.mark.parametrize("kind", ["context", "filter"])
def test_a_refusal_of_single_items_does_not_end_it(run: Any, kind: str) -> None:
    got, error = run(range(30), failing(*[kind] * 29), concurrency=1, give_up=GiveUp(in_a_row=3))
    assert error is None
    assert sum(answer.error is not None for answer in got) == 29


@pytest.mark.parametrize("run", [collect, acollect])
@pytest.mark.parametrize("kind", ["model", "access"])
def test_what_every_call_would_meet_ends_it_at_once(run: Any, kind: str) -> None:
    got, error = run(range(1000), failing("ok", kind), concurrency=1, give_up=NEVER)
    assert isinstance(error, RequestRefusedError)
    assert error.kind == kind
    assert 2 <= len(got) < 20


@pytest.mark.parametrize("run", [collect, acollect])
def test_a_share_of_a_known_number(run: Any) -> None:
    rule = GiveUp(in_a_row=None, share=0.1, is_useful=lambda result: result % 20 == 0)
    got, error = run(range(40), failing(), concurrency=1, give_up=rule)
    assert isinstance(error, GaveUpError)
    assert "5 of 40" in str(error)
    assert 10 <= len(got) < 40


def test_a_share_of_what_ended() -> None:
    rule = GiveUp(in_a_row=None, share=0.5, at_least=10, is_useful=lambda result: False)
    got, error = collect(iter(range(100)), failing(), concurrency=1, give_up=rule)
    assert isinstance(error, GaveUpError)
    assert len(got) == 6


@pytest.mark.parametrize("run", [collect, acollect])
def test_other_exceptions_end_it_as_they_are(run: Any) -> None:
    def work(item: int) -> int:
        if item == 3:
            raise ZeroDivisionError("a bug")
        return item

    got, error = run(range(100), work, concurrency=1, give_up=NEVER)
    assert isinstance(error, ZeroDivisionError)
    assert {0, 1, 2} <= {answer.item for answer in got}
    got, error = run(range(5), work, concurrency=1, give_up=GiveUp(caught=(ArithmeticError,)))
    assert error is None
    assert isinstance(got[3].error, ZeroDivisionError)


def test_several_callers_share_one_bound() -> None:
    workers = Workers(2, "test")
    now = peak = 0
    lock = threading.Lock()

    def work(item: int) -> int:
        nonlocal now, peak
        with lock:
            now += 1
            peak = max(peak, now)
        with lock:
            now -= 1
        return item

    def call() -> None:
        assert len(list(ask_all(range(50), work, concurrency=workers, give_up=NEVER))) == 50

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert peak <= 2
    assert workers.submit(work, 1).result() == 1, "whoever lends his workers keeps them"


def test_coroutines_are_bounded_and_cancelled() -> None:
    now = peak = 0
    begun: list[int] = []

    async def work(item: int) -> int:
        nonlocal now, peak
        now += 1
        peak = max(peak, now)
        begun.append(item)
        try:
            await asyncio.sleep(0)
            if item > 20:
                await asyncio.Event().wait()
        finally:
            now -= 1
        return item

    async def run() -> None:
        answers = aask_all(range(1000), work, concurrency=3, give_up=NEVER)
        async for answer in answers:
            if answer.item == 20:
                break
        await answers.aclose()  # type: ignore[attr-defined]

    asyncio.run(run())
    assert peak <= 3
    assert now == 0
    assert len(begun) < 30


def test_concurrency_is_checked() -> None:
    with pytest.raises(InputError, match="concurrency"):
        list(ask_all([1], failing(), concurrency=0, give_up=NEVER))
