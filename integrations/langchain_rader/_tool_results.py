"""Reading what a tool returned, as its callbacks see it."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import BaseMessage, ToolMessage

from langchain_rader._reading import as_considered, documents_of, unwrap
from rader_plugins.recording import ToolResult, fields_of, read_tool_text, text_of_content

__all__ = ["read_tool_result"]


def read_tool_result(output: Any, searches: bool) -> ToolResult:
    """Return what a tool returned: its message, an update of the state (``Command``), documents, or anything.

    Documents of LangChain, live or printed, are documents whatever the tool is called.

    Args:
        output: What the tool's callback was given.
        searches: Whether the tool is known to search, so that a text that it returns holds documents.
    """
    values = [item for value in unwrap(output) for item in (value if _are_messages(value) else [value])]
    messages = [item for value in values for item in _messages(value)]
    if any(getattr(message, "status", None) == "error" for message in messages):
        return ToolResult(None, _text(messages))
    for value in values:
        if scored_documents := documents_of(value):
            return ToolResult([as_considered(document, score) for document, score in scored_documents], None)
    return read_tool_text(_text(messages) if messages else output, None, searches)


def _are_messages(value: Any) -> bool:
    return (
        isinstance(value, list | tuple) and bool(value) and all(isinstance(message, BaseMessage) for message in value)
    )


def _messages(value: Any) -> list[ToolMessage]:
    if isinstance(value, ToolMessage):
        return [value]
    inner = (fields_of(value) or {}).get("messages")
    return [message for message in inner if isinstance(message, ToolMessage)] if isinstance(inner, list | tuple) else []


def _text(messages: list[ToolMessage]) -> str:
    return "\n\n".join(text for message in messages if (text := text_of_content(message.content)))
