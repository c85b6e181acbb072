"""Filters as conditions of Qdrant."""

from __future__ import annotations

from functools import partial
from typing import Any

from rader_plugins.engines.facts import Bound, Condition, Conjunction, Has, split
from rader_plugins.errors import InputError

__all__ = ["filtered", "matches"]

_OPERATORS = {"$gt": "gt", "$gte": "gte", "$lt": "lt", "$lte": "lte"}
_NONE = "never"  # no token is spelled so


def matches(models: Any, key: str, value: str | int) -> Any:
    """Return the condition that a field, or an element of it, is a value."""
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def filtered(models: Any, condition: Condition) -> Any:
    """Return a filter over the fields ``tokens`` and ``bounds``.

    Args:
        models: The module of Qdrant's types.
        condition: The condition that a row must satisfy.

    Raises:
        InputError: It compares strings by their order.
    """
    if isinstance(condition, Has):
        token = matches(models, "tokens", condition.token)
        return models.Filter(must=[token]) if condition.holds else models.Filter(must_not=[token])
    if isinstance(condition, Bound):
        if condition.kind == "string":
            raise InputError(
                f"Qdrant cannot compare strings by their order ({condition.operator} with {condition.operand!r}): "
                "compare numbers or dates."
            )
        bound = models.Range(**{_OPERATORS[condition.operator]: condition.operand})
        key = f"bounds.{condition.name}.{condition.kind}.{condition.end}"
        return models.Filter(must=[models.FieldCondition(key=key, range=bound)])
    tokens, others = split(condition)
    parts = list(map(partial(filtered, models), others))
    # In one look, however many there are.
    any_of = [models.FieldCondition(key="tokens", match=models.MatchAny(any=tokens))] if tokens else []
    if isinstance(condition, Conjunction):
        return models.Filter(must=parts, must_not=any_of or None)
    return models.Filter(should=[*parts, *any_of] or [matches(models, "tokens", _NONE)])
