"""What a training returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rader_plugins.errors import RaderError
from rader_training.run.verdict import Verdict

__all__ = ["TrainingReport", "WorseThanBaseError"]


@dataclass(frozen=True)
class TrainingReport:
    """What came of a training.

    Args:
        model: Directory of the model.
        steps: Steps made, those of earlier sittings included.
        loss: Mean loss of the steps of this sitting; None if there were none.
        evaluations: Step -> nDCG@10 on what was evaluated on, with the weights that would be exported; step 0 is the
            model before training.
        best_step: Whose weights the directory holds.
        data: What was trained on.
        truncated: Share of the texts seen that were cut: of queries and documents, or of pairs.
        overlap: What the data has in common with the sets that were named and evaluated on, the content of
            ``overlap.json``; None without such sets.
        curves: A picture of loss and evaluation, where matplotlib is installed.
        adapter: Directory of the adapter alone, if it was kept.
        verdict: How it compares with what it was trained from.
        evaluated_on: What was evaluated on, in words; empty where nothing was.
        exported: Whether ``model`` was written.
        resumed: ``finished`` where a run was resumed that had ended before, so that nothing was trained.
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
    verdict: Verdict = field(default_factory=lambda: Verdict("not compared"))
    evaluated_on: str = ""
    exported: bool = True
    resumed: str = ""


class WorseThanBaseError(RaderError):
    """What was trained is worse than what it was trained from, or the same: nothing was exported.

    Args:
        message: The verdict in words.
        report: The report as it would have been returned; its ``model`` was not written.
    """

    def __init__(self, message: str, report: TrainingReport) -> None:
        super().__init__(message)
        self.report = report
