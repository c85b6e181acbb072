"""Talking to an OpenAI-compatible server: bounded retries, and errors that say what to do."""

from __future__ import annotations

import json
import logging
import random
import re
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx

from rader_plugins import background
from rader_plugins.arguments import check_count, check_number
from rader_plugins.errors import InputError, RaderError
from rader_plugins.http_answers import NO_STATUS, RETRIED, is_stream, read_body, retry_after, status_of
from rader_plugins.http_headers import RequestHeaders
from rader_plugins.http_proxies import proxy_of, unusable_settings
from rader_plugins.http_urls import Endpoints, endpoint_url, shown_url

__all__ = ["ServerClient", "ServerError", "endpoint_url"]

_LONGEST_WAIT = 60.0
_QUOTED = 300
_MOST_REDIRECTS = 3

# Of what is answered as a matter of time (429) or as an accident (5xx) and is neither.
_SPENT = re.compile(r"insufficient[_ ](quota|balance|funds|credits?)|your current quota|billing|payment", re.I)
_TOO_LARGE = re.compile(
    r"too (large|long|many tokens)|physical batch|context[_ ](length|size|window)|maximum (context|input|sequence)",
    re.IGNORECASE,
)
_PROXY_PASSWORD = re.compile(r"\s*40[1-7](?<!403)|username/password|no acceptable methods", re.IGNORECASE)
_ABOUT_MODEL = re.compile(r"model|deployment", re.IGNORECASE)

_REMEDIES = {
    401: "Put the key into the environment variable {key} (or name another one, or a header for it).",
    402: "The account with this server has no credit left.",
    403: "The key in the environment variable {key} may not use this model.",
    404: "Is the model name right (model=...), and the URL ({url})?",
    407: "The proxy wants a user and a password, or others: HTTPS_PROXY=http://user:password@proxy:port.",
}


class ServerError(RaderError):
    """A server failed or refused a request.

    Args:
        message: What happened and what to do.
        refused: The server refused the request for good; sending it again is of no use.
        status: The status that it refused with.
        said: The server's own words and codes, for telling refusals apart.
        failed_with: The last status of a request that failed as often as it may.
    """

    def __init__(
        self,
        message: str,
        *,
        refused: bool = False,
        status: int | None = None,
        said: str = "",
        failed_with: int | None = None,
    ) -> None:
        super().__init__(message)
        self.failed_with = failed_with
        self.refused = refused
        self.status = status
        self.said = said


