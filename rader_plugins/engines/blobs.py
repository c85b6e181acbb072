"""Named blobs in a store that keeps short strings by key: cut into chunks, replaced as a whole or not at all."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

from rader_plugins.engines.collection import Piece
from rader_plugins.errors import EngineError, IndexCorruptError

__all__ = ["Blobs"]

_ATTEMPTS = 5
_REQUEST = 64  # chunks of one request, at most
_BYTES = 4 << 20  # of one request


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

    def write(self, name: str, *pieces: Piece) -> None:
        """Store a value, given as pieces that follow each other, in place of the one before."""
        before = self._chunks(name)
        token, step = secrets.token_hex(8), self._step()
        chunks = [piece[start : start + self.chunk] for piece in pieces for start in range(0, len(piece), self.chunk)]
        keys = [f"{name}/{token}/{number}" for number in range(len(chunks))]
        for start in range(0, len(keys), step):
            part = slice(start, start + step)
            texts = [base64.b64encode(chunk).decode("ascii") for chunk in chunks[part]]
            self.put(dict(zip(keys[part], texts, strict=True)))
        self.put({name: json.dumps({"token": token, "chunks": len(chunks), "bytes": sum(map(len, pieces))})})
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
            value, missing, step = BytesIO(), 0, self._step()
            for start in range(0, len(keys), step):
                part = keys[start : start + step]
                texts = self.get(part)
                missing += len(part) - len(texts)
                value.writelines(base64.b64decode(texts[key]) for key in part if key in texts)
            if not missing:
                return value.getvalue()
            if keys == self._chunks(name):
                raise IndexCorruptError(f"{missing} of {len(keys)} parts of {name!r} are missing.")
        raise EngineError(f"{name!r} is replaced faster than it can be read.", transient=True)

    def remove(self, name: str) -> None:
        """Delete a value, if there is one, and what is there of one that was not written to its end."""
        chunks = [key for key in self.keys(f"{name}/") if key.startswith(f"{name}/")]
        self._drop([name, *chunks])  # what leads to them first

    def names(self, prefix: str) -> list[str]:
        """Return the names that begin so, also of values that were not written to their end."""
        return sorted({key.partition("/")[0] for key in self.keys(prefix) if key.startswith(prefix)})

    def _step(self) -> int:
        return max(1, min(_REQUEST, _BYTES // self.chunk))

    def _drop(self, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), _REQUEST):
            self.drop(keys[start : start + _REQUEST])

    def _chunks(self, name: str) -> list[str] | None:
        text = self.get([name]).get(name)
        if text is None:
            return None
        about = json.loads(text)
        return [f"{name}/{about['token']}/{number}" for number in range(int(about["chunks"]))]
