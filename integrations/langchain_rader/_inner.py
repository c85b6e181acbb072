"""Runs below a retriever or reranker: what graders and reasoning queries ask of a chat model belongs to its trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config

__all__ = ["INNER_TAG", "inner_runs"]

INNER_TAG = "rader:inner"
"""Tag of runs that are a retriever's or reranker's own work: they are no thoughts of the application."""

_NO_STREAM = "nostream"  # LangGraph leaves models with this tag out of what it streams to the user


@contextmanager
def inner_runs(callbacks: Any) -> Iterator[None]:
    """Have chat models that are called within appear below a run, with tags that tell them from the application's own.

    Args:
        callbacks: A run's child manager, or what a compressor was handed; None leaves the surrounding run in place.
    """
    around = var_child_runnable_config.get() or {}
    inner: RunnableConfig = {
        "tags": [*dict.fromkeys([*(around.get("tags") or ()), INNER_TAG, _NO_STREAM])],
        "metadata": dict(around.get("metadata") or {}),
    }
    if (used := around.get("callbacks") if callbacks is None else callbacks) is not None:
        inner["callbacks"] = used
    if "configurable" in around:
        inner["configurable"] = around["configurable"]
    token = var_child_runnable_config.set(inner)
    try:
        yield
    finally:
        var_child_runnable_config.reset(token)
