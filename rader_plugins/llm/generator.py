"""One call of a language model as data, and what all generators share: arguments are checked in one place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import cast

from typing_extensions import Unpack

from rader_plugins.construction import ByConstruction
from rader_plugins.documents import check_text
from rader_plugins.errors import InputError
from rader_plugins.llm.base import ChatModel, Completion, Generator, Message, Usage, check_messages
from rader_plugins.llm.sampling import Sampling, SamplingOptions

__all__ = ["GeneratorBase", "Request", "WrappedLLM", "as_generator", "usage_of"]


@dataclass(frozen=True)
class Request(Sampling):
    """A call with checked arguments.

    Args:
        content: The messages of a conversation, or the prompt to continue.
        **options: Sampling options, as in :class:`~rader_plugins.llm.SamplingOptions`.
    """

    content: list[Message] | str

    def send(self, llm: Generator) -> list[Completion]:
        """Ask a model."""
        if isinstance(self.content, str):
            return llm.complete(self.content, **self.options())
        return llm.chat(self.content, **self.options())

    async def asend(self, llm: Generator) -> list[Completion]:
        """As :meth:`send`, without blocking the event loop."""
        if isinstance(self.content, str):
            return await llm.acomplete(self.content, **self.options())
        return await llm.achat(self.content, **self.options())


class GeneratorBase(ByConstruction, ABC):
    """A :class:`Generator` to derive from: say what the model is called and how a :class:`Request` is answered.

    Example:
        >>> class Parrot(GeneratorBase):
        ...     fingerprint = "parrot"
        ...
        ...     def _generate(self, request):
        ...         said = request.content if isinstance(request.content, str) else request.content[-1]["content"]
        ...         return [Completion(said, "stop")] * request.n
        ...
        ...     async def _agenerate(self, request):
        ...         return self._generate(request)
        >>> [answer.text for answer in Parrot().complete("hello", n=2)]
        ['hello', 'hello']
    """

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Names the model and everything about it that is not an argument of a call."""

    @abstractmethod
    def _generate(self, request: Request) -> list[Completion]: ...

    @abstractmethod
    async def _agenerate(self, request: Request) -> list[Completion]: ...

    def chat(self, messages: Sequence[Message], **options: Unpack[SamplingOptions]) -> list[Completion]:
        """Return ``n`` answers to a conversation; see :meth:`ChatModel.chat`."""
        checked = check_messages(messages)
        return self._generate(_request(checked, options))

    async def achat(self, messages: Sequence[Message], **options: Unpack[SamplingOptions]) -> list[Completion]:
        """As :meth:`chat`, without blocking the event loop."""
        checked = check_messages(messages)
        return await self._agenerate(_request(checked, options))

    def complete(self, prompt: str, **options: Unpack[SamplingOptions]) -> list[Completion]:
        """Return ``n`` continuations of a text; see :meth:`Generator.complete`."""
        checked = _check_prompt(prompt)
        return self._generate(_request(checked, options))

    async def acomplete(self, prompt: str, **options: Unpack[SamplingOptions]) -> list[Completion]:
        """As :meth:`complete`, without blocking the event loop."""
        checked = _check_prompt(prompt)
        return await self._agenerate(_request(checked, options))


class WrappedLLM(GeneratorBase):
    """A generator that passes requests on to another model; one that only chats is wrapped by :func:`as_generator`.

    Args:
        llm: The model that requests go to.
    """

    def __init__(self, llm: ChatModel) -> None:
        self.llm = llm
        self._generator = as_generator(llm)

    @property
    def fingerprint(self) -> str:
        """That of the model."""
        return self.llm.fingerprint

    @property
    def usage(self) -> Usage:
        """What the model was asked so far; all zero for a model that does not count."""
        return usage_of(self.llm) or Usage()

    def _generate(self, request: Request) -> list[Completion]:
        return request.send(self._generator)

    async def _agenerate(self, request: Request) -> list[Completion]:
        return await request.asend(self._generator)


def as_generator(llm: ChatModel) -> Generator:
    """Return the model itself if it continues raw text, else a wrapper whose ``complete`` sends the prompt as one
    user message: the chat template of the model is then around it.

    Example:
        >>> from rader_plugins.llm import OpenAIChat
        >>> llm = OpenAIChat("http://localhost:8000", "m")
        >>> as_generator(llm) is llm
        True
    """  # noqa: D205
    # isinstance() would evaluate the property `fingerprint` before Python 3.12, which may ask a server.
    if all(callable(getattr(llm, name, None)) for name in ("complete", "acomplete")):
        return cast(Generator, llm)
    return _Prompted(llm)


def usage_of(llm: ChatModel) -> Usage | None:
    """Return what a model was asked so far, or None if it does not count."""
    usage = getattr(llm, "usage", None)
    return usage if isinstance(usage, Usage) else None


class _Prompted(GeneratorBase):
    """A model that only chats: a prompt is sent to it as one user message."""

    def __init__(self, llm: ChatModel) -> None:
        self.llm = llm

    @property
    def fingerprint(self) -> str:
        return self.llm.fingerprint

    @property
    def usage(self) -> Usage | None:
        return usage_of(self.llm)

    def _generate(self, request: Request) -> list[Completion]:
        return self.llm.chat(_conversation(request), **request.options())

    async def _agenerate(self, request: Request) -> list[Completion]:
        return await self.llm.achat(_conversation(request), **request.options())


def _conversation(request: Request) -> list[Message]:
    content = request.content
    return [{"role": "user", "content": content}] if isinstance(content, str) else content


def _check_prompt(prompt: str) -> str:
    if not check_text(prompt, "the prompt"):
        raise InputError("The prompt must not be empty.")
    return prompt


def _request(content: list[Message] | str, options: SamplingOptions) -> Request:
    return Request(content, **asdict(Sampling.of(**options)))
