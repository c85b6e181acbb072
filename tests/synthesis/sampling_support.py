"""Hand-made trajectories for the tests of sampling."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from rader_plugins.cli.app import build_app
from rader_plugins.files import write_jsonl
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
    question_text = (
        question if question is not None else f"What follows from number {problem_id} of the list of premises?"
    )
    return Trajectory(id, problem_id, question_text, (*steps, Step("answer", "8")), "8", "8", reward, "test")


def write(folder: Path, trajectories: Sequence[Trajectory], name: str = "trajectories.jsonl") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_trajectories(folder / name, trajectories)
    return folder / name


def all_samples(out: Path) -> list[Sample]:
    splits = sorted({file.name.split("-")[0] for file in (out / "data").iterdir()})
    return [sample for split in splits for sample in read_samples(out, split)]


def told(out: Path) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((out / "card.json").read_text(encoding="utf-8"))
    return card


def ids(sample: Sample) -> tuple[list[str], list[str]]:
    return [passage.id for passage in sample.positives], [passage.id for passage in sample.negatives]


def several(count: int, start_at: int = 0) -> list[Trajectory]:
    return [
        trajectory(
            f"p{n}#{m}",
            thought(f"step {n} of {m} with words{n}"),
            query("generated"),
            retrieval(doc(f"d{n % 7}", True), doc(f"e{n % 5}", False), doc(f"d{n % 3}", n % 2 == 0), kept=f"d{n % 7}"),
            question=f"Question number {n} about subject{n} and matter{n}",
        )
        for n in range(start_at, start_at + count)
        for m in range(2)
    ]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def corpus(folder: Path, size: int = 70) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"id": f"{'de'[n % 2]}{n // 2}", "title": f"Title {n}", "text": f"subject{n} matter question"}
        for n in range(size)
    ]
    write_jsonl(folder / "corpus.jsonl", rows)
    return folder / "corpus.jsonl"


def rader(*arguments: object) -> Any:
    return CliRunner().invoke(build_app(), [str(argument) for argument in arguments])
