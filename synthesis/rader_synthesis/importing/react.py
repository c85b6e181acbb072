"""Importer of agents whose searches are text: ``Action: search[...]``, ``Observation: ...`` (ReAct)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rader_plugins.errors import InputError
from rader_plugins.recording.results import text_of_content
from rader_synthesis.importing.base import first_text
from rader_synthesis.importing.conversation import Answer, Call, Conversation, Event, Question, Result, Thought
from rader_synthesis.importing.conversations import ConversationImporter
from rader_synthesis.importing.fields import ID_KEYS
from rader_synthesis.importing.openai_logs import messages_of
from rader_synthesis.importing.report import ImportReport
from rader_synthesis.importing.rows import Row

__all__ = ["ReactRuns"]

_MARK = re.compile(
    r"^[ \t>*]*(?P<mark>thought|action input|action|observation|final answer|question)[ \t]*\d*[ \t]*:\**[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
_BRACKETS = re.compile(r"\A\s*([\w .\-]+?)\s*\[(.*)\]\s*\Z", re.DOTALL)
_PARENTHESES = re.compile(r"\A\s*([\w.\-]+)\s*\((.*)\)\s*\Z", re.DOTALL)
_ENDS = frozenset(("finish", "final", "answer", "final answer"))
_REWARD = re.compile(r"\bepisode finished,\s*reward\s*=\s*(true|false|-?\d+(?:\.\d+)?)", re.IGNORECASE)
_TEXT_KEYS = ("trajectory", "text", "scratchpad", "agent_scratchpad", "output", "completion", "log", "response")
_QUESTION_KEYS = ("question", "input", "query", "problem", "prompt")


class ReactRuns(ConversationImporter):
    """Reads runs of ReAct agents: messages, or one text (``trajectory``, ``text``, ``scratchpad``) beside ``question``.

    ``Action: search[what]`` or ``Action: Search`` with ``Action Input: what`` is a call, ``Observation:`` its result,
    ``Action: finish[answer]`` or ``Final Answer:`` the answer. Every action of a search tool is a search, also one that
    found nothing. An observation has no ids: its document gets one from its text, or that of the corpus.

    Example:
        >>> ReactRuns().kind
        'react'
    """

    kind = "react"
    summary = "runs of ReAct agents, whose searches are text (Action: search[...], Observation: ...)"

    @classmethod
    def recognizes(cls, value: Any) -> float:
        """Whether a row has actions and observations as text."""
        text = "\n".join(text for _, text in _texts(value, ""))
        marks = {match["mark"].lower() for match in _MARK.finditer(text)}
        return 0.95 if "action" in marks and marks & {"observation", "thought"} else 0.0

    def conversations_of(self, value: Any, row: Row, report: ImportReport) -> Iterable[Conversation]:
        """Return the conversation of a run."""
        texts = _texts(value, row.where)
        if not texts:
            raise InputError(f"{row.where} has neither messages nor one of {', '.join(_TEXT_KEYS)}.")
        record: Mapping[str, Any] = value if isinstance(value, Mapping) else {}
        events: list[Event] = []
        instructions = ""
        for role, text in texts:
            if role == "system":
                instructions = text
            elif role == "user" and not _begins_with(text, "observation"):
                events.append(Question(re.sub(r"\A\s*question\s*:\s*", "", text, flags=re.IGNORECASE)))
            else:
                events += _events(text, len(events))
        reward = next((_reward(match[1]) for _, text in texts if (match := _REWARD.search(text))), None)
        name = first_text(record, ID_KEYS, row.where) or row.name
        conversation = Conversation(name, events, row.where, reward, instructions=instructions)
        yield self.judged(conversation, record, report)


def _texts(value: Any, where: str) -> list[tuple[str, str]]:
    """Return who wrote what: messages, or the question and the text of the run."""
    if isinstance(value, Mapping):
        text = next((value[key] for key in _TEXT_KEYS if isinstance(value.get(key), str)), None)
        if text is not None:
            question = next((value[key] for key in _QUESTION_KEYS if isinstance(value.get(key), str)), "")
            if not question and (match := re.search(r"(?im)^question\s*:\s*(.+)$", text)):
                question = match[1]
            return [("user", question), ("assistant", text)]
    try:
        messages = messages_of(value, where)
    except InputError:
        return []
    return [
        (str(message.get("role")), text_of_content(message.get("content")))
        for message in messages
        if isinstance(message, Mapping)
    ]


def _events(text: str, start: int) -> Iterator[Event]:
    """Yield what a text with marks tells."""
    marks = list(_MARK.finditer(text))
    before = text[: marks[0].start()] if marks else text
    if before.strip():
        yield Thought(before.strip()) if marks else Answer(before.strip())
    last: tuple[str, str] | None = None
    for number, match in enumerate(marks):
        end = marks[number + 1].start() if number + 1 < len(marks) else len(text)
        content, mark = text[match.end() : end].strip(), match["mark"].lower()
        if mark == "thought" and content:
            yield Thought(content)
        elif mark == "final answer" and content:
            yield Answer(content)
        elif mark == "observation" and not _REWARD.search(content):
            yield Result("", content)
        elif mark == "action":
            following = marks[number + 1]["mark"].lower() if number + 1 < len(marks) else ""
            name, argument = _action(content)
            if following == "action input":
                argument = text[
                    marks[number + 1].end() : marks[number + 2].start() if number + 2 < len(marks) else len(text)
                ].strip()
            if (name, argument) == last:  # an agent that is told to end says its action twice
                continue
            last = (name, argument)
            if name.lower() in _ENDS:
                if argument:
                    yield Answer(argument)
            else:
                yield Call(f"{start}:{number}", name, argument)


def _action(content: str) -> tuple[str, str]:
    match = _BRACKETS.match(content) or _PARENTHESES.match(content)
    if match is None:
        first, _, remainder = content.partition("\n")
        match = _BRACKETS.match(first) or _PARENTHESES.match(first)
        if match is None:
            return first.strip(), remainder.strip()
    return match[1].strip(), match[2].strip()


def _begins_with(text: str, mark: str) -> bool:
    match = _MARK.search(text)
    return match is not None and match["mark"].lower() == mark and not text[: match.start()].strip()


def _reward(word: str) -> float:
    if word.lower() in ("true", "false"):
        return float(word.lower() == "true")
    return float(word.rstrip("."))
