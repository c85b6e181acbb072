"""The spans of a trace, as the events of a conversation: the same for every tracing format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rader_plugins.recording.results import query_of, text_of_content
from rader_synthesis.importing.conversation import Answer, Call, Event, Question, Result, Search
from rader_synthesis.importing.messages import MessageReader, is_message, unwrapped
from rader_synthesis.importing.report import ImportReport
from rader_synthesis.importing.rows import parsed_cell
from rader_synthesis.importing.tools import looks_like_documents, read_results, searches_by_name
from rader_synthesis.importing.turn import Reading

__all__ = ["Span", "SpanKind", "TraceReader"]

SpanKind = Literal["retriever", "reranker", "tool", "llm", "other"]

_HISTORY_KEYS = ("chat_history", "history", "conversation_history")
_QUESTION_KEYS = (
    "question",
    "query",
    "input",
    "user_input",
    "prompt",
    "text",
    "message",
    "content",
    "q",
    "value",
    "human_input",
)
_ANSWER_KEYS = (
    "answer",
    "output",
    "output_text",
    "result",
    "response",
    "text",
    "content",
    "value",
    "final_answer",
    "completion",
)


@dataclass
class Span:
    """One step of a trace.

    Args:
        id: Id of the span.
        trace: Id of its trace.
        parent: Id of the span that it is part of; None for the root.
        kind: Kind of the step.
        name: Name of the tool, or of the step.
        input, output: JSON values, or text.
        start: When it began; spans of one trace are compared by it, and by their order in the file.
        failed: Whether it ended in an error.
        messages: What a model was sent, if the format tells it apart from its input.
        completion: What it answered, as messages.
        scores: Feedback, as :func:`~rader_synthesis.importing.feedback.read_scores` reads it.
        gold: The right answer, where the span states it.
        session: What the traces of one conversation share.
        where: How to call it in messages.
    """

    id: str
    trace: str
    parent: str | None = None
    kind: SpanKind = "other"
    name: str = ""
    input: Any = None
    output: Any = None
    start: Any = None
    failed: bool = False
    messages: Sequence[Any] = ()
    completion: Sequence[Any] = ()
    scores: list[Any] = field(default_factory=list)
    gold: str | None = None
    session: str = ""
    where: str = ""


class TraceReader:
    """The spans of one trace, as events.

    Args:
        spans: The spans of the trace, in the order in which they began.
        reading: How searches are recognised.
        report: The report that counts what is read.
        where: How to call the trace in messages.
    """

    def __init__(self, spans: Sequence[Span], reading: Reading, report: ImportReport, where: str) -> None:
        self._spans = spans
        self._report = report
        self._where = where
        self._by_id = {span.id: span for span in spans}
        self._searching = {span.id for span in spans if span.kind in ("retriever", "reranker")}
        self._searching |= {span.id for span in spans if self._searches_by_its_result(span, reading)}

    def events(self) -> tuple[list[Event], str]:
        """Return what happened, and the system's message."""
        working = [span for span in self._spans if self._searches(span) or span.kind == "tool"]
        models = [span for span in self._spans if span.kind == "llm"]
        histories = [reader for span in models if (reader := self._messages(span)) is not None]
        if histories and not any(self._returned(span) for span in working):
            # The tools were not traced: the longest of the conversations that the models were sent has their results.
            longest = max(histories, key=lambda reader: len(reader.events))
            return self._with_root_answer(longest.events), longest.instructions
        events, instructions = self._beginning(histories)
        for span in self._spans:
            if span.kind == "llm" and not self._within_search(span):
                events_of_model = [
                    event for event in self._said(span) if not isinstance(event, Call | Result | Question)
                ]
                events += [event for event in events_of_model if event not in events[-2:]]
            elif self._searches(span) and not self._within_search(span):
                events += self._search(span)
            elif span.kind == "tool" and not self._within_search(span) and not self._around_search(span):
                events += [
                    Call(span.id, span.name, span.input),
                    Result(span.id, "" if span.output is None else span.output, failed=span.failed),
                ]
        return self._with_root_answer(events), instructions

    def _beginning(self, histories: Sequence[MessageReader]) -> tuple[list[Event], str]:
        """Return the question with the conversation before it."""
        root = self._root()
        value = parsed_cell(root.input)
        messages = _messages_in(value) or _with_history(value)
        if messages:
            reader = MessageReader(self._where, self._report).read(messages)
            return [event for event in reader.events if isinstance(event, Question | Answer)], reader.instructions
        question = _text_in(value, _QUESTION_KEYS)
        for reader in histories:
            positions = [number for number, event in enumerate(reader.events) if isinstance(event, Question)]
            if positions and (question is None or any(question == reader.events[number].text for number in positions)):  # type: ignore[union-attr]
                before: list[Event] = [
                    event for event in reader.events[: positions[-1] + 1] if isinstance(event, Question | Answer)
                ]
                return before, reader.instructions
        if question is None:
            queries = (self._query(span) for span in self._spans if self._searches(span))
            question = next((query for query in queries if query), None)
            if question is not None:
                self._report.notes["trace without a question, its first query taken for it"] += 1
        return [Question(question)] if question else [], histories[0].instructions if histories else ""

    def _with_root_answer(self, events: list[Event]) -> list[Event]:
        root = self._root()
        if root.failed or root.kind != "other":
            return events
        value = parsed_cell(root.output)
        if messages := [*root.completion] or _messages_in(value):
            answers = MessageReader(self._where, self._report).read(messages).events
            answer: Answer | None = next((event for event in reversed(answers) if isinstance(event, Answer)), None)
        else:
            text = _text_in(value, _ANSWER_KEYS)
            answer = Answer(text) if text and text.strip() else None
        last = next((event for event in reversed(events) if isinstance(event, Answer)), None)
        if answer is None or (last is not None and last.text.strip() == answer.text.strip() and events[-1] is last):
            return events
        return [*events, answer]

    def _root(self) -> Span:
        return next(
            (span for span in self._spans if span.parent is None or span.parent not in self._by_id), self._spans[0]
        )

    def _searches(self, span: Span) -> bool:
        return span.id in self._searching

    def _searches_by_its_result(self, span: Span, reading: Reading) -> bool:
        """Whether a step of no kind of its own is called a search, returned documents, and no other did for it."""
        if span.kind != "other" or span is self._root() or not searches_by_name(span.name, reading.tools):
            return False
        if any(span in self._above(other) for other in self._spans if other.kind in ("retriever", "tool")):
            return False
        return looks_like_documents(read_results(span.output, plain=False) or [])

    def _returned(self, span: Span) -> bool:
        return span.output is not None and not span.failed

    def _above(self, span: Span) -> Iterator[Span]:
        seen = {span.id}
        while (
            span.parent is not None
            and (ancestor := self._by_id.get(span.parent)) is not None
            and ancestor.id not in seen
        ):
            seen.add(ancestor.id)
            yield ancestor
            span = ancestor

    def _within_search(self, span: Span) -> bool:
        """Whether a span is the business of a search above it, which counts."""
        return any(self._searches(ancestor) for ancestor in self._above(span))

    def _around_search(self, tool: Span) -> bool:
        return any(self._searches(span) and tool in self._above(span) for span in self._spans)

    def _search(self, span: Span) -> list[Event]:
        if span.failed:
            self._report.notes["search that failed"] += 1
            return []
        results = read_results(span.output, plain=True) or []
        if not results:
            self._report.notes["search that returned nothing that can be read as documents"] += 1
        self._report.tool(span.name or span.kind).searches += 1
        return [Search(self._query(span), tuple(results), reranked=span.kind == "reranker")]

    def _query(self, span: Span) -> str | None:
        value = parsed_cell(span.input)
        if isinstance(value, Mapping) and isinstance(value.get("input"), Mapping):
            value = value["input"]
        if query := query_of(value):
            return query
        holder = next((ancestor for ancestor in self._above(span) if ancestor.kind == "tool"), None)
        return query_of(parsed_cell(holder.input)) if holder is not None else None

    def _messages(self, span: Span) -> MessageReader | None:
        messages = list(span.messages) or _messages_in(parsed_cell(span.input))
        if not messages:
            return None
        return MessageReader(self._where, self._report).read([*messages, *self._completion(span)])

    def _said(self, span: Span) -> list[Event]:
        completion = self._completion(span)
        return MessageReader(self._where, self._report).read(completion).events if completion else []

    def _completion(self, span: Span) -> list[Any]:
        if span.completion:
            return list(span.completion)
        value = parsed_cell(span.output)
        if messages := _messages_in(value):
            return messages
        text = _text_in(value, _ANSWER_KEYS)
        return [{"role": "assistant", "content": text}] if text and text.strip() else []


