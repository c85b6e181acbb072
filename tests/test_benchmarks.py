"""The benchmarks run to their end, one after the other, and leave their rows; of speed nothing is asked here."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
NEEDED = {
    "exact": ["faiss", "numkong"],
    "index": ["faiss", "bm25s", "Stemmer"],
    "many": ["torch", "sentence_transformers", "onnxruntime", "onnx"],
    "starting": [],
    "encoding": ["torch", "sentence_transformers"],
    "backends": ["torch", "sentence_transformers", "onnxruntime", "onnx"],
    "frameworks": ["sentence_transformers", "langchain_classic", "langchain_community", "rank_bm25", "bm25s", "faiss",
                   "llama_index.retrievers.bm25"],
    "evaluation": ["sentence_transformers", "ir_measures"],
    "reranking": ["torch", "sentence_transformers"],
    "synthesis": ["sentence_transformers"],
    "samples": ["pyarrow", "datasets"],
    "training": ["sentence_transformers", "accelerate", "datasets"],
}  # fmt: skip
_CHEAP = ("exact", "index", "starting")


def is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # of a parent
        return False


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in _CHEAP else pytest.mark.long) for name in NEEDED]
)
def test_a_benchmark_runs(name: str, tmp_path: Path) -> None:
    for package in NEEDED[name]:
        if not is_installed(package):
            pytest.skip(f"{package} is not installed")
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "all.py"), "--quick", "--out", str(tmp_path), "--only", name],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    rows = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))["rows"]
    assert rows
    assert all(row["ours"] > 0 for row in rows)
    text = (tmp_path / "rows.md").read_text(encoding="utf-8")
    assert all(row["name"] in text for row in rows)
    targets = [line for line in done.stdout.splitlines() if line.startswith((f"yes {name}:", f"no  {name}:"))]
    assert len(targets) == sum(row["limit"] is not None for row in rows)


def test_all_benchmarks_are_tried_here() -> None:
    source = (BENCHMARKS / "all.py").read_text(encoding="utf-8")
    assert all(f'    "{name}": [' in source for name in NEEDED)
