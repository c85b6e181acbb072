"""`ChatModel` and `Generator`: what a language model has to offer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, Protocol, TypedDict, runtime_checkable

from typing_extensions import Unpack

from rader_plugins.documents import check_text
from rader_plugins.errors import InputError, LLMError
from rader_plugins.llm.sampling import SamplingOptions
from rader_plugins.llm.thoughts import without_thoughts

__all__ = [
    "ChatModel",
    "Completion",
    "EmptyAnswersError",
    "ContextOverflowError",
    "Generator",
    "Message",
    "RefusalKind",
    "RequestRefusedError",
    "Usage",
    "check_messages",
    "refusal",
    "without_thoughts",
]

# The words of OpenAI, vLLM (of several generations), SGLang and llama.cpp for a prompt that does not fit.
_OVERFLOW = re.compile(
    r"context[_ ](length|size|window)|exceed_context|max(imum)?[_ ]model[_ ]len|max_tokens must be at least 1, got -",
    re.IGNORECASE,
)
_FILTERED = re.compile(r"content[_ ](filter|management|policy)|responsibleai|moderation|safety system", re.IGNORECASE)


RefusalKind = Literal["context", "filter", "model", "access", "server", "request"]


class RequestRefusedError(LLMError):
    """The server refused this request for good (a conversation that is too long, a missing key, an unknown model).

    Args:
        message: What happened and what to do.
        kind: ``context`` (too long for the model, always a :class:`ContextOverflowError`), ``model`` (the server does
            not know it), ``access`` (the key is missing or wrong, or its quota used up) and ``server`` (it cannot be
            reached): so will every other request be refused;
            ``filter``: its provider's content filter refuses this conversation. ``request``: anything else.
    """

    def __init__(self, message: str, *, kind: RefusalKind = "request") -> None:
        super().__init__(message)
        self.kind: RefusalKind = kind
        self.permanent = kind in ("model", "access", "server")


class ContextOverflowError(RequestRefusedError):
    """The prompt, with the tokens asked for, does not fit into the model's context."""

    def __init__(self, message: str) -> None:
        super().__init__(message, kind="context")


class EmptyAnswersError(LLMError):
    """A model's answers are all empty, one after another; the message names the cause and what helps.

    Args:
        message: What happened and what to do.
        answers: The last of them.
    """

    permanent = True

    def __init__(self, message: str, answers: Sequence[Completion] = ()) -> None:
        super().__init__(message)
        self.answers = tuple(answers)


def refusal(message: str, said: str, kind: RefusalKind = "request") -> RequestRefusedError:
    """Return the error for a request that was refused.

    Args:
        message: What happened and what to do.
        said: The words and codes of whoever refused it: they tell what the kind alone does not.
        kind: What is known about it otherwise.
    """
    if kind in ("request", "access") and _FILTERED.search(said):
        return RequestRefusedError(message, kind="filter")
    if kind == "request" and _OVERFLOW.search(said):
        return ContextOverflowError(message)
    return RequestRefusedError(message, kind="model" if "model_not_found" in said else kind)


class Message(TypedDict):
    """One turn of a conversation; ``role`` is ``system``, ``user`` or ``assistant``."""

    role: str
    content: str


@dataclass(frozen=True)
class Completion:
    """One answer of a language model.

    Args:
        text: What the model wrote; may be empty.
        finish_reason: Why it ended: ``stop``, ``length``, ``content_filter``, or whatever the server says.
        refusal: The model or its provider declined to answer.
        thoughts: What the model thought before, where the server hands it over apart from the answer. (A model that
            thinks aloud has its thoughts in ``text``, see :func:`without_thoughts`.)
    """

    text: str
    finish_reason: str = ""
    refusal: bool = False
    thoughts: str = ""


@dataclass(frozen=True)
class Usage:
    """What a model was asked so far.

    Args:
        requests: How many were answered.
        prompt_tokens, completion_tokens: Read and written, as the server counts them.
        empty: Answers that hold nothing of use: no text, or thoughts alone.
        cut: Answers that ended at the most tokens.
        estimated: Requests whose tokens the server did not count, and which stand here with an estimate.
    """

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    empty: int = 0
    cut: int = 0
    estimated: int = 0

    def __add__(self, other: Usage) -> Usage:
        """Add up two counts."""
        return Usage(**{field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)})

    def describe(self) -> str:
        """Return the counts in words, for people.

        Example:
            >>> Usage(2, 1200, 30, empty=1).describe()
            '2 requests, 1,200 tokens read, 30 written; 1 empty answer'
        """
        parts = [f"{_count(self.requests, 'request')}, {self.prompt_tokens:,} tokens read"]
        parts[0] += f", {self.completion_tokens:,} written"
        if self.estimated:
            parts[0] += f" (estimated for {_count(self.estimated, 'request')}: the server does not count)"
        if self.empty:
            parts.append(_count(self.empty, "empty answer"))
        if self.cut:
            parts.append(f"{_count(self.cut, 'answer')} cut at the most tokens")
        return "; ".join(parts)


@runtime_checkable
class ChatModel(Protocol):
    """A language model that continues a conversation. Safe to use from several threads and from asyncio.

    :class:`OpenAIChat` is one; ``langchain_rader`` and ``llama_index`` models are adapted in the integration packages.
    """

    @property
    def fingerprint(self) -> str:
        """Names the model and everything about it that is not an argument of a call; caches are keyed by it."""
        ...

    def chat(self, messages: Sequence[Message], **options: Unpack[SamplingOptions]) -> list[Completion]:
        """Return ``n`` answers to a conversation.

        Args:
            messages: The conversation, last turn last.
            **options: How to sample; see :class:`~rader_plugins.llm.SamplingOptions`.

        Raises:
            InputError: An argument is unusable.
            LLMError: The model did not answer.
        """
        ...

    async def achat(self, messages: Sequence[Message], **options: Unpack[SamplingOptions]) -> list[Completion]:
        """As :meth:`chat`, without blocking the event loop."""
        ...


@runtime_checkable
class Generator(ChatModel, Protocol):
    """A language model that also continues raw text, as base models and few-shot prompts need it.

    :class:`OpenAIChat`, :class:`CachedChat` and :class:`VLLMGenerator` are such; :func:`as_generator` makes one of
    any :class:`ChatModel`.
    """

    def complete(self, prompt: str, **options: Unpack[SamplingOptions]) -> list[Completion]:
        """Return ``n`` continuations of a text, without a chat template; options and errors as :meth:`chat`.

        Args:
            prompt: The text, not empty; a continuation does not repeat it.
            **options: How to sample; see :class:`~rader_plugins.llm.SamplingOptions`.
        """
        ...

    async def acomplete(self, prompt: str, **options: Unpack[SamplingOptions]) -> list[Completion]:
        """As :meth:`complete`, without blocking the event loop."""
        ...


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def check_messages(messages: Sequence[Message]) -> list[Message]:
    """Return plain copies of the messages.

    Raises:
        InputError: There are none, or one is not a mapping of a role and a text.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, (str, bytes)) or not messages:
        raise InputError("messages must be a list with at least one {'role': 'user', 'content': '...'}.")
    checked: list[Message] = []
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            raise InputError(f"Message {number} must be a dict with the keys 'role' and 'content' and no others.")
        role, content = check_text(message["role"], f"the role of message {number}"), message["content"]
        checked.append({"role": role, "content": check_text(content, f"message {number}")})
    return checked
