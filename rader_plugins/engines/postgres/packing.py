"""pgvector's types as the server sends and takes them: binary, so that no digit is lost and nothing is parsed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rader_plugins.engines.sparse import Sparse

__all__ = ["PackedHalf", "PackedTerms", "PackedVector", "register", "unpack"]


class PackedVector(bytes):
    """A ``vector``: its length as 16 bits, 16 bits that are 0, its values as 32-bit floats."""

    @classmethod
    def of(cls, vector: npt.NDArray[np.float32]) -> PackedVector:
        """Pack a vector."""
        return cls(np.array([len(vector), 0], dtype=">u2").tobytes() + vector.astype(">f4").tobytes())


class PackedHalf(bytes):
    """A ``halfvec``: as a ``vector``, with 16-bit floats."""

    @classmethod
    def of(cls, vector: npt.NDArray[np.float32]) -> PackedHalf:
        """Pack a vector."""
        return cls(np.array([len(vector), 0], dtype=">u2").tobytes() + vector.astype(">f2").tobytes())


class PackedTerms(bytes):
    """A ``sparsevec``: how many dimensions it has and how many are not 0, their numbers from 0 on, their values."""

    @classmethod
    def of(cls, terms: Sparse, dimensions: int) -> PackedTerms:
        """Pack a sparse vector; values that are 0 are left out, as the server wants it."""
        keep = terms.values != 0
        numbers, values = terms.dimensions[keep], terms.values[keep]
        head = np.array([dimensions, len(values), 0], dtype=">i4").tobytes()
        return cls(head + numbers.astype(">i4").tobytes() + values.astype(">f4").tobytes())


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
