"""`LlamaIndexChat`: any LlamaIndex LLM as the language model of :mod:`rader_plugins`."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatResponse
from llama_index.core.llms import LLM, ChatMessage, CustomLLM
from typing_extensions import Unpack

from rader_plugins.background import in_thread
from rader_plugins.construction import ByConstruction
from rader_plugins.errors import InputError, LLMError
from rader_plugins.files import canonical_json, fingerprint
from rader_plugins.llm import Completion, Message, Sampling, SamplingOptions
from rader_plugins.llm.base import check_messages

__all__ = ["LlamaIndexChat"]

_PARAMETERS = ("temperature", "top_p", "top_k", "max_tokens", "seed", "stop")
# Parts of names of settings that say where, how fast or by whom a model is run, not what it answers.
_RUNTIME = ("key", "secret", "password", "url", "base", "timeout", "retries", "header", "callback", "limiter", "client")


class LlamaIndexChat(ByConstruction):
    """Lets a LlamaIndex LLM grade documents (`LLMReranker`) and write reasoning queries (`ReasoningQuery`).

    The model keeps the sampling settings that it was made with, since providers differ in what a call may set; name
    in ``forward`` those that this one takes. Whatever the model raises becomes an
    :class:`~rader_plugins.errors.LLMError`.

    Args:
        llm: The language model of LlamaIndex.
        forward: Which of ``temperature``, ``top_p``, ``top_k``, ``max_tokens``, ``seed`` and ``stop`` are passed to
            the model at each call.

    Raises:
        InputError: ``llm`` is no LLM, or ``forward`` names something else.

    Example:
        >>> from llama_index.core.llms import MockLLM
        >>> LlamaIndexChat(MockLLM(max_tokens=2)).chat([{"role": "user", "content": "hello"}])[0].text
        'text text'
    """

    def __init__(self, llm: LLM, *, forward: Collection[str] = ()) -> None:
        if not isinstance(llm, LLM):
            raise InputError(f"llm must be a LlamaIndex LLM, not {type(llm).__name__}.")
        if isinstance(forward, str) or (unknown := sorted(set(forward) - set(_PARAMETERS))):
            wrong = [forward] if isinstance(forward, str) else unknown
            raise InputError(f"forward is a list of some of {', '.join(_PARAMETERS)}; not known: {wrong}.")
        self.llm = llm
        self.forward = tuple(forward)

    @property
    def fingerprint(self) -> str:
        """Of the model's class and those of its settings that may change its answers."""
        fields = {
            name: value
            for name, value in self.llm.to_dict().items()
            if not any(part in name.lower() for part in _RUNTIME) and _is_json(value)
        }
        kind = [type(self.llm).__qualname__, self.llm.metadata.model_name]
        return fingerprint({"class": kind, "fields": fields, "forward": sorted(self.forward)})

    def chat(self, messages: Sequence[Message], **options: Unpack[SamplingOptions]) -> list[Completion]:
        """Return ``n`` answers, each from a call of its own; see :meth:`rader_plugins.llm.ChatModel.chat`."""
        sampling = Sampling.of(**options)
        turns = _turns(messages)
        return [self._call(turns, self._forwarded(sampling, number)) for number in range(sampling.n)]

    async def achat(self, messages: Sequence[Message], **options: Unpack[SamplingOptions]) -> list[Completion]:
        """As :meth:`chat`, through the model's async side; the ``n`` answers are asked for at once."""
        sampling = Sampling.of(**options)
        turns = _turns(messages)
        calls = [self._acall(turns, self._forwarded(sampling, number)) for number in range(sampling.n)]
        return list(await asyncio.gather(*calls))

    def _call(self, turns: list[ChatMessage], options: dict[str, Any]) -> Completion:
        try:
            return _completion(self.llm.chat(turns, **options))
        except Exception as error:
            raise LLMError(f"{self.llm.class_name()} failed with {type(error).__name__}: {str(error)[:300]}") from error

    async def _acall(self, turns: list[ChatMessage], options: dict[str, Any]) -> Completion:
        if isinstance(self.llm, CustomLLM):  # its achat() calls chat() on the event loop
            return await in_thread(self._call, turns, options)
        try:
            return _completion(await self.llm.achat(turns, **options))
        except Exception as error:
            raise LLMError(f"{self.llm.class_name()} failed with {type(error).__name__}: {str(error)[:300]}") from error

    def _forwarded(self, sampling: Sampling, number: int) -> dict[str, Any]:
        sampling_options = sampling.options()
        options: dict[str, Any] = {name: value for name, value in sampling_options.items() if name in self.forward}
        if "seed" in options:
            options["seed"] += number
        return options


def _turns(messages: Sequence[Message]) -> list[ChatMessage]:
    return [ChatMessage(role=turn["role"], content=turn["content"]) for turn in check_messages(messages)]


def _completion(response: ChatResponse) -> Completion:
    return Completion(response.message.content or "", "", bool(response.message.additional_kwargs.get("refusal")))


def _is_json(value: object) -> bool:
    try:
        canonical_json(value)
    except (TypeError, ValueError):
        return False
    return True
