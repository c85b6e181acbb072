from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.indexing import InMemoryRecordManager, aindex, index
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_core.vectorstores.utils import maximal_marginal_relevance
from langchain_rader import RaderEmbeddings, RaderRetriever, RaderVectorStore
from langchain_rader._encoders import EmbeddingsEncoder
from pydantic import BaseModel, SecretStr

from rader_plugins import Encoder
from rader_plugins.errors import EncodingError, FingerprintMismatchError, InputError

QUESTION = "Why must a large complete graph with red and blue edges hold a one-coloured clique?"


@pytest.fixture(scope="module")
def store(embeddings: RaderEmbeddings, principles: list[Document]) -> RaderVectorStore:
    """Shared; tests must not write to it."""
    vector_store = RaderVectorStore(embedding=embeddings)
    vector_store.add_documents(principles)
    return vector_store


def ids(documents: list[Document]) -> list[str | None]:
    return [document.id for document in documents]


# Searching


def test_ranks_and_scores_like_langchains_own_store(
    store: RaderVectorStore, embeddings: RaderEmbeddings, principles: list[Document]
) -> None:
    peer = InMemoryVectorStore(embeddings)
    peer.add_documents(principles)
    ours = store.similarity_search_with_score(QUESTION, k=10)
    theirs = peer.similarity_search_with_score(QUESTION, k=10)
    assert [document for document, _ in ours] == [document for document, _ in theirs]
    np.testing.assert_allclose([score for _, score in ours], [score for _, score in theirs], atol=1e-5)


async def test_async_finds_the_same(store: RaderVectorStore, embeddings: RaderEmbeddings) -> None:
    vector = embeddings.embed_query(QUESTION)
    assert await store.asimilarity_search(QUESTION, k=3) == store.similarity_search(QUESTION, k=3)
    scored = await store.asimilarity_search_with_score(QUESTION, k=3)
    assert [document for document, _ in scored] == store.similarity_search(QUESTION, k=3)
    assert await store.asimilarity_search_by_vector(vector, k=3) == store.similarity_search(QUESTION, k=3)
    expected = store.max_marginal_relevance_search(QUESTION, k=3)
    assert await store.amax_marginal_relevance_search(QUESTION, k=3) == expected
    assert await store.amax_marginal_relevance_search_by_vector(vector, k=3) == expected
    assert ids(await store.aget_by_ids(["ramsey-theorem", "none"])) == ["ramsey-theorem"]


def test_a_query_vector_of_any_length(store: RaderVectorStore, embeddings: RaderEmbeddings) -> None:
    vector = embeddings.embed_query(QUESTION)
    expected = store.similarity_search_with_score(QUESTION, k=3)
    scored = store.similarity_search_with_score_by_vector([100 * value for value in vector], k=3)
    assert [document for document, _ in scored] == [document for document, _ in expected]
    np.testing.assert_allclose([score for _, score in scored], [score for _, score in expected], atol=1e-5)


@pytest.mark.parametrize("vector", [[0.0] * 384, [float("nan")] * 384, [1.0] * 5, "text", [[1.0] * 384]])
def test_bad_query_vector(store: RaderVectorStore, vector: Any) -> None:
    with pytest.raises(InputError):
        store.similarity_search_by_vector(vector)


FILTERS: list[Any] = [{"number": {"$gte": 21}}, lambda document: document.metadata["number"] >= 21]


@pytest.mark.parametrize("condition", FILTERS)
async def test_filters_come_before_ranking(
    store: RaderVectorStore, embeddings: RaderEmbeddings, condition: Any
) -> None:
    vector = embeddings.embed_query(QUESTION)
    results = [
        store.similarity_search(QUESTION, k=3, filter=condition),
        await store.asimilarity_search(QUESTION, k=3, filter=condition),
        store.similarity_search_by_vector(vector, k=3, filter=condition),
        store.max_marginal_relevance_search(QUESTION, k=3, fetch_k=3, filter=condition),
        store.max_marginal_relevance_search_by_vector(vector, k=3, filter=condition),
        store.as_retriever(search_kwargs={"k": 3, "filter": condition}).invoke(QUESTION),
    ]
    for documents in results:
        assert sorted(document.metadata["number"] for document in documents) == [21, 22, 23]


