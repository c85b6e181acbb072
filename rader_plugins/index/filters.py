r"""Metadata filters: a dict in the manner of MongoDB, checked and turned into a tree that an engine evaluates.

``{"year": {"$gte": 2000}, "field": {"$in": ["logic", "algebra"]}, "tags": {"$all": ["proof"]}}``

- A bare value means ``$eq``; several keys, and several operators of one key, must all hold.
- Where a field holds a list, a condition holds if it does so for one of its elements; a list as operand is compared
  with the field as a whole. ``$contains`` looks at elements alone, ``$all`` wants each of some values, ``$size`` a
  length.
- Nested objects, also those in lists, are reached with dots (``"author.name"``). A key that has dots itself is
  written ``"author\.name"``, or as it is where no document has such a nesting.
- ``$ne``, ``$nin`` and ``$not`` also hold where the key is missing; ``{"key": None}`` where it is null or missing.
- Numbers compare with numbers (1 equals 1.0), strings with strings by code point; True and 1 differ. A ``datetime`` or
  ``date`` compares as a moment with strings in ISO 8601; without a zone it is UTC. Other values of Python compare in
  the form in which they are stored (:func:`rader_plugins.documents.json_form`).
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, Union

from rader_plugins.documents import Document, json_form
from rader_plugins.errors import InputError
from rader_plugins.files import canonical_json

__all__ = [
    "KINDS", "AllOf", "AnyOf", "Comparison", "Filter", "Kind", "Node", "Not", "instant", "kind_of", "parse_filter",
    "path_of",
    "check_deletion",
]  # fmt: skip

Filter: TypeAlias = "Mapping[str, Any] | Callable[[Document], bool]"
"""A dict of conditions, or a function from document to bool."""

Kind = Literal["null", "boolean", "number", "string", "array", "object", "date"]
KINDS: tuple[str, ...] = ("null", "boolean", "number", "string", "array", "object")
"""What ``$type`` asks for; a ``date`` is an operand only, since it is stored as a string."""

_ONE = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$contains", "$exists", "$size", "$type")
_MANY = ("$in", "$nin", "$all")
_OPERATORS = (*_ONE[:6], *_MANY, *_ONE[6:], "$not")
_DOT = re.compile(r"(?<!\\)\.")


@dataclass(frozen=True)
class Comparison:
    """One condition on one field.

    Attributes:
        key: The field as it was written; :func:`path_of` says what it reaches.
        operator: One of ``$eq $ne $in $nin $gt $gte $lt $lte $contains $all $size $exists $type``.
        operands: JSON values, or a ``datetime`` with a zone; one, but for ``$in``, ``$nin`` and ``$all``.
    """

    key: str
    operator: str
    operands: tuple[Any, ...]


@dataclass(frozen=True)
class AllOf:
    """All parts must hold."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class AnyOf:
    """One of the parts must hold."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Not:
    """The part must not hold."""

    part: Node


Node = Union[Comparison, AllOf, AnyOf, Not]  # noqa: UP007 - the names are not known yet where they are used


def parse_filter(condition: object) -> Node:
    """Check a dict filter and return its tree.

    Raises:
        InputError: An unknown operator or an unusable value; the message lists the operators.
    """
    if not isinstance(condition, Mapping):
        raise InputError(f"A filter is a dict or a function, not {type(condition).__name__}.")
    try:
        return AllOf(tuple(_parts(condition)))
    except RecursionError:
        raise InputError("The filter is nested too deeply.") from None


def _parts(condition: Mapping[Any, Any]) -> Iterator[Node]:
    for key, value in condition.items():
        if key in ("$and", "$or"):
            if not isinstance(value, Sequence) or isinstance(value, str) or not value:
                raise InputError(f"{key} takes a non-empty list of filters, not {value!r}.")
            parts = tuple(parse_filter(part) for part in value)
            yield AllOf(parts) if key == "$and" else AnyOf(parts)
        elif key == "$not":
            yield Not(parse_filter(value))
        elif not isinstance(key, str) or key.startswith("$"):
            raise InputError(f"Unknown filter operator {key!r}; at this level: $and, $or, $not or a metadata key.")
        else:
            yield from _field(key, value)


def _field(key: str, value: Any) -> Iterator[Node]:
    if not (isinstance(value, Mapping) and any(str(name).startswith("$") for name in value)):
        value = {"$eq": value}
    for operator, operand in value.items():
        if operator not in _OPERATORS:
            raise InputError(f"Unknown filter operator {operator!r} for {key!r}; known: {', '.join(_OPERATORS)}.")
        if operator == "$not":
            yield Not(AllOf(tuple(_field(key, operand))))
            continue
        if operator in _MANY:
            if not isinstance(operand, Sequence | set | frozenset) or isinstance(operand, str | bytes):
                raise InputError(f"{operator} for {key!r} takes a list of values, not {operand!r}.")
            yield Comparison(key, operator, tuple(_operand(key, choice) for choice in operand))
            continue
        _check_operand(key, operator, operand)
        yield Comparison(key, operator, (_operand(key, operand),))


def _check_operand(key: str, operator: str, operand: object) -> None:
    if operator == "$exists" and not isinstance(operand, bool):
        raise InputError(f"$exists for {key!r} takes true or false, not {operand!r}.")
    if operator == "$size" and (not isinstance(operand, int) or isinstance(operand, bool) or operand < 0):
        raise InputError(f"$size for {key!r} takes a whole number of at least 0, not {operand!r}.")
    if operator == "$type" and operand not in KINDS:
        raise InputError(f"$type for {key!r} takes one of {', '.join(KINDS)}, not {operand!r}.")
    if operator in ("$gt", "$gte", "$lt", "$lte"):
        kind = kind_of(_operand(key, operand))
        if kind not in ("number", "string", "date"):
            raise InputError(f"{operator} for {key!r} compares numbers, strings or dates, not {operand!r}.")


def _operand(key: str, value: object) -> Any:
    if isinstance(value, datetime.date):
        return instant(value)
    try:
        plain = json_form(value)
        canonical_json(plain).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"The filter for {key!r} compares with a value that no document can hold: {error}.") from None
    return plain


def kind_of(value: object) -> Kind:
    """Return the kind of a JSON value or of an operand."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    if isinstance(value, datetime.datetime):
        return "date"
    return "object" if isinstance(value, Mapping) else "array"


