"""`Ledger`: what all runs with one cache of answers cost together."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping

from rader_plugins.cache_file import CacheFile
from rader_plugins.llm.cache import ChatCache

__all__ = ["Ledger"]

_COLUMNS = ("requests", "prompt_tokens", "completion_tokens")


class Ledger(CacheFile):
    """A table of costs in the file of a :class:`~rader_plugins.llm.cache.ChatCache`, one row for every run.

    A run that gets all from the cache leaves the totals as they are: a sample set that is made again tells the same.

    Args:
        path: The file of the cache.
    """

    what = ChatCache.what
    remedy = ChatCache.remedy
    application = ChatCache.application
    table = "costs"
    columns = "run TEXT PRIMARY KEY, requests INTEGER, prompt_tokens INTEGER, completion_tokens INTEGER"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._run = uuid.uuid4().hex

    def note(self, spent: Mapping[str, int]) -> None:
        """Write down what this run cost so far."""
        if any(spent.values()):
            with self._open() as connection, connection:
                values = (self._run, *(spent[name] for name in _COLUMNS))
                connection.execute("INSERT OR REPLACE INTO costs VALUES (?, ?, ?, ?)", values)

    def total(self) -> dict[str, int]:
        """Return the cost of all runs."""
        sums = ", ".join(f"coalesce(sum({name}), 0)" for name in _COLUMNS)
        with self._open() as connection:
            row = connection.execute(f"SELECT {sums} FROM costs").fetchone()
        return dict(zip(_COLUMNS, row, strict=True))
