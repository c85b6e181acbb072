from __future__ import annotations

from pathlib import Path

import pytest
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.runnables import RunnableLambda
from langchain_rader import RaderReranker, RaderRetriever
from pydantic import ValidationError

from rader_plugins import RaderIndex
from rader_plugins.reranking import PointwiseReranker, load_reranker
from tests.support.tiny_rerankers import LengthReranker, tiny_cross_encoder

DOCUMENTS = [
    Document(id="long", page_content="a long text about friends", metadata={"score": 0.9, "tags": ["x"]}),
    Document(id="short", page_content="short", metadata={"score": 0.8}),
    Document(id="middle", page_content="middle text", metadata={"score": 0.7}),
]


@pytest.fixture(scope="module")
def cross(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sentence_transformers")
    return tiny_cross_encoder(tmp_path_factory.mktemp("cross"))


def test_copies_come_back_best_first() -> None:
    before = [document.model_copy(deep=True) for document in DOCUMENTS]
    reranker = RaderReranker(model=LengthReranker())
    assert isinstance(reranker, BaseDocumentCompressor)
    reranked = reranker.compress_documents(DOCUMENTS, "question")
    assert [document.id for document in reranked] == ["short", "middle", "long"]
    assert [document.metadata["relevance_score"] for document in reranked] == [-5.0, -11.0, -25.0]
    assert all(type(document.metadata["relevance_score"]) is float for document in reranked)
    assert reranked[2].metadata == {"score": 0.9, "tags": ["x"], "relevance_score": -25.0}
    assert before == DOCUMENTS, "the documents given were changed"


@pytest.mark.parametrize(("top_n", "count"), [(None, 3), (2, 2), (0, 0), (9, 3)])
def test_top_n(top_n: int | None, count: int) -> None:
    reranked = RaderReranker(model=LengthReranker(), top_n=top_n).compress_documents(DOCUMENTS, "question")
    assert [document.id for document in reranked] == ["short", "middle", "long"][:count]


async def test_async_is_the_same_and_runs_native() -> None:
    class Asynchronous(LengthReranker):
        native = 0

        async def arerank_batch(self, queries, hits):
            self.native += 1
            return self.rerank_batch(queries, hits)

    core = Asynchronous()
    reranker = RaderReranker(model=core, top_n=2)
    assert await reranker.acompress_documents(DOCUMENTS, "question") == reranker.compress_documents(
        DOCUMENTS, "question"
    )
    assert core.native == 1
    assert await reranker.acompress_documents([], "question") == []
    assert core.native == 1


def test_nothing_to_rerank() -> None:
    core = LengthReranker()
    assert RaderReranker(model=core).compress_documents([], "question") == []
    assert core.calls == []
    with pytest.raises(ValueError, match="list of documents"):
        RaderReranker(model=core).compress_documents(DOCUMENTS[0], "question")  # type: ignore[arg-type]


def test_documents_without_ids_and_equal_ones() -> None:
    texts = ["bb", "a", "bb"]
    documents = [Document(page_content=text, metadata={"place": number}) for number, text in enumerate(texts)]
    reranked = RaderReranker(model=LengthReranker()).compress_documents(documents, "question")
    assert [document.metadata["place"] for document in reranked] == [1, 0, 2]
    assert all(document.id is None for document in reranked)
    doubled = [DOCUMENTS[0], DOCUMENTS[0].model_copy(update={"page_content": "x"})]
    reranked = RaderReranker(model=LengthReranker()).compress_documents(doubled, "question")
    assert [(document.id, document.page_content) for document in reranked] == [
        ("long", "x"),
        ("long", DOCUMENTS[0].page_content),
    ]


def test_first_stage_score_reaches_the_reranker() -> None:
    seen: list[float] = []

    class Watching(LengthReranker):
        def rerank_batch(self, queries, hits):
            seen.extend(hit.score for group in hits for hit in group)
            return super().rerank_batch(queries, hits)

    RaderReranker(model=Watching()).compress_documents(DOCUMENTS, "question")
    assert seen == [0.9, 0.8, 0.7]


def test_a_model_by_its_directory(cross: Path) -> None:
    reranker = RaderReranker(model=cross, reranker_options={"batch_tokens": 64})
    assert isinstance(reranker.reranker, PointwiseReranker)
    assert reranker.reranker.batch_tokens == 64
    reranked = reranker.compress_documents(DOCUMENTS, "friends")
    scores = load_reranker(cross).score_pairs([("friends", document.page_content) for document in DOCUMENTS])
    expected = {str(document.id): score for document, score in zip(DOCUMENTS, scores.tolist(), strict=True)}
    assert {document.id: document.metadata["relevance_score"] for document in reranked} == pytest.approx(expected)
    assert [document.id for document in reranked] == sorted(expected, key=lambda name: -expected[name])


def test_wrong_arguments(cross: Path) -> None:
    for wrong in ({"model": 3}, {"model": cross, "top": 3}, {"model": cross, "top_n": -1}, {}):
        with pytest.raises(ValidationError):
            RaderReranker(**wrong)
    with pytest.raises(ValueError, match="retriever"):
        RaderReranker(model="mini")
    with pytest.raises(ValueError, match="Unknown options"):
        RaderReranker(model=cross, reranker_options={"batch": 2})
    with pytest.raises(ValueError, match="ready reranker"):
        RaderReranker(model=LengthReranker(), reranker_options={"device": "cpu"})


def test_in_a_chain_behind_our_retriever(principles_index: RaderIndex) -> None:
    retriever = RaderRetriever(index=principles_index, k=8)
    reranker = RaderReranker(model=LengthReranker(), top_n=3)
    chain = RunnableLambda(lambda question: reranker.compress_documents(retriever.invoke(question), question))
    reranked = chain.invoke("How many guests must I invite?")
    everything = retriever.invoke("How many guests must I invite?")
    expected = sorted(everything, key=lambda document: len(document.page_content))[:3]
    assert [document.id for document in reranked] == [document.id for document in expected]
    assert all(document.metadata["doc_id"] == document.id and "scores" in document.metadata for document in reranked)


def test_behind_contextual_compression(principles_index: RaderIndex) -> None:
    retrievers = pytest.importorskip("langchain_classic.retrievers")
    reranked = retrievers.ContextualCompressionRetriever(
        base_retriever=RaderRetriever(index=principles_index, k=8),
        base_compressor=RaderReranker(model=LengthReranker(), top_n=3),
    )
    assert len(reranked.invoke("How many guests must I invite?")) == 3


def test_rerankers_of_one_model_share_it(cross: Path) -> None:
    top_one, top_two = (RaderReranker(model=str(cross), top_n=number) for number in (1, 2))
    other = RaderReranker(model=str(cross), reranker_options={"dtype": "bfloat16"})
    first, second, third = (reranker.reranker for reranker in (top_one, top_two, other))
    assert isinstance(first, PointwiseReranker)
    assert isinstance(second, PointwiseReranker)
    assert isinstance(third, PointwiseReranker)
    assert first._model is second._model
    assert first._model is not third._model
    assert [len(reranker.compress_documents(DOCUMENTS, "q")) for reranker in (top_one, top_two)] == [1, 2]
