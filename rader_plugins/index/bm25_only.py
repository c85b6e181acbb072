"""A corpus that is searched by BM25 alone: no model is needed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rader_plugins.documents import Document
from rader_plugins.index.index import RaderIndex

__all__ = ["bm25_index"]


def bm25_index(path: Path | None, documents: Iterable[Document]) -> RaderIndex:
    """Return an index without vectors.

    Args:
        path: Where to make it; None keeps it in memory.
        documents: The documents to search.
    """
    index = RaderIndex.create(path, None)
    index.add(documents)
    index.optimize()
    return index
