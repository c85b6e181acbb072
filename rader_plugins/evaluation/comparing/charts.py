"""Plots as inline SVG: no scripts, no fonts, no images; colours come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

__all__ = ["bars", "differences", "intervals"]

_WIDTH, _ROW, _TOP, _BOTTOM = 760, 30, 10, 34
_CHARACTER = 7.2
_LONGEST = 34


def intervals(rows: Sequence[tuple[str, float, float, float]], unit: str) -> str:
    """Draw means with their confidence intervals.

    Args:
        rows: Label, mean, low and high of every run.
        unit: Under the axis.
    """
    low, high = min(row[2] for row in rows), max(row[3] for row in rows)
    room = max(high - low, 1.0) * 0.08
    axis = _Axis([row[0] for row in rows], max(0.0, low - room), high + room, value_room=62)
    parts = axis.grid(len(rows))
    for number, (label, mean, start, end) in enumerate(rows):
        y = axis.y(number)
        tip = f"{label}: {mean:.2f} ({start:.2f} to {end:.2f})"
        parts += [
            axis.label(number, label),
            f'<g><title>{escape(tip)}</title><line class="whisker" x1="{axis.x(start):.1f}" x2="{axis.x(end):.1f}" '
            f'y1="{y}" y2="{y}"/>',
            *(
                f'<line class="whisker" x1="{axis.x(at):.1f}" x2="{axis.x(at):.1f}" y1="{y - 5}" y2="{y + 5}"/>'
                for at in (start, end)
            ),
            f'<circle class="dot" cx="{axis.x(mean):.1f}" cy="{y}" r="5"/></g>',
            f'<text class="value" x="{_WIDTH}" y="{y + 4}" text-anchor="end">{mean:.2f}</text>',
        ]
    return axis.svg(parts, len(rows), unit)


def bars(rows: Sequence[tuple[str, float, float]], unit: str) -> str:
    """Draw one bar per run and a tick beyond it.

    Args:
        rows: Label, length of the bar (the median, say) and place of the tick (the 95th percentile).
        unit: Under the axis.
    """
    most = max(max(row[1], row[2]) for row in rows) or 1.0
    axis = _Axis([row[0] for row in rows], 0.0, most * 1.02, value_room=130)
    parts = axis.grid(len(rows))
    for number, (label, value, tick) in enumerate(rows):
        y = axis.y(number)
        parts += [
            axis.label(number, label),
            f'<rect class="bar" x="{axis.x(0):.1f}" y="{y - 8}" width="{max(0.5, axis.x(value) - axis.x(0)):.1f}" '
            f'height="16"><title>{escape(label)}: {value:.2f}</title></rect>',
            f'<line class="whisker" x1="{axis.x(tick):.1f}" x2="{axis.x(tick):.1f}" y1="{y - 10}" y2="{y + 10}"/>',
            f'<text class="value" x="{_WIDTH}" y="{y + 4}" text-anchor="end">{value:.1f} / {tick:.1f}</text>',
        ]
    return axis.svg(parts, len(rows), unit)


def differences(rows: Sequence[tuple[str, float]], unit: str) -> str:
    """Draw the difference of every query as a bar, largest gain first.

    Args:
        rows: Tip (query) and difference; queries without a difference are drawn as a gap.
        unit: Beside the axis.
    """
    ordered = sorted(rows, key=lambda row: -row[1])
    most = max(max(abs(row[1]) for row in ordered), 1e-9)
    height, left, middle = 180, 48, 90.0
    step = (_WIDTH - left) / len(ordered)
    parts = [
        f'<line class="grid" x1="{left}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="tick" x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{shown}</text>'
        for shown, y in ((f"+{most:.0f}", 12.0), ("0", middle), (f"-{most:.0f}", 168.0))
    ]
    for number, (tip, value) in enumerate(ordered):
        if value == 0:
            continue
        length = abs(value) / most * 78
        top = middle - length if value > 0 else middle
        kind = "gain" if value > 0 else "loss"
        parts.append(
            f'<rect class="{kind}" x="{left + number * step:.2f}" y="{top:.2f}" width="{max(0.6, step * 0.85):.2f}" '
            f'height="{length:.2f}"><title>{escape(tip)}: {value:+.2f}</title></rect>'
        )
    caption = f'<text class="tick" x="{_WIDTH}" y="{height - 2}" text-anchor="end">{escape(unit)}</text>'
    return _frame("".join([*parts, caption]), height)


class _Axis:
    """A horizontal axis with rows of labels on its left."""

    def __init__(self, labels: Sequence[str], low: float, high: float, value_room: int) -> None:
        self._left = 12 + _CHARACTER * min(_LONGEST, max(map(len, labels)))
        self._right = _WIDTH - value_room
        self._low, self._high = low, high

    def x(self, value: float) -> float:
        return self._left + (value - self._low) / (self._high - self._low) * (self._right - self._left)

    def y(self, number: int) -> int:
        return _TOP + _ROW * number + _ROW // 2

    def label(self, number: int, text: str) -> str:
        shown = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
        return (
            f'<text class="label" x="{self._left - 10:.1f}" y="{self.y(number) + 4}" text-anchor="end">{escape(shown)}'
            f"<title>{escape(text)}</title></text>"
        )

    def grid(self, rows: int) -> list[str]:
        bottom = _TOP + _ROW * rows
        return [
            f'<line class="grid" x1="{self.x(at):.1f}" x2="{self.x(at):.1f}" y1="{_TOP}" y2="{bottom}"/>'
            f'<text class="tick" x="{self.x(at):.1f}" y="{bottom + 14}" text-anchor="middle">{at:g}</text>'
            for at in _ticks(self._low, self._high)
        ]

    def svg(self, parts: Sequence[str], rows: int, unit: str) -> str:
        height = _TOP + _ROW * rows + _BOTTOM
        caption = f'<text class="tick" x="{self._right}" y="{height - 4}" text-anchor="end">{escape(unit)}</text>'
        return _frame("".join([*parts, caption]), height)


def _ticks(low: float, high: float) -> list[float]:
    """Return about five round numbers between two."""
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    return [round(number * step, 10) for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _frame(content: str, height: int) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" role="img">{content}</svg>'
