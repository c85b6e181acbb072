"""Searching an engine: both lists, the pool scored by both, the core's fusion, and ties by id."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from rader_plugins.background import Workers
from rader_plugins.documents import Hit
from rader_plugins.engines.collection import Collection, Ranking, Scope
from rader_plugins.engines.explaining import Places, list_places, with_details
from rader_plugins.engines.sparse import Sparse, TermWeights
from rader_plugins.errors import InputError
from rader_plugins.fusion import fuse
from rader_plugins.index.request import SearchRequest, Vector

__all__ = ["Searching", "untied"]

Scores = dict[str, float]
_MORE = 16  # hits fetched beyond those that are wanted, since equal scores at the end may be cut in any order
_GROWTH = 4
_ALL = 2**31 - 1  # more than any answer holds, and as much as every engine understands


class Searching:
    """Answers requests from one collection.

    Args:
        collection: Where the documents are.
    """

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._workers = Workers(16, "rader-engine")

    def search(
        self,
        request: SearchRequest,
        vectors: npt.NDArray[np.float32] | None,
        queries: Sequence[Sparse],
        scopes: Sequence[Scope],
        weights: TermWeights | None = None,
    ) -> list[list[Hit]]:
        """Return hits for every query.

        Args:
            request: The request, with at least one query and a ``k`` of at least 1.
            vectors: Shape (q, dimension); None in ``bm25`` mode.
            queries: Sparse vectors; empty in ``dense`` mode.
            scopes: What may be found, for every query.
            weights: What made ``queries``; needed where ``terms`` are asked for.

        Raises:
            InputError: More hits are asked for than the engine returns.
            EngineError: The engine failed.
        """
        request = self._within_limits(request, scopes)
        depth = max(request.k, request.candidates) if request.mode == "hybrid" else request.k
        places: list[Places] | None = None
        hits: list[list[Hit]] | None
        if vectors is None:
            hits = self._hits(self._lexical(queries, request.k, scopes), "bm25", scopes)
        elif request.mode == "dense":
            hits = self._hits(self._dense(vectors, request.k, scopes), "dense", scopes)
        elif "ranks" in request.details or (hits := self._fused(request, vectors, queries, scopes)) is None:
            hits, places = self._hybrid(request, depth, vectors, queries, scopes)
        return with_details(request, hits, places, weights)

    def _within_limits(self, request: SearchRequest, scopes: Sequence[Scope]) -> SearchRequest:
        """Ask for no more than the engine returns, if it holds no more."""
        limit = _ALL if self._collection.most is None else self._collection.most
        names = ("k", "candidates") if request.mode == "hybrid" else ("k",)
        beyond = [name for name in names if getattr(request, name) > limit]
        if not beyond:
            return request
        if limit < _ALL and any(self._collection.count(part) > limit for part in {scope.partition for scope in scopes}):
            raise InputError(
                f"{self._collection.engine} returns {limit:,} hits at most: {beyond[0]} must not be greater."
            )
        return replace(request, k=min(request.k, limit), candidates=min(request.candidates, limit))

    def _fused(
        self,
        request: SearchRequest,
        vectors: npt.NDArray[np.float32],
        queries: Sequence[Sparse],
        scopes: Sequence[Scope],
    ) -> list[list[Hit]] | None:
        """Have the engine fuse; None where it does not."""
        fused = self._collection.hybrid(request, vectors, queries, scopes)
        if fused is None:
            return None
        return [
            [
                Hit(hit.document, hit.fused, rank, {"dense": hit.dense, "bm25": hit.bm25, "fused": hit.fused})
                for rank, hit in enumerate(hits, 1)
            ]
            for hits in fused
        ]

    def _dense(self, vectors: npt.NDArray[np.float32], k: int, scopes: Sequence[Scope]) -> list[Ranking]:
        def fetch(positions: Sequence[int], depth: int) -> list[Ranking]:
            return self._collection.nearest(
                vectors[list(positions)], depth, [scopes[position] for position in positions]
            )

        return self._complete(fetch, len(vectors), k)

    def _lexical(self, queries: Sequence[Sparse], k: int, scopes: Sequence[Scope]) -> list[Ranking]:
        with_terms = [position for position, query in enumerate(queries) if len(query)]

        def fetch(positions: Sequence[int], depth: int) -> list[Ranking]:
            numbers = [with_terms[position] for position in positions]
            return self._collection.lexical([queries[n] for n in numbers], depth, [scopes[n] for n in numbers])

        rankings: list[Ranking] = [([], np.zeros(0))] * len(queries)
        for position, ranking in zip(
            with_terms, self._complete(fetch, len(with_terms), k) if with_terms else (), strict=True
        ):
            rankings[position] = ranking
        return rankings

    def _complete(self, fetch: Callable[[Sequence[int], int], list[Ranking]], count: int, k: int) -> list[Ranking]:
        if self._collection.breaks_ties:
            return fetch(range(count), k)
        return untied(fetch, count, k, self._collection.most)

    def _hybrid(
        self,
        request: SearchRequest,
        depth: int,
        vectors: npt.NDArray[np.float32],
        queries: Sequence[Sparse],
        scopes: Sequence[Scope],
    ) -> tuple[list[list[Hit]], list[Places]]:
        near_lists = self._workers.submit(self._dense, vectors, depth, scopes)
        alike_lists = self._lexical(queries, depth, scopes)
        pools: list[tuple[Ranking, Ranking, Future[Scores] | None, Future[Scores] | None]] = []
        for near, alike, vector, query, scope in zip(
            near_lists.result(), alike_lists, vectors, queries, scopes, strict=True
        ):
            pools.append((near, alike, *self._missing(_scores(near), _scores(alike), vector, query, scope.partition)))
        stages: list[dict[str, Scores]] = []
        rankings: list[Ranking] = []
        places: list[Places] = []
        for near, alike, more_dense, more_bm25 in pools:
            dense, bm25 = _scores(near), _scores(alike)
            dense |= more_dense.result() if more_dense is not None else {}
            bm25 |= more_bm25.result() if more_bm25 is not None else {}
            names = list(dense)  # one that was deleted meanwhile has no score
            scores = np.array([[dense[name], bm25.get(name, 0.0)] for name in names]).reshape(-1, 2)
            fused = fuse(scores[:, 0], scores[:, 1], request.alpha)
            rankings.append(_best((names, fused), request.k))
            stages.append({"dense": dense, "bm25": bm25})
            if "ranks" in request.details:
                lists = {"dense": (near, dense, request.alpha), "bm25": (alike, bm25, 1 - request.alpha)}
                places.append(list_places(lists, names))
        return self._hits(rankings, "fused", scopes, stages), places

    def _missing(
        self, dense: Scores, bm25: Scores, vector: Vector, query: Sparse, partition: str
    ) -> tuple[Future[Scores] | None, Future[Scores] | None]:
        """Ask for the scores that candidates of one list lack in the other."""
        unscored = [name for name in bm25 if name not in dense]
        unmatched = [name for name in dense if name not in bm25] if len(query) else []
        submit, collection = self._workers.submit, self._collection
        return (
            submit(collection.dense_scores, partition, vector, unscored) if unscored else None,
            submit(collection.lexical_scores, partition, query, unmatched) if unmatched else None,
        )

    def _hits(
        self,
        rankings: Sequence[Ranking],
        stage: str,
        scopes: Sequence[Scope],
        stages: Sequence[dict[str, Scores]] | None = None,
    ) -> list[list[Hit]]:
        """Fetch the documents of rankings; one that was deleted meanwhile is left out."""
        names: dict[str, dict[str, None]] = {}
        for (ids, _), scope in zip(rankings, scopes, strict=True):
            names.setdefault(scope.partition, {}).update(dict.fromkeys(ids))
        documents = {part: self._collection.documents(part, list(ids)) for part, ids in names.items() if ids}
        answers = []
        for position, ((ids, scores), scope) in enumerate(zip(rankings, scopes, strict=True)):
            of_partition = documents.get(scope.partition, {})
            further = {} if stages is None else stages[position]
            pairs = [(id, score) for id, score in zip(ids, scores.tolist(), strict=True) if id in of_partition]
            answers.append(
                [
                    Hit(
                        of_partition[id],
                        score,
                        rank,
                        {**{name: values.get(id, 0.0) for name, values in further.items()}, stage: score},
                    )
                    for rank, (id, score) in enumerate(pairs, 1)
                ]
            )
        return answers


def untied(fetch: Callable[[Sequence[int], int], list[Ranking]], count: int, k: int, most: int | None) -> list[Ranking]:
    """Return the ``k`` best for every query, equal scores by ascending id, from an engine that cuts ties as it likes.

    More than ``k`` are fetched, and again more where the score of the ``k``-th goes on to the end of what came.

    Args:
        fetch: Takes positions of queries and how many hits; returns a ranking for each position.
        count: How many queries there are.
        k: How many to return, at least 1.
        most: The most hits that ``fetch`` returns; beyond it ties are cut as the engine cuts them.
    """
    rankings: list[Ranking] = [([], np.zeros(0))] * count
    pending, depth = list(range(count)), k + _MORE
    while pending:
        depth = depth if most is None else min(depth, most)
        for position, ranking in zip(pending, fetch(pending, depth), strict=True):
            rankings[position] = ranking
        pending = [position for position in pending if _cut_in_a_tie(rankings[position][1], k, depth)]
        if depth == most:
            break
        depth *= _GROWTH
    return [_best(ranking, k) for ranking in rankings]


def _cut_in_a_tie(scores: npt.NDArray[np.float64], k: int, depth: int) -> bool:
    return len(scores) >= depth and bool(scores[-1] >= scores[k - 1])


def _best(ranking: Ranking, k: int) -> Ranking:
    ids, scores = ranking
    order = sorted(range(len(ids)), key=lambda position: (-scores[position], ids[position]))[:k]
    return [ids[position] for position in order], scores[order]


def _scores(ranking: Ranking) -> Scores:
    return dict(zip(ranking[0], ranking[1].tolist(), strict=True))
