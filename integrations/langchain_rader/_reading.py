"""Reading question, answer and documents out of what runs take and return.

The recorder, ``evaluate`` and ``evaluate_rag`` share it, so that they agree on what an application said and found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, ToolMessage

from rader_plugins.files import canonical_json
from rader_plugins.recording import (
    ANSWER_KEYS,
    DOCUMENT_KEYS,
    QUESTION_KEYS,
    digest_id,
    fields_of,
    finite,
    json_text,
    split_title,
    text_of_content,
)
from rader_plugins.trajectories import Considered

__all__ = [
    "NO_ANSWER",
    "answer_of",
    "as_considered",
    "document_keys",
    "documents_of",
    "every_document",
    "is_command",
    "question_in_state",
    "question_of",
    "unwrap",
]

NO_ANSWER = ""
"""What :func:`answer_of` returns where a state shows that there is none; None where it shows nothing either way."""

Scored = list[tuple[Document, object]]
"""Documents, best first, each with what tells its score, or None."""

_ID_KEYS = ("doc_id", "id", "_id", "document_id")
_SCORE_KEYS = ("relevance_score", "score")  # a reranker's score before that of the stage before it
_DEPTH = 4


def is_command(value: object) -> bool:
    """Whether a value is LangGraph's ``Command``, known by its fields: LangGraph need not be installed."""
    return type(value).__name__ == "Command" and hasattr(value, "update") and hasattr(value, "resume")


def unwrap(value: Any) -> list[Any]:
    """Return what a node or tool put into the state: the updates of ``Command`` objects, other values as they are."""
    if is_command(value):
        update = value.update
        if isinstance(update, Sequence) and not isinstance(update, str) and all(_is_pair(item) for item in update):
            return [dict(update)]
        return [] if update is None else [update]
    if isinstance(value, list | tuple) and any(is_command(item) for item in value):
        return [inner for item in value for inner in unwrap(item)]
    return [value]


def question_of(value: Any) -> str | None:
    """Return the question in the input of a run: a text or message, the last human message, or a field of a state.

    What resumes an interrupted run is the answer to the graph's question, not one of its own.
    """
    if is_command(value):
        return next((text for item in unwrap(value) if (text := question_of(item)) is not None), None)
    if isinstance(value, str):
        return value or None
    if isinstance(value, BaseMessage):
        return text_of_content(value.content) or None
    if hasattr(value, "to_messages"):  # a prompt value
        value = value.to_messages()
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return _last_human(value)
    fields = fields_of(value)
    if fields is None:
        return None
    for key in (*QUESTION_KEYS, "messages"):
        inner = fields.get(key)
        if isinstance(inner, str | BaseMessage | list | tuple) and (text := question_of(inner)) is not None:
            return text
    texts = [field for field in fields.values() if isinstance(field, str) and field]
    return texts[0] if len(texts) == 1 else None


def question_in_state(outputs: Any) -> str | None:
    """Return the question in the state that a graph returned; nothing that might as well be its answer."""
    fields = fields_of(outputs) or {}
    keys = [key for key in (*QUESTION_KEYS, "messages") if key not in ANSWER_KEYS and fields.get(key) is not None]
    return question_of({key: fields[key] for key in keys})


