"""Queries that wait for a connection travel in one request, and each caller hears of its own alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from rader_plugins.encoding.http import HTTPEncoder
from rader_plugins.errors import EncodingError, RefusedTextsError
from tests.support.embedding_server import text_vector, wait_for
from tests.support.http_server import AnsweringServer, HTTPRequest, Reply


class Door:
    """A server that lets requests in one by one: the first waits until the door is opened."""

    def __init__(self, *, longest: int = 10**9, most: int = 10**9, status: int = 0) -> None:
        self.begun = threading.Event()
        self.open = threading.Event()
        self.longest, self.most, self.status = longest, most, status

    def __call__(self, request: HTTPRequest) -> Reply:
        texts = request.body["input"]
        if not self.open.is_set():
            self.begun.set()
            assert self.open.wait(20)
        elif self.status:
            return Reply({"error": {"message": "scripted failure"}}, self.status)
        if len(texts) > self.most or any(len(text) > self.longest for text in texts):
            return Reply({"error": {"message": "no"}}, 400)
        data = [{"index": index, "embedding": text_vector(text, 8).tolist()} for index, text in enumerate(texts)]
        return Reply({"data": data})


@contextmanager
def waiting(door: Door, calls: list[list[str]], **options: Any) -> Iterator[tuple[Any, HTTPEncoder, list[Future[Any]]]]:
    """Give server, encoder and what becomes of calls that all wait for the only connection."""
    with (
        AnsweringServer(door) as server,
        HTTPEncoder(
            server.url, recipe="plain", model="m", backoff=0.0, max_retries=0, concurrency=1, **options
        ) as encoder,
        ThreadPoolExecutor(len(calls) + 1) as pool,
    ):
        pool.submit(encoder.encode_queries, ["first"])
        assert door.begun.wait(20)
        futures = []
        for count, call in enumerate(calls, start=1):
            futures.append(pool.submit(encoder.encode_queries, call))
            wait_for(lambda: len(encoder._lane._waiting) == count)  # noqa: B023
        try:
            yield server, encoder, futures
        finally:
            door.open.set()


def right(texts: list[str]) -> np.ndarray:
    rows = np.stack([text_vector(text, 8) for text in texts]).astype(np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_queries_that_wait_share_requests() -> None:
    door = Door()
    calls = [[f"query {number}"] for number in range(9)] + [["a", "b", "a"], ["query 0"]]
    with waiting(door, calls, batch_size=8) as (server, _, futures):
        door.open.set()
        for call, future in zip(calls, futures, strict=True):
            np.testing.assert_allclose(future.result(20), right(call), atol=1e-6)
    sent = [request.body["input"] for request in server.requests]
    assert sent == [["first"], [f"query {n}" for n in range(8)], ["query 8", "a", "b", "query 0"]]


def test_no_request_is_longer_than_tokens_allow() -> None:
    door = Door()
    calls = [["x" * 30] * 1, ["y" * 30], ["z" * 200], ["w"]]
    with waiting(door, calls, batch_tokens=25) as (server, _, futures):
        door.open.set()
        for call, future in zip(calls, futures, strict=True):
            np.testing.assert_allclose(future.result(20), right(call), atol=1e-6)
    sent = [[text[0] for text in request.body["input"]] for request in server.requests]
    assert sent == [["f"], ["x", "y"], ["z"], ["w"]]


@pytest.mark.parametrize("bad", [[1], [0, 3], list(range(12))])
def test_only_the_caller_of_a_refused_text_hears_of_it(bad: list[int]) -> None:
    """Also where so many are refused that one caller's request would be given up."""
    door = Door(longest=100)
    calls = [["long " * 50 if number in bad else f"query {number}", "b"][: 1 + number % 2] for number in range(12)]
    with waiting(door, calls) as (_, _, futures):
        door.open.set()
        for number, (call, future) in enumerate(zip(calls, futures, strict=True)):
            if number not in bad:
                np.testing.assert_allclose(future.result(20), right(call), atol=1e-6)
                continue
            with pytest.raises(RefusedTextsError) as failure:
                future.result(20)
            assert list(failure.value.refused) == [0]
            assert failure.value.positions == list(range(1, len(call)))


def test_refused_alone_is_refused_together() -> None:
    door = Door(longest=10)
    calls = [["long " * 50]] * 12
    with waiting(door, calls) as (_, _, futures):
        door.open.set()
        for future in futures:
            with pytest.raises(RefusedTextsError):
                future.result(20)


def test_a_limit_on_the_number_of_texts_is_learned() -> None:
    door = Door(most=2)
    calls = [[f"query {number}"] for number in range(9)]
    with waiting(door, calls) as (server, _, futures):
        door.open.set()
        for call, future in zip(calls, futures, strict=True):
            np.testing.assert_allclose(future.result(20), right(call), atol=1e-6)
    assert max(len(request.body["input"]) for request in server.requests[-2:]) <= 2


def test_a_failing_server_fails_all_at_once() -> None:
    door = Door(status=401)
    with waiting(door, [["a"], ["b"], ["c"]]) as (server, _, futures):
        door.open.set()
        for future in futures:
            with pytest.raises(EncodingError, match="scripted failure"):
                future.result(20)
    assert len(server.requests) == 2


def test_closing_ends_those_who_wait() -> None:
    door = Door()
    with waiting(door, [["a"], ["b"]]) as (_, encoder, futures):
        encoder.close()
        for future in futures:
            with pytest.raises(BaseException):  # noqa: B017, PT011 - cancelled, or told that it is closed
                future.result(20)


def test_a_task_that_is_cancelled_is_not_sent() -> None:
    door = Door()
    with waiting(door, [["a"]]) as (server, encoder, futures):

        async def run() -> None:
            task = asyncio.create_task(encoder.aencode_queries(["given up"]))
            while len(encoder._lane._waiting) < 2:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(run())
        door.open.set()
        np.testing.assert_allclose(futures[0].result(20), right(["a"]), atol=1e-6)
        np.testing.assert_allclose(encoder.encode_queries(["b"]), right(["b"]), atol=1e-6)
    assert [request.body["input"] for request in server.requests] == [["first"], ["a"], ["b"]]
