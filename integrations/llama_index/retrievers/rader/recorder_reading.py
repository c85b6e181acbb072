"""Reading question, answer and nodes out of what LlamaIndex's calls take and return.

The recorder, ``evaluate`` and ``evaluate_rag`` share it, so that they agree on what an application said and found.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, MessageRole
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore
from llama_index.core.tools.types import ToolOutput
from llama_index.core.workflow import Event, StopEvent
from llama_index.postprocessor.rader.tool_text import asked_text

from rader_plugins.recording import (
    ANSWER_KEYS,
    DOCUMENT_KEYS,
    QUESTION_KEYS,
    ToolResult,
    fields_of,
    finite,
    json_text,
    read_tool_text,
    text_of_content,
)
from rader_plugins.trajectories import Considered

__all__ = [
    "answer_of",
    "arguments_of",
    "calls_tools",
    "considered",
    "is_nodes",
    "method_of",
    "node_ids",
    "nodes_of",
    "question_of",
    "read_tool_result",
]

_QUESTION_ARGUMENTS = ("str_or_query_bundle", "query_bundle", "query", "query_str", "message", "user_msg", "input")
_EVENTS = ("start_event", "ev", "event")
_DEPTH = 4


def method_of(span_id: str) -> str:
    """Return the method of a span, whose id is ``Class.method-uuid``."""
    return span_id.split("-", 1)[0].rpartition(".")[2]


def arguments_of(bound: inspect.BoundArguments) -> dict[str, Any]:
    """Return the arguments of a tool's call by name."""
    arguments: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        if name == "kwargs" and isinstance(value, Mapping):
            arguments |= value
        elif name == "args" and isinstance(value, tuple):
            arguments |= {f"input{number or ''}": argument for number, argument in enumerate(value)}
        elif name != "self":
            arguments[name] = value
    return arguments


def question_of(arguments: Mapping[str, Any]) -> str | None:
    """Return the query or message among the arguments of a call, or in the event that starts a workflow or step."""
    arguments = {**arguments, **(arguments.get("kwargs") or {})}
    for name in _QUESTION_ARGUMENTS:
        if text := _question(arguments.get(name)):
            return text
    for name in _EVENTS:
        fields = _fields(arguments.get(name)) or {}
        for key in (*_QUESTION_ARGUMENTS, *QUESTION_KEYS, "messages", "chat_history"):
            if text := _question(fields.get(key)):
                return text
        texts = [value for value in fields.values() if isinstance(value, str) and value]
        if len(texts) == 1:
            return texts[0]
    return None


def answer_of(result: Any) -> str | None:
    """Return the answer in what a call returned; ``""`` where it shows that there is none, None where it shows nothing.

    Structured output comes first (its own answer field, else its JSON), then the text of a response or message; of a
    dict, model or event, the first of the fields that hold answers.
    """
    if isinstance(result, StopEvent) and type(result) is StopEvent:
        result = result.result
    if isinstance(result, str):
        return result
    if result is None or is_nodes(result):
        return None
    if isinstance(result, ChatMessage | ChatResponse):
        message = result if isinstance(result, ChatMessage) else result.message
        return "" if calls_tools(message) else message.content or ""
    if isinstance(result, CompletionResponse):
        return result.text
    if isinstance(result, list | tuple) and result and all(isinstance(turn, ChatMessage) for turn in result):
        return answer_of(result[-1]) if result[-1].role == MessageRole.ASSISTANT else ""
    return _of_state(result)


def nodes_of(value: Any, depth: int = _DEPTH, *, scored: bool = False) -> list[NodeWithScore] | None:
    """Return the nodes that a result reports, None where it reports none (an empty list is a report).

    Args:
        value: Nodes, a response with ``source_nodes``, an event, dict or model with a field that holds nodes, or the
            output of a tool.
        depth: How deep to look.
        scored: Whether only nodes with a score object count: others may be about to be indexed.
    """
    if isinstance(value, NodeWithScore):
        return [value]
    if value is None or depth == 0 or isinstance(value, str | bytes):
        return None
    if isinstance(value, BaseNode):
        return None if scored else [NodeWithScore(node=value)]
    if isinstance(value, ToolOutput):
        return nodes_of(value.raw_output, depth - 1, scored=scored)
    if type(value) is StopEvent:
        return nodes_of(value.result, depth - 1, scored=scored)
    if isinstance(value, list | tuple) and value and all(hasattr(item, "tool_output") for item in value):
        outputs = [nodes_of(item.tool_output, depth - 1, scored=scored) for item in value]
        return [node for item in outputs for node in item or ()] if any(outputs) else None
    if isinstance(value, list | tuple):
        node_lists = [nodes_of(item, 1, scored=scored) for item in value]
        return (
            None if any(item is None for item in node_lists) else [node for item in node_lists for node in item or ()]
        )
    fields = _fields(value)
    if fields is None:
        source = getattr(value, "source_nodes", None)
        return nodes_of(source, depth - 1, scored=scored) if isinstance(source, list) else None
    keys = [*(key for key in DOCUMENT_KEYS if key in fields), *(key for key in fields if key not in DOCUMENT_KEYS)]
    reports = [
        report
        for key in keys
        if isinstance(fields[key], list | tuple) and (fields[key] or key in DOCUMENT_KEYS)
        if (report := nodes_of(fields[key], depth - 1, scored=scored)) is not None
    ]
    if not any(reports):
        inner = [nodes_of(fields[key], depth - 1, scored=scored) for key in keys if _is_container(fields[key])]
        reports += [report for report in inner if report is not None]
    return next((report for report in reports if report), reports[0] if reports else None)


