"""Reasoning queries against a scripted server, and from a file."""

from __future__ import annotations

import asyncio
import json
import logging
import threading

import pytest

from rader_plugins.errors import InputError
from rader_plugins.llm import OpenAIChat
from rader_plugins.retrieval.reasoning import REASONING_PROMPT, ReasoningQuery, ReasoningReport
from tests.support.embedding_server import wait_for
from tests.support.llm_server import LLMServer


def question(body: dict) -> str:
    return body["messages"][-1]["content"].rpartition("Question:\n")[2]


def steps(body: dict) -> str:
    """Reasoning that depends on the question; a question with ``!`` before it is what the server is to do."""
    text = question(body)
    return text if text.startswith("!") else f" steps about {text}\n"


def connect(server: LLMServer, **options) -> ReasoningQuery:
    return ReasoningQuery(OpenAIChat(server.url, backoff=0.0, timeout=10.0, max_retries=0), **options)


def rows(path, *entries) -> str:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("append", ["b?\nsteps about b?", "a?\nsteps about a?"]), ("replace", ["steps about b?", "steps about a?"])],
)
def test_modes(mode, expected):
    with LLMServer(steps) as server:
        assert connect(server, mode=mode).expand(["b?", "a?"]) == expected


def test_the_question_reaches_the_server_as_it_is():
    with LLMServer(steps) as server:
        connect(server, temperature=0.7, max_tokens=9, seed=3).expand(["{query} {x}?"])
        sent = server.requests[0]
        assert sent["messages"] == [{"role": "user", "content": REASONING_PROMPT.replace("{query}", "{query} {x}?")}]
        assert (sent["temperature"], sent["max_tokens"], sent["seed"]) == (0.7, 9, 3)
        assert connect(server, prompt="Why? Question:\n{query}").expand(["a"]) == ["a\nsteps about a"]


@pytest.mark.parametrize(
    "action", ["400", "500", "429-late", "drop", "empty", "no-choices", "refusal", "filtered", "garbage"]
)
def test_falls_back_to_the_question_counts_and_logs(action, caplog):
    with LLMServer(steps) as server, caplog.at_level(logging.WARNING):
        reasoning = connect(server)
        assert reasoning.expand(["a?", f"!{action}", "b?"]) == [
            "a?\nsteps about a?", f"!{action}", "b?\nsteps about b?"
        ]  # fmt: skip
    assert reasoning.report == ReasoningReport(queries=3, reasoned=2, fallbacks=1)
    assert "1 of 3 queries have no reasoning" in caplog.text


def test_a_hanging_server_means_the_plain_question():
    with LLMServer(steps) as server:
        # Of the others none takes so long.
        reasoning = ReasoningQuery(OpenAIChat(server.url, timeout=3.0, max_retries=0))
        assert reasoning.expand(["!hang", "a"]) == ["!hang", "a\nsteps about a"]


@pytest.mark.parametrize(
    ("answer", "used"),
    [("<think>hm</think> so", "so"), ("<think>first, consider", "first, consider"), ("<think>hm</think>", None)],
)
def test_thinking_models(answer, used):
    with LLMServer(answer) as server:
        assert connect(server, mode="replace").expand(["q"]) == [used or "q"]


def test_equal_questions_are_asked_once_and_blank_ones_never(caplog):
    with LLMServer(steps) as server, caplog.at_level(logging.WARNING):
        reasoning = connect(server)
        assert reasoning.expand(["a", "", "a", " "]) == ["a\nsteps about a", "", "a\nsteps about a", " "]
        assert len(server.requests) == 1
        assert reasoning.expand([]) == []
        assert reasoning.report.fallbacks == 0
    assert not caplog.records


def test_cache_survives_the_process_and_failures_are_asked_again(tmp_path):
    with LLMServer(steps, script=("ok", "500")) as server:
        first_process = connect(server, cache=tmp_path / "reasoning", concurrency=1)
        assert first_process.expand(["a", "b"]) == ["a\nsteps about a", "b"]
        other = connect(server, cache=tmp_path / "reasoning", mode="replace")
        assert other.expand(["a", "b"]) == ["steps about a", "steps about b"]
        assert len(server.requests) == 3
    offline = ReasoningQuery(OpenAIChat("http://localhost:1", "served"), cache=tmp_path / "reasoning")
    assert offline.expand(["b"]) == ["b\nsteps about b"]


