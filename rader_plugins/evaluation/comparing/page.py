"""A comparison as one HTML page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from rader_plugins.evaluation.comparing.charts import CHART_STYLE, bars, differences, intervals
from rader_plugins.evaluation.comparing.groups import Group
from rader_plugins.evaluation.comparing.markdown import paired_rows
from rader_plugins.evaluation.comparing.query_rows import QUERY_STYLE, query_rows
from rader_plugins.evaluation.comparing.significance import PairedTest, p_text
from rader_plugins.evaluation.comparing.summary import average_rows
from rader_plugins.evaluation.remarks import model_remarks, remarks, settings

__all__ = ["page"]

_MOST_PLOTS = 28
_STYLE = """
:root { color-scheme: light dark; --text: #1c2330; --soft: #5b6675; --line: #d9dee5; --back: #ffffff; --panel: #f5f7f9;
  --main: #2563a8; --gain: #1f7a4d; --loss: #b3402a; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e8ee; --soft: #9aa5b4; --line: #39424f; --back: #161a20;
  --panel: #1e242c; --main: #6aa9ec; --gain: #55b98a; --loss: #e0826f; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back); max-width: 960px;
  margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
h3 { margin: 1.6rem 0 .4rem; font-size: 1.05rem; } p.note, td.soft { color: var(--soft); font-size: .9rem; }
summary { cursor: pointer; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; overflow-wrap: normal; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { background: var(--panel); font-weight: 600; } th:first-child, td:first-child, .words { text-align: left; }
td.words { white-space: normal; min-width: 14rem; }
.best { font-weight: 700; }
"""


def page(groups: Sequence[Group]) -> str:
    """Return the page."""
    titles = ", ".join(group.title for group in groups)
    body = [
        "<h1>Comparison of runs</h1>",
        f'<p class="note">{escape(groups[0].measure)} &times; 100 on {escape(titles)}.</p>',
        *_averages(groups),
        *(part for group in groups for part in _group(group)),
        '<p class="note">Intervals: bootstrap over queries (BCa). p: paired permutation test, two-sided; adjusted for '
        "the number of all pairs (Benjamini-Hochberg). Both by scipy.</p>",
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Comparison: {escape(titles)}</title><style>{_STYLE}{CHART_STYLE}{QUERY_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _averages(groups: Sequence[Group]) -> list[str]:
    if len(groups) < 2:
        return []
    header, rows = average_rows(groups)
    cells = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    return [f"<h2>{escape(groups[0].measure)} by data set</h2>", _table(header, cells)]


def _group(group: Group) -> list[str]:
    percent = f"{100 * group.level:g}%"
    points = []
    for name in group.names:
        low, high = group.intervals[name]
        points.append((name, 100 * group.runs[name].mean[group.measure], 100 * low, 100 * high))
    queries = len(group.runs[group.names[0]].per_query)
    parts = [
        f"<h2>{escape(group.title)}</h2>",
        f"<h3>{escape(group.measure)} by run, {percent} confidence intervals, {queries:,} queries</h3>",
        intervals(points, f"{group.measure} x 100"),
        _figures(group),
    ]
    parts += _tests(group)
    parts += ["<h3>Every question: open one to see what was right and what was retrieved</h3>", *query_rows(group)]
    timed = [(name, run.latency["p50"], run.latency["p95"]) for name, run in group.runs.items() if "p50" in run.latency]
    if timed:
        size = max(int(run.latency["batch_size"]) for run in group.runs.values())
        calls = "one query" if size == 1 else f"up to {size} queries"
        parts += [
            f"<h3>Latency of a call for {calls}: median (bar) and 95th percentile (tick)</h3>",
            bars(timed, "milliseconds"),
        ]
    notes = [
        f"<li>{escape(name)}: {escape(text)}</li>"
        for name in group.names
        for text in (*remarks(group.runs[name].left_out), *model_remarks(group.runs[name].manifest))
    ]
    if notes:
        parts += ["<h3>Left out, or counted as 0</h3>", f"<ul>{''.join(notes)}</ul>"]
    return parts


def _figures(group: Group) -> str:
    measures = [m for m in group.runs[group.names[0]].mean if all(m in run.mean for run in group.runs.values())]
    top = {measure: max(run.mean[measure] for run in group.runs.values()) for measure in measures}
    rows = []
    for name in group.names:
        run = group.runs[name]
        cells = [f"<td>{escape(name)}</td>"]
        for measure in measures:
            mark = ' class="best"' if run.mean[measure] == top[measure] else ""
            cells.append(f"<td{mark}>{100 * run.mean[measure]:.2f}</td>")
        rate = run.latency.get("queries_per_second")
        cells.append(f"<td>{'' if rate is None else f'{rate:,.1f}'}</td>")
        cells.append(f'<td class="words soft">{escape(settings(run.manifest))}</td>')
        rows.append("".join(cells))
    header = ["run", *measures, "queries / s", "setting"]
    return _table(header, rows, words={len(header) - 1})


def _tests(group: Group) -> list[str]:
    if not group.tests:
        return []
    header = ["first", "second", "difference", "wins / ties / losses", "p", "p adjusted", "p (t-test)"]
    rows = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in paired_rows(group.tests)]
    parts = [f"<h3>Paired tests on {escape(group.measure)}: second against first</h3>", _table(header, rows)]
    parts.append("<h3>Any two runs, query by query</h3>")
    opened = _default_pair(group)
    # The one that is open is drawn, however many there are.
    drawn = sorted(group.tests, key=lambda test: test is not opened)[:_MOST_PLOTS]
    parts += [_pair(group, test, opened=test is opened) for test in drawn]
    if len(drawn) < len(group.tests):
        parts.append(f'<p class="note">{len(group.tests) - len(drawn)} more pairs are not drawn.</p>')
    return parts


def _default_pair(group: Group) -> PairedTest:
    """Return dense against hybrid where there are such runs, else the first pair."""
    modes = {name: run.manifest["retriever"].get("mode") for name, run in group.runs.items()}
    return next(
        (test for test in group.tests if {modes[test.first], modes[test.second]} == {"dense", "hybrid"}), group.tests[0]
    )


def _pair(group: Group, test: PairedTest, *, opened: bool) -> str:
    before, after = group.values(test.first), group.values(test.second)
    gains = [(query, 100 * (after[query] - before[query])) for query in before]
    title = f"{test.second} against {test.first}: {100 * test.difference:+.2f} (p {p_text(test.p_adjusted)})"
    chart = differences(gains, f"difference of {group.measure} x 100") if any(value for _, value in gains) else ""
    inside = chart or '<p class="note">No query differs.</p>'
    return f"<details{' open' if opened else ''}><summary>{escape(title)}</summary>{inside}</details>"


def _table(header: Sequence[str], rows: Sequence[str], words: frozenset[int] | set[int] = frozenset()) -> str:
    head = "".join(
        f"<th{' class=words' if number in words else ''}>{escape(name)}</th>" for number, name in enumerate(header)
    )
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
