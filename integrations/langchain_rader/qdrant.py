"""RaDeR's BM25 for the store of ``langchain-qdrant``, for those who keep it; needs that package."""

from __future__ import annotations

from langchain_qdrant.sparse_embeddings import SparseEmbeddings, SparseVector

from rader_plugins.background import in_thread
from rader_plugins.engines.sparse_encoder import SparseBm25

__all__ = ["QdrantBm25"]


class QdrantBm25(SparseEmbeddings):
    """BM25 with a weighted query as sparse vectors. The collection must not weigh terms itself (no IDF modifier).

    Args:
        bm25: Fitted on the texts of the store.

    Example:
        >>> bm25 = SparseBm25.fit(["Among any six people, three know each other.", "Primes."])
        >>> len(QdrantBm25(bm25).embed_query("six people").indices)
        2
    """

    def __init__(self, bm25: SparseBm25) -> None:
        self.bm25 = bm25

    def embed_documents(self, texts: list[str]) -> list[SparseVector]:
        """Return a vector for each text."""
        return [_vector(weights) for weights in self.bm25.documents(texts)]

    def embed_query(self, text: str) -> SparseVector:
        """Return the vector of a query."""
        return _vector(self.bm25.query(text))

    async def aembed_documents(self, texts: list[str]) -> list[SparseVector]:
        """As :meth:`embed_documents`, without blocking the event loop."""
        return await in_thread(self.embed_documents, texts)

    async def aembed_query(self, text: str) -> SparseVector:
        """As :meth:`embed_query`; so short that it needs no thread."""
        return self.embed_query(text)


def _vector(weights: dict[int, float]) -> SparseVector:
    return SparseVector(indices=list(weights), values=list(weights.values()))
