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
from rader_plugins.index import Index, encoder_of
from rader_plugins.reranking.base import Reranker
from rader_plugins.retrieval import RaderRetriever
from rader_plugins.samples import Passage
from rader_plugins.text_matching import digest
from rader_synthesis.importing.base import title_and_text
from rader_synthesis.sampling.config import SamplingConfig
from rader_synthesis.sampling.spool import Relevant
from rader_synthesis.search import derived_seed

__all__ = ["Miner", "MiningRequest"]


@dataclass
class MiningRequest:
    """A query that negatives are searched for.

    Args:
        query_id: Name of the sample, which seeds the draw.
        query: What is searched for.
        question: What a cross-encoder is asked: the question itself, where the query is a partial solution.
        positives: The documents that it has.
        relevant: What may be no negative of its problem.
        rejected: Ids of negatives that it has.
        limit: How many more it may get; None takes all.
    """

    query_id: str
    query: str
    question: str
    positives: Sequence[Passage]
    relevant: Relevant
    rejected: set[str]
    limit: int | None


class Miner:
    """Searches negatives, many queries at once.

    Args:
        index: The index that is searched.
        config: Ranks, numbers, margins and seed.
        dense: Whether the index has vectors of a model.
        reranker: A cross-encoder: what it scores no lower than the sample's lowest positive is no negative.

    Raises:
        InputError: A margin is wanted and there are no vectors.
    """

    def __init__(self, index: Index, config: SamplingConfig, *, dense: bool, reranker: Reranker | None = None) -> None:
        if config.margin and not dense:
            raise InputError("A score margin compares cosines: give an --index, or a --model for the corpus.")
        self._retriever = RaderRetriever(index, "hybrid" if dense else "bm25")
        self._config = config
        self._dense = dense
        self._reranker = reranker

    def mine(self, requests: Sequence[MiningRequest], dropped: Counter[str]) -> list[list[Passage]]:
        """Return the negatives that were found for every query, those of BM25 and the dense ones in turn.

        Args:
            requests: The queries to find negatives for.
            dropped: Counts what the guard kept away.
        """
        if not requests:
            return []
        queries = [request.query for request in requests]
        first, last = self._config.bm25_ranks
        lexical = self._retriever.search_batch(queries, last, mode="bm25") if self._config.bm25_negatives else None
        vectors = None
        dense: list[list[Hit]] | None = None
        if self._dense and (self._config.dense_negatives or self._config.margin):
            vectors = encoder_of(self._retriever.index).encode_queries(queries)
            if self._config.dense_negatives:
                dense = self._retriever.search_batch(
                    queries, self._config.dense_negatives, mode="dense", query_vectors=vectors
                )
        mined = []
        for number, request in enumerate(requests):
            seen = set(request.rejected)
            near = self._allowed(dense[number] if dense is not None else [], request, seen, dropped)
            ranked = self._allowed(lexical[number][first - 1 :] if lexical is not None else [], request, seen, dropped)
            if self._config.margin and vectors is not None:
                near, ranked = self._below_margin(vectors[number], request, near, ranked, dropped)
            mined.append((self._drawn(ranked, request), near))
        if self._reranker is not None:
            mined = _judged(self._reranker, requests, mined, dropped)
        return [_in_turn(*pair, request.limit) for request, pair in zip(requests, mined, strict=True)]

    def _allowed(
        self, hits: Sequence[Hit], request: MiningRequest, seen: set[str], dropped: Counter[str]
    ) -> list[Document]:
        """Return the documents that may be negatives and were not seen yet."""
        allowed = []
        for hit in hits:
            document = hit.document
            if document.id in seen or not document.text.strip():
                continue
            seen.add(document.id)
            if document.id in request.relevant.ids:
                dropped["mined: positive of the same problem"] += 1
            elif digest(document.text) in request.relevant.contents:
                dropped["mined: same text as a positive"] += 1
            elif request.relevant.shares_text(_passage(document, "")):
                dropped["mined: a part of a positive, or a text that holds one"] += 1
            else:
                allowed.append(document)
        return allowed

    def _drawn(self, documents: list[Document], request: MiningRequest) -> list[Document]:
        limit = self._config.bm25_negatives
        if len(documents) <= limit:
            return documents
        rng = random.Random(derived_seed(self._config.seed, "bm25", request.query_id))
        return [documents[number] for number in sorted(rng.sample(range(len(documents)), limit))]

    def _below_margin(
        self,
        vector: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
        request: MiningRequest,
        near: list[Document],
        ranked: list[Document],
        dropped: Counter[str],
    ) -> tuple[list[Document], list[Document]]:
        """Keep those that score so much below the lowest positive; without one in the index nothing can be said."""
        positives = self._retriever.index.vectors([passage.id for passage in request.positives])
        if not positives:
            dropped["mined: no positive in the index to compare with"] += len(near) + len(ranked)
            return [], []
        lowest = min(float(vector @ positive) for positive in positives.values())
        relative, absolute = self._config.relative_margin, self._config.absolute_margin or 0.0
        limit = lowest * relative if relative is not None else lowest - absolute
        vectors = self._retriever.index.vectors([document.id for document in (*near, *ranked)])

        def below(documents: list[Document]) -> list[Document]:
            clear = [
                document
                for document in documents
                if document.id in vectors and float(vector @ vectors[document.id]) < limit
            ]
            dropped["mined: within the margin of a positive"] += len(documents) - len(clear)
            return clear

        return below(near), below(ranked)


def _judged(
    reranker: Reranker,
    requests: Sequence[MiningRequest],
    mined: list[tuple[list[Document], list[Document]]],
    dropped: Counter[str],
) -> list[tuple[list[Document], list[Document]]]:
    """Keep those that the cross-encoder scores below the lowest positive."""
    candidates = []
    for request, pair in zip(requests, mined, strict=True):
        positives = [Document(f"+{passage.id}", passage.full_text) for passage in request.positives]
        rivals = [Document(f"-{document.id}", document.text) for documents in pair for document in documents]
        candidates.append([Hit(document, 0.0, rank) for rank, document in enumerate((*positives, *rivals), start=1)])
    clear = []
    questions = [request.question for request in requests]
    for pair, hits in zip(mined, reranker.rerank_batch(questions, candidates), strict=True):
        scores = {hit.document.id: hit.score for hit in hits}
        lowest = min(score for id, score in scores.items() if id.startswith("+"))
        ranked, near = ([document for document in part if scores[f"-{document.id}"] < lowest] for part in pair)
        lost = sum(map(len, pair)) - len(ranked) - len(near)
        dropped["mined: no worse than a positive for the cross-encoder"] += lost
        clear.append((ranked, near))
    return clear


def _in_turn(ranked: Sequence[Document], near: Sequence[Document], limit: int | None) -> list[Passage]:
    """Return one of BM25 and one dense in turn."""
    pairs = zip_longest(ranked, near)
    both = [(document, origin) for pair in pairs for document, origin in zip(pair, ("bm25", "dense"), strict=True)]
    return [_passage(document, origin) for document, origin in both if document is not None][:limit]


def _passage(document: Document, origin: str) -> Passage:
    title, text = title_and_text(document)
    return Passage(document.id, text, title, origin)
