"""Talking to an embedding server: the shared client of OpenAI-compatible servers, with an encoder's errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from rader_plugins.errors import EncodingError
from rader_plugins.http_client import ServerClient, ServerError, endpoint_url

__all__ = ["EmbeddingClient", "embeddings_url"]

_ENDPOINT = "/embeddings"

_REMEDIES = {
    400: "Is a text longer than the server allows, or empty? Give tokenizer= so that texts are cut on this side, or "
    "lower the recipe's maximum lengths.",
    413: "The request is too large: lower batch_size, or give tokenizer= so that texts are cut on this side.",
    422: "The server does not accept these inputs: lower batch_size, or check the text lengths.",
}


def embeddings_url(url: str) -> str:
    """Return the address of the embeddings endpoint for a server's URL, with or without ``/v1`` in it.

    Raises:
        InputError: It is no http(s) URL.
    """
    return endpoint_url(url, _ENDPOINT)


class EmbeddingClient:
    """Sends requests to one embedding server; the arguments are those of :class:`ServerClient`. Thread-safe."""

    def __init__(
        self, url: str, *, api_key_env: str, concurrency: int, timeout: float, max_retries: int, backoff: float
    ) -> None:
        self._server = ServerClient(
            url,
            _ENDPOINT,
            remedies=_REMEDIES,
            api_key_env=api_key_env,
            concurrency=concurrency,
            timeout=timeout,
            max_retries=max_retries,
            backoff=backoff,
        )
        self.url = self._server.url

    def embed(self, payload: dict[str, Any]) -> Any:
        """Send an embeddings request and return its JSON."""
        with _as_encoding_error():
            return self._server.post(payload)

    def only_model(self) -> str | None:
        """Return the name of the model that the server offers, or None if it does not say or offers several."""
        with _as_encoding_error():
            return self._server.only_model()

    def close(self) -> None:
        """End waiting retries and close the connections."""
        self._server.close()


@contextlib.contextmanager
def _as_encoding_error() -> Iterator[None]:
    try:
        yield
    except ServerError as error:
        raise EncodingError(str(error)) from error
