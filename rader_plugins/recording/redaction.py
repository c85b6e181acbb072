"""Redaction: a function over every text of a trajectory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from rader_plugins.files import fingerprint
from rader_plugins.trajectories import Trajectory

__all__ = ["Redact", "question_id", "redacted"]

Redact = Callable[[str], str]
"""Takes a text out of a run and returns it as it may be kept."""


def redacted(trajectory: Trajectory, redact: Redact) -> Trajectory:
    """Return a trajectory whose texts went through a function; ids and the keys of metadata did not.

    Raises:
        TypeError: The function returned something that is no text.
    """

    def clean(text: str) -> str:
        replacement = redact(text) if text else text
        if not isinstance(replacement, str):
            raise TypeError(f"the redaction hook returned {type(replacement).__name__}, not a text")
        return replacement

    def maybe(text: str | None) -> str | None:
        return None if text is None else clean(text)

    def within(value: Any) -> Any:
        if isinstance(value, str):
            return clean(value)
        if isinstance(value, Mapping):
            return {key: within(item) for key, item in value.items()}
        return [within(item) for item in value] if isinstance(value, list | tuple) else value

    steps = tuple(
        replace(
            step,
            text=clean(step.text),
            considered=tuple(
                replace(item, text=clean(item.text), title=clean(item.title), reason=clean(item.reason))
                for item in step.considered
            ),
        )
        for step in trajectory.steps
    )
    return replace(
        trajectory,
        question=clean(trajectory.question),
        steps=steps,
        answer=maybe(trajectory.answer),
        gold_answer=maybe(trajectory.gold_answer),
        metadata=within(trajectory.metadata),
    )


def question_id(question: str) -> str:
    """Return the problem id of a question that has none: a digest of its text, which all runs of it share."""
    return "question:" + fingerprint(question.encode("utf-8", "replace").decode("utf-8"))[:16]
