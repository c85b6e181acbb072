"""Which rows cannot be among the best, told from an 8-bit copy of the vectors: a quarter of the bytes to read.

A row ``x`` is kept as whole numbers ``c`` from -127 to 127 and a scale ``s``, so that ``x = s c + e``. How long the
rounding error ``e`` is at most stands beside it (``residual``, r). A query ``q`` is written likewise, ``q = t b + f``,
when it comes. With ``X`` the length that no row exceeds (:data:`LONGEST`), by Cauchy and Schwarz,

    <q, x> - t s <b, c>  =  <t b, e> + <f, x>,      |<t b, e> + <f, x>|  <=  |t b| r + |f| X.

``<b, c>`` is summed in whole numbers and exact. What remains is rounding of floats, with u = 2^-24:

- the estimate ``a = t s <b, c>`` is rounded at each multiplication and when it becomes a float: less than 4 u |a|, and
  |a| <= |t b| (X + r) < 2.1 |t b|, as r <= 1 (:func:`quantise` refuses rows of which it is not);
- the score of a row (:func:`rader_plugins.index.dense.gather_scores`) is <q, x>, summed in double precision (off by
  less than |q| X dimension 2^-52, which is below u |q|) and rounded to a float (u |q| X);
- sums and differences of estimates and radii are taken in double precision.

All of these together are less than 12 u (|t b| + |q|). Nearly three times that are allowed for: the ``slack``. So
for every row

    |score - a|  <=  radius  =  |t b| r + |f| X + slack.

**The best k.** Let L be the k-th largest of ``a - radius`` over any of the rows that may be found. At least k of them
have a score of at least L, so the k-th best score is at least L. A row with ``a + radius < L`` scores less than that:
it is not among the k best, nor equal to the last of them. All others are scored exactly; so rows, scores and the order
of equal ones are those of scoring every row.

Numbers so large or small that floats overflow or lose bits (a query shorter than 1e-15 or longer than 1e15, a row whose
largest component is below 1e-15 without being zero) are left to the search without codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rader_plugins.index.dense.kernels import MOST_DIMENSIONS, integer_products
from rader_plugins.index.dense.products import share
from rader_plugins.index.selection import kth_largest

__all__ = ["LONGEST", "CodeRun", "CodedQueries", "quantise"]

Array = npt.NDArray[Any]

LONGEST = 1.01
"""No stored vector is longer: they have length 1 up to rounding, also in half precision."""

_TOP = 127
_QUANTISED_AT_ONCE = 512  # rows: what is computed for them stays in the cache
_SCANNED_AT_ONCE = 8192
_SMALLEST, _LARGEST = 1e-15, 1e15
_SLACK = 32 * 2.0**-24
_WORTH_IT = 8  # more than one row in so many left over: reading all vectors is as fast


@dataclass(frozen=True)
class CodeRun:
    """The codes of some consecutive rows.

    Attributes:
        codes: int8 array of shape (n, dimension).
        scales: float32 array of shape (n,).
        residuals: Upper bounds of the lengths of the rounding errors, float32 array of shape (n,).
    """

    codes: Array
    scales: Array
    residuals: Array

    def __len__(self) -> int:
        return len(self.codes)

    @classmethod
    def joined(cls, runs: Sequence[CodeRun]) -> CodeRun:
        """Return one run of the rows of several."""
        return cls(*(np.concatenate([getattr(run, name) for run in runs]) for name in cls.__dataclass_fields__))


def quantise(vectors: Array) -> CodeRun | None:
    """Return the codes of vectors, float32 or float16 of shape (n, dimension).

    None where a row is nothing that the bound of this module holds for: not finite, longer than :data:`LONGEST`, so
    small that scales lose bits, or of more than :data:`MOST_DIMENSIONS` components.
    """
    count, dimension = vectors.shape
    if dimension > MOST_DIMENSIONS:
        return None
    run = CodeRun(np.empty((count, dimension), np.int8), np.empty(count, np.float32), np.empty(count, np.float32))

    def work(first: int) -> None:
        rows = slice(first, first + _QUANTISED_AT_ONCE)
        with np.errstate(all="ignore"):
            run.codes[rows], run.scales[rows], run.residuals[rows] = _quantised(vectors[rows].astype(np.float32))

    share(work, range(0, count, _QUANTISED_AT_ONCE))
    return run if np.isfinite(run.residuals).all() else None


def _quantised(vectors: Array) -> tuple[Array, Array, Array]:
    """Return codes, scales and residuals of a block; a residual is infinite where the bound does not hold."""
    largest = np.abs(vectors).max(axis=1, initial=0)
    squares = np.einsum("ij,ij->i", vectors, vectors)
    usable = (largest == 0) | ((largest >= _SMALLEST) & (squares <= 1.015))  # LONGEST ** 2 less rounding
    scales = np.where(usable, largest, 0) / np.float32(_TOP)
    codes = np.rint(vectors / np.where(scales > 0, scales, 1)[:, None])
    codes = np.where(usable[:, None], np.clip(codes, -_TOP, _TOP), 0)
    errors = vectors - codes * scales[:, None]
    dimension = vectors.shape[1]
    # Product, difference and sum of squares are rounded: the first two by 2^-24 of at most twice the largest component
    # each, the last relatively by less than dimension * 2^-24 (under the root, half of that).
    lengths = np.sqrt(np.einsum("ij,ij->i", errors, errors, dtype=np.float64))
    residuals = (lengths * (1 + 2.0**-20) + 2.0**-21 * np.sqrt(dimension) * largest) * (1 + 2.0**-20)
    usable &= residuals <= 1
    return codes.astype(np.int8), scales, np.where(usable, residuals, np.inf).astype(np.float32)


class CodedQueries:
    """Some queries against the codes of an index.

    Args:
        queries: float32 array of shape (q, dimension).
        runs: The codes of all rows, in order; what is behind ``rows`` is not looked at.
        rows: How many rows there are.
    """

    def __init__(self, queries: Array, runs: Sequence[CodeRun], rows: int) -> None:
        self._runs = runs
        wide = queries.astype(np.float64)
        lengths = np.linalg.norm(wide, axis=1)
        # A query that the bound does not hold for becomes 0 here, and has no candidates below.
        self._usable = (lengths >= _SMALLEST) & (lengths <= _LARGEST)
        largest = np.where(self._usable, np.abs(wide).max(axis=1, initial=0), 1)
        scales = (largest / _TOP)[:, None]
        codes = np.where(self._usable[:, None], np.rint(wide / scales), 0)
        more = 1 + 2.0**-40  # double precision rounds, too
        self._rounded_lengths = np.linalg.norm(scales * codes, axis=1) * more
        slack = _SLACK * (self._rounded_lengths + lengths)
        self._base = np.linalg.norm(wide - scales * codes, axis=1) * more * LONGEST + slack
        self._worst = max((float(run.residuals.max(initial=0)) for run in runs), default=0.0)
        self.estimates = self._scan(codes.astype(np.int8), scales, rows)
        """Estimated score of every row for every query, float32 array of shape (q, rows); those of rows that may not be
        found are to be set to minus infinity."""

    def _scan(self, codes: Array, scales: Array, rows: int) -> Array:
        kernel = integer_products()
        if kernel is None:
            raise RuntimeError("There is no kernel for codes on this machine.")
        multiply = kernel(codes)
        estimates = np.empty((len(codes), rows), dtype=np.float32)
        blocks: list[tuple[CodeRun, int, int]] = []
        start = 0
        for run in self._runs:
            count = min(len(run), rows - start)
            blocks += [(run, start, first) for first in range(0, count, _SCANNED_AT_ONCE)]
            start += max(count, 0)
        if start < rows:
            raise RuntimeError(f"There are codes of {start} rows, not of {rows}.")

        def work(number: int) -> None:
            run, start, first = blocks[number]
            last = min(first + _SCANNED_AT_ONCE, len(run), rows - start)
            products = multiply(run.codes[first:last])
            part = estimates[:, start + first : start + last]
            # Exact up to the conversion to a float, which the slack covers.
            np.multiply(products, run.scales[first:last], out=part, casting="unsafe")
            part *= scales.astype(np.float32)

        share(work, range(len(blocks)))
        return estimates

    def candidates(self, number: int, k: int) -> Array | None:
        """Return the rows that may be among the ``k`` best for one query, ascending; None where too many are left."""
        if not self._usable[number]:
            return None
        estimates = self.estimates[number]
        radius = self._base[number] + self._rounded_lengths[number] * self._worst
        limit = np.float32(kth_largest(estimates, k) - 2 * radius)
        rows = np.flatnonzero(estimates >= max(np.nextafter(limit, np.float32(-np.inf)), np.finfo(np.float32).min))
        if len(rows) > k:
            radii = self.radii(number, rows)
            rows = rows[estimates[rows] + radii >= kth_largest(estimates[rows] - radii, k)]
        return None if len(rows) > max(k, len(estimates) // _WORTH_IT) else rows

    def radii(self, number: int, rows: Array) -> Array:
        """Return by how much the scores of some rows, ascending, differ from one query's estimates at most."""
        radii: Array = self._base[number] + self._rounded_lengths[number] * self._residuals(rows)
        return radii

    def _residuals(self, rows: Array) -> Array:
        residuals = np.empty(len(rows), dtype=np.float64)
        start = first = 0
        for run in self._runs:
            last = int(np.searchsorted(rows, start + len(run)))
            residuals[first:last] = run.residuals[rows[first:last] - start]
            start, first = start + len(run), last
        return residuals
