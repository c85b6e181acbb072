"""Data sets of the Hugging Face hub in BEIR's format."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rader_plugins.documents import Document
from rader_plugins.errors import InputError
from rader_plugins.evaluation.dataset import RetrievalDataset
from rader_plugins.evaluation.hub import HubData
from rader_plugins.evaluation.rows import by_id, document_of, queries_of
from rader_plugins.evaluation.runs import Qrels, read_qrels

__all__ = ["known_documents", "load_beir"]

_LOG = logging.getLogger(__name__)

# What mteb calls the configuration of the judgements, in its order of preference.
_QRELS_CONFIGS = ("default", "qrels")


def load_beir(
    repo: str,
    split: str = "test",
    *,
    corpus: str = "corpus",
    queries: str = "queries",
    qrels: str | None = None,
    revision: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> RetrievalDataset:
    """Load a data set; see :meth:`RetrievalDataset.from_hub`."""
    if repo.count("/") != 1 or not all(repo.split("/")):
        raise InputError(f"A repository of the hub is called organisation/name, not {repo!r}.")
    folder = Path(data_dir) if data_dir is not None else None
    data = HubData(repo, revision, folder)
    where = f"{repo}, {corpus}"
    documents = by_id((document_of(row, where) for row in data.rows(corpus, split)), where)
    grades = _local_qrels(data, split, qrels) if folder is not None else _hub_qrels(data, split, qrels)
    return RetrievalDataset(
        corpus=documents,
        queries=queries_of(data.rows(queries, split), f"{repo}, {queries}"),
        qrels=known_documents(grades, documents, repo),
        name=repo,
        split=split,
    )


def known_documents(qrels: Qrels, corpus: Mapping[str, Document], where: str) -> dict[str, dict[str, int]]:
    """Drop judgements of documents that a corpus lacks, with a warning: nobody can mend a published data set.

    A few public ones have such (ArguAna). No system can find the document, so the query is compared without it.
    """
    missing = [(query, name) for query, grades in qrels.items() for name in grades if name not in corpus]
    if missing:
        _LOG.warning(
            "%s: %d judgements are of documents that its corpus does not have (such as %r for query %r) and are "
            "left out.",
            where,
            len(missing),
            missing[0][1],
            missing[0][0],
        )
    return {query: {name: grade for name, grade in grades.items() if name in corpus} for query, grades in qrels.items()}


def _hub_qrels(data: HubData, split: str, qrels: str | None) -> dict[str, dict[str, int]]:
    if qrels is not None and "/" in qrels:
        return _grades(HubData(qrels).rows("default", split), qrels)
    config = qrels
    if config is None:
        names = data.configs()
        config = next((name for name in _QRELS_CONFIGS if name in names), None)
    if config is None:
        other = f"{data.repo}-qrels"
        return _grades(HubData(other).rows("default", split), other)
    return _grades(data.rows(config, split), f"{data.repo}, {config}")


def _local_qrels(data: HubData, split: str, qrels: str | None) -> dict[str, dict[str, int]]:
    folder = data.folder or Path()
    beside = folder.with_name(f"{folder.name}-qrels")
    names = (qrels,) if qrels is not None and "/" not in qrels else ("qrels", "default", "data", ".")
    for home in (folder, beside):
        for name in names:
            if found := HubData(data.repo, folder=home).files(name, split) if home.is_dir() else []:
                if found[0].name.endswith(".tsv"):
                    return read_qrels(found[0])
                return _grades(HubData(data.repo, folder=home).rows(name, split), str(found[0]))
    if (folder / "README.md").is_file():
        return _grades(data.rows(qrels or "default", split), str(folder))
    raise InputError(
        f"{folder} has no judgements of split {split!r}: neither qrels/{split}.* there nor {split}.* in {beside}. "
        f"{data.how_to_copy()}"
    )


def _grades(rows: Iterable[Mapping[str, Any]], where: str) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    for query, document, grade in _triples(rows, where):
        if qrels.setdefault(query, {}).setdefault(document, grade) != grade:
            raise InputError(f"{where}: document {document!r} has two relevances for query {query!r}.")
    return qrels


def _triples(rows: Iterable[Mapping[str, Any]], where: str) -> Iterator[tuple[str, str, int]]:
    for row in rows:
        query, document, score = (row.get(name) for name in ("query-id", "corpus-id", "score"))
        if query is None or document is None or isinstance(score, bool) or not isinstance(score, int | float):
            raise InputError(f"{where}: a judgement has 'query-id', 'corpus-id' and a number 'score'; found {row!r}.")
        if not float(score).is_integer():
            raise InputError(f"{where}: the relevance {score!r} of {document!r} for {query!r} is not a whole number.")
        yield str(query), str(document), int(score)
