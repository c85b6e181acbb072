"""Connections to one PostgreSQL database: a few that are used again, and what its errors mean."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

from rader_plugins.background import after_fork
from rader_plugins.engines.postgres.packing import PackedHalf, PackedTerms, PackedVector, register
from rader_plugins.engines.urls import EngineUrl
from rader_plugins.errors import EngineError, InputError, import_extra

if TYPE_CHECKING:
    import psycopg

__all__ = ["Connections", "positive"]

_OPTIONS = ("host", "sslmode", "sslrootcert", "sslcert", "sslkey", "connect_timeout")
_TYPES: dict[str, type[bytes]] = {"vector": PackedVector, "halfvec": PackedHalf, "sparsevec": PackedTerms}
_REFUSED = ("authentication failed", "no password supplied", "pg_hba.conf", "does not exist", "certificate")
_GRACE = 2.0  # seconds that a server may take to give a statement up
# Classes of SQLSTATE after which the same statement may succeed: connection lost, conflict with another transaction,
# too many connections, server starting or ending.
_TRANSIENT = ("08", "40", "53300", "57P")
_HINTS = {
    "42501": "The user lacks a right.",
    "42P01": "The index was deleted meanwhile, or one of its two tables: drop the other one before it is made anew.",
    "53100": "The server's disk is full.",
    "53200": "The server is out of memory: give it more, or add fewer documents at once (commit_every).",
    "25006": "The server takes no writes: it is a replica, or read-only.",
}


class Connections:
    """Connects when it is needed, keeps what was connected, and gives every thread a connection of its own.

    Args:
        url: Where the database is.
        most: Connections at once; more threads wait.
        timeout: Seconds that the server may take for one statement.
    """

    def __init__(self, url: EngineUrl, *, most: int, timeout: float) -> None:
        self._psycopg: Any = import_extra("psycopg", "postgres")
        self._url = url
        self._timeout = timeout
        self._patience = timeout + _GRACE
        self._most = most
        # psycopg waits for ever for a server that hangs and cannot give up by itself.
        self._class: Any = type(
            "PatientConnection", (self._psycopg.Connection,), {"wait": _wait, "patience": self._patience}
        )
        self._has_types = False
        self._start_anew()
        after_fork(self._start_anew)

    def _start_anew(self) -> None:
        # A forked process must not use its parent's connections, nor close them.
        self._inherited = getattr(self, "_idle", [])
        self._idle: list[Any] = []
        self._slots = threading.BoundedSemaphore(self._most)

    @contextlib.contextmanager
    def connection(self, *, types: bool = True, limited: bool = True) -> Iterator[psycopg.Connection[Any]]:
        """Lend a connection in autocommit mode; whatever psycopg raises with it becomes an error of ours.

        Args:
            types: Whether pgvector's types are needed; False where its extension may still be missing.
            limited: Whether a statement may take no longer than the URL says.

        Raises:
            EngineError: The server cannot be reached, refused what it was asked for, gave up or does not answer.
        """
        with self._slots:
            connection = self._take()
            try:
                if types:
                    self._teach(connection)
                if not limited:
                    connection.execute("SET statement_timeout = 0")
                    connection.patience = None
                yield connection
                if not limited:
                    connection.execute("RESET statement_timeout")
                    connection.patience = self._patience
            except (self._psycopg.Error, TimeoutError) as error:
                raise self._translated(error) from error
            finally:
                if connection.closed or connection.broken:
                    self._drop()  # those that wait were lost with it
                elif connection.info.transaction_status != 0 or connection.patience != self._patience:
                    connection.close()  # interrupted in the middle of something
                else:
                    self._idle.append(connection)

    def _take(self) -> Any:
        while self._idle:
            with contextlib.suppress(IndexError):  # another thread was quicker
                connection = self._idle.pop()
                if _is_alive(connection, self._psycopg.Error):
                    return connection
                connection.close()  # the server was started anew since, or gave it up
        return self._connect()

    def _teach(self, connection: Any) -> None:
        if not getattr(connection, "rader_types", False):
            connection.rader_types = register(connection, _TYPES)
        if not connection.rader_types:
            connection.close()
            raise EngineError(
                f"The database of {self._url.shown} lacks the types of pgvector 0.7 or newer: CREATE EXTENSION "
                "vector, or ALTER EXTENSION vector UPDATE, by somebody who may."
            )

    def _connect(self) -> Any:
        url = self._url
        values: dict[str, Any] = {
            "host": url.host,
            "port": url.port,
            "user": url.username,
            "password": url.password or None,
            "dbname": url.path.strip("/") or None,
            "connect_timeout": str(max(2, min(10, math.ceil(self._timeout)))),
            "application_name": "rader-plugins",
            "options": f"-c timezone=UTC -c statement_timeout={round(self._timeout * 1000)}",
            **{name: url.options[name] for name in _OPTIONS if name in url.options},
        }
        try:
            connection = self._class.connect(
                **{name: value for name, value in values.items() if value is not None}, autocommit=True
            )
        except self._psycopg.Error as error:
            reason = " ".join(str(error).split())
            refused = any(sign in reason for sign in _REFUSED)
            advice = " The password is read from PGPASSWORD, a password file or the URL." if "passw" in reason else ""
            raise EngineError(
                f"PostgreSQL at {url.shown} cannot be reached: {self._without_password(reason)}.{advice}",
                transient=not refused,
            ) from None
        return connection

    def _without_password(self, text: str) -> str:
        return text.replace(self._url.password, "***") if self._url.password else text

    def _translated(self, error: Any) -> EngineError:
        state = getattr(error, "sqlstate", None) or ""
        reason = self._without_password(" ".join(str(error).split()))
        if state == "57014" or isinstance(error, TimeoutError):
            return EngineError(
                f"PostgreSQL at {self._url.shown} took longer than {self._timeout:g} seconds: give it more time with "
                "timeout=SECONDS in the URL, or ask for less."
            )
        lost = isinstance(error, self._psycopg.OperationalError) and not state
        hint = f" {_HINTS[state]}" if state in _HINTS else ""
        return EngineError(
            f"PostgreSQL at {self._url.shown}: {reason}{'' if reason.endswith('.') else '.'}{hint}",
            transient=lost or state.startswith(_TRANSIENT),
        )

    def _drop(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self._drop()


def _wait(self: Any, gen: Generator[Any, Any, Any], *arguments: Any, **options: Any) -> Any:
    """Do what ``psycopg.Connection.wait`` does, for so many seconds as the connection has patience.

    Raises:
        TimeoutError: The server has not answered by then; the connection is of no more use.
    """
    if self.patience is not None:
        gen = _until(gen, time.monotonic() + self.patience)
    return super(type(self), self).wait(gen, *arguments, **options)


def _until(gen: Generator[Any, Any, Any], moment: float) -> Generator[Any, Any, Any]:
    try:
        request = next(gen)
        while True:
            ready = yield request
            if not ready and time.monotonic() > moment:
                raise TimeoutError("the server does not answer")
            request = gen.send(ready)
    except StopIteration as end:
        return end.value


def _is_alive(connection: Any, error: type[Exception]) -> bool:
    """Whether a connection that nobody uses is still one, as far as can be seen without asking the server."""
    try:
        for _ in range(2):  # what the server said last, and that it closed
            connection.pgconn.consume_input()
    except error:
        return False
    return not connection.closed


def positive(url: EngineUrl, name: str, default: float) -> float:
    """Return an option of a URL that is a number above 0.

    Raises:
        InputError: It is none.
    """
    try:
        value = float(url.options.get(name, default))
    except ValueError:
        value = 0
    if not 0 < value < float("inf"):
        raise InputError(f"{name} in the URL of the index must be a number above 0, not {url.options.get(name)!r}.")
    return value
