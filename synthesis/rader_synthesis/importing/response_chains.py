"""Responses that continue earlier ones: by ``previous_response_id``, or in a ``conversation`` that the server keeps."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rader_synthesis.scratch import scratch_database

__all__ = ["ResponseChains", "ResponseLink"]


@dataclass(frozen=True)
class ResponseLink:
    """Which response a row holds, and what it says that it continues.

    Args:
        id: Id of the response; empty where the row has none.
        previous: Id of the response that it continues.
        conversation: Id of the conversation that the server keeps.
        created: When it was made, in seconds; 0 where the row does not tell.
    """

    id: str = ""
    previous: str = ""
    conversation: str = ""
    created: float = 0.0

    @classmethod
    def of(cls, value: Any) -> ResponseLink:
        """Read the link of a row: a response, or a request and its response."""
        if not isinstance(value, Mapping):
            return cls()
        levels = [value]
        for key in ("response", "request", "body"):
            levels += [level[key] for level in list(levels) if isinstance(level.get(key), Mapping)]
        response = next((level for level in levels if level.get("object") == "response"), None)
        if response is None:
            response = next((level for level in levels if isinstance(level.get("output"), list)), {})
        previous = next((level["previous_response_id"] for level in levels if level.get("previous_response_id")), "")
        conversation = next((level["conversation"] for level in levels if level.get("conversation")), "")
        if isinstance(conversation, Mapping):
            conversation = conversation.get("id")
        created = response.get("created_at")
        return cls(
            str(response.get("id") or ""),
            str(previous),
            conversation if isinstance(conversation, str) else "",
            float(created) if isinstance(created, int | float) else 0.0,
        )

    @property
    def continues(self) -> bool:
        """Whether something may have gone before that the row itself does not hold."""
        return bool(self.previous or self.conversation)


class ResponseChains:
    """The messages of responses, by which later ones get what went before; they lie in a scratch file.

    Args:
        connection: Connection to an empty database.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.execute(
            "CREATE TABLE responses (n INTEGER PRIMARY KEY, id TEXT, previous TEXT, conversation TEXT, created REAL, "
            "messages TEXT)"
        )
        connection.execute("CREATE INDEX by_id ON responses (id)")
        connection.execute("CREATE INDEX by_conversation ON responses (conversation, created, n)")

    @classmethod
    @contextlib.contextmanager
    def opened(cls) -> Iterator[ResponseChains]:
        """Make a scratch file, which goes at the end."""
        with scratch_database() as connection:
            yield cls(connection)

    def add(self, link: ResponseLink, messages: Sequence[object]) -> None:
        """Keep the messages of a response: what it was asked and what it answered."""
        if link.id:
            self._connection.execute(
                "INSERT INTO responses (id, previous, conversation, created, messages) VALUES (?, ?, ?, ?, ?)",
                (link.id, link.previous, link.conversation, link.created, json.dumps(list(messages))),
            )

    def before(self, link: ResponseLink) -> list[object] | None:
        """Return the messages before a response, the first first; None if one that it continues is not there (yet)."""
        if not link.previous:
            return self._earlier_in_conversation(link)
        chain: list[list[object]] = []
        previous, seen = link.previous, {link.id}
        while previous:
            row = self._connection.execute(
                "SELECT previous, messages FROM responses WHERE id = ? ORDER BY n DESC", (previous,)
            ).fetchone()
            if row is None or previous in seen:
                return None
            seen.add(previous)
            previous = row[0]
            chain.append(json.loads(row[1]))
        return [message for messages in reversed(chain) for message in messages]

    def _earlier_in_conversation(self, link: ResponseLink) -> list[object]:
        rows = self._connection.execute(
            "SELECT id, messages FROM responses WHERE conversation = ? ORDER BY created, n", (link.conversation,)
        )
        before: list[object] = []
        for id, messages in rows:
            if id == link.id:
                break
            before += json.loads(messages)
        return before
