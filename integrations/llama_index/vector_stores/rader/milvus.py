"""RaDeR's BM25 for LlamaIndex's ``MilvusVectorStore``, for those who keep it; needs that package."""

from __future__ import annotations

from llama_index.vector_stores.milvus.utils import BaseSparseEmbeddingFunction

from rader_plugins.background import in_thread
from rader_plugins.engines.sparse_encoder import SparseBm25

__all__ = ["MilvusBm25"]


class MilvusBm25(BaseSparseEmbeddingFunction):  # type: ignore[misc]  # a package that wants another pymilvus
    """BM25 with a weighted query, as ``MilvusVectorStore(enable_sparse=True, sparse_embedding_function=...)``.

    Milvus fuses on its side, by ranks (``RRFRanker``) or weighted scores: another fusion cannot be given.

    Args:
        bm25: Fitted on the texts of the store.
    """

    def __init__(self, bm25: SparseBm25) -> None:
        self.bm25 = bm25

    def encode_documents(self, documents: list[str]) -> list[dict[int, float]]:
        """Return dimension -> weight of each text."""
        return self.bm25.documents(documents)

    def encode_queries(self, queries: list[str]) -> list[dict[int, float]]:
        """Return dimension -> weight of each query."""
        return [self.bm25.query(query) for query in queries]

    async def async_encode_documents(self, documents: list[str]) -> list[dict[int, float]]:
        """As :meth:`encode_documents`, without blocking the event loop."""
        return await in_thread(self.encode_documents, documents)

    async def async_encode_queries(self, queries: list[str]) -> list[dict[int, float]]:
        """As :meth:`encode_queries`; so short that it needs no thread."""
        return self.encode_queries(queries)
