"""What the samples have in common with the sets that a model is evaluated on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rader_plugins.errors import InputError
from rader_plugins.files import write_json
from rader_plugins.query_kinds import query_kind
from rader_plugins.samples import Sample
from rader_training.data.groups import Groups

if TYPE_CHECKING:
    from rader_plugins.evaluation.overlap import EvaluationSet, Overlap

__all__ = ["OVERLAP_FILE", "check_overlap", "describe", "evaluation_sets", "find_overlap"]

OVERLAP_FILE = "overlap.json"
_MOST_LISTED = 100
_MOST_LINES = 16  # of a question that a query opens with


def check_overlap(groups: Groups, sets: Sequence[EvaluationSet], folder: Path, *, allow: bool) -> dict[str, Any] | None:
    """Write down what the samples have in common with evaluation sets.

    Args:
        groups: What is trained on.
        sets: What the model is evaluated on.
        folder: Folder of the run.
        allow: Go on whatever is found.

    Returns:
        The content of ``overlap.json``; None without evaluation sets.

    Raises:
        InputError: Something was found; how much and where.
    """
    distinct = list({evaluation.fingerprint: evaluation for evaluation in sets}.values())
    if not distinct:
        return None
    overlap = {**find_overlap(groups, distinct), "allowed": allow}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / OVERLAP_FILE, overlap)
    if overlap["overlapping"] and not allow:
        first = overlap["listed"][0]
        raise InputError(
            f"{describe(overlap)}: sample {first['query_id']!r} holds query {first['query']!r} of {first['dataset']}. "
            f"{folder / OVERLAP_FILE} lists them. Leave them out (rader samples --against), or train on them "
            "knowingly: --allow-overlap, allow_overlap=True."
        )
    return overlap


def evaluation_sets(named: Sequence[str | EvaluationSet]) -> list[EvaluationSet]:
    """Load those sets that are given by name."""
    from rader_plugins.evaluation.overlap import load_evaluation_set

    return [load_evaluation_set(source) if isinstance(source, str) else source for source in named]


def find_overlap(groups: Groups, sets: Sequence[EvaluationSet]) -> dict[str, Any]:
    """Compare the queries of all samples with those of evaluation sets, and the positives with their corpora."""
    samples = overlapping = 0
    how: dict[str, Counter[str]] = {evaluation.name: Counter() for evaluation in sets}
    in_corpus: Counter[str] = Counter()
    listed: list[dict[str, str]] = []
    for sample in groups.samples():
        samples += 1
        hits = [hit for evaluation in sets if (hit := _hit(sample, evaluation)) is not None]
        overlapping += bool(hits)
        for hit in hits:
            how[hit.dataset][hit.how] += 1
            if len(listed) < _MOST_LISTED:
                row = {"dataset": hit.dataset, "query": hit.query, "how": hit.how, "query_id": sample.query_id}
                listed.append(row)
        for evaluation in sets:
            in_corpus[evaluation.name] += any(evaluation.knows(passage.full_text) for passage in sample.positives)
    against = [
        {
            "name": evaluation.name,
            "queries": evaluation.queries,
            "fingerprint": evaluation.fingerprint,
            "ngram": evaluation.ngram,
            "overlaps": dict(sorted(how[evaluation.name].items())),
            "corpus_documents": evaluation.documents,
            "samples_with_a_positive_in_its_corpus": in_corpus[evaluation.name],
        }
        for evaluation in sets
    ]
    return {"samples": samples, "overlapping": overlapping, "against": against, "listed": listed}


def describe(overlap: dict[str, Any]) -> str:
    """Return what was found, in a line."""
    parts = [
        f"{sum(against['overlaps'].values()):,} with {against['name']}"
        for against in overlap["against"]
        if against["overlaps"]
    ]
    names = ", ".join(against["name"] for against in overlap["against"])
    count = f"{overlap['overlapping']:,} of {overlap['samples']:,} samples overlap with evaluation sets"
    return f"{count} ({', '.join(parts)})" if parts else f"none of {overlap['samples']:,} samples overlaps with {names}"


def _hit(sample: Sample, evaluation: EvaluationSet) -> Overlap | None:
    overlap = evaluation.overlap(sample.query)
    if overlap is not None or not query_kind(sample.query_kind).opens_with_question:
        return overlap
    return next((same for text in _heads(sample.query) if (same := evaluation.same(text)) is not None), None)


def _heads(query: str) -> Iterator[str]:
    """Yield what may be the question of a query that opens with it and has more on the lines after it."""
    lines = query.split("\n")
    for count in range(1, min(len(lines), _MOST_LINES + 1)):
        yield "\n".join(lines[:count])
