"""RaDeR's BM25 for the store of ``langchain-milvus``, for those who keep it; needs that package."""

from __future__ import annotations

from langchain_milvus.utils.sparse import BaseSparseEmbedding

from rader_plugins.background import in_thread
from rader_plugins.engines.sparse_encoder import SparseBm25

__all__ = ["MilvusBm25"]


class MilvusBm25(BaseSparseEmbedding):
    """BM25 with a weighted query as sparse vectors; the index of its field needs ``metric_type="IP"``.

    Args:
        bm25: Fitted on the texts of the store.

    Example:
        >>> bm25 = SparseBm25.fit(["Among any six people, three know each other.", "Primes."])
        >>> len(MilvusBm25(bm25).embed_documents(["six people"])[0])
        2
    """

    def __init__(self, bm25: SparseBm25) -> None:
        self.bm25 = bm25

    def embed_documents(self, texts: list[str]) -> list[dict[int, float]]:
        """Return dimension -> weight of each text."""
        return self.bm25.documents(texts)

    def embed_query(self, query: str) -> dict[int, float]:
        """Return dimension -> weight of a query."""
        return self.bm25.query(query)

    async def aembed_documents(self, texts: list[str]) -> list[dict[int, float]]:
        """As :meth:`embed_documents`, without blocking the event loop."""
        return await in_thread(self.embed_documents, texts)

    async def aembed_query(self, query: str) -> dict[int, float]:
        """As :meth:`embed_query`; so short that it needs no thread."""
        return self.embed_query(query)
