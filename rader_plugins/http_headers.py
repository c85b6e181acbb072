"""Headers of requests: keys are read from the environment at each request, and scrubbed from whatever is told."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from rader_plugins.errors import InputError

if TYPE_CHECKING:
    import httpx

__all__ = ["RequestHeaders"]

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# With one of these the server gets its key in another way than as a bearer token.
_KEYS = {"authorization", "api-key", "x-api-key", "x-goog-api-key", "ocp-apim-subscription-key"}
_SECRET_NAME = re.compile(r"key|token|secret|auth|pass|sig|cookie", re.IGNORECASE)
_PUBLIC_QUERY = {"api-version", "version"}
_PUBLIC_HEADERS = {"accept", "accept-language", "content-type", "user-agent", "referer", "http-referer", "x-title"}
_SHORTEST_KEY = 12


class RequestHeaders:
    """The headers of every request to a server.

    Args:
        url: URL of the server; user and password in it become basic authentication.
        api_key_env: Environment variable with the key that is sent as a bearer token; none is sent where it is unset,
            or where ``headers`` hold a key already.
        headers: Further headers. ``$NAME`` or ``${NAME}`` in a value is read from the environment at each request.
        fields: Fields of the requests; what their names call a key, at any depth, is scrubbed too.

    Raises:
        InputError: A header's name or value is unusable.
    """

    def __init__(
        self,
        url: httpx.URL,
        api_key_env: str,
        headers: Mapping[str, str] | None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(api_key_env, str):
            raise InputError(f"api_key_env is the name of an environment variable, not {type(api_key_env).__name__}.")
        if headers is not None and not isinstance(headers, Mapping):
            raise InputError(f"headers must be a mapping of names to texts, not {type(headers).__name__}.")
        self._url = url
        self._api_key_env = api_key_env
        self._headers = dict(headers or {})
        self._fields = dict(fields or {})
        for name, value in self._headers.items():
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise InputError(f"{name!r} cannot be the name of a header.")
            if not isinstance(value, str):
                raise InputError(f"The header {name!r} must be a text, not {type(value).__name__}.")
            _check_value(value, f"The header {name!r}")

    def build(self) -> dict[str, str]:
        """Return the headers of a request.

        Raises:
            InputError: A variable is not set or holds what cannot be sent. The message does not repeat it.
        """
        headers = {name: self._expanded(name, value) for name, value in self._headers.items()}
        if _KEYS & {name.lower() for name in headers}:
            return headers
        if self._url.userinfo:
            return {"Authorization": "Basic " + base64.b64encode(_plain(self._url.userinfo)).decode(), **headers}
        key = self._key()
        if key:
            _check_value(key, f"The environment variable {self._api_key_env} holds no usable key: it")
            headers["Authorization"] = f"Bearer {key}"
        return headers

    def scrub(self, text: str) -> str:
        """Return a text without the secrets that are sent."""
        for secret in sorted(set(self._secrets()), key=len, reverse=True):
            for spelling in (secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], quote(secret, safe="")):
                text = text.replace(spelling, "***")
        return text

    def _key(self) -> str:
        return os.environ.get(self._api_key_env, "").strip() if self._api_key_env else ""

    def _expanded(self, name: str, value: str) -> str:
        def read(match: re.Match[str]) -> str:
            variable = match.group(1) or match.group(2)
            content = os.environ.get(variable, "").strip()
            if not content:
                raise InputError(
                    f"The header {name!r} is read from the environment variable {variable}, which is unset."
                )
            return content

        expanded = _VARIABLE.sub(read, value)
        return _check_value(expanded, f"The header {name!r} holds no usable value: it")

    def _secrets(self) -> Iterator[str]:
        candidates = [self._key()]
        candidates += [value for name, value in self._url.params.multi_items() if name.lower() not in _PUBLIC_QUERY]
        if self._url.userinfo:
            candidates += [self._url.password, base64.b64encode(_plain(self._url.userinfo)).decode()]
        for name, value in self._headers.items():
            for match in _VARIABLE.finditer(value):
                candidates.append(os.environ.get(match.group(1) or match.group(2), "").strip())
            # Who knows what a header of one's own is called: a short value of a harmless name is no key.
            if _SECRET_NAME.search(name) or len(value) >= _SHORTEST_KEY and name.lower() not in _PUBLIC_HEADERS:
                candidates += [value, *value.split()[1:]]
        candidates += _named_secrets(self._fields)
        for candidate in candidates:
            # A word of one or two letters stands in every text.
            if len(candidate) > 2:
                yield candidate


def _named_secrets(fields: object) -> Iterator[str]:
    """Yield the texts in a JSON value that stand under the name of a key, a token, a password, ..."""
    entries = fields.items() if isinstance(fields, Mapping) else ()
    for name, value in entries:
        if isinstance(value, str) and _SECRET_NAME.search(str(name)):
            yield value
        yield from _named_secrets(value)
    for entry in fields if isinstance(fields, list) else ():
        yield from _named_secrets(entry)


def _plain(userinfo: bytes) -> bytes:
    return unquote(userinfo.decode("ascii")).encode("utf-8")


def _check_value(value: str, what: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise InputError(f"{what} must hold printable ASCII characters only (is there a line break in it?).")
    return value
