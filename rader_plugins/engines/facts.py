"""Facts about metadata: what a store keeps of a document so that the whole filter dialect becomes look-ups.

A store knows sets of keywords and numbers that can be compared; the dialect of :mod:`rader_plugins.index.filters` knows
lists, nested objects, kinds, moments and missing keys. So each document gets, beside its metadata,

- **tokens**, one for every claim that an equality, ``$contains``, ``$size``, ``$type`` or ``$exists`` may ask for;
- **bounds**, the least and the greatest number, string and moment that each path reaches. A range holds if it does so
  for one of the values: one of them is greater than c if the greatest is.

:func:`translate` turns a filter into conditions on these two, with every negation resolved, since stores differ in what
"not" means where a field is missing. An engine says how it writes :class:`Has` and :class:`Bound`.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any, Literal, TypeAlias

from rader_plugins.errors import InputError
from rader_plugins.files import canonical_json
from rader_plugins.index.filters import AllOf, AnyOf, Comparison, Node, Not, instant, kind_of, path_of

__all__ = [
    "ALWAYS", "NEVER", "Bound", "BoundKind", "Condition", "Conjunction", "Disjunction", "Facts", "Has", "bound_name",
    "facts_of", "presence", "split", "translate",
]  # fmt: skip

BoundKind = Literal["number", "string", "date"]
Path = tuple[str, ...]

_LONGEST = 96  # bytes of a token that is kept as it reads; longer ones are digests
_INEXACT = 2**53  # from here on a float stands for several whole numbers
_PREFIX = 256  # characters of a string that count for its order
_SEVERAL = 2  # tokens that an engine looks for at once
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_FLIPPED = {"$gt": "$lte", "$gte": "$lt", "$lt": "$gte", "$lte": "$gt"}


@dataclass(frozen=True)
class Facts:
    """What is kept of one document's metadata.

    Attributes:
        tokens: The claims of the document, each at most 96 bytes long, in ascending order.
        bounds: Name of a path (:func:`bound_name`) -> kind -> least and greatest value: floats, strings of at most 257
            characters, or microseconds since 1970.
    """

    tokens: list[str]
    bounds: dict[str, dict[BoundKind, tuple[Any, Any]]]


@dataclass(frozen=True)
class Has:
    """Whether a document has a token; ``holds=False`` asks for those that lack it."""

    token: str
    holds: bool = True


@dataclass(frozen=True)
class Bound:
    """Whether the greatest (``$gt``, ``$gte``) or least (``$lt``, ``$lte``) value of a path compares so.

    Attributes:
        name: What :attr:`Facts.bounds` calls the path.
        kind: Kind of the values.
        end: Which of the two is compared.
        operator: ``$gt``, ``$gte``, ``$lt`` or ``$lte``.
        operand: A float, a string, or microseconds since 1970.
    """

    name: str
    kind: BoundKind
    end: Literal["least", "greatest"]
    operator: str
    operand: Any


@dataclass(frozen=True)
class Conjunction:
    """All parts must hold; without parts it always does."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Disjunction:
    """One of the parts must hold; without parts it never does."""

    parts: tuple[Condition, ...]


Condition: TypeAlias = "Has | Bound | Conjunction | Disjunction"
ALWAYS, NEVER = Conjunction(()), Disjunction(())


def facts_of(metadata: Mapping[str, Any]) -> Facts:
    """Return the facts about a document's metadata (JSON, as it is stored)."""
    tokens: set[str] = set()
    ranges: dict[Path, dict[BoundKind, list[Any]]] = {}
    for path, value in _reached(metadata, ()):
        tokens.add(presence(path))
        tokens.add(_token(":", path, kind_of(value)))
        if isinstance(value, list):
            tokens.add(_token("#", path, len(value)))
        for claim in (value, *value) if isinstance(value, list) else (value,):
            tokens.add(_equality(path, claim))
            if claim is not value:
                tokens.add(_equality(path, claim, "@"))
            for kind, point in _points(claim):
                tokens.add(_token("<", path, kind))
                ranges.setdefault(path, {}).setdefault(kind, []).append(point)
            if isinstance(claim, str) and (moment := instant(claim)) is not None:
                tokens.add(_token("d", path, _micros(moment)))
                if claim is not value:
                    tokens.add(_token("D", path, _micros(moment)))
    bounds = {
        bound_name(path): {kind: (min(points), max(points)) for kind, points in kinds.items()}
        for path, kinds in ranges.items()
    }
    return Facts(sorted(tokens), bounds)


def translate(node: Node) -> Condition:
    """Turn a filter into a condition on tokens and bounds.

    Args:
        node: A filter in which every key leads where :func:`~rader_plugins.index.filters.path_of` says.

    Raises:
        InputError: It compares the order of strings longer than 256 characters, or of whole numbers from 2**53 on.
    """
    return _condition(node, holds=True)


def split(condition: Conjunction | Disjunction) -> tuple[list[str], list[Condition]]:
    """Return the tokens of which a row must have one (a disjunction) or none (a conjunction), and all other parts.

    A single token stays among the others.
    """
    holds = isinstance(condition, Disjunction)
    tokens = [part.token for part in condition.parts if isinstance(part, Has) and part.holds == holds]
    if len(tokens) < _SEVERAL:
        return [], list(condition.parts)
    return tokens, [part for part in condition.parts if not (isinstance(part, Has) and part.holds == holds)]


