"""pgvector's types as the server sends and takes them: binary, so that no digit is lost and nothing is parsed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from rader_plugins.engines.sparse import Sparse

__all__ = ["PackedHalf", "PackedTerms", "PackedVector", "exact_numbers", "register", "unpack"]

_LARGE = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d[\d.]*e\+\d+')  # a string, or a number with an exponent


class PackedVector(bytes):
    """A ``vector``: its length as 16 bits, 16 bits that are 0, its values as 32-bit floats."""

    values = ">f4"

    @classmethod
    def of(cls, vector: npt.NDArray[np.float32]) -> Self:
        """Pack a vector."""
        [packed] = cls.of_all([vector])
        return packed

    @classmethod
    def of_all(cls, vectors: Sequence[npt.NDArray[np.float32]]) -> list[Self]:
        """Pack vectors of one length."""
        if not vectors:
            return []
        matrix = np.stack(vectors).astype(cls.values)
        head, data, size = np.array([matrix.shape[1], 0], dtype=">u2").tobytes(), matrix.tobytes(), matrix[0].nbytes
        return [cls(head + data[first : first + size]) for first in range(0, len(data), size)]


class PackedHalf(PackedVector):
    """A ``halfvec``: as a ``vector``, with 16-bit floats."""

    values = ">f2"


class PackedTerms(bytes):
    """A ``sparsevec``: how many dimensions it has and how many are not 0, their numbers from 0 on, their values."""

    @classmethod
    def of(cls, terms: Sparse, dimensions: int) -> PackedTerms:
        """Pack a sparse vector; see :meth:`of_all`."""
        [packed] = cls.of_all([terms], dimensions)
        return packed

    @classmethod
    def of_all(cls, vectors: Sequence[Sparse], dimensions: int) -> list[PackedTerms]:
        """Pack sparse vectors; values that are 0 are left out, as the server wants it."""
        numbers = np.concatenate([np.zeros(0, np.uint32), *(terms.dimensions for terms in vectors)])
        values = np.concatenate([np.zeros(0, np.float32), *(terms.values for terms in vectors)])
        nonzero = values != 0
        row = np.repeat(np.arange(len(vectors)), [len(terms) for terms in vectors])
        counts = np.bincount(row[nonzero], minlength=len(vectors))
        heads = np.stack([np.full_like(counts, dimensions), counts, np.zeros_like(counts)], axis=1)
        head, number, value = (
            array.tobytes()
            for array in (heads.astype(">i4"), numbers[nonzero].astype(">i4"), values[nonzero].astype(">f4"))
        )
        ends = pairwise([0, *(4 * np.cumsum(counts)).tolist()])
        return [
            cls(head[12 * nth : 12 * nth + 12] + number[first:last] + value[first:last])
            for nth, (first, last) in enumerate(ends)
        ]


def exact_numbers(text: str) -> str:
    """Write floats such as ``1e+23`` of a JSON text in digits, with ``.0``: ``jsonb`` would make whole numbers of them.

    Example:
        >>> exact_numbers('{"1e+23": [1e+23, "1e+23"]}')
        '{"1e+23": [99999999999999991611392.0, "1e+23"]}'
    """
    return _LARGE.sub(_in_digits, text) if "e+" in text else text


def _in_digits(match: re.Match[str]) -> str:
    return match[0] if match[0].startswith('"') else f"{float(match[0]):.1f}"


def unpack(data: bytes | memoryview, *, half: bool) -> npt.NDArray[np.float32]:
    """Return the vector of a ``vector`` or a ``halfvec``."""
    return np.frombuffer(bytes(data)[4:], dtype=">f2" if half else ">f4").astype(np.float32)


def register(connection: Any, names: dict[str, type[bytes]]) -> bool:
    """Teach a connection pgvector's types; return whether the server has them.

    Args:
        connection: A connection of psycopg.
        names: Name of a type -> what is sent as it.
    """
    from psycopg.adapt import Dumper, Loader
    from psycopg.pq import Format
    from psycopg.types import TypeInfo

    for name, packed in names.items():
        info = TypeInfo.fetch(connection, name)
        if info is None:
            return False
        info.register(connection)
        dumper = type(f"{packed.__name__}Dumper", (Dumper,), {"format": Format.BINARY, "oid": info.oid, "dump": _as_is})
        connection.adapters.register_dumper(packed, dumper)
        loader = type(f"{packed.__name__}Loader", (Loader,), {"format": Format.BINARY, "load": _as_is})
        connection.adapters.register_loader(info.oid, loader)
    return True


def _as_is(_: object, data: Any) -> bytes:
    return bytes(data)
