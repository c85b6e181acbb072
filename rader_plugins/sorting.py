"""Orders of whole numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["stable_order"]


def stable_order(numbers: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Return the order that sorts whole numbers; equal ones keep theirs.

    The same as ``np.argsort(numbers, kind="stable")`` and two to three times as fast, since numpy has a radix sort for
    numbers of 16 bits alone.

    Args:
        numbers: From 0 to 2^32 - 1, of any type of integers, shape (n,).
    """
    order = np.argsort((numbers & 0xFFFF).astype(np.uint16), kind="stable")
    if numbers.max(initial=0) < 1 << 16:
        return order
    high = (numbers >> 16).astype(np.uint16)
    return order[np.argsort(high[order], kind="stable")]