def answer_of(value: Any, keys: Sequence[str] = ANSWER_KEYS, stale: Iterable[str] = ()) -> str | None:
    """Return the answer in the output of a run; :data:`NO_ANSWER` where the output shows that there is none.

    A text or message is the answer. Of a state, the first of ``keys`` that it has: structured output (its own answer
    field, else its JSON), then texts. Of a conversation, the message of the model that ends it; what came before the
    last human message belongs to an earlier question, and a message that calls tools ends nothing.

    Args:
        value: The output of the run.
        keys: Fields that hold an answer.
        stale: Fields of a state that were not written by this run.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, BaseMessage):
        return _said([value])
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        if is_command(value) or not any(_role(item) for item in value):
            return None
        return _said(value)
    if is_command(value):
        return next((text for item in unwrap(value) if (text := answer_of(item, keys)) is not None), None)
    fields = fields_of(value)
    if fields is None:
        return None
    left_out = frozenset(stale)
    for key in keys:
        if key in fields and key not in left_out and fields[key] is not None:
            return _value(fields[key], keys)
    if isinstance(messages := fields.get("messages"), list | tuple):
        return _said(messages)
    if any(key in fields for key in keys):
        return NO_ANSWER
    if not isinstance(value, Mapping):  # a model object that a chain or parser returned
        return None if documents_of(value) else json_text(value)
    passed_on = left_out.union(QUESTION_KEYS)
    texts = [item for key, item in fields.items() if isinstance(item, str) and item and key not in passed_on]
    return texts[0] if len(texts) == 1 else None


def documents_of(value: Any, keys: Sequence[str] = DOCUMENT_KEYS, depth: int = _DEPTH) -> Scored | None:
    """Return the documents that an output reports, None where it reports none (an empty list is a report).

    Looked for are documents, pairs of document and score, fields of a state that hold them (``keys`` first), artifacts
    of tool messages, and updates of ``Command`` objects.
    """
    if isinstance(value, Document):
        return [(value, _own_score(value))]
    if value is None or depth == 0 or isinstance(value, str | bytes):
        return None
    if isinstance(value, BaseMessage):
        return documents_of(getattr(value, "artifact", None), keys, depth - 1)
    if is_command(value):
        return _first([documents_of(item, keys, depth - 1) for item in unwrap(value)])
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return _of_list(value, keys, depth)
    fields = fields_of(value)
    if fields is None:
        return None
    named = [fields[key] for key in keys if key in fields]
    named += [fields["messages"]] if "messages" in fields else []
    reports = [documents_of(item, keys, depth - 1) for item in named if isinstance(item, list | tuple | Mapping)]
    if any(reports):
        return _first(reports)
    others = [
        item for key, item in fields.items() if key not in keys and isinstance(item, list | tuple | Mapping) and item
    ]
    inner = [documents_of(item, keys, depth - 1 if isinstance(item, Mapping) else 1) for item in others]
    return _first([report for report in inner if report]) or _first(reports)


def every_document(value: Any, depth: int = _DEPTH) -> Iterator[Document]:
    """Yield all documents in a state, whatever field they stand in: none of them is found by whoever is given it."""
    if isinstance(value, Document):
        yield value
    elif value is None or depth == 0 or isinstance(value, str | bytes | int | float):
        return
    elif isinstance(value, BaseMessage):
        yield from every_document(getattr(value, "artifact", None), depth - 1)
    elif is_command(value):
        yield from every_document(unwrap(value), depth - 1)
    elif isinstance(value, list | tuple | set | frozenset) and not hasattr(value, "_fields"):
        for item in value:
            yield from every_document(item, depth if isinstance(item, Document) else depth - 1)
    elif (fields := fields_of(value)) is not None:
        for item in fields.values():
            yield from every_document(item, depth - 1)


def document_keys(documents: Iterable[Document]) -> frozenset[tuple[str, str]]:
    """Return what documents can be recognised by after a step passed them on: ids, texts, metadata."""
    keys: set[tuple[str, str]] = set()
    for document in documents:
        keys.add(("text", digest_id(document.page_content)))
        if document.id:
            keys.add(("id", str(document.id)))
        elif document.metadata:
            try:
                keys.add(("metadata", canonical_json(document.metadata)))
            except (TypeError, ValueError):
                continue
    return frozenset(keys)


def as_considered(document: Document, score: object = None) -> Considered:
    """Return a retrieved document as one of a trajectory."""
    metadata = document.metadata
    id = document.id or next((str(metadata[key]) for key in _ID_KEYS if metadata.get(key) not in (None, "")), "")
    number = finite(_own_score(document)) if score is None else finite(score)
    title, text = split_title(document.page_content, metadata.get("title"))
    return Considered(id or digest_id(document.page_content), text, number, title=title)


def _own_score(document: Document) -> object:
    return next((document.metadata[key] for key in _SCORE_KEYS if key in document.metadata), None)


def _first(reports: Sequence[Scored | None]) -> Scored | None:
    return next(
        (report for report in reports if report), next((report for report in reports if report is not None), None)
    )


def _of_list(values: Sequence[Any], keys: Sequence[str], depth: int) -> Scored | None:
    if any(isinstance(item, BaseMessage) for item in values):
        question_index = max((index for index, item in enumerate(values) if _role(item) == "human"), default=0)
        reports = [
            documents_of(item, keys, depth - 1) for item in values[question_index:] if isinstance(item, ToolMessage)
        ]
        if all(report is None for report in reports):
            return None if reports else []
        return [item for report in reports if report is not None for item in report]
    documents: Scored = []
    for item in values:
        document, score = item if isinstance(item, tuple) and len(item) == 2 else (item, None)
        if not isinstance(document, Document):
            return None
        documents.append((document, _own_score(document) if score is None else score))
    return documents


def _value(value: Any, keys: Sequence[str]) -> str | None:
    """Return the answer that a field holds: a text, a message, a structure with an answer of its own, else its JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, BaseMessage) or (isinstance(value, list | tuple) and any(_role(message) for message in value)):
        return answer_of(value)
    fields = fields_of(value)
    if fields is not None and "messages" in fields:
        return answer_of(value, keys) or NO_ANSWER
    for key in keys if fields is not None else ():
        if fields is not None and isinstance(inner := fields.get(key), str) and inner:
            return inner
    return NO_ANSWER if documents_of(value) else json_text(value) or NO_ANSWER


def _said(messages: Sequence[Any]) -> str:
    """Return what ends a conversation, if the model said it after the last human message; else that there is none."""
    last = messages[-1] if messages else None
    if _role(last) != "ai" or getattr(last, "tool_calls", None):
        return NO_ANSWER
    return _content(last) or NO_ANSWER


def _last_human(messages: Sequence[Any]) -> str | None:
    humans = (_content(message) for message in reversed(messages) if _role(message) == "human")
    return next((text for text in humans if text), None)


def _role(message: Any) -> str:
    """Return ``human``, ``ai`` or ``other`` for a message, also in its short forms; empty for what is none."""
    name: object = ""
    if isinstance(message, HumanMessage):  # what LangChain puts there itself, such as a summary, has its source
        return "other" if message.additional_kwargs.get("lc_source") else "human"
    if isinstance(message, AIMessage):
        return "ai"
    if isinstance(message, ChatMessage):
        name = message.role
    elif isinstance(message, BaseMessage):
        return "other"
    elif isinstance(message, Mapping) and "content" in message:
        name = message.get("role") or message.get("type")
    elif isinstance(message, tuple) and _is_pair(message) and isinstance(message[1], str | list):
        name = message[0]
    if name in ("human", "user"):
        return "human"
    if name in ("ai", "assistant"):
        return "ai"
    return "other" if name else ""


def _content(message: Any) -> str:
    if isinstance(message, BaseMessage):
        return text_of_content(message.content)
    return text_of_content(message["content"] if isinstance(message, Mapping) else message[1])


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str)
