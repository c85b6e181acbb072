from __future__ import annotations

import asyncio
import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from rader_plugins import Document, Hit, evaluate_rag
from rader_plugins.errors import InputError, RaderError
from rader_plugins.evaluation import InContextRag, RagAnswer, RagEvaluation, compare_rag
from rader_plugins.llm import OpenAIChat
from rader_plugins.problems import Problem
from tests.support.embedding_server import wait_for
from tests.support.kill import start
from tests.support.llm_server import LLMServer

pytest.importorskip("scipy")

SUMS = [Problem(f"p{at}", f"What is {at} + {at}?", str(2 * at)) for at in range(10)]


def right(question: str) -> str:
    return f"The answer is {2 * int(re.findall(r'[0-9]+', question)[0])}."


def test_accuracy_retrieval_and_answers_are_kept(tmp_path: Path) -> None:
    def chain(question: str) -> RagAnswer:
        number = int(re.findall(r"[0-9]+", question)[0])
        answer = "I do not know." if number == 9 else "The answer is 4."
        return RagAnswer(answer, (f"about {number}", "else"), (f"d{number}", "e"), (0.9, 0.1))

    evaluation = evaluate_rag(chain, SUMS, "numeric", out=tmp_path / "run", concurrency=3)
    assert list(evaluation.rows) == [problem.id for problem in SUMS]
    assert [id for id, row in evaluation.rows.items() if row.correct] == ["p2"]
    assert evaluation.accuracy == 0.1
    low, high = evaluation.interval()
    assert 0 < low < 0.1 < high < 0.5
    assert evaluation.without_answer == ["p9"]
    row = evaluation.rows["p3"]
    assert (row.answer, row.extracted, row.reference) == ("The answer is 4.", "4", "6")
    assert (row.contexts, row.ids, row.scores) == (("about 3", "else"), ("d3", "e"), (0.9, 0.1))
    assert evaluation.latency["p50"] <= evaluation.latency["max"]
    assert RagEvaluation.load(tmp_path / "run") == evaluation
    assert evaluation.name == "run"
    with pytest.raises(InputError, match="no finished evaluation"):
        RagEvaluation.load(tmp_path)


async def test_async_chains_share_a_loop_and_are_bounded() -> None:
    now, peak, four_at_once = 0, 0, asyncio.Event()

    async def chain(question: str) -> str:
        nonlocal now, peak
        now, peak = now + 1, max(peak, now + 1)
        if now == 4:
            four_at_once.set()
        await asyncio.wait_for(four_at_once.wait(), 60)
        now -= 1
        return right(question)

    # Called where a loop runs already, as in a notebook.
    evaluation = evaluate_rag(chain, SUMS, "numeric", concurrency=4)
    assert evaluation.accuracy == 1.0
    assert peak == 4
    assert evaluate_rag(lambda question: chain(question), SUMS[:2], "numeric").accuracy == 1.0


def test_plain_functions_run_in_as_many_threads() -> None:
    barrier = threading.Barrier(4)

    def chain(question: str) -> str:
        barrier.wait(timeout=20)  # breaks if fewer than four are asked at once
        return right(question)

    assert evaluate_rag(chain, SUMS[:8], "numeric", concurrency=4).accuracy == 1.0


def test_an_error_counts_as_wrong_and_is_tried_again(tmp_path: Path) -> None:
    questions: list[str] = []
    broken = True

    def chain(question: str) -> str:
        questions.append(question)
        if broken and " 3 " in question:
            raise ValueError("no such luck")
        return right(question)

    first_run = evaluate_rag(chain, SUMS, "numeric", out=tmp_path)
    assert first_run.failed == {"p3": "ValueError: no such luck"}
    assert first_run.accuracy == 0.9
    assert first_run.rows["p3"].answer is None
    broken = False
    questions.clear()
    second_run = evaluate_rag(chain, SUMS, "numeric", out=tmp_path)
    assert (second_run.accuracy, second_run.failed) == (1.0, {})
    assert questions == ["What is 3 + 3?"]
    assert {**second_run.rows, "p3": None} == {**first_run.rows, "p3": None}


def test_a_checker_that_raises_is_recorded_with_the_answer() -> None:
    def checker(answer: str, gold: str) -> bool:
        if answer == "6" and threading.current_thread() is not threading.main_thread():
            raise OSError("gone")
        return answer == gold

    evaluation = evaluate_rag(right, SUMS, checker)
    assert evaluation.failed == {"p3": "The checker raised OSError: gone"}
    assert evaluation.rows["p3"].answer == "The answer is 6."


