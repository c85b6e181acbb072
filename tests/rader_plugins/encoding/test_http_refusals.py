"""Embedding servers that take fewer or shorter texts than they are sent."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from rader_plugins.encoding.cache import CachedEncoder, VectorCache
from rader_plugins.encoding.http import HTTPEncoder
from rader_plugins.errors import EncodingError, InputError, RefusedTextsError
from tests.support.embedding_server import text_vector
from tests.support.http_server import AnsweringServer, HTTPRequest, Reply


def vectors_of(texts: list[str]) -> Reply:
    data = [{"index": index, "embedding": text_vector(text, 8).tolist()} for index, text in enumerate(texts)]
    return Reply({"data": data})


def refusing(status: int, most: int = 1000, longest: int = 10**9, message: str = "no") -> Any:
    def answer(request: HTTPRequest) -> Reply:
        texts = request.body["input"]
        if len(texts) > most or any(len(text) > longest for text in texts):
            return Reply({"error": {"message": message}}, status)
        return vectors_of(texts)

    return answer


def connect(server: AnsweringServer, **options: Any) -> HTTPEncoder:
    return HTTPEncoder(server.url, recipe="plain", model="m", backoff=0.0, max_retries=1, **options)


def right(texts: list[str]) -> np.ndarray:
    rows = np.stack([text_vector(text, 8) for text in texts]).astype(np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize("most", [1, 5, 10])
def test_a_limit_on_the_number_of_texts_is_found_and_remembered(status: int, most: int) -> None:
    texts = [f"text {number}" for number in range(100)]
    with AnsweringServer(refusing(status, most)) as server, connect(server, concurrency=1) as encoder:
        np.testing.assert_allclose(encoder.encode_documents(texts), right(texts), atol=1e-6)
        first = len(server.requests)
        np.testing.assert_allclose(encoder.encode_documents(texts), right(texts), atol=1e-6)
        later_requests = server.requests[first:]
    assert all(len(request.body["input"]) <= most for request in later_requests), "what was learned is kept to"
    assert len(later_requests) <= 2 * (100 // most) + 1


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("bad", [[0], [37], [99], [3, 4, 60]])
def test_one_text_that_is_refused_is_named_and_the_rest_is_there(bad: list[int], asynchronous: bool) -> None:
    texts = [f"text {number}" for number in range(100)]
    for position in bad:
        texts[position] = f"{position} is long " * 200
    with AnsweringServer(refusing(400, longest=1000, message="too long")) as server, connect(server) as encoder:
        with pytest.raises(RefusedTextsError, match=rf"document {bad[0]}\b.*too long") as caught:
            asyncio.run(encoder.aencode_documents(texts)) if asynchronous else encoder.encode_documents(texts)
        error = caught.value
        assert sorted(error.refused) == bad
        assert error.positions == [position for position in range(100) if position not in bad]
        np.testing.assert_allclose(error.vectors, right([texts[index] for index in error.positions]), atol=1e-6)
        largest = max(len(request.body["input"]) for request in server.requests)
        encoder.encode_documents([f"other {number}" for number in range(100)])
        assert len(server.requests[-1].body["input"]) > 3, "a text that is too long says nothing of the number"
        assert largest == 32


@pytest.mark.parametrize("bad", [[0], [37], [3, 4, 60]])
def test_one_text_over_which_a_server_fails_is_named_and_the_rest_is_there(bad: list[int]) -> None:
    """Ollama answers so where a vector has no numbers."""
    texts = [f"text {number}" for number in range(100)]
    for position in bad:
        texts[position] = f"{position} is long " * 200
    with AnsweringServer(refusing(500, longest=1000, message="unsupported value: NaN")) as server:
        with connect(server) as encoder, pytest.raises(RefusedTextsError, match=f"document {bad[0]}.*NaN") as caught:
            encoder.encode_documents(texts)
        error = caught.value
        assert sorted(error.refused) == bad
        np.testing.assert_allclose(error.vectors, right([texts[index] for index in error.positions]), atol=1e-6)
        with connect(server) as encoder:
            encoder.encode_queries(["short"])
            with pytest.raises(EncodingError, match="failed 2 times.*NaN") as alone:
                encoder.encode_queries(["x" * 2000])
        assert not isinstance(alone.value, RefusedTextsError), "nothing tells the text from the server"


def test_a_server_that_fails_over_too_many_texts_gets_fewer() -> None:
    texts = [f"text {number}" for number in range(100)]
    with AnsweringServer(refusing(500, most=5)) as server, connect(server, concurrency=1) as encoder:
        np.testing.assert_allclose(encoder.encode_documents(texts), right(texts), atol=1e-6)
        first = len(server.requests)
        encoder.encode_documents(texts)
        assert all(len(request.body["input"]) <= 5 for request in server.requests[first:])


@pytest.mark.parametrize("working", [0, 1, 3, 5])
def test_a_server_that_stops_working_is_not_taken_for_one_that_refuses(working: int) -> None:
    """It takes all texts but one that is long, and after so many answers fails over everything."""
    texts = [*(f"text {number}" for number in range(15)), "x" * 2000]
    whole = refusing(500, longest=1000)
    answers: list[Reply] = []

    def answer(request: HTTPRequest) -> Reply:
        reply = whole(request)
        if reply.status == 200:
            answers.append(reply)
        return reply if len(answers) <= working else Reply({"error": {"message": "out of order"}}, 500)

    with AnsweringServer(answer) as server, connect(server, concurrency=1) as encoder:
        with pytest.raises(EncodingError) as caught:
            encoder.encode_documents(texts)
        if working < 5:  # text 0-7, 8-11, 12 and 13, 14, then one of them again
            assert not isinstance(caught.value, RefusedTextsError)
        else:
            assert isinstance(caught.value, RefusedTextsError)
            assert list(caught.value.refused) == [15]
        assert len(server.requests) < 40


def test_a_text_over_which_a_server_fails_by_chance_is_encoded() -> None:
    texts = [f"text {number}" for number in range(8)]
    failures = iter([True] * 2 + [False, True, False, True, True])  # twice whole; a half; a quarter; each of two texts

    def answer(request: HTTPRequest) -> Reply:
        if next(failures, False):
            return Reply({"error": {"message": "busy"}}, 500)
        return vectors_of(request.body["input"])

    with AnsweringServer(answer) as server, connect(server) as encoder:
        np.testing.assert_allclose(encoder.encode_documents(texts), right(texts), atol=1e-6)


def test_equal_texts_that_are_refused_are_all_named() -> None:
    texts = ["a", "x" * 50, "b", "x" * 50]
    with (
        AnsweringServer(refusing(400, longest=10)) as server,
        connect(server) as encoder,
        pytest.raises(RefusedTextsError) as caught,
    ):
        encoder.encode_queries(texts)
    assert sorted(caught.value.refused) == [1, 3]
    assert caught.value.positions == [0, 2]


def test_a_server_that_refuses_everything_is_not_asked_about_each_text() -> None:
    texts = [f"text {number}" for number in range(1000)]
    with AnsweringServer(refusing(400, most=0, message="no such deployment")) as server, connect(server) as encoder:
        with pytest.raises(EncodingError, match="no such deployment") as caught:
            encoder.encode_documents(texts)
        assert not isinstance(caught.value, RefusedTextsError)
        assert len(server.requests) < 300


def test_a_length_that_is_called_an_error_of_the_server_is_not_tried_again() -> None:
    message = "input is too large to process. increase the physical batch size"
    with AnsweringServer(refusing(500, longest=100, message=message)) as server, connect(server) as encoder:
        with pytest.raises(RefusedTextsError, match="document 1"):
            encoder.encode_documents(["a", "x" * 200])
        assert len(server.requests) == 3


def test_a_cache_keeps_what_was_encoded_and_names_the_callers_positions(tmp_path: Any) -> None:
    texts = ["a", "b", "x" * 50, "c"]
    with AnsweringServer(refusing(400, longest=10)) as server, connect(server) as encoder:
        cached = CachedEncoder(encoder, VectorCache(tmp_path / "cache.sqlite"))
        cached.encode_documents(["b"])
        with pytest.raises(RefusedTextsError) as caught:
            cached.encode_documents(texts)
        assert list(caught.value.refused) == [2]
        assert caught.value.positions == [0, 1, 3]
        np.testing.assert_allclose(caught.value.vectors, right(["a", "b", "c"]), atol=1e-6)
        before = len(server.requests)
        cached.encode_documents(["a", "b", "c"])
        assert len(server.requests) == before


def test_tokens_of_a_request_are_bounded() -> None:
    texts = ["word " * 60] * 5 + [f"{number} " + "word " * 60 for number in range(20)]
    with AnsweringServer(lambda request: vectors_of(request.body["input"])) as server:
        with connect(server, batch_tokens=300) as encoder:
            encoder.encode_documents(texts)
        assert all(sum(map(len, request.body["input"])) <= 1000 for request in server.requests)
        with pytest.raises(InputError, match="tokenizer"):
            connect(server, max_tokens=10)


def test_headers_and_fields_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "a-key")
    monkeypatch.setenv("OPENAI_API_KEY", "another")
    with AnsweringServer(lambda request: vectors_of(request.body["input"])) as server:
        options: dict[str, Any] = {
            "headers": {"api-key": "${MY_KEY}"},
            "extra": {"dimensions": 8, "encoding_format": None},
        }
        with connect(server, **options) as encoder:
            encoder.encode_queries(["a"])
        (request,) = server.requests
    assert request.headers["api-key"] == "a-key"
    assert "authorization" not in request.headers, "a key of its own takes the place of the bearer token"
    assert request.body == {"model": "m", "input": ["a"], "dimensions": 8}
