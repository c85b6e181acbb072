"""A corpus that is searched by BM25 alone: no model is needed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from rader_plugins.documents import Document
from rader_plugins.encoding.base import Encoder, Vectors
from rader_plugins.index import RaderIndex
from rader_plugins.recipes import Recipe

__all__ = ["bm25_index", "has_vectors", "no_vectors"]


class _NoVectors(Encoder):
    """Stands where an index wants an encoder; every text has the same vector, of one number."""

    recipe = Recipe(name="no-vectors", model="none", dimension=1)

    @property
    def dimension(self) -> int:
        return 1

    def encode_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> Vectors:
        return np.ones((len(texts), 1), dtype=np.float32)

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        return np.ones((len(texts), 1), dtype=np.float32)

    async def aencode_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> Vectors:
        return self.encode_queries(texts)

    async def aencode_documents(self, texts: Sequence[str]) -> Vectors:
        return self.encode_documents(texts)


def no_vectors() -> Encoder:
    """Return what stands for an encoder in an index that only BM25 searches."""
    return _NoVectors()


def has_vectors(index: RaderIndex) -> bool:
    """Whether an index can be searched by more than BM25."""
    return index.recipe.name != _NoVectors.recipe.name


def bm25_index(path: Path | None, documents: Iterable[Document]) -> RaderIndex:
    """Return an index that is of use for BM25 only.

    Args:
        path: Where to make it; None keeps it in memory.
        documents: What to search.
    """
    index = RaderIndex.create(path, no_vectors())
    index.add(documents)
    index.optimize()
    return index