def test_too_many_failures_end_the_run_and_keep_what_is_finished(tmp_path: Path) -> None:
    questions: list[str] = []

    def chain(question: str) -> str:
        questions.append(question)
        if len(questions) > 2:
            raise OSError("server down")
        return right(question)

    with pytest.raises(RaderError, match=r"2 of 10 problems.*'p2': OSError: server down"):
        evaluate_rag(chain, SUMS, "numeric", out=tmp_path, concurrency=1)
    assert len(questions) == 4
    first = {json.loads(line).get("id") for line in (tmp_path / "progress.jsonl").read_text().splitlines()[1:]}
    assert first == {"p0", "p1", "p2", "p3"}
    questions.clear()

    def mended(question: str) -> str:
        questions.append(question)
        return right(question)

    mended.__qualname__ = chain.__qualname__
    assert evaluate_rag(mended, SUMS, "numeric", out=tmp_path).accuracy == 1.0
    assert len(questions) == 8


KILLED = """
import re, sys, threading
from rader_plugins import evaluate_rag
from rader_plugins.problems import Problem
problems = [Problem(f"p{at}", f"What is {at} + {at}?", str(2 * at)) for at in range(40)]
calls, stop = iter(range(40)), int(sys.argv[2])
class Chain:
    def describe(self):
        return {"kind": "sums"}
    def __call__(self, question):
        if next(calls) >= stop:
            threading.Event().wait()  # until it is killed
        print(question, flush=True)
        return f"The answer is {2 * int(re.findall('[0-9]+', question)[0])}."
found = evaluate_rag(Chain(), problems, "numeric", out=sys.argv[1], concurrency=2)
print("accuracy", found.accuracy, flush=True)
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(KILLED, str(out), "20")
    assert process.stdout is not None
    wait_for(lambda: (out / "progress.jsonl").is_file() and (out / "progress.jsonl").read_bytes().count(b"\n") > 6, 600)
    process.kill()
    process.wait()
    finished = {row["id"] for row in map(json.loads, (out / "progress.jsonl").read_bytes().split(b"\n")[1:-1])}
    assert 5 <= len(finished) <= 20
    with (out / "progress.jsonl").open("ab") as stream:
        stream.write(b'{"id": "p39", "ans')  # a line that the kill cut off
    process = start(KILLED, str(out), "40")
    output = process.communicate()[0]
    assert "accuracy 1.0" in output
    # Two threads print: a line may end in the middle of another one's.
    numbers = set(re.findall(r"What is ([0-9]+)", output))
    assert numbers == {str(number) for number in range(40)} - {id[1:] for id in finished}


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    evaluate_rag(right, SUMS[:3], "numeric", out=tmp_path)
    for problems, checker, message in (
        (SUMS[:4], "numeric", "problems"),
        (SUMS[:3], "exact", "checker"),
    ):
        with pytest.raises(InputError, match=message):
            evaluate_rag(right, problems, checker, out=tmp_path)


def test_bad_arguments(tmp_path: Path) -> None:
    for problems, checker, message in (
        ([], "numeric", "no problems"),
        ([SUMS[0], SUMS[0]], "numeric", "'p0' stands twice"),
        ([Problem("a", "Q?")], "numeric", "has no answer"),
        ([Problem("a", "Q?", "east")], "numeric", "'a' .'east'. itself"),
        (["Q?"], "numeric", "Problem objects"),
        (tmp_path / "none.jsonl", "numeric", "no file"),
    ):
        with pytest.raises(InputError, match=message):
            evaluate_rag(right, problems, checker)  # type: ignore[arg-type]
    for options, message in (({"concurrency": 0}, "concurrency"), ({"max_failures": 2}, "max_failures")):
        with pytest.raises(InputError, match=message):
            evaluate_rag(right, SUMS, "numeric", **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="int cannot be evaluated"):
        evaluate_rag(5, SUMS, "numeric")  # type: ignore[arg-type]
    for wrong, message in ((5, "gave int"), (RagAnswer("x", ("a", "b"), ("1",)), "2 contexts, 1 ids")):
        with pytest.raises(InputError, match=message):
            evaluate_rag(lambda question: wrong, SUMS, "numeric")  # type: ignore[arg-type,return-value]  # noqa: B023


def test_choices_are_asked_and_checked_per_problem(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    rows = [
        {"id": 1, "question": "Which metal does not rust?", "answer": "B", "choices": ["iron", "gold"]},
        {"id": 2, "question": "Which metal rusts?", "answer": "B", "choices": ["gold", "iron"]},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    questions: list[str] = []

    def chain(question: str) -> str:
        questions.append(question)
        return "The answer is gold."

    evaluation = evaluate_rag(chain, path, "choice", concurrency=1)
    assert [row.correct for row in evaluation.rows.values()] == [True, False]
    assert questions[0] == "Which metal does not rust?\n(A) iron\n(B) gold"


class Search:
    """Finds what the question names."""

    def search(self, query: str, k: int) -> list[Hit]:
        return [Hit(Document(f"d{rank}", f"note {rank} on {query}"), 1.0 / rank, rank) for rank in range(1, k + 1)]

    def describe(self) -> dict[str, Any]:
        return {"kind": "notes"}


def test_documents_in_context(tmp_path: Path) -> None:
    def answer(request: dict[str, Any]) -> str:
        text = request["messages"][-1]["content"]
        number = int(re.findall(r"What is ([0-9]+)", text)[-1])
        return f"The answer is {2 * number if 'note 2' in text or number < 5 else 1}."

    with LLMServer(answer) as server, OpenAIChat(server.url) as llm:
        none = evaluate_rag(InContextRag(llm), SUMS, "numeric", out=tmp_path / "none")
        assert none.accuracy == 0.5
        assert none.rows["p1"].contexts == ()
        assert "Documents:" not in server.said()[0]
        with_documents = evaluate_rag(InContextRag(llm, Search(), k=2), SUMS, "numeric", out=tmp_path / "some")
        assert with_documents.accuracy == 1.0
        assert with_documents.rows["p1"].ids == ("d1", "d2")
        assert with_documents.rows["p1"].scores == (1.0, 0.5)
        prompt = next(text for text in server.said()[10:] if "1 + 1" in text)
        assert "[1] note 1 on What is 1 + 1?\n\n[2] note 2" in prompt
        about = with_documents.manifest["chain"]["description"]
        assert about["retriever"] == {"kind": "Search", "description": {"kind": "notes"}}
        assert server.most <= 8
        requests = len(server.requests)
        assert evaluate_rag(InContextRag(llm, Search(), k=2), SUMS, "numeric", out=tmp_path / "some") == with_documents
        assert len(server.requests) == requests
        with pytest.raises(InputError, match="chain.description.k"):
            evaluate_rag(InContextRag(llm, Search(), k=3), SUMS, "numeric", out=tmp_path / "some")
        shots = InContextRag(llm, Search(), examples=[("What is 0 + 0?", "The answer is 0.")], most_characters=4)
        assert shots("What is 7 + 7?").answer == "The answer is 1."
        sent = server.requests[-1]["messages"]
        assert [turn["role"] for turn in sent] == ["user", "assistant", "user"]
        assert "[1] note\n\n[2] note" in sent[-1]["content"]
        for options, message in (({"k": 0}, "k must"), ({"prompt": "{question}"}, "documents")):
            with pytest.raises(InputError, match=message):
                InContextRag(llm, Search(), **options)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="search"):
            InContextRag(llm, "index")  # type: ignore[arg-type]

    both = compare_rag([tmp_path / "none", with_documents])
    (test,) = both.tests
    assert (test.first, test.second, test.difference, test.wins, test.losses) == ("none", "some", 0.5, 5, 0)
    assert test.p_permutation == pytest.approx(2 / 2**5)
    assert "| some | 10 of 10 | 100.00 | 72.25 to 100.00 | 0 | 0 |" in both.markdown()
    assert list(compare_rag([with_documents, with_documents]).runs) == ["some", "some (2)"]
    with pytest.raises(InputError, match="at least two"):
        compare_rag([with_documents])
    with pytest.raises(InputError, match="differ in their problems"):
        compare_rag([with_documents, evaluate_rag(right, SUMS[:2], "numeric")])


def test_exports(tmp_path: Path) -> None:
    def chain(question: str) -> RagAnswer | str:
        if " 1 " in question:
            raise ValueError("gone")
        return RagAnswer(right(question), ("text",), ("d1",)) if " 2 " in question else right(question)

    evaluation = evaluate_rag(chain, SUMS, "numeric")
    assert evaluation.export_ragas(tmp_path / "ragas.jsonl") == 9
    rows = [json.loads(line) for line in (tmp_path / "ragas.jsonl").read_text().splitlines()]
    assert rows[1] == {
        "user_input": "What is 2 + 2?",
        "response": "The answer is 4.",
        "retrieved_contexts": ["text"],
        "reference": "4",
        "retrieved_context_ids": ["d1"],
    }
    assert rows[2]["retrieved_contexts"] == []
    assert evaluation.export_langsmith(tmp_path / "langsmith.jsonl") == 9
    row = json.loads((tmp_path / "langsmith.jsonl").read_text().splitlines()[1])

    def evaluator(inputs: dict[str, Any], outputs: dict[str, Any], reference_outputs: dict[str, Any]) -> bool:
        return reference_outputs["answer"] in outputs["answer"] and outputs["contexts"] == ["text"] and bool(inputs)

    metadata = row.pop("metadata")
    assert evaluator(**row)
    assert metadata == {"id": "p2", "correct": True, "extracted": "4"}
