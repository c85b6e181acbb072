from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("ir_measures")

from rader_plugins import Document  # noqa: E402
from rader_plugins.cli import build_app  # noqa: E402
from rader_plugins.evaluation import RetrievalDataset  # noqa: E402


def make_dataset(**changes: Any) -> RetrievalDataset:
    """Ten documents d0 to d9, four questions; q3 is not judged."""
    defaults: dict[str, Any] = {
        "corpus": {f"d{n}": Document(f"d{n}", f"text of document {n}") for n in range(10)},
        "queries": {f"q{n}": f"question {n}" for n in range(4)},
        "qrels": {"q0": {"d0": 1}, "q1": {"d1": 2, "d2": 1}, "q2": {"d9": 1}},
        "name": "toy",
    }
    return RetrievalDataset(**{**defaults, **changes})


@pytest.fixture
def toy() -> RetrievalDataset:
    return make_dataset()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The toy data set as a BEIR folder."""
    home = tmp_path / "toy"
    write_jsonl(
        home / "corpus.jsonl",
        [{"_id": f"d{n}", "title": "" if n else "First", "text": f"text of document {n}"} for n in range(10)],
    )
    write_jsonl(home / "queries.jsonl", [{"_id": f"q{n}", "text": f"question {n}"} for n in range(4)])
    write(home / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore\nq0\td0\t1\nq1\td1\t2\nq1\td2\t1\nq2\td9\t1\n")
    return home


@pytest.fixture
def rader() -> Callable[..., Any]:
    """Run a command in this process."""

    def run(*arguments: object, code: int = 0) -> Any:
        result = CliRunner().invoke(build_app(), [str(argument) for argument in arguments])
        assert result.exit_code == code, (result.exit_code, result.output, result.exception)
        return result

    return run


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def write_jsonl(path: Path, rows: list[Any]) -> Path:
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))
