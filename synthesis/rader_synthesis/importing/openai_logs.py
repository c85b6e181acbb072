"""Importer of message logs as OpenAI's interfaces have them: chat completions and responses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rader_plugins.errors import InputError
from rader_synthesis.importing.base import ID_KEYS, ConversationImporter, first_of, first_text
from rader_synthesis.importing.conversation import Conversation
from rader_synthesis.importing.messages import MessageReader
from rader_synthesis.importing.report import ImportReport
from rader_synthesis.importing.rows import Row, parsed_cell

__all__ = ["OpenAILogs", "messages_of"]

_LIST_KEYS = ("messages", "items", "conversation", "prompt")


class OpenAILogs(ConversationImporter):
    """Reads conversations with tool calls; every user message that something answered becomes a trajectory.

    A row is a list of messages, or an object with ``messages`` (or ``items``, ``conversation``), or a request and its
    response (``request``/``response``, or ``input``/``output`` of the Responses interface, whose ``file_search_call``,
    ``web_search_call`` and ``mcp_call`` items bring their results). Beside it may stand ``id``, ``gold_answer`` and
    ``reward`` or other feedback, which count for the last turn that searched.

    Example:
        >>> OpenAILogs(tools=["search_docs"]).kind
        'openai'
    """

    kind = "openai"
    summary = "message logs of OpenAI's chat completions and Responses, or of any server that speaks them"

    @classmethod
    def recognizes(cls, value: Any) -> float:
        """Whether a row holds messages."""
        try:
            items = messages_of(value, "")
        except InputError:
            return 0.0
        return 0.6 if any(isinstance(item, Mapping) and ("role" in item or "type" in item) for item in items) else 0.0

    def conversations_of(self, value: Any, row: Row, report: ImportReport) -> Iterable[Conversation]:
        """Return the conversation of a row."""
        record: Mapping[str, Any] = value if isinstance(value, Mapping) else {}
        reader = MessageReader(row.where, report).read(messages_of(value, row.where))
        if isinstance(record.get("system"), str | list) and not reader.instructions:
            reader.item({"role": "system", "content": record["system"]}, row.where)
        name = first_text(record, ID_KEYS, row.where) or row.name
        conversation = Conversation(name, reader.events, row.where, instructions=reader.instructions)
        yield self.judged(conversation, record, report)


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
    messages = parsed_cell(first_of(request, _LIST_KEYS))
    if messages is None:
        messages = request.get("input")
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
