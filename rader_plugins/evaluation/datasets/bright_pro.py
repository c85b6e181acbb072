"""BRIGHT-Pro as its authors publish it: seven StackExchange splits of BRIGHT, judged aspect by aspect."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rader_plugins.documents import Document
from rader_plugins.errors import InputError
from rader_plugins.evaluation.datasets.contents import Contents
from rader_plugins.evaluation.datasets.hub import HubData
from rader_plugins.evaluation.datasets.rows import by_id, id_of, queries_of

__all__ = ["PRO_SPLITS", "check_pro_split", "load_bright_pro"]

PRO_SPLITS = (
    "biology",
    "earth_science",
    "economics",
    "psychology",
    "robotics",
    "stackoverflow",
    "sustainable_living",
)


def load_bright_pro(
    split: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    repo: str = "yale-nlp/Bright-Pro",
    revision: str | None = None,
) -> Contents:
    """Load one split; see :meth:`RetrievalDataset.bright_pro`."""
    check_pro_split(split)
    configs = ("documents", "examples", "aspects")
    folder = Path(data_dir) if data_dir is not None else None
    data = HubData(repo, revision, folder, wanted=tuple(f"{config}/{split}*" for config in configs))
    where = f"{repo} ({split})"
    corpus = by_id((_document(row, where) for row in data.rows("documents", split, ("id", "content"))), where)
    rows = list(data.rows("examples", split, ("id", "query", "gold_ids")))
    queries = queries_of(rows, f"{where}, examples", "query")
    qrels = {id_of(row, where): dict.fromkeys(_texts(row, "gold_ids", where), 1) for row in rows}
    weights = _aspect_weights(data.rows("aspects", split, ("id", "weight", "supporting_docs")), where)
    return Contents(
        corpus=corpus,
        queries=queries,
        qrels=qrels,
        name="bright-pro",
        split=split,
        aspects=_aspects_of(qrels, weights),
    )


def check_pro_split(split: str) -> None:
    """Raise :class:`InputError` where BRIGHT-Pro has no such split."""
    if split not in PRO_SPLITS:
        raise InputError(f"BRIGHT-Pro has no split {split!r}. It has: {', '.join(PRO_SPLITS)}.")


def _aspect_weights(rows: Iterable[Mapping[str, Any]], where: str) -> dict[str, dict[str, int]]:
    """Return document -> aspect -> weight (1 to 3, as experts rated it)."""
    weights: dict[str, dict[str, int]] = {}
    for row in rows:
        aspect, weight = id_of(row, f"{where}, aspects"), row.get("weight")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or weight < 1 or int(weight) != weight:
            raise InputError(
                f"{where}: the weight of the aspect {aspect!r} is {weight!r}; whole numbers from 1 are read."
            )
        for document in _texts(row, "supporting_docs", where):
            weights.setdefault(document, {})[aspect] = int(weight)
    return weights


def _aspects_of(
    qrels: Mapping[str, Mapping[str, int]], weights: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, dict[str, int]]]:
    """Return query -> document -> aspect -> weight, of the documents that are relevant to the query.

    A document that is relevant to several queries stands under an aspect of each; an aspect belongs to the query whose
    id its own id begins with, where it begins with one.
    """
    aspects: dict[str, dict[str, dict[str, int]]] = {}
    for query, documents in qrels.items():
        for document in documents:
            every = weights.get(document, {})
            own = {aspect: weight for aspect, weight in every.items() if aspect.startswith(f"{query}-")}
            if own or every:
                aspects.setdefault(query, {})[document] = own or dict(every)
    return aspects


def _document(row: Mapping[str, Any], where: str) -> Document:
    id, text = id_of(row, f"{where}, documents"), row.get("content")
    if not isinstance(text, str):
        raise InputError(f"{where}: document {id!r} has no 'content'.")
    return Document(id, text)


def _texts(row: Mapping[str, Any], column: str, where: str) -> list[str]:
    ids = row.get(column)
    if not isinstance(ids, list | tuple):
        raise InputError(f"{where}: row {id_of(row, where)!r} has no list {column!r}.")
    return [str(id) for id in ids if id is not None]
