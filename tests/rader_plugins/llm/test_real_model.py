"""Grader and reasoning queries with a real, very small language model behind a llama.cpp server.

A model of 135 million parameters judges poorly: these tests are about the machinery, not about its opinions.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rader_plugins import Document, Hit, evaluate_rag
from rader_plugins.evaluation import InContextRag
from rader_plugins.llm import ContextOverflowError, OpenAIChat
from rader_plugins.problems import Problem
from rader_plugins.reranking.grade_prompts import GradePrompt
from rader_plugins.reranking.llm_grader import LLMReranker
from rader_plugins.retrieval.reasoning import ReasoningQuery
from tests.support.small_llm import small_llm

# Short, and with examples: so small a model follows these better than a description.
PROMPT = GradePrompt("Question: 2 + 2\nText: 2 + 2 is 4\nGrade: 5\n\nQuestion: {query}\nText: {document}\nGrade:")


@pytest.fixture(scope="module")
def llm() -> Iterator[OpenAIChat]:
    with small_llm(slots=2) as url, OpenAIChat(url, "smol", concurrency=2, timeout=60.0) as llm:
        yield llm


def test_answers_are_the_same_each_time_and_tokens_are_counted(llm):
    ask = [{"role": "user", "content": "Name a fruit."}]
    before = llm.usage
    first, second = (llm.chat(ask, max_tokens=8, seed=1)[0] for _ in range(2))
    assert first.text.strip()
    assert first == second
    assert llm.usage.requests == before.requests + 2
    assert 0 < llm.usage.completion_tokens - before.completion_tokens <= 16
    assert llm.usage.prompt_tokens > before.prompt_tokens
    assert len(llm.chat(ask, n=2, max_tokens=4, temperature=0.8, seed=1)) == 2


def test_more_answers_than_slots(llm):
    options = {"max_tokens": 6, "temperature": 1.0, "top_k": 40, "seed": 3}
    answers = llm.complete("Fruits: apple, pear,", n=3, **options)  # the server has two slots and refuses three
    assert len({answer.text for answer in answers}) > 1
    assert llm.complete("Fruits: apple, pear,", n=3, **options) == answers
    assert len(llm.complete("Fruits: apple, pear,", n=2, **options)) == 2


def test_raw_text_is_continued_without_a_template(llm):
    prompt = "Question: 1 + 1\nAnswer: 2\n\nQuestion: 2 + 2\nAnswer: 4\n\nQuestion: 1 + 2\nAnswer:"
    (answer,) = llm.complete(prompt, max_tokens=8, stop=["\n"])
    assert answer.text.strip().isdigit()
    assert answer.finish_reason == "stop"


def test_grading(llm, tmp_path):
    texts = ["An apple is a fruit.", "Rome is in Italy.", "Cats sleep.", "A pear is a fruit."]
    first = [Hit(Document(f"d{index}", text), 0.9 - index / 10, index + 1) for index, text in enumerate(texts)]
    reranker = LLMReranker(llm, prompt=PROMPT, max_tokens=6, max_failures=1.0, cache=tmp_path / "answers")
    ranked = reranker.rerank("What is an apple?", first)
    assert sorted(hit.document.id for hit in ranked) == ["d0", "d1", "d2", "d3"]
    report = reranker.report
    assert report.documents == 4
    assert report.failed == 0  # graded or not, the model answered
    assert report.graded == sum("grade" in hit.scores for hit in ranked)
    for hit in ranked:
        if "grade" in hit.scores:
            assert hit.score == pytest.approx(0.1 * hit.scores["grade"] + 0.5 * hit.scores["first_stage"])
        else:
            assert hit.rank == int(hit.document.id[1:]) + 1
    requests = llm.usage.requests
    assert reranker.rerank("What is an apple?", first) == ranked
    assert llm.usage.requests == requests  # all from the file


def test_reasoning(llm):
    reasoning = ReasoningQuery(llm, max_tokens=16)
    (query,) = reasoning.expand(["Why is the sky blue?"])
    assert query.startswith("Why is the sky blue?\n")
    assert len(query) > len("Why is the sky blue?\n") + 10
    assert reasoning.report.fallbacks == 0


def test_answers_with_and_without_documents(llm, tmp_path):
    pytest.importorskip("scipy")

    class Notes:
        def search(self, query: str, k: int) -> list[Hit]:
            return [Hit(Document("note", "The capital of Ruritania is Strelsau."), 1.0, 1)][:k]

    problems = [
        Problem("italy", "What is the capital of Italy?", "Rome"),
        Problem("ruritania", "What is the capital of Ruritania?", "Strelsau"),
    ]
    examples = [("What is the capital of Spain?", "The answer is Madrid.")]
    options = {"examples": examples, "max_tokens": 6, "stop": ["\n"], "seed": 1}

    def has(answer: str, gold: str) -> bool:
        return gold in answer

    none, with_documents = (
        evaluate_rag(
            InContextRag(llm, retriever, prompt=prompt, **options), problems, has, out=tmp_path / name, concurrency=2
        )
        for name, retriever, prompt in (("none", None, "{question}"), ("some", Notes(), "{documents}\n{question}"))
    )
    assert not none.failed
    assert not with_documents.failed
    assert all(row.answer for row in (*none.rows.values(), *with_documents.rows.values()))
    assert all(row.ids == ("note",) for row in with_documents.rows.values())
    requests = llm.usage.requests
    assert evaluate_rag(InContextRag(llm, prompt="{question}", **options), problems, has, out=tmp_path / "none") == none
    assert llm.usage.requests == requests  # all from the folder


def test_too_long_a_conversation_is_refused_in_the_server_s_words(llm):
    with pytest.raises(ContextOverflowError, match="context"):
        llm.chat([{"role": "user", "content": "word " * 5000}], n=2)
    with pytest.raises(ContextOverflowError):
        llm.complete("word " * 5000)
