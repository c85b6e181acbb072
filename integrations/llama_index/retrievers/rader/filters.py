"""LlamaIndex's metadata filters as filters of an index.

What the dict filters of :mod:`rader_plugins.index.filters` can express becomes one, which is answered from the index's
own tables; the rest becomes a function, which looks at every document. Either way a document passes that
``build_metadata_filter_fn`` of LlamaIndex lets pass. Two things differ: filters may be nested, and values that cannot
be compared (a year that is a word in one document) do not match, instead of ending the search with a TypeError.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters
from llama_index.retrievers.rader.nodes import ID_KEY, NODE_KEY, REF_KEY, user_metadata

from rader_plugins import Document
from rader_plugins.errors import InputError
from rader_plugins.index import Filter, Index

__all__ = ["NodeFilter", "core_filter", "ids_where"]

NodeFilter: TypeAlias = "MetadataFilters | Mapping[str, Any] | Callable[[Document], bool]"
"""LlamaIndex's filters, a dict filter of rader-plugins, or a function from document to bool."""

_EVERYTHING: dict[str, Any] = {}
_NOTHING: dict[str, Any] = {"$not": {}}
_COMPARISONS: dict[FilterOperator, tuple[str, Callable[[Any, Any], Any]]] = {
    FilterOperator.GT: ("$gt", operator.gt),
    FilterOperator.GTE: ("$gte", operator.ge),
    FilterOperator.LT: ("$lt", operator.lt),
    FilterOperator.LTE: ("$lte", operator.le),
}
_TEXT_MATCHES = (FilterOperator.TEXT_MATCH, FilterOperator.TEXT_MATCH_INSENSITIVE)
_CHOICES = (FilterOperator.IN, FilterOperator.NIN, FilterOperator.ANY, FilterOperator.ALL)
_LARGEST = 2**63  # whole numbers from here on are rounded in the index's tables


def core_filter(
    index: Index, filters: NodeFilter | None, node_ids: Sequence[str] | None, doc_ids: Sequence[str] | None
) -> Filter | None:
    """Return one filter for everything that restricts a search; None if nothing does.

    Args:
        index: What will be searched; looked into for ``node_ids``.
        filters: Conditions on the metadata of nodes.
        node_ids: Ids of the only nodes that may be returned.
        doc_ids: Only nodes of these source documents.

    Raises:
        InputError: A filter cannot be evaluated; the message says why.
    """
    conditions: list[Filter] = []
    if isinstance(filters, MetadataFilters):
        _check(filters)
        translated = _as_dict(filters)
        conditions.append(_predicate(filters) if translated is None else translated)
    elif isinstance(filters, Mapping):
        conditions.append(filters)
    elif callable(filters):
        conditions.append(_without_reserved(filters))
    elif filters is not None:
        raise InputError(f"filters must be MetadataFilters, a dict or a function, not {type(filters).__name__}.")
    if doc_ids is not None:
        conditions.append({REF_KEY: {"$in": list(doc_ids)}})
    if node_ids is not None:
        conditions.append(_with_ids(index, node_ids))
    return _all_of(index, conditions)


def ids_where(index: Index, condition: Mapping[str, Any]) -> list[str]:
    """Return the ids of the documents that meet a dict filter, in the order of insertion."""
    return list(index.ids(condition))


def _all_of(index: Index, conditions: Sequence[Filter]) -> Filter | None:
    dicts = [condition for condition in conditions if not callable(condition)]
    functions = [condition for condition in conditions if callable(condition)]
    if not functions:
        return {"$and": dicts} if len(dicts) > 1 else dicts[0] if dicts else None
    if not dicts and len(functions) == 1:
        return functions[0]
    allowed = set(ids_where(index, {"$and": dicts})) if dicts else None
    return lambda document: (
        (allowed is None or document.id in allowed) and all(function(document) for function in functions)
    )


def _with_ids(index: Index, node_ids: Sequence[str]) -> Filter:
    if isinstance(node_ids, str):
        raise InputError(f"node_ids must be a list of strings: [{node_ids!r}].")
    ids = set(node_ids)
    if all(NODE_KEY in document.metadata for document in index.get(sorted(ids))):
        return {ID_KEY: {"$in": sorted(ids)}}
    # Documents that did not come from LlamaIndex carry their id in no field that a dict filter could name.
    return lambda document: document.id in ids


def _without_reserved(function: Callable[[Document], bool]) -> Callable[[Document], bool]:
    return lambda document: bool(function(dataclasses.replace(document, metadata=user_metadata(document.metadata))))


def _check(filters: MetadataFilters) -> None:
    for part in filters.filters:
        if isinstance(part, MetadataFilters):
            _check(part)
            continue
        fault = None
        if part.operator in _TEXT_MATCHES and not isinstance(part.value, str):
            fault = "a string"
        elif part.operator in _CHOICES and not isinstance(part.value, list | str):
            fault = "a list of values"
        elif part.operator in _COMPARISONS and part.value is None:
            fault = "a number or a string"
        if fault:
            raise InputError(
                f"The filter on {part.key!r} with operator {part.operator.value!r} takes {fault}, not {part.value!r}."
            )


