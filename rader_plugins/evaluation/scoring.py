"""Scoring a run. The figures come from ir_measures and pytrec_eval; nothing is computed by hand here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rader_plugins.arguments import shown
from rader_plugins.errors import InputError, import_extra
from rader_plugins.evaluation.measures import Measure, measure_set
from rader_plugins.evaluation.rankings import Aspects, Excluded, Qrels, Run, check_nested, check_run, ranking

__all__ = ["Scores", "Ties", "check_measures", "score_run", "score_separated"]

Ties = Literal["file", "trec_eval"]

_HIGHEST_GRADE = 1_000_000
"""trec_eval counts documents in an array as long as the highest grade: too long ones give wrong figures or crash."""


@dataclass(frozen=True)
class Scores:
    """The figures of one run.

    Attributes:
        mean: Measure -> mean over all judged queries, 0 to 1.
        per_query: Query -> measure -> value, for every judged query.
        without_results: Judged queries for which the run has nothing; they score 0.
        without_judgements: Queries of the run that nobody judged; they are left out.
        without_relevant: Judged queries none of whose documents is relevant; they score 0, as in trec_eval.
    """

    mean: dict[str, float]
    per_query: dict[str, dict[str, float]]
    without_results: tuple[str, ...] = ()
    without_judgements: tuple[str, ...] = ()
    without_relevant: tuple[str, ...] = ()


def score_run(
    run: Run,
    qrels: Qrels,
    measures: Sequence[Measure] = ("nDCG@10", "R@10", "RR"),
    *,
    aspects: Aspects | None = None,
    excluded: Excluded | None = None,
    ties: Ties = "file",
) -> Scores:
    """Score a run.

    With ``ties="file"`` documents of equal score keep the order in which the run holds them, as RaDeR's published
    figures need it: scores are replaced by strictly falling ones before the library sees them. trec_eval itself, and
    ``ties="trec_eval"``, rounds scores to 32-bit floats and orders equal ones by document id, Z to A, whatever the
    order of the file.

    Args:
        run: Query id -> document id -> score.
        qrels: Query id -> document id -> relevance; negative relevance counts as 0, grades count in nDCG.
        measures: Names as in ir_measures (``nDCG@10``, ``R@100``, ``AP``, ``RR``, ``P@5``, ``RBP(p=0.9)``; also
            ``Recall``, ``MAP``, ``MRR``), its objects, or functions ``(qrels, run) -> {query: value}``.
        aspects: Judgements by aspect, for measures such as ``alpha_nDCG@10``.
        excluded: Documents deleted from a query's ranking first.
        ties: ``"file"`` or ``"trec_eval"``.

    Raises:
        InputError: No judgements, a score that is NaN, an unknown measure, or run and judgements share no query or no
            document.
        MissingExtraError: ir_measures is not installed.

    Example:
        >>> score_run({"q": {"a": 0.5, "b": 0.5}}, {"q": {"a": 1}}, ["RR"]).mean
        {'RR': 1.0}
        >>> score_run({"q": {"a": 0.5, "b": 0.5}}, {"q": {"a": 1}}, ["RR"], ties="trec_eval").mean
        {'RR': 0.5}
    """
    if ties not in ("file", "trec_eval"):
        raise InputError(f"ties is 'file' or 'trec_eval', not {ties!r}.")
    check_nested(qrels, "The judgements")
    if not qrels:
        raise InputError("There are no judgements (qrels) to score against.")
    check_run(run)
    ordered: dict[str, dict[str, float]] = {}
    for query, scores in run.items():
        remaining = dict(scores)
        for document in (excluded or {}).get(query, ()):
            remaining.pop(document, None)
        ordered[query] = _falling(remaining) if ties == "file" else remaining
    _check_same_world(ordered, qrels)
    return score_separated(ordered, qrels, measures, aspects)


def _check_same_world(run: Run, qrels: Qrels) -> None:
    """Raise where run and judgements cannot belong together: every figure would be 0."""
    if not any(run.values()):
        return  # a system that finds nothing
    if not run.keys() & qrels.keys():
        raise InputError(
            f"Run and judgements share no query: the run has {next(iter(run))!r} and the like, the judgements "
            f"{next(iter(qrels))!r}. Are they of the same data set and split?"
        )
    documents = {document for scores in run.values() for document in scores}
    judged_documents = {document for grades in qrels.values() for document in grades}
    if not documents & judged_documents:
        raise InputError(
            f"Run and judgements share no document: the run has {min(documents)!r} and the like, the judgements "
            f"{min(judged_documents)!r}. Do both name the documents alike?"
        )


def score_separated(run: Run, qrels: Qrels, measures: Sequence[Measure], aspects: Aspects | None = None) -> Scores:
    """As :func:`score_run`, of scores that are numbers and whose order in single precision is the one that counts."""
    _check_grades(qrels)
    parsed = measure_set(measures)
    parsed.check(aspects or {})
    # The library sees judged queries with results alone; it counts the others as 0.
    searched = {query: run[query] for query in qrels if run.get(query)}
    by_aspect = parsed.of_aspects()
    plain = {name: measure for name, measure in parsed.library.items() if name not in by_aspect}
    columns = _of_library(plain, {query: dict(grades) for query, grades in qrels.items()}, searched, list(qrels))
    if by_aspect:
        columns |= _of_library(
            {name: parsed.library[name] for name in by_aspect}, _subtopics(aspects or {}), searched, list(qrels)
        )
    columns |= {
        name: measure.compute(aspects or {}, searched, list(qrels)) for name, measure in parsed.weighted.items()
    }
    columns |= {name: parsed.compute(name, qrels, searched) for name in parsed.functions}
    return Scores(
        mean={name: parsed.average(name, columns[name]) for name in parsed.names},
        per_query={query: {name: columns[name][query] for name in parsed.names} for query in qrels},
        without_results=tuple(query for query in qrels if query not in searched),
        without_judgements=tuple(query for query in run if query not in qrels),
        without_relevant=tuple(
            query for query, grades in qrels.items() if not any(grade > 0 for grade in grades.values())
        ),
    )


def _check_grades(qrels: Qrels) -> None:
    for query, grades in qrels.items():
        for document, grade in grades.items():
            if isinstance(grade, bool) or not isinstance(grade, int | np.integer):
                raise InputError(
                    f"The relevance of document {document!r} for query {query!r} is {shown(grade)}, not a whole number."
                )
            if abs(grade) > _HIGHEST_GRADE:
                raise InputError(
                    f"The relevance of document {document!r} for query {query!r} is {grade:,}; scorers take grades up "
                    f"to {_HIGHEST_GRADE:,}. Write grades such as 0, 1, 2, 3."
                )


def check_measures(measures: Sequence[Measure], qrels: Qrels, aspects: Aspects) -> None:
    """Find out before anything is searched that measures can be computed of these judgements.

    Raises:
        InputError: One is unknown, its scorer is not installed or fails, aspects are missing, or a function fails on a
            run of one relevant document or does not return numbers by query.
    """
    pairs = [(query, name, grade) for query, grades in qrels.items() for name, grade in grades.items()]
    query, document, _ = max(pairs, key=lambda pair: pair[2])
    run = {query: {document: 1.0}}
    parsed = measure_set(measures)
    if names := [*parsed.library, *parsed.weighted]:
        score_separated(run, {query: qrels[query]}, names, aspects)
    for name in parsed.functions:
        parsed.compute(name, qrels, run)


def _of_library(measures: Mapping[str, Any], qrels: Any, run: Run, queries: list[str]) -> dict[str, dict[str, float]]:
    """Return measure -> query -> value."""
    if not measures:
        return {}
    library = import_extra("ir_measures", "evaluation")
    try:
        results = library.calc([_uncut(measure) for measure in measures.values()], qrels, run).per_query
    except Exception as error:  # scorers are programs of many authors, with ideas of their own on ids
        raise InputError(f"{', '.join(measures)} cannot be computed of these ids and judgements: {error}") from error
    values = {(metric.query_id, metric.measure): float(metric.value) for metric in results}
    columns: dict[str, dict[str, float]] = {}
    for name, measure in measures.items():
        uncut = _uncut(measure)
        columns[name] = {query: values.get((query, uncut), 0.0) for query in queries}
        if uncut is not measure:
            columns[name] = {
                query: value if value * measure["cutoff"] > 1 - 1e-9 else 0.0 for query, value in columns[name].items()
            }
    return columns


def _subtopics(aspects: Aspects) -> list[Any]:
    library = import_extra("ir_measures", "evaluation")
    return [
        library.Qrel(query, document, grade, aspect)
        for query, documents in aspects.items()
        for document, grades in documents.items()
        for aspect, grade in grades.items()
    ]


def _falling(scores: dict[str, float]) -> dict[str, float]:
    # Whole numbers are exact in single precision up to 2**24 of them.
    order = ranking(scores)
    return {document: float(len(order) - rank) for rank, document in enumerate(order)}


def _uncut(measure: Any) -> Any:
    """Return RR for RR@k, and any other measure as it is.

    ir_measures takes RR@k from a scorer that is slower than all others together. RR is 1 / rank, so that
    RR@k is RR where that is at least 1 / k, and 0 elsewhere.
    """
    if measure.NAME != "RR" or not measure.params.get("cutoff"):
        return measure
    params = {name: value for name, value in measure.params.items() if name != "cutoff"}
    return type(measure)(**params)
