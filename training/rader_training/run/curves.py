"""The picture of a training: loss and evaluation over the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rader_plugins.files import atomic_write

__all__ = ["draw_curves"]

_FEW = 30


def draw_curves(rows: Sequence[Mapping[str, Any]], path: Path, *, best_step: int | None = None) -> Path | None:
    """Draw loss and nDCG@10 over the steps.

    The loss begins at 0 and both panels show the same steps, so that neither looks like more than it is; the base is
    a dashed line.

    Args:
        rows: Rows of the log, with ``step`` and ``loss`` or ``nDCG@10``.
        path: The PNG file to write.
        best_step: The step that is marked as best.

    Returns:
        The path; None where matplotlib is not installed or there is nothing to draw.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        return None
    losses = [(row["step"], row["loss"]) for row in rows if "loss" in row]
    measured = sorted((row["step"], row["nDCG@10"]) for row in rows if "nDCG@10" in row)
    curves = [(name, points) for name, points in (("loss", losses), ("nDCG@10", measured)) if points]
    if not curves:
        return None
    last = max(step for _, points in curves for step, _ in points)
    figure = Figure(figsize=(4.2 * len(curves), 3.2), layout="constrained")
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for panel, (name, points) in zip(panels, curves, strict=True):
        steps, values = [step for step, _ in points], [value for _, value in points]
        panel.plot(steps, values, marker="o" if len(points) < _FEW else None, markersize=4)
        panel.set_xlim(0, max(1, last))
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_xlabel("step")
        panel.set_ylabel(name)
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
        if name == "loss":
            panel.set_ylim(0, 1.05 * max(values) or 1)
            continue
        low, high = min(values), max(values)
        margin = max(0.01, 0.15 * (high - low))
        panel.set_ylim(max(0.0, low - margin), min(1.0, high + margin))
        if steps[0] == 0:
            panel.axhline(values[0], linestyle="--", linewidth=1, color="grey", label="base")
        if best_step is not None and best_step in steps:
            panel.plot([best_step], [values[steps.index(best_step)]], "s", markersize=8, fillstyle="none", label="best")
        panel.legend(loc="best", frameon=False)
    with atomic_write(path) as stream:
        figure.savefig(stream, format="png", dpi=130)
    return path
