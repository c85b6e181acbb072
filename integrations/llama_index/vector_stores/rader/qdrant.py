"""RaDeR's BM25 and fusion for LlamaIndex's ``QdrantVectorStore``, for those who keep it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import numpy as np
from llama_index.core.schema import BaseNode, MetadataMode
from llama_index.core.vector_stores.types import VectorStoreQueryResult

from rader_plugins.engines.sparse_encoder import SparseBm25
from rader_plugins.fusion import fuse

__all__ = ["QdrantBm25"]

Vectors = tuple[list[list[int]], list[list[float]]]


class QdrantBm25:
    """The functions that ``QdrantVectorStore`` takes: ``sparse_doc_fn``, ``sparse_query_fn``, ``hybrid_fusion_fn``.

    The store fuses what its two searches return. A node that only the sparse one found has no cosine, and counts as
    much as the last of the dense ones: with a greater ``similarity_top_k`` (and ``hybrid_top_k`` nodes in the end)
    there are fewer of these. The BM25 score of a node that only the dense search found is computed from its text.
    :class:`rader_plugins.RaderRetriever` over ``qdrant://...`` scores all candidates by both.

    Args:
        bm25: Fitted on the texts of the nodes as they are embedded (``get_content(MetadataMode.EMBED)``).

    Example:
        >>> functions = QdrantBm25(SparseBm25.fit(["Six people.", "Primes."]))
        >>> indices, weights = functions.sparse_query_fn(["six primes"])
        >>> len(indices[0])
        2
    """

    def __init__(self, bm25: SparseBm25) -> None:
        self.bm25 = bm25
        self._query: ContextVar[dict[int, float] | None] = ContextVar("query of a search", default=None)

    def sparse_doc_fn(self, texts: list[str]) -> Vectors:
        """Return dimensions and weights of each text."""
        return _vectors(self.bm25.documents(texts))

    def sparse_query_fn(self, texts: list[str]) -> Vectors:
        """Return dimensions and weights of each query."""
        weights = [self.bm25.query(text) for text in texts]
        # The store calls the fusion next, in the same task, and does not tell it the query.
        self._query.set(weights[0] if weights else None)
        return _vectors(weights)

    def hybrid_fusion_fn(
        self,
        dense_result: VectorStoreQueryResult,
        sparse_result: VectorStoreQueryResult,
        alpha: float = 0.8,
        top_k: int = 10,
        **_: Any,
    ) -> VectorStoreQueryResult:
        """Fuse as RaDeR does: alpha * z(cosine) + (1 - alpha) * z(BM25) over the nodes of both lists."""
        query = self._query.get() or {}
        cosines, scores = _scores(dense_result), _scores(sparse_result)
        nodes = {node.node_id: node for result in (dense_result, sparse_result) for node in result.nodes or ()}
        if not nodes:
            return VectorStoreQueryResult(nodes=[], similarities=[], ids=[])
        lowest = min(cosines.values(), default=0.0)
        dense = np.array([cosines.get(name, lowest) for name in nodes])
        bm25 = np.array([scores[name] if name in scores else self._score(query, node) for name, node in nodes.items()])
        fused = dict(zip(nodes, fuse(dense, bm25, alpha).tolist(), strict=True))
        best = sorted(nodes, key=lambda name: (-fused[name], name))[:top_k]
        return VectorStoreQueryResult(
            nodes=[nodes[name] for name in best], similarities=[fused[name] for name in best], ids=best
        )

    def _score(self, query: dict[int, float], node: BaseNode) -> float:
        [document] = self.bm25.documents([node.get_content(metadata_mode=MetadataMode.EMBED)])
        return sum(weight * document[dimension] for dimension, weight in query.items() if dimension in document)


def _vectors(weights: list[dict[int, float]]) -> Vectors:
    return [list(sparse) for sparse in weights], [list(sparse.values()) for sparse in weights]


def _scores(result: VectorStoreQueryResult) -> dict[str, float]:
    return dict(zip((node.node_id for node in result.nodes or ()), result.similarities or (), strict=True))
