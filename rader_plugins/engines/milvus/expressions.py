"""Filters as expressions of Milvus."""

from __future__ import annotations

from collections.abc import Iterable

from rader_plugins.engines.facts import Bound, Condition, Conjunction, Has, split

__all__ = ["list_of", "rendered", "string"]

_OPERATORS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"})


def string(text: str) -> str:
    """Return a string as a literal."""
    return f'"{text.translate(_ESCAPES)}"'


def list_of(texts: Iterable[str]) -> str:
    """Return strings as a literal list."""
    return f"[{', '.join(map(string, texts))}]"


def rendered(condition: Condition) -> str:
    """Return an expression over the fields ``tokens`` and ``bounds``."""
    if isinstance(condition, Has):
        contains = f"array_contains(tokens, {string(condition.token)})"
        return contains if condition.holds else f"not {contains}"
    if isinstance(condition, Bound):
        operand = condition.operand
        literal = string(operand) if isinstance(operand, str) else repr(operand)
        field = f'bounds["{condition.name}"]["{condition.kind}"]["{condition.end}"]'
        return f"{field} {_OPERATORS[condition.operator]} {literal}"
    is_joint = isinstance(condition, Conjunction)
    joint, empty = (" and ", "1 == 1") if is_joint else (" or ", "1 == 0")
    tokens, others = split(condition)
    parts = list(map(rendered, others))
    if tokens:  # in one look, however many there are
        contains = f"array_contains_any(tokens, {list_of(tokens)})"
        parts.append(f"not {contains}" if is_joint else contains)
    return joint.join(f"({part})" for part in parts) or empty
