"""Tables of strings as plain text, Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["latex_table", "markdown_table", "text_table"]

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1, room: int = 0) -> list[str]:
    """Return lines with aligned columns.

    Args:
        header: One cell per column.
        rows: Cells of every row.
        words: So many columns at the start are words, aligned to the left; the others are figures.
        room: Characters of a line, 0 for any number; columns for which there is no room stand in a table below, which
            repeats the first one.
    """
    cells = [[" ".join(cell.split()) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    parts = [[0]]
    for column in range(1, len(header)):
        if room and len(parts[-1]) > 1 and sum(widths[each] + 2 for each in (*parts[-1], column)) - 2 > room:
            parts.append([0])
        parts[-1].append(column)
    lines: list[str] = []
    for part in parts:
        lines += [""] if lines else []
        lines += [
            "  ".join(
                row[column].ljust(widths[column]) if column < words else row[column].rjust(widths[column])
                for column in part
            ).rstrip()
            for row in cells
        ]
    return lines


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = ["| " + " | ".join(map(markdown_cell, header)) + " |", "|" + " --- |" * len(header)]
    return lines + ["| " + " | ".join(map(markdown_cell, row)) + " |" for row in rows]


def markdown_cell(text: str) -> str:
    """Return a text that neither ends a cell nor becomes markup."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def latex_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1) -> list[str]:
    r"""Return the lines of a table for the package booktabs; a last row "average" gets a rule above it."""
    columns = "l" * words + "r" * (len(header) - words)
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _latex_row(header), r"\midrule"]
    for row in rows:
        if row[0] == "average" and row is rows[-1] and len(rows) > 1:
            lines.append(r"\midrule")
        lines.append(_latex_row(row))
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _latex_row(row: Sequence[str]) -> str:
    return " & ".join("".join(_LATEX.get(char, char) for char in cell) for cell in row) + r" \\"
