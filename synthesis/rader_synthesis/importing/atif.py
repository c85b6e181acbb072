"""Importer of agents' trajectories in the Agent Trajectory Interchange Format (ATIF)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rader_plugins.errors import InputError
from rader_plugins.recording.results import text_of_content
from rader_synthesis.importing.conversation import Answer, Call, Conversation, Event, Question, Result, Thought
from rader_synthesis.importing.conversations import ConversationImporter
from rader_synthesis.importing.report import ImportReport
from rader_synthesis.importing.rows import Row

__all__ = ["AtifTrajectories"]


class AtifTrajectories(ConversationImporter):
    """Reads ATIF, versions 1.x: one trajectory a row or a ``.json`` file.

    Steps of the user are questions, those of the agent its reasoning, message and calls with their observations.

    Example:
        >>> AtifTrajectories().kind
        'atif'
    """

    kind = "atif"
    summary = "agents' trajectories in the Agent Trajectory Interchange Format (Harbor, NeMo and others)"

    @classmethod
    def recognizes(cls, value: Any) -> float:
        """Whether a row says that it is ATIF."""
        return 1.0 if isinstance(value, Mapping) and str(value.get("schema_version")).startswith("ATIF") else 0.0

    def conversations_of(self, value: Any, row: Row, report: ImportReport) -> Iterable[Conversation]:
        """Return the conversation of a trajectory."""
        steps = value.get("steps") if isinstance(value, Mapping) else None
        if not isinstance(steps, list):
            raise InputError(f"{row.where} is no trajectory of ATIF: 'steps' must be a list.")
        events: list[Event] = []
        instructions = ""
        for number, step in enumerate(steps):
            if not isinstance(step, Mapping):
                raise InputError(f"{row.where}: step {number} must be an object, not {type(step).__name__}.")
            if step.get("source") == "system":
                instructions = f"{instructions}\n{_text(step.get('message'))}".strip()
                continue
            events += _events(step, number, report)
        name = str(value.get("trajectory_id") or value.get("session_id") or row.name)
        conversation = Conversation(name, events, row.where, instructions=instructions)
        extra = value.get("extra") if isinstance(value.get("extra"), Mapping) else {}
        yield self.judged(
            conversation, {**extra, **{key: inner for key, inner in value.items() if key != "steps"}}, report
        )


def _events(step: Mapping[str, Any], number: int, report: ImportReport) -> Iterator[Event]:
    text = _text(step.get("message"))
    source = step.get("source")
    if source == "user":
        if text.strip():
            yield Question(text)
        return
    if source != "agent":
        report.unknown[f"step of {source}"] += 1
        return
    if isinstance(reasoning := step.get("reasoning_content"), str) and reasoning.strip():
        yield Thought(reasoning)
    if text.strip():
        yield Answer(text)
    calls = [call for call in step.get("tool_calls") or [] if isinstance(call, Mapping)]
    ids = []
    for rank, call in enumerate(calls):
        ids.append(f"{number}:{call.get('tool_call_id') or rank}")
        yield Call(ids[-1], str(call.get("function_name") or ""), call.get("arguments"))
    observation = step.get("observation")
    results = observation.get("results") if isinstance(observation, Mapping) else None
    for rank, result in enumerate(results or []):
        if not isinstance(result, Mapping):
            continue
        key = (
            f"{number}:{result['source_call_id']}"
            if result.get("source_call_id")
            else ids[rank]
            if rank < len(ids)
            else None
        )
        if key in ids and result.get("content") is not None:
            yield Result(str(key), result["content"])
        elif key is None and result.get("content") is not None:
            yield Thought(_text(result["content"]))


def _text(content: Any) -> str:
    return text_of_content(content)
