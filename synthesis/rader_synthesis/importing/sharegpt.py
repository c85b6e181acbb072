"""Importer of conversations as data sets for fine-tuning have them (ShareGPT)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rader_plugins.errors import InputError
from rader_synthesis.importing.base import first_text
from rader_synthesis.importing.conversation import Answer, Call, Conversation, Event, Question, Result
from rader_synthesis.importing.conversations import ConversationImporter
from rader_synthesis.importing.fields import ID_KEYS
from rader_synthesis.importing.report import ImportReport
from rader_synthesis.importing.rows import Row, parsed_cell

__all__ = ["ShareGPT"]

_USERS = frozenset(("human", "user"))
_MODELS = frozenset(("gpt", "assistant", "model", "chatgpt", "bing", "bard"))
_CALLS = frozenset(("function_call", "function-call", "tool_call", "tool_calls"))
_RESULTS = frozenset(
    ("observation", "tool", "function", "function_response", "function-response", "tool_response", "ipython")
)
_TAGGED_CALL = re.compile(r"<tool_call>\s*(\{.*?\})\s*</tool_call>", re.DOTALL)
_TAGGED_RESULT = re.compile(r"<tool_response>\s*(.*?)\s*</tool_response>", re.DOTALL)


class ShareGPT(ConversationImporter):
    """Reads rows with ``conversations``: a list of ``from`` and ``value``.

    Calls are turns of ``function_call`` (as LLaMA-Factory writes them) or ``<tool_call>`` tags in the model's (as
    Hermes has them), results turns of ``observation`` or ``tool``.

    Example:
        >>> ShareGPT().kind
        'sharegpt'
    """

    kind = "sharegpt"
    summary = "conversations of fine-tuning data sets: lists of from and value"

    @classmethod
    def recognizes(cls, value: Any) -> float:
        """Whether a row has such a list."""
        turns = value.get("conversations") or value.get("conversation") if isinstance(value, Mapping) else None
        return (
            0.9
            if isinstance(turns, list) and any(isinstance(turn, Mapping) and "from" in turn for turn in turns)
            else 0.0
        )

    def conversations_of(self, value: Any, row: Row, report: ImportReport) -> Iterable[Conversation]:
        """Return the conversation of a row."""
        turns = value.get("conversations") or value.get("conversation") if isinstance(value, Mapping) else None
        if not isinstance(turns, list):
            raise InputError(f"{row.where}: 'conversations' must be a list.")
        events: list[Event] = []
        instructions = str(value.get("system") or "")
        for number, turn in enumerate(turns):
            if not isinstance(turn, Mapping) or not isinstance(turn.get("value"), str):
                raise InputError(f"{row.where}: turn {number} must be an object with 'from' and a text as 'value'.")
            if turn.get("from") == "system":
                instructions = f"{instructions}\n{turn['value']}".strip()
            else:
                events += _events(str(turn.get("from")), turn["value"], number, report)
        name = first_text(value, ID_KEYS, row.where) or row.name
        yield self.judged(Conversation(name, events, row.where, instructions=instructions), value, report)


def _events(speaker: str, text: str, number: int, report: ImportReport) -> Iterator[Event]:
    if speaker in _USERS:
        yield Question(text)
    elif speaker in _CALLS:
        yield from _calls([text], number)
    elif speaker in _RESULTS:
        for content in _TAGGED_RESULT.findall(text) or [text]:
            parsed = parsed_cell(content)
            if isinstance(parsed, Mapping) and "content" in parsed and "name" in parsed:
                parsed = parsed["content"]
            yield Result("", parsed)
    elif speaker in _MODELS:
        text_beside = _TAGGED_CALL.sub("", text).strip()
        if text_beside:
            yield Answer(text_beside)
        yield from _calls(_TAGGED_CALL.findall(text), number)
    else:
        report.unknown[f"turn of {speaker}"] += 1


def _calls(texts: Iterable[str], number: int) -> Iterator[Call]:
    for text in texts:
        parsed = parsed_cell(text)
        for rank, call in enumerate(parsed if isinstance(parsed, list) else [parsed]):
            if isinstance(call, Mapping):
                arguments = next((call[key] for key in ("arguments", "parameters", "args") if key in call), "")
                yield Call(f"{number}:{rank}:{len(text)}", str(call.get("name") or ""), arguments)
            else:
                yield Call(f"{number}:{rank}:{len(text)}", "", text)
