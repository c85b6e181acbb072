"""Data sets in folders: BEIR's layout, and the samples that `rader samples` writes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from rader_plugins.documents import Document
from rader_plugins.errors import InputError, RaderWarning
from rader_plugins.evaluation.datasets.contents import Contents
from rader_plugins.evaluation.datasets.rows import by_id, document_of, read_queries
from rader_plugins.evaluation.trec_files import read_aspects, read_excluded, read_qrels
from rader_plugins.files import read_jsonl
from rader_plugins.sample_files import read_samples, sample_splits

__all__ = ["choose_split", "read_folder"]


def choose_split(splits: Sequence[str], wanted: str | None, where: str) -> str:
    """Return the split that is evaluated: the one that was named, else ``test``, else the only one.

    Raises:
        InputError: There is no such split, or one of several has to be named.
    """
    if wanted is not None:
        if wanted not in splits:
            raise InputError(f"{where} has no split {wanted!r}; it has {', '.join(splits) or 'none'}.")
        return wanted
    if "test" in splits:
        return "test"
    if len(splits) == 1:
        return splits[0]
    if not splits:
        raise InputError(f"{where} has no judgements: no split of it could be scored.")
    raise InputError(f"{where} has no split 'test'. Name one of {', '.join(splits)} (split=, or --split).")


def read_folder(folder: Path, split: str | None) -> Contents:
    """Read a BEIR folder, or a folder of samples.

    Raises:
        InputError: It is neither, or a file is missing or unusable; the message says which and why.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}. A data set is a BEIR folder with corpus.jsonl.")
    corpus, queries = folder / "corpus.jsonl", folder / "queries.jsonl"
    if not corpus.is_file() and not queries.is_file() and (splits := sample_splits(folder)):
        return _read_samples(folder, splits, split)
    for file in (corpus, queries):
        if not file.is_file():
            raise InputError(
                f"{folder} has no {file.name}; a BEIR folder has corpus.jsonl, queries.jsonl and qrels/, a folder of "
                "samples data/*.parquet."
            )
    split_name = choose_split(sorted(file.stem for file in (folder / "qrels").glob("*.tsv")), split, str(folder))
    judgements, excluded = folder / "qrels" / f"{split_name}.tsv", folder / "excluded.jsonl"
    return Contents(
        corpus=by_id((document_of(row, corpus) for row in read_jsonl(corpus)), corpus),
        queries=read_queries(queries),
        qrels=read_qrels(judgements),
        aspects=read_aspects(judgements),
        excluded=read_excluded(excluded) if excluded.is_file() else {},
        name=folder.resolve().name,
        split=split_name,
    )


def _read_samples(folder: Path, splits: Sequence[str], split: str | None) -> Contents:
    """Make a data set of samples: the queries of one split, their positives, and every document of any split.

    The corpus holds what samples hold, which is less than the corpus that they were made from: figures are higher than
    on that, and good for comparing systems.
    """
    split_name = choose_split(splits, split, str(folder))
    corpus: dict[str, Document] = {}
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    changed: set[str] = set()
    for name in splits:
        for sample in read_samples(folder, name):
            for passage in (*sample.positives, *sample.negatives):
                document = Document(passage.id, passage.full_text, {"title": passage.title} if passage.title else {})
                earlier = corpus.get(passage.id)
                if earlier is not None and earlier.text != document.text:
                    changed.add(passage.id)
                if earlier is None or len(earlier.text) < len(document.text):
                    corpus[passage.id] = document
            if name == split_name:
                queries[sample.query_id] = sample.query
                qrels[sample.query_id] = {passage.id: 1 for passage in sample.positives}
    if changed:
        warnings.warn(
            f"{folder}: {len(changed)} documents have several texts in these samples (such as {min(changed)!r}); the "
            "longest of each is searched.",
            RaderWarning,
            stacklevel=2,
        )
    return Contents(corpus=corpus, queries=queries, qrels=qrels, name=folder.resolve().name, split=split_name)
