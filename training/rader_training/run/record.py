"""What a training run writes down about itself: its settings, its figures, what it ended with."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError
from rader_plugins.files import read_jsonl, write_json, write_jsonl
from rader_plugins.run_folders import RunFolder

__all__ = ["End", "Record", "stored_settings"]

_SETTINGS = "training.json"
_METRICS = "metrics.jsonl"
_EVALUATIONS = "evaluations.jsonl"
_END = "finished.json"
# What folders stand for that were written before there were these settings.
_ABSENT: dict[str, Any] = {"matryoshka": [], "base_in_4bit": False}


def stored_settings(folder: Path) -> dict[str, Any] | None:
    """Return the settings of the run in a folder; None where there is none.

    Raises:
        InputError: They are damaged.
    """
    path = folder / _SETTINGS
    if not path.is_file():
        return None
    try:
        settings = json.loads(path.read_bytes())
    except ValueError:
        settings = None
    if not isinstance(settings, dict):
        raise InputError(f"{path} is damaged. Choose another folder.")
    return settings


@dataclass
class End:
    """What a training ended with."""

    steps: int
    loss: float | None
    best_step: int
    truncated: dict[str, float]
    diverged: str = ""

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> End:
        """Return it from what :meth:`Record.finish` wrote down, which holds more."""
        return cls(**{attribute.name: row[attribute.name] for attribute in fields(cls) if attribute.name in row})


class Record:
    """The folder of a training run.

    Args:
        folder: Folder of the run.
        settings: What decides the result.
        writes: False in processes that leave the writing to another.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, writes: bool = True) -> None:
        self.folder = folder
        self.settings = dict(settings)
        self.rows: list[dict[str, Any]] = []
        self.evaluations: dict[int, dict[str, float]] = {}
        """Step -> query -> nDCG@10."""
        self._writes = writes
        absent = {name: value for name, value in _ABSENT.items() if name in settings.get("config", {})}
        self._absent = {"held_out": None, "config": absent}

    @contextlib.contextmanager
    def opened(self, *, resume: bool) -> Iterator[Record]:
        """Keep others out until the block ends.

        Args:
            resume: Whether a run that is there goes on.

        Raises:
            InputError: The folder holds a run and ``resume`` is off, or another run, or other files.
        """
        folder = RunFolder(
            self.folder,
            self.settings,
            noun="training run",
            settings_file=_SETTINGS,
            settings_key=None,
            absent=self._absent,
            neighbours=("overlap*",),
        )
        with folder.opened(resume=resume):
            yield self

    def go_on_from(self, step: int) -> None:
        """Take up the figures up to a step; later ones will come again."""
        path = self.folder / _METRICS
        rows = list(read_jsonl(path)) if path.is_file() else []
        self.rows = [row for row in rows if row["step"] <= step]
        path = self.folder / _EVALUATIONS
        evaluations = list(read_jsonl(path)) if path.is_file() else []
        self.evaluations = {row["step"]: row["nDCG@10"] for row in evaluations if row["step"] <= step}

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """Keep the figures of a step that are finite numbers; the file is written anew, so that it is always whole."""
        numbers = {
            name: value for name, value in figures.items() if isinstance(value, int | float) and math.isfinite(value)
        }
        self.rows.append({"step": step, **numbers})
        if self._writes:
            write_jsonl(self.folder / _METRICS, self.rows)

    def add_evaluation(self, step: int, values: Mapping[str, float]) -> None:
        """Keep an evaluation: nDCG@10 of each query, and their mean."""
        self.evaluations[step] = dict(values)
        self.add(step, {"nDCG@10": self.means[step]})
        if self._writes:
            rows = [{"step": number, "nDCG@10": values} for number, values in sorted(self.evaluations.items())]
            write_jsonl(self.folder / _EVALUATIONS, rows)

    @property
    def means(self) -> dict[int, float]:
        """Step -> nDCG@10, ascending."""
        return {step: float(sum(values.values()) / len(values)) for step, values in sorted(self.evaluations.items())}

    def best_step(self, *, default: int) -> int:
        """Return the step of the best evaluation of trained weights, the first of equal ones."""
        means = {step: mean for step, mean in self.means.items() if step}
        return max(means, key=lambda step: means[step], default=default)

    @property
    def end(self) -> dict[str, Any] | None:
        """What the training ended with; None while it has not."""
        path = self.folder / _END
        return json.loads(path.read_bytes()) if path.is_file() else None

    def finish(self, end: Mapping[str, Any]) -> None:
        """Write down that the training has ended: after this nothing is trained any more."""
        if self._writes:
            write_json(self.folder / _END, dict(end))
