"""The chat client against a scripted server."""

from __future__ import annotations

import asyncio
import threading

import pytest

from rader_plugins.errors import InputError, LLMError
from rader_plugins.llm import ChatModel, OpenAIChat, RequestRefusedError, Usage
from tests.support.embedding_server import wait_for
from tests.support.llm_server import LLMServer

HELLO = [{"role": "user", "content": "hello there"}]


def connect(server: LLMServer, **options) -> OpenAIChat:
    return OpenAIChat(server.url, **{"backoff": 0.0, "timeout": 10.0, **options})


def test_sends_what_it_was_given_and_counts_tokens():
    with LLMServer("fine thanks a lot") as server, connect(server, extra={"top_k": 40}) as llm:
        assert isinstance(llm, ChatModel)
        answers = llm.chat(HELLO, n=2, temperature=0.8, top_p=0.95, max_tokens=9, stop=["\n"], seed=7)
        assert [(answer.text, answer.finish_reason, answer.refusal) for answer in answers] == [
            ("fine thanks a lot", "stop", False)
        ] * 2
        assert server.requests == [
            {
                "model": "served", "messages": HELLO, "n": 2, "temperature": 0.8, "top_p": 0.95,
                "max_tokens": 9, "stop": ["\n"], "seed": 7, "top_k": 40,
            }
        ]  # fmt: skip
        llm.chat(HELLO)
        assert server.requests[1] == {"model": "served", "messages": HELLO, "temperature": 0.0, "top_k": 40}
        assert llm.usage == Usage(requests=2, prompt_tokens=4, completion_tokens=12)


def test_extra_none_leaves_a_field_out():
    extra = {"max_tokens": None, "max_completion_tokens": 5, "temperature": None}
    with LLMServer() as server, connect(server, model="m", extra=extra) as llm:
        llm.chat(HELLO, max_tokens=3)
        assert server.requests == [{"model": "m", "messages": HELLO, "max_completion_tokens": 5}]


def test_a_server_that_gives_one_choice_is_asked_again():
    with LLMServer("x", most_choices=1) as server, connect(server) as llm:
        assert len(llm.chat(HELLO, n=3, seed=5)) == 3
        assert [request["seed"] for request in server.requests] == [5, 6, 7]
        assert [request.get("n") for request in server.requests] == [3, 2, None]


@pytest.mark.parametrize("action", ["429", "500", "503", "drop"])
def test_retries(action):
    with LLMServer("x", script=(action, action)) as server, connect(server) as llm:
        assert llm.chat(HELLO)[0].text == "x"
        assert len(server.requests) == 3


def test_gives_up_at_the_limit():
    with LLMServer(script=("500",) * 9) as server, connect(server, max_retries=2) as llm:
        with pytest.raises(LLMError, match="3 times.*status 500.*scripted failure"):
            llm.chat(HELLO)
        assert len(server.requests) == 3


def test_a_hanging_server_is_an_error_after_the_timeout():
    with (
        LLMServer(script=("hang",) * 2) as server,
        connect(server, timeout=0.1, max_retries=1) as llm,
        pytest.raises(LLMError, match="ReadTimeout"),
    ):
        llm.chat(HELLO)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("400", "scripted failure 400.*context"),
        ("401", "OPENAI_API_KEY"),
        ("404", "model="),
        ("429-late", "3600"),
        ("garbage", "JSON"),
        ("error-200", "all is not well"),
        ("no-choices", "without a choice"),
        ("odd", "no text"),
    ],
)
def test_bad_answers_are_errors_at_once(action, words):
    with LLMServer(script=(action,)) as server, connect(server) as llm:
        with pytest.raises(LLMError, match=words) as caught:
            llm.chat(HELLO)
        assert len(server.requests) == 1
        assert isinstance(caught.value, RequestRefusedError) == (action in ("400", "401", "404"))


