"""The background writer: nothing lost but the queue, nothing that blocks or raises, files that several share."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rader_plugins.recording.writer as writer_module
from rader_plugins.errors import InputError
from rader_plugins.recording import (
    MergeReport,
    TrajectoryWriter,
    feedback_path,
    merge_feedback,
    question_id,
    read_recorded,
    recorded_files,
)
from rader_plugins.trajectories import Considered, Step, Trajectory, read_trajectories


def run(id: str, question: str = "q", **fields: Any) -> Trajectory:
    return Trajectory(id, "", question, (Step("retrieval", considered=(Considered("d", "text"),)),), **fields)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "runs.jsonl"


def test_rows_arrive_with_a_problem_id_and_can_be_read(path: Path) -> None:
    with TrajectoryWriter(path) as writer:
        assert all(writer.put(run(f"r{number}", "same")) for number in range(200))
        assert writer.flush()
        assert len(list(read_trajectories(path))) == 200
        writer.put(run("odd", "lone \ud800 surrogate"))
    rows = list(read_trajectories(path))
    assert [row.id for row in rows[:200]] == [f"r{number}" for number in range(200)]
    assert {row.problem_id for row in rows[:200]} == {question_id("same")}
    assert rows[200].question == "lone ? surrogate"
    assert (writer.counts.written, writer.counts.dropped) == (201, 0)
    assert not writer.put(run("late"))
    assert writer.counts.dropped == 1


def test_a_relative_name_means_the_folder_of_that_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    with TrajectoryWriter("runs.jsonl") as writer:
        monkeypatch.chdir(tmp_path / "other")
        writer.put(run("a"))
        writer.feedback("a", reward=1.0)
    assert len(list(read_trajectories(tmp_path / "runs.jsonl"))) == 1
    assert list((tmp_path / "other").iterdir()) == []


def test_feedback_is_put_together_with_its_runs(path: Path, tmp_path: Path) -> None:
    with TrajectoryWriter(path) as writer:
        writer.put(run("a"))
        writer.put(run("b", reward=0.0))
        writer.feedback("a", reward=0.5, comment="first")
        writer.feedback("a", gold_answer="six")
        writer.feedback("a", reward=np.float32(1), comment="second")  # type: ignore[arg-type]
        writer.feedback("unknown", reward=1.0)
        assert not writer.feedback("a", reward=float("nan"))
        assert not writer.feedback("a", gold_answer=7)  # type: ignore[arg-type]
    assert writer.counts.feedback == 4
    report = MergeReport()
    first, second = read_recorded(path, report)
    assert (first.reward, first.gold_answer, first.metadata) == (1.0, "six", {"feedback": ["first", "second"]})
    assert (second.reward, second.gold_answer) == (0.0, None)
    assert (report.trajectories, report.with_feedback, report.unmatched) == (2, 1, ["unknown"])
    out = tmp_path / "merged.jsonl"
    assert merge_feedback([path], out) == report
    assert list(read_trajectories(out)) == [first, second]


@pytest.mark.parametrize(
    ("row", "message"),
    [("{", "row 1 is not JSON"), ("[]", "holds list"), ('{"schema": "x"}', "no row of feedback")],
)
def test_broken_feedback_is_named(path: Path, row: str, message: str) -> None:
    with TrajectoryWriter(path) as writer:
        writer.put(run("a"))
    feedback_path(path).write_text(f"{row}\n")
    with pytest.raises(InputError, match=message):
        list(read_recorded(path))
    with pytest.raises(InputError, match="not a file"):
        list(read_recorded(path.with_name("none.jsonl")))


def test_files_are_renamed_when_they_have_grown(path: Path) -> None:
    with TrajectoryWriter(path, max_bytes=1000) as writer:
        for number in range(12):
            writer.put(run(f"r{number}", "x" * 200))
            assert writer.flush()
        writer.feedback("r0", reward=1.0)
    files = recorded_files(path)
    assert [file.name for file in files[:2]] == ["runs.00001.jsonl", "runs.00002.jsonl"]
    assert files[-1] == path
    assert all(file.stat().st_size <= 1000 for file in files)
    assert [row.id for row in read_recorded(path)] == [f"r{number}" for number in range(12)]
    assert next(read_recorded(path)).reward == 1.0


@pytest.mark.parametrize("torn", [b'{"schema": "' + b"long" * 500, b'{"id": "\xc3'])
def test_a_row_that_a_killed_writer_left_is_passed_over_and_taken_away(path: Path, torn: bytes) -> None:
    with TrajectoryWriter(path) as writer:
        writer.put(run("a"))
    with path.open("ab") as stream:
        stream.write(torn)
    report = MergeReport()
    assert [row.id for row in read_recorded(path, report)] == ["a"]
    assert report.unfinished == [str(path)]
    with TrajectoryWriter(path) as writer:
        writer.put(run("b"))
    assert [row.id for row in read_trajectories(path)] == ["a", "b"]


def test_a_whole_row_without_its_line_break_is_kept(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(json.dumps({**run("a").row(), "problem_id": "p"}))
    with TrajectoryWriter(path) as writer:
        writer.put(run("b"))
    assert [row.id for row in read_trajectories(path)] == ["a", "b"]


def test_writing_goes_on_when_the_disk_has_room_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = 3
    append = writer_module.append_rows

    def full(*arguments: Any) -> None:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise OSError(28, "No space left on device")
        append(*arguments)

    monkeypatch.setattr(writer_module, "append_rows", full)
    with caplog.at_level(logging.WARNING), TrajectoryWriter(path, retry_seconds=0.001) as writer:
        writer.put(run("a"))
        assert writer.flush()
    assert [row.id for row in read_trajectories(path)] == ["a"]
    assert caplog.text.count("cannot be written") == 1
    failures = 10**9
    with TrajectoryWriter(path, retry_seconds=0.001) as writer:
        writer.put(run("b"))
    assert writer.counts.failed == 1


def test_a_short_write_leaves_no_half_row(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rader_plugins.recording import append

    with TrajectoryWriter(path) as writer:
        writer.put(run("a"))
    before = path.read_bytes()
    write = os.write

    def half(descriptor: int, data: Any) -> int:
        if len(data) > 40:
            return write(descriptor, bytes(data[:20]))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(append.os, "write", half)
    with pytest.raises(OSError, match="No space"):
        append.append_rows(path, b'{"a": "' + b"x" * 60 + b'"}\n')
    monkeypatch.undo()
    assert path.read_bytes() == before


def test_a_raising_hook_drops_the_row_and_the_thread_goes_on(path: Path) -> None:
    def hook(text: str) -> Any:
        if "secret" in text:
            raise RuntimeError("no")
        return 7 if "number" in text else text.upper()

    with TrajectoryWriter(path, redact=hook) as writer:
        for question in ("a secret", "a number", "plain"):
            writer.put(run(question, question, metadata={"user": {"name": ["ann"]}, "count": 1}))
        writer.put(run("unjson", metadata={"x": object()}))
        writer.feedback("plain", comment="secret")
        writer.feedback("plain", comment="said")
    assert (writer.counts.written, writer.counts.refused, writer.counts.feedback) == (1, 4, 1)
    [row] = read_recorded(path)
    assert (row.id, row.question, row.problem_id) == ("plain", "PLAIN", question_id("PLAIN"))
    assert row.steps[0].considered[0] == Considered("d", "TEXT")
    assert row.metadata == {"user": {"name": ["ANN"]}, "count": 1, "feedback": ["SAID"]}


@pytest.mark.slow
def test_writers_of_several_processes_share_a_file(path: Path) -> None:
    code = (
        "import sys\nfrom rader_plugins.recording import TrajectoryWriter\n"
        "from rader_plugins.trajectories import Trajectory\n"
        "writer = TrajectoryWriter(sys.argv[1], max_bytes=20000)\n"
        "for number in range(100):\n"
        "    writer.put(Trajectory(f'{sys.argv[2]}-{number}', '', 'q' * 300, ()))\n"
        "    if number % 10 == 0: writer.flush()\n"  # the rest is written at exit
    )
    children = [subprocess.Popen([sys.executable, "-c", code, str(path), name]) for name in "abc"]
    assert [child.wait(600) for child in children] == [0, 0, 0]
    ids = [row.id for row in read_recorded(path)]
    assert sorted(ids) == sorted(f"{name}-{number}" for name in "abc" for number in range(100))
    for name in "abc":
        assert [id for id in ids if id.startswith(name)] == [f"{name}-{number}" for number in range(100)]


def test_a_killed_process_loses_its_queue_at_most(path: Path) -> None:
    code = (
        "import os, signal, sys\nfrom rader_plugins.recording import TrajectoryWriter\n"
        "from rader_plugins.trajectories import Trajectory\n"
        "writer = TrajectoryWriter(sys.argv[1])\n"
        "for number in range(50): writer.put(Trajectory(f'r{number}', '', 'q', ()))\n"
        "writer.flush()\nprint('flushed', flush=True)\n"
        "for number in range(50, 900): writer.put(Trajectory(f'r{number}', '', 'q', ()))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    child = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert child.returncode == -9
    ids = [row.id for row in read_recorded(path)]
    assert ids[:50] == [f"r{number}" for number in range(50)]
    assert ids == [f"r{number}" for number in range(len(ids))]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_writes_its_own_rows_only(path: Path) -> None:
    code = (
        "import os, sys\nfrom rader_plugins.recording import TrajectoryWriter\n"
        "from rader_plugins.trajectories import Trajectory\n"
        "writer = TrajectoryWriter(sys.argv[1])\n"
        "for number in range(20): writer.put(Trajectory(f'parent{number}', '', 'q', ()))\n"
        "child = os.fork()\n"
        "writer.put(Trajectory('child' if child == 0 else 'after', '', 'q', ()))\n"
        "assert writer.close()\n"
        "if child: sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(path)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ids = sorted(row.id for row in read_recorded(path))
    assert ids == sorted(["after", "child", *(f"parent{number}" for number in range(20))])


def test_many_threads_put_at_once(path: Path) -> None:
    with TrajectoryWriter(path, queue_size=10_000) as writer:
        threads = [
            threading.Thread(target=lambda name=name: [writer.put(run(f"{name}-{number}")) for number in range(100)])
            for name in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len({row.id for row in read_recorded(path)}) == writer.counts.written == 800


@pytest.mark.parametrize("options", [{"queue_size": 0}, {"max_bytes": 0}, {"retry_seconds": 0}, {"redact": 7}])
def test_unusable_options_are_refused(path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        TrajectoryWriter(path, **options)
    with pytest.raises(InputError, match="is a folder"):
        TrajectoryWriter(path.parent.parent)
