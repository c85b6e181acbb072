"""An encoder without a model: bags of hashed words. Deterministic, fast, and similar texts get similar vectors."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from rader_plugins.encoding.base import Encoder, Vectors
from rader_plugins.recipes import Recipe


class HashEncoder(Encoder):
    def __init__(self, dimension: int = 16, name: str = "hash") -> None:
        self.recipe = Recipe(name=name, model=f"{name}-{dimension}")
        self._dimension = dimension
        self.calls: list[int] = []

    @property
    def dimension(self) -> int:
        return self._dimension

    def _encode(self, texts: Sequence[str]) -> Vectors:
        self.calls.append(len(texts))
        vectors = np.zeros((len(texts), self._dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.split() or [""]:
                seed = zlib.crc32(word.encode())
                vectors[row] += np.random.default_rng(seed).standard_normal(self._dimension)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)

    def encode_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> Vectors:
        return self._encode(texts)

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        return self._encode(texts)

    async def aencode_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> Vectors:
        return self._encode(texts)

    async def aencode_documents(self, texts: Sequence[str]) -> Vectors:
        return self._encode(texts)


_VOCABULARY = "prime divisor graph colour entropy heat wave market cell orbit matrix limit proof tree hash queue"
WORDS = _VOCABULARY.split()


def random_text(rng: np.random.Generator, length: int = 8) -> str:
    return " ".join(rng.choice(WORDS, size=length))
