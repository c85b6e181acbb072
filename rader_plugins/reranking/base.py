"""`Reranker`: what orders the hits of a first stage anew."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

from rader_plugins.arguments import check_count, iterate, shown
from rader_plugins.background import in_thread
from rader_plugins.construction import ByConstruction
from rader_plugins.documents import Document, Hit
from rader_plugins.errors import InputError

__all__ = ["Reranker", "as_hits", "candidates_of", "reordered"]


class Reranker(ByConstruction, ABC):
    """Orders hits anew by looking at query and document together. Safe to use from several threads and from asyncio.

    A pickled reranker holds how it was made, not its weights; see :class:`~rader_plugins.construction.ByConstruction`.
    """

    @abstractmethod
    def rerank_batch(self, queries: Sequence[str], hits: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        """Rerank the hits of many queries at once.

        Args:
            queries: The original questions, also where the first stage searched with reasoning steps.
            hits: The hits of every query, best first.

        Returns:
            For every query the same documents in their new order, with new ranks and scores; ``scores`` holds every
            stage. Documents with equal scores keep the order of the first stage.
        """

    def warm_up(self) -> None:
        """Do now what the first query would have to wait for."""
        self.rerank("warm up", [Hit(Document(id="warm up", text="warm up"), 0.0, 1)])

    def rerank(self, query: str, hits: Sequence[Hit], top_n: int | None = None) -> list[Hit]:
        """Rerank the hits of one query and keep the ``top_n`` best (None keeps all)."""
        if top_n is not None:
            check_count(top_n, "top_n")
        return self.rerank_batch([query], [hits])[0][:top_n]

    async def arerank_batch(self, queries: Sequence[str], hits: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        """As :meth:`rerank_batch`, without blocking the event loop."""
        return await in_thread(self.rerank_batch, queries, hits)

    async def arerank(self, query: str, hits: Sequence[Hit], top_n: int | None = None) -> list[Hit]:
        """As :meth:`rerank`, without blocking the event loop."""
        if top_n is not None:
            check_count(top_n, "top_n")
        return (await self.arerank_batch([query], [hits]))[0][:top_n]


def candidates_of(queries: Sequence[str], hits: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
    """Return the hits of every query as lists, to be gone through more than once.

    Raises:
        InputError: They are no lists of hits, or not as many as there are queries.
    """
    if isinstance(queries, str):
        raise InputError("rerank_batch() takes a list of queries; rerank() takes one.")
    if not isinstance(queries, Sequence):
        raise InputError(f"queries must be a list of strings, not {shown(queries)}.")
    candidates = [list(iterate(of_query, "The hits of a query")) for of_query in iterate(hits, "hits")]
    for hit in (hit for of_query in candidates for hit in of_query):
        if not isinstance(hit, Hit) or not isinstance(hit.document, Document):
            raise InputError(f"A reranker takes Hit objects, not {shown(hit)}: Hit(Document(id, text), score, rank).")
    if len(queries) != len(candidates):
        raise InputError(f"There are {len(queries)} queries, but {len(candidates)} lists of hits.")
    return candidates


def reordered(hits: Sequence[Hit], scores: Sequence[float], stages: Sequence[dict[str, float]]) -> list[Hit]:
    """Return hits sorted by new scores; equal scores keep their order.

    Args:
        hits: The hits in the order of the first stage.
        scores: The new score of each.
        stages: What each hit's ``scores`` gains.
    """
    order = sorted(range(len(hits)), key=lambda place: -scores[place])  # sorted() is stable
    return [
        replace(hits[place], score=float(scores[place]), rank=rank, scores={**hits[place].scores, **stages[place]})
        for rank, place in enumerate(order, start=1)
    ]


def as_hits(texts: Sequence[str], *, ids: Sequence[str | None], scores: Sequence[object]) -> list[Hit]:
    """Return hits for texts that come from elsewhere, in the order given, each under an id of its own.

    Args:
        texts: The texts to rerank.
        ids: Ids of the texts; where one is missing or stands twice, all are numbered instead.
        scores: First-stage scores of the texts; where one is missing or no finite number, all count as 0.
    """
    own_ids = [name for name in ids if name]
    names = own_ids if len(set(own_ids)) == len(texts) else [str(position) for position in range(len(texts))]
    numbers = [float(score) for score in scores if isinstance(score, int | float) and math.isfinite(score)]
    first = numbers if len(numbers) == len(texts) else [0.0] * len(texts)
    return [
        Hit(Document(id=name, text=text), score, rank)
        for rank, (name, text, score) in enumerate(zip(names, texts, first, strict=True), start=1)
    ]
