"""The chat client against a scripted server."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import pytest

from rader_plugins.errors import InputError, LLMError
from rader_plugins.llm import ChatModel, ContextOverflowError, Generator, OpenAIChat, RequestRefusedError, Usage
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
                "max_tokens": 9, "stop": ["\n"], "seed": 7, "top_k": 40, "stream": False,
            }
        ]  # fmt: skip
        llm.chat(HELLO)
        assert server.requests[1] == {
            "model": "served",
            "messages": HELLO,
            "temperature": 0.0,
            "top_k": 40,
            "stream": False,
        }
        assert llm.usage == Usage(requests=2, prompt_tokens=4, completion_tokens=12)


def test_extra_none_leaves_a_field_out():
    extra = {"max_tokens": None, "max_completion_tokens": 5, "temperature": None}
    with LLMServer() as server, connect(server, model="m", extra=extra) as llm:
        llm.chat(HELLO, max_tokens=3)
        assert server.requests == [{"model": "m", "messages": HELLO, "max_completion_tokens": 5, "stream": False}]


def test_raw_text_goes_to_the_other_endpoint():
    with LLMServer("and so on") as server, OpenAIChat(f"{server.url}/v1/completions", backoff=0.0) as llm:
        assert isinstance(llm, Generator)
        (answer,) = llm.complete("Once upon", temperature=0.8, top_k=40, max_tokens=9, stop=["\n"], seed=7)
        assert (answer.text, answer.finish_reason) == ("and so on", "stop")
        assert server.requests == [
            {
                "model": "served", "prompt": "Once upon", "temperature": 0.8, "top_k": 40, "max_tokens": 9,
                "stop": ["\n"], "seed": 7, "stream": False,
            }
        ]  # fmt: skip
        llm.chat(HELLO, top_k=3)
        assert (server.requests[1]["messages"], server.requests[1]["top_k"]) == (HELLO, 3)
        assert llm.usage == Usage(requests=2, prompt_tokens=4, completion_tokens=6)


async def test_raw_text_without_blocking_the_loop():
    with LLMServer(lambda body: body["prompt"] + "!") as server, connect(server) as llm:
        answers = await asyncio.gather(*(llm.acomplete(f"p{number}", n=2) for number in range(5)))
        assert [[answer.text for answer in pair] for pair in answers] == [[f"p{number}!"] * 2 for number in range(5)]


def numbered(body: dict) -> str:
    return f"answer {body['seed']}"


def test_a_server_that_gives_one_choice_is_asked_again():
    with LLMServer(numbered, most_choices=1) as server, connect(server) as llm:
        answers = llm.chat(HELLO, n=3, seed=5, temperature=0.8)
        assert [answer.text for answer in answers] == ["answer 5", "answer 6", "answer 7"]
        assert [request.get("n") for request in server.requests] == [3, None, None]
        assert sorted(request["seed"] for request in server.requests) == [5, 6, 7]
        assert len(llm.complete("p", n=3, seed=5)) == 3
        assert [request.get("n") for request in server.requests[3:]] == [None] * 3


@pytest.mark.parametrize("options", [{}, {"most_choices": 2}, {"most_choices": 3}, {"slots": 2, "refuse_n": True}])
@pytest.mark.parametrize("max_n", [None, 1, 3])
def test_how_a_call_is_divided_does_not_show(options, max_n):
    with LLMServer(numbered, **options) as server, connect(server, max_n=max_n) as llm:
        for ask in (partial(llm.complete, "p"), partial(llm.chat, HELLO)):
            for n in (8, 2, 8, 1):
                assert [answer.text for answer in ask(n=n, seed=10, temperature=0.8)] == [
                    f"answer {seed}" for seed in range(10, 10 + n)
                ]


def test_a_refused_number_of_answers_is_asked_for_once():
    with LLMServer("x", slots=2, refuse_n=True) as server, connect(server) as llm:
        for n in (4, 4, 5, 2):
            assert len(llm.chat(HELLO, n=n, temperature=0.8)) == n
        assert [request.get("n") for request in server.requests] == [4] + [None] * 13 + [2]


def test_a_refusal_that_is_not_about_the_number_is_raised():
    with LLMServer("!400") as server, connect(server) as llm:
        with pytest.raises(RequestRefusedError, match="scripted failure"):
            llm.chat(HELLO, n=4)
        assert len(server.requests) == 2
        with pytest.raises(RequestRefusedError):
            llm.chat(HELLO, n=4)
        assert server.requests[2]["n"] == 4  # nothing was learned from it


def test_parts_of_a_call_are_sent_at_once():
    with LLMServer("x") as server, connect(server, concurrency=4, max_n=2) as llm:
        server.gate = threading.Barrier(4)  # every request waits until four are in work
        assert len(llm.chat(HELLO, n=8)) == 8


async def test_divided_calls_of_many_tasks_end():
    with LLMServer("x") as server, connect(server, concurrency=2, max_n=1) as llm:
        answers = await asyncio.gather(*(llm.achat(HELLO, n=3) for _ in range(12)))
        assert [len(answer) for answer in answers] == [3] * 12
        assert server.most <= 2


@pytest.mark.parametrize(
    ("action", "kind"), [("context", "context"), ("no-model", "model"), ("401", "access"), ("422", "request")]
)
def test_refusals_are_told_apart(action, kind):
    with LLMServer(script=(action,)) as server, connect(server) as llm:
        with pytest.raises(RequestRefusedError) as caught:
            llm.complete("p", n=3 if kind != "request" else 1)
        assert caught.value.kind == kind
        assert isinstance(caught.value, ContextOverflowError) == (kind == "context")
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "words",
    [
        '{"error": {"message": "Too long.", "code": "context_length_exceeded"}}',
        '{"error": {"message": "This model\'s maximum context length is 8 tokens. However, you requested 9"}}',
        '{"message": "The decoder prompt (length 9) is longer than the maximum model length of 8."}',
        '{"message": "The input (9 tokens) is longer than the model\'s context length (8 tokens)."}',
        '{"message": "max_tokens must be at least 1, got -1."}',
    ],
)
def test_the_words_of_servers_for_an_overflow(words):
    with LLMServer(script=("400",)) as server, connect(server) as llm:
        server.refusal = words
        with pytest.raises(ContextOverflowError):
            llm.chat(HELLO)


def test_an_endless_answer_ends_at_the_limit():
    with LLMServer("!endless") as server, connect(server) as llm:
        for answers in (llm.complete("p", n=2, max_tokens=7), llm.chat(HELLO, n=2, max_tokens=7)):
            assert [(len(answer.text.split()), answer.finish_reason) for answer in answers] == [(7, "length")] * 2


def test_slots_of_the_scripted_server_bound_what_it_works_on():
    now, peak, lock, pair = 0, 0, threading.Lock(), threading.Barrier(2)

    def answer(body: dict) -> str:
        nonlocal now, peak
        with lock:
            now += 1
            peak = max(peak, now)
        pair.wait(60)  # breaks where one is worked on alone
        with lock:
            now -= 1
        return "x"

    with LLMServer(answer, slots=2) as server, connect(server, concurrency=6, max_n=1) as llm:
        assert len(llm.chat(HELLO, n=12)) == 12
        assert peak == 2
        assert server.most <= 6


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
        task = asyncio.create_task(llm.achat(HELLO))
        await asyncio.to_thread(wait_for, lambda: len(server.requests) == 1)
        assert not task.done()
        server.released.set()
        assert (await task)[0].text == "x"


async def test_a_closed_client_says_so():
    with LLMServer() as server:
        llm = connect(server, model="m")
        llm.close()
        with pytest.raises(LLMError, match="closed"):
            llm.chat(HELLO)
        with pytest.raises(LLMError, match="closed"):
            await llm.achat(HELLO)


@pytest.mark.parametrize(
    "option",
    [{"max_n": -1}, {"concurrency": 0}, {"max_retries": -1}, {"timeout": 0}, {"backoff": -1.0}, {"concurrency": 1.5}],
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
        (HELLO, {"top_k": 0}),
        (HELLO, {"max_tokens": 0}),
        (HELLO, {"stop": "\n"}),
    ],
)
def test_bad_calls_send_nothing(messages, options):
    with LLMServer() as server, connect(server) as llm:
        with pytest.raises(InputError):
            llm.chat(messages, **options)
        assert server.requests == []


@pytest.mark.parametrize("prompt", ["", None, ["p"], "\ud800"])
def test_bad_prompts_send_nothing(prompt):
    with LLMServer() as server, connect(server) as llm:
        with pytest.raises(InputError, match="prompt"):
            llm.complete(prompt)
        assert server.requests == []


def test_fingerprint_is_of_the_model_not_of_its_place():
    llm, elsewhere = OpenAIChat("http://a:1", "m"), OpenAIChat("http://b:2", "m")
    assert llm.fingerprint == elsewhere.fingerprint
    assert llm.fingerprint != OpenAIChat("http://a:1", "m2").fingerprint
    assert llm.fingerprint != OpenAIChat("http://a:1", "m", extra={"top_k": 1}).fingerprint
