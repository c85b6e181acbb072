"""The URL of an engine's index: where the server is, which collection, and a few options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from rader_plugins.errors import InputError

__all__ = ["EngineUrl", "without_password"]


@dataclass(frozen=True)
class EngineUrl:
    """The parts of a URL, decoded.

    Attributes:
        scheme: Scheme of the URL, in lower case.
        host, port: None where the URL has none.
        username, password: Credentials as the URL has them; both are better kept in the environment.
        path: Without the slash that begins it; with it where there is no host (a folder).
        options: What stands behind ``?``.
    """

    scheme: str
    host: str | None
    port: int | None
    username: str | None
    password: str | None = field(repr=False)
    path: str
    options: Mapping[str, str] = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> EngineUrl:
        """Read a URL.

        Raises:
            InputError: It is none. The message does not repeat it, since a password may stand in it.

        Example:
            >>> EngineUrl.parse("postgresql://me:secret@localhost:5433/db?table=docs").shown
            'postgresql://localhost:5433/db?table=docs'
        """
        try:
            parts = urlsplit(url.strip())
            if (port := parts.port) == 0:
                raise ValueError("no server listens on port 0")
            # Bytes that are no UTF-8 must not become one character all: two partitions would be one.
            options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), errors="strict")
            path, username, password = map(_decoded, (parts.path, parts.username, parts.password))
        except ValueError:
            raise InputError(
                "The URL of the index cannot be read (it is not repeated here, since a password may stand in it). It "
                "looks like scheme://host:port/name?option=value; characters such as @ / # in a password are written "
                "as %40 %2F %23."
            ) from None
        if twice := sorted({name for name, _ in options if [other for other, _ in options].count(name) > 1}):
            raise InputError(f"The URL of the index has {', '.join(twice)} more than once.")
        path = path or ""
        return cls(
            scheme=parts.scheme.lower(),
            host=parts.hostname,
            port=port,
            username=username,
            password=password,
            path=path.removeprefix("/") if parts.hostname else path,
            options=dict(options),
        )

    def check_options(self, known: Iterable[str]) -> None:
        """Refuse options that the engine does not have.

        Raises:
            InputError: There is one; the message names it and those that there are.
        """
        names = sorted(known)
        if unknown := sorted(set(self.options) - set(names)):
            raise InputError(f"A URL of {self.scheme}:// takes {', '.join(names)}, not {', '.join(unknown)}.")

    @property
    def shown(self) -> str:
        """The address as it may stand in a message or a file: without user, password and what may be secret."""
        host = self.host or ""
        host = f"[{host}]" if ":" in host else host
        port = f":{self.port}" if self.port is not None else ""
        public = {name: value for name, value in self.options.items() if name in ("table", "schema", "partition")}
        slash = "/" if self.host and self.path else ""
        query = f"?{urlencode(public)}" if public else ""
        return f"{self.scheme}://{host}{port}{slash}{quote(self.path)}{query}"


def without_password(url: str) -> str:
    """Return a URL that can be read, as it may be written down: where it is opened, the password is in the environment.

    Example:
        >>> without_password("postgresql://me:secret@localhost:5433/db?table=docs")
        'postgresql://me@localhost:5433/db?table=docs'
    """
    credentials = urlsplit(url.strip()).netloc.rpartition("@")[0]
    user, colon, _ = credentials.partition(":")
    return url.replace(f"//{credentials}@", f"//{user}@" if user else "//", 1) if colon else url


def _decoded(text: str | None) -> str | None:
    return None if text is None else unquote(text, errors="strict")
