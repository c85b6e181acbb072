"""Inner products of vectors of whole numbers, by NumKong (the extra ``simd``), which knows what a processor is good at.

A kernel serves only where it was seen to be exact on this machine: some instructions for 8-bit numbers saturate.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["MOST_DIMENSIONS", "IntegerProducts", "integer_products"]

Array = npt.NDArray[Any]
IntegerProducts = Callable[[Array], Callable[[Array], Array]]
"""Takes queries, int8 of shape (q, dimension); returns what takes vectors, int8 of shape (n, dimension), and returns
the inner products, whole numbers of shape (q, n)."""

MOST_DIMENSIONS = 1 << 16
"""Sums of so many products of 8-bit numbers fit into 32 bits."""

_LOG = logging.getLogger(__name__)


@functools.cache
def integer_products() -> IntegerProducts | None:
    """Return the kernel of this machine; None where the library is not there or is not exact."""
    try:
        import numkong
    except ImportError:
        return None

    def prepare(queries: Array) -> Callable[[Array], Array]:
        if len(queries) == 1:
            return lambda vectors: np.asarray(numkong.cdist(queries, vectors, metric="dot"))
        packed = numkong.dots_pack(queries, "int8")
        return lambda vectors: np.asarray(numkong.dots_packed(vectors, packed)).T

    try:
        if _is_exact(prepare):
            return prepare
        reason = "it is not exact on this processor"
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a compiled library: there is another way
        reason = f"{type(error).__name__}: {error}"
    _LOG.warning("Vectors are searched without NumKong: %s", reason)
    return None


def _is_exact(kernel: IntegerProducts) -> bool:
    """Whether a kernel gives the products of extreme and of random vectors, of lengths around those of registers."""
    rng = np.random.default_rng(0)
    for dimension in (1, 15, 64, 67, 384, 1023):
        vectors = rng.integers(-127, 128, (37, dimension)).astype(np.int8)
        vectors[0], vectors[1], vectors[2], vectors[3] = 127, -127, 0, np.where(np.arange(dimension) % 2, 127, -127)
        for count in (1, 2, 17):
            products = kernel(vectors[:count])(vectors)
            if not np.array_equal(products, vectors[:count].astype(np.int64) @ vectors.T.astype(np.int64)):
                return False
    return True
