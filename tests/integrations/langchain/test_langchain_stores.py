"""RaDeR's BM25 in the stores of langchain-milvus and langchain-qdrant: their rankings are the embedded index's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from rader_plugins import Document, RaderIndex, RaderRetriever
from rader_plugins.engines import SparseBm25
from tests.support.encoders import random_text
from tests.support.milvus_server import MilvusServer

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
TEXTS = [random_text(np.random.default_rng(seed), 3 + seed % 9) for seed in range(50)] + [""]
QUERY = "prime heat orbit"


@pytest.fixture
def milvus() -> Iterator[MilvusServer]:
    started = MilvusServer()
    yield started
    started.stop()


def scores(pairs: list[Any]) -> dict[str, float]:
    return {document.page_content: score for document, score in pairs}


def expected(k: int) -> dict[str, float]:
    index = RaderIndex.create(None, None)
    index.add([Document(str(n), text) for n, text in enumerate(TEXTS)])
    return {hit.document.text: hit.score for hit in RaderRetriever(index, "bm25").search(QUERY, k)}


def test_the_store_of_milvus_ranks_by_our_bm25(milvus: MilvusServer) -> None:
    stores = pytest.importorskip("langchain_milvus", reason="needs langchain-milvus")
    from langchain_rader.milvus import MilvusBm25

    store = stores.Milvus.from_texts(
        TEXTS, MilvusBm25(SparseBm25.fit(TEXTS)), vector_field="sparse", auto_id=True,
        index_params={"index_type": "SPARSE_INVERTED_INDEX", "metric_type": "IP"}, search_params={"metric_type": "IP"},
        connection_args={"uri": f"http://127.0.0.1:{milvus.port}"}, consistency_level="Strong",
    )  # fmt: skip
    assert scores(store.similarity_search_with_score(QUERY, k=5)) == pytest.approx(expected(5), abs=1e-4)
    assert store.similarity_search_with_score("the", k=5) == []


async def test_the_store_of_qdrant_ranks_by_our_bm25() -> None:
    stores = pytest.importorskip("langchain_qdrant", reason="needs langchain-qdrant")
    from langchain_rader.qdrant import QdrantBm25

    store = stores.QdrantVectorStore.from_texts(
        TEXTS, sparse_embedding=QdrantBm25(SparseBm25.fit(TEXTS)), retrieval_mode=stores.RetrievalMode.SPARSE,
        location=":memory:",
    )  # fmt: skip
    assert scores(store.similarity_search_with_score(QUERY, k=5)) == pytest.approx(expected(5), abs=1e-4)
    assert scores(await store.asimilarity_search_with_score(QUERY, k=5)) == pytest.approx(expected(5), abs=1e-4)
    assert store.similarity_search_with_score("the", k=5) == []
