"""Rankings: what runs, judgements and exclusions are, the order of documents in a run, and sums of runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from typing import Literal

import numpy as np

from rader_plugins.arguments import shown
from rader_plugins.errors import InputError

__all__ = ["Aspects", "Excluded", "Qrels", "Run", "check_run", "interpolate", "is_number", "ranking", "separated"]

Run = Mapping[str, Mapping[str, float]]
"""Query id -> document id -> score; the order of the documents decides between equal scores."""
Qrels = Mapping[str, Mapping[str, int]]
"""Query id -> document id -> relevance: 0 and below not relevant, 1 relevant, higher grades more so."""
Aspects = Mapping[str, Mapping[str, Mapping[str, int]]]
"""Query id -> document id -> aspect of the query (a subtopic) -> relevance to it."""
Excluded = Mapping[str, Set[str]]
"""Query id -> documents that are deleted from its ranking before scoring."""


def ranking(scores: Mapping[str, float]) -> list[str]:
    """Return document ids by falling score; equal scores keep the order in which they stand.

    Example:
        >>> ranking({"a": 0.2, "b": 0.9, "c": 0.9})
        ['b', 'c', 'a']
    """
    return sorted(scores, key=scores.__getitem__, reverse=True)  # sorted() is stable, in reverse too


def separated(scores: Mapping[str, float]) -> dict[str, float]:
    """Return the scores in ranking order, lowered where they must be to fall strictly in single precision.

    trec_eval and the libraries around it read scores as 32-bit floats and order what is then equal by document id.
    After this every scorer sees the order of :func:`ranking`. A score changes by its rounding and a few units in the
    last place.
    """
    order = ranking(scores)
    with np.errstate(over="ignore"):
        single = np.array([scores[document] for document in order], dtype=np.float64).astype(np.float32)
    lowest = np.float32(np.finfo(np.float32).min)
    if len(single) and single[0] == np.inf:
        single[0] = np.finfo(np.float32).max
    if not (single[1:] < single[:-1]).all():
        for rank in range(1, len(single)):
            if not single[rank] < single[rank - 1]:
                single[rank] = np.nextafter(single[rank - 1], lowest, dtype=np.float32)
    return dict(zip(order, single.tolist(), strict=True))


def is_number(value: object) -> bool:
    """Whether a value is a real number of Python or numpy."""
    return isinstance(value, int | float | np.floating | np.integer) and not isinstance(value, bool)


def check_nested(values: object, what: str) -> None:
    """Raise :class:`InputError` unless values are a mapping from query ids to mappings from document ids.

    Args:
        values: A run or judgements.
        what: How to call them in the message.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{what} must be {{query: {{document: number}}}}, not {shown(values)}.")
    for query, of_query in values.items():
        if not isinstance(query, str) or not isinstance(of_query, Mapping):
            raise InputError(
                f"{what} must be {{query: {{document: number}}}}: it holds {shown(query)}: {shown(of_query)}."
            )
        if not all(isinstance(document, str) for document in of_query):
            raise InputError(f"{what}: the ids of documents for query {query!r} must be strings.")


def check_run(run: Run, what: str = "The run") -> None:
    """Raise :class:`InputError` unless every score is a number.

    Args:
        run: The run to check.
        what: How to call it in the message.
    """
    check_nested(run, what)
    for query, scores in run.items():
        for document, score in scores.items():
            if type(score) is not float and not is_number(score):
                raise InputError(
                    f"{what}: the score of document {document!r} for query {query!r} is {shown(score)}, not a number."
                )
            if math.isnan(score):
                raise InputError(
                    f"{what}: the score of document {document!r} for query {query!r} is NaN, which has no place in an "
                    "order. Find out where it comes from (an empty text, a model that overflows), or leave the "
                    "document out."
                )


def interpolate(
    runs: Sequence[Run], weights: Sequence[float], *, documents: Literal["first", "union"] = "first"
) -> dict[str, dict[str, float]]:
    """Add up weighted scores of several runs, query by query.

    RaDeR's pipeline is ``interpolate([reranker, retriever], [0.5, 0.5])``. Scores are taken as they are: z-score them
    first where they are on different scales.

    Args:
        runs: The runs to add up, at least one.
        weights: Weight of each run.
        documents: ``"first"`` keeps the queries and documents of the first run (what was reranked); ``"union"`` those
            of any run. A score that a run does not have counts as 0.

    Raises:
        InputError: Numbers do not match, or a score or weight is not finite.

    Example:
        >>> interpolate([{"q": {"a": 1.0, "b": 0.0}}, {"q": {"a": 0.2, "b": 0.4, "c": 9.0}}], [0.5, 0.5])
        {'q': {'a': 0.6, 'b': 0.2}}
    """
    if not runs or len(runs) != len(weights):
        raise InputError(f"interpolate() takes one weight per run; there are {len(runs)} runs, {len(weights)} weights.")
    if documents not in ("first", "union"):
        raise InputError(f"documents is 'first' or 'union', not {documents!r}.")
    if not all(math.isfinite(weight) for weight in weights):
        raise InputError(f"Weights must be finite numbers: {list(weights)}.")
    for number, run in enumerate(runs, start=1):
        check_run(run, f"Run {number}")
        if any(math.isinf(score) for scores in run.values() for score in scores.values()):
            raise InputError(f"Run {number} holds an infinite score, which no weight can balance.")
    leading = runs if documents == "union" else runs[:1]
    result: dict[str, dict[str, float]] = {}
    for query in dict.fromkeys(query for run in leading for query in run):
        names = dict.fromkeys(document for run in leading for document in run.get(query, {}))
        parts = [run.get(query, {}) for run in runs]
        result[query] = {
            name: sum(weight * part.get(name, 0.0) for weight, part in zip(weights, parts, strict=True))
            for name in names
        }
    return result
