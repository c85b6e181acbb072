"""Samples that hold queries of an evaluation set are refused, or trained on knowingly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rader_training.data.groups import Groups
from rader_training.data.overlap import find_overlap
from rader_training.data.rows import load_samples
from typer.testing import CliRunner

from rader_plugins import Document, RetrievalDataset
from rader_plugins.cli import build_app
from rader_plugins.errors import InputError
from rader_plugins.evaluation.overlap import EvaluationSet, load_evaluation_set
from rader_plugins.files import write_jsonl
from rader_plugins.samples import Passage, Sample
from tests.training.support import retriever_config, train_retriever

ONE_STEP = retriever_config(max_steps=1)
LONG = "a pirate buries one chest on every island whose number divides the number of palm trees there"


def groups_of(folder: Path, *samples: Sample, **options: Any) -> Groups:
    write_jsonl(folder / "s.jsonl", [toy.row() for toy in samples])
    return Groups(
        load_samples(folder / "s.jsonl", folder / "cache"), **{"size": 2, "weights": {}, "seed": 0, **options}
    )


def sample(id: str, query: str, kind: Any = "question", text: str = "t") -> Sample:
    return Sample(id, query, kind, (Passage("p", text),), (Passage("n", "negative"),))


def test_what_counts_as_an_overlap(tmp_path: Path) -> None:
    test = EvaluationSet("test", {"short": "Why is it so?", "long": LONG}, iter(["Text of  A"]))
    groups = groups_of(
        tmp_path,
        sample("same", "why is it SO", text="text of a"),
        sample("head", "Why is it so?\nA step.\nAnother.", "cot"),
        sample("part", "Then " + " ".join(LONG.split()[2:15])),
        sample("free", "Why is it so that it rains?", "cot"),
        sample("not a cot", "Why is it so?\nA step."),
    )
    overlap = find_overlap(groups, [test])
    assert [(row["query_id"], row["query"], row["how"]) for row in overlap["listed"]] == [
        ("same", "short", "exact"),
        ("head", "short", "exact"),
        ("part", "long", "ngram"),
    ]
    assert (overlap["samples"], overlap["overlapping"]) == (5, 3)
    (against,) = overlap["against"]
    assert against["overlaps"] == {"exact": 2, "ngram": 1}
    assert (against["queries"], against["corpus_documents"], against["samples_with_a_positive_in_its_corpus"]) == (
        2,
        1,
        1,
    )
    unseen = groups_of(
        tmp_path, sample("a", "Why is it so?", "cot"), sample("b", "other"), weights={"cot": 0, "question": 2}
    )
    assert find_overlap(unseen, [test])["samples"] == 1, "what is not trained on is not looked at"


def test_a_data_set_gives_its_judged_queries_as_searched_and_as_asked() -> None:
    corpus = {"d": Document("d", "the text")}
    dataset = RetrievalDataset(
        corpus, {"q": "long reasoning", "unjudged": "free"}, {"q": {"d": 1}}, name="n", originals={"q": "asked"}
    )
    test = EvaluationSet.of(dataset)
    assert test.name == "n:test"
    assert test.same("Long reasoning") is not None
    assert test.same("asked") is not None
    assert test.same("free") is None
    assert test.knows("The text.")


def test_an_unknown_split_of_bright_is_an_error() -> None:
    with pytest.raises(InputError, match="biologie"):
        load_evaluation_set("bright:biologie")


@pytest.mark.slow
def test_overlap_is_refused_written_down_and_may_be_allowed(tiny: Path, samples: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "test.jsonl", [{"_id": "t1", "text": "Where is number 3 of mouse?"}])
    write_jsonl(tmp_path / "other.jsonl", [{"_id": "t1", "text": "Something else"}])
    out = tmp_path / "run"
    named = [str(tmp_path / "test.jsonl"), str(tmp_path / "other.jsonl")]
    with pytest.raises(InputError, match="1 of 16 samples overlap.*1 with test.*'q3' holds query 't1' of test.*allow"):
        train_retriever(samples, str(tiny), out, ONE_STEP, check_against=named, device="cpu")
    assert [file.name for file in out.iterdir()] == ["overlap.json"]
    assert json.loads((out / "overlap.json").read_bytes())["allowed"] is False
    report = train_retriever(samples, str(tiny), out, ONE_STEP, check_against=named, allow_overlap=True, device="cpu")
    assert report.overlap == json.loads((out / "overlap.json").read_bytes())
    assert report.overlap["allowed"] is True
    assert [test_set["overlaps"] for test_set in report.overlap["against"]] == [{"exact": 1}, {}]
    assert '"query_id": "q3"' in (report.model / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_what_is_evaluated_on_is_checked_by_itself(tiny: Path, samples: Path, tmp_path: Path) -> None:
    corpus = {"cat": Document("cat", "the cat lives here")}
    dataset = RetrievalDataset(corpus, {"e1": "where is number 0 of cat"}, {"e1": {"cat": 1}}, name="mine", split="dev")
    with pytest.raises(InputError, match="'q0' holds query 'e1' of mine:dev"):
        train_retriever(samples, str(tiny), tmp_path / "run", ONE_STEP, evaluate_on=dataset, device="cpu")
    report = train_retriever(samples, str(tiny), tmp_path / "none", ONE_STEP, device="cpu")
    assert report.overlap is None
    assert "not looked for" in (report.model / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_command_refuses_and_allows(tiny: Path, samples: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "test.jsonl", [{"_id": "t1", "text": "Where is number 3 of mouse?"}])
    (tmp_path / "c.toml").write_text("[retriever]\nmax_steps = 1\n", encoding="utf-8")
    arguments = ["train", "retriever", str(samples), "--base", str(tiny), "--out", str(tmp_path / "run")]
    arguments += ["--config", str(tmp_path / "c.toml"), "--device", "cpu", "--no-holdout"]
    arguments += ["--check-against", str(tmp_path / "test.jsonl"), "--check-against", "bundled"]
    refused = CliRunner().invoke(build_app(), arguments)
    assert refused.exit_code == 2
    assert "--allow-overlap" in refused.output
    allowed = CliRunner().invoke(build_app(), [*arguments, "--allow-overlap"])
    assert allowed.exit_code == 0, allowed.output
    assert "1 of 16 samples overlap with evaluation sets (1 with test)" in allowed.output
