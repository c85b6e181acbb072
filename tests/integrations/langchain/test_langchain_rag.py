"""Chains of LangChain through evaluate_rag."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_rader import RaderRetriever, RagRunnable

from rader_plugins import evaluate_rag
from rader_plugins.errors import InputError
from rader_plugins.evaluation import RagAnswer
from rader_plugins.problems import Problem
from tests.support.entries import declared

pytest.importorskip("scipy")

SUMS = [Problem(f"p{at}", f"What is {at} + {at}?", str(2 * at)) for at in range(6)]


class Notes(BaseRetriever):
    """Finds two notes on the question."""

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return [
            Document(f"{query} Double it.", id=f"{query}-1", metadata={"score": 0.9}),
            Document("Nothing.", id=f"{query}-2", metadata={"score": 0.1}),
        ]


class Outer(BaseRetriever):
    """Returns the first of what another one finds."""

    inner: BaseRetriever

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return self.inner.invoke(query, config={"callbacks": run_manager.get_child()})[:1]


class Doubles(FakeListChatModel):
    """Doubles the number of the question, if a note says so."""

    responses: list[str] = [""]

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        text = str(messages[-1].content)
        number = int(re.findall(r"What is ([0-9]+)", text)[-1])
        answer = f"The answer is {2 * number if 'Double it' in text else number}."
        return ChatResult(generations=[ChatGeneration(message=AIMessage(answer))])


PROMPT = ChatPromptTemplate.from_template("{context}\n\n{question}")
CHAIN = {"context": Notes(), "question": RunnablePassthrough()} | PROMPT | Doubles()


def test_a_chain_with_and_without_retrieval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rader_plugins.evaluation.adapters.entry_points", lambda group: declared(group))
    with_documents = evaluate_rag(CHAIN, SUMS, "numeric", name="some")  # adapted by itself
    assert with_documents.accuracy == 1.0
    row = with_documents.rows["p3"]
    assert row.contexts == ("What is 3 + 3? Double it.", "Nothing.")
    assert row.ids == ("What is 3 + 3?-1", "What is 3 + 3?-2")
    assert row.scores == (0.9, 0.1)
    assert with_documents.manifest["chain"]["name"] == "langchain_rader._rag.RagRunnable"
    none = evaluate_rag(ChatPromptTemplate.from_template("{question}") | Doubles() | StrOutputParser(), SUMS, "numeric")
    assert none.accuracy == 1 / 6
    assert none.rows["p3"].contexts == ()


def ask(chain: Any, **options: Any) -> RagAnswer:
    return asyncio.run(RagRunnable(chain, **options).aanswer("What is 3 + 3?"))


def test_documents_are_those_of_the_outer_retriever() -> None:
    answer = ask({"context": Outer(inner=Notes()), "question": RunnablePassthrough()} | PROMPT | Doubles())
    assert answer.ids == ("What is 3 + 3?-1",)


def test_our_retriever_in_a_chain(mini: Any) -> None:
    documents = [
        Document("Doubling is adding a number to itself. Double it.", id="double"),
        Document("Cats.", id="cats"),
    ]
    retriever = RaderRetriever.from_documents(documents, model=mini, k=1)
    answer = ask({"context": retriever, "question": RunnablePassthrough()} | PROMPT | Doubles())
    assert answer.answer == "The answer is 6."
    assert answer.ids == ("double",)
    assert len(answer.scores) == 1


def test_outputs_that_hold_their_documents() -> None:
    other = Document("Taken from the output.")
    output = {"result": "7", "source_documents": [other]}
    answer = ask(
        RunnablePassthrough.assign(x=lambda given: Notes().invoke(given["query"])) | (lambda _: output),
        input_key="query",
    )
    assert answer == RagAnswer("7", ("Taken from the output.",))
    mine = RunnableLambda(lambda question: {"said": AIMessage(question), "found": [other]})
    assert ask(mine, answer_key="said", context_key="found") == RagAnswer("What is 3 + 3?", ("Taken from the output.",))


def test_what_is_not_clear_is_an_error() -> None:
    two = ChatPromptTemplate.from_template("{one} {two}") | Doubles()
    with pytest.raises(InputError, match="takes one, two.*input_key"):
        RagRunnable(two)
    with pytest.raises(InputError, match="answer_key"):
        ask(RunnableLambda(lambda question: {"x": 1}))
    with pytest.raises(InputError, match="neither a text nor a message"):
        ask(RunnableLambda(lambda question: 5))
    with pytest.raises(InputError, match="not int"):
        RagRunnable(5)  # type: ignore[arg-type]


def test_runs_under_way_at_once_keep_their_documents_apart() -> None:
    async def slow(given: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0.01)
        return given

    chain = {"context": Notes(), "question": RunnablePassthrough()} | RunnableLambda(slow) | PROMPT | Doubles()
    evaluation = evaluate_rag(RagRunnable(chain, description={"k": 2}), SUMS, "numeric", concurrency=6)
    assert all(row.ids[0] == f"{row.question}-1" for row in evaluation.rows.values())
    assert evaluation.manifest["chain"]["description"]["k"] == 2


def test_a_chain_that_raises_on_one_question() -> None:
    def picky(question: str) -> str:
        if "3" in question:
            raise ValueError("not this one")
        return "0"

    evaluation = evaluate_rag(RagRunnable(RunnableLambda(picky)), SUMS, "numeric", max_failures=0.5)
    assert evaluation.failed == {"p3": "ValueError: not this one"}
