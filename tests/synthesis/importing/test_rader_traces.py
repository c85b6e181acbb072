"""RaDeR's published trace files, with the faults that their code left in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rader_synthesis.importing import Corpus, ImportReport, RaderTraces

from rader_plugins.documents import Document
from rader_plugins.errors import InputError

CORPUS = Corpus([Document(f"thm-{row}", f"Theorem {row}.") for row in range(6)])


def trace(steps: dict[str, Any], answer: dict[str, Any] | None, rollout: int = 0) -> dict[str, Any]:
    root: dict[str, Any] = {"user_question": "How many?", "ost_step": steps}
    if answer is not None:
        root["direct_answer"] = answer
    return {"trace": {"0": root}, "rollout_id": rollout}


RETRIEVED = trace(
    {
        "1": "First thought.",
        "1_querygeneration": ["Theorem Name: Ramsey", None, None, None, {}, 0],
        "1_retrieval": ["In plain words: theorem 2.", {"2": 0.9, "3": 0.8, "4": 0.1}, "dense", "2"],
        "2": ["Second thought.", 0.0],
    },
    {"text": "So the answer is \\boxed{6}.", "value": 1},
)
WITHOUT = trace({"1": "Guess.", "2": ["The answer is 5", 0.2]}, None, 1)


def run(tmp_path: Path, labels: list[tuple[Any, int, str]], *solutions: Any) -> Path:
    sheets = tmp_path / "run-a" / "answer_sheets"
    sheets.mkdir(parents=True, exist_ok=True)
    (sheets / "Question 0007 - Final Solutions.json").write_text(json.dumps(solutions or [RETRIEVED, WITHOUT]))
    (sheets / "Question 0007 - Rollout Solutions.json").write_text("[{}]")
    (sheets / "Question 0007 - Answer.json").write_text(json.dumps({"gold_answer": "6"}))
    (tmp_path / "run-a" / "hard_negatives").mkdir(exist_ok=True)
    rows = [
        {"question_id": 7, "theorem_id": id, "LLM_relevance_label": label, "LLM_explanation": why}
        for id, label, why in labels
    ]
    (tmp_path / "run-a" / "hard_negatives" / "7.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "run-a"


def test_a_solution_with_the_labels_of_its_question(tmp_path: Path) -> None:
    labels = [("2", 1, "it bounds the guests"), ("3", 0, "about colours")] + [("3", 0, "about colours")] * 3
    report = ImportReport()
    [trajectory] = RaderTraces(corpus=CORPUS).read(run(tmp_path, labels), report)
    assert (trajectory.id, trajectory.problem_id, trajectory.gold_answer, trajectory.reward) == (
        "run-a/7#1",
        "run-a/7",
        "6",
        1.0,
    )
    assert [step.kind for step in trajectory.steps] == ["thought", "query", "retrieval", "thought", "answer"]
    step = trajectory.steps[2]
    assert (step.text, step.document_id) == ("In plain words: theorem 2.", "thm-2")
    assert [
        (document.id, document.relevant, document.reason, document.score, document.labelled_by)
        for document in step.considered
    ] == [
        ("thm-2", True, "it bounds the guests", 0.9, "reflection"),
        ("thm-3", False, "about colours", 0.8, "reflection"),
    ]
    assert report.notes == {"repeated rejection": 3}
    assert report.skipped == {"nothing retrieved": 1}


def test_a_reward_below_one_is_a_wrong_answer(tmp_path: Path) -> None:
    trajectories = list(RaderTraces(corpus=CORPUS, keep_all=True).read(run(tmp_path, [])))
    assert [
        (trajectory.reward, trajectory.metadata["recorded_reward"], trajectory.answer) for trajectory in trajectories
    ][1] == (
        0.0,
        0.2,
        "The answer is 5",
    )
    assert trajectories[1].steps[-1].kind == "answer"


def test_rejections_go_to_the_retrieval_that_scored_them(tmp_path: Path) -> None:
    second = {"2_querygeneration": ["q", None], "2_retrieval": ["text", {"0": 0.5, "5": 0.4}, "dense", 0]}
    both = trace({**RETRIEVED["trace"]["0"]["ost_step"], **second}, {"text": "6", "value": 1})
    labels = [
        ("4", 0, "a"),
        ("5", 0, "b"),
        ("1", 0, "nowhere"),
        ("0", 0, "kept in this path"),
        ("3", 0, "x"),
        ("3", 1, "y"),
    ]
    report = ImportReport()
    [trajectory] = RaderTraces(corpus=CORPUS).read(run(tmp_path, labels, both), report)
    first, last = trajectory.retrievals
    assert [document.id for document in first.considered] == ["thm-2", "thm-4", "thm-1"]
    assert [document.id for document in last.considered] == ["thm-0", "thm-5"]
    assert report.notes == {"document judged both ways, no negative": 1}


def test_a_corpus_is_needed_and_has_to_be_long_enough(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pass that corpus"):
        RaderTraces(corpus=None)
    short = Corpus([Document("a", "a")])
    with pytest.raises(InputError, match=r"step '1_retrieval': row 2 is beyond the corpus, which has 1 documents"):
        list(RaderTraces(corpus=short).read(run(tmp_path, [])))


def test_a_folder_without_traces_and_a_broken_label_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no 'Question"):
        list(RaderTraces(corpus=CORPUS).read(tmp_path))
    folder = run(tmp_path, [])
    (folder / "hard_negatives" / "7.json").write_text('{"theorem_id": 1}\n')
    with pytest.raises(InputError, match=r"7.json, row 1 is not a label"):
        list(RaderTraces(corpus=CORPUS).read(folder))


def test_a_faulty_trace_is_counted_when_asked(tmp_path: Path) -> None:
    folder = run(tmp_path, [], {"trace": {}}, RETRIEVED)
    with pytest.raises(InputError, match="row 1 has no trace"):
        list(RaderTraces(corpus=CORPUS).read(folder))
    report = ImportReport()
    assert [trajectory.id for trajectory in RaderTraces(corpus=CORPUS, skip_faulty=True).read(folder, report)] == [
        "run-a/7#2"
    ]
    assert report.skipped == {"faulty row": 1}