def test_a_filter_function_gets_what_was_stored(store: RaderVectorStore, principles: list[Document]) -> None:
    seen: list[Document] = []
    store.similarity_search(QUESTION, filter=lambda document: bool(seen.append(document)))  # type: ignore[func-returns-value]
    assert seen == principles


def test_modes(embeddings: RaderEmbeddings, principles: list[Document], store: RaderVectorStore) -> None:
    hybrid = RaderVectorStore(embedding=embeddings, mode="hybrid", alpha=0.5)
    hybrid.add_documents(principles)
    peer = RaderRetriever(index=hybrid.index, mode="hybrid", alpha=0.5)  # type: ignore[arg-type]
    scored = hybrid.similarity_search_with_score(QUESTION, k=5)
    assert [(document.id, score) for document, score in scored] == [
        (document.id, document.metadata["score"]) for document in peer.invoke(QUESTION, k=5)
    ]
    assert hybrid.similarity_search(QUESTION, mode="dense") == store.similarity_search(QUESTION)
    assert ids(store.similarity_search("pigeonhole", mode="bm25", k=24)) != ids(
        store.similarity_search("pigeonhole", k=24)
    )
    assert store.similarity_search("zzzz", mode="bm25") == []


def test_scores_stay_out_of_metadata(store: RaderVectorStore, principles: list[Document]) -> None:
    for document in store.similarity_search(QUESTION):
        assert document in principles


@pytest.mark.parametrize("method", ["similarity_search", "max_marginal_relevance_search", "add_documents"])
def test_unknown_arguments(store: RaderVectorStore, method: str) -> None:
    with pytest.raises(InputError, match="no argument 'filters'"):
        getattr(store, method)(QUESTION, filters={})


# Maximal marginal relevance


@pytest.mark.parametrize("lambda_mult", [0.0, 0.3, 0.5, 1.0])
def test_diverse_choice_equals_langchains(
    store: RaderVectorStore, embeddings: RaderEmbeddings, principles: list[Document], lambda_mult: float
) -> None:
    candidates = store.similarity_search(QUESTION, k=20)
    vectors = embeddings.embed_documents([document.page_content for document in candidates])
    positions = maximal_marginal_relevance(np.array(embeddings.embed_query(QUESTION)), vectors, lambda_mult, k=6)
    documents = store.max_marginal_relevance_search(QUESTION, k=6, fetch_k=20, lambda_mult=lambda_mult)
    assert ids(documents) == [candidates[position].id for position in positions]


def test_diverse_choice_at_the_limits(store: RaderVectorStore) -> None:
    assert store.max_marginal_relevance_search(QUESTION, k=0) == []
    assert len(store.max_marginal_relevance_search(QUESTION, k=10, fetch_k=2)) == 10
    assert len(store.max_marginal_relevance_search(QUESTION, k=100)) == 24
    with pytest.raises(InputError, match="lambda_mult"):
        store.max_marginal_relevance_search(QUESTION, lambda_mult=2)


def test_diverse_choice_leaves_duplicates_out(embeddings: RaderEmbeddings) -> None:
    texts = ["Ramsey: three friends among six", "Ramsey: three friends among six.", "Bayes on evidence"]
    vector_store = RaderVectorStore.from_texts(texts, embeddings, ids=["r1", "r2", "b"])
    assert set(ids(vector_store.similarity_search("three friends among six", k=2))) == {"r1", "r2"}
    diverse_ids = ids(vector_store.max_marginal_relevance_search("three friends among six", k=2, lambda_mult=0.3))
    assert diverse_ids[0] in {"r1", "r2"}
    assert diverse_ids[1] == "b"


# Retrievers of it


async def test_as_retriever(store: RaderVectorStore) -> None:
    assert store.as_retriever().invoke(QUESTION) == store.similarity_search(QUESTION, k=4)
    mmr = store.as_retriever(search_type="mmr", search_kwargs={"k": 2, "lambda_mult": 0.2})
    expected = store.max_marginal_relevance_search(QUESTION, k=2, lambda_mult=0.2)
    assert mmr.invoke(QUESTION) == expected
    assert await mmr.ainvoke(QUESTION) == expected


