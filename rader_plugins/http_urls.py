"""Addresses of servers: what a user's URL means, and how it is shown without what is secret in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rader_plugins.errors import InputError

if TYPE_CHECKING:
    import httpx

__all__ = ["Endpoints", "check_scheme", "endpoint_url", "is_url", "parse_url", "shown_url"]

# A path with a version (/v1, /v1beta, /api/v3) or a deployment of its own is the base itself; see Endpoints.
_OWN_BASE = re.compile(r"/v\d+[a-z0-9]*(/|$)|/deployments/[^/]+$", re.IGNORECASE)
_MODELS = "/models"
# A host with a port, and perhaps a path: what is left of an address without http://.
_SCHEMELESS = re.compile(r"(//)?([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]):\d{1,5}(/[^\s@?]*)?")


def is_url(source: object) -> bool:
    """Whether a user named a server rather than a model or a file.

    Example:
        >>> is_url("HTTP://localhost:8000"), is_url("models/http")
        (True, False)
    """
    return isinstance(source, str) and source.strip().lower().startswith(("http://", "https://"))


def check_scheme(source: str) -> None:
    """Refuse the address of a server that lacks its scheme, where one may name a server or something else.

    Raises:
        InputError: It does; the message has the address as it should be.

    Example:
        >>> check_scheme("owner/model")
    """
    if _SCHEMELESS.fullmatch(source.strip()):
        address = source.strip().removeprefix("//")
        raise InputError(f"{address} lacks the scheme of a server's URL. Write http://{address} (or https://).")


def parse_url(url: str) -> httpx.URL:
    """Return a server's address.

    Raises:
        InputError: It is no http(s) URL. The message does not repeat it, since a password may stand in it.
    """
    import httpx

    if isinstance(url, str):
        check_scheme(url)
    try:
        parsed = httpx.URL(url.strip())
    except (httpx.InvalidURL, TypeError, AttributeError, ValueError):
        raise InputError(
            "The server's URL is not a URL (it is not repeated here, since a password may stand in it). It looks like "
            "http://host:8000 or https://host/v1; characters such as @ / # in a password are written as %40 %2F %23."
        ) from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InputError("The server's URL must start with http:// or https:// and name a host.")
    return parsed


def shown_url(url: httpx.URL | str) -> str:
    """Return an address as it may stand in a message, a log or a file: without user, password and query.

    Example:
        >>> shown_url("https://me:secret@host/v1?key=secret")
        'https://host/v1'
    """
    parsed: Any = parse_url(url) if isinstance(url, str) else url
    return str(parsed.copy_with(userinfo=b"", query=None, fragment=None))


class Endpoints:
    """The addresses of a server's endpoints.

    A URL that ends in an endpoint names it. Otherwise what works as the base URL of OpenAI's client works here: a URL
    with a path stands as it is, ``BASE + /embeddings``. One without a path gets ``/v1``. Where a path without a version
    in it does not answer, ``/v1`` behind it is tried, and for a bare host the endpoint right behind it.

    Args:
        url: URL of the server, with its query.
        endpoints: What may follow the base.

    Raises:
        InputError: It is no http(s) URL.
    """

    def __init__(self, url: str, endpoints: Sequence[str]) -> None:
        self.url = parse_url(url)
        path = self.url.path.rstrip("/")
        self.bases: tuple[str, ...]
        if (ending := next((end for end in (*endpoints, _MODELS) if path.endswith(end)), None)) is not None:
            self.bases = (path.removesuffix(ending),)
        elif not path:
            self.bases = ("/v1", "")
        elif _OWN_BASE.search(path):
            self.bases = (path,)
        else:
            self.bases = (path, f"{path}/v1")

    def address(self, endpoint: str, base: str | None = None) -> httpx.URL:
        """Return where an endpoint is, without user and password; under the first base unless another is named."""
        return self.url.copy_with(userinfo=b"", path=(self.bases[0] if base is None else base) + endpoint)

    def settle(self, base: str) -> None:
        """Keep to the base that answered."""
        if len(self.bases) > 1:
            self.bases = (base,)

    @property
    def deployment(self) -> str | None:
        """The name of the deployment in the path of Azure's addresses, which is the model there."""
        named = re.search(r"/deployments/([^/]+)$", self.bases[0])
        return named.group(1) if named else None


def endpoint_url(url: str, endpoint: str, others: Sequence[str] = ()) -> str:
    """Return the address of an endpoint for a server's URL, see :class:`Endpoints`.

    Args:
        url: URL of the server.
        endpoint: What follows the base, for example ``"/embeddings"``.
        others: Endpoints that the URL may end in as well, and that are then replaced.

    Raises:
        InputError: It is no http(s) URL.
    """
    return str(Endpoints(url, (endpoint, *others)).address(endpoint))
