"""Who labels what, and what stays unlabelled."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from rader_synthesis.config import PromptStyle
from rader_synthesis.labelling import (
    LabelReport,
    PackReflector,
    Verdict,
    judge_answers,
    label_by_answer,
    label_by_citation,
    label_by_opened,
    label_by_reflection,
)

from rader_plugins.errors import LLMError
from rader_plugins.llm import OpenAIChat
from rader_plugins.trajectories import Considered, Step, Trajectory
from tests.support.llm_server import LLMServer

QUOTED = "every finite group of prime order is cyclic and simple"


def trajectory(
    *considered: Considered, reward: float | None = None, later: str = "", kept: str | None = None, said: str = ""
) -> Trajectory:
    steps = (
        Step("thought", "first"),
        Step("query", "searched"),
        Step("retrieval", "kept text", kept, considered),
        Step("thought", later),
        Step("retrieval", "", None, (Considered("late", "late text"),)),
        Step("answer", f"{said} 8".strip()),
    )
    return Trajectory("t", "p", "the question", steps, "8", None, reward)


def labels(made: Trajectory, step: int = 2) -> list[tuple[str, bool | None, str]]:
    return [(document.id, document.relevant, document.labelled_by) for document in made.steps[step].considered]


def test_citation_labels_the_named_and_the_passed_over() -> None:
    report = LabelReport()
    documents = (
        Considered("thm-1", "text one"),
        Considered("b", QUOTED),
        Considered("c", "something else altogether here"),
        Considered("d", "x", relevant=True, reason="own", labelled_by="human"),
    )
    labelled = label_by_citation(trajectory(*documents, said=f"By thm-1, as {QUOTED}, we have it."), report)
    assert labels(labelled) == [
        ("thm-1", True, "citation"), ("b", True, "citation"), ("c", False, "citation"), ("d", True, "human")
    ]  # fmt: skip
    assert labels(labelled, 4) == [("late", None, "")]  # nothing of its search is cited: nobody knows
    assert report.labelled == {"relevant": 2, "not relevant": 1}


def test_citation_counts_only_answers_and_what_is_not_in_the_question() -> None:
    thought = trajectory(
        Considered("first-1", "text"), Considered("q", QUOTED), later=f"first-1 is no help, nor {QUOTED}"
    )
    assert label_by_citation(thought) == thought
    cited = trajectory(Considered("first-1", "text"), Considered("q", QUOTED), said=QUOTED)
    with_question = Trajectory("t", "p", QUOTED, (Step("thought", "first-1"), *cited.steps), "8")
    assert [relevant for _, relevant, _ in labels(label_by_citation(with_question), 3)] == [None, None]


def test_what_was_opened_is_relevant_and_what_stood_above_it_is_not() -> None:
    documents = (
        Considered("a", "one", opened=False),
        Considered("b", "two", opened=True, weight=1.5),
        Considered("c", "three", opened=False),
        Considered("d", "four", opened=True),
        Considered("e", "five", opened=False),
    )
    report = LabelReport()
    labelled = label_by_opened(trajectory(*documents), report)
    assert labels(labelled) == [
        ("a", False, "opened"), ("b", True, "opened"), ("c", False, "opened"), ("d", True, "opened"), ("e", None, "")
    ]  # fmt: skip
    assert labelled.steps[2].considered[1].weight == 1.5
    assert labels(labelled, 4) == [("late", None, "")]  # nothing of its search was opened: nobody knows
    assert report.labelled == {"relevant": 2, "not relevant": 2}


def test_no_negative_is_a_part_of_a_positive_or_holds_one() -> None:
    documents = (
        Considered("whole", "Rule one holds. Rule two holds."),
        Considered("part-1", "Rule one holds."),
        Considered("other-1", "Rule three holds."),
    )
    report = LabelReport()
    for cited, expected in (("[part-1]", [None, True, False]), ("[whole]", [True, None, False])):
        labelled = label_by_citation(trajectory(*documents, said=f"As {cited} says."), report)
        assert [relevant for _, relevant, _ in labels(labelled)] == expected
    assert report.labelled == {"relevant": 2, "not relevant": 2}
    assert sum(report.faults.values()) == 2


def test_a_right_answer_labels_what_it_went_on_with() -> None:
    documents = (Considered("a", ""), Considered("b", ""), Considered("c", "", relevant=False, labelled_by="human"))
    assert labels(label_by_answer(trajectory(*documents, reward=1.0))) == [
        ("a", True, "answer"), ("b", None, ""), ("c", False, "human")
    ]  # fmt: skip
    labelled = label_by_answer(trajectory(*documents, reward=1.0, kept="b"))
    assert [relevant for _, relevant, _ in labels(labelled)] == [None, True, False]
    both = label_by_answer(trajectory(*documents, reward=1.0), top=3)
    assert [relevant for _, relevant, _ in labels(both)] == [True, True, False]
    for reward in (0.0, 0.5, None):
        unlabelled = trajectory(*documents, reward=reward)
        assert label_by_answer(unlabelled) == unlabelled


class Checker:
    def extract(self, text: str) -> str | None:
        return text.split()[-1] if text.split() else None

    name = "last word"

    def equal(self, answer: str, gold: str, *, question: str = "") -> bool:
        assert question == "q"
        return float(answer) == float(gold)


def test_answers_are_judged_where_the_right_one_is_known() -> None:
    def made(answer: str | None, gold: str | None) -> Trajectory:
        return Trajectory("t", "p", "q", (), answer, gold, 0.5)

    answers = [made("it is 8", "8.0"), made("it is 7", "8"), made("", "8"), made("it is 8", None), made(None, "8")]
    trajectories = list(judge_answers(answers, Checker()))
    assert [(path.answer, path.reward) for path in trajectories] == [
        ("8", 1.0), ("7", 0.0), ("", 0.0), ("8", 0.5), (None, 0.5)
    ]  # fmt: skip


class Judge:
    def __init__(self) -> None:
        self.seen: list[tuple[str, list[tuple[str, str]], str]] = []
        self._lock = threading.Lock()

    def reflect(self, question: str, steps: Sequence[tuple[str, str]], document: str) -> Verdict:
        with self._lock:
            self.seen.append((question, list(steps), document))
        if "down" in document:
            raise LLMError("server down")
        return Verdict(None, "gibberish") if "odd" in document else Verdict("good" in document, f"saw {document}")


def test_reflection_sees_what_was_known_and_keeps_the_order() -> None:
    judge, report = Judge(), LabelReport()
    documents = (Considered("a", "good", title="T"), Considered("b", "bad"), Considered("c", "odd"))
    done: list[int] = []
    trajectories = [trajectory(*documents, later="second"), trajectory(Considered("d", "down"))] * 20
    labelled = list(label_by_reflection(trajectories, judge, concurrency=4, report=report, on_judged=done.append))
    assert labels(labelled[0]) == [("a", True, "reflection"), ("b", False, "reflection"), ("c", None, "")]
    assert labelled[0].steps[2].considered[0].reason == "saw T good"
    assert labels(labelled[1]) == [("d", None, "")]
    assert labelled == labelled[:2] * 20
    assert ("the question", [("thought", "first")], "T good") in judge.seen
    assert (
        "the question",
        [("thought", "first"), ("document", "kept text"), ("thought", "second")],
        "late text",
    ) in judge.seen
    assert sum(done) == 20 * (4 + 2)
    assert report.faults == {"the model did not answer": 20, "the model's answer cannot be read": 20}
    assert report.labelled == {"relevant": 20, "not relevant": 60}


def test_reflection_reads_only_a_little_ahead_and_stops_when_nothing_answers() -> None:
    read = 0

    def many() -> Iterator[Trajectory]:
        nonlocal read
        while True:
            read += 1
            yield trajectory(Considered("a", "good"))

    labelled = label_by_reflection(many(), Judge(), concurrency=2)
    next(labelled)
    labelled.close()  # type: ignore[attr-defined]
    assert read < 20
    with pytest.raises(LLMError, match="server down"):
        list(label_by_reflection([_only_down()] * 30, Judge(), concurrency=2))


def _only_down() -> Trajectory:
    return Trajectory("t", "p", "q", (Step("retrieval", considered=(Considered("a", "down"),)),))


def judgement(request: dict[str, Any]) -> str:
    prompt = request.get("prompt") or request["messages"][-1]["content"]
    assert prompt.rstrip().endswith("Reason:")
    if "odd" in prompt.rpartition("Document:")[2]:
        return "cannot say"
    return f"Because.\nRelevant: {'good' in prompt.rpartition('Document:')[2]}"


@pytest.mark.parametrize("style", ["chat", "completion"])
def test_the_reflection_of_the_search_is_asked_over_http(style: PromptStyle) -> None:
    documents = (Considered("a", "good"), Considered("b", "bad"), Considered("c", "odd"))
    report = LabelReport()
    with LLMServer(judgement) as server, OpenAIChat(server.url, concurrency=4) as llm:
        reflector = PackReflector(llm, "generic", style=style)
        labelled = list(label_by_reflection([trajectory(*documents)], reflector, concurrency=4, report=report))
        prompt = server.said()[0]
    assert labels(labelled[0]) == [("a", True, "reflection"), ("b", False, "reflection"), ("c", None, "")]
    assert labelled[0].steps[2].considered[0].reason == "Because."
    assert "Question: the question" in prompt
    assert "first" in prompt
    assert "searched" not in prompt  # the query is no part of what was known
    assert report.faults == {"the model's answer cannot be read": 1}
    assert "t, c: Unreadable" in report.first_faults[0]
    assert ("Goods may be sent back" in prompt) == (style == "completion")  # an example of the pack
