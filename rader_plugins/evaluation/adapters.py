"""How objects of other frameworks become searches, without this package importing any of them.

A package that knows a framework names a function under the entry-point group ``rader.evaluation_adapters``. The name
of the entry is the top-level module of the framework's classes:

    [project.entry-points."rader.evaluation_adapters"]
    langchain_core = "langchain_rader.evaluation:adapt"

The function takes the object and returns a :class:`rader_plugins.evaluation.SearchFunction`, or None where the object
is nothing that it knows; an object that it knows but that cannot be searched is an :class:`InputError` with a remedy.
It is loaded when an object is evaluated whose class, or a base of it, comes from that module, and not before.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

__all__ = ["ADAPTER_GROUP", "adapted"]

ADAPTER_GROUP = "rader.evaluation_adapters"


def adapted(system: object, group: str = ADAPTER_GROUP) -> Any:
    """Return what an adapter of a group of entry points makes of an object, or None if none knows it."""
    # Plain functions are of a built-in class: nobody need be asked about them.
    roots = dict.fromkeys(kind.__module__.partition(".")[0] for kind in type(system).__mro__[:-1])
    if not set(roots) - {"builtins"}:
        return None
    entries = entry_points(group=group)
    for root in roots:
        for entry in entries:
            if entry.name == root and (search := entry.load()(system)) is not None:
                return search
    return None
