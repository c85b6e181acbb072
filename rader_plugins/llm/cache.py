"""`CachedChat`: a conversation or prompt is sent once; its answers are kept in a SQLite file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict

from rader_plugins.background import Lock, in_thread
from rader_plugins.cache_file import CacheFile
from rader_plugins.files import canonical_json
from rader_plugins.llm.base import ChatModel, Completion
from rader_plugins.llm.generator import Request, WrappedLLM

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

    def put(self, key: bytes, answers: Sequence[Completion]) -> list[Completion]:
        """Keep answers, and return those that are kept: where there are some already, these."""
        blob = json.dumps([asdict(answer) for answer in answers], ensure_ascii=False)
        with self._open() as connection, connection:
            inserted = connection.execute("INSERT OR IGNORE INTO chats VALUES (?, ?)", (key, blob)).rowcount
        return list(answers) if inserted else self.get(key) or list(answers)


class CachedChat(WrappedLLM):
    """A :class:`Generator` that remembers: equal conversation or prompt, sampling arguments and model give the kept
    answers.

    Errors and refusals are not kept, nor are empty answers unless asked for. With a temperature above 0 a repeated
    call returns the answers of the first one, not new samples; another ``seed`` is another call.

    Args:
        llm: The model that is asked for what is not there.
        cache: A :class:`ChatCache`, or the path of one.
        keep_empty: Keep calls of which an answer is empty too. Right where calls have seeds, so that asking again
            gives the same: a rerun then asks for nothing twice.

    Example:
        >>> llm = CachedChat(OpenAIChat("http://localhost:8000"), "answers.sqlite")  # doctest: +SKIP
    """

    def __init__(self, llm: ChatModel, cache: ChatCache | str | os.PathLike[str], *, keep_empty: bool = False) -> None:
        super().__init__(llm)
        self.keep_empty = keep_empty
        self.cache = cache if isinstance(cache, ChatCache) else ChatCache(cache)
        self._count_lock = Lock()
        self.hits = 0
        self.misses = 0

    def _generate(self, request: Request) -> list[Completion]:
        key = self._key(request)
        answers = self._look_up(key)
        if answers is None:
            answers = self._keep(key, super()._generate(request))
        return answers

    async def _agenerate(self, request: Request) -> list[Completion]:
        key = await in_thread(self._key, request)  # may have to ask for the model's name
        answers = await in_thread(self._look_up, key)
        if answers is None:
            answers = await in_thread(self._keep, key, await super()._agenerate(request))
        return answers

    def _key(self, request: Request) -> bytes:
        arguments: list[object] = [request.n, request.temperature, request.top_p, request.max_tokens]
        arguments += [list(request.stop), request.seed]
        if request.top_k is not None:  # so that files from before there was a top_k stay of use
            arguments.append(request.top_k)
        named = canonical_json([self.fingerprint, request.content, arguments])
        return hashlib.sha256(named.encode("utf-8")).digest()

    def _look_up(self, key: bytes) -> list[Completion] | None:
        answers = self.cache.get(key)
        with self._count_lock:
            self.hits += answers is not None
            self.misses += answers is None
        return answers

    def _keep(self, key: bytes, answers: list[Completion]) -> list[Completion]:
        if all((self.keep_empty or answer.text.strip()) and not answer.refusal for answer in answers):
            # Of equal calls at once the first to be answered counts for all: a rerun gets the same.
            return self.cache.put(key, answers)
        return answers
