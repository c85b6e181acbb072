"""Negatives by search: BM25 ranks 31 to 50 and the best by cosine, with a guard against false ones."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from rader_plugins.documents import Document, Hit
from rader_plugins.errors import InputError
from rader_plugins.index import RaderIndex
from rader_plugins.reranking.base import Reranker
from rader_plugins.retrieval import RaderRetriever
from rader_plugins.samples import Passage
from rader_plugins.text_matching import digest
from rader_synthesis.importing.base import title_and_text
from rader_synthesis.sampling.config import SamplingConfig
from rader_synthesis.search import derived_seed

__all__ = ["Miner", "Wish"]


@dataclass
class Wish:
    """A query that negatives are searched for.

    Args:
        query_id: Seeds the draw.
        query: What is searched for.
        question: What a cross-encoder is asked: the question itself, where the query is a partial solution.
        positives: The documents that it has.
        forbidden: Ids of documents that are relevant to the problem.
        forbidden_texts: Digests of their texts.
        given: Ids of negatives that it has.
        wanted: How many more are wanted at most; None takes all.
    """

    query_id: str
    query: str
    question: str
    positives: Sequence[Passage]
    forbidden: set[str]
    forbidden_texts: set[bytes]
    given: set[str]
    wanted: int | None


class Miner:
    """Searches negatives, many queries at once.

    Args:
        index: What is searched.
        config: Ranks, numbers, margins and seed.
        dense: Whether the index has vectors of a model.
        reranker: A cross-encoder: what it scores no lower than the sample's lowest positive is no negative.

    Raises:
        InputError: A margin is wanted and there are no vectors.
    """

    def __init__(
        self, index: RaderIndex, config: SamplingConfig, *, dense: bool, reranker: Reranker | None = None
    ) -> None:
        if config.margin and not dense:
            raise InputError("A score margin compares cosines: give an --index, or a --model for the corpus.")
        self._retriever = RaderRetriever(index)
        self._config = config
        self._dense = dense
        self._reranker = reranker

    def mine(self, wishes: Sequence[Wish], dropped: Counter[str]) -> list[list[Passage]]:
        """Return the negatives that were found for every query, those of BM25 and the dense ones in turn.

        Args:
            wishes: The queries.
            dropped: Counts what the guard kept away.
        """
        if not wishes:
            return []
        queries = [wish.query for wish in wishes]
        first, last = self._config.bm25_ranks
        lexical = self._retriever.search_batch(queries, last, mode="bm25") if self._config.bm25_negatives else None
        vectors = None
        dense: list[list[Hit]] | None = None
        if self._dense and (self._config.dense_negatives or self._config.margin):
            vectors = self._retriever.index.encoder.encode_queries(queries)
            if self._config.dense_negatives:
                dense = self._retriever.search_batch(
                    queries, self._config.dense_negatives, mode="dense", query_vectors=vectors
                )
        found = []
        for at, wish in enumerate(wishes):
            seen = set(wish.given)
            near = self._allowed(dense[at] if dense is not None else [], wish, seen, dropped)
            ranked = self._allowed(lexical[at][first - 1 :] if lexical is not None else [], wish, seen, dropped)
            if self._config.margin and vectors is not None:
                near, ranked = self._below_margin(vectors[at], wish, near, ranked, dropped)
            found.append((self._drawn(ranked, wish), near))
        if self._reranker is not None:
            found = _judged(self._reranker, wishes, found, dropped)
        return [_passages(*pair, wish.wanted) for wish, pair in zip(wishes, found, strict=True)]

    def _allowed(self, hits: Sequence[Hit], wish: Wish, seen: set[str], dropped: Counter[str]) -> list[Document]:
        """Return the documents that may be negatives and were not seen yet."""
        allowed = []
        for hit in hits:
            document = hit.document
            if document.id in seen or not document.text.strip():
                continue
            seen.add(document.id)
            if document.id in wish.forbidden:
                dropped["mined: positive of the same problem"] += 1
            elif digest(document.text) in wish.forbidden_texts:
                dropped["mined: same text as a positive"] += 1
            else:
                allowed.append(document)
        return allowed

    def _drawn(self, documents: list[Document], wish: Wish) -> list[Document]:
        wanted = self._config.bm25_negatives
        if len(documents) <= wanted:
            return documents
        rng = random.Random(derived_seed(self._config.seed, "bm25", wish.query_id))
        return [documents[at] for at in sorted(rng.sample(range(len(documents)), wanted))]

    def _below_margin(
        self,
        vector: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
        wish: Wish,
        near: list[Document],
        ranked: list[Document],
        dropped: Counter[str],
    ) -> tuple[list[Document], list[Document]]:
        """Keep those that score so much below the lowest positive; without one in the index nothing can be said."""
        positives = self._retriever.index.vectors([passage.id for passage in wish.positives])
        if not positives:
            dropped["mined: no positive in the index to compare with"] += len(near) + len(ranked)
            return [], []
        lowest = min(float(vector @ one) for one in positives.values())
        relative, absolute = self._config.relative_margin, self._config.absolute_margin or 0.0
        limit = lowest * relative if relative is not None else lowest - absolute
        vectors = self._retriever.index.vectors([document.id for document in (*near, *ranked)])

        def below(documents: list[Document]) -> list[Document]:
            kept = [one for one in documents if one.id in vectors and float(vector @ vectors[one.id]) < limit]
            dropped["mined: within the margin of a positive"] += len(documents) - len(kept)
            return kept

        return below(near), below(ranked)


def _judged(
    reranker: Reranker,
    wishes: Sequence[Wish],
    found: list[tuple[list[Document], list[Document]]],
    dropped: Counter[str],
) -> list[tuple[list[Document], list[Document]]]:
    """Keep those that the cross-encoder scores below the lowest positive."""
    asked = []
    for wish, pair in zip(wishes, found, strict=True):
        positives = [Document(f"+{one.id}", one.full_text) for one in wish.positives]
        others = [Document(f"-{one.id}", one.text) for documents in pair for one in documents]
        asked.append([Hit(one, 0.0, rank) for rank, one in enumerate((*positives, *others), start=1)])
    kept = []
    for pair, hits in zip(found, reranker.rerank_batch([wish.question for wish in wishes], asked), strict=True):
        scores = {hit.document.id: hit.score for hit in hits}
        lowest = min(score for id, score in scores.items() if id.startswith("+"))
        below = [[one for one in documents if scores[f"-{one.id}"] < lowest] for documents in pair]
        dropped["mined: no worse than a positive for the cross-encoder"] += sum(map(len, pair)) - sum(map(len, below))
        kept.append((below[0], below[1]))
    return kept


def _passages(ranked: list[Document], near: list[Document], wanted: int | None) -> list[Passage]:
    """Return one of BM25 and one dense in turn."""
    found = []
    for one, other in zip_longest(ranked, near):
        for document, origin in ((one, "bm25"), (other, "dense")):
            if document is not None:
                title, text = title_and_text(document)
                found.append(Passage(document.id, text, title, origin))
    return found[:wanted]