def _as_dict(filters: MetadataFilters) -> dict[str, Any] | None:
    """Return the same condition as a dict filter; None if a dict filter cannot express it."""
    if not filters.filters:
        return _EVERYTHING
    parts = [_as_dict(part) if isinstance(part, MetadataFilters) else _leaf(part) for part in filters.filters]
    expressed = [part for part in parts if part is not None]
    if len(expressed) < len(parts):
        return None
    if filters.condition == FilterCondition.OR:
        return {"$or": expressed}
    if filters.condition == FilterCondition.NOT:
        return {"$not": {"$or": expressed}}
    return {"$and": expressed}


def _leaf(part: MetadataFilter) -> dict[str, Any] | None:
    key, value = part.key, part.value
    if "." in key or key.startswith("$") or key in (NODE_KEY, ID_KEY, REF_KEY):
        return None  # dots reach into nested objects there, and are part of the name here
    if part.operator == FilterOperator.IS_EMPTY:
        return {"$or": [_scalar(key, {"$in": [None, ""]}), {key: {"$size": 0}}]}
    if part.operator in (FilterOperator.EQ, FilterOperator.NE):
        if value is None:  # LlamaIndex: a missing value equals nothing, not even None
            return _NOTHING if part.operator == FilterOperator.EQ else _EVERYTHING
        if not _is_plain(value):
            return None
        equal = _scalar(key, {"$in": _with_booleans([value])})
        return equal if part.operator == FilterOperator.EQ else {"$not": equal}
    if part.operator in (FilterOperator.IN, FilterOperator.NIN):
        if not isinstance(value, list) or not all(map(_is_plain, value)):
            return None
        among = _scalar(key, {"$in": _with_booleans(value)})
        return among if part.operator == FilterOperator.IN else {"$not": among}
    if part.operator in _COMPARISONS and _is_plain(value):
        name, compare = _COMPARISONS[part.operator]
        if isinstance(value, str):
            return _scalar(key, {name: value})
        booleans = [boolean for boolean in (False, True) if compare(boolean, value)]
        return {"$or": [_scalar(key, {name: value}), _scalar(key, {"$in": booleans})]}
    return None


def _scalar(key: str, condition: Mapping[str, Any]) -> dict[str, Any]:
    # To LlamaIndex a list is a value like any other; in an index a condition may hold for one of its elements.
    return {key: {**condition, "$not": {"$type": "array"}}}


def _is_plain(value: object) -> bool:
    if isinstance(value, str):
        return True
    return isinstance(value, int | float) and math.isfinite(value) and abs(value) < _LARGEST


def _with_booleans(values: Sequence[Any]) -> list[Any]:
    # In Python, and so in LlamaIndex, True equals 1; in an index it does not.
    return [*values, *(boolean for boolean in (False, True) if boolean in values)]


def _predicate(filters: MetadataFilters) -> Callable[[Document], bool]:
    return lambda document: _matches(filters, user_metadata(document.metadata))


def _matches(filters: MetadataFilters, metadata: Mapping[str, Any]) -> bool:
    if not filters.filters:
        return True
    matches = (
        _matches(part, metadata) if isinstance(part, MetadataFilters) else _meets(part, metadata.get(part.key))
        for part in filters.filters
    )
    if filters.condition == FilterCondition.OR:
        return any(matches)
    if filters.condition == FilterCondition.NOT:
        return not any(matches)
    return all(matches)


def _meets(part: MetadataFilter, found: Any) -> bool:
    if part.operator == FilterOperator.IS_EMPTY:
        return found is None or found == "" or found == []
    if found is None:
        return part.operator in (FilterOperator.NE, FilterOperator.NIN)
    if part.operator == FilterOperator.NE:
        return bool(found != part.value)
    if part.operator == FilterOperator.NIN:
        return not _meets_positive(FilterOperator.IN, part.value, found)
    return _meets_positive(part.operator, part.value, found)


def _meets_positive(kind: FilterOperator, value: Any, found: Any) -> bool:
    try:
        if kind == FilterOperator.EQ:
            return bool(found == value)
        if kind in _COMPARISONS:
            return bool(_COMPARISONS[kind][1](found, value))
        if kind == FilterOperator.IN:
            return found in value
        if kind == FilterOperator.CONTAINS:
            return value in found
        if kind == FilterOperator.ANY:
            return any(choice in found for choice in value)
        if kind == FilterOperator.ALL:
            return all(choice in found for choice in value)
        if kind in _TEXT_MATCHES and isinstance(found, str):
            return value in found if kind == FilterOperator.TEXT_MATCH else value.lower() in found.lower()
    except TypeError:  # not comparable, so no match
        return False
    return False
