"""What a searcher is, for the record of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rader_plugins.documents import corpus_digest
from rader_plugins.errors import InputError
from rader_plugins.retrieval import RaderRetriever
from rader_synthesis.retrieval import Searcher

__all__ = ["corpus_digest", "describe", "described_before"]

_NO_VECTORS = "a1d57bb63cb9ec9c55855af3313b3f43"
"""What version 0.1 called the model of an index without vectors."""


def describe(searcher: Searcher) -> dict[str, Any]:
    """Return what decides which documents a searcher finds: model, settings and a digest of the corpus.

    Raises:
        InputError: Its index is empty.
    """
    if not isinstance(searcher, RaderRetriever):
        kind = {"kind": type(searcher).__name__, "fingerprint": getattr(searcher, "fingerprint", None)}
        own = getattr(searcher, "describe", None)
        return {**kind, "settings": own()} if callable(own) else kind
    if not len(searcher.index):
        raise InputError("The index is empty: without documents nothing can be retrieved on the way.")
    return searcher.describe(corpus=True)


def described_before(searcher: Searcher, now: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the description that runs of version 0.1 hold, so that they go on; None where it would be no other.

    It did not tell how many candidates there were, nor that queries were written by a model: a retriever that differs
    from the defaults in these has no description of that kind.

    Args:
        searcher: The object that searches.
        now: What :func:`describe` returns.
    """
    if not isinstance(searcher, RaderRetriever) or searcher.reasoning is not None:
        return None
    if searcher.candidates != RaderRetriever(searcher.index, searcher.mode).candidates:
        return None
    return {
        "kind": "RaderRetriever",
        "mode": searcher.mode,
        "alpha": searcher.alpha,
        "instruction": searcher.instruction,
        "reranker": None if searcher.reranker is None else type(searcher.reranker).__name__,
        "model": searcher.index.fingerprint or _NO_VECTORS,
        "documents": len(searcher.index),
        "corpus": now["corpus"],
    }
