"""Runs that are killed, interrupted, out of money or out of disk go on and end as if nothing had been."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from tests.support.kill import KillAtRequest, start
from tests.synthesis.scripted import action_of, asked, chance, server
from tests.synthesis.test_run import LONG, PROBLEMS, clean, output, rows, run  # noqa: F401 - clean is a fixture

WORKER = """
import sys
from pathlib import Path
from tests.synthesis.test_run import PROBLEMS, run

class Served:
    url = sys.argv[2]

print("ready")
run(Path(sys.argv[1]), Served, problems_at_once=2)
print("done")
"""


@pytest.mark.slow
def test_killed_again_and_again(tmp_path: Path, clean) -> None:  # noqa: F811
    """Every call is made once, apart from those that were under way at a kill."""
    out = tmp_path / "run"
    kills, survived = 0, []
    answer = KillAtRequest(chance)
    with server(answer) as served:
        for attempt in range(4):
            printed = answer.run(start(WORKER, str(out), served.url), 12 * (attempt + 1))
            if "done" in printed:
                break
            kills += 1
            journal = out / "finished.jsonl"
            data = journal.read_bytes() if journal.exists() else b""
            lost = [line for line in survived if line not in data]
            assert not lost, "a line that was written and synchronised is gone"
            survived = [line for line in data.split(b"\n")[:-1] if line]
        report = run(out, served)
        calls = Counter((action_of(body), asked(body), body["seed"]) for body in served.requests)
    assert kills > 1
    assert output(out) == clean
    assert report.totals["failed"] == 0
    assert sum(calls.values()) - len(calls) <= 8 * kills


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from tests.synthesis.test_run import LONG, PROBLEMS, run

class Served:
    url = sys.argv[2]

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit then fails as on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
try:
    run(Path(sys.argv[1]), Served, [PROBLEMS[0], LONG], problems_at_once=1)
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(os.name != "posix", reason="uses the resource limits of POSIX systems")
@pytest.mark.parametrize("full", ["journal", "cache"])
@pytest.mark.slow
def test_full_disk(tmp_path: Path, full: str) -> None:
    """What was finished stays; with room again the run goes on. The journal's second line is too long for the disk."""
    out = tmp_path / "run"
    with server(chance) as served:
        run(tmp_path / "expected", served, [PROBLEMS[0], LONG])
        if full == "journal":  # all calls are known, and a kill came after the first problem
            run(out, served, [PROBLEMS[0], LONG])
            journal = (out / "finished.jsonl").read_bytes().splitlines(keepends=True)
            (out / "finished.jsonl").write_bytes(next(line for line in journal if line.startswith(b'{"id": "p0"')))
        printed, _ = start(FULL_DISK, str(out), served.url).communicate(timeout=600)
        if full == "journal":
            assert printed.startswith("OSError [Errno 27]")
            assert [row["id"] for row in whole_lines(out / "finished.jsonl")] == ["p0"]
        else:
            assert printed.startswith("CacheWriteError The answer cache")
        run(out, served, [PROBLEMS[0], LONG])
    assert output(out) == output(tmp_path / "expected")


def whole_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


@pytest.mark.slow
def test_an_interruption_leaves_the_files_of_what_was_finished(tmp_path, clean):  # noqa: F811
    out = tmp_path / "run"

    def interrupt(now):
        if now.done == 2:
            raise KeyboardInterrupt

    from rader_synthesis.run import synthesize
    from rader_synthesis.run_config import RunConfig

    from rader_plugins.answers import load_checker
    from tests.synthesis.scripted import Shelf, client
    from tests.synthesis.test_run import CONFIG

    with server(chance) as served:
        with client(served) as llm, pytest.raises(KeyboardInterrupt):
            synthesize(
                PROBLEMS, Shelf(), llm, load_checker("math"), out,
                config=CONFIG, run=RunConfig(problems_at_once=1), on_progress=interrupt,
            )  # fmt: skip
        assert [row["status"] == "open" for row in rows(out / "problems.jsonl")] == [False, False, True, True]
        run(out, served)
    assert output(out) == clean
