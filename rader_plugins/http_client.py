"""Talking to an OpenAI-compatible server: bounded retries, and errors that say what to do."""

from __future__ import annotations

import email.utils
import os
import random
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from rader_plugins.errors import InputError, RaderError

__all__ = ["ServerClient", "ServerError", "endpoint_url"]

_RETRIED = {408, 425, 429, 500, 502, 503, 504, 529}
_LONGEST_WAIT = 60.0
_QUOTED = 300

_REMEDIES = {
    401: "Put the key into the environment variable {key}.",
    403: "The key in the environment variable {key} may not use this model.",
    404: "Is the model name right (model=...), and the URL ({url})?",
}


class ServerError(RaderError):
    """A server failed or refused a request.

    Args:
        message: What happened and what to do.
        refused: The server refused the request for good; sending it again is of no use.
        status: The status that it refused with.
        said: Its own words and codes, for telling refusals apart.
    """

    def __init__(self, message: str, *, refused: bool = False, status: int | None = None, said: str = "") -> None:
        super().__init__(message)
        self.refused = refused
        self.status = status
        self.said = said


def endpoint_url(url: str, endpoint: str, others: Sequence[str] = ()) -> str:
    """Return the address of an endpoint for a server's URL, with or without ``/v1`` or the endpoint in it.

    Args:
        url: Of the server.
        endpoint: What follows ``/v1``, for example ``"/embeddings"``.
        others: Endpoints that the URL may end in as well, and that are then replaced.

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
    if not path.endswith(endpoint):
        for other in others:
            path = path.removesuffix(other)
        path += endpoint if path.endswith("/v1") else f"/v1{endpoint}"
    return str(parsed.copy_with(path=path))


class ServerClient:
    """Sends requests to one endpoint of one OpenAI-compatible server. Safe to use from several threads.

    Args:
        url: Of the server.
        endpoint: What follows ``/v1``.
        others: Further endpoints of the server that requests may go to.
        remedies: Status -> what to do about it, beside those for 401, 403 and 404; may hold ``{key}`` and ``{url}``.
        api_key_env: Name of the environment variable that holds the key; read at each request, never kept.
        concurrency: Most connections at once.
        timeout: Seconds without a byte from the server until a request counts as failed.
        max_retries: Attempts after the first, for 429, 5xx, timeouts and broken connections.
        backoff: Seconds before the first retry; doubles each time, with jitter, up to a minute.
    """

    def __init__(
        self,
        url: str,
        endpoint: str,
        *,
        others: Sequence[str] = (),
        remedies: Mapping[int, str],
        api_key_env: str,
        concurrency: int,
        timeout: float,
        max_retries: int,
        backoff: float,
    ) -> None:
        self._url = httpx.URL(endpoint_url(url, endpoint, others))
        base = self._url.path[: -len(endpoint)]
        self._others = {other: self._url.copy_with(path=base + other) for other in others}
        self._models = self._url.copy_with(path=base + "/models")
        # For messages: a URL may carry a password or a key.
        self.url = str(self._url.copy_with(userinfo=b"", query=None))
        self._remedies = {**_REMEDIES, **remedies}
        self._api_key_env = api_key_env
        self._max_retries = max_retries
        self._backoff = backoff
        self._closed = threading.Event()
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        self._client = httpx.Client(timeout=timeout, limits=limits)

    def post(self, payload: dict[str, Any], other: str | None = None) -> Any:
        """Send a request to the endpoint, or to one of the others, and return its JSON.

        Raises:
            ServerError: It was refused, or failed as often as it may.
        """
        return self._request("POST", self._url if other is None else self._others[other], payload)

    def only_model(self) -> str | None:
        """Return the name of the model that the server offers, or None if it does not say or offers several."""
        try:
            answer = self._request("GET", self._models, None)
        except ServerError as error:
            if error.refused:
                return None
            raise
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
                raise ServerError(f"The client of {self.url} is closed.") from error
            else:
                if response.is_success:
                    return self._json(response)
                if response.status_code not in _RETRIED:
                    raise self._refusal(response)
                failure = f"status {response.status_code}: {self._said(response)}"
                asked = _retry_after(response)
            if attempt == self._max_retries:
                break
            if asked is not None and asked > _LONGEST_WAIT:
                raise ServerError(f"{self.url} asks to wait {asked:.0f} s before the next request ({failure}).")
            wait = min(_LONGEST_WAIT, self._backoff * 2**attempt) * random.uniform(0.5, 1.5)
            if self._closed.wait(max(wait, asked or 0.0)):
                raise ServerError(f"The client of {self.url} was closed while a request waited ({failure}).")
        raise ServerError(
            f"{self.url} failed {self._max_retries + 1} times, last with {failure}. Is the server up and able to take "
            "this load (lower concurrency or the size of the requests, raise timeout or max_retries)?"
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
            raise ServerError(
                f"{self.url} did not answer with JSON ({error}): {self._without_key(response.text)[:_QUOTED]!r}. "
                "Is it an OpenAI-compatible server?"
            ) from error

    def _refusal(self, response: httpx.Response) -> ServerError:
        remedy = self._remedies.get(response.status_code, "").format(key=self._api_key_env or "(none)", url=self.url)
        message = f"{self.url} refused with status {response.status_code}: {self._said(response)} {remedy}".strip()
        return ServerError(message, refused=True, status=response.status_code, said=self._without_key(response.text))

    def _said(self, response: httpx.Response) -> str:
        """Return the server's own words, shortened, without the key should it repeat it."""
        try:
            body = response.json()
            error = body.get("error", body) if isinstance(body, dict) else body
            message = str(error.get("message", error) if isinstance(error, dict) else error)
        except ValueError:
            message = response.text
        return f"{self._without_key(message)[:_QUOTED]!r}."

    def _without_key(self, text: str) -> str:
        for secret in self._headers().values():
            text = text.replace(secret.removeprefix("Bearer "), "***")
        return text


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