async def test_score_threshold(store: RaderVectorStore) -> None:
    scores = [score for _, score in store.similarity_search_with_score(QUESTION, k=3)]
    threshold = (scores[0] + scores[1]) / 2
    retriever = store.as_retriever(
        search_type="similarity_score_threshold", search_kwargs={"score_threshold": threshold}
    )
    assert ids(retriever.invoke(QUESTION)) == ["ramsey-theorem"]
    assert ids(await retriever.ainvoke(QUESTION)) == ["ramsey-theorem"]


def test_relevance_lies_between_0_and_1() -> None:
    vector_store = RaderVectorStore.from_texts([f"text {n}" for n in range(40)], DeterministicFakeEmbedding(size=4))
    scores = [score for _, score in vector_store.similarity_search_with_score("text 1", k=40)]
    relevances = [score for _, score in vector_store.similarity_search_with_relevance_scores("text 1", k=40)]
    assert scores[0] == pytest.approx(1, abs=1e-5)  # cosine, though these embeddings are not of length 1
    assert min(scores) < 0
    assert relevances == [min(1.0, max(0.0, score)) for score in scores]


async def test_no_relevance_without_a_scale(store: RaderVectorStore, embeddings: RaderEmbeddings) -> None:
    with pytest.raises(InputError, match="mode='dense'"):
        store.similarity_search_with_relevance_scores(QUESTION, mode="hybrid")
    hybrid = RaderVectorStore(embedding=embeddings, mode="hybrid")
    with pytest.raises(InputError, match="mode='dense'"):
        await hybrid.asimilarity_search_with_relevance_scores(QUESTION)
    assert hybrid.similarity_search_with_relevance_scores(QUESTION, mode="dense") == []


# Adding and deleting


def test_empty_store(embeddings: RaderEmbeddings, tmp_path: Path) -> None:
    vector_store = RaderVectorStore(embedding=embeddings, path=tmp_path / "index")
    assert vector_store.index is None
    assert vector_store.similarity_search(QUESTION) == []
    assert vector_store.max_marginal_relevance_search(QUESTION) == []
    assert vector_store.get_by_ids(["a"]) == []
    assert vector_store.add_texts([]) == []
    assert vector_store.delete(["a"])
    assert not (tmp_path / "index").exists()


def test_ids_for_some(embeddings: RaderEmbeddings) -> None:
    vector_store = RaderVectorStore(embedding=embeddings)
    added_ids = vector_store.add_texts(["a", "b", "b"], [{"n": 1}, {}, {}], ids=["x", None, None])
    assert added_ids[0] == "x"
    assert added_ids[1] == added_ids[2] != "x"
    assert vector_store.add_documents([Document("c", id="own"), Document("b")], ids=["over", None]) == [
        "over",
        added_ids[1],
    ]
    assert ids(vector_store.get_by_ids(["x", added_ids[1], "over", "own"])) == ["x", added_ids[1], "over"]
    assert vector_store.get_by_ids(["x"])[0].metadata == {"n": 1}


async def test_delete(embeddings: RaderEmbeddings) -> None:
    vector_store = RaderVectorStore.from_texts(["a", "b", "c", "d"], embeddings, ids=["a", "b", "c", "d"])
    vector_store.delete([])
    assert len(vector_store.similarity_search("a", k=9)) == 4
    vector_store.delete(["a", "unknown"])
    await vector_store.adelete(["b"])
    assert set(ids(vector_store.similarity_search("a", k=9))) == {"c", "d"}
    vector_store.delete()
    assert vector_store.similarity_search("a", k=9) == []


@pytest.mark.parametrize("size", [0, -1, 1.5])
def test_bad_batch_size(embeddings: RaderEmbeddings, size: Any) -> None:
    with pytest.raises(InputError, match="batch_size"):
        RaderVectorStore(embedding=embeddings).add_texts(["a"], batch_size=size)


