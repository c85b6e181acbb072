"""A comparison as Markdown and as a table of queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rader_plugins.evaluation.comparison import Comparison, Group
    from rader_plugins.evaluation.result import Evaluation
    from rader_plugins.evaluation.statistics import PairedTest

__all__ = ["markdown", "p_text", "per_query_table", "remarks", "settings", "paired_rows"]


def markdown(comparison: Comparison) -> str:
    """Return the tables as Markdown."""
    percent = f"{100 * comparison.level:g}%"
    lines = ["# Comparison of runs", ""]
    for group in comparison.groups:
        measures = list(group.runs[group.names[0]].mean)
        measures = [name for name in measures if all(name in run.mean for run in group.runs.values())]
        lines += [f"## {_cell(group.title)}", ""]
        header = ["run", f"{comparison.measure} ({percent} interval)"]
        header += [name for name in measures if name != comparison.measure] + ["median ms", "setting"]
        lines += _table(header, [_row(comparison, group, name, measures) for name in group.names])
        if group.tests:
            lines += ["", f"Paired tests on {comparison.measure}, second run against first:", ""]
            lines += _table(
                ["first", "second", "difference", "wins / ties / losses", "p", "p adjusted", "p (t-test)"],
                paired_rows(group.tests),
            )
        notes = [f"- {_cell(name)}: {remark}" for name in group.names for remark in remarks(group.runs[name])]
        if notes:
            lines += ["", "Left out, or counted as 0:", "", *notes]
        lines.append("")
    lines += [
        "Figures x 100. Intervals: bootstrap over queries (BCa). p: paired permutation test, two-sided; adjusted for "
        "the number of pairs in the table (Benjamini-Hochberg).",
        "",
    ]
    return "\n".join(lines)


def per_query_table(comparison: Comparison) -> str:
    """Return one line per data set, query and run (tab-separated): value, and whether it is among the best."""
    lines = ["dataset\tquery\trun\t" + comparison.measure + "\tbest"]
    for row in comparison.winners():
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


def p_text(p: float) -> str:
    """Write a p value; small ones as a bound, since 9,999 permutations tell no more."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def settings(run: Evaluation) -> str:
    """Say in a few words what a run is."""
    about = run.manifest["retriever"]
    if about.get("kind") != "RaderRetriever":
        return str(about.get("name", about.get("kind", "")))
    alpha = f", alpha {about['alpha']:g}" if about.get("alpha") is not None else ""
    model = "" if about["mode"] == "bm25" else f", {about['recipe']['name']}"
    reranked = f", {about['reranker']['kind']}" if about.get("reranker") else ""
    return f"{about['mode']}{alpha}{model}{reranked}"


def remarks(run: Evaluation) -> list[str]:
    """Say what was left out of a run or counts as 0."""
    labels = {
        "queries_failed": "{} queries failed and count as 0",
        "queries_without_results": "{} queries without results count as 0",
        "queries_without_relevant_documents": "{} queries have no relevant document and count as 0",
        "queries_without_judgements": "{} queries without judgements, not evaluated",
        "results_not_in_corpus": "{} results are not in the corpus",
        "corpus_documents_not_indexed": "{} documents of the corpus are not in the index",
        "indexed_documents_not_in_corpus": "{} documents of the index are not in the corpus",
        "chunks_merged": "{} chunks merged into their documents",
    }
    found = []
    for key, label in labels.items():
        value = run.left_out.get(key, 0)
        number = value if isinstance(value, int) else len(value)
        if number:
            found.append(label.format(f"{number:,}"))
    return found


def _row(comparison: Comparison, group: Group, name: str, measures: list[str]) -> list[str]:
    run = group.runs[name]
    low, high = group.intervals[name]
    return [
        name,
        f"{100 * run.mean[comparison.measure]:.2f} ({100 * low:.1f} to {100 * high:.1f})",
        *(f"{100 * run.mean[measure]:.2f}" for measure in measures if measure != comparison.measure),
        f"{run.latency['p50']:.1f}" if "p50" in run.latency else "",
        settings(run),
    ]


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(map(_cell, header)) + " |", "|" + " --- |" * len(header)]
    return lines + ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
