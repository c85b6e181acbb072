"""Adding to and reading from an index: what the retriever and the vector store share."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_rader._convert import same_document, unique
from rader_plugins.documents import Document
from rader_plugins.encoding import Encoder
from rader_plugins.errors import InputError
from rader_plugins.index import Index, RaderIndex, encoder_of

__all__ = ["COMMIT_EVERY", "aadd", "add", "open_index", "open_or_create"]

COMMIT_EVERY = 8192
"""Documents per commit."""


def open_index(path: str | os.PathLike[str], encoder: Encoder) -> RaderIndex | None:
    """Open the index at ``path``; None if there is none."""
    return RaderIndex.open(path, encoder=encoder) if RaderIndex.exists(path) else None


def open_or_create(path: str | os.PathLike[str] | None, encoder: Encoder, **options: Any) -> RaderIndex:
    """Open the index at ``path``, or make one (with ``options``); None keeps it in memory."""
    found = open_index(path, encoder) if path is not None else None
    return found or RaderIndex.create(path, encoder=encoder, **options)


def add(index: Index, documents: Sequence[Document], commit_every: int = COMMIT_EVERY) -> list[str]:
    """Add documents and return their ids.

    What the index holds already, unchanged, is not encoded again: running the same script twice, or again after it
    was killed, costs only what is new.
    """
    for part in _parts(documents, commit_every):
        if fresh := _fresh(index, part):
            index.add(fresh)
    return [document.id for document in documents]


async def aadd(index: Index, documents: Sequence[Document], commit_every: int = COMMIT_EVERY) -> list[str]:
    """As :func:`add`, without blocking the event loop."""
    for part in _parts(documents, commit_every):
        fresh = await asyncio.to_thread(_fresh, index, part)
        if fresh:
            encoder = await asyncio.to_thread(encoder_of, index)  # may have to load a model
            vectors = await encoder.aencode_documents([document.text for document in fresh])
            await asyncio.to_thread(index.add, fresh, vectors=vectors)
    return [document.id for document in documents]


def _parts(documents: Sequence[Document], size: int) -> Iterator[list[Document]]:
    if not isinstance(size, int) or size < 1:
        raise InputError(f"batch_size must be a whole number of at least 1, not {size!r}.")
    each = unique(documents)
    for start in range(0, len(each), size):
        yield each[start : start + size]


def _fresh(index: Index, documents: Sequence[Document]) -> list[Document]:
    stored = {document.id: document for document in index.get([document.id for document in documents])}
    return [document for document in documents if not same_document(stored.get(document.id), document)]
