"""`HTTPEncoder`: vectors from an OpenAI-compatible embedding server (vLLM, TEI, llama.cpp, OpenAI)."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from rader_plugins import background
from rader_plugins.arguments import check_count, check_flag
from rader_plugins.background import Workers
from rader_plugins.documents import check_text
from rader_plugins.encoding.base import Encoder, Vectors
from rader_plugins.encoding.client import EmbeddingClient
from rader_plugins.encoding.remote_batches import BatchLimits, RemoteCall
from rader_plugins.encoding.remote_lane import QueryLane
from rader_plugins.encoding.remote_text import RemoteText
from rader_plugins.encoding.texts import checked_texts, progress, wants_progress
from rader_plugins.encoding.truncation import report_truncated
from rader_plugins.errors import EncodingError, InputError, TruncationWarning
from rader_plugins.recipes import Recipe, Role
from rader_plugins.recipes.resolve import identified, resolve

__all__ = ["HTTPEncoder"]

_PLAIN_LENGTH = 8192


class HTTPEncoder(Encoder):
    """Encodes through a server's ``/v1/embeddings``. Needs the base install only.

    The recipe is applied on this side: template, end-of-sequence token as text, cutting (with ``tokenizer``), L2
    norm. So a server that serves the recipe's model gives the vectors that
    :class:`~rader_plugins.encoding.local.LocalEncoder` gives, the fingerprint is the same, and an index built with
    one can be queried through the other. The server must pool as the recipe says.

    Texts go in batches, at most ``concurrency`` at once over all callers; queries go before documents that wait, and
    those that wait for a connection share a request. Status 429 (``Retry-After`` is honoured), 5xx, timeouts and broken
    connections are retried with backoff. A request that the server refuses for its texts is halved: a limit on their
    number is remembered, a text that it does not take at all is named, and the vectors of the others are in the error.
    No vector is made up.

    Args:
        url: Base URL of the server (what OpenAI's client calls ``base_url``), or that of its embeddings endpoint.
        recipe: A :class:`~rader_plugins.Recipe`, a registered name, a model directory, or ``"plain"`` for a server
            that does everything itself (OpenAI): no template, text as it is.
        model: Name that the server knows the model by; default: the only one it lists, else the recipe's.
        api_key_env: Environment variable with the key; no ``Authorization`` is sent if it is unset.
        headers: Further headers; ``$NAME`` in a value is read from the environment (``{"api-key": "$AZURE_KEY"}``).
        extra: Further fields of every request (``{"dimensions": 512}``); None leaves a field out.
        concurrency: How many requests are under way at once.
        batch_size: Texts in a request.
        batch_tokens: Most tokens in a request, as far as they can be estimated without its tokenizer (three characters
            are one); None: any number.
        max_tokens: Most tokens of a text, where the server reads fewer than the recipe says; needs ``tokenizer``.
        timeout: Seconds until a request counts as failed.
        max_retries: Attempts after the first.
        backoff: Seconds before the first retry; doubles, with jitter.
        server_appends_eos: The served tokenizer appends the end-of-sequence token itself.
        tokenizer: Directory, hub id or ``tokenizer.json`` to cut long texts by (needs ``tokenizers``); without it
            the server's rejection of a text that is too long is reported.
        show_progress: True, False, or None for "if the standard error is a terminal".

    Raises:
        InputError: An option is unusable or the recipe is missing.

    Example:
        >>> encoder = load_encoder("http://localhost:8000", recipe="rader-7b")  # doctest: +SKIP
    """

    def __init__(
        self,
        url: str,
        *,
        recipe: Recipe | str | None = None,
        model: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
        concurrency: int = 8,
        batch_size: int = 32,
        batch_tokens: int | None = None,
        max_tokens: int | None = None,
        timeout: float = 60.0,
        max_retries: int = 5,
        backoff: float = 0.5,
        server_appends_eos: bool = False,
        tokenizer: str | os.PathLike[str] | None = None,
        show_progress: bool | None = None,
    ) -> None:
        check_count(batch_size, "batch_size", 1)
        for name, number in (("batch_tokens", batch_tokens), ("max_tokens", max_tokens)):
            if number is not None:
                check_count(number, name, 1)
        check_flag(server_appends_eos, "server_appends_eos")
        if recipe is None:
            raise InputError(
                "An embedding server does not say how its model wants its texts: pass recipe=, a registered name "
                "(recipe='rader-7b'), a Recipe(...), or recipe='plain' if the server takes plain text."
            )
        self._client = EmbeddingClient(
            url,
            extra=extra,
            api_key_env=api_key_env,
            headers=headers,
            concurrency=concurrency,
            timeout=timeout,
            max_retries=max_retries,
            backoff=backoff,
        )
        self._model = None if model is None else check_text(model, "the model's name")
        self._lock = background.Lock()
        self.recipe = self._find_recipe(recipe)
        self._text = RemoteText(
            self.recipe, tokenizer=tokenizer, server_appends_eos=server_appends_eos, max_tokens=max_tokens
        )
        self._limits = BatchLimits(batch_size, batch_tokens)
        self._pool = Workers(concurrency, "rader-http")
        self._lane = QueryLane(self._pool, self._limits)
        self.show_progress = show_progress
        self._dimension = self.recipe.dimension
        self.truncated = 0

    def __repr__(self) -> str:
        return f"HTTPEncoder({self._client.url!r}, recipe={self.recipe.name!r}, model={self._model!r})"

    def __enter__(self) -> HTTPEncoder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End waiting requests and close the connections."""
        self._client.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def variant(self) -> str:
        """The served model's name."""
        return f"http:{self._served_model()}"

    @property
    def dimension(self) -> int:
        """Length of the vectors; where the recipe does not know it, the server is asked once."""
        if self._dimension is None:
            probe, _ = self._text.prepare("document", ["a"], None)
            self._embed(probe, self._served_model())  # remembers it
        return self._dimension or 0

    def encode_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> Vectors:
        """Encode queries; see :meth:`Encoder.encode_queries`.

        Raises:
            RefusedTextsError: The server takes all but some of them.
        """
        return self._encode("query", texts, instruction)

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        """Encode documents; see :meth:`encode_queries`."""
        return self._encode("document", texts, None)

    async def aencode_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> Vectors:
        """As :meth:`encode_queries`, without blocking the event loop."""
        return await self._aencode("query", texts, instruction)

    async def aencode_documents(self, texts: Sequence[str]) -> Vectors:
        """As :meth:`encode_documents`, without blocking the event loop."""
        return await self._aencode("document", texts, None)

    def _encode(self, role: Role, texts: Sequence[str], instruction: str | None) -> Vectors:
        call, futures = self._submit(role, texts, instruction)
        visible = wants_progress(self.show_progress, len(call.texts))
        try:
            with progress(len(call.texts), visible, f"Encoding {role}s") as advance:
                for future in futures:
                    advance(future.result())
        finally:
            _cancel(futures)
        return self._finish(call)

    async def _aencode(self, role: Role, texts: Sequence[str], instruction: str | None) -> Vectors:
        call, futures = await background.in_thread(self._submit, role, texts, instruction)
        try:
            await asyncio.gather(*(asyncio.wrap_future(future) for future in futures))
        finally:
            _cancel(futures)
        return await background.in_thread(self._finish, call)

    def _submit(
        self, role: Role, texts: Sequence[str], instruction: str | None
    ) -> tuple[RemoteCall, list[Future[int]]]:
        """Begin a call; each future gives the number of texts that it has dealt with."""
        checked = checked_texts(texts, role)
        if role == "query":
            self.recipe.query_prefix(instruction)  # an unusable instruction is an error even without a text
        unique: dict[str, int] = {}
        rows = [unique.setdefault(text, len(unique)) for text in checked]
        if not rows:
            return RemoteCall(role, [], []), []
        prepared, cut = self._text.prepare(role, list(unique), instruction)
        if cut:
            distinct = list(unique)
            self._report_truncated([distinct[position] for position in cut], role)
        model = self._served_model()
        call = RemoteCall(role, prepared, rows)
        batches = self._limits.cut(prepared)

        def embed(batch: list[str], *, once: bool = False) -> Vectors:
            return self._embed(batch, model, once=once)

        submit = self._pool.submit_first if role == "query" else self._pool.submit
        try:
            if role == "query" and len(batches) == 1:
                return call, [self._lane.submit(call, embed)]
            return call, [submit(call.encode, batch, embed, self._limits) for batch in batches]
        except RuntimeError as error:
            raise EncodingError(f"{self!r} is closed.") from error

    def _finish(self, call: RemoteCall) -> Vectors:
        return call.result() if call.rows else np.zeros((0, self.dimension), dtype=np.float32)

    def _embed(self, batch: list[str], model: str, *, once: bool = False) -> Vectors:
        rows = self._client.embed(batch, model, once=once)
        with self._lock:
            if self._dimension is None:
                self._dimension = rows.shape[1]
        if rows.shape[1] != self._dimension:
            raise EncodingError(
                f"{self._client.url} gave vectors of dimension {rows.shape[1]}; {self._dimension} was expected of "
                f"recipe {self.recipe.name!r}. It serves another model."
            )
        if not np.isfinite(rows).all():
            raise EncodingError(f"{self._client.url} gave NaN or infinite numbers. No vector was kept.")
        norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
        if not norms.all():
            raise EncodingError(f"{self._client.url} gave a zero vector, which has no direction. No vector was kept.")
        return (rows / norms).astype(np.float32) if self.recipe.normalize else rows

    def _served_model(self) -> str:
        with self._lock:
            if self._model is None:
                self._model = self._client.only_model() or self.recipe.model
            return self._model

    def _find_recipe(self, recipe: Recipe | str) -> Recipe:
        if isinstance(recipe, str) and recipe == "plain":
            return self._plain()
        # The files of the model are the server's: a recipe may name what is nowhere here.
        if isinstance(recipe, Recipe) and recipe.kind == "retriever":
            return identified(recipe)
        return resolve(recipe).recipe

    def _plain(self) -> Recipe:
        if self._model is None:
            self._model = self._client.only_model()
        if self._model is None:
            raise InputError(f"{self._client.url} does not say which model it serves: pass model='...'.")
        return Recipe(
            name="plain",
            model=self._model,
            pooling="model",
            max_query_length=_PLAIN_LENGTH,
            max_document_length=_PLAIN_LENGTH,
            source="plain text; the server does the rest",
        )

    def _report_truncated(self, texts: Sequence[str], role: Role) -> None:
        report_truncated(texts)
        with self._lock:
            first = self.truncated == 0
            self.truncated += len(texts)
        if first:
            warnings.warn(
                f"{len(texts)} texts were longer than the {self._text.limit(role)} tokens of recipe "
                f"{self.recipe.name!r} and were cut. (Shown once for this encoder; its `truncated` counts on.)",
                TruncationWarning,
                stacklevel=5,
            )


def _cancel(futures: Sequence[Future[int]]) -> None:
    for future in futures:
        future.cancel()
