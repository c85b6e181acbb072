"""Budgets, and models that only chat."""

from __future__ import annotations

import asyncio
import threading

import pytest

from rader_plugins.errors import InputError, LLMError
from rader_plugins.llm import (
    Budget,
    BudgetedLLM,
    BudgetExceededError,
    CachedChat,
    ChatModel,
    Completion,
    Generator,
    OpenAIChat,
    Spent,
    as_generator,
)
from tests.support.llm_server import LLMServer

HELLO = [{"role": "user", "content": "hello there"}]


class OnlyChats:
    """A model as users may have written it before there was more: it counts nothing and knows no ``top_k``."""

    fingerprint = "only chats"

    def __init__(self) -> None:
        self.asked: list[object] = []

    def chat(self, messages, *, n=1, temperature=0.0, top_p=None, max_tokens=None, stop=None, seed=None):
        self.asked.append((messages, n, stop))
        return [Completion("x", "stop")] * n

    async def achat(self, messages, **options):
        return self.chat(messages, **options)


async def test_a_model_that_only_chats_gets_the_prompt_as_one_message(tmp_path):
    llm = OnlyChats()
    generator = as_generator(llm)
    assert isinstance(generator, Generator)
    assert generator.fingerprint == llm.fingerprint
    assert len(generator.complete("p", n=2, stop=["y"])) == 2
    assert len(await generator.acomplete("p")) == 1
    assert len(await generator.achat(HELLO)) == 1
    message = [{"role": "user", "content": "p"}]
    assert llm.asked == [(message, 2, ["y"]), (message, 1, None), (HELLO, 1, None)]
    cached = CachedChat(llm, tmp_path / "c")
    assert cached.complete("q") == cached.complete("q")
    assert len(llm.asked) == 4


def test_calls_are_kept_exactly_by_many_threads():
    with LLMServer("x") as server, OpenAIChat(server.url) as inner:
        llm = BudgetedLLM(inner, Budget(calls=10))
        assert isinstance(llm, ChatModel)
        refused = []

        def ask() -> None:
            for _ in range(3):
                try:
                    llm.complete("p", n=2)
                except BudgetExceededError as error:
                    refused.append(error)

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(server.requests) == 10
        assert len(refused) == 8
        assert not isinstance(refused[0], LLMError)
        assert "10 calls" in str(refused[0])
        assert (llm.spent.calls, llm.spent.tokens) == (10, 30)


async def test_tokens_and_going_on_later():
    with LLMServer("one two three") as server, OpenAIChat(server.url) as inner:
        inner.chat(HELLO)  # before the budget began
        llm = BudgetedLLM(inner, Budget(tokens=10))
        llm.chat(HELLO)
        await llm.achat(HELLO)
        with pytest.raises(BudgetExceededError, match="10 tokens") as caught:
            await llm.achat(HELLO)
        spent = caught.value.spent
        assert (spent.calls, spent.prompt_tokens, spent.completion_tokens) == (2, 4, 6)
        with pytest.raises(BudgetExceededError):
            BudgetedLLM(inner, Budget(tokens=10), spent=spent).chat(HELLO)
        later = BudgetedLLM(inner, Budget(tokens=11), spent=spent)
        later.chat(HELLO)
        assert (later.spent.calls, later.spent.tokens) == (3, 15)
        assert len(server.requests) == 4


def test_minutes_begin_with_the_first_call():
    now = [100.0]
    llm = BudgetedLLM(OnlyChats(), Budget(minutes=2), spent=Spent(calls=1, minutes=0.5), clock=lambda: now[0])
    now[0] += 999
    llm.chat(HELLO)
    now[0] += 89
    llm.chat(HELLO)
    assert llm.spent.minutes == pytest.approx(0.5 + 89 / 60)
    now[0] += 1
    with pytest.raises(BudgetExceededError, match="2 minutes"):
        llm.chat(HELLO)
    assert llm.spent.calls == 3


def test_what_a_cache_answers_costs_nothing(tmp_path):
    with LLMServer("x") as server, OpenAIChat(server.url) as inner:
        budgeted = BudgetedLLM(inner, Budget(calls=1))
        llm = CachedChat(budgeted, tmp_path / "c")
        assert [llm.chat(HELLO)[0].text for _ in range(5)] == ["x"] * 5
        assert budgeted.spent.calls == 1
        with pytest.raises(BudgetExceededError):
            llm.chat(HELLO, seed=1)
        with pytest.raises(BudgetExceededError):
            asyncio.run(llm.acomplete("p"))
        assert llm.chat(HELLO)[0].text == "x"


def test_failed_calls_count():
    with LLMServer("!404") as server, OpenAIChat(server.url, "m") as inner:
        llm = BudgetedLLM(inner, Budget(calls=2))
        for _ in range(2):
            with pytest.raises(LLMError):
                llm.chat(HELLO)
        with pytest.raises(BudgetExceededError):
            llm.chat(HELLO)
        assert (llm.spent.calls, llm.spent.tokens) == (2, 0)


def test_bad_budgets():
    with pytest.raises(InputError, match="calls"):
        Budget(calls=-1)
    with pytest.raises(InputError, match="does not count tokens"):
        BudgetedLLM(OnlyChats(), Budget(tokens=5))
