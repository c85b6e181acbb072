"""`QuantisedRows`: the 8-bit copy of an index's vectors, from a file that can be rebuilt, or made when first needed."""

from __future__ import annotations

import contextlib
import logging
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from rader_plugins.background import after_fork
from rader_plugins.index.dense import CodeRun, integer_products, quantise
from rader_plugins.index.storage import Derived

__all__ = ["QuantisedRows", "is_behind", "write_codes"]

Array = npt.NDArray[Any]
_LOG = logging.getLogger(__name__)

_TAIL = 5000  # rows that may stand behind a file before it is written anew
_SMALLEST = 2048  # rows below which all vectors are read as fast
_SHARE = 32  # not worth it for the best of so many rows
_READ_AT_ONCE = 16 << 20  # bytes
_WRITTEN_AT_ONCE = 16384  # rows


def is_behind(covered: int, rows: int) -> bool:
    """Whether so many rows stand behind those that a file covers that it should be written anew."""
    return rows - covered >= max(_TAIL, covered // 2)


class QuantisedRows:
    """The codes of the rows of an index, as many of them as a search needs; for one epoch, in which rows keep vectors.

    Args:
        dimension: Length of the vectors.
        find_file: Returns the file that is recorded now and of this epoch, with its folder; None where there is none.
            For an index in memory, None: all codes are made here.
    """

    def __init__(self, dimension: int, find_file: Callable[[], tuple[Path, Derived] | None] | None) -> None:
        self._dimension = dimension
        self._find_file = find_file
        self._refused: Derived | None = None
        self._mapped: Derived | None = None
        self._runs: tuple[CodeRun, ...] | None = ()  # None: there are vectors that have no codes
        self._new_lock()
        after_fork(self._new_lock)

    def _new_lock(self) -> None:
        self._lock = threading.Lock()

    def runs(self, shards: Sequence[Array], starts: Sequence[int], rows: int, k: int) -> tuple[CodeRun, ...] | None:
        """Return the codes of at least the first ``rows`` rows; None where a search for ``k`` goes without.

        Args:
            shards, starts: The vectors, and the first row of each array.
            rows: How many rows are searched.
            k: How many are asked for.
        """
        if rows < max(_SMALLEST, _SHARE * k):
            return None
        runs = self._runs
        if runs is None or sum(map(len, runs)) >= rows:
            return runs
        if integer_products() is None:
            return None
        # Before the lock: a search that keeps writers waiting holds the database when it comes here.
        file = self._find_file() if self._find_file is not None else None
        with self._lock:
            return self._extended(shards, starts, rows, file)

    def _extended(
        self, shards: Sequence[Array], starts: Sequence[int], rows: int, file: tuple[Path, Derived] | None
    ) -> tuple[CodeRun, ...] | None:
        if self._runs is None:
            return None
        covered = sum(map(len, self._runs))
        if self._find_file is not None and (self._mapped is None or is_behind(covered, rows)):
            self._map(file)
            covered = sum(map(len, self._runs))
            if is_behind(covered, rows):
                return None  # optimize() or the next large addition writes them
        if covered < rows:
            added: list[CodeRun] = []
            for part in _parts(shards, starts, covered, rows):
                if (run := quantise(part)) is None:
                    self._runs = None
                    return None
                added.append(run)
            self._runs = self._joined([*self._runs, CodeRun.joined(added)])
        return self._runs

    def _joined(self, runs: list[CodeRun]) -> tuple[CodeRun, ...]:
        """Join runs of similar size, so that their number grows with the logarithm of the number of commits."""
        fixed = 0 if self._mapped is None else 1  # the file stays a file
        while len(runs) > fixed + 1 and 2 * len(runs[-1]) >= len(runs[-2]):
            runs[-2:] = [CodeRun.joined(runs[-2:])]
        return tuple(runs)

    def _map(self, file: tuple[Path, Derived] | None) -> None:
        """Take the codes of a file in place of those that there are, if it has more of them and is whole."""
        if file is None or file[1] == self._refused or file[1].rows <= sum(map(len, self._runs or ())):
            return
        path, derived = file
        try:
            self._runs = (_read_codes(path, derived, self._dimension),)
            self._mapped = derived
        except FileNotFoundError:
            pass  # somebody has just written another one; the next search finds it
        except (OSError, ValueError) as error:
            self._refused = derived
            _LOG.warning(
                "Searching all vectors, since %s cannot be used (optimize() rebuilds it): %s", path.name, error
            )

    def all_runs(self, shards: Sequence[Array], starts: Sequence[int], rows: int) -> Iterator[CodeRun]:
        """Yield the codes of all rows, from the file as far as it is whole, without keeping those that are made for it.

        Raises:
            ValueError: A vector has no codes.
        """
        file = self._find_file() if self._find_file is not None else None
        covered = 0
        if file is not None and file[1].rows <= rows:
            # Read anew: where it was damaged since it was mapped, what is written of it would get a checksum that fits.
            with contextlib.suppress(OSError, ValueError):
                run = _read_codes(*file, self._dimension)
                covered = len(run)
        if covered:
            yield run
        for part in _parts(shards, starts, covered, rows):
            if (made := quantise(part)) is None:
                raise ValueError("there are vectors that 8-bit codes cannot stand for")
            yield made

    def forget(self) -> None:
        """Let the next search take what is on disk by then."""
        with self._lock:
            if self._find_file is not None:
                self._runs, self._mapped, self._refused = (), None, None


def _parts(shards: Sequence[Array], starts: Sequence[int], first: int, last: int) -> Iterator[Array]:
    """Yield the vectors of rows from ``first`` to ``last``, a block at a time."""
    for shard, start in zip(shards, starts, strict=True):
        for position in range(max(first - start, 0), min(last - start, len(shard)), _WRITTEN_AT_ONCE):
            yield shard[position : min(position + _WRITTEN_AT_ONCE, last - start, len(shard))]


def write_codes(stream: IO[bytes], runs: Iterator[CodeRun]) -> int:
    """Write the codes of all rows, then their scales, then their residuals; return the checksum of the file."""
    check = 0
    scales, residuals = [], []
    for run in runs:
        codes = np.ascontiguousarray(run.codes)
        check = zlib.crc32(codes.data, check)
        stream.write(codes.data)
        scales.append(run.scales)
        residuals.append(run.residuals)
    for arrays in (scales, residuals):
        content = np.concatenate(arrays).astype("<f4").tobytes()
        check = zlib.crc32(content, check)
        stream.write(content)
    return check


def _read_codes(path: Path, derived: Derived, dimension: int) -> CodeRun:
    """Map what :func:`write_codes` wrote, after reading it once.

    Raises:
        ValueError: It is not what was written.
        OSError: It cannot be read.
    """
    rows = derived.rows
    if (size := path.stat().st_size) != rows * (dimension + 8):
        raise ValueError(f"it has {size} bytes, not {rows * (dimension + 8)}")
    content = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
    check = 0
    for first in range(0, size, _READ_AT_ONCE):
        check = zlib.crc32(content[first : first + _READ_AT_ONCE].data, check)
    if check != derived.check:
        raise ValueError("its checksum differs")
    ends = rows * dimension, rows * (dimension + 4)
    scales, residuals = (
        np.frombuffer(content[first:last].tobytes(), "<f4").astype(np.float32)
        for first, last in ((ends[0], ends[1]), (ends[1], size))
    )
    return CodeRun(content[: ends[0]].view(np.int8).reshape(rows, dimension), scales, residuals)
