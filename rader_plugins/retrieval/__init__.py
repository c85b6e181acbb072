"""Searching an index: fusion of scores, the retriever, and queries that reason."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rader_plugins.retrieval.fusion import fuse, z_scores
from rader_plugins.retrieval.passages import Passage, passage_of
from rader_plugins.retrieval.retriever import Mode, RaderRetriever
from rader_plugins.retrieval.searcher import Searcher

if TYPE_CHECKING:
    from rader_plugins.retrieval.reasoning import ReasoningQuery

__all__ = [
    "Mode", "Passage", "RaderRetriever", "ReasoningQuery", "Searcher", "fuse", "passage_of", "z_scores",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    # The client of language models is imported when it is used.
    if name != "ReasoningQuery":
        raise AttributeError(f"module 'rader_plugins.retrieval' has no attribute {name!r}")
    return importlib.import_module("rader_plugins.retrieval.reasoning").ReasoningQuery
