"""Where graded and ungraded documents stand, and with which scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from rader_plugins.documents import Hit
from rader_plugins.reranking.grade_prompts import HIGHEST_GRADE

__all__ = ["placed"]


def placed(hits: Sequence[Hit], grades: Sequence[int | None], weight: float) -> list[Hit]:
    """Return hits ranked by grade and first-stage score; those without a grade keep their ranks.

    Graded documents take the remaining ranks in the order of ``weight * grade / 5 + (1 - weight) * score``, equal
    ones in first-stage order. An ungraded document's new score lies between those of the graded documents around it
    (evenly spaced where several stand together; above the first and below the last of them, between these and what a
    grade of 5 could give the best and a grade of 0 the worst first-stage score), so that scores never rise down the
    list. If no document has a grade, scores stay as they were.

    Args:
        hits: The hits in the order of the first stage.
        grades: Grade of each hit, 0 to 5, or None.
        weight: Weight of the grade, 0 to 1.

    Returns:
        New hits. ``scores`` gains ``first_stage`` and, for graded ones, ``grade`` and ``rerank`` (the new score).
    """
    stages = [{**hit.scores, "first_stage": hit.score} for hit in hits]
    if all(grade is None for grade in grades):
        return [
            replace(hit, rank=rank, scores=scores)
            for rank, (hit, scores) in enumerate(zip(hits, stages, strict=True), start=1)
        ]
    final = {
        position: weight * (grade / HIGHEST_GRADE) + (1 - weight) * hits[position].score
        for position, grade in enumerate(grades)
        if grade is not None
    }
    best = iter(sorted(final, key=lambda position: -final[position]))  # sorted() is stable
    order = [next(best) if position in final else position for position in range(len(hits))]
    scores = _between([final.get(position) for position in order], *_bounds(hits, weight))
    ranked = []
    for rank, (position, score) in enumerate(zip(order, scores, strict=True), start=1):
        gained = {"grade": float(grades[position] or 0), "rerank": score} if position in final else {}
        ranked.append(replace(hits[position], score=score, rank=rank, scores={**stages[position], **gained}))
    return ranked


def _bounds(hits: Sequence[Hit], weight: float) -> tuple[float, float]:
    first = [hit.score for hit in hits]
    return weight + (1 - weight) * max(first), (1 - weight) * min(first)


def _between(scores: Sequence[float | None], upper: float, lower: float) -> list[float]:
    """Fill gaps in falling scores with evenly spaced ones."""
    filled: list[float] = []
    for missing, run in groupby(range(len(scores)), key=lambda position: scores[position] is None):
        positions = list(run)
        if not missing:
            filled += [score for position in positions if (score := scores[position]) is not None]
            continue
        ceiling = filled[-1] if filled else upper
        next_score = scores[positions[-1] + 1] if positions[-1] + 1 < len(scores) else lower
        floor = lower if next_score is None else next_score
        step = (ceiling - floor) / (len(positions) + 1)
        filled += [max(floor, ceiling - step * number) for number in range(1, len(positions) + 1)]
    return filled
