"""Rerankers: what looks at query and document together and orders the hits of a first stage anew."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rader_plugins.reranking.base import Reranker
from rader_plugins.reranking.load import load_reranker
from rader_plugins.reranking.pointwise import PointwiseReranker

if TYPE_CHECKING:
    from rader_plugins.reranking.llm_grader import GradingError, GradingReport, LLMReranker

__all__ = ["GradingError", "GradingReport", "LLMReranker", "PointwiseReranker", "Reranker", "load_reranker"]

_GRADER = ("GradingError", "GradingReport", "LLMReranker")


def __getattr__(name: str) -> Any:
    # The client of language models is imported when it is used.
    if name not in _GRADER:
        raise AttributeError(f"module 'rader_plugins.reranking' has no attribute {name!r}")
    return getattr(importlib.import_module("rader_plugins.reranking.llm_grader"), name)
