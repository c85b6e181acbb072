"""The ids of terms: given in order, never twice, and remembered between the commits of one writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TypeAlias

from rader_plugins.index.storage.selection import select_in

__all__ = ["TermIds"]

_REMEMBERED = 100_000  # about; the first ones that are met are the most frequent
_State: TypeAlias = "tuple[int, int]"


class TermIds:
    """Looks up and gives the ids of terms in the transactions of one writer, one after the other.

    What the last commit knew holds for the next transaction if nobody else has committed in between, and no terms were
    dropped, which begins another epoch.
    """

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._committed: _State | None = None  # the commit that these ids are of
        self._begun: _State | None = None
        self._latest: dict[str, int] = {}  # of the transaction at work

    def begin(self, database: sqlite3.Connection) -> None:
        """Begin a transaction."""
        self._begun, self._latest = self.state(database), {}
        if self._begun != self._committed:
            self._ids = {}

    def of(self, database: sqlite3.Connection, terms: Sequence[str]) -> dict[str, int]:
        """Return term -> id for different terms; those that have none get the next ones, in order."""
        ids = {term: self._ids[term] for term in terms if term in self._ids}
        unknown = [term for term in terms if term not in ids]
        ids.update(select_in(database, "SELECT term, id FROM terms WHERE term", unknown))
        # Never the number of a term that was dropped: somebody may still remember it.
        following = database.execute(
            "SELECT MAX(COALESCE((SELECT MAX(id) + 1 FROM terms), 0),"
            " COALESCE((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'next_term'), 0))"
        ).fetchone()[0]
        fresh = {term: following + nth for nth, term in enumerate(term for term in unknown if term not in ids)}
        database.executemany("INSERT INTO terms (term, id) VALUES (?, ?)", fresh.items())
        ids.update(fresh)
        self._latest = ids
        return ids

    @staticmethod
    def state(database: sqlite3.Connection) -> _State:
        """Return the epoch and the number of the commit; -1 in a database that is being made."""
        values = dict(database.execute("SELECT key, value FROM meta WHERE key IN ('epoch', 'generation')"))
        return int(values.get("epoch", -1)), int(values.get("generation", -1))

    def end(self, state: _State) -> None:
        """Remember the ids of a transaction that was committed.

        Args:
            state: What :meth:`state` returned as the last thing before the commit.
        """
        if self._begun is None or self._begun[0] != state[0]:
            self._ids = {}
        elif len(self._ids) < _REMEMBERED:
            self._ids.update(self._latest)
        self._committed, self._latest = state, {}
