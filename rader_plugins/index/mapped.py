"""Arrays in mapped files, of which single rows can be read without mapping what lies around them.

The system maps the neighbours of a page that is touched: 64 KiB on some, megabytes on others. A search that scores some
dozens of rows of a large file exactly would hold most of it in memory before long.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["map_rows", "read_rows"]

Array = npt.NDArray[Any]

_FEW = 4096  # rows; more are read as fast by mapping them


def map_rows(path: Path, dtype: npt.DTypeLike, rows: int, dimension: int) -> Array:
    """Map a file of raw numbers as a read-only array of shape (rows, dimension)."""
    mapped: Any = np.memmap(path, dtype=dtype, mode="r", shape=(rows, dimension))
    status = path.stat()
    mapped.identity = status.st_dev, status.st_ino
    return np.asarray(mapped)  # the same memory without the costs of the subclass


def read_rows(array: Array, rows: Array) -> Array:
    """Return some rows of an array, shape (len(rows), dimension): of :func:`map_rows`, by reading its file.

    Where the file is no longer there, or another one, they are taken from the mapping.
    """
    mapped: Any = array.base
    identity = getattr(mapped, "identity", None)
    if identity is None or len(rows) > _FEW or not hasattr(os, "preadv") or mapped.shape[1:] != array.shape[1:]:
        return np.asarray(array[rows])
    try:
        file = os.open(mapped.filename, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return np.asarray(array[rows])
    try:
        status = os.fstat(file)
        vectors = np.empty((len(rows), *array.shape[1:]), dtype=array.dtype)
        size = vectors.itemsize * vectors.shape[1]
        if (status.st_dev, status.st_ino) == identity and all(
            os.preadv(file, [vectors[position]], row * size) == size for position, row in enumerate(rows.tolist())
        ):
            return vectors
    except OSError:
        pass
    finally:
        os.close(file)
    return np.asarray(array[rows])
