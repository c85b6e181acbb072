"""Reading a recording: each run once, feedback for whom it is meant, parts as one, whatever a writer does meanwhile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rader_plugins.recording import MergeReport, TrajectoryWriter, read_recorded
from rader_plugins.trajectories import Considered, Step, Trajectory
from tests.support.examples import examples


def run(id: str, question: str = "q", answer: str | None = "six", **metadata: Any) -> Trajectory:
    steps = (Step("query", question), Step("retrieval", considered=(Considered("d", "text"),)))
    return Trajectory(id, "", question, steps, answer, metadata=metadata)


def read(path: Path) -> tuple[list[Trajectory], MergeReport]:
    report = MergeReport()
    return list(read_recorded(path, report)), report


@settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(order=st.permutations([*range(4), *range(4)]), extra=st.booleans())
def test_a_run_that_several_recorders_wrote_counts_once(tmp_path_factory: Any, order: list[int], extra: bool) -> None:
    path = tmp_path_factory.mktemp("recording") / "runs.jsonl"
    with TrajectoryWriter(path) as writer:
        for seconds, number in enumerate(order):  # metadata differ: each recorder has its own clock and options
            writer.put(run(str(number), f"question {number}", seconds=seconds, **({"app": seconds} if extra else {})))
        writer.feedback("0", reward=1.0)
    runs, report = read(path)
    assert sorted(trajectory.id for trajectory in runs) == list("0123")
    assert sorted(report.repeated) == list("0123")
    assert [trajectory.id for trajectory in runs if trajectory.reward is not None] == ["0"]
    assert (report.trajectories, report.ambiguous) == (8, [])


def test_feedback_for_a_name_that_two_runs_share_is_nobodys(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    with TrajectoryWriter(path) as writer:
        for id, question, answer in (
            ("a", "one?", "1"),
            ("a", "two?", "2"),
            ("b", "three?", None),
            ("b", "three?", "3"),
        ):
            writer.put(run(id, question, answer))
        for id in "ab":
            writer.feedback(id, reward=1.0)
    runs, report = read(path)
    assert [(trajectory.question, trajectory.reward) for trajectory in runs if trajectory.answer] == [
        ("one?", None),
        ("two?", None),
        ("three?", 1),
    ]
    assert (report.ambiguous, report.with_feedback, report.repeated) == (["a"], 2, [])


@pytest.mark.parametrize("ids", [("a", "a"), ("a", "b")], ids=["one name", "two names"])
@pytest.mark.parametrize("later", [0, 1])
def test_the_latest_feedback_for_any_part_counts(tmp_path: Path, ids: tuple[str, str], later: int) -> None:
    path = tmp_path / "runs.jsonl"
    with TrajectoryWriter(path) as writer:
        writer.put(run(ids[0], answer=None, thread="t", closed_early=True))
        writer.put(replace(run(ids[1], thread="t", resumed=True), question="", steps=()))
        writer.feedback(ids[1 - later], reward=0.0, comment="first")
        writer.feedback(ids[later], reward=1.0)
    [trajectory], report = read(path)
    assert (trajectory.question, trajectory.answer, trajectory.reward, trajectory.metadata["feedback"]) == (
        "q",
        "six",
        1.0,
        ["first"],
    )
    assert ("closed_early" in trajectory.metadata, report.resumed, report.repeated) == (False, 1, [])


def test_a_file_that_is_renamed_while_it_is_read_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    with TrajectoryWriter(path, max_bytes=1) as writer:  # each row begins a new file
        for number in range(3):
            writer.put(run(str(number)))
            assert writer.flush()
        rows = read_recorded(path)
        ids = [next(rows).id]
        for number in range(3, 6):
            writer.put(run(str(number)))
            assert writer.flush()
        ids += [trajectory.id for trajectory in rows]
    assert ids == ["0", "1", "2"]  # as it was when reading began
    assert [trajectory.id for trajectory in read(path)[0]] == [str(number) for number in range(6)]
