"""Scoring a run. The figures come from ir_measures and pytrec_eval; nothing is computed by hand here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rader_plugins.errors import InputError, import_extra
from rader_plugins.evaluation.rankings import Excluded, Qrels, Run, check_run, ranking

__all__ = ["Scores", "Ties", "at_cutoffs", "measure_names", "score_run"]

Ties = Literal["file", "trec_eval"]


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
    measures: Sequence[str] = ("nDCG@10", "R@10", "RR"),
    *,
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
        measures: Names as in ir_measures: ``nDCG@10``, ``R@100``, ``AP``, ``RR``, ``P@5``, ``Success@1``; also
            ``Recall``, ``MAP``, ``MRR``.
        excluded: Documents deleted from a query's ranking first.
        ties: ``"file"`` or ``"trec_eval"``.

    Raises:
        InputError: No judgements, a score that is NaN, or an unknown measure.
        MissingExtraError: ir_measures is not installed.

    Example:
        >>> score_run({"q": {"a": 0.5, "b": 0.5}}, {"q": {"a": 1}}, ["RR"]).mean
        {'RR': 1.0}
        >>> score_run({"q": {"a": 0.5, "b": 0.5}}, {"q": {"a": 1}}, ["RR"], ties="trec_eval").mean
        {'RR': 0.5}
    """
    if ties not in ("file", "trec_eval"):
        raise InputError(f"ties is 'file' or 'trec_eval', not {ties!r}.")
    if not qrels:
        raise InputError("There are no judgements (qrels) to score against.")
    check_run(run)
    ordered: dict[str, dict[str, float]] = {}
    for query, scores in run.items():
        left = dict(scores)
        for document in (excluded or {}).get(query, ()):
            left.pop(document, None)
        ordered[query] = _falling(left) if ties == "file" else left
    return score_separated(ordered, qrels, measures)


def score_separated(run: Run, qrels: Qrels, measures: Sequence[str]) -> Scores:
    """As :func:`score_run`, of scores that are numbers and whose order in single precision is the one that counts."""
    library = import_extra("ir_measures", "evaluation")
    parsed = _parse(measures)
    # The library sees judged queries with results alone; it counts the others as 0.
    seen = {query: run[query] for query in qrels if run.get(query)}
    plain = {query: dict(grades) for query, grades in qrels.items()}
    try:
        found = library.calc([_uncut(measure) for measure in parsed.values()], plain, seen)
    except ValueError as error:  # a measure that no installed scorer computes
        raise InputError(f"{error} Measures asked for: {', '.join(parsed)}.") from None
    values = {(metric.query_id, metric.measure): float(metric.value) for metric in found.per_query}
    mean: dict[str, float] = {}
    per_query: dict[str, dict[str, float]] = {query: {} for query in qrels}
    for name, measure in parsed.items():
        uncut = _uncut(measure)
        for query, row in per_query.items():
            row[name] = values[query, uncut]
        if uncut is measure:
            mean[name] = float(found.aggregated[measure])
            continue
        for row in per_query.values():
            row[name] = row[name] if row[name] * measure["cutoff"] > 1 - 1e-9 else 0.0
        mean[name] = sum(row[name] for row in per_query.values()) / len(per_query)
    return Scores(
        mean=mean,
        per_query=per_query,
        without_results=tuple(query for query in qrels if query not in seen),
        without_judgements=tuple(query for query in run if query not in qrels),
        without_relevant=tuple(
            query for query, grades in qrels.items() if not any(grade > 0 for grade in grades.values())
        ),
    )


def measure_names(measures: Sequence[str]) -> list[str]:
    """Return the library's own names of measures (``Recall@5`` -> ``R@5``), each once.

    Raises:
        InputError: A name is unknown.
    """
    return list(_parse(measures))


def at_cutoffs(measures: Sequence[str], k_values: Sequence[int]) -> list[str]:
    """Return measures with cutoffs: a name with ``@`` stays, another is taken at each of ``k_values`` if it has
    cutoffs.

    Example:
        >>> at_cutoffs(["nDCG", "R@100", "Rprec"], [5, 10])
        ['nDCG@5', 'nDCG@10', 'R@100', 'Rprec']
    """
    if not k_values or any(isinstance(k, bool) or not isinstance(k, int) or k < 1 for k in k_values):
        raise InputError(f"k_values must be whole numbers of at least 1, not {list(k_values)}.")
    names: list[str] = []
    for name, measure in _parse(measures).items():
        cut = "@" in name or "cutoff" not in measure.SUPPORTED_PARAMS
        names += [name] if cut else [str(measure @ k) for k in k_values]
    return measure_names(names)


def deepest(measures: Sequence[str]) -> int:
    """Return the largest cutoff among measures, 0 if none has one."""
    cutoffs = [measure.params.get("cutoff") or 0 for measure in _parse(measures).values()]
    return max(cutoffs, default=0)


def _falling(scores: dict[str, float]) -> dict[str, float]:
    # Whole numbers are exact in single precision up to 2**24 of them.
    order = ranking(scores)
    return {document: float(len(order) - place) for place, document in enumerate(order)}


def _uncut(measure: Any) -> Any:
    """Return RR for RR@k, and any other measure as it is.

    ir_measures takes RR@k from a scorer that is slower than all others together. RR is 1 / rank, so that
    RR@k is RR where that is at least 1 / k, and 0 elsewhere.
    """
    if measure.NAME != "RR" or not measure.params.get("cutoff"):
        return measure
    others = {name: value for name, value in measure.params.items() if name != "cutoff"}
    return type(measure)(**others)


def _parse(measures: Sequence[str]) -> dict[str, Any]:
    library = import_extra("ir_measures", "evaluation")
    if isinstance(measures, str):
        raise InputError(f"measures is a list of names, such as [{measures!r}].")
    parsed = {}
    for name in measures:
        try:
            measure = library.parse_measure(name)
            parsed[str(measure)] = measure
        except (NameError, ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"Unknown measure {name!r} ({error}). Known are those of ir_measures: nDCG@10, R@100, AP, RR, P@5, ..."
            ) from None
    if not parsed:
        raise InputError("Name at least one measure, such as nDCG@10.")
    return parsed
