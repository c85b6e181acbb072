"""A tree search asks a chat model of LangChain or an LLM of LlamaIndex what it asks a server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_core")
pytest.importorskip("llama_index.core")

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_rader import LangChainChat
from llama_index.core.llms import ChatMessage, ChatResponse, CustomLLM, LLMMetadata
from llama_index.core.llms.callbacks import llm_chat_callback
from llama_index.retrievers.rader import LlamaIndexChat
from rader_synthesis.run import synthesize

from rader_plugins.answers import load_checker
from rader_plugins.llm import ChatModel, as_generator
from tests.synthesis.scripted import Shelf, chance, server
from tests.synthesis.test_run import CONFIG, PROBLEMS, output, run


def answered(messages: list[tuple[str, Any]], seed: int) -> str:
    return chance({"messages": [{"role": role, "content": content} for role, content in messages], "seed": seed})


class LangChainModel(BaseChatModel):
    @property
    def _llm_type(self) -> str:
        return "chance"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        text = answered([(message.type, message.content) for message in messages], kwargs["seed"])
        return ChatResult(generations=[ChatGeneration(message=AIMessage(text))])


class LlamaIndexModel(CustomLLM):
    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="chance")

    @llm_chat_callback()
    def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        text = answered([(message.role.value, message.content) for message in messages], kwargs["seed"])
        return ChatResponse(message=ChatMessage(role="assistant", content=text))

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        raise NotImplementedError

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize(
    "model",
    [
        lambda: LangChainChat(LangChainModel(), forward=["seed"]),
        lambda: LlamaIndexChat(LlamaIndexModel(), forward=["seed"]),
    ],
    ids=["LangChain", "LlamaIndex"],
)
@pytest.mark.slow
def test_the_same_trees_as_from_a_server(tmp_path: Path, model: Callable[[], ChatModel]) -> None:
    with server(chance) as served:
        run(tmp_path / "served", served)
    report = synthesize(
        PROBLEMS, Shelf(), as_generator(model()), load_checker("math"), tmp_path / "framework", config=CONFIG
    )
    assert report.totals["failed"] == 0
    assert output(tmp_path / "framework") == output(tmp_path / "served")
