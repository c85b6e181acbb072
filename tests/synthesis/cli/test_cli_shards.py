"""``rader synthesize --shard`` on two machines, and ``rader trajectories merge``, as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rader_plugins.trajectories import read_trajectories
from tests.synthesis.cli.test_cli_synthesize import index, options, rader  # noqa: F401 - two are fixtures
from tests.synthesis.scripted import chance, server

COUNT = 8


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl"
    rows = [{"id": f"p{n}", "problem": f"Question {n}?", "answer": 8} for n in range(COUNT)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def trajectories(folder: Path) -> list[Any]:
    return sorted(read_trajectories(folder / "trajectories.jsonl"), key=lambda trajectory: trajectory.id)


@pytest.mark.slow
def test_two_shards_become_the_run_over_all(tmp_path: Path, problems: Path, options: list[Any]) -> None:  # noqa: F811
    settings = options[:-1]
    with server(chance) as served:
        call = ["synthesize", problems, "--llm-url", served.url, *settings]
        rader(*call, tmp_path / "whole")
        for number in (1, 2):
            summary = json.loads(rader(*call, tmp_path / f"part{number}", "--shard", f"{number}/2", "--json").stdout)
            assert 0 < summary["problems"] < COUNT
        parts = [tmp_path / "part1", tmp_path / "part2"]
        report = json.loads(rader("trajectories", "merge", *parts, "--out", tmp_path / "all", "--json").stdout)
        assert (report["merged"], report["present"], report["shortfall"]) == (COUNT, 0, None)
        assert trajectories(tmp_path / "all") == trajectories(tmp_path / "whole")
        said = rader("trajectories", "merge", *parts, "--out", tmp_path / "all").stdout
        assert f"0 problems; {COUNT} were there" in said
        requests = len(served.requests)
        rader(*call, tmp_path / "all")  # a run like any other, and there is nothing left to do in it
        assert len(served.requests) == requests
        rader("trajectories", "merge", tmp_path / "part1", "--out", tmp_path / "one")
        assert len(trajectories(tmp_path / "one")) < len(trajectories(tmp_path / "whole"))


@pytest.mark.slow
def test_what_cannot_be_merged_or_cut_is_refused(tmp_path: Path, problems: Path, options: list[Any]) -> None:  # noqa: F811
    with server(chance) as served:
        call = ["synthesize", problems, "--llm-url", served.url, *options]
        for text in ("3/2", "0/2", "x"):
            assert "3/8" in rader(*call, "--shard", text, code=2).stderr
        rader(*call, "--limit", 1)
        rader(*call[:-1], tmp_path / "other", "--seed", 7, code=1)  # of another seed; nothing in it is of use
        run, other = tmp_path / "run", tmp_path / "other"
        assert rader("trajectories", "merge", run, other, "--out", tmp_path / "all", code=2).stderr
        assert rader("trajectories", "merge", run, "--out", run, code=2).stderr
        assert rader("trajectories", "merge", tmp_path / "none", "--out", tmp_path / "all", code=2).stderr
    assert not (tmp_path / "all" / "trajectories.jsonl").exists()


def test_a_merge_of_which_nothing_can_be_trained_on_says_so(
    tmp_path: Path,
    problems: Path,
    options: list[Any],  # noqa: F811
) -> None:
    with server(lambda body: "!400") as served:
        rader("synthesize", problems, "--llm-url", served.url, *options, "--limit", 1, code=1)
    result = rader("trajectories", "merge", tmp_path / "run", "--out", tmp_path / "all", code=1)
    assert "1 failed" in result.stdout
