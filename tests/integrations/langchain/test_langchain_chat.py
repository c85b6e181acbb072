"""LangChain chat models as grader and as writer of reasoning."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_rader.chat import LangChainChat
from pydantic import PrivateAttr, SecretStr

from rader_plugins import Document, Hit
from rader_plugins.errors import InputError, LLMError
from rader_plugins.llm import CachedChat, ChatModel, Usage
from rader_plugins.reranking.llm_grader import LLMReranker
from rader_plugins.retrieval.reasoning import ReasoningQuery

HELLO = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]


class Scripted(BaseChatModel):
    """Answers with the last word of the last message; fails where that is ``fail``."""

    model_name: str = "scripted"
    api_key: SecretStr = SecretStr("sk-secret")
    metadata_of_answer: dict[str, Any] = {}
    _calls: list[tuple[list[BaseMessage], list[str] | None, dict[str, Any]]] = PrivateAttr(default_factory=list)
    _release: threading.Event = PrivateAttr(default_factory=threading.Event)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs) -> ChatResult:
        self._calls.append((messages, stop, kwargs))
        words = str(messages[-1].content).split()
        if "fail" in words:
            raise RuntimeError("the provider is down")
        if "wait" in words:
            self._release.wait(20)
        message = AIMessage(
            [{"type": "text", "text": "Grade: 4" if "good" in words else words[-1]}],
            response_metadata=self.metadata_of_answer,
            usage_metadata={"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
        )
        return ChatResult(generations=[ChatGeneration(message=message)])


class Seen(BaseCallbackHandler):
    def __init__(self) -> None:
        self.tags: list[list[str]] = []

    def on_chat_model_start(self, serialized, messages, *, tags=None, **kwargs) -> None:
        self.tags.append(list(tags or []))


def test_a_call_keeps_the_settings_of_the_model_unless_told():
    llm = Scripted(metadata_of_answer={"finish_reason": "length"})
    plain = LangChainChat(llm)
    assert isinstance(plain, ChatModel)
    (answer,) = plain.chat(HELLO, temperature=0.5, max_tokens=9, stop=["x"], seed=1)
    assert (answer.text, answer.finish_reason, answer.refusal) == ("hello", "length", False)
    messages, stop, options = llm._calls[0]
    assert [(message.type, message.content) for message in messages] == [("system", "be brief"), ("human", "hello")]
    assert (stop, options) == (["x"], {})
    forwarding = LangChainChat(llm, forward=["temperature", "top_p", "top_k", "max_tokens", "seed"])
    assert len(forwarding.chat(HELLO, n=2, temperature=0.5, top_k=4, max_tokens=9, seed=1)) == 2
    assert [options for _, _, options in llm._calls[1:]] == [
        {"temperature": 0.5, "top_k": 4, "max_tokens": 9, "seed": 1},
        {"temperature": 0.5, "top_k": 4, "max_tokens": 9, "seed": 2},
    ]  # fmt: skip
    assert forwarding.usage == Usage(requests=2, prompt_tokens=6, completion_tokens=4)


async def test_async_gives_the_same_and_does_not_block_the_loop():
    llm = Scripted()
    chat = LangChainChat(llm)
    task = asyncio.create_task(chat.achat([{"role": "user", "content": "wait here"}], n=2))
    while len(llm._calls) < 2:
        await asyncio.sleep(0)
    assert not task.done()
    llm._release.set()
    assert [answer.text for answer in await task] == ["here", "here"]


async def test_what_the_provider_raises_is_an_llm_error():
    chat = LangChainChat(Scripted())
    with pytest.raises(LLMError, match="Scripted failed with RuntimeError: the provider is down"):
        chat.chat([{"role": "user", "content": "fail"}])
    with pytest.raises(LLMError, match="the provider is down"):
        await chat.achat([{"role": "user", "content": "fail"}])


@pytest.mark.parametrize("reason", [{"finish_reason": "content_filter"}, {"stop_reason": "refusal"}])
def test_refusals(reason):
    assert LangChainChat(Scripted(metadata_of_answer=reason)).chat(HELLO)[0].refusal


def test_callbacks_reach_the_model():
    chat = LangChainChat(Scripted(), config={"tags": ["grading"], "callbacks": [seen := Seen()]})
    chat.chat(HELLO)
    assert seen.tags == [["grading"]]


def test_fingerprint_is_of_what_changes_answers():
    fingerprint = LangChainChat(Scripted()).fingerprint
    assert fingerprint == LangChainChat(Scripted(api_key=SecretStr("other"), tags=["x"])).fingerprint
    assert fingerprint != LangChainChat(Scripted(model_name="another")).fingerprint
    assert fingerprint != LangChainChat(Scripted(), forward=["seed"]).fingerprint


def test_grades_reasons_and_is_cached(tmp_path):
    llm = Scripted()
    hits = [Hit(Document("a", "fail"), 0.9, 1), Hit(Document("b", "bad"), 0.8, 2), Hit(Document("c", "good"), 0.7, 3)]
    reranker = LLMReranker(LangChainChat(llm), prompt="Grade: N for {query} and {document}", max_failures=1.0)
    ranked = reranker.rerank("q", hits)
    assert [hit.document.id for hit in ranked] == ["a", "b", "c"]
    assert ranked[2].scores["grade"] == 4
    assert (reranker.report.failed, reranker.report.unparsable, reranker.report.graded) == (1, 1, 1)
    cached = CachedChat(LangChainChat(llm), tmp_path / "answers")
    before = len(llm._calls)
    for _ in range(2):
        reasoning = ReasoningQuery(cached, prompt="{query} because")
        assert reasoning.expand(["it falls", "to fail"]) == ["it falls\nbecause", "to fail"]
    assert len(llm._calls) == before + 3


@pytest.mark.parametrize("options", [{"forward": "seed"}, {"forward": ["top_n"]}])
def test_bad_options(options):
    with pytest.raises(InputError, match="forward"):
        LangChainChat(Scripted(), **options)
    with pytest.raises(InputError, match="BaseChatModel"):
        LangChainChat("gpt-4o")
