"""`Searcher`: what finds documents, as far as the library asks of objects that are not its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from rader_plugins.documents import Hit
from rader_plugins.errors import InputError

__all__ = ["Searcher", "asearch"]


class Searcher(Protocol):
    """Finds documents for many queries at once; a :class:`rader_plugins.RaderRetriever` does.

    Where the object has ``asearch_batch`` of the same arguments too (or alone), that is used on an event loop. What
    its results depend on, it tells by ``describe()``, a JSON object, or by an attribute ``fingerprint``.
    """

    def search_batch(self, queries: Sequence[str], k: int = 10) -> list[list[Hit]]:
        """Return the ``k`` best documents for each query, best first."""
        ...


async def asearch(searcher: Searcher, queries: Sequence[str], k: int) -> list[list[Hit]]:
    """Search without blocking the event loop.

    Args:
        searcher: The object that searches.
        queries: All of them are one batch.
        k: Most hits of a query.

    Raises:
        InputError: The object cannot search, or does not return a list of hits for each query.
    """
    search = getattr(searcher, "asearch_batch", None)
    if search is not None:
        results = await search(queries, k)
    elif hasattr(searcher, "search_batch"):
        results = await asyncio.to_thread(searcher.search_batch, queries, k)
    else:
        raise InputError(f"A searcher has a method search_batch(queries, k), which {type(searcher).__name__} lacks.")
    if len(results) != len(queries):
        raise InputError(f"The retriever returned {len(results)} lists of hits for {len(queries)} queries.")
    return list(results)
