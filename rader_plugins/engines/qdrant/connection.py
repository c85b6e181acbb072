"""A connection to Qdrant, by network or in this process, and its failures in our words."""

from __future__ import annotations

import math
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rader_plugins.background import after_fork, at_exit, forks
from rader_plugins.engines.urls import EngineUrl
from rader_plugins.errors import EngineError, InputError, import_extra

__all__ = ["QdrantConnection"]

_GRPC_PORT, _TIMEOUT = 6334, 30
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_BY_GRPC = {"UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504, "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403}


class QdrantConnection:
    """Calls Qdrant, from any thread; by network also after a fork.

    Args:
        shown: Address of the server as messages name it, without secrets.
        options: Keyword arguments of ``qdrant_client.QdrantClient``; with a ``path`` among them it runs in this
            process.
    """

    def __init__(self, shown: str, **options: Any) -> None:
        self.library = import_extra("qdrant_client", "qdrant")
        self.shown = shown
        self.is_local = "path" in options
        self._options = options
        self._start_anew()
        after_fork(self._start_anew)

    def _start_anew(self) -> None:
        self._lock = threading.RLock()
        self._client: Any = None
        self._turn = threading.RLock()  # that of the client, where others use it as well

    @classmethod
    def local(cls, folder: Path) -> QdrantConnection:
        """Return a connection to the collections in a folder."""
        return cls(f"qdrant://{folder}", path=str(folder))

    @classmethod
    def remote(cls, url: EngineUrl) -> QdrantConnection:
        """Return the connection that a URL with a host describes.

        Raises:
            InputError: An option has an unusable value.
        """
        port = url.port or _GRPC_PORT
        transport = url.options.get("transport", "grpc" if port == _GRPC_PORT else "http")
        if transport not in ("grpc", "http"):
            raise InputError(f"transport is grpc or http, not {transport!r}.")
        try:
            timeout = math.ceil(float(url.options.get("timeout", _TIMEOUT)))
        except (ValueError, OverflowError):
            timeout = 0
        if timeout < 1:
            raise InputError(f"timeout is a number of seconds, not {url.options['timeout']!r}.")
        ports = {"grpc_port": port, "prefer_grpc": True} if transport == "grpc" else {"port": port}
        return cls(
            f"{url.scheme}://{url.host}:{port}",
            host=url.host,
            https=url.scheme == "qdrant+https",
            api_key=os.environ.get("QDRANT_API_KEY") or url.password,
            timeout=timeout,
            check_compatibility=False,  # it would ask by HTTP, whatever the transport
            **ports,
        )

    @property
    def models(self) -> Any:
        """The module of its types."""
        return self.library.models

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of the client.

        Raises:
            EngineError: Qdrant cannot be reached, is slow, refuses the key or fails.
            InputError: There is no such collection, or no such point any more.
        """
        try:
            if self.is_local:  # its client is for one thread, and all indexes in the folder have the same one
                with self._lock:
                    client = self._connected()
                    with self._turn:
                        return getattr(client, method)(*arguments, **options)
            return getattr(self._connected(), method)(*arguments, **options)
        except (EngineError, InputError):
            raise
        except Exception as error:
            if self.is_local and isinstance(error, KeyError):  # a server answers "not found"
                raise InputError(f"{self.shown} has no such point (any more): {error}") from error
            if isinstance(error, OSError | ValueError | RuntimeError) or _is_theirs(error):
                raise self._translated(error) from error
            raise

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        with self._lock:
            client, self._client = self._client, None
            if client is not None:
                _local_clients.release(client) if self.is_local else client.close()

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                make = self.library.QdrantClient
                if self.is_local:
                    self._client, self._turn = _local_clients.take(make, self._options["path"])
                else:
                    self._client = make(**self._options)
            return self._client

    def _translated(self, error: Exception) -> EngineError | InputError:
        code = getattr(error, "code", None)
        name = getattr(code() if callable(code) else code, "name", "")  # grpc
        details = getattr(error, "details", None)
        text = str((details() if callable(details) else None) or getattr(error, "reason_phrase", "") or error)
        content = getattr(error, "content", b"")
        text = f"{text} {content.decode(errors='replace')[:300]}".strip() if isinstance(content, bytes) else text
        status = getattr(error, "status_code", None) or _BY_GRPC.get(name)
        if "already accessed by another instance" in text:
            return EngineError(
                f"{self.shown} is open in another process, and a folder of Qdrant can be open in one only. Close it "
                "there, or run a Qdrant server."
            )
        if status == 404 or name == "NOT_FOUND" or ("ollection" in text and "not found" in text):
            return InputError(f"{self.shown} has no such collection (any more): {text}")
        if status in (401, 403):
            return EngineError(f"{self.shown} refuses the key: set QDRANT_API_KEY. ({text})")
        if status == 504 or "timed out" in text:
            return EngineError(
                f"{self.shown} did not answer within {self._options.get('timeout')} seconds (?timeout= in the URL): "
                f"{text}",
                transient=True,
            )
        if status == 503 or (status is None and type(error).__name__ == "ResponseHandlingException"):
            return EngineError(
                f"No Qdrant server can be reached at {self.shown}. Is it running, and is the address right? ({text})",
                transient=True,
            )
        return EngineError(f"Qdrant at {self.shown} failed: {text}", transient=status in _TRANSIENT)


def _is_theirs(error: Exception) -> bool:
    return type(error).__module__.split(".")[0] in ("grpc", "qdrant_client", "httpx", "pydantic", "portalocker")


@dataclass
class _LocalClient:
    client: Any
    users: int = 0
    turn: threading.RLock = field(default_factory=threading.RLock)


class _LocalClients:
    """The clients of folders that are open in this process: one for each folder, however many indexes use it."""

    def __init__(self) -> None:
        self._clients: dict[str, _LocalClient] = {}
        self._forks = forks()
        self._start_anew()
        after_fork(self._start_anew)
        at_exit(self._close_all)

    def _start_anew(self) -> None:
        self._lock = threading.Lock()

    def _close_all(self) -> None:
        """Close what was left open: at the very end of the process the clients could not any more."""
        if self._forks == forks():
            for shared in self._clients.values():
                shared.client.close()
            self._clients.clear()

    def take(self, make: Any, path: str) -> tuple[Any, threading.RLock]:
        """Return the client of a folder, and the lock to hold during each of its calls."""
        if self._forks != forks():
            raise EngineError(
                "A folder of Qdrant cannot be used by a forked process: the one that opened it still has it. Use a "
                "Qdrant server, or open the index in one process."
            )
        with self._lock:
            key = os.path.realpath(path)
            if key not in self._clients:
                self._clients[key] = _LocalClient(make(path=path, force_disable_check_same_thread=True))
            shared = self._clients[key]
            shared.users += 1
            return shared.client, shared.turn

    def release(self, client: Any) -> None:
        with self._lock:
            for key, shared in list(self._clients.items()):
                if shared.client is client:
                    shared.users -= 1
                    if not shared.users:
                        del self._clients[key]
                        client.close()


_local_clients = _LocalClients()
