"""Whether what was trained is better than what it was trained from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Outcome", "Verdict", "distance", "judge", "not_compared"]

Outcome = Literal["better", "no difference", "worse", "unchanged", "not compared"]

_SIGNIFICANT = 0.05
_COLLAPSE = 0.5
"""Below this share of what there was before, it is worse however few queries there are to show it."""
_UNMOVED = 1e-6
"""How far vectors or scores move by rounding alone."""


@dataclass(frozen=True)
class Verdict:
    """What a paired comparison says.

    Args:
        outcome: ``better`` and ``worse`` are differences that a paired permutation test over the problems confirms at
            0.05 (``worse`` also: less than half is left). ``unchanged``: the training moved nothing. ``not compared``:
            there was nothing to compare on.
        reference: What it is compared with: ``the base``, ``its first stage``.
        queries, problems: How many were compared; several queries may come from one problem.
        before, after: nDCG@10 of the reference and of the best weights.
        wins, losses: Problems where it is better, worse.
        p: The two-sided p-value of the permutation test.
        moved: Mean distance between what base and model give for the same texts: 1 - cosine of vectors, or the
            absolute difference of scores; None where it was not measured.
    """

    outcome: Outcome
    reference: str = "the base"
    queries: int = 0
    problems: int = 0
    before: float | None = None
    after: float | None = None
    wins: int = 0
    losses: int = 0
    p: float | None = None
    moved: float | None = None

    @property
    def usable(self) -> bool:
        """Whether the result is worth exporting."""
        return self.outcome not in ("worse", "unchanged")

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        if self.outcome == "unchanged":
            return "Unchanged: the training moved nothing. Raise learning_rate, epochs or max_steps."
        if self.outcome == "not compared" or self.before is None or self.after is None:
            return "Not compared with the base: there are no queries to compare on (--evaluate-on names some)."
        figures = f"nDCG@10 {100 * self.after:.2f} against {100 * self.before:.2f}"
        test = f"over {_count(self.queries, 'query', 'queries')}, p = {self.p:.3f}"
        if self.problems != self.queries:
            test += f" by their {self.problems:,} problems"
        if self.outcome == "better":
            return f"Better than {self.reference}: {figures} {test}."
        if self.outcome == "worse":
            return f"Worse than {self.reference}: {figures} {test}."
        side = ", below" if self.after < self.before else ", above" if self.after > self.before else ""
        return (
            f"No difference from {self.reference} that {_count(self.queries, 'query', 'these queries', 'this ')} could "
            f"show: {figures}{side} ({test})."
        )


def judge(
    reference: str,
    before: Mapping[str, float],
    after: Mapping[str, float],
    *,
    problems: Mapping[str, str] | None = None,
    moved: float | None = None,
) -> Verdict:
    """Compare two evaluations of the same queries.

    Args:
        reference: What ``before`` is of, in words.
        before, after: Query -> nDCG@10; ``after`` is the best evaluation of the training.
        problems: Query -> problem; the values of a problem's queries are averaged before they are compared.
        moved: Mean distance between what base and model give; see :class:`Verdict`.

    Example:
        >>> judge("the base", {"a": 1.0, "b": 0.5}, {"a": 1.0, "b": 0.6}).outcome
        'no difference'
    """
    from rader_plugins.evaluation import paired_test

    unit = {query: (problems or {}).get(query, query) for query in before}
    first, second = _by_unit(before, unit), _by_unit(after, unit)
    test: Any = paired_test((reference, "trained"), list(first.values()), [second[name] for name in first])
    mean_before, mean_after = _mean(before.values()), _mean(after[query] for query in before)
    outcome: Outcome = "no difference"
    if moved is not None and moved < _UNMOVED:
        outcome = "unchanged"
    elif mean_after < _COLLAPSE * mean_before:
        outcome = "worse"
    elif test.p_permutation < _SIGNIFICANT and test.difference * (mean_after - mean_before) > 0:
        # What was tested is the mean over problems: it says nothing of a mean over queries that moved the other way.
        outcome = "better" if test.difference > 0 else "worse"
    return Verdict(
        outcome=outcome,
        reference=reference,
        queries=len(before),
        problems=len(first),
        before=mean_before,
        after=mean_after,
        wins=test.wins,
        losses=test.losses,
        p=test.p_permutation,
        moved=moved,
    )


def not_compared(moved: float) -> Verdict:
    """Return the verdict on a training that there are no queries for: it may still have moved nothing."""
    return Verdict("unchanged" if moved < _UNMOVED else "not compared", moved=moved)


def _by_unit(values: Mapping[str, float], unit: Mapping[str, str]) -> dict[str, float]:
    groups: dict[str, list[float]] = {}
    for query, name in unit.items():
        groups.setdefault(name, []).append(values[query])
    return {name: _mean(members) for name, members in groups.items()}


def _mean(values: Any) -> float:
    numbers = list(values)
    return float(sum(numbers) / len(numbers))


def _count(number: int, singular: str, plural: str, before: str = "") -> str:
    if number == 1:
        return f"{before or 'one '}{singular}" if before else f"1 {singular}"
    return plural.replace("these", f"these {number:,}") if "these" in plural else f"{number:,} {plural}"


def distance(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """Return the mean of 1 - cosine of vectors, or the mean absolute difference of scores."""
    first, second = before.astype(np.float64), after.astype(np.float64)
    if np.array_equal(before, after):
        return 0.0
    if first.shape[1] == 1:
        return float(np.abs(first - second).mean())
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return float(np.maximum(0.0, 1 - (first * second).sum(axis=1) / norms).mean())
