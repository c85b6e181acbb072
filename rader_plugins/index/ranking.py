"""From one state of an index and a request to ranked rows, and from these to hits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rader_plugins.documents import Document, Hit
from rader_plugins.errors import InputError
from rader_plugins.explanation import HitDetails, ListPlace
from rader_plugins.fusion import fuse, z_scores
from rader_plugins.index.request import SearchRequest, Vector, as_vectors
from rader_plugins.index.snapshot import Snapshot, top_places

__all__ = ["RankedRows", "check_vectors", "hit_details", "rank", "to_hits"]

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class RankedRows:
    """The answer to one query, best first.

    Attributes:
        rows: Rows of the snapshot, shape (n,).
        scores: The score that decided the order, shape (n,).
        stages: Name of a stage -> its scores, each of shape (n,).
        lists: What each list says of every row; None unless ``ranks`` were asked for.
    """

    rows: Array
    scores: Array
    stages: Mapping[str, Array]
    lists: Sequence[Mapping[str, ListPlace]] | None = None


def check_vectors(request: SearchRequest, dimension: int | None) -> Vector | None:
    """Return the query vectors of a request as float32, shape (q, dimension); None where it needs none.

    Raises:
        InputError: It needs some and has none, or they have another shape or hold NaN or infinity.
    """
    if not request.needs_vectors:
        return None
    if request.vectors is None:
        raise InputError(f"mode={request.mode!r} needs the vectors of the queries.")
    return as_vectors(request.vectors, len(request.queries), dimension)


def rank(
    snapshot: Snapshot, request: SearchRequest, vectors: Vector | None, masks: Sequence[Mask | None]
) -> list[RankedRows]:
    """Rank the rows of a snapshot for every query of a request.

    Args:
        snapshot: The state of the index that is searched.
        request: What to search for, and how.
        vectors: What :func:`check_vectors` returned.
        masks: Which rows may be found, for every query an array of shape (rows,); None allows all living documents.
    """
    if vectors is None:
        return [
            _sorted(snapshot, *snapshot.bm25_best(query, request.k, mask), request.k, "bm25")
            for query, mask in zip(request.queries, masks, strict=True)
        ]
    if request.mode == "dense":
        return [
            _sorted(snapshot, rows, scores, request.k, "dense")
            for rows, scores in snapshot.dense_top(vectors, request.k, masks)
        ]
    depth = max(request.candidates, request.k)
    return [
        _hybrid(snapshot, query, vector, mask, near, depth, request)
        for query, vector, mask, near in zip(
            request.queries, vectors, masks, snapshot.dense_top(vectors, depth, masks), strict=True
        )
    ]


def _hybrid(
    snapshot: Snapshot,
    query: str,
    vector: Vector,
    mask: Mask | None,
    near: tuple[Array, Array],
    depth: int,
    request: SearchRequest,
) -> RankedRows:
    """Score the best of both lists by both and fuse; ``near`` are the rows and scores of the best by cosine."""
    dense_rows, dense_scores = near
    every_bm25 = snapshot.bm25_scores(query)
    lexical_rows, _ = snapshot.bm25_top(every_bm25, depth, mask)
    in_dense = np.zeros(snapshot.rows, dtype=np.bool_)
    in_dense[dense_rows] = True
    extra = lexical_rows[~in_dense[lexical_rows]]
    pool = np.concatenate([dense_rows, extra])
    dense = np.concatenate([dense_scores, snapshot.dense_scores(vector, extra)])
    bm25 = every_bm25[pool]
    fused = fuse(dense, bm25, request.alpha)
    ranked = _sorted(snapshot, pool, fused, request.k, "fused", {"dense": dense, "bm25": bm25})
    if "ranks" not in request.details:
        return ranked
    places = {}
    for name, scores, weight, candidates in (
        ("dense", dense, request.alpha, dense_rows),
        ("bm25", bm25, 1 - request.alpha, lexical_rows),
    ):
        score_of = dict(zip(pool.tolist(), scores, strict=True))
        z_of = dict(zip(pool.tolist(), z_scores(scores).tolist(), strict=True))
        best = sorted(candidates.tolist(), key=lambda row: (-score_of[row], snapshot.ids[row]))
        rank_of = {row: rank for rank, row in enumerate(best, start=1)}
        places[name] = [
            ListPlace(float(score_of[row]), rank_of.get(row), z_of[row], weight) for row in ranked.rows.tolist()
        ]
    lists = [dict(zip(places, row, strict=True)) for row in zip(*places.values(), strict=True)]
    return replace(ranked, lists=lists)


def _sorted(
    snapshot: Snapshot, rows: Array, scores: Array, k: int, stage: str, others: Mapping[str, Array] | None = None
) -> RankedRows:
    order = top_places(rows, scores, k, snapshot.ids)
    stages = {**(others or {}), stage: scores}
    return RankedRows(rows[order], scores[order], {name: values[order] for name, values in stages.items()})


def to_hits(
    ranked: RankedRows, documents: Mapping[int, Document], details: Sequence[HitDetails] | None = None
) -> list[Hit]:
    """Return hits; ``documents`` holds the document of every row, ``details`` what is known of each beside."""
    return [
        Hit(
            documents[row],
            score,
            index + 1,
            {stage: float(values[index]) for stage, values in ranked.stages.items()},
            None if details is None else details[index],
        )
        for index, (row, score) in enumerate(zip(ranked.rows.tolist(), ranked.scores.tolist(), strict=True))
    ]


def hit_details(snapshot: Snapshot, request: SearchRequest, query: str, ranked: RankedRows) -> list[HitDetails] | None:
    """Return what a request asks to know of the rows of one answer; None where it asks for nothing."""
    if not request.details:
        return None
    lists: Sequence[Mapping[str, ListPlace]] = [{}] * len(ranked.rows)
    if "ranks" in request.details:
        lists = ranked.lists or [
            {request.mode: ListPlace(score, rank)} for rank, score in enumerate(ranked.scores.tolist(), start=1)
        ]
    details = []
    parts = snapshot.term_scores(query, ranked.rows) if "terms" in request.details else [((), ())] * len(ranked.rows)
    for rank, (places, (terms, missing)) in enumerate(zip(lists, parts, strict=True), start=1):
        details.append(HitDetails(query, rank, places, terms, missing, snapshot.lexical.config.analyzer))
    return details
