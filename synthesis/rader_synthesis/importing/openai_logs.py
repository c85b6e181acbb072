"""Importer of message logs as OpenAI's interfaces have them: chat completions and responses."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rader_plugins.errors import InputError
from rader_plugins.recording.redaction import question_id
from rader_plugins.recording.results import is_retrieval_name, query_of, read_documents, text_of_content
from rader_plugins.trajectories import Step, Trajectory
from rader_synthesis.importing.base import (
    Corpus,
    ImportReport,
    Row,
    RowImporter,
    first_of,
    first_text,
    reward_of,
    settle_steps,
)

__all__ = ["OpenAILogs"]

_ID_KEYS = ("id", "_id", "run_id", "trace_id", "conversation_id", "request_id")
_GOLD_KEYS = ("gold_answer", "gold", "expected_answer", "ground_truth", "reference")
_LIST_KEYS = ("messages", "items", "conversation")
_LONGEST_RESULT = 2000


@dataclass
class _Turn:
    """One user message and what followed it. A slot holds the steps of one call, wherever its result stands."""

    question: str
    slots: list[list[Step]] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)


class OpenAILogs(RowImporter):
    """Reads conversations with tool calls; every user message that something answered becomes a trajectory.

    A row is a list of messages, or an object with ``messages`` (or ``items``, ``conversation``), or a request and its
    response (``request``/``response``, or ``input``/``output`` of the Responses interface, whose ``file_search_call``
    items bring their results). Beside it may stand ``id``, ``gold_answer`` and ``reward`` or ``correct``, which count
    for the last turn.

    A call of a retrieval tool becomes a query (see :func:`~rader_plugins.recording.query_of`) and its result a
    retrieval (see :func:`~rader_plugins.recording.read_documents`). Other calls, the text between calls and reasoning
    are thoughts; the text that ends a turn is its answer.

    Args:
        tools: Names of the retrieval tools. Without them a tool counts as one if its name says so
            (:func:`~rader_plugins.recording.is_retrieval_name`) or if it returned a JSON list of objects with texts.
        corpus: Gives retrieved documents their ids and texts.
        keep_all: Also keep turns without a retrieval.
        skip_faulty: Count rows that cannot be used, instead of ending at the first.

    Example:
        >>> OpenAILogs(tools=["search_docs"]).kind
        'openai'
    """

    kind = "openai"

    def __init__(
        self,
        *,
        tools: Sequence[str] | None = None,
        corpus: Corpus | None = None,
        keep_all: bool = False,
        skip_faulty: bool = False,
    ) -> None:
        super().__init__(keep_all=keep_all, skip_faulty=skip_faulty)
        self.tools = None if tools is None else frozenset(tools)
        self.corpus = corpus

    def convert(self, row: Row, report: ImportReport) -> Iterable[Trajectory]:
        """Return the trajectories of a conversation."""
        value = row.value()
        record: Mapping[str, Any] = value if isinstance(value, Mapping) else {}
        turns = self._turns(_items(value, row.where), row.where)
        if not turns:
            report.skipped["no user message"] += 1
            return
        name = first_text(record, _ID_KEYS, row.where) or row.name
        gold = first_text(record, _GOLD_KEYS, row.where)
        reward = reward_of(record, row.where)
        for number, turn in enumerate(turns, start=1):
            last = number == len(turns)
            steps = _with_answer([step for slot in turn.slots for step in slot])
            yield Trajectory(
                id=name if len(turns) == 1 else f"{name}/{number}",
                problem_id=question_id(turn.question),
                question=turn.question,
                steps=settle_steps(steps, self.corpus, report),
                answer=steps[-1].text if steps and steps[-1].kind == "answer" else None,
                gold_answer=gold if last else None,
                reward=reward if last else None,
                source=self.source,
                metadata={"turn": number, "turns": len(turns)} if len(turns) > 1 else {},
            )

    def _turns(self, items: Sequence[object], where: str) -> list[_Turn]:
        turns: list[_Turn] = []
        for at, item in enumerate(items):
            if not isinstance(item, Mapping):
                raise InputError(f"{where}: message {at} is {type(item).__name__}, not an object.")
            kind = item.get("type") or "message"
            role = item.get("role")
            if kind == "message" and role == "user":
                text = text_of_content(item.get("content")).strip()
                if turns and not turns[-1].slots:
                    turns[-1].question = f"{turns[-1].question}\n{text}".strip()
                elif text:
                    turns.append(_Turn(text))
            elif turns and role not in ("system", "developer"):
                self._add(turns[-1], kind, item, f"{where}, message {at}")
        return turns

    def _add(self, turn: _Turn, kind: str, item: Mapping[str, Any], where: str) -> None:
        if kind == "function_call":
            self._call(turn, _key(item, "call_id", "id"), str(item.get("name") or ""), item.get("arguments"))
        elif kind == "function_call_output":
            self._result(turn, _key(item, "call_id"), item.get("output"), where)
        elif kind == "file_search_call":
            query = query_of({"queries": item.get("queries")})
            found = tuple(read_documents(item.get("results") or []) or ())
            turn.slots.append([*([Step("query", query)] if query else []), Step("retrieval", considered=found)])
        elif kind == "reasoning":
            _think(turn, text_of_content(item.get("summary")) or text_of_content(item.get("content")))
        elif kind == "message" and item.get("role") in ("tool", "function"):
            key = _key(item, "tool_call_id") or next(
                (key for key, name in reversed(turn.names.items()) if name == item.get("name")), ""
            )
            self._result(turn, key, item.get("content"), where)
        elif kind == "message" and item.get("role") == "assistant":
            _think(turn, text_of_content(item.get("reasoning_content") or item.get("reasoning")))
            _think(turn, text_of_content(item.get("content")))
            calls = item.get("tool_calls") or []
            if not isinstance(calls, list):
                raise InputError(f"{where}: 'tool_calls' must be a list.")
            if isinstance(legacy := item.get("function_call"), Mapping):
                calls = [*calls, {"id": f"legacy{len(turn.calls)}", "function": legacy}]
            for call in calls:
                function = call.get("function") if isinstance(call, Mapping) else None
                if isinstance(function, Mapping):
                    self._call(turn, _key(call, "id"), str(function.get("name") or ""), function.get("arguments"))

    def _call(self, turn: _Turn, key: str, name: str, arguments: object) -> None:
        asked = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        turn.calls[key] = len(turn.slots)
        turn.names[key] = name
        turn.asked[key] = asked
        query = query_of(arguments) if self._searches(name) else None
        turn.slots.append([Step("query", query) if query else Step("thought", f"{name}({asked})")])

    def _result(self, turn: _Turn, key: str, content: object, where: str) -> None:
        place = turn.calls.get(key)
        if place is None:
            raise InputError(f"{where} is the result of the call {key!r}, which no message before it made.")
        name, asked = turn.names[key], turn.asked[key]
        result = content if isinstance(content, str | Mapping) else text_of_content(content) or content
        known = self._searches(name)
        # Without a list of names, what looks like documents is taken for documents; but not any text.
        found = read_documents(result, plain=known) if known or self.tools is None else None
        if found is None and known:
            found = []
        if found is None or (not known and not all(one.text for one in found)) or (not known and not found):
            text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
            turn.slots[place] = [Step("thought", f"{name}({asked}) -> {text[:_LONGEST_RESULT]}")]
            return
        query = query_of(_loaded(asked))
        steps = [Step("query", query)] if query else []
        turn.slots[place] = [*steps, Step("retrieval", considered=tuple(found))]

    def _searches(self, name: str) -> bool:
        return is_retrieval_name(name) if self.tools is None else name in self.tools


def _items(value: object, where: str) -> list[object]:
    """Return the messages of a row, the response last."""
    if isinstance(value, list):
        return value
    if not isinstance(value, Mapping):
        raise InputError(f"{where} must be a list of messages or an object, not {type(value).__name__}.")
    request = value["request"] if isinstance(value.get("request"), Mapping) else value
    listed = first_of(request, _LIST_KEYS)
    if listed is None:
        listed = request.get("input")
    if isinstance(listed, str):
        listed = [{"role": "user", "content": listed}]
    if not isinstance(listed, list):
        raise InputError(
            f"{where} holds no conversation: one of {', '.join(_LIST_KEYS)} (or 'input', beside 'output') must be a "
            "list."
        )
    response = value["response"] if isinstance(value.get("response"), Mapping) else value
    return [*listed, *_answers(response)]


def _answers(response: Mapping[str, Any]) -> Iterator[object]:
    choices = response.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], Mapping) and choices[0].get("message"):
        yield choices[0]["message"]
    output = response.get("output")
    if isinstance(output, list):
        yield from output
    elif isinstance(output, str):
        yield {"role": "assistant", "content": output}


def _key(item: Mapping[str, Any], *names: str) -> str:
    return str(first_of(item, names) or "")


def _think(turn: _Turn, text: str) -> None:
    if text.strip():
        turn.slots.append([Step("thought", text.strip())])


def _loaded(asked: str) -> object:
    try:
        return json.loads(asked)
    except (ValueError, RecursionError):
        return asked


def _with_answer(steps: list[Step]) -> list[Step]:
    """Return the steps, the last text as the answer."""
    if steps and steps[-1].kind == "thought":
        return [*steps[:-1], Step("answer", steps[-1].text)]
    return steps
