"""`RaderTranslator`: filters that a language model wrote, for a self-querying retriever over a RaDeR index."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from langchain_core.structured_query import Comparator, Comparison, Operation, Operator, StructuredQuery, Visitor

from rader_plugins.errors import InputError

__all__ = ["RaderTranslator"]

_NAMES = {"eq": "$eq", "ne": "$ne", "gt": "$gt", "gte": "$gte", "lt": "$lt", "lte": "$lte", "in": "$in", "nin": "$nin"}
_COMPARATORS = {Comparator(name): operator for name, operator in _NAMES.items()}


class RaderTranslator(Visitor):
    """Translates LangChain's structured queries into filters of a RaDeR index.

    A limit becomes ``k``. Dates that the model gives as ``{"type": "date", "date": "2024-05-01"}`` are compared as ISO
    text, which is how an index stores dates.

    Example:
        >>> from langchain_core.structured_query import Comparator, Comparison, StructuredQuery
        >>> newer = Comparison(comparator=Comparator.GT, attribute="year", value=1900)
        >>> RaderTranslator().visit_structured_query(StructuredQuery(query="edges", filter=newer, limit=3))
        ('edges', {'filter': {'year': {'$gt': 1900}}, 'k': 3})

        ```python
        SelfQueryRetriever.from_llm(llm, store, contents, fields, structured_query_translator=RaderTranslator())
        ```
    """

    allowed_comparators: Sequence[Comparator] | None = tuple(_COMPARATORS)
    allowed_operators: Sequence[Operator] | None = tuple(map(Operator, ("and", "or", "not")))

    def visit_comparison(self, comparison: Comparison) -> dict[str, Any]:
        """Translate a comparison.

        Raises:
            InputError: An index has no such comparison.
        """
        if comparison.comparator not in _COMPARATORS:
            raise InputError(
                f"An index does not compare by {comparison.comparator.value!r}, only by {', '.join(_NAMES)}."
            )
        value = comparison.value
        if comparison.comparator in (Comparator.IN, Comparator.NIN) and not isinstance(value, list | tuple):
            value = [value]
        return {comparison.attribute: {_COMPARATORS[comparison.comparator]: _plain(value)}}

    def visit_operation(self, operation: Operation) -> dict[str, Any]:
        """Translate and, or, not."""
        parts = [argument.accept(self) for argument in operation.arguments]
        if operation.operator == Operator.NOT:
            return {"$not": parts[0] if len(parts) == 1 else {"$or": parts}}
        return {f"${operation.operator.value}": parts}

    def visit_structured_query(self, structured_query: StructuredQuery) -> tuple[str, dict[str, Any]]:
        """Return the text to search for and the options of the search."""
        options: dict[str, Any] = {}
        if structured_query.filter is not None:
            options["filter"] = structured_query.filter.accept(self)
        if structured_query.limit is not None:
            options["k"] = structured_query.limit
        return structured_query.query, options


def _plain(value: Any) -> Any:
    if isinstance(value, dict) and value.get("type") in ("date", "datetime"):
        return next((value[key] for key in ("date", "datetime") if key in value), None)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime.date) else value
