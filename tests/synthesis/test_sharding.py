"""Shards of a problem set, and runs over them that become one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rader_synthesis.config import SearchConfig
from rader_synthesis.sharding import Shard, merge_runs

from rader_plugins.errors import InputError
from rader_plugins.problems import Problem
from tests.synthesis.scripted import chance, server
from tests.synthesis.test_run import PROBLEMS, clean, output, rows, run  # noqa: F401 - clean is a fixture


def test_every_problem_is_in_one_shard_whatever_stands_beside_it() -> None:
    problems = [Problem(f"p{n}", "?", "1") for n in range(200)]
    for count in (1, 3, 8):
        parts = [Shard(number, count).of(problems) for number in range(1, count + 1)]
        assert sorted(problem.id for part in parts for problem in part) == sorted(problem.id for problem in problems)
        assert min(map(len, parts)) > 0
    partial = Shard.parse("2/3").of(problems[:50])
    assert partial == [problem for problem in Shard.parse("2/3").of(problems) if problem in problems[:50]]


@pytest.mark.parametrize("text", ["", "3", "0/3", "4/3", "a/b", "1/0", "-1/3", "1/3/5"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="3/8"):
        Shard.parse(text)


def test_a_shard_without_problems_is_refused() -> None:
    with pytest.raises(InputError, match="fewer shards"):
        _ = [Shard(number, 999).of(PROBLEMS) for number in range(1, 1000)]


@pytest.mark.slow
def test_runs_over_shards_become_the_run_over_all(tmp_path: Path, clean: dict[str, bytes]) -> None:  # noqa: F811
    with server(chance) as served:
        run(tmp_path / "a", served, PROBLEMS[:1])
        run(tmp_path / "b", served, PROBLEMS[1:3])
        before = {name: output(tmp_path / name) for name in "ab"}
        report = merge_runs([tmp_path / "a", tmp_path / "b"], tmp_path / "all")
        assert (report.merged, report.present) == (3, 0)
        assert before == {name: output(tmp_path / name) for name in "ab"}
        # It goes on with what is left, and gives the bytes of a run that was never cut.
        assert run(tmp_path / "all", served).searched == 1
        assert output(tmp_path / "all") == clean
        run(tmp_path / "c", served, PROBLEMS[2:])
        second_merge = merge_runs([tmp_path / name for name in "abc"], tmp_path / "all")
    assert (second_merge.merged, second_merge.present) == (0, 5)
    assert output(tmp_path / "all") == clean


def test_a_problem_that_failed_in_one_run_is_taken_from_another(tmp_path: Path) -> None:
    def fails(body: dict) -> str:
        return "!400"

    with server(fails) as served, pytest.raises(Exception, match="failed"):
        run(tmp_path / "a", served, PROBLEMS[:1], failed_share=0.5)
    with server(chance) as served:
        run(tmp_path / "b", served, PROBLEMS[:1])
    assert merge_runs([tmp_path / "a"], tmp_path / "all").totals["failed"] == 1
    assert merge_runs([tmp_path / "a", tmp_path / "b"], tmp_path / "all").totals["failed"] == 0
    assert output(tmp_path / "all") == output(tmp_path / "b")


def test_runs_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    with server(chance) as served:
        run(tmp_path / "a", served, PROBLEMS[:1])
        run(tmp_path / "seed", served, PROBLEMS[1:2], config=SearchConfig(rollouts=3, depth=4, seed=1))
        run(tmp_path / "other", served, [Problem(PROBLEMS[0].id, "Question 7?", "8")])
    (tmp_path / "none").mkdir()
    for other, words in (("seed", "seed"), ("none", "holds no run"), ("other", "another question")):
        with pytest.raises(InputError, match=words):
            merge_runs([tmp_path / "a", tmp_path / other], tmp_path / f"all-{other}")
    with pytest.raises(InputError, match="one of the runs"):
        merge_runs([tmp_path / "a"], tmp_path / "a")
    with pytest.raises(InputError, match="no runs"):
        merge_runs([], tmp_path / "x")


def test_a_run_that_was_killed_in_the_midst_of_a_line_is_merged_without_it(tmp_path: Path) -> None:
    with server(chance) as served:
        run(tmp_path / "a", served, PROBLEMS[:2])
    journal = tmp_path / "a" / "finished.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    for name in ("problems.jsonl", "trees.jsonl", "trajectories.jsonl"):
        (tmp_path / "a" / name).unlink()
    assert merge_runs([tmp_path / "a"], tmp_path / "all").merged == 1
    assert len(rows(tmp_path / "all" / "problems.jsonl")) == 1
    assert json.loads((tmp_path / "all" / "config.json").read_text())["about"]["merged"] == ["a"]