async def test_langchains_indexing(embeddings: RaderEmbeddings) -> None:
    vector_store = RaderVectorStore(embedding=embeddings)
    records = InMemoryRecordManager("rader")
    records.create_schema()
    first = [Document("a", metadata={"source": "1"}), Document("b", metadata={"source": "2"})]
    assert (
        index(first, records, vector_store, cleanup="full", source_id_key="source", key_encoder="blake2b")["num_added"]
        == 2
    )
    second = [first[0], Document("b2", metadata={"source": "2"})]
    result = await aindex(second, records, vector_store, cleanup="full", source_id_key="source", key_encoder="blake2b")
    assert (result["num_added"], result["num_skipped"], result["num_deleted"]) == (1, 1, 1)
    assert sorted(item.page_content for item in vector_store.similarity_search("b", k=9)) == ["a", "b2"]


async def test_async_adding(embeddings: RaderEmbeddings) -> None:
    vector_store = await RaderVectorStore.afrom_texts(["a", "b"], embeddings, [{"n": 1}, {"n": 2}], ids=["a", "b"])
    assert await vector_store.aadd_texts(["c"], ids=["c"], batch_size=1) == ["c"]
    documents = [Document("d", id="d"), Document("e", id="e")]
    await asyncio.gather(*(vector_store.aadd_documents([document]) for document in documents))
    assert set(ids(await vector_store.asimilarity_search("a", k=9))) == {"a", "b", "c", "d", "e"}


async def test_the_event_loop_is_not_blocked(store: RaderVectorStore) -> None:
    searching, released = threading.Event(), threading.Event()

    def wait_for_the_loop(document: Document) -> bool:
        searching.set()
        if not released.wait(20):
            raise RuntimeError("nothing else ran while a search was under way")
        return True

    for search in (store.asimilarity_search, store.amax_marginal_relevance_search):
        searching.clear()
        released.clear()
        task = asyncio.create_task(search(QUESTION, k=2, filter=wait_for_the_loop))
        while not searching.is_set() and not task.done():
            await asyncio.sleep(0)
        released.set()
        assert len(await task) == 2


# On disk, and with other embedding models


class Served(BaseModel, Embeddings):
    """Like the embedding models of providers."""

    model: str = "large"
    dimensions: int | None = None
    api_key: SecretStr = SecretStr("hunter2")
    chunk_size: int = 100
    extra: dict[str, Any] = {}

    def embed_query(self, text: str) -> list[float]:
        return DeterministicFakeEmbedding(size=5).embed_query(text)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]


def test_opened_again(tmp_path: Path, embeddings: RaderEmbeddings, mini: Encoder) -> None:
    vector_store = RaderVectorStore(embedding=embeddings, path=tmp_path / "index")
    reader = RaderVectorStore(embedding=embeddings, path=tmp_path / "index")
    vector_store.add_texts(["Ramsey", "Bayes"], ids=["r", "b"])
    assert ids(reader.similarity_search("Bayes", k=1)) == ["b"]
    vector_store.close()
    reader.close()
    reopened = RaderVectorStore(embedding=embeddings, path=tmp_path / "index")
    assert ids(reopened.similarity_search("Bayes", k=1)) == ["b"]
    retriever = RaderRetriever(index=str(tmp_path / "index"))  # type: ignore[arg-type]
    assert retriever.invoke("Bayes", k=1)[0].id == "b"


def test_opened_with_the_same_and_another_model(tmp_path: Path) -> None:
    path = tmp_path / "index"
    RaderVectorStore.from_texts(["a"], Served(), path=path, ids=["a"]).close()
    same = Served(api_key=SecretStr("other"), chunk_size=7, extra={"timeout": 3})
    assert ids(RaderVectorStore(same, path).similarity_search("a")) == ["a"]
    for other in (Served(model="small"), Served(dimensions=3), Served(extra={"prompt": "x"})):
        with pytest.raises(FingerprintMismatchError):
            RaderVectorStore(other, path)
    with pytest.raises(FingerprintMismatchError):
        RaderVectorStore(DeterministicFakeEmbedding(size=5), path)
    assert b"hunter2" not in (path / "index.db").read_bytes()


