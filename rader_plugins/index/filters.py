"""Metadata filters: a dict in the manner of MongoDB, evaluated on the index's own tables before any ranking.

``{"year": {"$gte": 2000}, "field": {"$in": ["logic", "algebra"]}, "$not": {"draft": True}}``

- A bare value means ``$eq``; several keys, and several operators of one key, must all hold.
- Nested objects are reached with dots (``"author.name"``). Lists compare as a whole.
- ``$ne``, ``$nin`` and ``$not`` also hold where the key is missing. ``{"key": None}``
  holds where it is null or missing.
- Numbers compare with numbers (1 equals 1.0), strings with strings by code point; True and 1 differ.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from rader_plugins.documents import Document
from rader_plugins.errors import InputError
from rader_plugins.files import canonical_json

__all__ = [
    "BOOLEAN",
    "JSON",
    "NULL",
    "NUMBER",
    "TEXT",
    "Filter",
    "FieldTable",
    "filter_mask",
    "flatten",
    "typed",
]

Filter: TypeAlias = "Mapping[str, Any] | Callable[[Document], bool]"
"""A dict of conditions, or a function from document to bool."""

Mask: TypeAlias = "npt.NDArray[np.bool_]"

NULL, BOOLEAN, NUMBER, TEXT, JSON = range(5)
_COMPARISONS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_OPERATORS = ("$eq", "$ne", "$in", "$nin", *_COMPARISONS, "$exists")


class FieldTable(Protocol):
    """What a filter needs of the index: rows by field."""

    def field_rows(self, key: str, condition: str, arguments: Sequence[Any]) -> npt.NDArray[np.int64]:
        """Return the rows that have ``key`` and meet an SQL ``condition`` over ``type`` and ``value``."""


def typed(value: object) -> tuple[int, Any]:
    """Return type tag and SQLite value of one metadata value."""
    if value is None:
        return NULL, 0
    if isinstance(value, bool):
        return BOOLEAN, int(value)
    if isinstance(value, int | float):
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"A filter cannot compare with {value}.")
        # SQLite keeps integers of 64 bits; larger ones are compared as floating-point numbers.
        return NUMBER, value if isinstance(value, float) or -(2**63) <= value < 2**63 else float(value)
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise InputError(f"The filter value {value!r} holds a lone surrogate, which no document can.") from None
        return TEXT, value
    try:
        return JSON, canonical_json(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"A filter compares JSON values, not {type(value).__name__} ({error}).") from None


def flatten(metadata: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[int, Any]]:
    """Return dotted key -> typed value for every value of a metadata object, nested objects included."""
    fields: dict[str, tuple[int, Any]] = {}
    for key, value in metadata.items():
        fields[prefix + key] = typed(value)
        if isinstance(value, Mapping):
            fields.update(flatten(value, f"{prefix}{key}."))
    return fields


def filter_mask(condition: Mapping[str, Any], fields: FieldTable, alive: Mask) -> Mask:
    """Evaluate a dict filter.

    Args:
        condition: The filter.
        fields: Where rows are looked up.
        alive: Which rows hold a document, shape (rows,).

    Returns:
        Boolean array of shape (rows,), a subset of ``alive``.

    Raises:
        InputError: An unknown operator or an unusable value; the message lists the operators.
    """
    if not isinstance(condition, Mapping):
        raise InputError(f"A filter is a dict or a function, not {type(condition).__name__}.")
    mask: Mask = alive.copy()
    for key, value in condition.items():
        if key in ("$and", "$or"):
            if not isinstance(value, Sequence) or isinstance(value, str) or not value:
                raise InputError(f"{key} takes a non-empty list of filters, not {value!r}.")
            parts: list[Mask] = [filter_mask(part, fields, alive) for part in value]
            mask &= np.logical_and.reduce(parts) if key == "$and" else np.logical_or.reduce(parts)
        elif key == "$not":
            mask &= ~filter_mask(value, fields, alive)
        elif not isinstance(key, str) or key.startswith("$"):
            raise InputError(f"Unknown filter operator {key!r}; at this level: $and, $or, $not or a metadata key.")
        else:
            mask &= _field_mask(key, value, fields, alive)
    return mask


def _field_mask(key: str, value: Any, fields: FieldTable, alive: Mask) -> Mask:
    if not (isinstance(value, Mapping) and any(str(name).startswith("$") for name in value)):
        value = {"$eq": value}
    mask: Mask = alive.copy()
    for operator, operand in value.items():
        if operator not in _OPERATORS:
            raise InputError(f"Unknown filter operator {operator!r} for {key!r}; known: {', '.join(_OPERATORS)}.")
        if operator in ("$in", "$nin"):
            if not isinstance(operand, Sequence | set | frozenset) or isinstance(operand, str):
                raise InputError(f"{operator} for {key!r} takes a list of values, not {operand!r}.")
            found = np.zeros_like(alive)
            for choice in operand:
                found |= _equal(key, choice, fields, alive)
            mask &= found if operator == "$in" else ~found
        elif operator in ("$eq", "$ne"):
            found = _equal(key, operand, fields, alive)
            mask &= found if operator == "$eq" else ~found
        elif operator == "$exists":
            if not isinstance(operand, bool):
                raise InputError(f"$exists for {key!r} takes true or false, not {json.dumps(operand, default=str)}.")
            found = _rows(fields.field_rows(key, "1", ()), alive)
            mask &= found if operand else ~found
        else:
            kind, plain = typed(operand)
            if kind not in (NUMBER, TEXT):
                raise InputError(f"{operator} for {key!r} compares numbers or strings, not {operand!r}.")
            condition = f"type = ? AND value {_COMPARISONS[operator]} ?"
            mask &= _rows(fields.field_rows(key, condition, (kind, plain)), alive)
    return mask


def _equal(key: str, value: Any, fields: FieldTable, alive: Mask) -> Mask:
    found: Mask = _rows(fields.field_rows(key, "type = ? AND value = ?", typed(value)), alive)
    if value is None:
        found |= ~_rows(fields.field_rows(key, "1", ()), alive)
    return found


def _rows(rows: npt.NDArray[np.int64], alive: Mask) -> Mask:
    mask: Mask = np.zeros_like(alive)
    mask[rows[rows < len(mask)]] = True  # rows beyond the end were committed after this view was taken
    mask &= alive
    return mask
