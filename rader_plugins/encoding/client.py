"""Talking to an embedding server: bounded retries, and errors that say what to do."""

from __future__ import annotations

import email.utils
import os
import random
import threading
import time
from typing import Any

import httpx

from rader_plugins.errors import EncodingError, InputError

__all__ = ["EmbeddingClient", "RefusedError", "embeddings_url"]

_RETRIED = {408, 425, 429, 500, 502, 503, 504, 529}
_LONGEST_WAIT = 60.0
_QUOTED = 300

_REMEDIES = {
    400: "Is a text longer than the server allows, or empty? Give tokenizer= so that texts are cut on this side, or "
    "lower the recipe's maximum lengths.",
    401: "Put the key into the environment variable {key}.",
    403: "The key in the environment variable {key} may not use this model.",
    404: "Is the model name right (model=...), and the URL ({url})?",
    413: "The request is too large: lower batch_size, or give tokenizer= so that texts are cut on this side.",
    422: "The server does not accept these inputs: lower batch_size, or check the text lengths.",
}


def embeddings_url(url: str) -> str:
    """Return the address of the embeddings endpoint for a server's URL, with or without ``/v1`` in it.

    Raises:
        InputError: It is no http(s) URL.
    """
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise InputError(f"{url!r} is not a URL: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InputError("The server's URL must start with http:// or https:// and name a host.")
    path = parsed.path.rstrip("/")
    if not path.endswith("/embeddings"):
        path += "/embeddings" if path.endswith("/v1") else "/v1/embeddings"
    return str(parsed.copy_with(path=path))


class EmbeddingClient:
    """Sends requests to one OpenAI-compatible server. Safe to use from several threads.

    Args:
        url: Of the server.
        api_key_env: Name of the environment variable that holds the key; read at each request, never kept.
        concurrency: Most connections at once.
        timeout: Seconds until a request counts as failed.
        max_retries: Attempts after the first, for 429, 5xx, timeouts and broken connections.
        backoff: Seconds before the first retry; doubles each time, with jitter, up to a minute.
    """

    def __init__(
        self, url: str, *, api_key_env: str, concurrency: int, timeout: float, max_retries: int, backoff: float
    ) -> None:
        self._endpoint = httpx.URL(embeddings_url(url))
        # For messages: a URL may carry a password or a key.
        self.url = str(self._endpoint.copy_with(userinfo=b"", query=None))
        self._api_key_env = api_key_env
        self._max_retries = max_retries
        self._backoff = backoff
        self._closed = threading.Event()
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        self._client = httpx.Client(timeout=timeout, limits=limits)

    def embed(self, payload: dict[str, Any]) -> Any:
        """Send an embeddings request and return its JSON."""
        return self._request("POST", self._endpoint, payload)

    def only_model(self) -> str | None:
        """Return the name of the model that the server offers, or None if it does not say or offers several."""
        models = self._endpoint.copy_with(path=self._endpoint.path[: -len("/embeddings")] + "/models")
        try:
            answer = self._request("GET", models, None)
        except RefusedError:
            return None
        listed = answer.get("data") if isinstance(answer, dict) else None
        names = [entry.get("id") for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
        return str(names[0]) if len(names) == 1 and names[0] else None

    def close(self) -> None:
        """End waiting retries and close the connections."""
        self._closed.set()
        self._client.close()

    def _request(self, method: str, url: httpx.URL, payload: dict[str, Any] | None) -> Any:
        failure = ""
        for attempt in range(self._max_retries + 1):
            asked: float | None = None
            try:
                response = self._client.request(method, url, json=payload, headers=self._headers())
            except httpx.TransportError as error:
                failure = f"{type(error).__name__}: {error}"
            except RuntimeError as error:
                raise EncodingError(f"The encoder for {self.url} is closed.") from error
            else:
                if response.is_success:
                    return self._json(response)
                if response.status_code not in _RETRIED:
                    raise self._status_error(response)
                failure = f"status {response.status_code}: {self._said(response)}"
                asked = _retry_after(response)
            if attempt == self._max_retries:
                break
            if asked is not None and asked > _LONGEST_WAIT:
                raise EncodingError(f"{self.url} asks to wait {asked:.0f} s before the next request ({failure}).")
            wait = min(_LONGEST_WAIT, self._backoff * 2**attempt) * random.uniform(0.5, 1.5)
            if self._closed.wait(max(wait, asked or 0.0)):
                raise EncodingError(f"The encoder for {self.url} was closed while a request waited ({failure}).")
        raise EncodingError(
            f"{self.url} failed {self._max_retries + 1} times, last with {failure}. Is the server up and able to take "
            "this load (lower concurrency or batch_size, raise timeout or max_retries)?"
        )

    def _headers(self) -> dict[str, str]:
        key = os.environ.get(self._api_key_env, "") if self._api_key_env else ""
        try:
            key.encode("ascii")
        except UnicodeEncodeError:
            raise InputError(f"The environment variable {self._api_key_env} holds no usable key.") from None
        return {"Authorization": f"Bearer {key.strip()}"} if key.strip() else {}

    def _json(self, response: httpx.Response) -> Any:
        try:
            return response.json()
        except ValueError as error:
            raise EncodingError(
                f"{self.url} did not answer with JSON ({error}): {response.text[:_QUOTED]!r}. Is it an "
                "OpenAI-compatible embedding server?"
            ) from error

    def _status_error(self, response: httpx.Response) -> EncodingError:
        remedy = _REMEDIES.get(response.status_code, "").format(key=self._api_key_env or "(none)", url=self.url)
        return RefusedError(
            f"{self.url} refused with status {response.status_code}: {self._said(response)} {remedy}".strip()
        )

    def _said(self, response: httpx.Response) -> str:
        """Return the server's own words, shortened, without the key should it repeat it."""
        try:
            body = response.json()
            error = body.get("error", body) if isinstance(body, dict) else body
            message = str(error.get("message", error) if isinstance(error, dict) else error)
        except ValueError:
            message = response.text
        for secret in self._headers().values():
            message = message.replace(secret.removeprefix("Bearer "), "***")
        return f"{message[:_QUOTED]!r}."


class RefusedError(EncodingError):
    """The server refused a request for good."""


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("retry-after")
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
