"""Reasoning-aware dense retrieval (RaDeR) for applications.

Names are imported when they are first used, so that ``import rader_plugins`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rader_plugins.documents import Document, Hit
    from rader_plugins.encoding import Encoder, load_encoder
    from rader_plugins.evaluation import RetrievalDataset, compare, evaluate, evaluate_rag
    from rader_plugins.index import RaderIndex, create_index, open_index
    from rader_plugins.recipes import Recipe
    from rader_plugins.reranking import LLMReranker, load_reranker
    from rader_plugins.retrieval import RaderRetriever, ReasoningQuery

__version__ = "0.2.0"

_HOMES = {
    "Document": "rader_plugins.documents",
    "Encoder": "rader_plugins.encoding",
    "Hit": "rader_plugins.documents",
    "LLMReranker": "rader_plugins.reranking",
    "RaderIndex": "rader_plugins.index",
    "RaderRetriever": "rader_plugins.retrieval",
    "ReasoningQuery": "rader_plugins.retrieval",
    "Recipe": "rader_plugins.recipes",
    "RetrievalDataset": "rader_plugins.evaluation",
    "compare": "rader_plugins.evaluation",
    "create_index": "rader_plugins.index",
    "evaluate": "rader_plugins.evaluation",
    "evaluate_rag": "rader_plugins.evaluation",
    "load_encoder": "rader_plugins.encoding",
    "load_reranker": "rader_plugins.reranking",
    "open_index": "rader_plugins.index",
}

__all__ = [
    "Document",
    "Encoder",
    "Hit",
    "LLMReranker",
    "RaderIndex",
    "RaderRetriever",
    "ReasoningQuery",
    "Recipe",
    "RetrievalDataset",
    "__version__",
    "compare",
    "create_index",
    "evaluate",
    "evaluate_rag",
    "load_encoder",
    "load_reranker",
    "open_index",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rader_plugins' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
