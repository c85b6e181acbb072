"""`QueryExpansion`: what writes the text to search for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from rader_plugins.errors import InputError

__all__ = ["QueryExpansion", "check_expansion"]


@runtime_checkable
class QueryExpansion(Protocol):
    """What writes the text to search for from the question that was asked."""

    def expand(self, queries: Sequence[str]) -> list[str]:
        """Return one text for every question."""

    async def aexpand(self, queries: Sequence[str]) -> list[str]:
        """As :meth:`expand`, without blocking the event loop."""


def check_expansion(reasoning: object) -> QueryExpansion | None:
    """Return what was given as ``reasoning``, if it can write queries.

    Raises:
        InputError: It cannot.
    """
    if reasoning is None or isinstance(reasoning, QueryExpansion):
        return reasoning
    raise InputError(
        f"reasoning must be a ReasoningQuery, not {type(reasoning).__name__}. For a chat model of a framework: "
        "ReasoningQuery(LangChainChat(llm)) or ReasoningQuery(LlamaIndexChat(llm))."
    )
