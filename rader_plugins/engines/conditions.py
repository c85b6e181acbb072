"""From a filter as a user writes it to a scope that means the same in every engine."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from rader_plugins.engines.collection import Collection, Scope
from rader_plugins.errors import FilterWarning, InputError
from rader_plugins.index.filters import AllOf, AnyOf, Comparison, Filter, Node, Not, parse_filter, path_of

__all__ = ["checked_scope", "comparisons", "warn_of_missing_keys"]

_DEEPEST = 200  # parts within parts; servers parse conditions by recursion, as this library does


def checked_scope(
    collection: Collection, partition: str, condition: Filter | None, excluded: Sequence[str] = ()
) -> Scope:
    """Return which documents may be found.

    Raises:
        InputError: The filter is unusable, or the engine cannot express it.
    """
    names = tuple(dict.fromkeys(excluded))
    if condition is None:
        return Scope(partition, None, names)
    if callable(condition):
        raise InputError(
            f"{collection.engine} filters by dicts, not by functions: a function would have to see every document here."
        )
    node = parse_filter(condition)
    if _depth(node) > _DEEPEST:
        raise InputError(f"The filter is nested too deeply: {collection.engine} takes {_DEEPEST} levels at most.")
    collection.check(node)  # before anything runs
    return Scope(partition, _resolved(collection, partition, node), names)


def _depth(node: Node) -> int:
    depth, level = 0, [node]
    while level := [inner for outer in level for inner in _parts(outer)]:
        depth += 1
    return depth


def _parts(node: Node) -> tuple[Node, ...]:
    if isinstance(node, Not):
        return (node.part,)
    return node.parts if isinstance(node, AllOf | AnyOf) else ()


def _resolved(collection: Collection, partition: str, node: Node) -> Node:
    """Write keys with dots such that they lead to one place: into an object, or to a field of that very name."""
    if isinstance(node, Not):
        return Not(_resolved(collection, partition, node.part))
    if isinstance(node, AllOf | AnyOf):
        return type(node)(tuple(map(partial(_resolved, collection, partition), node.parts)))
    path = path_of(node.key)
    if len(path) == 1 or collection.has_field(partition, path) or not collection.has_field(partition, (node.key,)):
        return node
    return replace(node, key=node.key.replace("\\.", ".").replace(".", "\\."))


def comparisons(node: Node) -> Iterator[Comparison]:
    """Yield all conditions of a filter."""
    if isinstance(node, Comparison):
        yield node
    elif isinstance(node, Not):
        yield from comparisons(node.part)
    else:
        for part in node.parts:
            yield from comparisons(part)


def warn_of_missing_keys(collection: Collection, scope: Scope) -> None:
    """Say so if a filter that admitted nothing asks for a key that no document has."""
    if scope.node is None:
        return
    keys = dict.fromkeys(node.key for node in comparisons(scope.node))
    missing = [key for key in keys if not collection.has_field(scope.partition, path_of(key))]
    if missing:
        names = " and ".join(map(repr, missing))
        warnings.warn(FilterWarning(f"The filter admits no document: no document has the key {names}."), stacklevel=3)