def test_a_batch_keeps_every_slot_busy():
    with LLMServer(steps) as server:
        server.gate = threading.Barrier(4)
        reasoning = connect(server, concurrency=4)
        assert reasoning.expand([str(number) for number in range(12)]) == [
            f"{number}\nsteps about {number}" for number in range(12)
        ]
        assert server.most == 4


async def test_async_gives_the_same_and_does_not_block_the_loop():
    with LLMServer(steps, script=("hang",)) as server:
        reasoning = connect(server)
        task = asyncio.create_task(reasoning.aexpand(["a"]))
        await asyncio.to_thread(wait_for, lambda: len(server.requests) == 1)
        assert not task.done()
        server.released.set()
        assert await task == ["a"]  # the connection broke
        assert await reasoning.aexpand(["a", "!500"]) == ["a\nsteps about a", "!500"]


async def test_from_file_by_id_and_by_question(tmp_path):
    path = rows(
        tmp_path / "reasoning.jsonl",
        {"query_id": "q1", "query": "one?", "text": "first"},
        {"_id": "q2", "text": "second ∑"},
        {"question": "three?", "reasoning": "third"},
    )
    reasoning = ReasoningQuery.from_file(path)
    assert reasoning.expand(["x?", "y?", "z?"], ids=["q2", "q1", "q9"]) == ["x?\nsecond ∑", "y?\nfirst", "z?"]
    assert reasoning.report == ReasoningReport(queries=3, reasoned=2, fallbacks=1)
    assert reasoning.expand(["one?", "three?", "two?"]) == ["one?\nfirst", "three?\nthird", "two?"]
    replacing = ReasoningQuery.from_file(path, mode="replace")
    assert await replacing.aexpand(["one?", "x"], ids=["q7", "q2"]) == ["first", "second ∑"]


def test_a_file_that_goes_by_id_wants_ids(tmp_path):
    reasoning = ReasoningQuery.from_file(rows(tmp_path / "f.jsonl", {"id": "q1", "text": "first"}))
    with pytest.raises(InputError, match="ids="):
        reasoning.expand(["one?"])
    with pytest.raises(InputError, match="every query"):
        reasoning.expand(["one?"], ids=["q1", "q2"])
    assert reasoning.expand([]) == []


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([{"id": "a"}], "row 1 needs 'text'"),
        ([{"text": "x"}], "row 1 needs"),
        ([{"id": "a", "text": "x"}, {"id": "a", "text": "y"}], "row 2 contradicts.*'a'"),
        ([{"id": 3, "text": "x"}], "string"),
        ([["a"]], "JSON object"),
    ],
)
def test_bad_files(tmp_path, entries, words):
    with pytest.raises(InputError, match=words):
        ReasoningQuery.from_file(rows(tmp_path / "f.jsonl", *entries))


def test_a_repeated_row_is_no_contradiction(tmp_path):
    row = {"id": "a", "text": "x"}
    assert ReasoningQuery.from_file(rows(tmp_path / "f.jsonl", row, row)).expand(["q"], ids=["a"]) == ["q\nx"]


@pytest.mark.parametrize(
    "options",
    [{"mode": "prepend"}, {"prompt": "no place"}, {"concurrency": 0}, {"max_tokens": 0}, {"temperature": -1}],
)
def test_bad_options(options):
    with pytest.raises(InputError):
        ReasoningQuery(OpenAIChat("http://localhost:1", "m"), **options)


def test_bad_input():
    with LLMServer(steps) as server:
        reasoning = connect(server)
        for queries in ("one string", [3], ["\ud800"]):
            with pytest.raises(InputError):
                reasoning.expand(queries)
        assert server.requests == []
    with pytest.raises(InputError, match="from_file"):
        ReasoningQuery("http://localhost:8000")
