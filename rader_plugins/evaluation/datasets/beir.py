"""Data sets of the Hugging Face hub in BEIR's format."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError
from rader_plugins.evaluation.datasets.contents import Contents
from rader_plugins.evaluation.datasets.folders import choose_split
from rader_plugins.evaluation.datasets.hub import SAME_SPLIT, HubData
from rader_plugins.evaluation.datasets.rows import by_id, document_of, queries_of
from rader_plugins.evaluation.trec_files import read_qrels

__all__ = ["load_beir"]

# What mteb calls the configuration of the judgements, in its order of preference.
_QRELS_CONFIGS = ("default", "qrels")


def load_beir(
    repo: str,
    split: str | None,
    corpus: str,
    queries: str,
    qrels: str | None,
    *,
    revision: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> Contents:
    """Load a data set; see :meth:`RetrievalDataset.from_hub`."""
    if repo.count("/") != 1 or not all(repo.split("/")):
        raise InputError(f"A repository of the hub is called organisation/name, not {repo!r}.")
    folder = Path(data_dir) if data_dir is not None else None
    data = HubData(repo, revision, folder)
    home, config = _judgements_in_copy(data, folder, qrels) if folder is not None else _judgements_on_hub(data, qrels)
    split_name = _choose_split(home.splits(config), split, f"{repo}, {config}")
    where = f"{repo}, {corpus}"
    return Contents(
        corpus=by_id((document_of(row, where) for row in data.rows(corpus, split_name)), where),
        queries=queries_of(data.rows(queries, split_name), f"{repo}, {queries}"),
        qrels=_judgements(home, config, split_name),
        name=repo,
        split=split_name,
    )


def _choose_split(splits: Sequence[str], wanted: str | None, where: str) -> str:
    if wanted is not None and wanted not in splits and SAME_SPLIT.get(wanted) in splits:
        return wanted
    return choose_split(splits, wanted, where)


def _judgements_on_hub(data: HubData, qrels: str | None) -> tuple[HubData, str]:
    """Return repository and configuration of the judgements."""
    if qrels is not None and "/" in qrels:
        return HubData(qrels), "default"
    if qrels is not None:
        return data, qrels
    names = data.configs()
    config = next((name for name in _QRELS_CONFIGS if name in names), None)
    return (HubData(f"{data.repo}-qrels"), "default") if config is None else (data, config)


def _judgements_in_copy(data: HubData, folder: Path, qrels: str | None) -> tuple[HubData, str]:
    """Return folder and configuration of the judgements in a copy: in it, or in ``<folder>-qrels`` beside it."""
    beside = folder.with_name(f"{folder.name}-qrels")
    names = (qrels,) if qrels is not None and "/" not in qrels else ("qrels", "default", "data")
    for home in (folder, beside):
        # A repository of judgements alone may have its files at the top.
        for name in (*names, ".") if home == beside else names:
            if home.is_dir() and HubData(data.repo, folder=home).has_files(name):
                return HubData(data.repo, folder=home), name
    if (folder / "README.md").is_file():
        return data, qrels or "default"
    raise InputError(
        f"{folder} has no judgements: neither qrels/SPLIT.* there nor SPLIT.* in {beside}. {data.how_to_copy()}"
    )


def _judgements(home: HubData, config: str, split: str) -> dict[str, dict[str, int]]:
    files = home.files(config, split)
    if files and files[0].name.endswith(".tsv"):
        return read_qrels(files[0])
    return _grades(home.rows(config, split), f"{home.folder or home.repo}, {config}")


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
