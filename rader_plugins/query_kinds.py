"""The kinds of queries that training samples have: their names, and the rules that samples and training go by.

How a kind is proposed from a trajectory, and what is a fault in a query of it, stands in
``rader_synthesis.sampling.kinds``. Another package adds a kind by an entry point of the group ``rader.query_kinds``:
see docs/samples.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any

from rader_plugins.errors import InputError

__all__ = ["GROUP", "KINDS", "QueryKind", "is_query_kind", "query_kind", "query_kind_plugins", "query_kinds"]

GROUP = "rader.query_kinds"
"""Entry-point group: each entry is a :class:`QueryKind`, or an object whose ``kind`` is one."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class QueryKind:
    """A kind of query, and what follows from it.

    Args:
        name: Name under which samples store the kind: a word in lower case.
        summary: What its queries are, for the card of a sample set.
        written: A language model writes them; False for what the trajectory itself holds.
        needs_corpus: They are checked by searching the corpus, so that there must be one.
        judged: Documents were judged for this very search, so that those rejected are its negatives, and others are
            searched for only where these are too few. False: all its negatives are searched for.
        opens_with_question: The problem's question stands on the first lines, and more follows. A cross-encoder is then
            asked the question alone, and the check for leaks compares these lines with evaluation queries as well.

    Raises:
        InputError: The name is no such word.

    Example:
        >>> query_kind("cot").opens_with_question
        True
    """

    name: str
    summary: str
    written: bool = False
    needs_corpus: bool = False
    judged: bool = True
    opens_with_question: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InputError(f"The name of a kind of query is a word such as 'question', not {self.name!r}.")


KINDS: Mapping[str, QueryKind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            QueryKind("question", "the question itself"),
            QueryKind("cot", "the question and the steps before the search", opens_with_question=True),
            QueryKind(
                "llm",
                "written by a language model from question, steps and document, in other words than the document's",
                written=True,
            ),
            QueryKind(
                "lexical",
                "written by a language model from the document alone",
                written=True,
                needs_corpus=True,
                judged=False,
            ),
        )
    }
)
"""The kinds of the paper, by name."""


def query_kind(name: str) -> QueryKind:
    """Return a kind by its name.

    Raises:
        InputError: There is none of this name, here or in an installed package; the message names those that there are.
    """
    kind = KINDS.get(name) or query_kinds().get(name)
    if kind is None:
        raise InputError(
            f"There is no kind of query {name!r}; there are {', '.join(query_kinds())}. A kind of another package "
            f"needs that package installed (entry point {GROUP!r})."
        )
    return kind


def is_query_kind(name: object) -> bool:
    """Whether a value names a kind, of this library or of an installed package."""
    return isinstance(name, str) and (name in KINDS or name in query_kinds())


def query_kinds() -> Mapping[str, QueryKind]:
    """Return all kinds by name: those of the paper, then those of other packages by their names.

    Raises:
        InputError: A package's entry point cannot be loaded or is no kind.
    """
    return MappingProxyType({**KINDS, **_rules(query_kind_plugins().values())})


@cache
def query_kind_plugins() -> Mapping[str, Any]:
    """Return the objects that other packages add, by the name of their kind.

    Raises:
        InputError: An entry point cannot be loaded, is no kind, or has the name of another.
    """
    plugins: dict[str, Any] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            plugin = entry.load()
        except Exception as error:  # noqa: BLE001 - whatever another package raises is reported with its name
            raise InputError(f"The kind of query {entry.name!r} ({entry.value}) cannot be loaded: {error}") from error
        kind = getattr(plugin, "kind", plugin)
        if not isinstance(kind, QueryKind):
            raise InputError(f"{entry.value} must be a QueryKind or have one as 'kind', not {type(plugin).__name__}.")
        if kind.name in KINDS or kind.name in plugins:
            raise InputError(f"{entry.value} adds the kind of query {kind.name!r}, which is there already.")
        plugins[kind.name] = plugin
    return MappingProxyType(plugins)


def _rules(plugins: Iterable[Any]) -> dict[str, QueryKind]:
    kinds = [getattr(plugin, "kind", plugin) for plugin in plugins]
    return {kind.name: kind for kind in kinds}