class ServerClient:
    """Sends requests to one OpenAI-compatible server. Safe to use from several threads, and in forked processes.

    Args:
        url: Base URL of the server, or the address of an endpoint; see :class:`~rader_plugins.http_urls.Endpoints`.
        endpoint: What requests go to, behind the base.
        others: Further endpoints of the server that requests may go to.
        remedies: Status -> what to do about it, beside those for 401, 403 and 404; may hold ``{key}`` and ``{url}``.
        api_key_env: Name of the environment variable that holds the key; read at each request, never kept.
        headers: Further headers; see :class:`~rader_plugins.http_headers.RequestHeaders`.
        extra: Fields that every request is going to have, checked here; what they call a key is in no message.
        concurrency: Most connections at once.
        timeout: Seconds without a byte from the server until a request counts as failed.
        max_retries: Attempts after the first, for 429, 5xx, timeouts and broken connections. What will not change (a
            quota that is used up, an unknown host, a refused certificate) is not tried again.
        backoff: Seconds before the first retry; doubles each time, with jitter, up to a minute.

    Raises:
        InputError: The URL, a header, a field or a number is unusable.
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
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        check_count(concurrency, "concurrency", 1)
        check_count(max_retries, "max_retries")
        check_number(backoff, "backoff", 0)
        if not check_number(timeout, "timeout", 0):
            raise InputError("timeout must be more than 0 seconds.")
        _check_fields(extra)
        self._endpoint = endpoint
        self._endpoints = Endpoints(url, (endpoint, *others))
        self._headers = RequestHeaders(self._endpoints.url, api_key_env, headers, extra)
        self._remedies = {**_REMEDIES, **remedies}
        self._api_key_env = api_key_env
        self._concurrency = concurrency
        self._timeout = timeout
        self._max_retries = max_retries
        self._backoff = backoff
        self._answered = False  # there is such a server: what fails now may pass
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None
        background.after_fork(self._on_fork)
        background.at_exit(self._closed.set)
        _hide_queries()

    @property
    def url(self) -> str:
        """The address of the endpoint, for messages: without what is secret in it."""
        return shown_url(self._endpoints.address(self._endpoint))

    def post(self, payload: dict[str, Any], other: str | None = None, *, once: bool = False) -> Any:
        """Send a request to the endpoint, or to one of the others, and return its JSON.

        Args:
            payload: The JSON object to send.
            other: Name of another endpoint of the same server; None takes the client's own.
            once: Do not try again what fails.

        Raises:
            ServerError: It was refused, or failed as often as it may.
            InputError: It cannot be sent: a header or the proxy's settings are unusable.
        """
        return self._request("POST", other or self._endpoint, payload, retries=0 if once else self._max_retries)

    def only_model(self) -> str | None:
        """Return the name of the model that the server offers, or None if it does not say or offers several."""
        if self._endpoints.deployment is not None:
            return self._endpoints.deployment
        try:
            answer = self._request("GET", "/models", None, retries=self._max_retries)
        except ServerError as error:
            if error.refused and error.status is not None:
                return None
            raise
        listed = answer.get("data") if isinstance(answer, dict) else None
        names = [entry.get("id") for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
        return str(names[0]) if len(names) == 1 and names[0] else None

    def close(self) -> None:
        """End waiting retries and close the connections."""
        self._closed.set()
        with self._lock:
            if self._client is not None:
                self._client.close()

    def _on_fork(self) -> None:
        """A forked process shares no connection with its parent: it opens its own."""
        closed = self._closed.is_set()
        self._closed = threading.Event()
        if closed:
            self._closed.set()
        self._lock = threading.Lock()
        self._client = None
        background.at_exit(self._closed.set)

    def _connection(self) -> httpx.Client:
        with self._lock:
            if self._closed.is_set():
                raise ServerError(f"The client of {self.url} is closed.")
            if self._client is None:
                # Checked before httpx does: it takes a part of a password for a host, and tells it.
                if reason := unusable_settings():
                    raise InputError(f"Nothing can be sent with the proxies of this environment: {reason}")
                limits = httpx.Limits(max_connections=self._concurrency, max_keepalive_connections=self._concurrency)
                try:
                    self._client = httpx.Client(timeout=self._timeout, limits=limits)
                except OSError as error:
                    reason = f"SSL_CERT_FILE or SSL_CERT_DIR cannot be read ({error.strerror or error})"
                    raise InputError(f"Nothing can be sent: {reason}.") from None
                except (ImportError, ValueError, httpx.InvalidURL) as error:
                    raise InputError(
                        f"Nothing can be sent with the proxies of this environment ({type(error).__name__}): look at "
                        "NO_PROXY, which names hosts, separated by commas."
                    ) from None
            return self._client

    def _request(self, method: str, endpoint: str, payload: dict[str, Any] | None, *, retries: int) -> Any:
        failure = ""
        failed_with: int | None = None
        for attempt in range(retries + 1):
            wait_at_least: float | None = None
            failed_with = None
            try:
                response = self._send(method, endpoint, payload)
            except httpx.TransportError as error:
                failure = self._headers.scrub(f"{type(error).__name__}: {error}")
                if (remedy := _permanent(error, answered=self._answered)) is not None:
                    message = f"{self.url} cannot be reached ({failure}). {remedy}{self._way()}"
                    raise ServerError(message, refused=True) from None
            except httpx.DecodingError as error:
                failure = self._headers.scrub(f"an answer that cannot be unpacked ({error})")
            except RuntimeError as error:
                raise ServerError(f"The client of {self.url} is closed.") from error
            else:
                self._answered = True
                status, message = status_of(response)
                if status == 200:
                    return self._json(response)
                if status == NO_STATUS:
                    raise ServerError(f"{self.url} answered with an error: {self.shown(message)}.")
                if status not in RETRIED or (status == 429 and _SPENT.search(message)):
                    raise self._refusal(response, status, message)
                if status >= 500 and _TOO_LARGE.search(message):  # llama.cpp calls it an error of its own
                    raise self._refusal(response, status, message)
                failure, failed_with = f"status {status}: {self.shown(message)}.", status
                wait_at_least = retry_after(response)
            if attempt == retries:
                break
            if wait_at_least is not None and wait_at_least > _LONGEST_WAIT:
                raise ServerError(f"{self.url} asks to wait {wait_at_least:.0f} s before the next request ({failure}).")
            wait = min(_LONGEST_WAIT, self._backoff * 2**attempt) * random.uniform(0.5, 1.5)
            if self._closed.wait(max(wait, wait_at_least or 0.0)):
                raise ServerError(f"The client of {self.url} was closed while a request waited ({failure}).")
        raise ServerError(
            f"{self.url} failed {retries + 1} times, last with {failure.rstrip('.')}. "
            "Is the server up and able to take this load (lower concurrency or the size of the requests, raise timeout "
            f"or max_retries)?{self._way()}",
            failed_with=failed_with,
        )

    def _way(self) -> str:
        """Say through which proxy requests go, if they do: what is wrong may be wrong there."""
        proxy = proxy_of(self._endpoints.url)
        return f" Requests to it go through the proxy {proxy}." if proxy else ""

    def _send(self, method: str, endpoint: str, payload: dict[str, Any] | None) -> httpx.Response:
        """Send a request once; where it is not yet known under which base the server answers, under each."""
        first: httpx.Response | None = None
        for base in self._endpoints.bases:
            response = self._follow(method, self._endpoints.address(endpoint, base), payload)
            if response.is_success:
                self._endpoints.settle(base)
            first = first or response
            # Of an address that does not exist the server says no more than that; of a model it says so.
            if response.status_code not in (404, 405) or _ABOUT_MODEL.search(response.text):
                return response
        if first is None:  # pragma: no cover - there is always a base
            raise ServerError(f"{self.url} has no address.")
        return first

    def _follow(self, method: str, url: httpx.URL, payload: dict[str, Any] | None) -> httpx.Response:
        """Send a request, and again where the same server says that it has moved: nobody else gets the key."""
        for _ in range(_MOST_REDIRECTS):
            response = self._connection().request(
                method, url, json=payload, headers=self._headers.build(), follow_redirects=False
            )
            if not response.has_redirect_location:
                return response
            target = url.join(response.headers["location"])
            if not _is_same_server(url, target) or response.status_code == 303:
                raise ServerError(
                    f"{shown_url(url)} answers with status {response.status_code}: it redirects to "
                    f"{shown_url(target)}. If that is your server, give its URL.",
                    refused=True,
                    status=response.status_code,
                )
            url = target
        raise ServerError(
            f"{shown_url(url)} redirects more than {_MOST_REDIRECTS} times. Give the URL of the server itself.",
            refused=True,
        )

    def _json(self, response: httpx.Response) -> Any:
        try:
            return read_body(response)
        except ValueError:
            remedy = (
                "It streams although it was asked not to, and the stream broke off: switch streaming off there."
                if is_stream(response)
                else "Is it an OpenAI-compatible server?"
            )
            raise ServerError(f"{self.url} did not answer with JSON: {self.shown(response.text)}. {remedy}") from None

    def _refusal(self, response: httpx.Response, status: int, said: str) -> ServerError:
        remedy = self._remedies.get(status, "").format(key=self._api_key_env or "(none)", url=self.url)
        if status == 429 or status == 402:
            remedy = _REMEDIES[402]
        way = self._way() if status in (403, 407) or status >= 500 else ""
        message = f"{self.url} refused with status {status}: {self.shown(said)}. {remedy}".strip() + way
        return ServerError(message, refused=True, status=status, said=self._headers.scrub(response.text))

    def shown(self, answer: object) -> str:
        """Return the beginning of what the server said, as it may stand in a message: without what is secret in it."""
        return repr(self._headers.scrub(str(answer))[:_QUOTED])


def _is_same_server(url: httpx.URL, other: httpx.URL) -> bool:
    """Whether two addresses are of one server: the same, or from http to https at the ports that stand for these."""
    is_upgrade = (url.scheme, other.scheme, url.port, other.port) == ("http", "https", None, None)
    return url.host == other.host and (is_upgrade or (url.scheme, url.port) == (other.scheme, other.port))


def _check_fields(extra: Mapping[str, Any] | None) -> None:
    if extra is not None and not isinstance(extra, Mapping):
        raise InputError(f"extra= must be a mapping of names to values, not {type(extra).__name__}.")
    if wrong := [name for name in extra or {} if not isinstance(name, str)]:
        raise InputError(f"A field of extra= has a text as its name, not {wrong[0]!r}.")
    try:
        json.dumps(dict(extra or {}), allow_nan=False, ensure_ascii=False).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        kind = "cannot be sent as JSON" if not isinstance(error, UnicodeError) else "holds what is no Unicode text"
        raise InputError(f"extra= {kind}: numbers, texts, lists and objects of them can.") from None


def _permanent(error: httpx.TransportError, *, answered: bool) -> str | None:
    """Return what to do about a failure that trying again does not mend; None for all others."""
    if isinstance(error, (httpx.LocalProtocolError, httpx.UnsupportedProtocol)):
        return "The request cannot be sent: look at the headers, the key and the URL."
    if isinstance(error, httpx.ProxyError):
        if _PROXY_PASSWORD.search(str(error)):
            return _REMEDIES[407]
        if re.match(r"\s*403|.*not allowed by ruleset", str(error), re.I):
            return "The proxy does not let requests to this host pass."
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "Its certificate is not trusted here: name that of your authority in SSL_CERT_FILE."
        if isinstance(cause, ssl.SSLError) and "WRONG_VERSION" in str(cause):
            return "It does not speak TLS there: does the URL begin with http:// instead?"
        if isinstance(cause, socket.gaierror) and not answered:
            return "The name of the host (or of the proxy) is not known here. Is it right, and is there a network?"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen = 0
    while error is not None and seen < 10:
        yield error
        error, seen = error.__cause__ or error.__context__, seen + 1


class _QueryFilter(logging.Filter):
    """Keeps queries of addresses, in which some services take their key, out of httpx's log."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(shown_url(value) if isinstance(value, httpx.URL) else value for value in record.args)
        return True


def _hide_queries() -> None:
    logger = logging.getLogger("httpx")
    if not any(isinstance(log_filter, _QueryFilter) for log_filter in logger.filters):
        logger.addFilter(_QueryFilter())
