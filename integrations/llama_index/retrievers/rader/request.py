"""What one search is to find, read from a query bundle and the retriever's settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from llama_index.core.schema import QueryBundle
from llama_index.postprocessor.rader.tool_text import asked_text
from llama_index.retrievers.rader.filters import NodeFilter

from rader_plugins.encoding.base import Vectors
from rader_plugins.errors import InputError

__all__ = ["Request", "mean_direction", "read_request"]


@dataclass(frozen=True)
class Request:
    """What one search needs, read at its start so that a change of the retriever does not reach into it.

    Attributes:
        text: What BM25 reads; also what is encoded where neither of the next two is set.
        to_embed: Texts whose mean embedding to search by, in place of the text's.
        vector: Embedding to search by, of length 1, shape (1, dimension).
    """

    text: str
    k: int
    to_embed: list[str]
    vector: Vectors | None
    filters: NodeFilter | None
    node_ids: Sequence[str] | None
    doc_ids: Sequence[str] | None
    exclude_ids: Sequence[str]


def read_request(
    bundle: QueryBundle,
    *,
    k: int,
    dimension: int | None,
    use_embedding: bool,
    filters: NodeFilter | None,
    node_ids: Sequence[str] | None,
    doc_ids: Sequence[str] | None,
    exclude_ids: Sequence[str],
) -> Request:
    """Check the settings and decide what to search by.

    Args:
        bundle: The query as LlamaIndex has it.
        k: How many nodes to return.
        dimension: Length of the index's vectors; None where they take no part in the search.
        use_embedding: Whether an embedding that the bundle carries counts.
        filters, node_ids, doc_ids, exclude_ids: What restricts the search.

    Raises:
        InputError: A setting or the bundle's embedding is unusable.
    """
    if not isinstance(k, int) or isinstance(k, bool) or k < 0:
        raise InputError(f"similarity_top_k must be a whole number of at least 0, not {k!r}.")
    if isinstance(exclude_ids, str):
        raise InputError(f"exclude_ids must be a list of strings: [{exclude_ids!r}].")
    vector: Vectors | None = None
    to_embed: list[str] = []
    if dimension is not None:
        if use_embedding and bundle.embedding is not None:
            vector = _direction(bundle.embedding, dimension)
        elif bundle.custom_embedding_strs and bundle.custom_embedding_strs != [bundle.query_str]:
            to_embed = list(bundle.custom_embedding_strs)
    return Request(asked_text(bundle.query_str), k, to_embed, vector, filters, node_ids, doc_ids, list(exclude_ids))


def mean_direction(vectors: Vectors) -> Vectors:
    """Return the direction of the mean of some vectors, shape (1, dimension)."""
    mean = vectors.mean(axis=0, keepdims=True)
    length = float(np.linalg.norm(mean))
    if not np.isfinite(length) or length == 0:
        raise InputError("The query's embedding is zero or not finite, so it has no direction.")
    return np.asarray(mean / length, dtype=np.float32)


def _direction(embedding: Sequence[float], dimension: int) -> Vectors:
    vector = np.asarray(embedding, dtype=np.float32).reshape(1, -1)
    if vector.shape[1] != dimension:
        raise InputError(
            f"The query bundle carries an embedding of dimension {vector.shape[1]}, but the index holds vectors of "
            f"{dimension}. Another retriever's model made it: pass use_query_embedding=False."
        )
    return mean_direction(vector)
