"""Data sets that come with the library, by their names; the made-up help desk is what its README says."""

from __future__ import annotations

import gzip
import json
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rader_plugins.errors import InputError
from rader_plugins.evaluation import RetrievalDataset, bundled_folder
from rader_plugins.evaluation.datasets import open_dataset
from rader_plugins.evaluation.datasets.bundled import BUNDLED_SETS
from rader_plugins.evaluation.datasets.names import check_names
from rader_plugins.evaluation.overlap import load_evaluation_set
from rader_plugins.text_matching import word_overlap


@pytest.fixture(scope="module")
def skirl() -> RetrievalDataset:
    return RetrievalDataset.bundled("skirl")


@pytest.fixture(scope="module")
def conversations() -> list[dict[str, Any]]:
    with gzip.open(bundled_folder("skirl") / "conversations.jsonl.gz", "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


@pytest.mark.parametrize("name", BUNDLED_SETS)
def test_each_loads_without_a_warning_by_function_and_by_name(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = RetrievalDataset.bundled(name)
    assert open_dataset(f"bundled:{name}").digest == dataset.digest
    assert load_evaluation_set(f"bundled:{name}").documents > 100
    assert check_names([f"bundled:{name}"]) == [f"bundled:{name}"]


def test_a_name_that_is_none_is_an_error_before_anything_is_loaded() -> None:
    for use in (check_names, lambda names: open_dataset(names[0]), lambda names: load_evaluation_set(names[0])):
        with pytest.raises(InputError, match="skirl"):
            use(["bundled:nothing"])


def test_a_folder_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_dataset("bundled").digest == RetrievalDataset.bundled("principles").digest
    (tmp_path / "bundled").mkdir()
    with pytest.raises(InputError, match=r"corpus\.jsonl"):
        open_dataset("bundled")


def test_every_problem_has_an_article_of_its_own(skirl: RetrievalDataset) -> None:
    assert len(skirl.corpus) == 200
    assert len(skirl.judged) == 150
    right = [document for query in skirl.judged for document in skirl.qrels[query]]
    assert len(set(right)) == len(right) == 150


def test_questions_share_few_words_with_their_article(skirl: RetrievalDataset) -> None:
    overlaps = [
        word_overlap(skirl.queries[query], skirl.corpus[document].text)
        for query in skirl.judged
        for document in skirl.qrels[query]
    ]
    assert round(sum(overlaps) / len(overlaps), 3) == 0.085  # as its README says
    assert overlaps.count(0) == 22


def test_the_log_asks_what_the_queries_ask_and_shows_what_the_handbook_has(
    skirl: RetrievalDataset, conversations: list[dict[str, Any]]
) -> None:
    assert [row["id"] for row in conversations] == list(skirl.queries)
    for row in conversations:
        prompt = "\n".join(message["content"] for message in row["messages"] if message["role"] == "user")
        assert prompt.startswith(skirl.queries[row["id"]])
        results = [json.loads(message["content"]) for message in row["messages"] if message["role"] == "tool"]
        assert results
        for result in (result for search in results for result in search):
            text = result["snippet"].removesuffix(" ...")
            assert skirl.corpus[result["id"]].text.startswith(f"{result['title']} {text}")


@pytest.mark.slow
def test_the_log_is_imported_with_its_faults(tmp_path: Path, skirl: RetrievalDataset) -> None:
    pytest.importorskip("rader_synthesis")
    from typer.testing import CliRunner

    from rader_plugins.cli.app import build_app
    from rader_plugins.trajectories import read_trajectories

    folder, out = bundled_folder("skirl"), tmp_path / "trajectories.jsonl"
    command = ["import", "auto", str(folder / "conversations.jsonl.gz"), "--corpus", str(folder), "--label", "citation"]
    ran = CliRunner().invoke(build_app(), [*command, "--out", str(out)])
    assert ran.exit_code == 0, ran.output
    trajectories = list(read_trajectories(out))
    assert len(trajectories) == 150
    right = {query: set(skirl.qrels[query]) for query in skirl.judged}
    ratings = Counter(trajectory.reward for trajectory in trajectories)
    assert ratings == {1: 78, 0: 15, None: 57}  # as its README says, and so are the labels
    labels = {True: 0, False: 0}
    for trajectory in trajectories:
        name = next(query for query in right if trajectory.id.startswith(query))
        for step in trajectory.steps:
            for document in step.considered:
                if document.relevant and (trajectory.reward is None or trajectory.reward == 1):
                    labels[document.id in right[name]] += 1
    assert labels[True] >= 124 - 7
    assert labels[False] == 3, "a log is wrong in places"
