"""Named blobs in a store that keeps short strings by key: cut into chunks, replaced as a whole or not at all."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rader_plugins.errors import EngineError, IndexCorruptError

__all__ = ["Blobs"]

_ATTEMPTS = 5
_REQUEST = 64  # chunks of one request


@dataclass(frozen=True)
class Blobs:
    """Blobs over three functions of a store.

    What a blob's name leads to says how many chunks there are and what they are called; it is written last, so that a
    reader sees the old value or the new one.

    Args:
        put: Stores strings by key, in place of those before.
        get: Returns those that are there.
        drop: Deletes keys; those that are not there are ignored.
        keys: Returns the keys that begin with a prefix.
        chunk: Bytes of a chunk; its string is a third longer.
    """

    put: Callable[[Mapping[str, str]], None]
    get: Callable[[Sequence[str]], dict[str, str]]
    drop: Callable[[Sequence[str]], None]
    keys: Callable[[str], list[str]]
    chunk: int

    def write(self, name: str, value: bytes) -> None:
        """Store a value in place of the one before."""
        before = self._chunks(name)
        token = secrets.token_hex(8)
        pieces = [value[start : start + self.chunk] for start in range(0, len(value), self.chunk)]
        keys = [f"{name}/{token}/{number}" for number in range(len(pieces))]
        for start in range(0, len(keys), _REQUEST):
            part = slice(start, start + _REQUEST)
            texts = [base64.b64encode(piece).decode("ascii") for piece in pieces[part]]
            self.put(dict(zip(keys[part], texts, strict=True)))
        self.put({name: json.dumps({"token": token, "chunks": len(pieces), "bytes": len(value)})})
        self._drop(before or [])

    def read(self, name: str) -> bytes | None:
        """Return a value; None if there is none.

        Raises:
            IndexCorruptError: A part of it is missing.
            EngineError: It is replaced faster than it can be read.
        """
        for _ in range(_ATTEMPTS):
            keys = self._chunks(name)
            if keys is None:
                return None
            pieces: dict[str, bytes] = {}
            for start in range(0, len(keys), _REQUEST):
                texts = self.get(keys[start : start + _REQUEST])
                pieces |= {key: base64.b64decode(text) for key, text in texts.items()}
            if len(pieces) == len(keys):
                return b"".join(pieces[key] for key in keys)
            if keys == self._chunks(name):
                raise IndexCorruptError(f"{len(keys) - len(pieces)} of {len(keys)} parts of {name!r} are missing.")
        raise EngineError(f"{name!r} is replaced faster than it can be read.", transient=True)

    def remove(self, name: str) -> None:
        """Delete a value, if there is one, and what is there of one that was not written to its end."""
        chunks = [key for key in self.keys(f"{name}/") if key.startswith(f"{name}/")]
        self._drop([name, *chunks])  # what leads to them first

    def names(self, prefix: str) -> list[str]:
        """Return the names that begin so, also of values that were not written to their end."""
        return sorted({key.partition("/")[0] for key in self.keys(prefix) if key.startswith(prefix)})

    def _drop(self, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), _REQUEST):
            self.drop(keys[start : start + _REQUEST])

    def _chunks(self, name: str) -> list[str] | None:
        text = self.get([name]).get(name)
        if text is None:
            return None
        about = json.loads(text)
        return [f"{name}/{about['token']}/{number}" for number in range(int(about["chunks"]))]
