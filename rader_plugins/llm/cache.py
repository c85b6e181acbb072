"""`CachedChat`: a conversation is sent once; its answers are kept in a SQLite file."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from rader_plugins.errors import InputError
from rader_plugins.files import canonical_json
from rader_plugins.llm.base import ChatModel, Completion, Message, check_messages, check_sampling

__all__ = ["CachedChat", "ChatCache"]

_APPLICATION = 0x5261444C  # "RaDL"
_VERSION = 1


class ChatCache:
    """A SQLite file of answers. Safe to use from several threads and processes at once.

    Args:
        path: The file; made if it is not there, with its folder.

    Raises:
        InputError: The file is damaged or is something else.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._open():
            pass

    def get(self, key: bytes) -> list[Completion] | None:
        """Return the answers kept under a key, or None."""
        with self._open() as connection:
            row = connection.execute("SELECT answers FROM chats WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        try:
            return [Completion(**answer) for answer in json.loads(row[0])]
        except (TypeError, ValueError) as error:
            raise self._damaged(str(error)) from error

    def put(self, key: bytes, answers: Sequence[Completion]) -> None:
        """Keep answers."""
        blob = json.dumps([asdict(answer) for answer in answers], ensure_ascii=False)
        with self._open() as connection, connection:
            connection.execute("INSERT OR REPLACE INTO chats VALUES (?, ?)", (key, blob))

    def __len__(self) -> int:
        with self._open() as connection:
            return int(connection.execute("SELECT count(*) FROM chats").fetchone()[0])

    def close(self) -> None:
        """Close the file; it opens again when it is needed."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                # A connection must not be carried into a forked process.
                if self._connection is None or self._process != os.getpid():
                    self._connection = self._connect()
                    self._process = os.getpid()
                yield self._connection
            except sqlite3.OperationalError as error:
                raise InputError(f"The answer cache {str(self.path)!r} cannot be used: {error}.") from error
            except sqlite3.DatabaseError as error:
                raise self._damaged(str(error)) from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=60.0, check_same_thread=False)
        try:
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if tables and application != _APPLICATION:
                raise InputError(f"{str(self.path)!r} is another program's SQLite file. Choose another cache path.")
            if version > _VERSION:
                raise InputError(f"The answer cache {str(self.path)!r} is of a newer version. Upgrade, or delete it.")
            connection.execute("PRAGMA journal_mode=WAL")
            # A lost last answer after a power cut only means asking again.
            connection.execute("PRAGMA synchronous=NORMAL")
            with connection:
                connection.execute(f"PRAGMA application_id={_APPLICATION}")
                connection.execute(f"PRAGMA user_version={_VERSION}")
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS chats (key BLOB PRIMARY KEY, answers TEXT NOT NULL) WITHOUT ROWID"
                )
        except BaseException:
            connection.close()
            raise
        return connection

    def _damaged(self, what: str) -> InputError:
        return InputError(
            f"The answer cache {str(self.path)!r} is damaged: {what}. Delete it; the model is asked again."
        )


class CachedChat:
    """A :class:`ChatModel` that remembers: equal conversation, sampling arguments and model give the kept answers.

    Errors, refusals and empty answers are not kept. With a temperature above 0 a repeated call returns the answers of
    the first one, not new samples; another ``seed`` is another call.

    Args:
        llm: The model that is asked for what is not there.
        cache: A :class:`ChatCache`, or the path of one.

    Example:
        >>> llm = CachedChat(OpenAIChat("http://localhost:8000"), "answers.sqlite")  # doctest: +SKIP
    """

    def __init__(self, llm: ChatModel, cache: ChatCache | str | os.PathLike[str]) -> None:
        self.llm = llm
        self.cache = cache if isinstance(cache, ChatCache) else ChatCache(cache)
        self._count_lock = threading.Lock()
        self.hits = 0
        self.misses = 0

    @property
    def fingerprint(self) -> str:
        """That of the model."""
        return self.llm.fingerprint

    def chat(
        self,
        messages: Sequence[Message],
        *,
        n: int = 1,
        temperature: float = 0.0,
        top_p: float | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] | None = None,
        seed: int | None = None,
    ) -> list[Completion]:
        """Return ``n`` answers; see :meth:`ChatModel.chat`."""
        checked = check_messages(messages)
        check_sampling(n, temperature, top_p, max_tokens, stop)
        key = self._key(checked, [n, float(temperature), top_p, max_tokens, list(stop or ()), seed])
        answers = self._look_up(key)
        if answers is None:
            answers = self.llm.chat(
                checked, n=n, temperature=temperature, top_p=top_p, max_tokens=max_tokens, stop=stop, seed=seed
            )
            self._keep(key, answers)
        return answers

    async def achat(
        self,
        messages: Sequence[Message],
        *,
        n: int = 1,
        temperature: float = 0.0,
        top_p: float | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] | None = None,
        seed: int | None = None,
    ) -> list[Completion]:
        """As :meth:`chat`, without blocking the event loop."""
        checked = check_messages(messages)
        check_sampling(n, temperature, top_p, max_tokens, stop)
        arguments: list[object] = [n, float(temperature), top_p, max_tokens, list(stop or ()), seed]
        key = await asyncio.to_thread(self._key, checked, arguments)  # may have to ask for the model's name
        answers = await asyncio.to_thread(self._look_up, key)
        if answers is None:
            answers = await self.llm.achat(
                checked, n=n, temperature=temperature, top_p=top_p, max_tokens=max_tokens, stop=stop, seed=seed
            )
            await asyncio.to_thread(self._keep, key, answers)
        return answers

    def _key(self, messages: list[Message], arguments: list[object]) -> bytes:
        return hashlib.sha256(canonical_json([self.fingerprint, messages, arguments]).encode("utf-8")).digest()

    def _look_up(self, key: bytes) -> list[Completion] | None:
        answers = self.cache.get(key)
        with self._count_lock:
            self.hits += answers is not None
            self.misses += answers is None
        return answers

    def _keep(self, key: bytes, answers: list[Completion]) -> None:
        if all(answer.text.strip() and not answer.refusal for answer in answers):
            self.cache.put(key, answers)