def presence(path: Path) -> str:
    """Return the token of documents that have something at the end of a path."""
    return _token("?", path)


def bound_name(path: Path) -> str:
    """Return what a path is called among the bounds: letters, digits and underscores."""
    name = path[0] if len(path) == 1 else ""
    if name.isascii() and name.isidentifier() and len(name) <= _LONGEST and not name.startswith("_"):
        return name
    return "_" + _digest(canonical_json(path))


def _condition(node: Node, *, holds: bool) -> Condition:
    if isinstance(node, Not):
        return _condition(node.part, holds=not holds)
    if isinstance(node, AllOf | AnyOf):
        parts = list(map(partial(_condition, holds=holds), node.parts))
        return _all(parts) if isinstance(node, AllOf) == holds else _any(parts)
    return _comparison(node, holds=holds)


def _comparison(node: Comparison, *, holds: bool) -> Condition:
    path, operator = path_of(node.key), node.operator
    if operator in _FLIPPED:
        return _range(path, operator, node.operands[0], holds=holds)
    if operator in ("$ne", "$nin") or (operator == "$exists" and not node.operands[0]):
        holds = not holds
    if operator in ("$eq", "$ne", "$in", "$nin"):
        parts = [Has(_equality(path, operand), holds) for operand in node.operands]
        if any(operand is None for operand in node.operands):
            parts.append(Has(presence(path), not holds))
        return _any(parts) if holds else _all(parts)
    if operator == "$all":
        if not node.operands:
            return NEVER if holds else ALWAYS
        parts = [Has(_equality(path, operand), holds) for operand in node.operands]
        return _all(parts) if holds else _any(parts)
    if operator == "$exists":
        return Has(presence(path), holds)
    if operator == "$contains":
        return Has(_equality(path, node.operands[0], "@"), holds)
    return Has(_token("#" if operator == "$size" else ":", path, node.operands[0]), holds)


def _all(parts: Iterable[Condition]) -> Condition:
    flat: list[Condition] = []
    for part in parts:
        if part == NEVER:
            return NEVER
        flat.extend(part.parts if isinstance(part, Conjunction) else (part,))
    return flat[0] if len(flat) == 1 else Conjunction(tuple(dict.fromkeys(flat)))


def _any(parts: Iterable[Condition]) -> Condition:
    flat: list[Condition] = []
    for part in parts:
        if part == ALWAYS:
            return ALWAYS
        flat.extend(part.parts if isinstance(part, Disjunction) else (part,))
    return flat[0] if len(flat) == 1 else Disjunction(tuple(dict.fromkeys(flat)))


def _range(path: Path, operator: str, operand: Any, *, holds: bool) -> Condition:
    end: Literal["least", "greatest"] = "greatest" if operator in ("$gt", "$gte") else "least"
    kind: BoundKind
    point: Any
    if isinstance(operand, datetime):
        kind, point = "date", _micros(operand)
    elif isinstance(operand, str):
        if len(operand) > _PREFIX:
            raise InputError(f"{operator} compares strings of at most {_PREFIX} characters, not of {len(operand)}.")
        kind, point = "string", operand
    else:
        if isinstance(operand, int) and abs(operand) >= _INEXACT:
            raise InputError(
                f"{operator} compares whole numbers below 2**53 here: Milvus and Qdrant order numbers as floats, which "
                "do not tell larger ones from their neighbours. Store dates as dates, others divided, or use $eq, $in."
            )
        kind, point = "number", _float(operand)
    has_values = _token("<", path, kind)
    bound = Bound(bound_name(path), kind, end, operator if holds else _FLIPPED[operator], point)
    # Without a value of the kind the comparison fails, whatever a store makes of a missing field.
    return Conjunction((Has(has_values), bound)) if holds else Disjunction((Has(has_values, False), bound))


def _reached(value: Mapping[str, Any], path: Path) -> Iterator[tuple[Path, Any]]:
    """Yield every path with each value that it leads to, through objects in lists too."""
    for name, inner in value.items():
        yield (*path, name), inner
        for deeper in inner if isinstance(inner, list) else (inner,):
            if isinstance(deeper, Mapping):
                yield from _reached(deeper, (*path, name))


def _points(value: Any) -> Iterator[tuple[BoundKind, Any]]:
    kind = kind_of(value)
    if kind == "number":
        yield "number", _float(value)
    elif kind == "string":
        # What follows the prefix makes a string greater than the prefix alone, and no more can be asked for.
        yield "string", value if len(value) <= _PREFIX else value[:_PREFIX] + "\x01"
        if (moment := instant(value)) is not None:
            yield "date", _micros(moment)


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number beyond all floats
        return sys.float_info.max if value > 0 else -sys.float_info.max


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _equality(path: Path, value: Any, operator: str = "=") -> str:
    if isinstance(value, datetime):
        return _token("D" if operator == "@" else "d", path, _micros(value))
    if isinstance(value, Mapping | list):
        return _token(operator, path, [kind_of(value), canonical_json(value)])
    return _token(operator, path, int(value) if isinstance(value, float) and value.is_integer() else value)


def _token(operator: str, path: Path, *value: Any) -> str:
    token = operator + canonical_json([*path, *value])
    return token if len(token.encode()) <= _LONGEST else "h" + _digest(token)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
