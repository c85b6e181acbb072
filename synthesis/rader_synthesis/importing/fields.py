"""Fields of rows, by the names that they may have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rader_plugins.errors import InputError
from rader_synthesis.importing.feedback import Scale, read_reward

__all__ = ["ID_KEYS", "first_of", "first_text", "reward_of"]

ID_KEYS = ("id", "_id", "run_id", "trace_id", "conversation_id", "request_id", "session_id", "thread_id")


def first_of(row: Mapping[str, Any], keys: Sequence[str]) -> Any:
    """Return the first value that is there, else None."""
    return next((row[key] for key in keys if row.get(key) is not None), None)


def first_text(row: Mapping[str, Any], keys: Sequence[str], where: str) -> str | None:
    """Return the first value that is there as a text; numbers are written out. None if there is none.

    Raises:
        InputError: It is neither text nor number.
    """
    value = first_of(row, keys)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        key = next(key for key in keys if row.get(key) is not None)
        raise InputError(f"{where}: {key!r} must be a text, not {type(value).__name__}.")
    return str(value)


def reward_of(row: Mapping[str, Any], where: str, scale: Scale | None = None) -> float | None:
    """Return the reward of a row (:func:`~rader_synthesis.importing.feedback.read_reward`); None if it has none.

    Raises:
        InputError: It has, of another type or outside the scale.
    """
    return read_reward(row, where, scale or Scale())
