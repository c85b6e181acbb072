"""One row per query that opens: what was right, and what every run retrieved, with the texts."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from rader_plugins.evaluation.comparing.groups import Group

__all__ = ["QUERY_STYLE", "query_rows"]

QUERY_STYLE = r"""
details.query { border-bottom: 1px solid var(--line); }
details.query > summary { display: flex; flex-wrap: wrap; gap: .2rem .8rem; padding: .35rem 0; }
details.query > summary::before { content: "\25B8"; color: var(--soft); }
details.query[open] > summary::before { content: "\25BE"; }
details.query > summary .what { flex: 1 1 22rem; min-width: 0; overflow-wrap: anywhere; }
details.query > summary .figure { color: var(--soft); white-space: nowrap; font-variant-numeric: tabular-nums; }
details.query > summary .figure.best { color: var(--text); font-weight: 700; }
details.query .inside { padding: .2rem 0 1rem 1rem; overflow-wrap: anywhere; }
details.query ol, details.query ul { margin: .2rem 0 .8rem; padding-left: 1.6rem; }
details.query li { margin: .15rem 0; } details.query li.right { color: var(--gain); }
details.query h4 { margin: .6rem 0 .1rem; font-size: .95rem; }
"""
_MOST_ROWS = 400
_BEST = 5
_QUESTION, _DOCUMENT = 220, 260


def query_rows(group: Group) -> list[str]:
    """Return the rows; those whose runs differ most stand first."""
    rows = []
    for query in group.queries:
        values = {name: group.runs[name].per_query[query][group.measure] for name in group.names}
        rows.append((max(values.values()) - min(values.values()), query, values))
    rows.sort(key=lambda row: -row[0])
    parts = [_row(group, query, values) for _, query, values in rows[:_MOST_ROWS]]
    if len(rows) > _MOST_ROWS:
        parts.append(
            f'<p class="note">{len(rows) - _MOST_ROWS:,} more questions, whose runs differ less: see per-query.tsv.</p>'
        )
    return parts


def _row(group: Group, query: str, values: Mapping[str, float]) -> str:
    first = group.runs[group.names[0]]
    top = max(values.values())
    figures = "".join(
        f'<span class="figure{" best" if top - value < 1e-12 else ""}">{escape(name)} {100 * value:.1f}</span>'
        for name, value in values.items()
    )
    text = first.texts.get(query, "")
    whole = f"<p>{escape(text)}</p>" if len(text) > _QUESTION else ""
    return (
        f'<details class="query"><summary><span class="what"><b>{escape(query)}</b> {escape(_clip(text, _QUESTION))}'
        f'</span>{figures}</summary><div class="inside">{whole}{_right(group, query)}{_retrieved(group, query)}</div>'
        "</details>"
    )


def _right(group: Group, query: str) -> str:
    grades = group.runs[group.names[0]].judgements.get(query)
    if grades is None:
        return '<p class="note">What was right is not in these folders: an earlier version wrote them.</p>'
    items = []
    for document, grade in sorted(grades.items(), key=lambda pair: -pair[1]):
        if grade <= 0:
            continue
        ranks = ", ".join(f"{name} {_rank(group, name, query, document)}" for name in group.names)
        graded = f", relevance {grade}" if grade > 1 else ""
        items.append(
            f'<li class="right">{_document(group, document)} <small>(rank: {escape(ranks)}{graded})</small></li>'
        )
    return f"<h4>Right</h4><ul>{''.join(items) or '<li>nothing</li>'}</ul>"


def _rank(group: Group, name: str, query: str, document: str) -> str:
    documents = list(group.runs[name].run.get(query, ()))
    return str(documents.index(document) + 1) if document in documents else f"not in {len(documents)}"


def _retrieved(group: Group, query: str) -> str:
    grades = group.runs[group.names[0]].judgements.get(query, {})
    parts = []
    for name in group.names:
        items = [
            f'<li class="{_kind(grades, document)}">{_document(group, document)}</li>'
            for document in list(group.runs[name].run.get(query, ()))[:_BEST]
        ]
        parts.append(f"<h4>Retrieved by {escape(name)}</h4><ol>{''.join(items) or '<li>nothing</li>'}</ol>")
    return "".join(parts)


def _kind(judged: Mapping[str, int], document: str) -> str:
    return "right" if judged.get(document, 0) > 0 else "other"


def _document(group: Group, document: str) -> str:
    text = next((run.documents[document] for run in group.runs.values() if document in run.documents), "")
    return f"<b>{escape(document)}</b> {escape(_clip(text, _DOCUMENT))}"


def _clip(text: str, longest: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 1] + "…"
