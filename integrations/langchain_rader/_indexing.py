"""Adding to and reading from an index: what the retriever and the vector store share."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

from langchain_rader._convert import unique
from rader_plugins.background import in_thread
from rader_plugins.documents import Document
from rader_plugins.encoding import Encoder
from rader_plugins.encoding.base import Vectors
from rader_plugins.errors import InputError
from rader_plugins.index import Index, create_index, encoder_of, find_index

__all__ = ["COMMIT_EVERY", "aadd", "add", "open_or_create"]

_logger = logging.getLogger("langchain_rader")
COMMIT_EVERY = 8192
"""Documents per commit."""


def open_or_create(path: str | os.PathLike[str] | None, encoder: Encoder, **options: Any) -> Index:
    """Open the index in a folder or behind a URL, or make one (with ``options``); None keeps it in memory."""
    index = find_index(path, encoder) if path is not None else None
    return create_index(path, encoder, **options) if index is None else index


def add(
    index: Index, documents: Sequence[Document], *, commit_every: int = COMMIT_EVERY, source_id_key: str | None = None
) -> list[str]:
    """Add documents and return their ids.

    What the index holds already, unchanged, is not encoded again: running the same script twice, or again after it
    was killed, costs only what is new.

    Args:
        index: The index that they are added to.
        documents: What :func:`to_core` made.
        commit_every: How many documents each commit holds.
        source_id_key: Metadata key of what documents come from; stored ones of the same source that are not among
            these are deleted afterwards.
    """
    index.add(unique(documents), commit_every=_checked(commit_every))
    _replace_sources(index, documents, source_id_key)
    return [document.id for document in documents]


async def aadd(
    index: Index, documents: Sequence[Document], *, commit_every: int = COMMIT_EVERY, source_id_key: str | None = None
) -> list[str]:
    """As :func:`add`, without blocking the event loop."""
    unique_documents = unique(documents)
    size = _checked(commit_every)
    for start in range(0, len(unique_documents), size):
        part = unique_documents[start : start + size]
        before = await in_thread(index.get, [document.id for document in part])
        stored_texts = {document.id: document.text for document in before}
        fresh = [document for document in part if stored_texts.get(document.id) != document.text]
        vectors = None
        if fresh and index.recipe is not None:
            encoder = await in_thread(encoder_of, index)  # may have to load a model
            vectors = await encoder.aencode_documents([document.text for document in fresh])
        await in_thread(_add_with, index, fresh, vectors)
        rewritten = {document.id for document in fresh}
        await in_thread(index.add, [document for document in part if document.id not in rewritten])
    await in_thread(_replace_sources, index, documents, source_id_key)
    return [document.id for document in documents]


def _replace_sources(index: Index, documents: Sequence[Document], key: str | None) -> None:
    """Delete stored documents whose source is among these documents' sources, and which are none of them.

    Done last: a process killed in between leaves both, and the next run mends it.
    """
    if key is None:
        return
    present = {document.id for document in documents}
    sources = {document.metadata[key] for document in documents if isinstance(document.metadata.get(key), str | int)}
    stale = [id for id in index.ids({key: {"$in": sorted(sources, key=str)}}) if id not in present] if sources else []
    if stale:
        index.delete(stale)
        _logger.info("%d documents of %d sources were replaced and deleted.", len(stale), len(sources))


def _add_with(index: Index, documents: Sequence[Document], vectors: Vectors | None) -> None:
    index.add(documents, vectors=vectors)


def _checked(size: int) -> int:
    if not isinstance(size, int) or size < 1:
        raise InputError(f"batch_size must be a whole number of at least 1, not {size!r}.")
    return size
