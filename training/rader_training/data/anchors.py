"""Texts whose vectors are to stay where the base had them."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rader_plugins.encoding.local import LocalEncoder
from rader_training.data.corpus import Corpus
from rader_training.data.groups import Group

__all__ = ["Anchors"]


class Anchors:
    """Documents with the vectors that the base gives them, scaled to length 1.

    Args:
        path: What ``rader index build`` takes. All of it is encoded once: some hundred documents are enough.
        cache: Where the memory-mapped copy goes.

    Raises:
        InputError: It is none of these, or holds no documents.
    """

    def __init__(self, path: str | os.PathLike[str], cache: Path) -> None:
        corpus = Corpus(path, cache)
        self.digest = corpus.digest
        self.texts = list(corpus.texts())
        self._vectors: NDArray[np.float32] | None = None

    def encode(self, encoder: LocalEncoder) -> None:
        """Take the directions, (texts, dimension), that the base gives them before it is trained."""
        vectors = np.asarray(encoder.encode_documents(self.texts), dtype=np.float32)
        # Not every recipe scales vectors to length 1; the loss compares directions.
        self._vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def draw(self, groups: Sequence[Group], count: int) -> tuple[list[str], NDArray[np.float32]]:
        """Return up to ``count`` texts and their vectors; the same groups of the same epoch get the same ones."""
        rng = random.Random("|".join(["anchors", *(group.draw for group in groups)]))
        numbers = rng.sample(range(len(self.texts)), min(count, len(self.texts)))
        vectors: Any = self._vectors
        return [self.texts[number] for number in numbers], vectors[numbers]
