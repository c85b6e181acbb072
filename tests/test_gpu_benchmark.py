"""`benchmarks/gpu.py` runs, on a CPU and a tiny model, and says what it did not run."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sentence_transformers")
pytest.importorskip("pyarrow")
pytest.importorskip("accelerate")

import torch  # noqa: E402

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run the benchmark with options; return what it writes as JSON, and the lines of its table."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    names = {file.stem for file in BENCHMARKS.glob("*.py")}
    before = {name: sys.modules.pop(name) for name in names & sys.modules.keys()}

    def call(*options: str) -> dict[str, Any]:
        file = tmp_path / "out.json"
        monkeypatch.setattr(sys, "argv", ["gpu.py", "--json", str(file), *options])
        importlib.import_module("gpu").main()
        report: dict[str, Any] = json.loads(file.read_text())
        report["table"] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
        return report

    yield call
    for name in names & sys.modules.keys():
        del sys.modules[name]
    sys.modules.update(before)


@pytest.mark.slow
def test_every_stage_runs_on_a_tiny_model(run: Run) -> None:
    report = run("--tiny")
    names = " ".join(row["name"] for row in report["rows"])
    for stage in ("smallest cosine", "encoding", "LoRA training", "reranking"):
        assert stage in names
    assert all(row["ours"] > 0 for row in report["rows"])
    assert report["rows"][0]["ours"] > 0.9999, "vectors equal to the CPU's"


@pytest.mark.skipif(torch.cuda.is_available(), reason="it would run for minutes on the GPU that is here")
def test_what_was_not_run_says_so(run: Run) -> None:
    report = run()
    assert report["rows"] == []
    assert sum("not run: no GPU here" in line for line in report["table"]) == 4
    assert len(report["table"]) == 6, "the head and these rows"


def test_no_time_left_says_so(run: Run) -> None:
    report = run("--tiny", "--minutes", "0")
    assert report["rows"] == []
    assert sum("were left of 0 minutes" in line for line in report["table"]) == 4
