"""Importer of message logs as OpenAI's interfaces have them: chat completions and responses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError
from rader_synthesis.importing.base import first_of, first_text, grouped_rows
from rader_synthesis.importing.continuing import Sessions
from rader_synthesis.importing.conversation import Conversation
from rader_synthesis.importing.conversations import ConversationImporter
from rader_synthesis.importing.fields import ID_KEYS
from rader_synthesis.importing.messages import MessageReader, is_message
from rader_synthesis.importing.report import ImportReport
from rader_synthesis.importing.response_chains import ResponseChains, ResponseLink
from rader_synthesis.importing.rows import Row, parsed_cell, read_rows

__all__ = ["OpenAILogs", "messages_of"]

_SESSION_KEYS = ("conversation_id", "conversationId", "session_id", "sessionId", "thread_id", "threadId", "chat_id")
_CONVERSATION_KEYS = (*_SESSION_KEYS, "trace_id", "run_id")
_LIST_KEYS = ("messages", "items", "conversation", "prompt", "contents", "turns")


class OpenAILogs(ConversationImporter):
    """Reads conversations with tool calls; every user message that something answered becomes a trajectory.

    A row is a list of messages, or an object with ``messages`` (or ``items``, ``conversation``), or a request and its
    response (``request``/``response``, or ``input``/``output`` of the Responses interface, whose ``file_search_call``,
    ``web_search_call`` and ``mcp_call`` items bring their results). Beside it may stand ``id``, ``gold_answer`` and
    ``reward`` or other feedback, which count for the last turn that searched. Rows that are single messages are put
    together by their ``conversation_id`` (``session_id``, ``thread_id``, ...), or by the field that ``group_by`` names.

    Example:
        >>> OpenAILogs(tools=["search_docs"]).kind
        'openai'
    """

    kind = "openai"
    summary = "message logs of OpenAI's chat completions and Responses, or of any server that speaks them"

    takes = ConversationImporter.takes | {"group_by"}

    def __init__(self, *, group_by: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.group_by = group_by

    @classmethod
    def recognizes(cls, value: Any) -> float:
        """Whether a row holds messages."""
        if is_message(value):
            return 0.6
        try:
            items = messages_of(value, "")
        except InputError:
            return 0.0
        return 0.6 if any(isinstance(item, Mapping) and ("role" in item or "type" in item) for item in items) else 0.0

    def conversations(self, paths: Sequence[Path], report: ImportReport) -> Iterator[Conversation]:
        """Yield the conversation of each row, or of the rows that are messages of one conversation."""
        field = self.group_by or _conversation_field(paths)
        if field is None:
            yield from map(Sessions().continued, self._conversations_of_rows(paths, report))
            return
        for row in grouped_rows(self, paths, field, report):
            first: Mapping[str, Any] = {key: value for message in row.content for key, value in message.items()}
            name = str(row.content[0][field])
            record = {key: value for key, value in first.items() if key not in ("content", "role", "type")}
            try:
                yield from self.conversations_of({**record, "id": name, "messages": row.content}, row, report)
            except InputError as error:
                self.fault(error, report)

    def _conversations_of_rows(self, paths: Sequence[Path], report: ImportReport) -> Iterator[Conversation]:
        """Yield the conversation of each row, with what went before where a row only says which response it continues.

        A row that stands before the one that it continues (exports often begin with the last) waits for the end.
        """
        waiting: list[tuple[ResponseLink, Any, Row]] = []
        with ResponseChains.opened() as chains:
            for path in paths:
                for row, value in self.values(path, report):
                    link = ResponseLink.of(value)
                    try:
                        if link.id:
                            chains.add(link, messages_of(value, row.where))
                        before = [] if not link.continues else chains.before(link) if link.previous else None
                        if before is None:
                            waiting.append((link, value, row))
                        else:
                            yield from self.conversations_of(value, row, report, before)
                    except InputError as error:
                        self.fault(error, report)
            for link, value, row in sorted(waiting, key=lambda entry: entry[0].created):
                before = chains.before(link)
                if before is None:
                    report.skipped["continues a response that is not in the log"] += 1
                    continue
                try:
                    yield from self.conversations_of(value, row, report, before)
                except InputError as error:
                    self.fault(error, report)

    def conversations_of(
        self, value: Any, row: Row, report: ImportReport, before: Sequence[object] = ()
    ) -> Iterable[Conversation]:
        """Return the conversation of a row, after the messages that went before it."""
        record: Mapping[str, Any] = value if isinstance(value, Mapping) else {}
        reader = MessageReader(row.where, report).read([*before, *messages_of(value, row.where)])
        if isinstance(record.get("system"), str | list) and not reader.instructions:
            reader.item({"role": "system", "content": record["system"]}, row.where)
        name = first_text(record, ID_KEYS, row.where) or row.name
        session = next((str(record[key]) for key in _SESSION_KEYS if isinstance(record.get(key), str | int)), None)
        conversation = Conversation(name, reader.events, row.where, instructions=reader.instructions)
        if session is not None and not before:
            conversation.metadata["session"] = session
        yield self.judged(conversation, record, report)


def _conversation_field(paths: Sequence[Path]) -> str | None:
    """Return the field that says which conversation a row belongs to, where the rows are messages; None otherwise."""
    for path in paths:
        for row in islice(read_rows(path), 1):
            try:
                value = row.value()
            except InputError:
                continue
            if is_message(value):
                return next((key for key in _CONVERSATION_KEYS if value.get(key) is not None), None)
    return None


def messages_of(value: object, where: str) -> list[object]:
    """Return the messages of a row, the response last.

    Raises:
        InputError: It holds none.
    """
    if isinstance(value, list):
        return value
    if not isinstance(value, Mapping):
        raise InputError(f"{where} must be a list of messages or an object, not {type(value).__name__}.")
    request = next((value[key] for key in ("request", "body") if isinstance(value.get(key), Mapping)), value)
    # The Responses interface has objects and ids under 'conversation' and 'prompt'.
    parsed = [parsed_cell(request[key]) for key in _LIST_KEYS if request.get(key) is not None]
    messages = next((value for value in parsed if isinstance(value, list)), request.get("input"))
    if messages is None:
        messages = first_of(request, ("messages", "prompt"))
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    if not isinstance(messages, list):
        raise InputError(
            f"{where} holds no conversation: one of {', '.join(_LIST_KEYS)} (or 'input', beside 'output') must be a "
            "list. `rader import auto` tells what kind a file is of, and `rader import function` reads any other with "
            "a function of your own."
        )
    response = value["response"] if isinstance(value.get("response"), Mapping) else value
    response = response["body"] if isinstance(response.get("body"), Mapping) else response
    return [*messages, *_answers(response)]


def _answers(response: Mapping[str, Any]) -> Iterator[object]:
    choices = response.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], Mapping) and choices[0].get("message"):
        yield choices[0]["message"]
    output = response.get("output")
    if isinstance(output, list):
        yield from output
    elif isinstance(output, str):
        yield {"role": "assistant", "content": output}
    content = response.get("content")
    if response.get("role") == "assistant" and content is not None:  # of Anthropic's interface
        yield {"role": "assistant", "content": content}
