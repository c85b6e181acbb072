"""What a searcher is, for the record of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from rader_plugins.documents import Document
from rader_plugins.errors import InputError
from rader_plugins.retrieval import RaderRetriever
from rader_synthesis.retrieval import Searcher

__all__ = ["corpus_digest", "describe"]


def describe(searcher: Searcher) -> dict[str, Any]:
    """Return what decides which documents a searcher finds: model, settings and a digest of the corpus.

    Raises:
        InputError: Its index is empty.
    """
    if not isinstance(searcher, RaderRetriever):
        return {"kind": type(searcher).__name__, "fingerprint": getattr(searcher, "fingerprint", None)}
    if not len(searcher.index):
        raise InputError("The index is empty: without documents nothing can be retrieved on the way.")
    return {
        "kind": "RaderRetriever",
        "mode": searcher.mode,
        "alpha": searcher.alpha,
        "instruction": searcher.instruction,
        "reranker": None if searcher.reranker is None else type(searcher.reranker).__name__,
        "model": searcher.index.fingerprint,
        "documents": len(searcher.index),
        "corpus": corpus_digest(searcher.index.documents()),
    }


def corpus_digest(documents: Iterable[Document]) -> str:
    """Return a digest of ids and texts, whatever their order."""
    lines = sorted(hashlib.sha256(f"{one.id}\0{one.text}".encode()).digest() for one in documents)
    return hashlib.sha256(b"".join(lines)).hexdigest()[:32]
