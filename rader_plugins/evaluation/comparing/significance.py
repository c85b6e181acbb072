"""Confidence intervals and paired tests, all of them scipy's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rader_plugins.errors import InputError, import_extra

__all__ = ["PairedTest", "adjusted", "confidence_interval", "p_text", "paired_test", "proportion_interval"]

_RESAMPLES = 9999
_VALUES_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class PairedTest:
    """One run against another, query by query.

    Attributes:
        first, second: Names of the runs.
        difference: Mean of second minus first.
        wins, losses, ties: Queries where the second is better, worse, equal.
        p_permutation: Two-sided p of a paired permutation test (signs of differences flipped).
        p_t: Two-sided p of a paired t-test; None where all differences are equal.
        p_adjusted: ``p_permutation`` adjusted for the number of pairs compared (Benjamini-Hochberg).
    """

    first: str
    second: str
    difference: float
    wins: int
    losses: int
    ties: int
    p_permutation: float
    p_t: float | None
    p_adjusted: float = 1.0


def confidence_interval(values: Sequence[float], level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Return the bootstrap confidence interval (BCa) of a mean over queries.

    Args:
        values: Value of the measure, one per query.
        level: Coverage, between 0 and 1.
        seed: Seed of the resampling.

    Example:
        >>> confidence_interval([0.5, 0.5, 0.5])
        (0.5, 0.5)
    """
    if not 0 < level < 1:
        raise InputError(f"The level of a confidence interval lies between 0 and 1, not {level}.")
    array = np.asarray(values, dtype=np.float64)
    if not len(array):
        raise InputError("A confidence interval needs at least one value.")
    if array.max() == array.min():  # also a single query; nothing to resample
        return float(array[0]), float(array[0])
    stats = import_extra("scipy.stats", "evaluation")
    result = stats.bootstrap(
        (array,),
        np.mean,
        confidence_level=level,
        n_resamples=_RESAMPLES,
        method="BCa",
        vectorized=True,
        batch=_batch(len(array)),
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def proportion_interval(successes: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Return the confidence interval (Wilson's) of a share, such as an accuracy.

    Unlike a bootstrap it does not shrink to a point where all or none succeed.

    Example:
        >>> [round(bound, 3) for bound in proportion_interval(0, 10)]
        [0.0, 0.278]
    """
    if not 0 < level < 1:
        raise InputError(f"The level of a confidence interval lies between 0 and 1, not {level}.")
    if not 0 <= successes <= total or not total:
        raise InputError(f"{successes} of {total} is no share.")
    stats = import_extra("scipy.stats", "evaluation")
    result = stats.binomtest(successes, total).proportion_ci(confidence_level=level, method="wilson")
    return float(result.low), float(result.high)


def paired_test(names: tuple[str, str], first: Sequence[float], second: Sequence[float], seed: int = 0) -> PairedTest:
    """Test whether two runs differ over the same queries.

    Args:
        names: Names of the two runs.
        first, second: Values of the same queries in the same order.
        seed: Seed of the permutations.
    """
    before, after = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if before.shape != after.shape or before.ndim != 1 or not len(before):
        raise InputError(f"A paired test needs the same queries of both runs: {before.shape} and {after.shape}.")
    differences: npt.NDArray[np.float64] = after - before
    # Differences below this are rounding in the mean of the library's sums.
    differences[np.abs(differences) < 1e-12] = 0
    p_permutation, p_t = 1.0, None
    if differences.any() and len(differences) > 1:  # one query shows nothing
        stats = import_extra("scipy.stats", "evaluation")
        result = stats.permutation_test(
            (differences,),
            np.mean,
            permutation_type="samples",
            vectorized=True,
            n_resamples=_RESAMPLES,
            batch=_batch(len(differences)),
            rng=np.random.default_rng(seed),
        )
        p_permutation = float(result.pvalue)
        if differences.max() != differences.min():
            p_t = float(stats.ttest_rel(after, before).pvalue)
    return PairedTest(
        first=names[0],
        second=names[1],
        difference=float(differences.mean()),
        wins=int((differences > 0).sum()),
        losses=int((differences < 0).sum()),
        ties=int((differences == 0).sum()),
        p_permutation=p_permutation,
        p_t=p_t,
    )


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for their number (Benjamini-Hochberg: the share of false findings)."""
    if not p_values:
        return []
    stats: Any = import_extra("scipy.stats", "evaluation")
    return [float(value) for value in stats.false_discovery_control(p_values)]


def p_text(p: float) -> str:
    """Write a p value; small ones as a bound, since 9,999 permutations tell no more."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _batch(length: int) -> int:
    return max(1, _VALUES_AT_ONCE // length)
