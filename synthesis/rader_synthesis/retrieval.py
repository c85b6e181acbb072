"""One door to the retriever: what all problems search for at the same time goes out as one batch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from rader_plugins.documents import Hit
from rader_plugins.index import encoder_of
from rader_plugins.retrieval import RaderRetriever, Searcher
from rader_plugins.retrieval.searcher import asearch

__all__ = ["RetrievalFront", "Searcher"]


class RetrievalFront:
    """Collects queries while a search is under way and sends them as the next one. For one event loop.

    A :class:`RaderRetriever` gets vectors that were made one query at a time: within a batch they would depend, in
    their last bits, on which other queries happen to wait, and so would the scores that are written down.

    Args:
        searcher: The object that searches.
        largest: Most queries in a batch.
    """

    def __init__(self, searcher: Searcher, largest: int = 256) -> None:
        self._searcher = searcher
        self._largest = largest
        self._waiting: list[tuple[str, int, asyncio.Future[list[Hit]]]] = []
        self._working: asyncio.Task[None] | None = None
        self.queries = 0
        self.batches = 0

    async def search(self, query: str, k: int) -> list[Hit]:
        """Return the ``k`` best documents for a query; fewer if there are not as many."""
        future: asyncio.Future[list[Hit]] = asyncio.get_running_loop().create_future()
        self._waiting.append((query, k, future))
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        try:
            await asyncio.sleep(0)  # let those that are ready in this turn of the loop join
            while self._waiting:
                batch, self._waiting = self._waiting[: self._largest], self._waiting[self._largest :]
                try:
                    results = await self._search([query for query, _, _ in batch], max(k for _, k, _ in batch))
                except Exception as error:  # noqa: BLE001 - belongs to those who wait, not to this task
                    for _, _, future in batch:
                        if not future.done():
                            future.set_exception(error)
                    continue
                for (_, k, future), hits in zip(batch, results, strict=True):
                    if not future.done():  # a cancelled problem no longer waits
                        future.set_result(hits[:k])
        finally:
            self._working = None

    async def _search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        self.batches += 1
        self.queries += len(queries)
        searcher = self._searcher
        if not isinstance(searcher, RaderRetriever) or searcher.mode == "bm25" or searcher.reasoning is not None:
            return await asearch(searcher, queries, k)
        vectors = await asyncio.to_thread(_one_by_one, searcher, queries)
        return await searcher.asearch_batch(queries, k, query_vectors=vectors)


def _one_by_one(retriever: RaderRetriever, queries: Sequence[str]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    encoder = encoder_of(retriever.index)
    return np.vstack([encoder.encode_queries([query], instruction=retriever.instruction) for query in queries])
