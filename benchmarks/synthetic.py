"""Synthetic documents, vectors and queries for the benchmark of the index."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from rader_plugins import Encoder, Recipe

Vectors = npt.NDArray[np.float32]
_SYLLABLES = [first + vowel for first in "bdfgklmnprstvz" for vowel in ("a", "e", "i", "o", "u", "ar", "en", "ol")]
_STOP = ["the", "of", "and", "to", "a", "in", "is", "it", "for", "that", "with", "as", "on", "by", "be", "this", "are"]


class GivenVectors(Encoder):
    """Stands for the model of an index whose vectors are all given, so that no model is loaded."""

    def __init__(self, dimension: int) -> None:
        self.recipe = Recipe(name="given", model="given", dimension=dimension)

    @property
    def dimension(self) -> int:
        return self.recipe.dimension or 0

    def _refuse(self) -> NoReturn:
        raise SystemExit("A vector was to be encoded, but all of them are given.")

    def encode_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> Vectors:
        self._refuse()

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        self._refuse()

    async def aencode_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> Vectors:
        self._refuse()

    async def aencode_documents(self, texts: Sequence[str]) -> Vectors:
        self._refuse()


@dataclass(frozen=True)
class Query:
    text: str
    vector: Vectors


class Synthesis:
    """Documents, vectors and queries from one seed."""

    def __init__(self, dimension: int, seed: int, vocabulary: int = 60_000) -> None:
        self._rng = np.random.default_rng(seed)
        self.dimension = dimension
        words = random.Random(seed)
        names: dict[str, None] = {}
        while len(names) < vocabulary:
            names.setdefault("".join(words.choices(_SYLLABLES, k=words.randint(2, 4))))
        self._words = np.array(list(names))
        weights = 1 / (np.arange(vocabulary) + 2.7)  # Zipf and Mandelbrot
        self._cumulative = np.cumsum(weights / weights.sum())
        self._centres = self._unit(self._rng.standard_normal((1000, dimension)))

    @staticmethod
    def _unit(vectors: npt.NDArray[Any]) -> Vectors:
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)

    def vectors(self, count: int) -> Vectors:
        centres = self._centres[self._rng.integers(len(self._centres), size=count)]
        noise = self._rng.standard_normal((count, self.dimension), dtype=np.float32)
        return self._unit(centres + noise / np.sqrt(self.dimension))

    def sentences(self, count: int, words: int = 16) -> list[str]:
        """Return sentences a third of whose words are function words, as in English."""
        drawn = self._words[np.searchsorted(self._cumulative, self._rng.random((count, words)))]
        function_words = np.array(_STOP)[self._rng.integers(len(_STOP), size=(count, words))]
        mixed = np.where(self._rng.random((count, words)) < 1 / 3, function_words, drawn)
        return [" ".join(row) + "." for row in mixed.tolist()]

    def texts(self, count: int) -> list[str]:
        parts = self.sentences(3 * count)
        return [" ".join(parts[at : at + 3]) for at in range(0, len(parts), 3)]

    def queries(self, count: int, words: int) -> list[Query]:
        return [
            Query(text, vector) for text, vector in zip(self.sentences(count, words), self.vectors(count), strict=True)
        ]