def _messages_in(value: Any) -> list[Any]:
    """Return the messages that an input or output holds, in one of the ways of the frameworks; none otherwise."""
    if isinstance(value, list):
        if len(value) == 1 and isinstance(value[0], list):  # LangChain's models take lists of conversations
            return _messages_in(value[0])
        return value if value and all(is_message(message) or _is_item(message) for message in value) else []
    if not isinstance(value, Mapping):
        return []
    if is_message(value):
        return [value]
    for key in ("messages", "input", "output", "outputs", "items", "kwargs", "args"):
        if isinstance(value.get(key), list | Mapping) and (messages := _messages_in(value[key])):
            return messages
    choices = value.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], Mapping):
        return _messages_in([choices[0].get("message")])
    generations = value.get("generations")
    while isinstance(generations, list) and generations:
        generations = generations[0]
    if isinstance(generations, Mapping):
        if isinstance(generations.get("message"), Mapping):
            return [unwrapped(generations["message"])]
        if isinstance(generations.get("text"), str):
            return [{"role": "assistant", "content": generations["text"]}]
    return []


def _with_history(value: Any) -> list[Any]:
    """Return the messages of a chain that takes a question and, beside it, the conversation before."""
    if not isinstance(value, Mapping):
        return []
    earlier = next((messages for key in _HISTORY_KEYS if (messages := _messages_in(value.get(key)))), [])
    question = _text_in({key: inner for key, inner in value.items() if key not in _HISTORY_KEYS}, _QUESTION_KEYS)
    return [*earlier, {"role": "user", "content": question}] if earlier and question else []


def _is_item(value: object) -> bool:
    """Whether a value is an item of the Responses interface that is no message."""
    return isinstance(value, Mapping) and str(value.get("type")).endswith(("_call", "_call_output", "reasoning"))


def _text_in(value: Any, keys: Sequence[str]) -> str | None:
    """Return the text that an input or output is or holds under one of some names; the only text if there is one."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        for key in keys:
            inner = parsed_cell(value.get(key))
            if isinstance(inner, str) and inner.strip():
                return inner
            if isinstance(inner, Mapping | list) and (text := _text_in(inner, keys)):
                return text
        texts = [inner for inner in value.values() if isinstance(inner, str) and inner.strip()]
        return texts[0] if len(texts) == 1 else None
    if isinstance(value, list):
        return text_of_content(value) or None
    return None
