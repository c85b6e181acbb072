"""A comparison as a screenful of text, and as a table for a paper."""

from __future__ import annotations

from collections.abc import Sequence

from rader_plugins.evaluation.comparing.groups import Group
from rader_plugins.evaluation.comparing.significance import p_text
from rader_plugins.evaluation.remarks import model_remarks, percent, remarks, settings
from rader_plugins.evaluation.tables import latex_table, text_table

__all__ = ["average_rows", "latex", "screenful"]

_MOST_TESTS = 10
_MOST_MEASURES = 5
_LONGEST_SETTING = 40


def screenful(groups: Sequence[Group], room: int = 0) -> str:
    """Return tables that fit a terminal; figures x 100.

    Args:
        groups: One per data set.
        room: Characters of its lines; 0 for any number.
    """
    lines: list[str] = []
    if len(groups) > 1:
        lines += [f"{groups[0].measure} by data set", *text_table(*average_rows(groups), room=room), ""]
    for group in groups if len(groups) < 4 else ():
        lines += [f"{group.title}: {len(group.queries):,} questions", *text_table(*_figures(group), room=room), ""]
    tests = [(group.title, test) for group in groups for test in group.tests]
    tests.sort(key=lambda titled_test: titled_test[1].p_adjusted)
    if tests:
        titled = len(groups) > 1
        rows = [
            [
                *([title] if titled else []),
                f"{test.second} - {test.first}",
                f"{100 * test.difference:+.2f}",
                f"{test.wins} / {test.ties} / {test.losses}",
                p_text(test.p_adjusted),
            ]
            for title, test in tests[:_MOST_TESTS]
        ]
        header = [*(["data set"] if titled else []), "pair", "difference", "wins / ties / losses", "p adjusted"]
        lines += text_table(header, rows, words=1 + titled, room=room)
        if len(tests) > _MOST_TESTS:
            lines.append(f"... and {len(tests) - _MOST_TESTS} more pairs, of higher p: see markdown(), or --out.")
        lines.append("")
    notes = [
        f"{name}: {note}"
        for group in groups
        for name in group.names
        for note in (*remarks(group.runs[name].left_out), *model_remarks(group.runs[name].manifest))
    ]
    notes = list(dict.fromkeys(notes))
    lines += notes[:_MOST_TESTS]
    if len(notes) > _MOST_TESTS:
        lines.append(f"... and {len(notes) - _MOST_TESTS} more remarks: see markdown(), or --out.")
    lines.append("Figures x 100. p: paired permutation tests, adjusted for the number of pairs (Benjamini-Hochberg).")
    return "\n".join(lines)


def latex(groups: Sequence[Group]) -> str:
    """Return a LaTeX table: systems by measures, or by data sets where there are several; figures x 100."""
    if len(groups) > 1:
        header, rows = average_rows(groups)
        note = f"{groups[0].measure} x 100"
    else:
        group = groups[0]
        header = ["run", *group.measures]
        rows = [[name, *(percent(group.runs[name].mean[m]) for m in group.measures)] for name in group.names]
        note = f"{group.title}, {len(group.queries)} questions, x 100"
    return "\n".join([f"% {note}", *latex_table(header, rows)]) + "\n"


def _systems(groups: Sequence[Group]) -> list[str]:
    """Return the names of all runs, in their order."""
    return list(dict.fromkeys(name for group in groups for name in group.names))


def average_rows(groups: Sequence[Group]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the table of systems by data sets, with the average of those that have them all."""
    titles = [_short(group.title) for group in groups]
    rows = []
    for name in _systems(groups):
        values = [group.runs[name].mean[group.measure] if name in group.runs else None for group in groups]
        figures = [value for value in values if value is not None]
        average = percent(sum(figures) / len(figures)) if len(figures) == len(values) else "-"
        rows.append([name, *("-" if value is None else percent(value) for value in values), average])
    return ["run", *titles, "average"], rows


def _short(title: str) -> str:
    """Return ``aops`` of ``bright, split aops``, and ``scifact`` of ``mteb/scifact, split test``."""
    name, _, split = title.partition(", split ")
    return split if name.startswith("bright") else name.rpartition("/")[2]


def _figures(group: Group) -> tuple[list[str], list[list[str]]]:
    other_measures = [name for name in group.measures if name != group.measure][: _MOST_MEASURES - 1]
    rows = []
    for name in group.names:
        run = group.runs[name]
        low, high = group.intervals[name]
        setting = settings(run.manifest)
        rows.append(
            [
                name,
                setting if len(setting) <= _LONGEST_SETTING else setting[: _LONGEST_SETTING - 1] + "…",
                f"{percent(run.mean[group.measure])} ({100 * low:.1f} to {100 * high:.1f})",
                *(percent(run.mean[measure]) for measure in other_measures),
                f"{run.latency['p50']:.1f}" if "p50" in run.latency else "",
            ]
        )
    return ["run", "setting", f"{group.measure} ({100 * group.level:g}%)", *other_measures, "median ms"], rows
