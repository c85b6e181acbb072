"""Filters as SQL over ``jsonb``: the whole dialect, evaluated by the server before anything is ranked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from rader_plugins.engines.conditions import comparisons
from rader_plugins.engines.postgres.packing import exact_numbers
from rader_plugins.errors import InputError
from rader_plugins.index.filters import AllOf, AnyOf, Comparison, Node, Not, kind_of, path_of

__all__ = ["FilterSql", "check_nul", "json_path"]

_ORDER = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_NULL = "null"
# What Python reads as a moment and PostgreSQL as well; without a zone it is UTC, as the session is.
_MOMENT = r"^\d{4}-\d\d-\d\d([T ]([01]\d|2[0-3])(:[0-5]\d(:[0-5]\d([.,]\d{1,6})?)?)?([zZ]|[+-]\d\d(:?\d\d)?)?)?$"


def json_path(path: tuple[str, ...]) -> str:
    """Return a path as ``jsonpath``; it goes through objects in lists too, as ours do."""
    return "$" + "".join(f".{json.dumps(part, ensure_ascii=False)}" for part in path)


def check_nul(node: Node) -> None:
    """Refuse what PostgreSQL has no string for.

    Raises:
        InputError: U+0000 stands in a key or a value; no document here can hold it.
    """
    for part in comparisons(node):
        if "\\u0000" in json.dumps([part.key, *part.operands], default=str):
            raise InputError(f"The filter for {part.key!r} holds the character U+0000, which PostgreSQL cannot store.")


class FilterSql:
    """One filter as a condition of SQL.

    Args:
        node: The filter, as it was parsed.
        parameters: Takes name -> value of what the condition refers to as ``%(name)s``.
    """

    def __init__(self, node: Node, parameters: dict[str, Any]) -> None:
        self._parameters = parameters
        self.sql = self._condition(node)

    def _condition(self, node: Node) -> str:
        if isinstance(node, Not):
            return f"NOT {self._condition(node.part)}"
        if isinstance(node, AllOf | AnyOf):
            word, none = ("AND", "TRUE") if isinstance(node, AllOf) else ("OR", "FALSE")
            return f"({f' {word} '.join(map(self._condition, node.parts)) or none})"
        return self._comparison(node)

    def _comparison(self, node: Comparison) -> str:
        path = self._value(json_path(path_of(node.key))) + "::jsonpath"
        there = f"jsonb_path_exists(metadata, {path})"
        operator, operands = node.operator, node.operands
        if operator == "$exists":
            return there if operands[0] else f"NOT {there}"
        if operator in ("$eq", "$ne", "$in", "$nin"):
            conditions = [f"({self._with_elements(path, holds)})" for holds in self._is_any(operands)]
            if None in operands:
                conditions.append(f"NOT {there}")
            joined = f"({' OR '.join(conditions) or 'FALSE'})"
            return joined if operator in ("$eq", "$in") else f"NOT {joined}"
        if operator == "$all":
            return f"({' AND '.join(self._equal(path, operand) for operand in operands) or 'FALSE'})"
        if operator == "$contains":
            return self._elements(path, self._is(operands[0]))
        if operator == "$size":
            size = self._value(operands[0])
            length = f"CASE WHEN jsonb_typeof(v) = 'array' THEN jsonb_array_length(v) = {size} ELSE FALSE END"
            return self._any(path, lambda _: length)
        if operator == "$type":
            return self._any(path, lambda v: f"jsonb_typeof({v}) = {self._value(operands[0])}")
        return self._with_elements(path, self._ordered(_ORDER[operator], operands[0]))

    def _equal(self, path: str, operand: Any) -> str:
        """What is reached equals a value, or has it as an element."""
        return self._with_elements(path, self._is(operand))

    def _with_elements(self, path: str, holds: Callable[[str], str]) -> str:
        return f"({self._any(path, holds)} OR {self._elements(path, holds)})"

    def _any(self, path: str, holds: Callable[[str], str]) -> str:
        return f"EXISTS (SELECT FROM jsonb_path_query(metadata, {path}) AS v WHERE {holds('v')})"

    def _elements(self, path: str, holds: Callable[[str], str]) -> str:
        elements = "jsonb_array_elements(CASE WHEN jsonb_typeof(v) = 'array' THEN v ELSE '[]'::jsonb END)"
        return f"EXISTS (SELECT FROM jsonb_path_query(metadata, {path}) AS v, {elements} AS e WHERE {holds('e')})"

    def _is(self, operand: Any) -> Callable[[str], str]:
        """A value of jsonb equals an operand: numbers by value, lists and objects as they are written."""
        if kind_of(operand) == "date":
            return self._ordered("=", operand)
        value = f"{self._value(_written(operand))}::jsonb"
        return lambda v: f"{v}::text = {value}::text" if _is_nested(operand) else f"{v} = {value}"

    def _is_any(self, operands: Sequence[Any]) -> Iterator[Callable[[str], str]]:
        """As :meth:`_is` for many operands, in a few comparisons with sets, however many there are."""
        if len(operands) == 1:
            yield self._is(operands[0])
            return
        dates = [operand for operand in operands if kind_of(operand) == "date"]
        nested = [_written(operand) for operand in operands if _is_nested(operand)]
        plain = [_written(operand) for operand in operands if kind_of(operand) != "date" and not _is_nested(operand)]
        if dates:
            yield self._moment("IN", self._set(dates, "timestamptz"))
        if nested:
            yield partial(_among, "::text", self._set(nested, "jsonb::text"))
        if plain:
            yield partial(_among, "", self._set(plain, "jsonb"))

    def _set(self, values: list[Any], kind: str) -> str:
        source = "timestamptz" if kind == "timestamptz" else "text"
        return f"(SELECT x::{kind} FROM unnest({self._value(values)}::{source}[]) AS x)"

    def _moment(self, sign: str, operand: str) -> Callable[[str], str]:
        pattern = self._value(_MOMENT)
        return lambda v: (
            f"CASE WHEN jsonb_typeof({v}) = 'string' AND {v} #>> '{{}}' ~ {pattern} "
            f"AND pg_input_is_valid({v} #>> '{{}}', 'timestamptz') "
            f"THEN ({v} #>> '{{}}')::timestamptz {sign} {operand} ELSE FALSE END"
        )

    def _ordered(self, sign: str, operand: Any) -> Callable[[str], str]:
        if isinstance(operand, datetime):
            return self._moment(sign, self._value(operand))
        if isinstance(operand, str):
            text = self._value(operand)
            return lambda v: (
                f"CASE WHEN jsonb_typeof({v}) = 'string' "
                f"THEN ({v} #>> '{{}}') COLLATE \"C\" {sign} {text} ELSE FALSE END"
            )
        number = self._value(_written(operand)) + "::numeric"
        return lambda v: f"CASE WHEN jsonb_typeof({v}) = 'number' THEN {v}::numeric {sign} {number} ELSE FALSE END"

    def _value(self, value: Any) -> str:
        name = f"f{len(self._parameters)}"
        self._parameters[name] = value
        return f"%({name})s"


def _among(cast: str, values: str, v: str) -> str:
    # COALESCE keeps the planner from joining with the set: it is made once, and looked into by hashes.
    return f"COALESCE({v}{cast} IN {values}, FALSE)"


def _is_nested(operand: Any) -> bool:
    return kind_of(operand) in ("array", "object")


def _written(operand: Any) -> str:
    return exact_numbers(json.dumps(operand, ensure_ascii=False))
