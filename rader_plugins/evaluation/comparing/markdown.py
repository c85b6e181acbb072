"""A comparison as Markdown and as a table of queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rader_plugins.evaluation.comparing.groups import Group
from rader_plugins.evaluation.comparing.significance import PairedTest, p_text
from rader_plugins.evaluation.comparing.summary import average_rows
from rader_plugins.evaluation.remarks import model_remarks, remarks, settings
from rader_plugins.evaluation.tables import markdown_cell, markdown_table

__all__ = ["markdown", "paired_rows", "per_query_table"]


def markdown(groups: Sequence[Group]) -> str:
    """Return the tables as Markdown."""
    lines = ["# Comparison of runs", ""]
    if len(groups) > 1:
        lines += [f"{groups[0].measure} by data set:", "", *markdown_table(*average_rows(groups)), ""]
    for group in groups:
        percent = f"{100 * group.level:g}%"
        measures = group.measures
        lines += [f"## {markdown_cell(group.title)}", ""]
        header = ["run", f"{group.measure} ({percent} interval)"]
        header += [name for name in measures if name != group.measure] + ["median ms", "setting"]
        lines += markdown_table(header, [_row(group, name, measures) for name in group.names])
        if group.tests:
            lines += ["", f"Paired tests on {group.measure}, second run against first:", ""]
            lines += markdown_table(
                ["first", "second", "difference", "wins / ties / losses", "p", "p adjusted", "p (t-test)"],
                paired_rows(group.tests),
            )
        notes = [f"- {markdown_cell(name)}: {remark}" for name in group.names for remark in _notes(group, name)]
        if notes:
            lines += ["", "Left out, or counted as 0:", "", *notes]
        lines.append("")
    lines += [
        "Figures x 100. Intervals: bootstrap over queries (BCa). p: paired permutation test, two-sided; adjusted for "
        "the number of all pairs here (Benjamini-Hochberg).",
        "",
    ]
    return "\n".join(lines)


def per_query_table(groups: Sequence[Group]) -> str:
    """Return one line per data set, query and run (tab-separated): value, and whether it is among the best."""
    lines = ["dataset\tquery\trun\t" + groups[0].measure + "\tbest"]
    for row in (row for group in groups for row in group.winners()):
        values: Any = row["values"]
        best: Any = row["best"]
        for name, value in values.items():
            cells = [str(row["dataset"]), str(row["query"]), name, f"{value:.6f}", "1" if name in best else "0"]
            lines.append("\t".join(" ".join(cell.split()) for cell in cells))
    return "\n".join(lines) + "\n"


def paired_rows(tests: tuple[PairedTest, ...]) -> list[list[str]]:
    """Return the cells of the table of paired tests."""
    return [
        [
            test.first,
            test.second,
            f"{100 * test.difference:+.2f}",
            f"{test.wins} / {test.ties} / {test.losses}",
            p_text(test.p_permutation),
            p_text(test.p_adjusted),
            "" if test.p_t is None else p_text(test.p_t),
        ]
        for test in tests
    ]


def _notes(group: Group, name: str) -> list[str]:
    run = group.runs[name]
    return [*remarks(run.left_out), *model_remarks(run.manifest)]


def _row(group: Group, name: str, measures: list[str]) -> list[str]:
    run = group.runs[name]
    low, high = group.intervals[name]
    return [
        name,
        f"{100 * run.mean[group.measure]:.2f} ({100 * low:.1f} to {100 * high:.1f})",
        *(f"{100 * run.mean[measure]:.2f}" for measure in measures if measure != group.measure),
        f"{run.latency['p50']:.1f}" if "p50" in run.latency else "",
        settings(run.manifest),
    ]
