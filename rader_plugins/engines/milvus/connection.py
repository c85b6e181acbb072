"""A connection to a Milvus server: one client for each process, and its failures in our words."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from typing import Any

from rader_plugins.background import after_fork
from rader_plugins.engines.urls import EngineUrl
from rader_plugins.errors import EngineError, InputError, import_extra

__all__ = ["MilvusConnection"]

_TIMEOUT = 30.0
_PORT = 19530
_NOT_THERE, _NOT_LOADED = 100, 101
_UNREACHABLE = ("Fail connecting", "server unavailable", "UNAVAILABLE", "failed to connect", "Connection refused")
_SLOW = ("DEADLINE_EXCEEDED", "Deadline Exceeded", "timeout", "timed out")
_REFUSED = ("auth check failure", "not authenticated", "UNAUTHENTICATED", "PERMISSION_DENIED", "permission deny")
_BUSY = ("rate limit", "quota exceeded", "memory quota", "RESOURCE_EXHAUSTED")


class MilvusConnection:
    """Calls a server, from any thread and after a fork.

    Args:
        uri: ``http://host:port`` or ``https://...``.
        shown: Address of the server as messages name it, without secrets.
        token: ``user:password`` or an API key; empty for none.
        database: Name of the database; empty for the default one.
        timeout: Seconds that one request may take.
    """

    def __init__(self, uri: str, shown: str, *, token: str = "", database: str = "", timeout: float = _TIMEOUT) -> None:
        self.library = import_extra("pymilvus", "milvus")
        # Every failure is raised; its own report of it, with a trace, would stand on the user's terminal as well.
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
        self.shown = shown
        self._uri = uri
        self._token = token
        self._database = database
        self._timeout = timeout
        self._start_anew()
        after_fork(self._start_anew)

    def _start_anew(self) -> None:
        self._lock = threading.Lock()
        self._client: Any = None

    @classmethod
    def of(cls, url: EngineUrl) -> MilvusConnection:
        """Return the connection that a URL describes.

        Raises:
            InputError: The timeout is no number of seconds.
        """
        try:
            timeout = float(url.options.get("timeout", _TIMEOUT))
        except ValueError:
            timeout = 0.0
        if not 0 < timeout < float("inf"):
            raise InputError(f"timeout is a number of seconds, not {url.options['timeout']!r}.")
        host = f"[{url.host}]" if ":" in (url.host or "") else url.host
        scheme = "https" if url.scheme == "milvus+https" else "http"
        port = url.port or _PORT
        token = os.environ.get("MILVUS_TOKEN", "")
        if url.username is not None and (url.password is not None or not token):
            token = f"{url.username}:{url.password or ''}"
        database = url.options.get("database", "")
        return cls(
            f"{scheme}://{host}:{port}",
            f"{url.scheme}://{host}:{port}",
            token=token,
            database=database,
            timeout=timeout,
        )

    @property
    def is_lite(self) -> bool:
        """Whether the server is Milvus Lite."""
        return "lite" in str(self.call("get_server_version"))

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of ``pymilvus.MilvusClient``.

        Raises:
            EngineError: The server cannot be reached, is slow, refuses the credentials or fails.
            InputError: There is no such collection.
        """
        if method != "prepare_index_params":
            options.setdefault("timeout", self._timeout)
        try:
            try:
                return getattr(self._connected(), method)(*arguments, **options)
            except self.library.MilvusException as error:
                if error.code != _NOT_LOADED or not arguments:
                    raise
                # A server that was started anew has loaded nothing.
                self._connected().load_collection(arguments[0], timeout=self._timeout)
                return getattr(self._connected(), method)(*arguments, **options)
        except (self.library.MilvusException, OSError, ValueError, TypeError) as error:
            raise self._translated(error) from error
        except Exception as error:
            if type(error).__module__.split(".")[0] == "grpc":
                raise self._translated(error) from error
            raise

    def pages(self, name: str, where: str, fields: list[str], size: int) -> Iterator[list[dict[str, Any]]]:
        """Yield the rows of a collection that meet a condition, in lists of at most ``size``."""
        iterator = self.call("query_iterator", name, batch_size=size, filter=where, output_fields=fields)
        try:
            while True:
                try:
                    rows = iterator.next()
                except (self.library.MilvusException, OSError) as error:
                    raise self._translated(error) from error
                if not rows:
                    return
                yield rows
        finally:
            iterator.close()

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self.library.MilvusClient(
                    uri=self._uri, token=self._token, db_name=self._database, timeout=self._timeout, dedicated=True
                )
            return self._client

    def _translated(self, error: Exception) -> EngineError | InputError:
        details = getattr(error, "details", None)  # of gRPC
        text = str((details() if callable(details) else None) or getattr(error, "message", None) or error)
        code = getattr(error, "code", None)

        def is_about(words: tuple[str, ...]) -> bool:
            return any(word.lower() in text.lower() for word in words)

        if code == _NOT_THERE:
            return InputError(f"{self.shown} has no such collection (any more): {text}")
        if is_about(_REFUSED):
            return EngineError(
                f"{self.shown} refuses the credentials: set MILVUS_TOKEN to an API key or user:password. ({text})"
            )
        if is_about(_SLOW):
            return EngineError(
                f"{self.shown} did not answer within {self._timeout:g} seconds (?timeout= in the URL): {text}",
                transient=True,
            )
        if is_about(_UNREACHABLE):
            return EngineError(
                f"No Milvus server can be reached at {self.shown}. Is it running, and is the address right? ({text})",
                transient=True,
            )
        return EngineError(f"Milvus at {self.shown} failed: {text}", transient=is_about(_BUSY))
