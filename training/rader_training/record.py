"""What a training run writes down about itself: its settings, its figures, and their picture."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError
from rader_plugins.files import atomic_write, differences, read_jsonl, write_jsonl
from rader_training.overlap import OVERLAP_FILE

__all__ = ["Record"]

_MANIFEST = "training.json"
_METRICS = "metrics.jsonl"


class Record:
    """The folder of a training run.

    Args:
        folder: The run's folder.
        manifest: What decides the result.
        resume: Whether a run that is there goes on.

    Set ``writes`` to False where another process writes the same folder.

    Raises:
        InputError: The folder holds a run and ``resume`` is off, or another run.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any], *, resume: bool) -> None:
        self.folder = folder
        self.rows: list[dict[str, Any]] = []
        self.writes = True
        path = folder / _MANIFEST
        if path.is_file():
            if not resume:
                raise InputError(f"{folder} holds a training run. Go on with it (--resume), or choose another folder.")
            stored = json.loads(path.read_bytes())
            if different := differences(stored, dict(manifest)):
                raise InputError(
                    f"{folder} holds another training run: it differs in {', '.join(different)}. Choose another folder."
                )
        elif folder.is_dir() and any(file.name != OVERLAP_FILE for file in folder.iterdir()):
            raise InputError(f"{folder} is not empty and holds no training run. Choose another folder.")
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as stream:
            stream.write(json.dumps(manifest, indent=2, ensure_ascii=False).encode("utf-8") + b"\n")

    def go_on_from(self, step: int) -> None:
        """Keep the figures up to a step; later ones will come again."""
        path = self.folder / _METRICS
        known = list(read_jsonl(path)) if path.is_file() else []
        self.rows = [row for row in known if row["step"] <= step]

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """Keep the figures of a step that are finite numbers; the file is written anew, so that it is always whole."""
        kept = {
            name: value for name, value in figures.items() if isinstance(value, int | float) and math.isfinite(value)
        }
        self.rows.append({"step": step, **kept})
        if self.writes:
            write_jsonl(self.folder / _METRICS, self.rows)

    def draw(self) -> Path | None:
        """Draw loss and evaluation over the steps; None where matplotlib is not installed."""
        try:
            from matplotlib.figure import Figure
        except ImportError:
            return None
        losses = [(row["step"], row["loss"]) for row in self.rows if "loss" in row]
        measured = [(row["step"], row["nDCG@10"]) for row in self.rows if "nDCG@10" in row]
        figure = Figure(figsize=(8, 3.2 if measured else 4), layout="constrained")
        panels = figure.subplots(1, 2 if measured else 1, squeeze=False)[0]
        for panel, points, title in zip(panels, (losses, measured), ("loss", "nDCG@10"), strict=False):
            panel.plot([x for x, _ in points], [y for _, y in points], marker="o" if len(points) < 30 else None)
            panel.set_title(title, loc="left")
            panel.set_xlabel("step")
            panel.grid(alpha=0.3)
            panel.spines[["top", "right"]].set_visible(False)
        path = self.folder / "curves.png"
        with atomic_write(path) as stream:
            figure.savefig(stream, format="png", dpi=130)
        return path
