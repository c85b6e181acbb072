"""Reading what a tool was given and what it returned, as its callbacks see it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage, ToolMessage

from langchain_rader._reading import as_considered, documents_of, unwrap
from rader_plugins.recording import fields_of, is_printed, json_text, read_documents, text_of_content
from rader_plugins.trajectories import Considered

__all__ = ["ToolResult", "describe_call", "read_tool_result"]

_PRINTED_DOCUMENTS = ("Document(", "page_content=")


@dataclass(frozen=True)
class ToolResult:
    """What a tool returned.

    Args:
        documents: What it found; None if it is no search, or what it found cannot be read.
        text: What it said; None if it said nothing, or printed an object.
        unread: How many of its results were left out, because nothing says what is in them.
    """

    documents: list[Considered] | None
    text: str | None
    unread: int = 0


def read_tool_result(output: Any, searches: bool) -> ToolResult:
    """Return what a tool returned: its message, an update of the state (``Command``), documents, or anything.

    Documents of LangChain, live or printed, are documents whatever the tool is called.

    Args:
        output: What the tool's callback was given.
        searches: Whether the tool is known to search, so that a text that it returns holds documents.
    """
    values = [each for value in unwrap(output) for each in (value if _are_messages(value) else [value])]
    messages = [each for value in values for each in _messages(value)]
    if any(getattr(message, "status", None) == "error" for message in messages):
        return ToolResult(None, _text(messages))
    for value in values:
        if found := documents_of(value):
            return ToolResult([as_considered(document, score) for document, score in found], None)
    content: Any = messages[0].content if len(messages) == 1 else messages if messages else output
    if messages and not isinstance(content, str):
        content = _text(messages)
    text = json_text(content)
    if text is not None and is_printed(text) and text.lstrip("[({ ").startswith(_PRINTED_DOCUMENTS):
        searches = True
    if searches:
        documents = read_documents(content)
        if documents is None and text is not None and not text.strip():
            documents = []
        return ToolResult(documents, None, unread=int(documents is None))
    if text is None or is_printed(text):
        return ToolResult(None, None, unread=1)
    return ToolResult(None, text)


def describe_call(name: str, arguments: Mapping[str, Any] | None, text: str) -> tuple[str, int]:
    """Return a call of a tool as text, and how many arguments were left out because no text stands for them.

    Args:
        name: Of the tool.
        arguments: By name; None if it got a text.
        text: That text.
    """
    if arguments is None:
        return (f"{name}()", 1) if is_printed(text) else (f"{name}({text})", 0)
    readable = {key: value for key, value in arguments.items() if json_text(value) is not None}
    data = {
        key: value if isinstance(value, str) else json.loads(json_text(value) or "") for key, value in readable.items()
    }
    return f"{name}({json.dumps(data, ensure_ascii=False)})", len(arguments) - len(readable)


def _are_messages(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(each, BaseMessage) for each in value)


def _messages(value: Any) -> list[ToolMessage]:
    if isinstance(value, ToolMessage):
        return [value]
    inner = (fields_of(value) or {}).get("messages")
    return [each for each in inner if isinstance(each, ToolMessage)] if isinstance(inner, list | tuple) else []


def _text(messages: list[ToolMessage]) -> str:
    return "\n\n".join(text for message in messages if (text := text_of_content(message.content)))
