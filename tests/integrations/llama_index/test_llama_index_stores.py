"""RaDeR's BM25 and fusion in LlamaIndex's stores of Qdrant and Milvus."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from rader_plugins import Document, RaderIndex, RaderRetriever
from rader_plugins.engines import SparseBm25
from tests.support.encoders import HashEncoder, random_text
from tests.support.milvus_server import MilvusServer

pytest.importorskip("llama_index.core")
from llama_index.core.schema import TextNode  # noqa: E402
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode  # noqa: E402
from llama_index.vector_stores.rader.qdrant import QdrantBm25  # noqa: E402

pytestmark = pytest.mark.real
TEXTS = [random_text(np.random.default_rng(seed), 3 + seed % 9) for seed in range(50)]
QUERIES = ["prime heat orbit", "matrix", "unheard of", TEXTS[7]]


@pytest.fixture
def milvus() -> Iterator[MilvusServer]:
    started = MilvusServer()
    yield started
    started.stop()


def nodes() -> list[TextNode]:
    vectors = HashEncoder().encode_documents(TEXTS).tolist()
    return [
        TextNode(id_=f"00000000-0000-0000-0000-{n:012d}", text=text, embedding=vector)
        for n, (text, vector) in enumerate(zip(TEXTS, vectors, strict=True))
    ]


def query(text: str, mode: VectorStoreQueryMode, **options: Any) -> VectorStoreQuery:
    [vector] = HashEncoder().encode_queries([text]).tolist()
    return VectorStoreQuery(query_str=text, query_embedding=vector, mode=mode, **options)


def embedded() -> RaderIndex:
    index = RaderIndex.create(None, HashEncoder())
    index.add([Document(node.node_id, node.text) for node in nodes()])
    return index


def qdrant_store(functions: QdrantBm25) -> Any:
    stores = pytest.importorskip("llama_index.vector_stores.qdrant", reason="needs llama-index-vector-stores-qdrant")
    clients = pytest.importorskip("qdrant_client")
    store = stores.QdrantVectorStore(
        "nodes", client=clients.QdrantClient(":memory:"), enable_hybrid=True, sparse_doc_fn=functions.sparse_doc_fn,
        sparse_query_fn=functions.sparse_query_fn, hybrid_fusion_fn=functions.hybrid_fusion_fn,
    )  # fmt: skip
    store.add(nodes())
    return store


def test_a_hybrid_search_of_the_store_of_qdrant_is_ours_where_its_lists_are_deep() -> None:
    store = qdrant_store(QdrantBm25(SparseBm25.fit(TEXTS)))
    index = embedded()
    for text in QUERIES:
        store_query = query(text, VectorStoreQueryMode.HYBRID, similarity_top_k=50, hybrid_top_k=8, alpha=0.7)
        result = store.query(store_query)
        hits = RaderRetriever(index, "hybrid", 0.7).search(text, 8)
        assert result.ids == [hit.document.id for hit in hits]
        assert result.similarities == pytest.approx([hit.score for hit in hits], abs=1e-4)


def test_a_node_that_the_sparse_search_did_not_return_gets_its_bm25_from_its_text() -> None:
    """The sparse list has one node; the dense list has all."""
    store = qdrant_store(QdrantBm25(SparseBm25.fit(TEXTS)))
    store_query = query(
        QUERIES[0], VectorStoreQueryMode.HYBRID, similarity_top_k=50, sparse_top_k=1, hybrid_top_k=8, alpha=0.7
    )
    hits = RaderRetriever(embedded(), "hybrid", 0.7).search(QUERIES[0], 8)
    assert store.query(store_query).ids == [hit.document.id for hit in hits]


def test_searches_at_once_do_not_mix_their_queries() -> None:
    functions = QdrantBm25(SparseBm25.fit(TEXTS))

    async def search(text: str) -> float:
        functions.sparse_query_fn([text])
        await asyncio.sleep(0)  # the store waits for the server here
        from llama_index.core.vector_stores.types import VectorStoreQueryResult

        first, second = nodes()[:2]
        result = functions.hybrid_fusion_fn(
            VectorStoreQueryResult(nodes=[first, second], similarities=[0.5, 0.5], ids=[]),
            VectorStoreQueryResult(nodes=[], similarities=[], ids=[]),
        )
        return result.ids[0] == first.node_id

    async def both() -> Any:
        return await asyncio.gather(search(TEXTS[0]), search(TEXTS[1]))

    assert asyncio.run(both()) == [True, False]


def test_nothing_from_nothing() -> None:
    from llama_index.core.vector_stores.types import VectorStoreQueryResult

    nothing = VectorStoreQueryResult(nodes=None, similarities=None, ids=None)
    assert QdrantBm25(SparseBm25.fit(TEXTS)).hybrid_fusion_fn(nothing, nothing).ids == []


def test_the_store_of_milvus_ranks_by_our_bm25(milvus: MilvusServer) -> None:
    stores = pytest.importorskip(
        "llama_index.vector_stores.milvus", reason="llama-index-vector-stores-milvus wants pymilvus 2"
    )
    from llama_index.vector_stores.rader.milvus import MilvusBm25

    store = stores.MilvusVectorStore(
        uri=f"http://127.0.0.1:{milvus.port}", collection_name="nodes", dim=16, enable_sparse=True,
        sparse_embedding_function=MilvusBm25(SparseBm25.fit(TEXTS)), consistency_level="Strong", similarity_metric="IP",
        hybrid_ranker="WeightedRanker", hybrid_ranker_params={"weights": [0.0, 1.0]},
    )  # fmt: skip
    store.add(nodes())
    index = embedded()
    for text in QUERIES:
        result = store.query(query(text, VectorStoreQueryMode.HYBRID, similarity_top_k=5))
        scores = {hit.document.id: hit.score for hit in RaderRetriever(index, "bm25").search(text, len(TEXTS))}
        ranked = [scores.get(id, 0.0) for id in result.ids]  # equal ones in any order
        assert ranked == pytest.approx(([*scores.values(), 0, 0, 0, 0, 0])[: len(ranked)], abs=1e-5)
        assert len(ranked) == 5
