"""`CachedChat`: a conversation is sent once; its answers are kept in a SQLite file."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import threading
from collections.abc import Sequence
from dataclasses import asdict

from rader_plugins.cache_file import CacheFile
from rader_plugins.files import canonical_json
from rader_plugins.llm.base import ChatModel, Completion, Message, check_messages, check_sampling

__all__ = ["CachedChat", "ChatCache"]


class ChatCache(CacheFile):
    """A SQLite file of answers. Safe to use from several threads and processes at once.

    Args:
        path: The file; made if it is not there, with its folder.

    Raises:
        InputError: The file is damaged or is something else.
    """

    what = "answer cache"
    remedy = "the model is asked again"
    application = 0x5261444C  # "RaDL"
    table = "chats"
    columns = "key BLOB PRIMARY KEY, answers TEXT NOT NULL"

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
