"""Talking to an embedding server: the shared client of OpenAI-compatible servers, with an encoder's errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rader_plugins.encoding.base import Vectors
from rader_plugins.errors import EncodingError
from rader_plugins.http_client import ServerClient, ServerError
from rader_plugins.http_dialect import Dialect
from rader_plugins.http_urls import endpoint_url

__all__ = ["EmbeddingClient", "InputFailedError", "InputRefusedError", "embeddings_url"]

_ENDPOINT = "/embeddings"
# Of these, fewer or shorter texts may pass. (The client calls a 5xx that speaks of the length a refusal, too.)
_INPUT = {400, 413, 422, 500}
_FAILED = 500  # others are of what stands before the server, or of its load

_REMEDIES = {
    400: "Is a text longer than the server allows, or empty? tokenizer= (with max_tokens=) cuts texts on this side, "
    "batch_size= makes requests smaller; on the command line --model-option NAME=VALUE.",
    413: "The request is too large: lower batch_size, or give tokenizer= so that texts are cut on this side.",
    422: "The server does not accept these inputs: lower batch_size, or check the text lengths.",
}


class InputRefusedError(EncodingError):
    """A server refused the texts of a request: their number, their size, or one of them."""


class InputFailedError(EncodingError):
    """A server failed over a request, each time that it was sent, which may be for one of its texts."""


def embeddings_url(url: str) -> str:
    """Return the address of the embeddings endpoint of a server; see :class:`~rader_plugins.http_urls.Endpoints`.

    Raises:
        InputError: It is no http(s) URL.
    """
    return endpoint_url(url, _ENDPOINT)


class EmbeddingClient:
    """Sends requests to one embedding server. Thread-safe.

    Args:
        url: URL of the server, with or without ``/v1`` or an endpoint.
        extra: Further fields of every request; None as a value leaves out one that would be sent.
        **options: Keyword arguments of :class:`~rader_plugins.http_client.ServerClient`.
    """

    def __init__(self, url: str, *, extra: Mapping[str, Any] | None = None, **options: Any) -> None:
        self._server = ServerClient(url, _ENDPOINT, remedies=_REMEDIES, extra=extra, **options)
        self._extra = dict(extra or {})
        self._dialect = Dialect(self._server.url)

    @property
    def url(self) -> str:
        """Where requests go, without what is secret in the address."""
        return self._server.url

    def embed(self, texts: list[str], model: str, *, once: bool = False) -> Vectors:
        """Return the vectors of texts as the server gives them, shape (n, dimension).

        Args:
            texts: The texts of one request, as they are sent.
            model: Name of the model at the server.
            once: Do not try again what fails.

        Raises:
            InputRefusedError: The server does not take these texts.
            InputFailedError: It has an error of its own (status 500) over them.
            EncodingError: It failed or refused otherwise, or its answer is unusable.
        """
        payload = {"model": model, "input": texts, "encoding_format": "float", **self._extra}
        payload = {name: value for name, value in payload.items() if value is not None}
        while True:
            fields = self._dialect.apply(payload)
            try:
                return self._rows(self._server.post(fields, once=once), len(texts))
            except ServerError as error:
                learnable = {name: value for name, value in fields.items() if name not in self._extra}
                if error.status in (400, 422) and self._dialect.learn(learnable, error.said):
                    continue
                raise _kind(error)(str(error)) from error

    def only_model(self) -> str | None:
        """Return the name of the model that the server offers, or None if it does not say or offers several."""
        try:
            return self._server.only_model()
        except ServerError as error:
            raise EncodingError(str(error)) from error

    def close(self) -> None:
        """End waiting requests and close the connections."""
        self._server.close()

    def _rows(self, answer: Any, count: int) -> Vectors:
        """Return the vectors of an answer in the order of the request, shape (count, dimension)."""
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, list):
            raise EncodingError(f"{self.url} did not answer with embeddings: {self._server.shown(answer)}.")
        if len(data) != count:
            raise EncodingError(f"{self.url} gave {len(data)} vectors for {count} texts.")
        ordered: list[Any] = [None] * count
        for entry in data:
            index = entry.get("index") if isinstance(entry, dict) else None
            if not isinstance(index, int) or not 0 <= index < count or ordered[index] is not None:
                raise EncodingError(
                    f"{self.url} gave a missing, doubled or impossible index ({self._server.shown(index)}) among "
                    f"{count}."
                )
            ordered[index] = entry.get("embedding")
        try:
            with np.errstate(over="ignore"):
                rows = np.array(ordered, dtype=np.float64).astype(np.float32)
        except (TypeError, ValueError) as error:
            raise EncodingError(
                f"{self.url} gave embeddings that are no lists of numbers of one length: {self._server.shown(error)}."
            ) from None
        if rows.ndim != 2 or rows.shape[1] == 0:
            raise EncodingError(
                f"{self.url} gave embeddings of shape {rows.shape[1:]} instead of one vector a text. Start the server "
                "with a pooling that fits the recipe."
            )
        return rows


def _kind(error: ServerError) -> type[EncodingError]:
    if error.refused:
        return InputRefusedError if error.status in _INPUT else EncodingError
    return InputFailedError if error.failed_with == _FAILED else EncodingError
