"""`HTTPEncoder`: vectors from an OpenAI-compatible embedding server (vLLM, TEI, llama.cpp, OpenAI)."""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from rader_plugins.encoding.base import Encoder, Vectors
from rader_plugins.encoding.client import EmbeddingClient
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

    Texts go in batches, at most ``concurrency`` at once over all callers. Status 429 (``Retry-After`` is honoured),
    5xx, timeouts and broken connections are retried with backoff. If a batch fails for good the whole call raises:
    nothing partial and no made-up vector is returned.

    Args:
        url: Of the server, with or without ``/v1`` or ``/v1/embeddings``.
        recipe: A :class:`~rader_plugins.Recipe`, a registered name, a model directory, or ``"plain"`` for a server
            that does everything itself (OpenAI): no template, text as it is.
        model: Name that the server knows the model by; default: the only one it lists, else the recipe's.
        api_key_env: Environment variable with the key; no ``Authorization`` is sent if it is unset.
        concurrency: Requests at once.
        batch_size: Texts in a request.
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
        concurrency: int = 8,
        batch_size: int = 32,
        timeout: float = 60.0,
        max_retries: int = 5,
        backoff: float = 0.5,
        server_appends_eos: bool = False,
        tokenizer: str | os.PathLike[str] | None = None,
        show_progress: bool | None = None,
    ) -> None:
        _check_numbers(concurrency, batch_size, timeout, max_retries, backoff)
        if recipe is None:
            raise InputError(
                "An embedding server does not say how its model wants its texts: pass recipe=, a registered name "
                "(recipe='rader-7b'), a Recipe(...), or recipe='plain' if the server takes plain text."
            )
        self._client = EmbeddingClient(
            url,
            api_key_env=api_key_env,
            concurrency=concurrency,
            timeout=timeout,
            max_retries=max_retries,
            backoff=backoff,
        )
        self._model = model
        self._lock = threading.Lock()
        self.recipe = self._find_recipe(recipe)
        self._text = RemoteText(self.recipe, tokenizer=tokenizer, server_appends_eos=server_appends_eos)
        self._batch_size = batch_size
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="rader-http")
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
        known = self._dimension
        if known is None:
            probe, _ = self._text.prepare("document", ["a"], None)
            known = self._embed(probe, self._served_model()).shape[1]
        return known

    def encode_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> Vectors:
        """Encode queries; see :meth:`Encoder.encode_queries`."""
        return self._encode("query", texts, instruction)

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        """Encode documents; see :meth:`Encoder.encode_documents`."""
        return self._encode("document", texts, None)

    async def aencode_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> Vectors:
        """As :meth:`encode_queries`, without blocking the event loop."""
        return await self._aencode("query", texts, instruction)

    async def aencode_documents(self, texts: Sequence[str]) -> Vectors:
        """As :meth:`encode_documents`, without blocking the event loop."""
        return await self._aencode("document", texts, None)

    def _encode(self, role: Role, texts: Sequence[str], instruction: str | None) -> Vectors:
        futures, places = self._submit(role, texts, instruction)
        try:
            with progress(len(places), wants_progress(self.show_progress, len(places)), f"Encoding {role}s") as advance:
                parts = []
                for future in futures:
                    parts.append(future.result())
                    advance(len(parts[-1]))
        except BaseException:
            _cancel(futures)
            raise
        return self._assemble(parts, places)

    async def _aencode(self, role: Role, texts: Sequence[str], instruction: str | None) -> Vectors:
        futures, places = await asyncio.to_thread(self._submit, role, texts, instruction)
        try:
            parts = await asyncio.gather(*(asyncio.wrap_future(future) for future in futures))
        except BaseException:
            _cancel(futures)
            raise
        return await asyncio.to_thread(self._assemble, parts, places)

    def _submit(
        self, role: Role, texts: Sequence[str], instruction: str | None
    ) -> tuple[list[Future[Vectors]], list[int]]:
        given = checked_texts(texts, role)
        if role == "query":
            self.recipe.query_prefix(instruction)  # an unusable instruction is an error even without a text
        unique: dict[str, int] = {}
        places = [unique.setdefault(text, len(unique)) for text in given]
        if not places:
            return [], []
        prepared, cut = self._text.prepare(role, list(unique), instruction)
        if cut:
            texts_cut = list(unique)
            self._report_truncated([texts_cut[position] for position in cut], role)
        model = self._served_model()
        batches = [prepared[start : start + self._batch_size] for start in range(0, len(prepared), self._batch_size)]
        try:
            return [self._pool.submit(self._embed, batch, model) for batch in batches], places
        except RuntimeError as error:
            raise EncodingError(f"{self!r} is closed.") from error

    def _assemble(self, parts: Sequence[Vectors], places: list[int]) -> Vectors:
        if not places:
            return np.zeros((0, self.dimension), dtype=np.float32)
        rows = np.concatenate(parts)
        return rows if len(rows) == len(places) else rows[places]

    def _embed(self, batch: list[str], model: str) -> Vectors:
        answer = self._client.embed({"model": model, "input": batch, "encoding_format": "float"})
        rows = _rows(answer, len(batch), self._client.url)
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
        if recipe == "plain":
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
                f"{len(texts)} texts were longer than the {self.recipe.max_length(role)} tokens of recipe "
                f"{self.recipe.name!r} and were cut. (Shown once for this encoder; its `truncated` counts on.)",
                TruncationWarning,
                stacklevel=5,
            )


def _rows(answer: Any, count: int, url: str) -> Vectors:
    """Return the vectors of an answer in the order of the request, shape (count, dimension)."""
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list):
        raise EncodingError(f"{url} did not answer with embeddings: {str(answer)[:300]!r}.")
    if len(data) != count:
        raise EncodingError(f"{url} gave {len(data)} vectors for {count} texts.")
    ordered: list[Any] = [None] * count
    for entry in data:
        index = entry.get("index") if isinstance(entry, dict) else None
        if not isinstance(index, int) or not 0 <= index < count or ordered[index] is not None:
            raise EncodingError(f"{url} gave a missing, doubled or impossible index ({index!r}) among {count}.")
        ordered[index] = entry.get("embedding")
    try:
        with np.errstate(over="ignore"):
            rows = np.array(ordered, dtype=np.float64).astype(np.float32)
    except (TypeError, ValueError) as error:
        raise EncodingError(f"{url} gave embeddings that are no lists of numbers of one length: {error}") from error
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise EncodingError(
            f"{url} gave embeddings of shape {rows.shape[1:]} instead of one vector a text. Start the server with a "
            "pooling that fits the recipe."
        )
    return rows


def _cancel(futures: Sequence[Future[Vectors]]) -> None:
    for future in futures:
        future.cancel()


def _check_numbers(concurrency: int, batch_size: int, timeout: float, max_retries: int, backoff: float) -> None:
    for name, value, least in (
        ("concurrency", concurrency, 1),
        ("batch_size", batch_size, 1),
        ("max_retries", max_retries, 0),
    ):
        if not isinstance(value, int) or value < least:
            raise InputError(f"{name} must be an integer of at least {least}, not {value!r}.")
    if not timeout > 0 or not backoff >= 0:
        raise InputError("timeout must be positive and backoff not negative (seconds).")
