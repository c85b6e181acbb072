"""`ChatModel` and `Generator`: what a language model has to offer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypedDict, runtime_checkable

from typing_extensions import Unpack

from rader_plugins.documents import check_text
from rader_plugins.errors import InputError, LLMError
from rader_plugins.llm.sampling import SamplingOptions

__all__ = [
    "ChatModel",
    "Completion",
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
_THOUGHTS_END = re.compile(r".*</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_THOUGHTS_BEGIN = re.compile(r"<think(?:ing)?>", re.IGNORECASE)


RefusalKind = Literal["context", "filter", "model", "access", "request"]


class RequestRefusedError(LLMError):
    """The server refused this request for good (a conversation that is too long, a missing key, an unknown model).

    Args:
        message: What happened and what to do.
        kind: ``context`` (too long for the model, always a :class:`ContextOverflowError`), ``model`` (the server does
            not know it) and ``access`` (the key is missing or wrong): so will every other request be refused;
            ``filter``: its provider's content filter refuses this conversation. ``request``: anything else.
    """

    def __init__(self, message: str, *, kind: RefusalKind = "request") -> None:
        super().__init__(message)
        self.kind: RefusalKind = kind
        self.permanent = kind in ("model", "access")


class ContextOverflowError(RequestRefusedError):
    """The prompt, with the tokens asked for, does not fit into the model's context."""

    def __init__(self, message: str) -> None:
        super().__init__(message, kind="context")


def refusal(message: str, said: str, kind: RefusalKind = "request") -> RequestRefusedError:
    """Return the error for a request that was refused.

    Args:
        message: What happened and what to do.
        said: The words and codes of whoever refused it: they tell what the kind alone does not.
        kind: What is known about it otherwise.
    """
    if kind == "request" and _OVERFLOW.search(said):
        return ContextOverflowError(message)
    return RequestRefusedError(message, kind="model" if "model_not_found" in said else kind)


class Message(TypedDict):
    """One turn of a conversation; ``role`` is ``system``, ``user`` or ``assistant``."""

    role: str
    content: str


@dataclass(frozen=True)
class Completion:
    """One answer.

    Args:
        text: What the model wrote; may be empty.
        finish_reason: Why it ended: ``stop``, ``length``, ``content_filter``, or whatever the server says.
        refusal: The model or its provider declined to answer.
    """

    text: str
    finish_reason: str = ""
    refusal: bool = False


@dataclass(frozen=True)
class Usage:
    """What a model was asked so far: requests answered, tokens read and tokens written, as the server counts them."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


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


def without_thoughts(text: str) -> str | None:
    """Return what follows the ``<think>`` block of a reasoning model, or None if it never came to an end of thinking.

    Example:
        >>> without_thoughts("<think>2 or 3?</think>Grade: 3")
        'Grade: 3'
    """
    rest = _THOUGHTS_END.sub("", text, count=1)
    return None if _THOUGHTS_BEGIN.search(rest) else rest


def check_messages(messages: Sequence[Message]) -> list[Message]:
    """Return plain copies of the messages.

    Raises:
        InputError: There are none, or one is not a mapping of a role and a text.
    """
    if isinstance(messages, (str, bytes)) or not messages:
        raise InputError("messages must be a list with at least one {'role': 'user', 'content': '...'}.")
    checked: list[Message] = []
    for at, message in enumerate(messages):
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            raise InputError(f"Message {at} must be a dict with the keys 'role' and 'content' and no others.")
        role, content = check_text(message["role"], f"the role of message {at}"), message["content"]
        checked.append({"role": role, "content": check_text(content, f"message {at}")})
    return checked
