"""The kinds of queries: one file each says how its queries are proposed and what is a fault in them.

Names and rules, which training reads as well, stand in :mod:`rader_plugins.query_kinds`.
"""

from __future__ import annotations

from collections.abc import Sequence

from rader_plugins.errors import InputError
from rader_plugins.query_kinds import query_kind, query_kind_plugins
from rader_synthesis.sampling.kinds.base import Checks, Kind, WrittenKind
from rader_synthesis.sampling.kinds.cot import CotKind
from rader_synthesis.sampling.kinds.lexical import LexicalKind
from rader_synthesis.sampling.kinds.llm import LLMKind
from rader_synthesis.sampling.kinds.question import QuestionKind

__all__ = ["Checks", "Kind", "WrittenKind", "load_kind", "load_kinds", "written_kinds"]

_OWN: dict[str, Kind] = {kind.kind.name: kind for kind in (QuestionKind(), CotKind(), LLMKind(), LexicalKind())}


def load_kind(name: str) -> Kind:
    """Return what proposes queries of a kind.

    Raises:
        InputError: There is no such kind, or the package that adds it says nothing on how its queries are proposed.
    """
    kind = _OWN.get(name) or query_kind_plugins().get(name)
    if isinstance(kind, Kind):
        return kind
    query_kind(name)  # unknown to all
    raise InputError(f"The package that adds queries of the kind {name!r} does not say how they are proposed.")


def load_kinds(names: Sequence[str]) -> list[Kind]:
    """Return what proposes queries, by the names of the kinds."""
    return [load_kind(name) for name in names]


def written_kinds(names: Sequence[str]) -> dict[str, WrittenKind]:
    """Return those of the kinds that a language model writes, by name."""
    return {kind.kind.name: kind for kind in load_kinds(names) if isinstance(kind, WrittenKind)}
