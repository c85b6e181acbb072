"""BRIGHT as its authors publish it: documents, questions, and questions that a language model reasoned about."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rader_plugins.documents import Document
from rader_plugins.errors import InputError
from rader_plugins.evaluation.datasets.contents import Contents
from rader_plugins.evaluation.datasets.hub import HubData
from rader_plugins.evaluation.datasets.rows import by_id, id_of, queries_of
from rader_plugins.recipes import BRIGHT_INSTRUCTIONS
from rader_plugins.recipes.instructions import BRIGHT_POSTS

__all__ = ["BRIGHT_REASONING", "LONG_SPLITS", "check_split", "load_bright"]

BRIGHT_REASONING = ("gpt4", "claude-3-opus", "Gemini-1.0", "llama3-70b", "grit")
"""Who wrote reasoning for the questions; the configuration of each is called ``<name>_reason``."""

LONG_SPLITS = (*BRIGHT_POSTS, "pony")
"""Splits that have long documents."""

_NONE = "N/A"


def load_bright(
    split: str,
    *,
    reasoning: str | None = None,
    long: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
    repo: str = "xlangai/BRIGHT",
    revision: str | None = None,
) -> Contents:
    """Load one split; see :meth:`RetrievalDataset.bright`."""
    writer = check_split(split, reasoning, long=long)
    documents, posed = ("long_documents" if long else "documents"), "examples"
    searched = f"{writer}_reason" if writer else posed
    data = HubData(
        repo,
        revision,
        Path(data_dir) if data_dir is not None else None,
        wanted=tuple(f"{config}/{split}-*" for config in dict.fromkeys((documents, posed, searched))),
    )
    where = f"{repo} ({split})"
    corpus = by_id(
        (_document(row, where) for row in data.rows(documents, split, ("id", "content"))), f"{where}, {documents}"
    )
    gold = "gold_ids_long" if long else "gold_ids"
    # As BRIGHT's own evaluation, which takes judgements and exclusions from the rows that it searches for.
    rows = list(data.rows(searched, split, ("id", "query", "excluded_ids", gold)))
    queries = queries_of(rows, f"{where}, {searched}", "query")
    originals: dict[str, str] = {}
    if searched != posed:
        questions = queries_of(data.rows(posed, split, ("id", "query")), f"{where}, {posed}", "query")
        if unknown := [query for query in queries if query not in questions]:
            raise InputError(
                f"{where}: {len(unknown)} queries of {searched} are not among {posed} (such as {unknown[0]!r}). "
                "The two are of different versions: load both anew."
            )
        originals = {query: questions[query] for query in queries}
    excluded = {id_of(row, where): frozenset(_ids(row, "excluded_ids", where)) for row in rows}
    qrels = {id_of(row, where): dict.fromkeys(_ids(row, gold, where), 1) for row in rows}
    return Contents(
        corpus=corpus,
        queries=queries,
        qrels=qrels,
        excluded={query: ids for query, ids in excluded.items() if ids},
        name=f"bright{'-long' if long else ''}{f'@{writer}' if writer else ''}",
        split=split,
        originals=originals,
    )


def check_split(split: str, reasoning: str | None, *, long: bool) -> str | None:
    """Return who wrote the reasoning that is named, None where none is.

    Raises:
        InputError: BRIGHT has no such split, reasoning or long documents.
    """
    if split not in BRIGHT_INSTRUCTIONS:
        raise InputError(f"BRIGHT has no split {split!r}. It has: {', '.join(BRIGHT_INSTRUCTIONS)}.")
    if long and split not in LONG_SPLITS:
        raise InputError(f"BRIGHT has no long documents for {split!r}. It has them for: {', '.join(LONG_SPLITS)}.")
    if not reasoning:
        return None
    writers = {name.lower(): name for name in BRIGHT_REASONING}
    writer = writers.get(reasoning.removesuffix("_reason").lower())
    if writer is None:
        raise InputError(
            f"BRIGHT has no reasoning by {reasoning!r}. It has reasoning by: {', '.join(BRIGHT_REASONING)}. For other "
            "texts use with_queries(), or --queries-file on the command line."
        )
    return writer


def _document(row: Mapping[str, Any], where: str) -> Document:
    id, text = id_of(row, where), row.get("content")
    if not isinstance(text, str):
        raise InputError(f"{where}: document {id!r} has no 'content'.")
    return Document(id, text)


def _ids(row: Mapping[str, Any], column: str, where: str) -> list[str]:
    ids = row.get(column)
    if not isinstance(ids, Sequence) or isinstance(ids, str):
        raise InputError(f"{where}: query {id_of(row, where)!r} has no list {column!r}.")
    return [str(id) for id in ids if id is not None and id != _NONE]
