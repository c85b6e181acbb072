"""Solutions in plain text: their steps, and the documents that these may rest on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rader_synthesis.citations import Citations, cites, quotes
from rader_synthesis.importing import Corpus, ImportReport, Solutions
from rader_synthesis.importing.splitting import split_steps

from rader_plugins.documents import Document, Hit
from rader_plugins.errors import InputError

DOCUMENTS = [
    Document("thm-1", "Pigeonhole principle Two share a hole.", {"title": "Pigeonhole principle"}),
    Document("thm-2", "Triangle A figure.", {"title": "Triangle"}),
    Document("plain", "Some text."),
]


class Searcher:
    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def search_batch(self, queries: Sequence[str], k: int = 10) -> list[list[Hit]]:
        self.calls.append(list(queries))
        return [
            [Hit(document, 1.0 - index, index + 1) for index, document in enumerate(DOCUMENTS[:k])] for _ in queries
        ]


def write(tmp_path: Path, *rows: object) -> Path:
    path = tmp_path / "solved.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


SOLVED = {
    "problem": "Thirteen people: same month?",
    "solution": "There are twelve months here.\nBy the pigeonhole principle two of them agree.\nYes",
    "answer": "Yes",
    "model": "m",
    "correct": True,
}


def test_cited_documents_are_the_candidates_of_the_step(tmp_path: Path) -> None:
    report = ImportReport()
    importer = Solutions(corpus=Corpus(DOCUMENTS))
    [trajectory] = importer.read(write(tmp_path, SOLVED, {"question": "q", "response": "Nothing cited."}), report)
    assert [(step.kind, step.text) for step in trajectory.steps] == [
        ("thought", "There are twelve months here."),
        ("query", "By the pigeonhole principle two of them agree."),
        ("retrieval", ""),
        ("thought", "By the pigeonhole principle two of them agree."),
        ("answer", "Yes"),
    ]
    [candidate] = trajectory.steps[2].considered
    assert (candidate.id, candidate.title, candidate.text, candidate.relevant, candidate.labelled_by) == (
        "thm-1", "Pigeonhole principle", "Two share a hole.", True, "citation"
    )  # fmt: skip
    assert (trajectory.id, trajectory.gold_answer, trajectory.reward, trajectory.metadata) == (
        "solved#1",
        "Yes",
        1.0,
        {"model": "m"},
    )
    assert report.skipped == {"nothing retrieved": 1}


def test_best_matches_are_candidates_that_nobody_judged_and_searches_are_batched(tmp_path: Path) -> None:
    searcher = Searcher()
    importer = Solutions(corpus=Corpus(DOCUMENTS), searcher=searcher, k=2)
    first, second = importer.read(write(tmp_path, SOLVED, {**SOLVED, "model": "n"}))
    assert searcher.calls == [
        ["There are twelve months here.", "By the pigeonhole principle two of them agree."]
    ]  # two solutions, one search; "Yes" is too short
    assert first.problem_id == second.problem_id
    assert first.id != second.id
    searched, cited = first.retrievals
    assert [(candidate.id, candidate.relevant, candidate.score) for candidate in searched.considered] == [
        ("thm-1", None, 1.0), ("thm-2", None, 0.0)
    ]  # fmt: skip
    assert [(candidate.id, candidate.relevant, candidate.score) for candidate in cited.considered] == [
        ("thm-1", True, 1.0), ("thm-2", None, 0.0)
    ]  # fmt: skip


def test_the_final_answer_may_stand_before_the_last_step(tmp_path: Path) -> None:
    solved = {"question": "q", "solution": "So it is \\boxed{8}.\nThis ends the proof, in 3 lines."}
    [trajectory] = Solutions(corpus=Corpus(DOCUMENTS), keep_all=True).read(write(tmp_path, solved))
    assert (trajectory.answer, trajectory.steps[-1].kind) == ("So it is \\boxed{8}.", "answer")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"solution": "s"}, "row 1 has none of the fields question, problem"),
        ({"question": "q"}, "row 1 has none of the fields solution, response"),
        ({"question": ["q"], "solution": "s"}, "'question' must be a text, not list"),
        ([], "row 1 must be an object, not list"),
        ({**SOLVED, "correct": "perhaps"}, "'correct' must be true or false"),
    ],
)
def test_unusable_rows_are_named(tmp_path: Path, row: object, message: str) -> None:
    path = write(tmp_path, row, SOLVED)
    corpus = Corpus(DOCUMENTS)
    with pytest.raises(InputError, match=message):
        list(Solutions(corpus=corpus).read(path))
    report = ImportReport()
    assert len(list(Solutions(corpus=corpus, skip_faulty=True).read(path, report))) == 1
    assert report.skipped == {"faulty row": 1}


def test_documents_have_to_come_from_somewhere() -> None:
    with pytest.raises(InputError, match="pass a corpus"):
        Solutions()


def test_formulas_are_not_split() -> None:
    text = (
        "Let $f(x) = 1. X$ hold, i.e. A is open. Then Dr. Euler gives \\[\na = b. C\n\\] and so "
        "\\begin{align*}\nx &= 1. \\\\ Y\n\\end{align*} It costs $5. Then $6 more. Done."
    )
    assert split_steps(text) == [
        "Let $f(x) = 1. X$ hold, i.e. A is open.",
        "Then Dr. Euler gives \\[\na = b. C\n\\] and so \\begin{align*}\nx &= 1. \\\\ Y\n\\end{align*} It costs $5.",
        "Then $6 more.",
        "Done.",
    ]
    assert split_steps("Then:\n\\[x = 1.\\]\nSo \\boxed{1}.") == ["Then:\n\\[x = 1.\\]", "So \\boxed{1}."]
    assert split_steps("  \n ") == []


@given(st.text(alphabet=st.sampled_from("ab. \n$\\[](){}A!?\x00"), max_size=60))
def test_splitting_loses_no_text(text: str) -> None:
    def bare(text: str) -> str:
        return "".join(text.replace("\x00", "").split())

    assert bare("".join(split_steps(text))) == bare(text)


def test_what_counts_as_cited() -> None:
    assert cites("see [ramsey] there", "ramsey")
    assert not cites("Ramsey said", "ramsey")
    assert cites("by thm-12.", "thm-12")
    assert not cites("by thm-123", "thm-12")
    assert not cites("[12]", "12")
    assert cites("by the Pigeonhole\nPrinciple we", "x", "pigeonhole principle")
    assert not cites("Triangle ABC", "x", "Triangle")
    assert cites('the fact "Triangle"', "x", "Triangle")
    assert not cites("by the pigeonholes principle", "x", "pigeonhole principle")
    ambiguous = Citations([("a", "Chain Rule"), ("b", "chain rule"), ("c", "Product Rule")])
    assert ambiguous.find("the chain rule and the product rule") == ["c"]


def test_what_counts_as_quoted() -> None:
    document = "one two three four five six seven eight nine ten"
    assert quotes("so two three four five six seven eight nine then", document)
    assert not quotes("so two three four five six seven eight then", document)
    assert not quotes(document, document, but_not=document)
    assert quotes("Energy cannot be created", "energy cannot be created")
    assert not quotes("be created", "be created")