def instant(value: datetime.date | str) -> datetime.datetime | None:
    """Return the moment that a date, or a string in ISO 8601, stands for; None for another string.

    Without a time it is midnight, without a zone UTC.
    """
    if isinstance(value, str):
        if not value[:4].isdigit() or value[4:5] != "-":
            return None
        try:
            value = datetime.datetime.fromisoformat(re.sub("[zZ]$", "+00:00", value))
        except ValueError:
            return None
    if not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day)  # noqa: DTZ001 - gets its zone below
    return value if value.tzinfo is not None else value.replace(tzinfo=datetime.timezone.utc)


def path_of(key: str) -> tuple[str, ...]:
    r"""Return the names that lead to a field.

    Example:
        >>> path_of("author.name"), path_of(r"author\.name")
        (('author', 'name'), ('author.name',))
    """
    return tuple(part.replace("\\.", ".") for part in _DOT.split(key))


def check_deletion(ids: Iterable[str] | None, filter: Filter | None) -> None:
    """Refuse a deletion that would take everything for want of a condition.

    Raises:
        InputError: Neither ids nor a filter are given, or an empty filter alone.
    """
    if ids is None and filter is None:
        raise InputError("delete() needs ids, a filter or both; delete(index.ids()) empties the index.")
    if ids is None and isinstance(filter, Mapping) and not filter:
        raise InputError("An empty filter would delete everything; delete(index.ids()) does that.")
