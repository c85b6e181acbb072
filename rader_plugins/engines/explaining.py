"""Why a hit of an engine ranks where it does: its place in each list, and what each term adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from rader_plugins.documents import Hit
from rader_plugins.engines.collection import Ranking
from rader_plugins.engines.sparse import TermWeights
from rader_plugins.explanation import HitDetails, ListPlace, TermScore
from rader_plugins.fusion import z_scores
from rader_plugins.index.request import SearchRequest

__all__ = ["Places", "list_places", "with_details"]

Places = Mapping[str, Mapping[str, ListPlace]]
"""Id -> name of a list -> what it says."""


def list_places(lists: Mapping[str, tuple[Ranking, Mapping[str, float], float]], names: Sequence[str]) -> Places:
    """Return what both lists of a hybrid search say of every candidate.

    Args:
        lists: Name of a list -> its own candidates, best first; the scores of all candidates; the weight of the list.
        names: Ids of all candidates.
    """
    places: dict[str, dict[str, ListPlace]] = {name: {} for name in names}
    for kind, ((ids, _), scores, weight) in lists.items():
        ranks = {name: rank for rank, name in enumerate(ids, start=1)}
        normalised = z_scores(np.array([scores.get(name, 0.0) for name in names])).tolist()
        for name, z in zip(names, normalised, strict=True):
            places[name][kind] = ListPlace(scores.get(name, 0.0), ranks.get(name), z, weight)
    return places


def with_details(
    request: SearchRequest, answers: list[list[Hit]], places: Sequence[Places] | None, weights: TermWeights | None
) -> list[list[Hit]]:
    """Return hits with what a request asks to know beside.

    Args:
        request: The request; its ``details`` say what the hits shall carry.
        answers: The hits of every query.
        places: What lists say of the candidates of every query; None where there is but the one of the mode.
        weights: What finds and weighs terms; needed for ``terms``.
    """
    if not request.details:
        return answers
    analyzer = None if weights is None else weights.config.analyzer
    explained = []
    for number, (query, hits) in enumerate(zip(request.queries, answers, strict=True)):
        texts = [hit.document.text for hit in hits]
        terms: Sequence[tuple[tuple[TermScore, ...], tuple[str, ...]]] = [((), ())] * len(hits)
        if weights is not None and "terms" in request.details:
            terms = weights.shares(query, texts)
        answer = []
        for hit, (shares, missing) in zip(hits, terms, strict=True):
            lists: Mapping[str, ListPlace] = {}
            if "ranks" in request.details:
                alone: Mapping[str, ListPlace] = {request.mode: ListPlace(hit.score, hit.rank)}
                lists = alone if places is None else places[number][hit.document.id]
            answer.append(replace(hit, details=HitDetails(query, hit.rank, lists, shares, missing, analyzer)))
        explained.append(answer)
    return explained
