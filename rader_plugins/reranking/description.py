"""What a reranker is, for the record of a run."""

from __future__ import annotations

from typing import Any

from rader_plugins.reranking.base import Reranker

__all__ = ["describe_reranker"]

_TOLD = ("fingerprint", "prompt", "weight")


def describe_reranker(reranker: Reranker, rerank_top: int) -> dict[str, Any]:
    """Return what decides the results of a reranker, as a JSON object."""
    about: dict[str, Any] = {"kind": type(reranker).__name__, "rerank_top": rerank_top}
    if (llm := getattr(reranker, "llm", None)) is not None:
        about["llm"] = getattr(llm, "fingerprint", type(llm).__name__)
    for name in _TOLD:  # what the kinds of rerankers tell of themselves
        if (value := getattr(reranker, name, None)) is not None:
            about[name] = value if isinstance(value, str | int | float) else repr(value)
    return about
