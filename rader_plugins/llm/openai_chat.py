"""`OpenAIChat`: a language model behind an OpenAI-compatible server (vLLM, SGLang, llama.cpp, OpenAI)."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from rader_plugins import background
from rader_plugins.arguments import check_count
from rader_plugins.background import Workers
from rader_plugins.documents import check_text
from rader_plugins.errors import InputError, LLMError
from rader_plugins.files import fingerprint
from rader_plugins.http_client import ServerClient, ServerError
from rader_plugins.http_dialect import Dialect, thinking_fields
from rader_plugins.llm.base import (
    Completion,
    EmptyAnswersError,
    RefusalKind,
    RequestRefusedError,
    Usage,
    refusal,
)
from rader_plugins.llm.chat_answers import (
    UnreadableError,
    cut_at_stop,
    in_order,
    is_empty,
    may_be_cut_in_thoughts,
    read_chat,
    read_continuation,
    read_usage,
    thinks_aloud,
)
from rader_plugins.llm.generator import GeneratorBase, Request

__all__ = ["OpenAIChat"]

_CHAT, _COMPLETIONS = "/chat/completions", "/completions"
_KINDS: dict[int, RefusalKind] = {401: "access", 402: "access", 403: "access", 404: "model", 429: "access"}
# So many parameters may be refused before a request passes.
_MOST_LESSONS = 12
# So many empty answers in a row are no accident.
_MOST_EMPTY = 12
_REMEDIES = {
    400: "Is the conversation longer than the model's context, or does the server not know an option? extra= (on the "
    "command line --llm-extra NAME=VALUE) adds a field, or leaves it out (NAME=null).",
    413: "The conversation is too long for the server.",
    422: "The server does not accept this conversation or an option: extra= (--llm-extra NAME=VALUE) adds a field, or "
    "leaves it out (NAME=null).",
}


class OpenAIChat(GeneratorBase):
    """Asks a server's ``/v1/chat/completions`` and, to continue raw text, ``/v1/completions``. Needs the base install.

    At most ``concurrency`` requests are under way at once over all callers, threads and event loops. Status 429
    (``Retry-After`` is honoured), 5xx, timeouts and broken connections are retried with backoff, ``max_retries``
    times. Nothing is made up in place of an answer that does not come.

    Several answers (``n``) are one request where the server allows it. One that refuses so many (llama.cpp, for more
    than it has slots) or gives fewer is asked for single answers, at once, with the seeds that follow.

    Args:
        url: URL of the server, with or without ``/v1`` or an endpoint.
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
        thinking: Ask the server to switch its model's thinking off (False) or on (True), as far as it has a switch.

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
        thinking: bool | None = None,
    ) -> None:
        if max_n is not None:
            check_count(max_n, "max_n", 1)
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
            extra=extra,
        )
        self.concurrency = concurrency
        self.max_n = max_n
        # The fewest answers that the server was seen to refuse, or to answer with one, in a single request.
        self._refused_n = sys.maxsize
        self._extra = dict(extra or {})
        self._thinking = thinking
        self._model = None if model is None else check_text(model, "the model's name")
        self._pool = Workers(concurrency, "rader-chat")
        # Apart from the pool, whose threads wait for the parts of their calls.
        self._parts = Workers(concurrency, "rader-chat-part")
        self._usage = Usage()
        self._empty_in_a_row = 0
        self._thinks_aloud = False
        self._dialect = Dialect(self._server.url)
        self._new_locks()
        background.after_fork(self._new_locks)

    def _new_locks(self) -> None:
        # Not left to httpx, for which waiting for a connection may count as a timeout. Held during retries too: a
        # server that asks for patience gets it from all callers.
        self._slots = threading.BoundedSemaphore(self.concurrency)
        self._model_lock = threading.Lock()
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
                try:
                    self._model = self._server.only_model()
                except ServerError as error:
                    raise _as_llm_error(error) from error
            if self._model is None:
                raise InputError(f"{self._server.url} does not say which one model it serves: pass model='...'.")
            return self._model

    @property
    def fingerprint(self) -> str:
        """Of the model's name and the extra fields; where it is served does not matter."""
        switch = {} if self._thinking is None else {"thinking": self._thinking}
        return fingerprint({"model": self.model, "extra": self._extra, **switch})

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
        heads = [(offset, min(step, n - offset)) for offset in range(0, n, step)]
        first = self._together(request, heads)
        # What a part lacks is asked for one by one, all at once.
        missing = [
            (offset + have, 1)
            for (offset, size), got in zip(heads, first, strict=True)
            for have in range(len(got), size)
        ]
        singles = iter(self._together(request, missing))
        answers: list[Completion] = []
        for (_, size), got in zip(heads, first, strict=True):
            answers += got
            for _ in range(len(got), size):
                answers += next(singles)
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
        prompt = request.content
        raw = isinstance(prompt, str)
        # A stop string may stand in the thoughts of a model that thinks aloud: it is applied behind them, here.
        stops_here = not raw and self._thinks_aloud
        while True:
            payload: dict[str, Any] = {"model": self.model, "temperature": request.temperature}
            payload |= {"prompt": prompt} if raw else {"messages": prompt}
            payload |= {
                "top_p": request.top_p,
                "top_k": request.top_k,
                "max_tokens": request.max_tokens,
                "stop": None if stops_here else list(request.stop) or None,
                "seed": None if request.seed is None else request.seed + first,
                "n": size if size > 1 else None,
                "stream": False,  # the default of some gateways is to stream
            }
            payload |= thinking_fields(self._thinking) | self._extra
            payload = {name: value for name, value in payload.items() if value is not None}
            answer = self._send(payload, _COMPLETIONS if raw else None)
            completions = self._read(answer, request)[:size]
            if request.stop and not raw:
                self._thinks_aloud = self._thinks_aloud or any(map(thinks_aloud, completions))
                if not stops_here and any(map(may_be_cut_in_thoughts, completions)):
                    stops_here = True
                    continue
            self._check_emptiness(completions)
            if stops_here or not self._dialect.takes("stop"):
                completions = [cut_at_stop(completion, request.stop) for completion in completions]
            return completions

    def _send(self, payload: dict[str, Any], other: str | None) -> Any:
        """Send a request; what the server turns out not to take is left out from then on."""
        for _ in range(_MOST_LESSONS):
            fields = self._dialect.apply(payload)
            try:
                with self._slots:
                    return self._server.post(fields, other)
            except ServerError as error:
                own = set(self._extra) - {name for name, value in self._extra.items() if value is None}
                learnable = {name: value for name, value in fields.items() if name not in own}
                if error.status not in (400, 422) or not self._dialect.learn(learnable, error.said):
                    raise _as_llm_error(error) from error
        raise LLMError(f"{self._server.url} refuses one parameter after another. Leave them out with extra=.")

    def _read(self, answer: Any, request: Request) -> list[Completion]:
        choices = answer.get("choices") if isinstance(answer, dict) else None
        if not isinstance(choices, list) or not choices:
            raise LLMError(f"{self._server.url} answered without a choice: {self._server.shown(answer)}.")
        read = read_continuation if isinstance(request.content, str) else read_chat
        try:
            completions = [read(choice) for choice in in_order(choices)]
        except UnreadableError as error:
            raise LLMError(
                f"{self._server.url} answered with a choice that {error}: {self._server.shown(choices)}."
            ) from None
        with self._usage_lock:
            self._usage += read_usage(answer, request.content, completions)
        return completions

    def _check_emptiness(self, completions: Sequence[Completion]) -> None:
        """Raise once a model has answered with nothing for a while."""
        with self._usage_lock:
            all_empty = all(map(is_empty, completions))
            self._empty_in_a_row = self._empty_in_a_row + len(completions) if all_empty else 0
            count = self._empty_in_a_row
        if count < _MOST_EMPTY:
            return
        thinking = any(completion.thoughts or completion.text.strip() for completion in completions)
        cut = any(completion.finish_reason == "length" for completion in completions)
        if thinking or cut:
            why = "its tokens went into thoughts" if thinking else "they are cut before they begin"
            remedy = (
                "Switch its thinking off (thinking=False; --no-llm-thinking), or allow more tokens (max_tokens, in the "
                "prompts too; --llm-extra max_tokens=4000)."
            )
        else:
            why = f"they end with {completions[0].finish_reason!r}"
            remedy = "Is it a model that answers this kind of request (chat or completion)?"
        raise EmptyAnswersError(
            f"The last {count} answers of {self.model!r} at {self._server.url} are all empty: {why}. {remedy}",
            completions,
        )


def _as_llm_error(error: ServerError) -> LLMError:
    if not error.refused:
        return LLMError(str(error))
    kind: RefusalKind = "server" if error.status is None else _KINDS.get(error.status, "request")
    return refusal(str(error), error.said, kind)
