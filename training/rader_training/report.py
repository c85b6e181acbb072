"""What a training returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["TrainingReport"]


@dataclass(frozen=True)
class TrainingReport:
    """What came of a training.

    Args:
        model: Directory of the model.
        steps: Steps made, those of earlier sittings included.
        loss: Mean loss of the steps of this sitting; None if there were none.
        evaluations: Step -> nDCG@10 on the data set that was evaluated on, with the weights that would be exported;
            step 0 is the model before training.
        best_step: Whose weights the directory holds.
        data: What was trained on.
        truncated: Share of the texts seen that were cut: of queries and documents, or of pairs.
        overlap: What the data has in common with the sets that were named and evaluated on, the content of
            ``overlap.json``; None without such sets.
        curves: A picture of loss and evaluation, where matplotlib is installed.
        adapter: Directory of the adapter alone, if it was kept.
    """

    model: Path
    steps: int
    loss: float | None
    evaluations: dict[int, float]
    best_step: int
    data: dict[str, Any]
    truncated: dict[str, float]
    overlap: dict[str, Any] | None
    curves: Path | None
    adapter: Path | None = None
