"""What a searcher is, for the record of a run."""

from __future__ import annotations

from typing import Any

from rader_plugins.documents import corpus_digest
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
    return searcher.describe(corpus=True)
