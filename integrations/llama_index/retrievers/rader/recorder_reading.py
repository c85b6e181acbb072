"""Reading what LlamaIndex's spans hold: arguments, questions, answers, documents."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, TypeGuard

from llama_index.core.schema import MetadataMode, NodeWithScore
from llama_index.core.workflow import StopEvent

from rader_plugins.recording import finite, text_of_content
from rader_plugins.trajectories import Considered

__all__ = ["answer_of", "arguments_of", "considered", "is_nodes", "method_of", "named", "question_of"]

_QUESTION_ARGUMENTS = ("str_or_query_bundle", "query_bundle", "query", "query_str", "message", "user_msg", "input")


def method_of(span_id: str) -> str:
    """Return the method of a span, whose id is ``Class.method-uuid``."""
    return span_id.split("-", 1)[0].rpartition(".")[2]


def arguments_of(bound: inspect.BoundArguments) -> dict[str, Any]:
    """Return the arguments of a tool's call by name."""
    found: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        if name == "kwargs" and isinstance(value, Mapping):
            found |= value
        elif name == "args" and isinstance(value, tuple):
            found |= {f"input{at or ''}": one for at, one in enumerate(value)}
        elif name != "self":
            found[name] = value
    return found


def question_of(arguments: Mapping[str, Any]) -> str | None:
    """Return the query or message among the arguments of a call, or in the event that starts a workflow."""
    given = {**arguments, **(arguments.get("kwargs") or {})}
    start = given.get("start_event")
    for name in _QUESTION_ARGUMENTS:
        value = given.get(name)
        if value is None and start is not None:
            value = getattr(start, name, None)
        text = getattr(value, "query_str", None) or getattr(value, "content", None) or value
        if isinstance(text, str) and text:
            return text
    return None


def answer_of(result: Any) -> str | None:
    """Return the text of a response; None if there is none."""
    if isinstance(result, StopEvent):
        result = result.result
    if isinstance(result, str):
        return result or None
    if is_nodes(result):
        return None
    response = getattr(result, "response", None)
    if response is None:
        response = getattr(result, "message", None) or getattr(result, "text", None)
    content = getattr(response, "content", response)
    text = content if isinstance(content, str) else text_of_content(content)
    return text or None


def is_nodes(result: Any) -> TypeGuard[list[NodeWithScore]]:
    """Whether a result is a list of scored nodes."""
    return isinstance(result, list) and all(isinstance(one, NodeWithScore) for one in result)


def considered(scored: NodeWithScore) -> Considered:
    """Return a retrieved node as a document of a trajectory."""
    node = scored.node
    return Considered(node.node_id, node.get_content(metadata_mode=MetadataMode.NONE), finite(scored.score))


def named(error: BaseException) -> str:
    """Return an error in a line."""
    return f"{type(error).__name__}: {error}"[:500]
