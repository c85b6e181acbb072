"""Proof trees: each step retrieves its leaves, and what stands before it is what was known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rader_synthesis.importing import Corpus, ImportReport, Proofs

from rader_plugins.documents import Document
from rader_plugins.errors import InputError
from rader_plugins.ingestion import open_source

ROW: dict[str, Any] = {
    "id": "leo",
    "question": "Why does Leo move?",
    "answer": "Earth revolves.",
    "hypothesis": "earth revolving moves leo",
    "facts": ["leo is a constellation", "revolving moves stars", "a constellation has stars", "nobody has this"],
    "fact_ids": ["f1", "f2", "f3", None],
    "proof": "$proof$ = sent1 & sent3 -> int1: leo has stars; int1 & sent2 & sent4 & sent1 -> hypothesis; ",
}


def write(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "proofs.jsonl"
    path.write_text(json.dumps({**ROW, **changes}))
    return path


def test_a_proof_is_a_trajectory(tmp_path: Path) -> None:
    report = ImportReport()
    [trajectory] = Proofs().read(write(tmp_path), report)
    assert (trajectory.id, trajectory.problem_id, trajectory.reward, trajectory.answer) == (
        "leo",
        "leo",
        1.0,
        trajectory.gold_answer,
    )
    assert [(step.kind, step.text, step.document_id) for step in trajectory.steps] == [
        ("query", "leo has stars", None),
        ("retrieval", "leo is a constellation\na constellation has stars", None),
        ("thought", "leo has stars", None),
        ("query", "earth revolving moves leo", None),
        ("retrieval", "revolving moves stars", "f2"),  # sent1 was retrieved before
        ("thought", "nobody has this", None),
        ("thought", "earth revolving moves leo", None),
        ("answer", "Earth revolves.", None),
    ]
    labels = {
        (document.id, document.relevant, document.labelled_by)
        for step in trajectory.retrievals
        for document in step.considered
    }
    assert labels == {("f1", True, "proof"), ("f2", True, "proof"), ("f3", True, "proof")}
    assert report.notes == {"leaf without a document, kept as a thought": 1}


def test_the_corpus_gives_texts_and_must_have_the_facts(tmp_path: Path) -> None:
    corpus = Corpus([Document(id, f"text of {id}") for id in ("f1", "f2", "f3")])
    [trajectory] = Proofs(corpus=corpus).read(write(tmp_path))
    assert [document.text for document in trajectory.steps[1].considered] == ["text of f1", "text of f3"]
    with pytest.raises(InputError, match=r"proofs.jsonl, row 1: the corpus has no document 'f1'"):
        list(Proofs(corpus=Corpus([Document("x", "x")])).read(write(tmp_path)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"proof": "sent1 -> int1: a; int2 -> hypothesis"}, "'int2' is used before a step proves it"),
        ({"proof": "sent9 -> hypothesis"}, "there is no fact 'sent9'; the row has 4"),
        ({"proof": "because"}, "'because' is not a step"),
        ({"proof": ";"}, "the proof has no steps"),
        ({"proof": None}, "must be texts"),
        ({"fact_ids": ["f1"]}, "lists of one length"),
        ({"facts": [1, 2, 3, 4]}, "every fact is a text"),
        ({"answer": ""}, "needs a 'question' and an 'answer'"),
    ],
)
def test_unusable_proofs_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(Proofs().read(write(tmp_path, **changes)))


def test_all_proofs_of_entailmentbank_are_read(shared_data: Path) -> None:
    folder = shared_data / "entailmentbank"
    corpus = Corpus(open_source(folder).documents())
    report = ImportReport()
    trajectories = list(Proofs(corpus=corpus).read(folder / "proofs_train.jsonl", report))
    assert len(trajectories) == len({trajectory.id for trajectory in trajectories}) == report.rows == 1308
    rows = [json.loads(line) for line in (folder / "proofs_train.jsonl").read_text().splitlines()]
    for row, trajectory in zip(rows, trajectories, strict=True):
        used = {id for id in row["fact_ids"] if id is not None}
        assert {document.id for step in trajectory.retrievals for document in step.considered} <= used
    leaves = sum(len(step.considered) for trajectory in trajectories for step in trajectory.retrievals)
    assert leaves == 5495
