"""`RaderRetriever(reranker=..., reasoning=...)` in LangChain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_rader import LangChainChat, RaderReranker, RaderRetriever

from rader_plugins import RaderIndex
from rader_plugins import RaderRetriever as CoreRetriever
from rader_plugins.errors import InputError
from rader_plugins.reranking.llm_grader import LLMReranker
from rader_plugins.retrieval.reasoning import ReasoningQuery
from tests.support.tiny_rerankers import LengthReranker, tiny_cross_encoder

QUESTION = "Why must a large complete graph with red and blue edges hold a one-coloured clique?"
SOCKS = "How many socks must I take out of the drawer in the dark?"
STEPS = "With more objects than boxes, one box holds two objects."


def ids(documents: list[Document]) -> list[str | None]:
    return [document.id for document in documents]


async def test_the_best_of_the_first_stage_are_reranked(principles_index: RaderIndex) -> None:
    reranker = LengthReranker()
    retriever = RaderRetriever(index=principles_index, k=3, reranker=reranker, rerank_top=8)
    expected = CoreRetriever(principles_index, reranker=LengthReranker(), rerank_top=8).search(QUESTION, 3)
    documents = retriever.invoke(QUESTION)
    assert ids(documents) == [hit.document.id for hit in expected]
    assert [document.metadata["score"] for document in documents] == [hit.score for hit in expected]
    assert documents[0].metadata["scores"].keys() == {"dense", "bm25", "fused", "rerank"}
    assert await retriever.ainvoke(QUESTION) == documents
    assert reranker.calls == [([QUESTION], [8])] * 2
    assert retriever.batch([QUESTION]) == [documents]


async def test_a_call_may_rerank_more_or_fewer(principles_index: RaderIndex) -> None:
    reranker = LengthReranker()
    retriever = RaderRetriever(index=principles_index, k=3, reranker=reranker, rerank_top=8)
    documents = retriever.invoke(QUESTION, rerank_top=20, k=2)
    assert await retriever.ainvoke(QUESTION, rerank_top=20, k=2) == documents
    retriever.invoke(QUESTION, rerank_top=None)
    retriever.bind(rerank_top=5).invoke(QUESTION)
    assert [counts for _, counts in reranker.calls] == [[20], [20], [8], [5]]
    with pytest.raises(InputError, match="rerank_top"):
        retriever.invoke(QUESTION, rerank_top=0)


@pytest.mark.filterwarnings("ignore::rader_plugins.errors.TruncationWarning")
def test_a_reranker_by_its_directory_and_in_a_compressor(tmp_path: Path, principles_index: RaderIndex) -> None:
    pytest.importorskip("sentence_transformers")
    folder = tiny_cross_encoder(tmp_path / "model")
    by_name = RaderRetriever(index=principles_index, reranker=str(folder), rerank_top=10)  # type: ignore[arg-type]
    compressor = RaderReranker(model=folder)
    wrapped = RaderRetriever(index=principles_index, reranker=compressor, rerank_top=10)  # type: ignore[arg-type]
    assert wrapped.reranker is compressor.reranker
    documents = by_name.invoke(QUESTION)
    assert wrapped.invoke(QUESTION) == documents
    expected = compressor.compress_documents(RaderRetriever(index=principles_index, k=10).invoke(QUESTION), QUESTION)
    assert ids(documents) == ids(expected[:4])


async def test_a_chat_model_reasons_and_another_grades(principles_index: RaderIndex) -> None:
    prompts: list[str] = []

    class Grader(FakeListChatModel):
        def _call(self, messages: Any, *args: Any, **kwargs: Any) -> str:
            prompts.append(messages[0].content)
            return "Grade: 5" if "Pigeonhole" in messages[0].content else "Grade: 0"

    writer = FakeListChatModel(responses=[STEPS])
    retriever = RaderRetriever(
        index=principles_index,
        mode="dense",
        k=3,
        reasoning=ReasoningQuery(LangChainChat(writer), mode="replace"),
        reranker=LLMReranker(LangChainChat(Grader(responses=[""]))),
        rerank_top=5,
    )
    documents = retriever.invoke(SOCKS)
    assert documents[0].id == "pigeonhole-principle"
    assert documents[0].metadata["scores"].keys() == {"dense", "first_stage", "grade", "rerank"}
    assert documents[0].metadata["scores"]["grade"] == 5
    assert len(prompts) == 5
    # The grader gets the question; what was searched for is the reasoning.
    assert all(SOCKS in prompt and "objects than boxes, one box" not in prompt for prompt in prompts)
    by_steps = CoreRetriever(principles_index, mode="dense").search(STEPS, 5)
    assert {document.id for document in retriever.invoke(SOCKS, k=5)} == {hit.document.id for hit in by_steps}
    assert await retriever.ainvoke(SOCKS) == documents


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reranker": 5}, "reranker must be a name.*LLMReranker"),
        ({"reranker": FakeListChatModel(responses=[])}, "not FakeListChatModel.*LangChainChat"),
        ({"reranker": RaderReranker(model=LengthReranker(), top_n=3)}, "without top_n"),
        ({"reranker": "no/such-reranker"}, "no/such-reranker"),
        ({"reasoning": FakeListChatModel(responses=[])}, "ReasoningQuery.LangChainChat"),
        ({"rerank_top": 0}, "rerank_top"),
    ],
)
def test_bad_arguments(principles_index: RaderIndex, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RaderRetriever(index=principles_index, **arguments)


def test_a_misspelt_reranker_is_found_before_anything_is_embedded(mini: Any) -> None:
    class Watched(type(mini)):  # type: ignore[misc]
        def encode_documents(self, texts: Any) -> Any:
            raise AssertionError("embedded")

    watched = Watched.__new__(Watched)
    watched.__dict__ = mini.__dict__
    with pytest.raises(ValueError, match="no/such-reranker"):
        RaderRetriever.from_texts(["a"], model=watched, reranker="no/such-reranker")
