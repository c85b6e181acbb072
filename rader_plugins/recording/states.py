"""Fields of what applications pass around: dicts, pydantic models, dataclasses, named tuples."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from datetime import date, time
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

__all__ = ["ANSWER_KEYS", "DOCUMENT_KEYS", "QUESTION_KEYS", "fields_of", "json_text"]

QUESTION_KEYS = ("question", "query", "user_query", "user_input", "input", "prompt", "text", "user_msg", "message")
"""Fields that hold a question, the most telling first."""
ANSWER_KEYS = (
    *("structured_response", "answer", "final_answer", "output", "result"),
    *("response", "generation", "final_response", "text"),
)
"""Fields that hold an answer, the most telling first."""
DOCUMENT_KEYS = (
    *("context", "source_documents", "documents", "contexts", "docs", "retrieved_documents", "retrieved_docs"),
    *("source_nodes", "nodes", "sources", "passages", "chunks"),
)
"""Fields that hold retrieved documents, the most telling first."""


def fields_of(value: object) -> Mapping[str, Any] | None:
    """Return the fields of a state object by name, without copying their values; None for what has none.

    Understood are mappings with textual keys, pydantic models (of both versions), dataclasses and named tuples.

    Example:
        >>> fields_of({"answer": "six"}), fields_of("six")
        ({'answer': 'six'}, None)
    """
    if isinstance(value, Mapping):
        return value
    if isinstance(value, type):
        return None
    names: Iterable[str]
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
    elif (declared := _declared(value)) is not None:
        names = declared
    else:
        return None
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def _declared(value: object) -> list[str] | None:
    """Return the names of the fields of a pydantic model (of either version) or a named tuple."""
    for attribute in ("model_fields", "__fields__"):
        if isinstance(fields := getattr(type(value), attribute, None), Mapping):
            return [*fields, *(getattr(value, "model_extra", None) or ())]
    fields = getattr(value, "_fields", None)
    return list(fields) if isinstance(value, tuple) and isinstance(fields, tuple) else None


def json_text(value: object) -> str | None:
    """Return a text as it is, and data (numbers, lists, dicts, state objects) as JSON; None if something in it is none.

    No object is ever printed: a text like ``Thing(...)`` or ``<object at 0x7f>`` says nothing that could be learnt.
    """
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_data)
    except (TypeError, ValueError, RecursionError):
        return None


def _data(value: object) -> Any:
    if isinstance(value, date | time | Decimal | UUID | PurePath):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    fields = fields_of(value)
    if fields is None:
        raise TypeError(f"{type(value).__name__} is not data")
    return dict(fields)
