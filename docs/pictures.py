"""Draws the pictures of the tutorial, from the files that its commands left.

python docs/pictures.py FOLDER        # the folder in which the tutorial was followed; writes into docs/assets

README's picture is made by benchmarks/showcase.py.
"""

from __future__ import annotations

import argparse
import json
from html import escape
from pathlib import Path
from typing import Any

ASSETS = Path(__file__).resolve().parent / "assets"
INK, FAINT, ACCENT, PALE = "#12312f", "#4c5f5d", "#00796b", "#eef2f1"
# What a step leaves, and the command that makes the next thing of it.
LOOP = (
    ("handbook/", "a folder of documents", "rader index build"),
    ("log.jsonl", "what was asked, found, answered", "rader import"),
    ("trajectories.jsonl", "with labelled documents", "rader samples"),
    ("samples/", "queries, positives, negatives", "rader train retriever"),
    ("trained/model", "a retriever of your own", "rader compare"),
)


def text(x: float, y: float, words: str, size: int = 15, fill: str = INK, **attributes: str) -> str:
    """Return a line of text."""
    more = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{fill}"{more}>{escape(words)}</text>'


def drawing(width: int, height: int, title: str, parts: list[str]) -> str:
    """Return a whole picture on a white card, which reads on dark pages, too."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'font-family="Helvetica, Arial, sans-serif">'
    )
    card = f'<rect x="1" y="1" width="{width - 2}" height="{height - 2}" rx="12" fill="#ffffff" stroke="#b8c4c2"/>'
    return "\n".join([head, f"<title>{escape(title)}</title>", card, *parts, "</svg>"]) + "\n"


def loop() -> str:
    """Draw the way from a folder to a retriever."""
    line, parts = 66, []
    for number, (name, meaning, command) in enumerate(LOOP):
        y = 24 + number * line
        last = number == len(LOOP) - 1
        fill, ink = (ACCENT, "#ffffff") if last else (PALE, INK)
        parts += [
            f'<rect x="24" y="{y}" width="210" height="42" rx="6" fill="{fill}"/>',
            text(38, y + 27, name, 17, ink),
            text(252, y + 27, meaning, 16, FAINT),
            text(540, y + 27, command, 15, ACCENT, font_family="monospace"),
        ]
        if not last:
            parts.append(
                f'<path d="M129 {y + 45} v14 m-5 -6 l5 6 l5 -6" stroke="{ACCENT}" fill="none" stroke-width="2"/>'
            )
    return drawing(760, 24 + len(LOOP) * line, "From a folder to a retriever of your own", parts)


def means(folder: Path, names: dict[str, str]) -> dict[str, tuple[float, float, float]]:
    """Return label -> mean nDCG@10 x 100 and its 95% interval, from folders that `rader evaluate` wrote."""
    from rader_plugins.evaluation import confidence_interval

    figures = {}
    for name, label in names.items():
        rows = [json.loads(line) for line in (folder / name / "queries.jsonl").read_text("utf-8").splitlines()]
        values = [100 * _measure(row) for row in rows]
        low, high = confidence_interval(values)
        figures[label] = (sum(values) / len(values), low, high)
    return figures


def _measure(row: dict[str, Any]) -> float:
    return float(row["measures"]["nDCG@10"])


def bars(figures: dict[str, tuple[float, float, float]], caption: str) -> str:
    """Draw means as bars with their intervals."""
    left, scale, line = 190, 5.6, 54
    parts = [text(24, 36, caption, 17)]
    for number, (label, (mean, low, high)) in enumerate(figures.items()):
        y = 58 + number * line
        fill = ACCENT if number == len(figures) - 1 else "#9db8b4"
        interval = f"M{left + low * scale:.1f} {y + 19} H{left + high * scale:.1f}"
        parts += [
            text(24, y + 25, label, 16, FAINT),
            f'<rect x="{left}" y="{y}" width="{mean * scale:.1f}" height="38" rx="4" fill="{fill}"/>',
            f'<path d="{interval}" stroke="{INK}" stroke-width="2"/>',
            text(left + high * scale + 12, y + 25, f"{mean:.1f}", 17),
        ]
    return drawing(760, 74 + len(figures) * line, caption, parts)


def main() -> None:
    """Write all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the tutorial was followed")
    options = parser.parse_args()
    (ASSETS / "loop.svg").write_text(loop(), encoding="utf-8")
    figures = means(options.folder, {"words": "BM25", "before": "mini", "after": "trained"})
    caption = "nDCG@10 x 100 on 75 questions that nothing was trained on, with 95% intervals"
    (ASSETS / "tutorial.svg").write_text(bars(figures, caption), encoding="utf-8")


if __name__ == "__main__":
    main()
