"""Charts as HTML and inline SVG that fit any width: no scripts, fonts or images; the page's style gives colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

__all__ = ["CHART_STYLE", "bars", "differences", "intervals"]

CHART_STYLE = """
.chart { margin: .6rem 0 1rem; }
.chart .row { display: grid; grid-template-columns: minmax(0, 13rem) minmax(0, 1fr) 7.5rem; gap: 0 .8rem;
  align-items: center; min-height: 1.9rem; }
.chart .label { text-align: right; overflow-wrap: anywhere; line-height: 1.2; }
.chart .value { font-variant-numeric: tabular-nums; white-space: nowrap; }
.chart .track { position: relative; height: 1.9rem; display: block; }
.chart .track i { position: absolute; display: block; }
.chart .grid { top: 0; bottom: 0; border-left: 1px solid var(--line); }
.chart .whisker { top: 50%; height: 2px; margin-top: -1px; background: var(--text); }
.chart .end { top: calc(50% - 5px); height: 10px; width: 2px; margin-left: -1px; background: var(--text); }
.chart .dot { top: calc(50% - 5px); width: 10px; height: 10px; margin-left: -5px; border-radius: 50%;
  background: var(--main); }
.chart .bar { top: 25%; height: 50%; left: 0; min-width: 1px; background: var(--main); }
.chart .ticks .track { height: 1.2rem; } .chart .ticks .track span { position: absolute; transform: translateX(-50%);
  font-size: .75rem; color: var(--soft); }
.chart .unit { color: var(--soft); font-size: .75rem; }
.differences { display: grid; grid-template-columns: auto minmax(0, 1fr); gap: 0 .5rem; margin: .4rem 0 1rem; }
.differences .axis { display: flex; flex-direction: column; justify-content: space-between; text-align: right;
  font-size: .75rem; color: var(--soft); height: 180px; }
.differences svg { width: 100%; height: 180px; display: block; }
.differences .gain { fill: var(--gain); } .differences .loss { fill: var(--loss); }
.differences .zero { stroke: var(--line); vector-effect: non-scaling-stroke; }
.differences .unit { grid-column: 2; text-align: right; color: var(--soft); font-size: .75rem; }
@media (max-width: 640px) { .chart .row { grid-template-columns: minmax(0, 1fr) 7.5rem; }
  .chart .label { grid-column: 1 / -1; text-align: left; } .chart .ticks .label { display: none; } }
"""


def intervals(rows: Sequence[tuple[str, float, float, float]], unit: str) -> str:
    """Draw means with their confidence intervals.

    Args:
        rows: Label, mean, low and high of every run.
        unit: Label below the axis.
    """
    low, high = min(row[2] for row in rows), max(row[3] for row in rows)
    margin = max(high - low, 1.0) * 0.08
    axis = _Axis(max(0.0, low - margin), high + margin)
    parts = []
    for label, mean, start, end in rows:
        marks = (
            f'<i class="whisker" style="left:{axis.at(start)};width:{axis.length(start, end)}"></i>'
            f'<i class="end" style="left:{axis.at(start)}"></i><i class="end" style="left:{axis.at(end)}"></i>'
            f'<i class="dot" style="left:{axis.at(mean)}"></i>'
        )
        tip = f"{label}: {mean:.2f} ({start:.2f} to {end:.2f})"
        parts.append(axis.row(label, marks, f"{mean:.2f}", tip))
    return axis.chart(parts, unit)


def bars(rows: Sequence[tuple[str, float, float]], unit: str) -> str:
    """Draw one bar per run and a tick beyond it.

    Args:
        rows: Label, length of the bar (the median, say) and position of the tick (the 95th percentile).
        unit: Label below the axis.
    """
    largest = max(max(row[1], row[2]) for row in rows) or 1.0
    axis = _Axis(0.0, largest * 1.02)
    parts = []
    for label, value, tick in rows:
        marks = (
            f'<i class="bar" style="width:{axis.length(0, value)}"></i><i class="end" style="left:{axis.at(tick)}"></i>'
        )
        parts.append(axis.row(label, marks, f"{value:.1f} / {tick:.1f}", f"{label}: {value:.2f}, 95% under {tick:.2f}"))
    return axis.chart(parts, unit)


def differences(rows: Sequence[tuple[str, float]], unit: str) -> str:
    """Draw the difference of every query as a bar, largest gain first.

    Args:
        rows: Tip (query) and difference; queries without a difference are drawn as a gap.
        unit: Label below the axis.
    """
    ordered = sorted(rows, key=lambda row: -row[1])
    largest = max(max(abs(row[1]) for row in ordered), 1e-9)
    parts = []
    for number, (tip, value) in enumerate(ordered):
        if value == 0:
            continue
        length = abs(value) / largest * 100
        top = 100 - length if value > 0 else 100
        kind = "gain" if value > 0 else "loss"
        parts.append(
            f'<rect class="{kind}" x="{number + 0.08:.2f}" y="{top:.2f}" width="0.84" height="{length:.2f}">'
            f"<title>{escape(tip)}: {value:+.2f}</title></rect>"
        )
    return (
        f'<div class="differences"><div class="axis"><span>+{largest:.0f}</span><span>0</span>'
        f'<span>-{largest:.0f}</span></div><svg viewBox="0 0 {len(ordered)} 200" preserveAspectRatio="none" role="img">'
        f'<line class="zero" x1="0" x2="{len(ordered)}" y1="100" y2="100"/>{"".join(parts)}</svg>'
        f'<div class="unit">{escape(unit)}</div></div>'
    )


class _Axis:
    """A horizontal axis; positions are shares of its length."""

    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = low, high

    def at(self, value: float) -> str:
        """Return where a value lies."""
        return f"{100 * (value - self._low) / (self._high - self._low):.2f}%"

    def length(self, start: float, end: float) -> str:
        """Return how long a stretch is."""
        return f"{100 * (end - start) / (self._high - self._low):.2f}%"

    def row(self, label: str, marks: str, value: str, tip: str) -> str:
        """Return one run's row; ``marks`` is HTML."""
        grid = "".join(f'<i class="grid" style="left:{self.at(tick)}"></i>' for tick in self._ticks())
        return (
            f'<div class="row" title="{escape(tip)}"><span class="label">{escape(label)}</span>'
            f'<span class="track">{grid}{marks}</span><span class="value">{escape(value)}</span></div>'
        )

    def chart(self, rows: Sequence[str], unit: str) -> str:
        """Return rows with the axis below them."""
        ticks = "".join(f'<span style="left:{self.at(tick)}">{tick:g}</span>' for tick in self._ticks())
        below = (
            f'<div class="row ticks"><span class="label"></span><span class="track">{ticks}</span>'
            f'<span class="unit">{escape(unit)}</span></div>'
        )
        return f'<div class="chart">{"".join(rows)}{below}</div>'

    def _ticks(self) -> list[float]:
        """Return about five round numbers on the axis."""
        raw = (self._high - self._low) / 5
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
        first, last = math.ceil(self._low / step), math.floor(self._high / step)
        return [round(number * step, 10) for number in range(first, last + 1)]
