"""Measures over the aspects of a query that count by their weight, as BRIGHT-Pro scores (Zhao et al., 2026).

ir_measures (through ndeval) counts all aspects alike. Here the grade of an aspect in the judgements is its weight; the
weights of a query are divided by their sum.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rader_plugins.errors import InputError
from rader_plugins.evaluation.rankings import Aspects, Run, ranking

__all__ = ["WeightedMeasure", "weighted_measure"]

_ALPHA = 0.5
_NAME = re.compile(r"(weighted_alpha_nDCG|weighted_StRecall)(?:@(\d+))?")
_Judged = Mapping[str, Mapping[str, int]]
"""Document -> aspect -> grade, of one query."""


@dataclass(frozen=True)
class WeightedMeasure:
    """A measure of this module.

    Attributes:
        kind: ``weighted_alpha_nDCG`` (a document's gain for an aspect halves with every earlier document of it) or
            ``weighted_StRecall`` (the weight of the aspects that are covered).
        cutoff: How deep it looks; None where the name has none yet.
    """

    kind: str
    cutoff: int | None

    @property
    def name(self) -> str:
        """As it is written."""
        return self.kind if self.cutoff is None else f"{self.kind}@{self.cutoff}"

    def at(self, cutoff: int) -> str:
        """Return its name with a cutoff, which a name that has one keeps."""
        return WeightedMeasure(self.kind, self.cutoff or cutoff).name

    def compute(self, aspects: Aspects, run: Run, queries: list[str]) -> dict[str, float]:
        """Return query -> value, 0 to 1; 0 for queries without results or aspects."""
        value = _alpha_ndcg if self.kind == "weighted_alpha_nDCG" else _aspect_recall
        return {
            query: _of_query(value, aspects.get(query, {}), run.get(query, {}), self.cutoff or 0) for query in queries
        }


def weighted_measure(name: object) -> WeightedMeasure | None:
    """Return the measure of this module that a name means; None for all others.

    Raises:
        InputError: Its cutoff is 0.

    Example:
        >>> weighted_measure("weighted_alpha_nDCG@25")
        WeightedMeasure(kind='weighted_alpha_nDCG', cutoff=25)
    """
    matched = _NAME.fullmatch(name) if isinstance(name, str) else None
    if matched is None:
        return None
    if matched[2] is not None and int(matched[2]) < 1:
        raise InputError(f"The cutoff of a measure is at least 1, not 0 as in {name!r}.")
    return WeightedMeasure(matched[1], int(matched[2]) if matched[2] else None)


def _of_query(
    value: Callable[[_Judged, Mapping[str, float], list[str], int], float],
    judged: _Judged,
    scores: Mapping[str, float],
    cutoff: int,
) -> float:
    relevant = {
        document: {aspect: grade for aspect, grade in grades.items() if grade > 0}
        for document, grades in judged.items()
    }
    weights: dict[str, float] = {}
    for grades in relevant.values():
        for aspect, grade in grades.items():
            weights[aspect] = max(weights.get(aspect, 0.0), float(grade))
    if not weights:
        return 0.0
    total = sum(weights.values())
    shares = {aspect: weight / total for aspect, weight in weights.items()}
    return value(relevant, shares, ranking(scores)[:cutoff], cutoff)


def _alpha_ndcg(judged: _Judged, weights: Mapping[str, float], documents: list[str], cutoff: int) -> float:
    """Clarke et al. (2008), each aspect's gain multiplied by its weight; the ideal order is chosen greedily."""
    ideal: list[str] = []
    seen: dict[str, int] = {}
    remaining = dict.fromkeys(judged)
    while remaining and len(ideal) < cutoff:
        best = max(remaining, key=lambda document: _gain(judged[document], weights, seen))
        ideal.append(best)
        del remaining[best]
        _count(judged[best], seen)
    return _alpha_dcg(judged, weights, documents) / _alpha_dcg(judged, weights, ideal)


def _alpha_dcg(judged: _Judged, weights: Mapping[str, float], documents: list[str]) -> float:
    total, seen = 0.0, dict[str, int]()
    for rank, document in enumerate(documents, start=1):
        aspects = judged.get(document, {})
        total += _gain(aspects, weights, seen) / math.log2(rank + 1)
        _count(aspects, seen)
    return total


def _gain(aspects: Mapping[str, int], weights: Mapping[str, float], seen: Mapping[str, int]) -> float:
    return sum(weights[aspect] * (1 - _ALPHA) ** seen.get(aspect, 0) for aspect in aspects)


def _count(aspects: Mapping[str, int], seen: dict[str, int]) -> None:
    for aspect in aspects:
        seen[aspect] = seen.get(aspect, 0) + 1


def _aspect_recall(judged: _Judged, weights: Mapping[str, float], documents: list[str], cutoff: int) -> float:
    del cutoff  # the documents are cut already
    covered = {aspect for document in documents for aspect in judged.get(document, {})}
    return sum(weights[aspect] for aspect in covered)
