"""The tracker: events of concurrent runs, in whatever order, become the right trajectories in bounded memory."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from rader_plugins.errors import InputError
from rader_plugins.recording import RecordingLimits, RunTracker
from rader_plugins.trajectories import Considered, Trajectory

FOUND = [Considered("a", "one"), Considered("b", "two"), Considered("a", "again")]


def tracker(made: list[Trajectory], **options: Any) -> RunTracker:
    return RunTracker(made.append, source="test", **options)


def shape(trajectory: Trajectory) -> list[tuple[str, str]]:
    return [(step.kind, step.text) for step in trajectory.steps]


def test_steps_stand_in_the_order_in_which_they_began() -> None:
    trajectories: list[Trajectory] = []
    runs = tracker(trajectories)
    runs.start("root", None, "chain", "the question", metadata={"app": 1})
    runs.start("slow", "root", "retriever", "slow query")
    runs.start("fast", "root", "retriever", "fast query")
    runs.start("model", "root", "llm")
    runs.thought("model", "a thought")
    runs.finish("model")
    runs.retrieved("fast", FOUND)
    runs.finish("fast")
    runs.retrieved("slow", [])
    runs.finish("slow")
    runs.finish("root", "the answer")
    [trajectory] = trajectories
    assert shape(trajectory) == [
        ("query", "slow query"), ("retrieval", ""), ("query", "fast query"), ("retrieval", ""),
        ("thought", "a thought"), ("answer", "the answer"),
    ]  # fmt: skip
    assert [(document.id, document.text) for document in trajectory.steps[3].considered] == [("a", "one"), ("b", "two")]
    assert (trajectory.question, trajectory.answer, trajectory.source, trajectory.metadata["app"]) == (
        "the question",
        "the answer",
        "test",
        1,
    )
    assert trajectory.reward is None


def test_a_tool_with_a_retriever_below_is_not_counted_twice() -> None:
    trajectories: list[Trajectory] = []
    runs = tracker(trajectories)
    runs.start("root", None, "chain", "q")
    runs.start("tool", "root", "tool", "asked")
    runs.start("inner", "tool", "chain")
    runs.start("retriever", "inner", "retriever", "rewritten")
    runs.retrieved("retriever", FOUND)
    runs.finish("retriever")
    runs.finish("inner")
    runs.retrieved("tool", FOUND, "asked")
    runs.finish("tool")
    runs.finish("root")
    assert shape(trajectories[0]) == [("query", "rewritten"), ("retrieval", "")]


def test_limits_hold() -> None:
    trajectories: list[Trajectory] = []
    limits = RecordingLimits(open_runs=2, steps=3, documents=1, characters=5)
    runs = tracker(trajectories, limits=limits)
    runs.start("root", None, "chain", "0123456789")
    for number in range(10):
        runs.start(f"r{number}", "root", "retriever", "0123456789")
        runs.retrieved(f"r{number}", FOUND)
        runs.finish(f"r{number}")
    runs.finish("root", "0123456789")
    [trajectory] = trajectories
    # An answer keeps its end, where what was asked for stands.
    assert (trajectory.question, trajectory.answer, trajectory.metadata["truncated"]) == ("01234", "01289", True)
    assert len(trajectory.retrievals) == 3
    assert all(len(step.considered) == 1 for step in trajectory.retrievals)


def test_what_belongs_to_a_forgotten_run_makes_no_new_one() -> None:
    trajectories: list[Trajectory] = []
    runs = tracker(trajectories, limits=RecordingLimits(open_runs=2))
    for name in ("first", "second", "third"):
        runs.start(name, None, "chain", name)
        runs.start(f"{name} child", name, "chain")
    runs.start("late", "first child", "retriever", "q")
    runs.retrieved("late", FOUND)
    runs.finish("late")
    runs.finish("first")
    assert (trajectories, runs.open_runs, runs.counts.forgotten) == ([], 2, 1)
    runs.start("of second", "second child", "retriever", "q")
    runs.retrieved("of second", FOUND)
    runs.finish("of second")
    runs.finish("second")
    assert [trajectory.question for trajectory in trajectories] == ["second"]
    assert not runs._members.keys() - {"third", "third child"}


def test_runs_that_were_quiet_too_long_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("rader_plugins.recording.runs.time.monotonic", lambda: now)
    runs = tracker([], limits=RecordingLimits(run_seconds=10))
    runs.start("quiet", None, "chain", "q")
    runs.start("busy", None, "chain", "q")
    now = 9.0
    runs.start("child", "busy", "chain")
    now = 12.0
    runs.start("new", None, "chain", "q")
    assert (runs.open_runs, runs.counts.forgotten, runs.knows("quiet"), runs.knows("busy")) == (2, 1, False, True)


def test_runs_without_a_retrieval_or_failed_ones_as_wanted() -> None:
    trajectories: list[Trajectory] = []
    runs = tracker(trajectories, only_with_retrieval=False, record_failed=False)
    runs.start("plain", None, "llm", "q")
    runs.thought("plain", "said")
    runs.finish("plain")
    runs.start("failed", None, "chain", "q")
    runs.finish("failed", error="Oops")
    runs.start("nothing", None, "chain")
    runs.finish("nothing", "a")
    assert [shape(trajectory) for trajectory in trajectories] == [[("answer", "said")]]
    assert (runs.counts.finished, runs.counts.skipped) == (1, 2)


def test_threads_do_not_mix_runs_up() -> None:
    trajectories: list[Trajectory] = []
    runs = tracker(trajectories)

    def work(name: str) -> None:
        for number in range(50):
            root = f"{name}{number}"
            runs.start(root, None, "chain", root)
            runs.start(f"{root} r", root, "retriever", root)
            runs.retrieved(f"{root} r", FOUND)
            runs.finish(f"{root} r")
            runs.finish(root, root)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(trajectories) == 400
    for trajectory in trajectories:
        assert shape(trajectory) == [("query", trajectory.question), ("retrieval", ""), ("answer", trajectory.question)]
    assert (runs.open_runs, runs._members) == (0, {})


def test_unusable_limits_are_refused() -> None:
    for options in ({"open_runs": 0}, {"characters": 0}, {"run_seconds": 0}):
        with pytest.raises(InputError):
            RecordingLimits(**options)  # type: ignore[arg-type]
