"""`OpenAIChat`: a language model behind an OpenAI-compatible server (vLLM, llama.cpp, OpenAI)."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from rader_plugins.errors import InputError, LLMError
from rader_plugins.files import fingerprint
from rader_plugins.http_client import ServerClient, ServerError
from rader_plugins.llm.base import Completion, Message, RequestRefusedError, Usage, check_messages, check_sampling

__all__ = ["OpenAIChat"]

_REMEDIES = {
    400: "Is the conversation longer than the model's context, or does the server not know an option (see extra=)?",
    413: "The conversation is too long for the server.",
    422: "The server does not accept this conversation or an option (see extra=).",
}


class OpenAIChat:
    """Asks a server's ``/v1/chat/completions``. Needs the base install only.

    At most ``concurrency`` requests are under way at once over all callers, threads and event loops. Status 429
    (``Retry-After`` is honoured), 5xx, timeouts and broken connections are retried with backoff, ``max_retries``
    times. Nothing is made up in place of an answer that does not come.

    Args:
        url: Of the server, with or without ``/v1`` or ``/v1/chat/completions``.
        model: Name that the server knows the model by; default: the only one that it lists.
        api_key_env: Environment variable with the key; no ``Authorization`` is sent if it is unset.
        concurrency: Requests at once; a server with 8 slots is kept busy by 8.
        timeout: Seconds without a byte from the server until a request counts as failed. A server that does not
            stream sends its first byte when the answer is complete.
        max_retries: Attempts after the first.
        backoff: Seconds before the first retry; doubles, with jitter.
        extra: Further fields of every request (``{"top_k": 40}``); None as a value leaves a field out that would be
            sent otherwise (``{"max_tokens": None, "max_completion_tokens": 500}``).

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
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        for name, value, least in (("concurrency", concurrency, 1), ("max_retries", max_retries, 0)):
            if not isinstance(value, int) or value < least:
                raise InputError(f"{name} must be an integer of at least {least}, not {value!r}.")
        if not timeout > 0 or not backoff >= 0:
            raise InputError("timeout must be positive and backoff not negative (seconds).")
        self._server = ServerClient(
            url,
            "/chat/completions",
            remedies=_REMEDIES,
            api_key_env=api_key_env,
            concurrency=concurrency,
            timeout=timeout,
            max_retries=max_retries,
            backoff=backoff,
        )
        self.concurrency = concurrency
        self._extra = dict(extra or {})
        self._model = model
        self._model_lock = threading.Lock()
        # Not left to httpx, for which waiting for a connection may count as a timeout. Held during retries too: a
        # server that asks for patience gets it from all callers.
        self._slots = threading.BoundedSemaphore(concurrency)
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="rader-chat")
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

    def chat(
        self,
        messages: Sequence[Message],
        *,
        n: int = 1,
        temperature: float = 0.0,
        top_p: float | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] | None = None,
        seed: int | None = None,
    ) -> list[Completion]:
        """Return ``n`` answers; see :meth:`ChatModel.chat`.

        A server that gives fewer than ``n`` in one response (llama.cpp) is asked again, with the next seeds.
        """
        checked = check_messages(messages)
        check_sampling(n, temperature, top_p, max_tokens, stop)
        payload: dict[str, Any] = {"model": self.model, "messages": checked, "temperature": temperature}
        optional = {"top_p": top_p, "max_tokens": max_tokens, "stop": list(stop) if stop else None}
        payload |= {name: value for name, value in optional.items() if value is not None}
        completions: list[Completion] = []
        while len(completions) < n:
            missing = n - len(completions)
            request = {**payload, "n": missing} if missing > 1 else dict(payload)
            if seed is not None:
                request["seed"] = seed + len(completions)
            request |= self._extra
            request = {name: value for name, value in request.items() if value is not None}
            with self._slots, _as_llm_error():
                answer = self._server.post(request)
            completions += self._read(answer)[:missing]
        return completions

    async def achat(
        self,
        messages: Sequence[Message],
        *,
        n: int = 1,
        temperature: float = 0.0,
        top_p: float | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] | None = None,
        seed: int | None = None,
    ) -> list[Completion]:
        """As :meth:`chat`, without blocking the event loop."""
        call = partial(self.chat, messages, n=n, temperature=temperature, top_p=top_p)
        try:
            future = self._pool.submit(call, max_tokens=max_tokens, stop=stop, seed=seed)
        except RuntimeError as error:
            raise LLMError(f"{self!r} is closed.") from error
        return await asyncio.wrap_future(future)

    def _read(self, answer: Any) -> list[Completion]:
        choices = answer.get("choices") if isinstance(answer, dict) else None
        if not isinstance(choices, list) or not choices:
            raise LLMError(f"{self._server.url} answered without a choice: {str(answer)[:300]!r}.")
        completions = [_completion(choice, self._server.url) for choice in choices]
        usage = answer.get("usage")
        counts = usage if isinstance(usage, dict) else {}
        with self._usage_lock:
            self._usage = Usage(
                self._usage.requests + 1,
                self._usage.prompt_tokens + _count(counts.get("prompt_tokens")),
                self._usage.completion_tokens + _count(counts.get("completion_tokens")),
            )
        return completions


def _completion(choice: Any, url: str) -> Completion:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise LLMError(f"{url} answered with a choice that holds no message: {str(choice)[:300]!r}.")
    content, reason = message.get("content"), choice.get("finish_reason")
    if content is not None and not isinstance(content, str):
        raise LLMError(f"{url} answered with a content that is no text: {str(content)[:300]!r}.")
    refused = bool(message.get("refusal")) or reason == "content_filter"
    return Completion(content or "", reason if isinstance(reason, str) else "", refused)


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


@contextlib.contextmanager
def _as_llm_error() -> Iterator[None]:
    try:
        yield
    except ServerError as error:
        raise (RequestRefusedError if error.refused else LLMError)(str(error)) from error
