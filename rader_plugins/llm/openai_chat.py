"""`OpenAIChat`: a language model behind an OpenAI-compatible server (vLLM, SGLang, llama.cpp, OpenAI)."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rader_plugins.errors import InputError, LLMError
from rader_plugins.files import fingerprint
from rader_plugins.http_client import ServerClient, ServerError
from rader_plugins.llm.base import Completion, RefusalKind, RequestRefusedError, Usage, refusal
from rader_plugins.llm.generator import GeneratorBase, Request

__all__ = ["OpenAIChat"]

_CHAT, _COMPLETIONS = "/chat/completions", "/completions"
_KINDS: dict[int, RefusalKind] = {401: "access", 403: "access", 404: "model"}
_REMEDIES = {
    400: "Is the conversation longer than the model's context, or does the server not know an option (see extra=)?",
    413: "The conversation is too long for the server.",
    422: "The server does not accept this conversation or an option (see extra=).",
}


class OpenAIChat(GeneratorBase):
    """Asks a server's ``/v1/chat/completions`` and, to continue raw text, ``/v1/completions``. Needs the base install.

    At most ``concurrency`` requests are under way at once over all callers, threads and event loops. Status 429
    (``Retry-After`` is honoured), 5xx, timeouts and broken connections are retried with backoff, ``max_retries``
    times. Nothing is made up in place of an answer that does not come.

    Several answers (``n``) are one request where the server allows it. One that refuses so many (llama.cpp, for more
    than it has slots) or gives fewer is asked for single answers, at once, with the seeds that follow.

    Args:
        url: Of the server, with or without ``/v1`` or an endpoint.
        model: Name that the server knows the model by; default: the only one that it lists.
        api_key_env: Environment variable with the key; no ``Authorization`` is sent if it is unset.
        concurrency: Requests at once; a server with 8 slots is kept busy by 8.
        timeout: Seconds without a byte from the server until a request counts as failed. A server that does not
            stream sends its first byte when the answer is complete.
        max_retries: Attempts after the first.
        backoff: Seconds before the first retry; doubles, with jitter.
        max_n: Most answers that one request asks for; None: all.
        extra: Further fields of every request (``{"min_p": 0.05}``); None as a value leaves a field out that would be
            sent otherwise (``{"max_tokens": None, "max_completion_tokens": 500}``; ``{"top_k": None}`` for OpenAI,
            which does not know it).
        headers: Further headers of every request; ``$NAME`` in a value is read from the environment each time
            (``{"api-key": "$AZURE_OPENAI_API_KEY"}``).

    Raises:
        InputError: An option is unusable.

    Example:
        >>> llm = OpenAIChat("http://localhost:8000")  # doctest: +SKIP
        >>> llm.chat([{"role": "user", "content": "2 + 3 ="}], max_tokens=8)[0].text  # doctest: +SKIP
        '5'
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        api_key_env: str = "OPENAI_API_KEY",
        concurrency: int = 8,
        timeout: float = 120.0,
        max_retries: int = 3,
        backoff: float = 0.5,
        max_n: int | None = None,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        least_of = (("concurrency", concurrency, 1), ("max_retries", max_retries, 0), ("max_n", max_n or 1, 1))
        for name, value, least in least_of:
            if not isinstance(value, int) or value < least:
                raise InputError(f"{name} must be an integer of at least {least}, not {value!r}.")
        if not timeout > 0 or not backoff >= 0:
            raise InputError("timeout must be positive and backoff not negative (seconds).")
        self._server = ServerClient(
            url,
            _CHAT,
            others=[_COMPLETIONS],
            remedies=_REMEDIES,
            api_key_env=api_key_env,
            concurrency=concurrency,
            timeout=timeout,
            max_retries=max_retries,
            backoff=backoff,
            headers=headers,
        )
        self.concurrency = concurrency
        self.max_n = max_n
        # The fewest answers that the server was seen to refuse, or to answer with one, in a single request.
        self._refused_n = sys.maxsize
        self._extra = dict(extra or {})
        self._model = model
        self._model_lock = threading.Lock()
        # Not left to httpx, for which waiting for a connection may count as a timeout. Held during retries too: a
        # server that asks for patience gets it from all callers.
        self._slots = threading.BoundedSemaphore(concurrency)
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="rader-chat")
        # Apart from the pool, whose threads wait for the parts of their calls.
        self._parts = ThreadPoolExecutor(concurrency, thread_name_prefix="rader-chat-part")
        self._usage = Usage()
        self._usage_lock = threading.Lock()

    def __repr__(self) -> str:
        return f"OpenAIChat({self._server.url!r}, model={self._model!r})"

    def __enter__(self) -> OpenAIChat:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End waiting requests and close the connections."""
        self._server.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._parts.shutdown(wait=False, cancel_futures=True)

    @property
    def url(self) -> str:
        """Where it asks, without what is secret in the address."""
        return self._server.url

    @property
    def model(self) -> str:
        """Name of the model; where none was given the server is asked once."""
        with self._model_lock:
            if self._model is None:
                with _as_llm_error():
                    self._model = self._server.only_model()
            if self._model is None:
                raise InputError(f"{self._server.url} does not say which one model it serves: pass model='...'.")
            return self._model

    @property
    def fingerprint(self) -> str:
        """Of the model's name and the extra fields; where it is served does not matter."""
        return fingerprint({"model": self.model, "extra": self._extra})

    @property
    def usage(self) -> Usage:
        """Requests answered and tokens used so far."""
        with self._usage_lock:
            return self._usage

    def _generate(self, request: Request) -> list[Completion]:
        """Send a request, in parts where the server takes or gives fewer answers at once.

        Answer k has the seed ``seed + k`` in whichever part it comes, and how a request is divided depends on ``n``
        and on the server alone, not on what was asked before: equal calls give equal answers.
        """
        n = request.n
        step = 1 if n >= self._refused_n else min(self.max_n or n, n)
        heads = [(at, min(step, n - at)) for at in range(0, n, step)]
        first = self._together(request, heads)
        # What a part lacks is asked for one by one, all at once.
        missing = [
            (at + have, 1) for (at, size), got in zip(heads, first, strict=True) for have in range(len(got), size)
        ]
        rest = iter(self._together(request, missing))
        answers: list[Completion] = []
        for (_, size), got in zip(heads, first, strict=True):
            answers += got
            for _ in range(len(got), size):
                answers += next(rest)
        return answers

    async def _agenerate(self, request: Request) -> list[Completion]:
        try:
            future = self._pool.submit(self._generate, request)
        except RuntimeError as error:
            raise LLMError(f"{self!r} is closed.") from error
        return await asyncio.wrap_future(future)

    def _together(self, request: Request, parts: Sequence[tuple[int, int]]) -> list[list[Completion]]:
        """Send parts, given as number of their first answer and size, at once."""
        if len(parts) < 2:
            return [self._part(request, *part) for part in parts]
        try:
            futures = [self._parts.submit(self._part, request, *part) for part in parts]
        except RuntimeError as error:
            raise LLMError(f"{self!r} is closed.") from error
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def _part(self, request: Request, first: int, size: int) -> list[Completion]:
        """Return at least one and at most ``size`` answers."""
        if size == 1:
            return self._post(request, first, 1)
        try:
            answers = self._post(request, first, size)
        except RequestRefusedError as error:
            if error.kind != "request":
                raise
            answers = self._post(request, first, 1)  # says what is wrong if it is not the number
        if len(answers) == 1 and request.temperature > 0:  # without sampling, vLLM refuses what it else takes
            self._refused_n = min(self._refused_n, size)
        return answers

    def _post(self, request: Request, first: int, size: int) -> list[Completion]:
        asked = request.content
        payload: dict[str, Any] = {"model": self.model, "temperature": request.temperature}
        payload |= {"prompt": asked} if isinstance(asked, str) else {"messages": asked}
        payload |= {
            "top_p": request.top_p,
            "top_k": request.top_k,
            "max_tokens": request.max_tokens,
            "stop": list(request.stop) or None,
            "seed": None if request.seed is None else request.seed + first,
            "n": size if size > 1 else None,
        }
        payload |= self._extra
        payload = {name: value for name, value in payload.items() if value is not None}
        with self._slots, _as_llm_error():
            answer = self._server.post(payload, _COMPLETIONS if isinstance(asked, str) else None)
        return self._read(answer, _continuation if isinstance(asked, str) else _answer)[:size]

    def _read(self, answer: Any, read: Callable[[Any, str], Completion]) -> list[Completion]:
        choices = answer.get("choices") if isinstance(answer, dict) else None
        if not isinstance(choices, list) or not choices:
            raise LLMError(f"{self._server.url} answered without a choice: {str(answer)[:300]!r}.")
        completions = [read(choice, self._server.url) for choice in choices]
        usage = answer.get("usage")
        counts = usage if isinstance(usage, dict) else {}
        with self._usage_lock:
            self._usage = Usage(
                self._usage.requests + 1,
                self._usage.prompt_tokens + _count(counts.get("prompt_tokens")),
                self._usage.completion_tokens + _count(counts.get("completion_tokens")),
            )
        return completions


def _answer(choice: Any, url: str) -> Completion:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise LLMError(f"{url} answered with a choice that holds no message: {str(choice)[:300]!r}.")
    return _completion(choice, message.get("content"), bool(message.get("refusal")), url)


def _continuation(choice: Any, url: str) -> Completion:
    if not isinstance(choice, dict) or "text" not in choice:
        raise LLMError(f"{url} answered with a choice that holds no text: {str(choice)[:300]!r}.")
    return _completion(choice, choice["text"], False, url)


def _completion(choice: dict[str, Any], content: object, refused: bool, url: str) -> Completion:
    if content is not None and not isinstance(content, str):
        raise LLMError(f"{url} answered with a content that is no text: {str(content)[:300]!r}.")
    reason = choice.get("finish_reason")
    refused = refused or reason == "content_filter"
    return Completion(content or "", reason if isinstance(reason, str) else "", refused)


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


@contextlib.contextmanager
def _as_llm_error() -> Iterator[None]:
    try:
        yield
    except ServerError as error:
        if not error.refused:
            raise LLMError(str(error)) from error
        raise refusal(str(error), error.said, _KINDS.get(error.status or 0, "request")) from error
