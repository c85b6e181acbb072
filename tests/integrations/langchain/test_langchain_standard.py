"""LangChain's own test suites, without an override."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore
from langchain_rader import RaderEmbeddings, RaderRetriever, RaderVectorStore
from langchain_tests.integration_tests import (
    EmbeddingsIntegrationTests,
    RetrieversIntegrationTests,
    VectorStoreIntegrationTests,
)
from langchain_tests.unit_tests import EmbeddingsUnitTests


class TestEmbeddingsUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[RaderEmbeddings]:
        return RaderEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": "mini"}


class TestEmbeddings(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[RaderEmbeddings]:
        return RaderEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": "mini"}


class TestRetriever(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _index(self, principles_index: Any) -> None:
        self._principles = principles_index

    @property
    def retriever_constructor(self) -> type[RaderRetriever]:
        return RaderRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"index": self._principles}

    @property
    def retriever_query_example(self) -> str:
        return "How many guests must I invite so that three know each other or three do not?"


class TestVectorStore(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self) -> Iterator[VectorStore]:
        store = RaderVectorStore(embedding=self.get_embeddings())
        yield store
        store.close()


class TestVectorStoreOnDisk(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path: Any) -> Iterator[VectorStore]:
        store = RaderVectorStore(embedding=self.get_embeddings(), path=tmp_path / "index")
        yield store
        store.close()


class TestVectorStoreMini(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, embeddings: RaderEmbeddings) -> Iterator[VectorStore]:
        store = RaderVectorStore(embedding=embeddings)
        # The suite compares what is stored with what it added; make sure that it runs on our model.
        assert store.add_documents([Document(id="probe", page_content="probe")]) == ["probe"]
        assert store.index is not None
        assert store.index.dimension == 384
        store.delete(["probe"])
        yield store
        store.close()
