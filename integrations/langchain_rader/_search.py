"""Searching an index by a vector: nearest, and diverse."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from langchain_core.documents import Document
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from langchain_rader._convert import from_core
from rader_plugins.documents import Hit
from rader_plugins.errors import InputError
from rader_plugins.index import Index
from rader_plugins.retrieval import RaderRetriever

__all__ = ["Vector", "near", "relevance", "scored", "search_diverse", "unit"]

Vector: TypeAlias = npt.NDArray[np.float32]
"""float32 array of shape (dimension,)."""


def unit(embedding: Sequence[float]) -> Vector:
    """Return a vector scaled to length 1."""
    try:
        vector = np.asarray(embedding, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError("A query vector must be a list of numbers.") from None
    length = float(np.linalg.norm(vector)) if vector.ndim == 1 else 0.0
    if not np.isfinite(length) or length == 0:
        raise InputError("A query vector must be a list of numbers, not all zero and none NaN or infinite.")
    return (vector / length).astype(np.float32)


def scored(hits: Iterable[Hit]) -> list[tuple[Document, float]]:
    """Return documents as they were stored, with their scores."""
    return [(from_core(hit.document), hit.score) for hit in hits]


def relevance(mode: str) -> Callable[[float], float]:
    """Return the function from a score to a relevance between 0 and 1: the cosine, and 0 where that is negative."""
    if mode != "dense":
        raise InputError(
            f"Scores of mode {mode!r} have no scale from 0 to 1: they compare the candidates of one query. For "
            "relevance scores or a score threshold search with mode='dense'."
        )
    return lambda cosine: min(1.0, max(0.0, cosine))


def near(
    index: Index | None,
    query: str,
    vector: Vector,
    k: int,
    options: dict[str, Any],
) -> list[Hit]:
    """Search by a query's vector (and its words, where the mode asks for them); no index gives no hits."""
    if index is None:
        return []
    search_options = dict(options)
    excluded = [search_options.pop("exclude_ids", ())]
    retriever = RaderRetriever(index)
    return retriever.search_batch([query], k, exclude_ids=excluded, query_vectors=vector[None, :], **search_options)[0]


def search_diverse(
    index: Index | None,
    query: str,
    vector: Vector,
    k: int,
    fetch_k: int,
    lambda_mult: float,
    options: dict[str, Any],
) -> list[Document]:
    """Choose ``k`` of the ``fetch_k`` best by maximal marginal relevance."""
    if not 0 <= lambda_mult <= 1:
        raise InputError(f"lambda_mult must lie between 0 (diverse) and 1 (relevant), not {lambda_mult!r}.")
    hits = near(index, query, vector, max(k, fetch_k) if k else 0, options)
    if index is None or not hits:
        return []
    vectors = index.vectors([hit.document.id for hit in hits])
    hits = [hit for hit in hits if hit.document.id in vectors]  # one may have been deleted since
    rows = np.array([vectors[hit.document.id] for hit in hits], dtype=np.float32).reshape(len(hits), -1)
    chosen_rows = maximal_marginal_relevance(vector, list(rows), lambda_mult=lambda_mult, k=k)
    return [from_core(hits[row].document) for row in chosen_rows]
