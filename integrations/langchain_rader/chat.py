"""`LangChainChat`: any LangChain chat model as the language model of :mod:`rader_plugins`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import merge_configs, var_child_runnable_config
from typing_extensions import Unpack

from langchain_rader._encoders import _plain
from rader_plugins.construction import ByConstruction
from rader_plugins.errors import InputError, LLMError
from rader_plugins.files import fingerprint
from rader_plugins.llm import Completion, Message, Sampling, SamplingOptions, Usage
from rader_plugins.llm.base import check_messages

__all__ = ["LangChainChat"]

_PARAMETERS = ("temperature", "top_p", "top_k", "max_tokens", "seed")
_DECLINED = {"content_filter", "refusal", "safety"}


class LangChainChat(ByConstruction):
    """Lets a LangChain chat model grade documents (`LLMReranker`) and write reasoning queries (`ReasoningQuery`).

    The model keeps the sampling settings that it was made with, since providers differ in what a call may set; name
    in ``forward`` those that this one takes. ``stop`` is always passed on. Whatever the model raises becomes an
    :class:`~rader_plugins.errors.LLMError`.

    Args:
        llm: The LangChain chat model.
        forward: Which of ``temperature``, ``top_p``, ``top_k``, ``max_tokens`` and ``seed`` are passed to the model
            at each call.
        config: Callbacks, tags and the like, for every call.

    Raises:
        InputError: ``llm`` is no chat model, or ``forward`` names something else.

    Example:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> from rader_plugins.reranking.llm_grader import LLMReranker
        >>> reranker = LLMReranker(LangChainChat(FakeListChatModel(responses=["Grade: 4"])))
    """

    def __init__(
        self, llm: BaseChatModel, *, forward: Collection[str] = (), config: RunnableConfig | None = None
    ) -> None:
        if not isinstance(llm, BaseChatModel):
            raise InputError(f"llm must be a LangChain chat model (BaseChatModel), not {type(llm).__name__}.")
        if isinstance(forward, str) or (unknown := sorted(set(forward) - set(_PARAMETERS))):
            wrong = [forward] if isinstance(forward, str) else unknown
            raise InputError(f"forward is a list of some of {', '.join(_PARAMETERS)}; not known: {wrong}.")
        self.llm = llm
        self.forward = tuple(forward)
        self.config = config
        self._usage = Usage()
        self._usage_lock = threading.Lock()

    @property
    def fingerprint(self) -> str:
        """Of the model's class and those of its settings that may change its answers."""
        fields = {name: getattr(self.llm, name, None) for name in sorted(type(self.llm).model_fields)}
        return fingerprint(
            {"class": type(self.llm).__qualname__, "fields": _plain(fields), "forward": sorted(self.forward)}
        )

    @property
    def usage(self) -> Usage:
        """Answers given and tokens used so far, where the model tells."""
        with self._usage_lock:
            return self._usage

    def chat(self, messages: Sequence[Message], **options: Unpack[SamplingOptions]) -> list[Completion]:
        """Return ``n`` answers, each from a call of its own; see :meth:`rader_plugins.llm.ChatModel.chat`."""
        checked: list[Any] = list(check_messages(messages))
        sampling = Sampling.of(**options)
        completions = []
        for number in range(sampling.n):
            forwarded = self._forwarded(sampling, number)
            try:
                answer = self.llm.invoke(checked, self._config(), stop=list(sampling.stop) or None, **forwarded)
            except Exception as error:
                raise _failure(self.llm, error) from error
            completions.append(self._completion(answer))
        return completions

    async def achat(self, messages: Sequence[Message], **options: Unpack[SamplingOptions]) -> list[Completion]:
        """As :meth:`chat`, through the model's async side; the ``n`` answers are asked for at once."""
        checked: list[Any] = list(check_messages(messages))
        sampling = Sampling.of(**options)
        ends = list(sampling.stop) or None
        calls = [
            self.llm.ainvoke(checked, self._config(), stop=ends, **self._forwarded(sampling, number))
            for number in range(sampling.n)
        ]
        try:
            answers = await asyncio.gather(*calls)
        except Exception as error:
            raise _failure(self.llm, error) from error
        return [self._completion(answer) for answer in answers]

    def _config(self) -> RunnableConfig | None:
        """Return the configuration of a call: its own, below the run that asks."""
        return self.config and merge_configs(var_child_runnable_config.get(), self.config)

    def _forwarded(self, sampling: Sampling, number: int) -> dict[str, Any]:
        seed = sampling.seed
        numbered = replace(sampling, seed=None if seed is None else seed + number)
        return {name: value for name in self.forward if (value := getattr(numbered, name)) is not None}

    def _completion(self, answer: AIMessage) -> Completion:
        used: Mapping[str, Any] = answer.usage_metadata or {}
        with self._usage_lock:
            self._usage = Usage(
                self._usage.requests + 1,
                self._usage.prompt_tokens + int(used.get("input_tokens", 0)),
                self._usage.completion_tokens + int(used.get("output_tokens", 0)),
            )
        metadata = answer.response_metadata
        reason = next(
            (metadata[key] for key in ("finish_reason", "stop_reason", "done_reason") if metadata.get(key)), ""
        )
        refusal = bool(answer.additional_kwargs.get("refusal")) or str(reason).lower() in _DECLINED
        return Completion(str(answer.text), str(reason), refusal)


def _failure(llm: BaseChatModel, error: Exception) -> LLMError:
    return LLMError(f"{type(llm).__name__} failed with {type(error).__name__}: {str(error)[:300]}")
