"""A user's own function over the rows."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from rader_synthesis.importing import Corpus, FunctionImporter, ImportReport, load_function

from rader_plugins.documents import Document
from rader_plugins.errors import InputError
from rader_plugins.trajectories import Considered, Step, Trajectory


def convert(row: dict[str, Any]) -> Any:
    if row.get("drop"):
        return None
    step = Step("retrieval", considered=(Considered("a", "text"), Considered("b", "text"), Considered("a", "other")))
    trajectory = Trajectory(row["id"], row["id"], row["ask"], (step,), source=row.get("source", ""))
    return [trajectory, trajectory] if row.get("twice") else trajectory


def write(tmp_path: Path, *rows: object) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_one_several_or_none(tmp_path: Path) -> None:
    rows = [{"id": "1", "ask": "q"}, {"drop": True}, {"id": "2", "ask": "q", "twice": True, "source": "own"}]
    report = ImportReport()
    trajectories = list(FunctionImporter(convert).read(write(tmp_path, *rows), report))
    assert [(entry.id, entry.source) for entry in trajectories] == [
        ("1", "import:function"),
        ("2", "own"),
        ("2~2", "own"),
    ]
    # No document stands twice in one retrieval; its first place counts.
    assert [(entry.id, entry.text) for entry in trajectories[0].steps[0].considered] == [("a", "text"), ("b", "text")]
    assert report.skipped == {"the function left it out": 1}
    corpus = Corpus([Document("a", "as in the corpus")])
    [first, *_] = FunctionImporter(convert, corpus=corpus).read(write(tmp_path, *rows))
    assert first.steps[0].considered[0].text == "as in the corpus"


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda row: row["missing"], r"rows.jsonl, row 1: the function cannot read it: KeyError\('missing'\)"),
        (lambda row: [7], "the function returned int, not a Trajectory"),
        (lambda row: Trajectory("", "p", "q", ()), "row 1, as the function made it: 'id' must not be empty"),
        (lambda row: Trajectory("i", "p", "q", (), metadata={"x": object()}), "JSON has no object"),
    ],
)
def test_what_goes_wrong_names_the_row(tmp_path: Path, made: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(FunctionImporter(made, keep_all=True).read(write(tmp_path, {"id": "1"})))


def test_functions_are_found_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_logs.py").write_text("def convert(row):\n    return None\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert load_function("my_own_logs:convert")({}) is None
    assert sys.path == before
    for name, message in [
        ("convert", "named module:function"),
        ("no_such_module_here:f", "cannot be imported"),
        ("my_own_logs:other", "has no function 'other'"),
    ]:
        with pytest.raises(InputError, match=message):
            load_function(name)