def test_a_name_for_the_vectors(tmp_path: Path) -> None:
    path = tmp_path / "index"
    RaderVectorStore.from_texts(["a"], Served(), path=path, embedding_id="v1").close()
    assert len(RaderVectorStore(Served(model="renamed"), path, embedding_id="v1").similarity_search("a")) == 1
    with pytest.raises(FingerprintMismatchError):
        RaderVectorStore(Served(), path, embedding_id="v2")


def test_wrapped_embeddings_make_the_recipe_of_what_they_wrap() -> None:
    class Cached(Embeddings):
        def __init__(self, underlying: Embeddings) -> None:
            self.underlying = underlying

        def embed_query(self, text: str) -> list[float]:
            return self.underlying.embed_query(text)

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return self.underlying.embed_documents(texts)

    large, small = EmbeddingsEncoder(Cached(Served())), EmbeddingsEncoder(Cached(Served(model="small")))
    assert large.fingerprint != small.fingerprint
    assert large.fingerprint == EmbeddingsEncoder(Cached(Served(chunk_size=3))).fingerprint


def test_other_embeddings_take_no_instruction() -> None:
    vector_store = RaderVectorStore.from_texts(["a"], Served())
    with pytest.raises(InputError, match="takes no instruction"):
        vector_store.similarity_search("a", instruction="Find.")


async def test_other_embeddings_through_their_async_side() -> None:
    class AsyncOnly(Served):
        def embed_query(self, text: str) -> list[float]:
            raise RuntimeError("the event loop would be blocked")

        embed_documents = embed_query  # type: ignore[assignment]

        async def aembed_query(self, text: str) -> list[float]:
            return DeterministicFakeEmbedding(size=5).embed_query(text)

        async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
            return DeterministicFakeEmbedding(size=5).embed_documents(texts)

    vector_store = await RaderVectorStore.afrom_texts(["a", "b"], AsyncOnly(), ids=["a", "b"])
    assert ids(await vector_store.asimilarity_search("b", k=1)) == ["b"]
    assert ids(await vector_store.amax_marginal_relevance_search("b", k=1)) == ["b"]
    retriever = await RaderRetriever.afrom_texts(["a", "b"], ids=["a", "b"], model=AsyncOnly(), mode="dense")
    assert ids(await retriever.ainvoke("b", k=1)) == ["b"]


@pytest.mark.parametrize(
    "vectors", [[[0.0, 0.0]], [[float("nan"), 1.0]], [[1.0, 0.0], [0.0, 1.0]], [[]], [1.0], [["x", "y"]]]
)
def test_unusable_vectors_of_others(vectors: Any) -> None:
    class Broken(Embeddings):
        def embed_query(self, text: str) -> list[float]:
            return [1.0, 0.0]

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return vectors  # type: ignore[no-any-return]

    with pytest.raises(EncodingError, match="Broken"):
        RaderVectorStore(Broken()).add_texts(["a"])


def test_vectors_that_change_their_length() -> None:
    class Growing(Embeddings):
        size = 2

        def embed_query(self, text: str) -> list[float]:
            return [1.0] * self.size

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [[1.0] * self.size for _ in texts]

    embedding = Growing()
    vector_store = RaderVectorStore.from_texts(["a"], embedding)
    embedding.size = 3
    with pytest.raises(EncodingError, match="shape"):
        vector_store.add_texts(["b"])
    assert len(vector_store.similarity_search_by_vector([1.0, 0.0])) == 1


@pytest.mark.parametrize("arguments", [{"embedding": "mini"}, {"mode": "sparse"}, {"alpha": 2}, {"embedding": None}])
def test_bad_constructor_arguments(embeddings: RaderEmbeddings, arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(arguments))):
        RaderVectorStore(**{"embedding": embeddings, **arguments})


def test_options_of_the_index(embeddings: RaderEmbeddings) -> None:
    vector_store = RaderVectorStore.from_texts(["a"], embeddings, dtype="float16", ann="hnsw")
    assert vector_store.index is not None
    assert vector_store.index.stats()["dtype"] == "float16"
    assert vector_store.index.stats()["ann"] == "hnsw"
