"""Hand-made trajectories for the tests of sampling."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rader_plugins.sample_files import read_samples
from rader_plugins.samples import Sample
from rader_plugins.trajectories import Considered, Step, Trajectory, write_trajectories


def doc(id: str, relevant: bool | None = None, by: str = "reflection", text: str | None = None) -> Considered:
    label = by if relevant is not None else ""
    return Considered(id, text if text is not None else f"text of {id}", 0.5, relevant, "", label)


def retrieval(*considered: Considered, kept: str | None = None) -> Step:
    return Step("retrieval", "in plain language", kept, considered)


def thought(text: str) -> Step:
    return Step("thought", text)


def query(text: str) -> Step:
    return Step("query", text)


def trajectory(
    id: str, *steps: Step, question: str | None = None, reward: float | None = 1.0, problem: str | None = None
) -> Trajectory:
    problem_id = problem or id.split("#")[0]
    asked = question if question is not None else f"What follows from number {problem_id} of the list of premises?"
    return Trajectory(id, problem_id, asked, (*steps, Step("answer", "8")), "8", "8", reward, "test")


def write(folder: Path, trajectories: Sequence[Trajectory], name: str = "trajectories.jsonl") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_trajectories(folder / name, trajectories)
    return folder / name


def all_samples(out: Path) -> list[Sample]:
    splits = sorted({file.name.split("-")[0] for file in (out / "data").iterdir()})
    return [sample for split in splits for sample in read_samples(out, split)]


def told(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "card.json").read_text(encoding="utf-8"))
    return found


def ids(sample: Sample) -> tuple[list[str], list[str]]:
    return [one.id for one in sample.positives], [one.id for one in sample.negatives]
