"""Long files are read a row at a time."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rader_synthesis.importing import (
    Corpus,
    FileImporter,
    FunctionImporter,
    OpenAILogs,
    Proofs,
    Recorded,
    Solutions,
)
from rader_synthesis.labelling import label_by_citation

from rader_plugins import Document
from rader_plugins.trajectories import Considered, Step, Trajectory, write_trajectories

CORPUS = Corpus([Document("thm-1", "A rule.", {})])


def text(number: int) -> str:
    return f"{number} " + f"words of row {number} " * 50


def steps(number: int) -> tuple[Step, ...]:
    candidates = (Considered("thm-1", text(number)), Considered(f"other-{number}", text(number + 1)))
    return Step("query", "q"), Step("retrieval", considered=candidates), Step("answer", "By [thm-1] it is 8.")


def log(number: int) -> Any:
    call = {"id": "c", "function": {"name": "search", "arguments": '{"query": "q"}'}}
    return [
        {"role": "user", "content": text(number)},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": json.dumps([{"id": "thm-1", "text": text(number)}])},
        {"role": "assistant", "content": "By [thm-1] it is 8."},
    ]


def solution(number: int) -> Any:
    return {"question": text(number), "solution": f"By [thm-1] it is so.\n{text(number)}\n8", "answer": "8"}


def proof(number: int) -> Any:
    task = {"id": f"p{number}", "question": text(number), "answer": "a", "hypothesis": text(number)}
    return {**task, "facts": [text(number)], "fact_ids": [f"f{number}"], "proof": "sent1 -> hypothesis;"}


def recorded(number: int) -> Any:
    return Trajectory(f"r{number}", f"p{number}", text(number), steps(number), "8").row()


def convert(row: dict[str, Any]) -> Trajectory:
    return Trajectory(str(row["n"]), str(row["n"]), row["text"], steps(row["n"]), "8")


@pytest.mark.parametrize(
    ("importer", "row"),
    [
        (OpenAILogs(), log),
        (Solutions(corpus=CORPUS), solution),
        (Proofs(), proof),
        (Recorded(), recorded),
        (FunctionImporter(convert), lambda number: {"n": number, "text": text(number)}),
    ],
    ids=["openai", "solutions", "proofs", "recorded", "function"],
)
@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path: Path, importer: FileImporter, row: Callable[[int], Any]) -> None:
    peaks = {}
    for rows in (300, 900):  # more than are searched for at once
        source = tmp_path / f"{rows}.jsonl"
        source.write_text("".join(json.dumps(row(number)) + "\n" for number in range(rows)), encoding="utf-8")
        tracemalloc.start()
        labelled = (label_by_citation(trajectory) for trajectory in importer.read(source))
        trajectory_count = write_trajectories(tmp_path / "out.jsonl", labelled)
        peaks[rows] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert trajectory_count == rows
    size = (tmp_path / "900.jsonl").stat().st_size
    assert size > 700_000
    assert peaks[900] - peaks[300] < 0.2 * size
