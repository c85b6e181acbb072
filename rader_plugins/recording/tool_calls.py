"""What a tool was given and what it returned: documents, a text, or something that is left out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rader_plugins.recording.printed import is_printed
from rader_plugins.recording.results import read_documents
from rader_plugins.recording.states import json_text
from rader_plugins.trajectories import Considered

__all__ = ["ToolResult", "describe_call", "read_tool_text"]

_PRINTED_DOCUMENTS = ("Document(", "page_content=", "NodeWithScore(", "TextNode(")


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


def read_tool_text(value: Any, text: str | None, searches: bool) -> ToolResult:
    """Return what a tool returned that holds no documents of its framework.

    Args:
        value: The value that the tool returned.
        text: What the model was told of it; None if that is the value itself.
        searches: Whether the tool is known to search. The printed documents of a framework show that it does.
    """
    form = json_text(value)
    if form is not None and is_printed(form) and form.lstrip("[({ ").startswith(_PRINTED_DOCUMENTS):
        searches = True
    if searches:
        documents = read_documents(value)
        if documents is None and text is not None and text != value:
            documents = read_documents(text)
        if documents is None and form is not None and not form.strip():
            documents = []
        return ToolResult(documents, None, unread=int(documents is None))
    form = text if form is None else form
    return ToolResult(None, None, unread=1) if form is None or is_printed(form) else ToolResult(None, form)


def describe_call(name: str, arguments: Mapping[str, Any] | None, text: str = "") -> tuple[str, int]:
    """Return a call of a tool as text, and how many arguments were left out because no text stands for them.

    Args:
        name: Name of the tool.
        arguments: Arguments by name; None if the tool got a text.
        text: The text that the tool got.

    Example:
        >>> describe_call("calculator", {"expression": "6*7", "state": object()})
        ('calculator({"expression": "6*7"})', 1)
    """
    if arguments is None:
        return (f"{name}()", 1) if is_printed(text) else (f"{name}({text})", 0)
    texts = {
        key: json.dumps(value, ensure_ascii=False) if isinstance(value, str) else json_text(value)
        for key, value in arguments.items()
    }
    readable = [f"{json.dumps(key, ensure_ascii=False)}: {form}" for key, form in texts.items() if form is not None]
    return f"{name}({{{', '.join(readable)}}})", len(arguments) - len(readable)