def read_tool_result(output: Any, searches: bool) -> ToolResult:
    """Return what a tool returned: nodes, live or printed, are documents whatever the tool is called.

    Args:
        output: What the tool's call returned.
        searches: Whether the tool is known to search, so that a text that it returns holds documents.
    """
    raw = output.raw_output if isinstance(output, ToolOutput) else output
    if isinstance(output, ToolOutput) and output.is_error:
        return ToolResult(None, output.content)
    if nodes := nodes_of(raw):
        return ToolResult([considered(node) for node in nodes], None)
    text = output.content if isinstance(output, ToolOutput) else None
    response = answer_of(raw) if hasattr(raw, "response") else None
    return read_tool_text(response or (text if isinstance(raw, str) or raw is None else raw), text, searches)


def is_nodes(result: Any) -> TypeGuard[list[NodeWithScore]]:
    """Whether a result is a list of scored nodes."""
    return isinstance(result, list) and all(isinstance(node, NodeWithScore) for node in result)


def considered(scored: NodeWithScore) -> Considered:
    """Return a retrieved node as a document of a trajectory."""
    node = scored.node
    return Considered(node.node_id, node.get_content(metadata_mode=MetadataMode.NONE), finite(scored.score))


def calls_tools(message: Any) -> bool:
    """Whether a message of a model comes with calls of tools, so that it ends nothing."""
    blocks = getattr(message, "blocks", None) or ()
    return any(getattr(block, "block_type", "") == "tool_call" for block in blocks) or bool(
        (getattr(message, "additional_kwargs", None) or {}).get("tool_calls")
    )


def _fields(value: Any) -> Mapping[str, Any] | None:
    fields = fields_of(value)
    if fields is not None and isinstance(value, Event):
        return {**fields, **dict(value.items())}
    return fields


def _question(value: Any) -> str | None:
    if isinstance(value, list | tuple):
        users = [message for message in value if isinstance(message, ChatMessage) and message.role == MessageRole.USER]
        value = users[-1] if users else None
    text = getattr(value, "query_str", None) or getattr(value, "content", None) or value
    return asked_text(text) if isinstance(text, str) and text else None


def _of_state(result: Any) -> str | None:
    fields = _fields(result)
    if fields is None:  # a response of some kind
        response = getattr(result, "response", None) or getattr(result, "text", None)
        return _value(response) if response is not None else None
    for key in ANSWER_KEYS:
        if fields.get(key) is not None:
            return _value(fields[key])
    for key in ("message", "messages", "chat_history"):
        if fields.get(key) is not None:
            return answer_of(fields[key])
    if any(key in fields for key in ANSWER_KEYS):
        return ""
    if not isinstance(result, Mapping) and not isinstance(result, Event):
        return None if nodes_of(result) else json_text(result)
    texts = [text for key, text in fields.items() if isinstance(text, str) and text and key not in QUESTION_KEYS]
    return texts[0] if len(texts) == 1 else None


def _value(value: Any) -> str:
    """Return the answer that a field holds: a text, a message, a structure with an answer of its own, else its JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, ChatMessage | ChatResponse) or hasattr(value, "source_nodes"):
        return answer_of(value) or ""
    fields = _fields(value)
    for key in ANSWER_KEYS if fields is not None else ():
        if fields is not None and isinstance(inner := fields.get(key), str) and inner:
            return inner
    if isinstance(value, list) and (text := text_of_content(value)):
        return text
    return "" if nodes_of(value) else json_text(value) or ""


def _is_container(value: Any) -> bool:
    return isinstance(value, Mapping | ToolOutput) or hasattr(value, "source_nodes")


def node_ids(values: Sequence[Any]) -> frozenset[str]:
    """Return the ids of the nodes in some values."""
    return frozenset(scored.node.node_id for value in values for scored in nodes_of(value) or ())
