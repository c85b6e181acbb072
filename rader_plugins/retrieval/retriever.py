"""`RaderRetriever`: dense, BM25 or hybrid search over a :class:`rader_plugins.RaderIndex`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict, get_args

import numpy as np
import numpy.typing as npt
from typing_extensions import Unpack

from rader_plugins.documents import Hit, check_text
from rader_plugins.encoding.base import Vectors
from rader_plugins.errors import InputError
from rader_plugins.index import Filter, RaderIndex
from rader_plugins.index.snapshot import Snapshot, top_places
from rader_plugins.reranking.base import Reranker
from rader_plugins.retrieval.expansion import QueryExpansion, check_expansion
from rader_plugins.retrieval.fusion import fuse

__all__ = ["Mode", "RaderRetriever", "SearchOptions"]

Mode = Literal["hybrid", "dense", "bm25"]
_MODES = get_args(Mode)
Scored = tuple[npt.NDArray[Any], npt.NDArray[Any], dict[str, npt.NDArray[Any]]]
_ATTEMPTS = 3


class SearchOptions(TypedDict, total=False):
    """What a call may set anew: see :class:`RaderRetriever` and :meth:`RaderRetriever.search`."""

    filter: Filter | None
    mode: Mode | None
    alpha: float | None
    instruction: str | None


@dataclass(frozen=True)
class _Plan:
    k: int
    mode: Mode
    alpha: float
    instruction: str | None
    filter: Filter | None


class RaderRetriever:
    """Searches an index.

    ``dense`` ranks by cosine, ``bm25`` by BM25 (documents that share a term with the query only). ``hybrid`` takes the
    best ``candidates`` of both, scores every one of them by both, and ranks by
    ``alpha * z(dense) + (1 - alpha) * z(bm25)``, z-scored over these candidates (RaDeR, section 4: alpha 0.8;
    1.0 in the model's home domain, which is plain cosine). Equal scores are ordered by document id.

    Args:
        index: What to search.
        mode: ``hybrid``, ``dense`` or ``bm25``.
        alpha: Weight of the dense score in hybrid mode, 0 to 1.
        instruction: Task instruction for the query; None takes the recipe's own.
        candidates: How many documents each side of a hybrid search contributes.
        reranker: Orders the best ``rerank_top`` documents anew, by the question as it was asked; ``scores`` of a hit
            then holds ``rerank`` too. None leaves the first stage's order.
        rerank_top: How many documents the reranker sees; at least ``k`` of them.
        reasoning: Writes the query that is searched for from the question that was asked, such as a
            :class:`rader_plugins.ReasoningQuery`. The reranker gets the question itself.

    Raises:
        InputError: An argument is outside its range.

    Example:
        >>> from rader_plugins import RaderIndex, RaderRetriever
        >>> retriever = RaderRetriever(RaderIndex.open("my-index"), mode="hybrid", alpha=0.8)  # doctest: +SKIP
        >>> [hit.document.id for hit in retriever.search("How many guests must I invite?", k=3)]  # doctest: +SKIP
        ['ramsey-theorem', 'pigeonhole-principle', 'handshake-lemma']
    """

    def __init__(
        self,
        index: RaderIndex,
        mode: Mode = "hybrid",
        alpha: float = 0.8,
        instruction: str | None = None,
        *,
        candidates: int = 1000,
        reranker: Reranker | None = None,
        rerank_top: int = 100,
        reasoning: QueryExpansion | None = None,
    ) -> None:
        if not isinstance(index, RaderIndex):
            raise InputError(f"index must be a RaderIndex, not {type(index).__name__}: RaderIndex.open(path).")
        if candidates < 1:
            raise InputError(f"candidates must be at least 1, not {candidates}.")
        if reranker is not None and not isinstance(reranker, Reranker):
            raise InputError(f"reranker must be a Reranker, not {type(reranker).__name__}: load_reranker(name).")
        if not isinstance(rerank_top, int) or isinstance(rerank_top, bool) or rerank_top < 1:
            raise InputError(f"rerank_top must be a whole number of at least 1, not {rerank_top!r}.")
        self.index = index
        self.candidates = candidates
        self.reranker = reranker
        self.rerank_top = rerank_top
        self.reasoning = check_expansion(reasoning)
        self._defaults = _Plan(k=10, mode=mode, alpha=alpha, instruction=instruction, filter=None)
        _check(self._defaults)

    @property
    def mode(self) -> Mode:
        """How it searches unless a call says otherwise."""
        return self._defaults.mode

    @property
    def alpha(self) -> float:
        """Weight of the dense score unless a call says otherwise."""
        return self._defaults.alpha

    @property
    def instruction(self) -> str | None:
        """Query instruction unless a call says otherwise."""
        return self._defaults.instruction

    def search(
        self, query: str, k: int = 10, *, exclude_ids: Sequence[str] = (), **options: Unpack[SearchOptions]
    ) -> list[Hit]:
        """Return the ``k`` best documents for one query.

        Args:
            query: The question.
            k: How many hits; 0 gives none, more than the index holds gives all.
            exclude_ids: Documents that must not be returned.
            **options: ``filter`` (dict or function, applied before ranking), ``mode``, ``alpha``, ``instruction``.

        Returns:
            Hits, best first. In ``bm25`` mode fewer than ``k`` if fewer documents share a term with the query.
        """
        return self.search_batch([query], k, exclude_ids=[exclude_ids], **options)[0]

    def search_batch(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        exclude_ids: Sequence[Sequence[str]] | None = None,
        query_vectors: npt.ArrayLike | None = None,
        rerank_queries: Sequence[str] | None = None,
        **options: Unpack[SearchOptions],
    ) -> list[list[Hit]]:
        """Search many queries at once: one encoding, one multiplication with the vectors of the index.

        Args:
            queries: The questions.
            k: How many hits for each.
            exclude_ids: For every query, the documents that must not be returned.
            query_vectors: Vectors of the queries, shape (q, dimension), if they are known already. They stand for
                the questions in place of what ``reasoning`` writes, which only BM25 reads then.
            rerank_queries: What the reranker reads instead of the queries: the questions as they were asked, where the
                queries are reasoning that was written out beforehand.
            **options: As in :meth:`search`.
        """
        plan = self._plan(k, options)
        excluded = _check_queries(queries, exclude_ids)
        reranked = _rerank_queries(queries, rerank_queries)
        reasoning = self._reasoning(plan, query_vectors)
        asked = queries if reasoning is None else reasoning.expand(queries)
        vectors: Vectors | None = None
        if query_vectors is not None:
            vectors = self._check_vectors(query_vectors, len(queries))
        elif self._needs_vectors(plan, queries):
            vectors = self.index.encoder.encode_queries(asked, instruction=plan.instruction)
        hits = self._search(asked, vectors, self._first_stage(plan), excluded)
        if self.reranker is None or not any(hits):
            return hits
        return [found[:k] for found in self.reranker.rerank_batch(reranked, hits)]

    async def asearch(
        self, query: str, k: int = 10, *, exclude_ids: Sequence[str] = (), **options: Unpack[SearchOptions]
    ) -> list[Hit]:
        """As :meth:`search`, without blocking the event loop."""
        return (await self.asearch_batch([query], k, exclude_ids=[exclude_ids], **options))[0]

    async def asearch_batch(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        exclude_ids: Sequence[Sequence[str]] | None = None,
        query_vectors: npt.ArrayLike | None = None,
        rerank_queries: Sequence[str] | None = None,
        **options: Unpack[SearchOptions],
    ) -> list[list[Hit]]:
        """As :meth:`search_batch`, without blocking the event loop."""
        plan = self._plan(k, options)
        excluded = _check_queries(queries, exclude_ids)
        reranked = _rerank_queries(queries, rerank_queries)
        reasoning = self._reasoning(plan, query_vectors)
        asked = queries if reasoning is None else await reasoning.aexpand(queries)
        vectors: Vectors | None = None
        if query_vectors is not None:
            vectors = self._check_vectors(query_vectors, len(queries))
        elif self._needs_vectors(plan, queries):
            encoder = await asyncio.to_thread(lambda: self.index.encoder)  # may have to load a model
            vectors = await encoder.aencode_queries(asked, instruction=plan.instruction)
        hits = await asyncio.to_thread(self._search, asked, vectors, self._first_stage(plan), excluded)
        if self.reranker is None or not any(hits):
            return hits
        return [found[:k] for found in await self.reranker.arerank_batch(reranked, hits)]

    def _plan(self, k: int, options: SearchOptions) -> _Plan:
        if unknown := sorted(set(options) - SearchOptions.__annotations__.keys()):
            raise InputError(f"Unknown search options {unknown}; known: {', '.join(SearchOptions.__annotations__)}.")
        given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
        plan = _Plan(**{**vars(self._defaults), "k": k, **given})
        _check(plan)
        # Full weight on the dense score is plain cosine: no pool, no z-scores, no BM25.
        return replace(plan, mode="dense") if plan.mode == "hybrid" and plan.alpha == 1 else plan

    def _first_stage(self, plan: _Plan) -> _Plan:
        """Return the plan of what comes before the reranker, which is given more than it shall keep."""
        if self.reranker is None or plan.k == 0:
            return plan
        return replace(plan, k=max(plan.k, self.rerank_top))

    def _reasoning(self, plan: _Plan, query_vectors: npt.ArrayLike | None) -> QueryExpansion | None:
        """Return what writes the text to search for, if that text makes a difference."""
        return None if plan.k == 0 or (plan.mode == "dense" and query_vectors is not None) else self.reasoning

    def _needs_vectors(self, plan: _Plan, queries: Sequence[str]) -> bool:
        return plan.mode != "bm25" and plan.k > 0 and len(queries) > 0

    def _check_vectors(self, vectors: npt.ArrayLike, count: int) -> Vectors:
        array = np.asarray(vectors, dtype=np.float32)
        if array.shape != (count, self.index.dimension):
            raise InputError(f"query_vectors must have the shape ({count}, {self.index.dimension}), not {array.shape}.")
        if not np.isfinite(array).all():
            raise InputError("query_vectors hold NaN or infinity.")
        return array

    def _search(
        self, queries: Sequence[str], vectors: Vectors | None, plan: _Plan, excluded: Sequence[Sequence[str]]
    ) -> list[list[Hit]]:
        if plan.k == 0 or not queries:
            return [[] for _ in queries]
        # A single BM25 search is so short that asking for a newer commit first would show; `fetch` finds it out too.
        brief = plan.mode == "bm25" and len(queries) == 1 and plan.filter is None
        for attempt in range(_ATTEMPTS):
            snapshot = self.index.snapshot(newest=attempt > 0 or not brief)
            hits = self._search_once(snapshot, queries, vectors, plan, excluded)
            if hits is not None:
                return hits
        # Commits come faster than searches end: let the writer wait for this one.
        with self.index.frozen() as snapshot:
            return self._search_once(snapshot, queries, vectors, plan, excluded) or []

    def _search_once(
        self,
        snapshot: Snapshot,
        queries: Sequence[str],
        vectors: Vectors | None,
        plan: _Plan,
        excluded: Sequence[Sequence[str]],
    ) -> list[list[Hit]] | None:
        shared = self.index.mask(snapshot, plan.filter)
        masks = [snapshot.without(shared, ids) for ids in excluded]
        scored = self._score(snapshot, queries, vectors, plan, masks)
        documents = self.index.fetch(sorted({row for rows, _, _ in scored for row in rows.tolist()}), snapshot)
        if documents is None:
            return None
        results = []
        for rows, scores, stages in scored:
            hits = []
            for place, (row, score) in enumerate(zip(rows.tolist(), scores.tolist(), strict=True)):
                explained = {stage: float(values[place]) for stage, values in stages.items()}
                hits.append(Hit(documents[row], score, place + 1, explained))
            results.append(hits)
        return results

    def _score(
        self,
        snapshot: Snapshot,
        queries: Sequence[str],
        vectors: Vectors | None,
        plan: _Plan,
        masks: Sequence[npt.NDArray[np.bool_] | None],
    ) -> list[Scored]:
        scored: list[Scored] = []
        if plan.mode == "bm25":
            for query, mask in zip(queries, masks, strict=True):
                rows, scores = snapshot.bm25_best(query, plan.k, mask)
                scored.append(_sorted(snapshot, rows, scores, plan.k, {"bm25": scores}))
            return scored
        if vectors is None:  # pragma: no cover - callers encode for these modes
            raise InputError("This mode needs query vectors.")
        if plan.mode == "dense":
            for rows, scores in snapshot.dense_top(vectors, plan.k, masks):
                scored.append(_sorted(snapshot, rows, scores, plan.k, {"dense": scores}))
            return scored
        depth = max(self.candidates, plan.k)
        dense = snapshot.dense_top(vectors, depth, masks)
        for query, vector, mask, (rows, scores) in zip(queries, vectors, masks, dense, strict=True):
            scored.append(_hybrid(snapshot, query, vector, mask, rows, scores, depth, plan))
        return scored


def _hybrid(
    snapshot: Snapshot,
    query: str,
    vector: npt.NDArray[np.float32],
    mask: npt.NDArray[np.bool_] | None,
    dense_rows: npt.NDArray[Any],
    dense_scores: npt.NDArray[Any],
    depth: int,
    plan: _Plan,
) -> Scored:
    every_bm25 = snapshot.bm25_scores(query)
    lexical_rows, _ = snapshot.bm25_top(every_bm25, depth, mask)
    known = np.zeros(snapshot.rows, dtype=np.bool_)
    known[dense_rows] = True
    extra = lexical_rows[~known[lexical_rows]]
    pool = np.concatenate([dense_rows, extra])
    dense = np.concatenate([dense_scores, snapshot.dense_scores(vector, extra)])
    bm25 = every_bm25[pool]
    fused = fuse(dense, bm25, plan.alpha)
    return _sorted(snapshot, pool, fused, plan.k, {"dense": dense, "bm25": bm25, "fused": fused})


def _sorted(
    snapshot: Snapshot,
    rows: npt.NDArray[Any],
    scores: npt.NDArray[Any],
    k: int,
    stages: dict[str, npt.NDArray[Any]],
) -> Scored:
    places = top_places(rows, scores, k, snapshot.ids)
    return rows[places], scores[places], {stage: values[places] for stage, values in stages.items()}


def _check(plan: _Plan) -> None:
    if not isinstance(plan.k, int) or isinstance(plan.k, bool) or plan.k < 0:
        raise InputError(f"k must be a whole number of at least 0, not {plan.k!r}.")
    if plan.mode not in _MODES:
        raise InputError(f"mode is one of {', '.join(_MODES)}, not {plan.mode!r}.")
    if isinstance(plan.alpha, bool) or not isinstance(plan.alpha, int | float) or not 0 <= plan.alpha <= 1:
        raise InputError(f"alpha must lie between 0 (BM25) and 1 (dense), not {plan.alpha!r}.")


def _check_queries(queries: Sequence[str], exclude_ids: Sequence[Sequence[str]] | None) -> Sequence[Sequence[str]]:
    if isinstance(queries, str):
        raise InputError("search_batch() takes a list of queries; search() takes one.")
    for number, query in enumerate(queries):
        check_text(query, f"query {number}")
    excluded: Sequence[Sequence[str]] = [()] * len(queries) if exclude_ids is None else exclude_ids
    if len(excluded) != len(queries) or any(isinstance(ids, str) for ids in excluded):
        raise InputError("exclude_ids holds a list of ids for every query (for search(): one list of ids).")
    return excluded


def _rerank_queries(queries: Sequence[str], asked: Sequence[str] | None) -> Sequence[str]:
    if asked is None:
        return queries
    if isinstance(asked, str) or len(asked) != len(queries):
        raise InputError("rerank_queries holds one question for every query.")
    return [check_text(question, f"rerank query {number}") for number, question in enumerate(asked)]
