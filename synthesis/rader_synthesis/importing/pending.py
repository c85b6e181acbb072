"""Calls of tools that wait for their results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rader_synthesis.importing.conversation import Call, Result

__all__ = ["Pending", "PendingCalls"]

TurnT = TypeVar("TurnT")
"""The turn that a call belongs to."""


@dataclass
class Pending(Generic[TurnT]):
    """A call of a tool whose result may still come.

    Args:
        turn: The turn that it belongs to.
        slot: Number of its place in the turn.
        id, name, arguments: Id, tool and arguments, as in :class:`~rader_synthesis.importing.conversation.Call`.
        batch: Number of the group of calls that were made together.
        answered: Whether its result came.
    """

    turn: TurnT
    slot: int
    id: str
    name: str
    arguments: Any
    batch: int
    answered: bool = False


class PendingCalls(Generic[TurnT]):
    """The calls of a conversation, by which results find theirs.

    Several formats have no ids, or the tool's name in place of one. Results then come in the order of the calls that
    were made together; calls before these that were never answered stay so.
    """

    def __init__(self) -> None:
        self._of_id: dict[str, list[Pending[TurnT]]] = {}
        self._open: list[Pending[TurnT]] = []
        self._batch = 0
        self._is_ended = False

    def end_batch(self) -> None:
        """Note that the next call is not made together with those before."""
        self._is_ended = True

    def add(self, turn: TurnT, slot: int, call: Call) -> Pending[TurnT]:
        """Note a call."""
        if self._is_ended:
            self._batch, self._is_ended = self._batch + 1, False
        pending = Pending(turn, slot, call.id, call.name, call.arguments, self._batch)
        self._of_id.setdefault(call.id, []).append(pending)
        self._open.append(pending)
        return pending

    def answered_by(self, result: Result) -> Pending[TurnT] | None:
        """Return the call of a result, which counts as answered from now on; None if there is none."""
        self.end_batch()
        if result.call:
            fitting = self._of_id.get(result.call, [])
        else:
            fitting = [pending for pending in self._open if pending.name == result.tool] or self._open
        latest = [pending for pending in fitting if pending.batch == fitting[-1].batch]
        pending = next((pending for pending in latest if not pending.answered), latest[-1] if latest else None)
        if pending is not None and not pending.answered:
            pending.answered = True
            self._open.remove(pending)
        return pending

    def unanswered(self) -> Sequence[Pending[TurnT]]:
        """Return the calls without a result."""
        return self._open
