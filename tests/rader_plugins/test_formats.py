"""The two formats that pass between the parts: what is written is read back, and bad rows are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rader_plugins.errors import InputError
from rader_plugins.samples import Passage, Sample
from rader_plugins.trajectories import Considered, Step, Trajectory, read_trajectories, write_trajectories

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
scores = st.none() | st.floats(allow_nan=False, allow_infinity=False)
weights = st.floats(min_value=0, exclude_min=True, allow_nan=False, allow_infinity=False)
truths = st.none() | st.booleans()
considered = st.builds(Considered, names, texts, scores, truths, texts, texts, texts, truths, weights)
steps = st.one_of(
    st.builds(Step, st.sampled_from(["thought", "rewrite", "query", "answer"]), texts),
    st.builds(Step, st.just("open"), texts, st.none() | names),
    st.builds(
        Step, st.just("retrieval"), texts, st.none() | names, st.lists(considered, max_size=3).map(tuple)
    ),
)  # fmt: skip
trajectories = st.builds(
    Trajectory,
    id=names,
    problem_id=names,
    question=texts,
    steps=st.lists(steps, max_size=4).map(tuple),
    answer=st.none() | texts,
    gold_answer=st.none() | texts,
    reward=scores,
    source=texts,
    metadata=st.dictionaries(names, texts | st.integers()),
)
passages = st.lists(st.builds(Passage, names, texts, texts, texts), max_size=3).map(tuple)
samples = st.builds(
    Sample,
    query_id=names,
    query=texts,
    query_kind=st.sampled_from(["question", "cot", "llm", "lexical"]),
    positives=passages,
    negatives=passages,
    problem_id=names,
    trajectory_id=texts,
    provenance=st.dictionaries(names, texts),
    weight=weights,
)


@given(trajectories)
def test_a_trajectory_survives_its_file_format(trajectory: Trajectory) -> None:
    assert Trajectory.from_row(json.loads(json.dumps(trajectory.row()))) == trajectory


@given(samples)
def test_a_sample_survives_its_file_format(sample: Sample) -> None:
    row = json.loads(json.dumps(sample.row()))
    assert Sample.from_row(row) == sample
    assert [passage["docid"] for passage in row["positive_passages"]] == [positive.id for positive in sample.positives]


def test_files_of_the_version_before_are_read() -> None:
    document = {"id": "d", "text": "t", "score": None, "relevant": True, "labelled_by": "citation"}
    steps = [{"kind": "query", "text": "q"}, {"kind": "retrieval", "text": "", "considered": [document]}]
    row = {"schema": "rader-trajectory/1", "id": "t", "problem_id": "p", "question": "q", "steps": steps}
    trajectory = Trajectory.from_row(row)
    assert trajectory.steps[1].considered == (Considered("d", "t", None, True, "", "citation"),)
    assert trajectory.row()["schema"] == "rader-trajectory/2"
    sample = Sample("s", "q", "cot", (Passage("a", "t"),)).row()
    assert sample.pop("weight") == 1.0
    assert Sample.from_row(sample).weight == 1.0


def test_a_row_with_the_columns_of_tevatron_is_a_sample() -> None:
    row = {"query_id": 7, "query": "q", "positive_passages": [{"doc_id": 3, "title": "T", "text": "t"}]}
    sample = Sample.from_row({**row, "negative_passages": []})
    assert sample.query_id == "7"
    assert sample.positives == (Passage("3", "t", "T"),)
    assert sample.positives[0].full_text == "T t"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "rader-trajectory/9"}, "schema"),
        ({"steps": None}, "'steps' must be a list"),
        ({"steps": [{"kind": "dream"}]}, "step 0: 'kind' is one of"),
        ({"steps": [{"kind": "retrieval", "considered": [{"text": "t"}]}]}, "step 0, document 0"),
        (
            {"steps": [{"kind": "retrieval", "considered": [{"id": "a", "weight": 0}]}]},
            "'weight' must be a number above",
        ),
        ({"steps": [{"kind": "retrieval", "considered": [{"id": "a", "opened": 1}]}]}, "'opened' is true, false"),
        ({"question": "\ud800"}, "lone surrogate"),
        ({"reward": float("nan")}, "'reward' must be a number"),
        ({"id": ""}, "'id' must not be empty"),
        ({"metadata": []}, None),
        ({"metadata": [1]}, "'metadata' must be an object"),
    ],
)
def test_unusable_trajectories_are_named(change: dict[str, Any], message: str | None) -> None:
    row = {**Trajectory("t", "p", "q", (Step("answer", "8"),)).row(), **change}
    if message is None:
        assert Trajectory.from_row(row).metadata == {}
        return
    with pytest.raises(InputError, match=message):
        Trajectory.from_row(row, "file, row 3")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "rader-sample/2"}, "schema"),
        ({"query_kind": "guess"}, "'query_kind' is one of"),
        ({"positives": None, "positive_passages": None}, "neither"),
        ({"positives": [{"text": "t"}]}, "no 'id'"),
        ({"negatives": [{"id": "n", "text": None}]}, "must be a string"),
        ({"provenance": "{"}, "not JSON"),
        ({"weight": -1}, "'weight' must be a number above 0"),
    ],
)
def test_unusable_samples_are_named(change: dict[str, Any], message: str) -> None:
    row = {**Sample("s", "q", "cot", (Passage("a", "t"),)).row(), **change}
    with pytest.raises(InputError, match=message):
        Sample.from_row(row, "row 3")


def test_trajectories_are_read_one_by_one_and_the_bad_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    first = Trajectory("a", "p", "q", ())
    assert write_trajectories(path, [first]) == 1
    with path.open("a") as stream:
        stream.write('{"schema": "x"}\n')
    rows = read_trajectories(path)
    assert next(rows) == first
    with pytest.raises(InputError, match="row 2"):
        next(rows)
