"""Servers that know other parameters, and answers in other forms, than vLLM's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rader_plugins.errors import LLMError, RaderWarning
from rader_plugins.llm import Budget, BudgetedLLM, EmptyAnswersError, OpenAIChat, RequestRefusedError, Usage
from rader_plugins.llm.base import without_thoughts
from tests.support.http_server import AnsweringServer, HTTPRequest, Reply

HELLO: Any = [{"role": "user", "content": "hello there"}]
OPTIONS: dict[str, Any] = {"temperature": 0.7, "top_p": 0.9, "top_k": 20, "max_tokens": 50, "stop": ["\n"], "seed": 3}


def completion(content: Any = "five", reason: str = "stop", usage: bool = True, **message: Any) -> dict[str, Any]:
    counts = {"usage": {"prompt_tokens": 10, "completion_tokens": 5}} if usage else {}
    return {
        "choices": [{"message": {"role": "assistant", "content": content, **message}, "finish_reason": reason}],
        **counts,
    }


def llm_asked_often(llm: OpenAIChat) -> None:
    for _ in range(100):
        llm.chat(HELLO)


def connect(server: AnsweringServer, **options: Any) -> OpenAIChat:
    return OpenAIChat(server.url, "m", backoff=0.0, max_retries=1, **options)


# How servers say that they do not take a parameter.
def openai_words(name: str) -> Reply:
    message = f"Unsupported parameter: '{name}' is not supported with this model."
    if name == "max_tokens":
        message += " Use 'max_completion_tokens' instead."
    return Reply({"error": {"message": message, "param": name, "code": "unsupported_parameter"}}, 400)


def old_openai_words(name: str) -> Reply:
    message = f"Unrecognized request argument supplied: {name}"
    return Reply({"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}, 400)


def pydantic_words(name: str) -> Reply:
    detail = {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted", "input": 1}
    return Reply({"detail": [detail]}, 422)


def value_words(name: str) -> Reply:
    message = f"Unsupported value: '{name}' does not support this with this model. Only the default (1) is supported."
    return Reply({"error": {"message": message, "param": name, "code": "unsupported_value"}}, 400)


def thinking_words(name: str) -> Reply:
    return Reply({"error": {"message": '"llama3" does not support thinking', "param": None}}, 400)


def strict(refused: set[str], words: Any) -> Any:
    def answer(request: HTTPRequest) -> Reply:
        wrong = sorted(refused & set(request.body))
        return words(wrong[0]) if wrong else Reply(completion("five\nand more"))

    return answer


@pytest.mark.parametrize("words", [openai_words, old_openai_words, pydantic_words, value_words])
@pytest.mark.parametrize(
    "refused", [{"max_tokens"}, {"top_k"}, {"temperature", "top_p", "stop", "seed", "max_tokens", "top_k"}, {"stream"}]
)
@pytest.mark.filterwarnings("ignore::rader_plugins.errors.RaderWarning")
def test_refused_parameters_are_learned_once(words: Any, refused: set[str]) -> None:
    with AnsweringServer(strict(refused, words)) as server, connect(server) as llm:
        (answer,) = llm.chat(HELLO, **OPTIONS)
        learned = len(server.requests)
        assert learned <= 2 + 2 * len(refused)
        assert answer.text == ("five" if "stop" in refused else "five\nand more")  # this server ignores stop strings
        llm.chat(HELLO, **OPTIONS)
        assert len(server.requests) == learned + 1, "what was learned is not asked again"
        last = server.requests[-1].body
    assert not refused & set(last)
    assert last.get("max_completion_tokens", last.get("max_tokens")) == 50
    assert set(OPTIONS) - refused <= set(last)


def test_what_is_left_out_is_said() -> None:
    with (
        AnsweringServer(strict({"top_k"}, openai_words)) as server,
        connect(server) as llm,
        pytest.warns(RaderWarning, match="top_k"),
    ):
        llm.chat(HELLO, top_k=5)


@pytest.mark.parametrize("words", [openai_words, pydantic_words])
def test_what_the_user_asked_for_is_not_left_out(words: Any) -> None:
    with AnsweringServer(strict({"seed"}, words)) as server, connect(server, extra={"seed": 5}) as llm:
        with pytest.raises(RequestRefusedError, match="--llm-extra"):
            llm.chat(HELLO)
        assert len(server.requests) == 1


def test_a_message_that_mentions_a_parameter_refuses_none() -> None:
    message = "max_tokens is too large: 9000. This model's maximum context length is 4096 tokens."
    with AnsweringServer(lambda request: Reply({"error": {"message": message}}, 400)) as server, connect(server) as llm:
        with pytest.raises(RequestRefusedError) as caught:
            llm.chat(HELLO, max_tokens=9000)
        assert caught.value.kind == "context"
        assert len(server.requests) == 1


@pytest.mark.filterwarnings("ignore::rader_plugins.errors.RaderWarning")
def test_the_switch_for_thinking_that_the_server_has() -> None:
    def openai(request: HTTPRequest) -> Reply:
        if "chat_template_kwargs" in request.body:
            return old_openai_words("chat_template_kwargs")
        if request.body.get("reasoning_effort") == "none":
            return value_words("reasoning_effort")
        return Reply(completion())

    with AnsweringServer(openai) as server, connect(server, thinking=False) as llm:
        llm.chat(HELLO)
        assert server.requests[-1].body["reasoning_effort"] == "minimal"
    with AnsweringServer(lambda request: Reply(completion())) as server, connect(server, thinking=True) as llm:
        llm.chat(HELLO)
        assert server.requests[-1].body["chat_template_kwargs"] == {"enable_thinking": True}
        assert "reasoning_effort" not in server.requests[-1].body


@pytest.mark.parametrize("thinking", [False, True])
def test_a_server_without_a_switch_for_thinking_is_named(thinking: bool) -> None:
    """An option that turns out to have no effect is no secret."""
    servers = (
        strict({"chat_template_kwargs", "reasoning_effort"}, old_openai_words),
        strict({"chat_template_kwargs", "reasoning_effort"}, thinking_words),
    )
    for answer in servers:
        with (
            AnsweringServer(answer) as server,
            connect(server, thinking=thinking) as llm,
            pytest.warns(RaderWarning, match="no switch for thinking") as warned,
        ):
            assert llm.chat(HELLO)[0].text.startswith("five")
        assert len(warned) == 1


THOUGHTS = ["\nOkay.\nLet me see.\n", "one line"]


def thinking_server(before: str, thoughts: str, after: str, *, apart: bool = False) -> AnsweringServer:
    """A server that applies stop strings to all that its model writes, thoughts included, as vLLM does."""

    def answer(request: HTTPRequest) -> Reply:
        text = f"{before}{thoughts}{after}\n\nfirst line\nsecond line"
        for stop in request.body.get("stop", []):
            text = text.split(stop)[0]
        if not apart:
            return Reply(completion(text))
        inner, end, outer = text.removeprefix(before).partition(after)
        return Reply(completion(outer if end else None, reasoning_content=inner))

    return AnsweringServer(answer)


@pytest.mark.parametrize("thoughts", THOUGHTS)
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    "marks", ["<think> </think>", "[THINK] [/THINK]", "<seed:think> </seed:think>", "◁think▷ ◁/think▷"]
)
def test_stop_strings_count_behind_the_thoughts(thoughts: str, apart: bool, marks: str) -> None:
    before, after = marks.split()
    with thinking_server(before, thoughts, after, apart=apart) as server, connect(server) as llm:
        for _ in range(2):
            (got,) = llm.chat(HELLO, stop=["\n"])
            assert (without_thoughts(got.text) or "").strip() == "first line"
        assert len(server.requests) <= 3


def test_thoughts_that_the_prompt_opened_are_known_from_their_end() -> None:
    with thinking_server("", THOUGHTS[0], "</think>") as server, connect(server) as llm:
        llm.chat(HELLO, stop=["second"])
        (got,) = llm.chat(HELLO, stop=["\n"])
    assert without_thoughts(got.text) == "first line"


@pytest.mark.parametrize(
    ("message", "text", "thoughts"),
    [
        ({"content": "a", "reasoning_content": "b"}, "a", "b"),
        ({"content": "a", "reasoning": "b"}, "a", "b"),
        ({"content": None, "reasoning_content": "b"}, "", "b"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "c"}]}, "ac", ""),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "b"}]}, "a"]}, "a", "b"),
        ({"content": ["a", {"type": "image_url", "image_url": {}}]}, "a", ""),
        ({"content": []}, "", ""),
        ({"content": {"type": "text", "text": "a"}}, "a", ""),
    ],
)  # fmt: skip
def test_contents_of_all_forms(message: Any, text: str, thoughts: str) -> None:
    with AnsweringServer(lambda request: Reply(completion(**message))) as server, connect(server) as llm:
        (answer,) = llm.chat(HELLO)
    assert (answer.text, answer.thoughts) == (text, thoughts)


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("code", [429, 503])
def test_an_error_inside_an_answer_is_that_error(status: int, code: int) -> None:
    replies = [Reply({"error": {"message": "busy", "code": code}}, 200 if status == 200 else code), Reply(completion())]
    with AnsweringServer(lambda request: replies[len(server.requests) - 1]) as server, connect(server) as llm:
        assert llm.chat(HELLO)[0].text == "five"
        assert len(server.requests) == 2


def test_errors_in_answers_without_a_number_and_in_choices() -> None:
    bodies: list[Any] = [
        {"error": {"message": "key is wrong", "code": 401}},
        {"error": "all is not well"},
        {"choices": [{"error": {"message": "upstream fell over", "code": 502}, "message": {"content": ""}}]},
    ]
    for body, words in zip(bodies, ("key is wrong", "all is not well", "upstream fell over"), strict=True):
        with AnsweringServer(lambda request, body=body: Reply(body)) as server, connect(server) as llm:
            with pytest.raises(LLMError, match=words):
                llm.chat(HELLO)
            assert len(server.requests) == 1


@pytest.mark.parametrize(("code", "kind"), [(401, "access"), (402, "access"), (404, "model"), (400, "request")])
def test_a_refusal_in_a_choice_is_that_refusal(code: int, kind: str) -> None:
    choice = {"error": {"message": "no", "code": code}, "finish_reason": "error", "message": {"content": ""}}
    with (
        AnsweringServer(lambda request: Reply({"choices": [choice]})) as server,
        connect(server) as llm,
        pytest.raises(RequestRefusedError) as caught,
    ):
        llm.chat(HELLO)
    assert caught.value.kind == kind


def events(*chunks: Any, done: bool = True) -> Reply:
    lines = [": OPENROUTER PROCESSING", *(f"data: {json.dumps(chunk, ensure_ascii=False)}" for chunk in chunks)]
    return Reply(
        "\n\n".join([*lines, "data: [DONE]"] if done else lines), headers={"Content-Type": "text/event-stream"}
    )


def piece(index: int = 0, reason: str | None = None, **delta: Any) -> Any:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": reason}]}


def test_a_gateway_that_streams_although_it_was_asked_not_to_is_read() -> None:
    reply = events(
        piece(role="assistant", content=None, reasoning_content="h"),
        piece(1, content="t\u2028"),
        piece(reasoning_content="m"),
        piece(content="fi"),
        piece(1, "length", content="wo"),
        piece(content="ve"),
        piece(reason="stop"),
        {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5}},
    )
    with AnsweringServer(lambda request: reply) as server, connect(server) as llm:
        five, two = llm.chat(HELLO, n=2)
        assert (five.text, five.thoughts, five.finish_reason) == ("five", "hm", "stop")
        assert (two.text, two.finish_reason) == ("t\u2028wo", "length")
        assert llm.usage == Usage(1, 10, 5, cut=1)


def test_a_part_of_a_stream_is_no_answer() -> None:
    error = {"error": {"message": "no key", "code": 401}}
    for reply, words in (
        (events(piece(content="fi"), done=False), "broke off"),
        (events(piece(content="fi"), piece(1, "stop", content="a")), "broke off"),
        (events(), "broke off"),
        (events(piece(content="fi"), error), "no key"),
    ):
        with (
            AnsweringServer(lambda request, reply=reply: reply) as server,
            connect(server) as llm,
            pytest.raises(LLMError, match=words),
        ):
            llm.chat(HELLO)


def test_choices_are_ordered_by_their_numbers() -> None:
    choices = [{"index": number, "message": {"content": str(number)}} for number in (2, 0, 1)]
    with AnsweringServer(lambda request: Reply({"choices": choices})) as server, connect(server) as llm:
        assert [answer.text for answer in llm.chat(HELLO, n=3)] == ["0", "1", "2"]


def test_a_filter_that_leaves_no_message_is_a_refusal() -> None:
    body = {"choices": [{"index": 0, "finish_reason": "content_filter", "content_filter_results": {}}]}
    with AnsweringServer(lambda request: Reply(body)) as server, connect(server) as llm:
        assert llm.chat(HELLO)[0].refusal


@pytest.mark.parametrize(
    "reply",
    [
        Reply({"error": {"message": "The response was filtered", "code": "content_filter"}}, 400),
        Reply({"error": {"message": "x", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}, 400),
        Reply({"error": {"message": "Your chosen model requires moderation and your input was flagged"}}, 403),
    ],
)
def test_a_content_filter_concerns_one_conversation(reply: Reply) -> None:
    with (
        AnsweringServer(lambda request: reply) as server,
        connect(server) as llm,
        pytest.raises(RequestRefusedError) as caught,
    ):
        llm.chat(HELLO)
    assert caught.value.kind == "filter"
    assert not caught.value.permanent


def test_tokens_that_nobody_counts_are_estimated_and_called_that() -> None:
    with AnsweringServer(lambda request: Reply(completion("five " * 8, usage=False))) as server, connect(server) as llm:
        budgeted = BudgetedLLM(llm, Budget(tokens=12))
        budgeted.chat(HELLO)
        assert llm.usage == Usage(1, 3, 10, estimated=1)
        assert "estimated" in llm.usage.describe()
        with pytest.raises(Exception, match="12 tokens"):
            budgeted.chat(HELLO)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (completion(None, "length", reasoning_content="Okay, the user"), "thoughts.*thinking"),
        (completion("<think>Okay, the user", "length"), "thoughts.*thinking"),
        (completion("", "length"), "cut before.*max_tokens"),
        (completion("", "stop"), "end with 'stop'"),
    ],
)
def test_a_run_of_empty_answers_ends_with_the_cause(answer: Any, words: str) -> None:
    with AnsweringServer(lambda request: Reply(answer)) as server, connect(server) as llm:
        with pytest.raises(EmptyAnswersError, match=words) as caught:
            llm_asked_often(llm)
        assert caught.value.permanent
        assert 3 < len(server.requests) < 50
        assert llm.usage.empty == llm.usage.requests == len(server.requests)


def test_empty_answers_among_others_are_counted_and_end_nothing() -> None:
    texts = iter([("", "length"), ("five", "stop")] * 50)
    with AnsweringServer(lambda request: Reply(completion(*next(texts)))) as server, connect(server) as llm:
        for _ in range(100):
            llm.chat(HELLO)
    assert (llm.usage.requests, llm.usage.empty, llm.usage.cut) == (100, 50, 50)
