"""An index over the corpus of a data set."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

from rader_plugins.documents import Document
from rader_plugins.errors import InputError
from rader_plugins.evaluation.datasets.dataset import RetrievalDataset
from rader_plugins.index import Index

__all__ = ["index_corpus", "index_documents"]

_BATCH = 256


def index_corpus(dataset: RetrievalDataset, index: Index, *, on_progress: Callable[[int], object] | None = None) -> int:
    """Make an index hold the corpus of a data set; what it holds already is not encoded again.

    Commits happen every few hundred documents: a call that was killed goes on from there. Empty documents, which cannot
    be encoded, are left out; :func:`rader_plugins.evaluation.evaluate` reports them.

    Args:
        dataset: The data set whose corpus is indexed.
        index: The index that the documents are added to.
        on_progress: Called with the number of documents that were dealt with since its last call.

    Returns:
        How many documents were encoded.

    Raises:
        InputError: The index holds documents that the corpus does not have: figures would not be comparable.

    Example:
        >>> index = RaderIndex.create(None, encoder="mini")  # doctest: +SKIP
        >>> index_corpus(RetrievalDataset.from_folder("theoremqa", "dev"), index)  # doctest: +SKIP
        354
    """
    return index_documents(dataset.corpus, index, name=dataset.name, on_progress=on_progress)


def index_documents(
    corpus: Mapping[str, Document],
    index: Index,
    *,
    name: str,
    on_progress: Callable[[int], object] | None = None,
) -> int:
    """As :func:`index_corpus`, for documents under their ids; ``name`` is what messages call them."""
    foreign = [id for id in index.ids() if id not in corpus]
    if foreign:
        raise InputError(
            f"The index holds {len(foreign)} documents that are not in the corpus of {name} (such as "
            f"{foreign[0]!r}). Use an index of this corpus alone."
        )
    documents = [document for document in corpus.values() if document.text.strip()]
    if on_progress is not None:
        on_progress(len(corpus) - len(documents))
    encoded = 0
    waiting = iter(documents)
    while batch := list(itertools.islice(waiting, _BATCH)):
        encoded += index.add(batch).encoded
        if on_progress is not None:
            on_progress(len(batch))
    if index.stats().get("statistics", {}).get("drift"):
        index.optimize()  # an engine's BM25 would search by the statistics of the first documents
    return encoded
