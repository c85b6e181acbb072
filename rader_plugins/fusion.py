"""Score fusion as in RaDeR's hybrid: ``alpha * z(dense) + (1 - alpha) * z(bm25)``, z-scored per query."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["fuse", "z_scores"]

Array = npt.NDArray[Any]


def z_scores(scores: Array) -> npt.NDArray[np.float64]:
    """Subtract the mean and divide by the population standard deviation; constant scores become 0.

    Args:
        scores: Shape (n,), n >= 0.
    """
    wide = scores.astype(np.float64)
    if not len(wide) or wide.max() == wide.min():
        return np.zeros_like(wide)
    # Correctly rounded sums do not depend on the order of the candidates, hence neither do ties.
    mean = math.fsum(wide.tolist()) / len(wide)
    deviation = math.sqrt(math.fsum(((wide - mean) ** 2).tolist()) / len(wide))
    if deviation == 0:
        return np.zeros_like(wide)
    normalised: npt.NDArray[np.float64] = (wide - mean) / deviation
    return normalised


def fuse(dense: Array, bm25: Array, alpha: float) -> npt.NDArray[np.float64]:
    """Fuse two scores of the same candidates, shapes (n,); ``alpha`` weighs the dense one."""
    return alpha * z_scores(dense) + (1 - alpha) * z_scores(bm25)
