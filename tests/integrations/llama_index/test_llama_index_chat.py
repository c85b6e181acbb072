"""LlamaIndex LLMs as grader and as writer of reasoning."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from llama_index.core.llms import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    CustomLLM,
    LLMMetadata,
    MockLLM,
)
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.retrievers.rader.chat import LlamaIndexChat
from pydantic import PrivateAttr

from rader_plugins import Document, Hit
from rader_plugins.errors import InputError, LLMError
from rader_plugins.llm import CachedChat, ChatModel
from rader_plugins.reranking.llm_grader import LLMReranker
from rader_plugins.retrieval.reasoning import ReasoningQuery

HELLO = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]


class Scripted(CustomLLM):
    """Answers with the last word of the last message; fails where that is ``fail``."""

    model: str = "scripted"
    api_key: str = "sk-secret"
    refuses: bool = False
    _calls: list[tuple[list[ChatMessage], dict[str, Any]]] = PrivateAttr(default_factory=list)
    _release: threading.Event = PrivateAttr(default_factory=threading.Event)

    @classmethod
    def class_name(cls) -> str:
        return "Scripted"

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name=self.model)

    @llm_chat_callback()
    def chat(self, messages, **kwargs: Any) -> ChatResponse:
        self._calls.append((list(messages), kwargs))
        words = messages[-1].content.split()
        if "fail" in words:
            raise RuntimeError("the provider is down")
        if "wait" in words:
            self._release.wait(20)
        extra = {"refusal": "no"} if self.refuses else {}
        text = "Grade: 4" if "good" in words else words[-1]
        return ChatResponse(message=ChatMessage(role="assistant", content=text, additional_kwargs=extra))

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        raise NotImplementedError

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any):
        raise NotImplementedError


def test_a_call_keeps_the_settings_of_the_model_unless_told():
    llm = Scripted()
    plain = LlamaIndexChat(llm)
    assert isinstance(plain, ChatModel)
    (answer,) = plain.chat(HELLO, temperature=0.5, max_tokens=9, stop=["x"], seed=1)
    assert (answer.text, answer.refusal) == ("hello", False)
    messages, options = llm._calls[0]
    assert [(turn.role.value, turn.content) for turn in messages] == [("system", "be brief"), ("user", "hello")]
    assert options == {}
    forwarding = LlamaIndexChat(llm, forward=["temperature", "top_p", "top_k", "max_tokens", "seed", "stop"])
    assert len(forwarding.chat(HELLO, n=2, temperature=0.5, top_k=4, max_tokens=9, seed=1, stop=["x"])) == 2
    assert [options for _, options in llm._calls[1:]] == [
        {"temperature": 0.5, "top_k": 4, "max_tokens": 9, "seed": 1, "stop": ["x"]},
        {"temperature": 0.5, "top_k": 4, "max_tokens": 9, "seed": 2, "stop": ["x"]},
    ]


async def test_async_gives_the_same_and_does_not_block_the_loop():
    llm = Scripted()
    task = asyncio.create_task(LlamaIndexChat(llm).achat([{"role": "user", "content": "wait here"}], n=2))
    while len(llm._calls) < 2:
        await asyncio.sleep(0)
    assert not task.done()
    llm._release.set()
    assert [answer.text for answer in await task] == ["here", "here"]


async def test_what_the_provider_raises_is_an_llm_error():
    chat = LlamaIndexChat(Scripted())
    with pytest.raises(LLMError, match="Scripted failed with RuntimeError: the provider is down"):
        chat.chat([{"role": "user", "content": "fail"}])
    with pytest.raises(LLMError, match="the provider is down"):
        await chat.achat([{"role": "user", "content": "fail"}])


def test_refusals():
    assert LlamaIndexChat(Scripted(refuses=True)).chat(HELLO)[0].refusal


def test_a_model_of_the_framework():
    assert LlamaIndexChat(MockLLM(max_tokens=3)).chat(HELLO)[0].text == "text text text"


async def test_the_async_side_of_a_model_is_used():
    class Native(MockFunctionCallingLLM):
        async def achat(self, messages, **kwargs):
            if messages[-1].content == "fail":
                raise RuntimeError("down")
            return ChatResponse(message=ChatMessage(role="assistant", content=f"async {messages[-1].content}"))

    chat = LlamaIndexChat(Native())
    assert [answer.text for answer in await chat.achat(HELLO, n=2)] == ["async hello"] * 2
    with pytest.raises(LLMError, match="down"):
        await chat.achat([{"role": "user", "content": "fail"}])


def test_fingerprint_is_of_what_changes_answers():
    fingerprint = LlamaIndexChat(Scripted()).fingerprint
    assert fingerprint == LlamaIndexChat(Scripted(api_key="other")).fingerprint
    assert fingerprint != LlamaIndexChat(Scripted(model="another")).fingerprint
    assert fingerprint != LlamaIndexChat(Scripted(system_prompt="be long")).fingerprint
    assert fingerprint != LlamaIndexChat(Scripted(), forward=["seed"]).fingerprint


def test_grades_reasons_and_is_cached(tmp_path):
    llm = Scripted()
    hits = [Hit(Document("a", "fail"), 0.9, 1), Hit(Document("b", "bad"), 0.8, 2), Hit(Document("c", "good"), 0.7, 3)]
    reranker = LLMReranker(LlamaIndexChat(llm), prompt="Grade: N for {query} and {document}", max_failures=1.0)
    ranked = reranker.rerank("q", hits)
    assert [hit.document.id for hit in ranked] == ["a", "b", "c"]
    assert ranked[2].scores["grade"] == 4
    assert (reranker.report.failed, reranker.report.unparsable, reranker.report.graded) == (1, 1, 1)
    cached = CachedChat(LlamaIndexChat(llm), tmp_path / "answers")
    before = len(llm._calls)
    for _ in range(2):
        reasoning = ReasoningQuery(cached, prompt="{query} because")
        assert reasoning.expand(["it falls", "to fail"]) == ["it falls\nbecause", "to fail"]
    assert len(llm._calls) == before + 3


@pytest.mark.parametrize("options", [{"forward": "seed"}, {"forward": ["top_n"]}])
def test_bad_options(options):
    with pytest.raises(InputError, match="forward"):
        LlamaIndexChat(Scripted(), **options)
    with pytest.raises(InputError, match="LLM"):
        LlamaIndexChat("gpt-4o")
