"""Searches that come at once: the hits of each are its own, errors reach their caller, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rader_plugins import Document, RaderIndex
from rader_plugins.documents import Hit
from rader_plugins.errors import InputError
from rader_plugins.index import lane as lanes
from rader_plugins.index.lane import SearchLane
from rader_plugins.index.request import SearchRequest
from tests.support.encoders import HashEncoder, random_text

HANGS = 120  # seconds after which a test that hangs fails; nothing here takes one


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody come through by waiting long enough."""
    monkeypatch.setattr(lanes, "PATIENCE", 10.0 * HANGS)


def wait_until(condition: Callable[[], bool]) -> None:
    pause, rounds = threading.Event(), 0
    while not condition():
        rounds += 1
        assert rounds < 1000 * HANGS
        pause.wait(0.001)


def in_time(call: Callable[[], Any]) -> Any:
    """Return what a call returns; fail if it hangs."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    thread.join(HANGS)
    assert results, "it hangs, or failed"
    return results[0]


def echo(request: SearchRequest, vectors: Any) -> list[list[Hit]]:
    return [[Hit(Document(query, query), float(request.k), 1)] for query in request.queries]


def names(hits: list[list[Hit]]) -> list[str]:
    return [hit.document.id for ranked in hits for hit in ranked]


class Occupied:
    """A lane of width 1 in which a search is at work until :meth:`leave`."""

    def __init__(self, pool: ThreadPoolExecutor, result: Callable[[], list[list[Hit]]] = list) -> None:
        self.lane = SearchLane(1)
        self.line = self.lane._line
        self.leave = threading.Event()

        def run(request: SearchRequest, vectors: Any) -> list[list[Hit]]:
            assert self.leave.wait(HANGS)
            return result()

        self.first = pool.submit(self.lane.search, SearchRequest(["first"], mode="bm25"), None, run)
        wait_until(lambda: self.line.free == 0)

    def wait_for(self, count: int) -> None:
        wait_until(lambda: len(self.line.calls) == count)


def test_those_that_wait_are_run_together_by_kind_and_get_their_own_hits(patient: None) -> None:
    runs: list[tuple[int, list[str], Any]] = []

    def run(request: SearchRequest, vectors: Any) -> list[list[Hit]]:
        runs.append((request.k, list(request.queries), None if vectors is None else vectors[:, 0].tolist()))
        return echo(request, vectors)

    with ThreadPoolExecutor(9) as pool:
        busy = Occupied(pool)
        calls = []
        for number in range(8):
            queries = [f"{number}.{part}" for part in range(1 + number % 2)]
            request = SearchRequest(queries, mode="dense", k=5 + number // 6)
            vectors = np.full((len(queries), 2), number, np.float32)
            calls.append(pool.submit(busy.lane.search, request, vectors, run))
            busy.wait_for(number + 1)
        busy.leave.set()
        assert [names(call.result(HANGS)) for call in calls] == [
            [f"{number}.{part}" for part in range(1 + number % 2)] for number in range(8)
        ]
        assert busy.first.result(HANGS) == []
    assert [k for k, _, _ in runs] == [5, 6]
    for _, queries, firsts in runs:
        assert [int(query.partition(".")[0]) for query in queries] == firsts
    assert busy.line.free == 1


def test_who_comes_before_the_next_one_begins_is_answered_with_it() -> None:
    line = lanes._Line(1)
    first, second, third, other = (
        lanes._Call(SearchRequest([query], mode="bm25", k=k), None)
        for query, k in zip("abcd", (5, 5, 5, 6), strict=True)
    )
    assert line.begin(first)
    assert not line.begin(second)
    line.end()
    assert second.turn.acquire(blocking=False)  # its turn, but it has not begun
    assert not line.begin(third)
    assert not line.begin(other)
    line.join(second)
    assert (second.batch, line.calls, line.free) == ([second, third], [other], 0)
    line.end()
    assert other.turn.acquire(blocking=False)
    assert not third.turn.acquire(blocking=False)  # who searches for it lets it go
    line.join(other)
    line.end()
    assert (other.batch, line.calls, line.free) == ([other], [], 1)


def test_a_search_with_a_filter_waits_its_turn_and_is_run_alone(patient: None) -> None:
    runs: list[int] = []

    def run(request: SearchRequest, vectors: Any) -> list[list[Hit]]:
        runs.append(len(request.queries))
        return echo(request, vectors)

    with ThreadPoolExecutor(4) as pool:
        busy = Occupied(pool)
        request = SearchRequest(["a"], mode="bm25", filter={"n": 1})
        calls = [pool.submit(busy.lane.search, request, None, run) for _ in range(3)]
        busy.wait_for(3)
        busy.leave.set()
        assert [names(call.result(HANGS)) for call in calls] == [["a"]] * 3
    assert runs == [1, 1, 1]


def test_many_queries_or_a_function_that_filters_wait_for_nobody(patient: None) -> None:
    with ThreadPoolExecutor(1) as pool:
        busy = Occupied(pool)
        many = SearchRequest([str(number) for number in range(100)], mode="bm25")
        assert len(busy.lane.search(many, None, echo)) == 100
        filtered = SearchRequest(["a"], mode="bm25", filter=lambda document: True)
        assert names(busy.lane.search(filtered, None, echo)) == ["a"]
        busy.leave.set()


def test_an_error_reaches_its_caller_alone_and_frees_the_way(patient: None) -> None:
    def run(request: SearchRequest, vectors: Any) -> list[list[Hit]]:
        if "bad" in request.queries:
            raise InputError("bad")
        return echo(request, vectors)

    def failing() -> list[list[Hit]]:
        raise InputError("first")

    with ThreadPoolExecutor(5) as pool:
        busy = Occupied(pool, failing)
        queries = ["a", "bad", "b", "c"]
        calls = [pool.submit(busy.lane.search, SearchRequest([query], mode="bm25"), None, run) for query in queries]
        busy.wait_for(4)
        busy.leave.set()
        with pytest.raises(InputError, match="first"):
            busy.first.result(HANGS)
        for query, call in zip(queries, calls, strict=True):
            if query == "bad":
                with pytest.raises(InputError, match="bad"):
                    call.result(HANGS)
            else:
                assert names(call.result(HANGS)) == [query]
    assert busy.line.free == 1
    assert names(busy.lane.search(SearchRequest(["z"], mode="bm25"), None, echo)) == ["z"]


def test_an_interrupted_search_leaves_the_others_theirs(patient: None) -> None:
    interrupted: list[int] = []

    def run(request: SearchRequest, vectors: Any) -> list[list[Hit]]:
        if len(request.queries) > 1:
            interrupted.append(len(request.queries))
            raise KeyboardInterrupt
        return echo(request, vectors)

    outcomes: dict[int, Any] = {}

    def search(number: int) -> None:
        try:
            outcomes[number] = names(busy.lane.search(SearchRequest([str(number)], mode="bm25"), None, run))
        except KeyboardInterrupt:
            outcomes[number] = None

    with ThreadPoolExecutor(4) as pool:
        busy = Occupied(pool)
        calls = [pool.submit(search, number) for number in range(3)]
        busy.wait_for(3)
        busy.leave.set()
        for call in calls:
            call.result(HANGS)
    assert interrupted == [3]
    assert sorted(map(str, outcomes.values())) == sorted(
        "None" if hits is None else str([str(number)]) for number, hits in outcomes.items()
    )
    assert list(outcomes.values()).count(None) == 1
    assert busy.line.free == 1


def test_nobody_waits_longer_than_the_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "PATIENCE", 0.01)
    with ThreadPoolExecutor(1) as pool:
        busy = Occupied(pool)
        request = SearchRequest(["a"], mode="bm25")
        assert names(busy.lane.search(request, None, echo)) == ["a"]  # while the first is at work
        busy.leave.set()
        busy.first.result(HANGS)
    # Somebody was interrupted before he could give his turn back: the next waits once, and the way is free again.
    busy.lane._line.free = 0
    assert names(busy.lane.search(request, None, echo)) == ["a"]
    monkeypatch.setattr(lanes, "PATIENCE", 10.0 * HANGS)
    assert names(in_time(lambda: busy.lane.search(request, None, echo))) == ["a"]


def test_a_search_within_a_search_does_not_wait(patient: None) -> None:
    lane = SearchLane(1)
    request = SearchRequest(["a"], mode="bm25")

    def run(outer: SearchRequest, vectors: Any) -> list[list[Hit]]:
        return lane.search(outer, vectors, echo)

    assert names(in_time(lambda: lane.search(request, None, run))) == ["a"]
    assert lane._line.free == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_does_not_wait_for_threads_that_it_does_not_have(patient: None) -> None:
    with ThreadPoolExecutor(2) as pool:
        busy = Occupied(pool)
        waiting = pool.submit(busy.lane.search, SearchRequest(["b"], mode="bm25"), None, echo)
        busy.wait_for(1)
        with busy.line.lock:
            child = os.fork()
        if child == 0:
            signal.alarm(HANGS)
            try:
                hits = busy.lane.search(SearchRequest(["a"], mode="bm25"), None, echo)
                os._exit(0 if names(hits) == ["a"] else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        busy.leave.set()
        assert names(waiting.result(HANGS)) == ["b"]


def index_of(folder: Path | None, count: int) -> RaderIndex:
    rng = np.random.default_rng(1)
    index = RaderIndex.create(folder, encoder=HashEncoder())
    index.add([Document(str(number), random_text(rng), {"n": number % 3}) for number in range(count)])
    return index


def requests(count: int) -> list[SearchRequest]:
    rng = np.random.default_rng(2)
    encoder = HashEncoder()
    variants: list[SearchRequest] = []
    for number in range(count):
        text = random_text(rng, 3)
        variants.append(
            SearchRequest(
                [text],
                encoder.encode_queries([text]),
                k=(3, 10)[number % 2],
                mode=("dense", "bm25", "hybrid")[number % 3],
                filter={"n": 1} if number % 7 == 0 else None,
                exclude_ids=[[str(number), str(number + 1)]] if number % 5 == 0 else None,
                details=frozenset({"ranks", "terms"}) if number % 4 == 0 else frozenset(),
            )
        )
    return variants


@pytest.mark.parametrize("where", ["memory", "disk"])
@pytest.mark.parametrize("count", [50, 2500], ids=["vectors", "codes"])
def test_hits_are_those_of_one_search_after_the_other(tmp_path: Path, where: str, count: int) -> None:
    index = index_of(tmp_path / "i" if where == "disk" else None, count)
    every = requests(42)
    expected = [index.search(request) for request in every]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(index.search, every)) == expected

    async def gather() -> list[Any]:
        return await asyncio.gather(*(index.asearch(request) for request in every))

    assert asyncio.run(gather()) == expected
    # All that may be joined, joined for certain.
    for kind in ("dense", "bm25", "hybrid"):
        alike = [replace(request, k=7, details=frozenset(), filter=None) for request in every if request.mode == kind]
        alone = [index.search(request) for request in alike]
        batch = [lanes._Call(request, None if kind == "bm25" else request.vectors) for request in alike]
        assert lanes._together(batch) == batch
        lanes._answer(batch, index._search_newest)
        assert [call.hits for call in batch] == alone
    index.close()


@pytest.mark.parametrize("where", ["memory", "disk"])
@pytest.mark.parametrize("mode", ["dense", "bm25", "hybrid"])
def test_a_search_by_whoever_holds_the_index_waits_for_nobody(
    tmp_path: Path, where: str, mode: Any, patient: None
) -> None:
    index = index_of(tmp_path / "i" if where == "disk" else None, 30)
    vectors = HashEncoder().encode_queries(["prime"])
    request = SearchRequest(["prime"], vectors, mode=mode)
    expected = index.search(request)
    index._vector_lane = index._word_lane = lane = SearchLane(1)
    results: list[Any] = []

    def hold() -> None:
        with index.frozen():
            for searcher in searchers:
                searcher.start()
            wait_until(lambda: lane._line.free == 0)  # one is at work, and waits for what this thread holds
            results.append(index.search(request))

    searchers = [threading.Thread(target=lambda: results.append(index.search(request)), daemon=True) for _ in range(8)]
    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    holder.join(HANGS)
    assert not holder.is_alive()
    for thread in searchers:
        thread.join(HANGS)
        assert not thread.is_alive()
    assert results == [expected] * 9
    index.close()


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_searches_while_walking_through_the_documents_end_among_searches_and_writes(
    tmp_path: Path, where: str, patient: None
) -> None:
    index = index_of(tmp_path / "i" if where == "disk" else None, 30)
    every = requests(12)
    done = threading.Event()
    failures: list[BaseException] = []

    def guarded(work: Callable[[], object]) -> Callable[[], None]:
        def call() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - reported by the test
                failures.append(error)

        return call

    def search() -> None:
        while not done.is_set():
            for request in every:
                index.search(request)

    def write() -> None:
        for number in range(5):
            index.add([Document(f"new {number}", "prime wave")])

    def walk() -> None:
        for document in index.documents():
            index.search(replace(every[0], queries=[document.text]))
        with index.frozen():
            index.search(every[1])
        own = replace(every[2], filter=lambda document: bool(index.search(every[3])))
        index.search(own)

    def run_all() -> None:
        others = [threading.Thread(target=guarded(search), daemon=True) for _ in range(8)]
        mine = [threading.Thread(target=guarded(work), daemon=True) for work in (write, walk)]
        for thread in [*others, *mine]:
            thread.start()
        for thread in mine:
            thread.join(HANGS)
        done.set()
        for thread in [*mine, *others]:
            thread.join(HANGS)
            assert not thread.is_alive()

    run_all()
    assert failures == []
    assert index._vector_lane._line.calls == index._word_lane._line.calls == []
    assert index._word_lane._line.free == 1
    index.close()
