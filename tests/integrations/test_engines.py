"""Both frameworks over an index that an engine keeps."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from typing import Any

import pytest

from rader_plugins import Document, create_index
from tests.support.encoders import HashEncoder

pytestmark = pytest.mark.real
Fresh = Callable[[], str]
TEXTS = {"ramsey": "six people know each other", "bayes": "posterior prior likelihood", "euler": "vertices edges faces"}


@pytest.fixture
def url(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> str:
    """An index whose recorded model is found without one being installed."""
    import rader_plugins.encoding

    # An adapter that is imported under the patch would keep it for the tests that follow.
    for adapter in ("langchain_rader", "llama_index.retrievers.rader"):
        with contextlib.suppress(ImportError):
            importlib.import_module(adapter)
    monkeypatch.setattr(rader_plugins.encoding, "load_encoder", lambda *_, **__: HashEncoder(name="mini"))
    where = fresh()
    index = create_index(where, HashEncoder(name="mini"))
    index.add([Document(id, text, {"n": number}) for number, (id, text) in enumerate(TEXTS.items())])
    index.optimize()
    index.close()
    return where


def test_a_chain_of_langchain(url: str) -> None:
    pytest.importorskip("langchain_core")
    from langchain_core.language_models import FakeListChatModel
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_core.runnables import RunnablePassthrough
    from langchain_rader import RaderRetriever

    retriever = RaderRetriever(index=url, k=1, filter={"n": {"$lt": 2}})
    assert [document.id for document in retriever.invoke("people who know")] == ["ramsey"]
    prompt: Any = ChatPromptTemplate.from_template("{context}\n{question}")
    llm = FakeListChatModel(responses=["six"])
    chain = {"context": retriever, "question": RunnablePassthrough()} | prompt | llm | StrOutputParser()
    assert chain.invoke("How many people?") == "six"


def test_a_vector_store_of_langchain_makes_and_extends_an_engines_index(fresh: Fresh) -> None:
    pytest.importorskip("langchain_core")
    from langchain_core.embeddings import DeterministicFakeEmbedding
    from langchain_rader import RaderVectorStore

    where = fresh()
    for part in (["ramsey", "bayes"], ["euler"]):
        store = RaderVectorStore(DeterministicFakeEmbedding(size=8), path=where, mode="bm25", embedding_id="fake")
        store.add_texts([TEXTS[id] for id in part], ids=part)
        store.close()
    store = RaderVectorStore(DeterministicFakeEmbedding(size=8), path=where, mode="bm25", embedding_id="fake")
    assert [document.id for document in store.similarity_search("edges of faces", k=1)] == ["euler"]
    assert {document.id for document in store.get_by_ids(list(TEXTS))} == set(TEXTS)
    store.close()


def test_a_query_engine_of_llama_index(url: str) -> None:
    pytest.importorskip("llama_index.core")
    from llama_index.core.llms import MockLLM
    from llama_index.core.query_engine import RetrieverQueryEngine
    from llama_index.retrievers.rader import RaderRetriever

    retriever = RaderRetriever(url, similarity_top_k=1)
    assert [node.node.node_id for node in retriever.retrieve("people who know")] == ["ramsey"]
    engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM())
    assert "six people" in str(engine.query("How many people know each other?"))


def test_a_vector_store_of_llama_index_makes_and_extends_an_engines_index(fresh: Fresh) -> None:
    pytest.importorskip("llama_index.core")
    from llama_index.core import MockEmbedding, StorageContext, VectorStoreIndex
    from llama_index.core.schema import TextNode
    from llama_index.vector_stores.rader import RaderVectorStore

    where, embed_model = fresh(), MockEmbedding(embed_dim=4)
    for part in (["ramsey", "bayes"], ["euler"]):
        store = RaderVectorStore(where, embed_model)
        context = StorageContext.from_defaults(vector_store=store)
        nodes = [TextNode(id_=id, text=TEXTS[id]) for id in part]
        VectorStoreIndex(nodes, storage_context=context, embed_model=embed_model)
    index = VectorStoreIndex.from_vector_store(RaderVectorStore(where, embed_model), embed_model=embed_model)
    retriever = index.as_retriever(vector_store_query_mode="text_search", similarity_top_k=1)
    assert [scored.node.node_id for scored in retriever.retrieve("edges of faces")] == ["euler"]
    assert sorted(store.client.ids()) == sorted(TEXTS)