def test_empty_and_refused_answers_are_answers():
    with LLMServer("x", script=("empty", "refusal", "filtered")) as server, connect(server) as llm:
        answers = [llm.chat(HELLO)[0] for _ in range(3)]
        assert [(answer.text, answer.refusal) for answer in answers] == [("", False), ("", True), ("x", True)]


def test_model_must_be_known():
    with LLMServer(models=("a", "b")) as server, connect(server) as llm, pytest.raises(InputError, match="model="):
        llm.chat(HELLO)


def test_key_is_read_at_request_time_and_never_shown(monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-secret")
    with LLMServer(script=("ok", "ok", "400")) as server, connect(server, api_key_env="MY_KEY") as llm:
        llm.chat(HELLO)
        assert server.headers[-1]["Authorization"] == "Bearer sk-secret"
        monkeypatch.delenv("MY_KEY")
        llm.chat(HELLO)
        assert "Authorization" not in server.headers[-1]
        monkeypatch.setenv("MY_KEY", "sk-secret")
        with pytest.raises(LLMError, match=r"\*\*\*") as caught:  # the server repeats it
            llm.chat(HELLO)
        assert "sk-secret" not in repr(llm) + str(caught.value) + str(vars(llm)) + str(vars(llm._server))


def test_requests_are_bounded_over_threads_and_loops():
    with LLMServer() as server, connect(server, concurrency=3) as llm:
        server.gate = threading.Barrier(3)  # every request waits until three are in work

        async def many() -> None:
            await asyncio.gather(*(llm.achat(HELLO) for _ in range(6)))

        callers = [threading.Thread(target=lambda: asyncio.run(many())) for _ in range(2)]
        callers += [threading.Thread(target=llm.chat, args=(HELLO,)) for _ in range(6)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(30)
        assert len(server.requests) == 18
        assert server.most == 3


async def test_async_does_not_block_the_loop():
    with LLMServer("x", script=("hang",)) as server, connect(server) as llm:
        waiting = asyncio.create_task(llm.achat(HELLO))
        await asyncio.to_thread(wait_for, lambda: len(server.requests) == 1)
        assert not waiting.done()
        server.released.set()
        assert (await waiting)[0].text == "x"


async def test_a_closed_client_says_so():
    with LLMServer() as server:
        llm = connect(server, model="m")
        llm.close()
        with pytest.raises(LLMError, match="closed"):
            llm.chat(HELLO)
        with pytest.raises(LLMError, match="closed"):
            await llm.achat(HELLO)


@pytest.mark.parametrize(
    "option", [{"concurrency": 0}, {"max_retries": -1}, {"timeout": 0}, {"backoff": -1.0}, {"concurrency": 1.5}]
)
def test_bad_options(option):
    with pytest.raises(InputError):
        OpenAIChat("http://localhost:1", **option)


@pytest.mark.parametrize(
    ("messages", "options"),
    [
        ([], {}),
        ("hello", {}),
        (["hello"], {}),
        ([{"role": "user"}], {}),
        ([{"role": "user", "content": None}], {}),
        ([{"role": "user", "content": "\ud800"}], {}),
        (HELLO, {"n": 0}),
        (HELLO, {"temperature": -1}),
        (HELLO, {"temperature": float("nan")}),
        (HELLO, {"top_p": 0}),
        (HELLO, {"max_tokens": 0}),
        (HELLO, {"stop": "\n"}),
    ],
)
def test_bad_calls_send_nothing(messages, options):
    with LLMServer() as server, connect(server) as llm:
        with pytest.raises(InputError):
            llm.chat(messages, **options)
        assert server.requests == []


def test_fingerprint_is_of_the_model_not_of_its_place():
    one, other = OpenAIChat("http://a:1", "m"), OpenAIChat("http://b:2", "m")
    assert one.fingerprint == other.fingerprint
    assert one.fingerprint != OpenAIChat("http://a:1", "m2").fingerprint
    assert one.fingerprint != OpenAIChat("http://a:1", "m", extra={"top_k": 1}).fingerprint
