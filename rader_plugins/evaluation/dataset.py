"""`RetrievalDataset`: documents, questions and judgements."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rader_plugins.documents import Document, check_text
from rader_plugins.errors import InputError
from rader_plugins.evaluation.runs import Excluded, Qrels, read_excluded, read_qrels
from rader_plugins.files import fingerprint, read_jsonl

__all__ = ["RetrievalDataset", "read_queries"]

_QUERY_KEYS = ("_id", "query_id", "id")


@dataclass(frozen=True)
class RetrievalDataset:
    """A corpus, queries, and which documents are relevant to which query.

    Args:
        corpus: Document id -> document.
        queries: Query id -> text. Queries that nobody judged may be among them: they are not evaluated, see
            :attr:`without_judgements`.
        qrels: Query id -> document id -> relevance. Negative relevance counts as 0; grades above 1 count in nDCG.
        excluded: Query id -> documents deleted from its ranking before scoring (BRIGHT needs this).
        name: What to call it.
        split: Which of its splits.

    Raises:
        InputError: No judgements, or judgements of queries or documents that do not exist.

    Example:
        >>> corpus = {"ramsey": Document("ramsey", "Among any six people ...")}
        >>> dataset = RetrievalDataset(corpus, {"q1": "How many guests?"}, {"q1": {"ramsey": 1}})
        >>> dataset.judged
        ('q1',)
    """

    corpus: Mapping[str, Document]
    queries: Mapping[str, str]
    qrels: Qrels
    excluded: Excluded = field(default_factory=dict)
    name: str = "dataset"
    split: str = "test"

    def __post_init__(self) -> None:
        for attribute in ("corpus", "queries", "qrels", "excluded"):
            object.__setattr__(self, attribute, MappingProxyType(dict(getattr(self, attribute))))
        self._check()

    def _check(self) -> None:
        where = f"{self.name} (split {self.split})"
        if not any(self.qrels.values()):
            raise InputError(f"The judgements (qrels) of {where} are empty: nothing could be scored.")
        for id, document in self.corpus.items():
            if document.id != id:
                raise InputError(f"{where}: the corpus holds the document {document.id!r} under the id {id!r}.")
        for query, text in self.queries.items():
            check_text(text, f"query {query!r}")
        _refuse_unknown(where, "query", [query for query in self.qrels if query not in self.queries], "queries")
        judged = dict.fromkeys(document for grades in self.qrels.values() for document in grades)
        _refuse_unknown(where, "document", [document for document in judged if document not in self.corpus], "corpus")
        for query, grades in self.qrels.items():
            for name, grade in grades.items():
                if isinstance(grade, bool) or not isinstance(grade, int):
                    raise InputError(
                        f"{where}: the relevance of {name!r} for query {query!r} is {grade!r}, not a whole number."
                    )

    @classmethod
    def from_folder(cls, path: str | os.PathLike[str], split: str = "test") -> RetrievalDataset:
        """Read a BEIR folder.

        It holds ``corpus.jsonl`` (``_id``, ``title``, ``text``), ``queries.jsonl`` (``_id``, ``text``),
        ``qrels/<split>.tsv`` and perhaps ``excluded.jsonl`` (``_id``, ``excluded_ids``). A document's text is title and
        text, as in BEIR.

        Args:
            path: The folder.
            split: Name of the judgements.

        Raises:
            InputError: A file is missing or unusable; the message says which and why.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise InputError(f"There is no folder {folder}. A data set is a BEIR folder with corpus.jsonl.")
        for name in ("corpus.jsonl", "queries.jsonl"):
            if not (folder / name).is_file():
                raise InputError(f"{folder} has no {name}; a BEIR folder has corpus.jsonl, queries.jsonl and qrels/.")
        judgements = folder / "qrels" / f"{split}.tsv"
        if not judgements.is_file():
            known = sorted(file.stem for file in (folder / "qrels").glob("*.tsv"))
            raise InputError(f"{folder} has no split {split!r}; it has {', '.join(known) if known else 'none'}.")
        corpus: dict[str, Document] = {}
        for row in read_jsonl(folder / "corpus.jsonl"):
            document = _document(row, folder / "corpus.jsonl")
            if document.id in corpus:
                raise InputError(f"{folder / 'corpus.jsonl'}: the id {document.id!r} stands twice.")
            corpus[document.id] = document
        excluded = folder / "excluded.jsonl"
        return cls(
            corpus=corpus,
            queries=read_queries(folder / "queries.jsonl"),
            qrels=read_qrels(judgements),
            excluded=read_excluded(excluded) if excluded.is_file() else {},
            name=folder.resolve().name,
            split=split,
        )

    @property
    def judged(self) -> tuple[str, ...]:
        """The queries that are evaluated: those with judgements, in the order of :attr:`queries`."""
        return tuple(query for query in self.queries if self.qrels.get(query))

    @property
    def without_judgements(self) -> tuple[str, ...]:
        """Queries that nobody judged in this split. They are not evaluated; reports count them."""
        return tuple(query for query in self.queries if not self.qrels.get(query))

    @cached_property
    def digest(self) -> str:
        """Fingerprint of everything that can change a figure: texts, judgements, exclusions."""
        texts = hashlib.sha256()
        for id in sorted(self.corpus):
            texts.update(json.dumps([id, self.corpus[id].text]).encode())
        return fingerprint(
            {
                "corpus": texts.hexdigest(),
                "queries": {query: self.queries[query] for query in self.judged},
                "qrels": {query: dict(self.qrels[query]) for query in self.judged},
                "excluded": {query: sorted(self.excluded.get(query, ())) for query in self.judged},
            }
        )

    @cached_property
    def judgements_digest(self) -> str:
        """Fingerprint of judgements and exclusions alone: runs with the same one can be compared query by query."""
        return fingerprint(
            {
                "qrels": {query: dict(self.qrels[query]) for query in self.judged},
                "excluded": {query: sorted(self.excluded.get(query, ())) for query in self.judged},
            }
        )

    def with_queries(self, texts: Mapping[str, str]) -> RetrievalDataset:
        """Return the data set with other texts for its queries: precomputed reasoning, say.

        Args:
            texts: Query id -> text, at least for every judged query.

        Raises:
            InputError: A judged query has no text.
        """
        _refuse_unknown(
            f"{self.name} (split {self.split})",
            "query",
            [query for query in self.judged if query not in texts],
            "texts",
        )
        return replace(self, queries={query: texts.get(query, text) for query, text in self.queries.items()})


def read_queries(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read a JSONL file of queries: ``_id`` (or ``query_id``, ``id``) and ``text``.

    Raises:
        InputError: A row is of another form, or an id stands twice.
    """
    queries: dict[str, str] = {}
    if not Path(path).is_file():
        raise InputError(f"There is no file {path}.")
    for row in read_jsonl(path):
        id, text = _id(row, path), row.get("text")
        if not isinstance(text, str):
            raise InputError(f"{path}: query {id!r} has no 'text', or it is not a string.")
        if id in queries:
            raise InputError(f"{path}: the id {id!r} stands twice.")
        queries[id] = text
    return queries


def _document(row: Mapping[str, Any], path: Path) -> Document:
    id, title, text = _id(row, path), row.get("title"), row.get("text")
    if not isinstance(text, str) or not (title is None or isinstance(title, str)):
        raise InputError(f"{path}: document {id!r} needs a string 'text' (and 'title', if it has one).")
    extra = row.get("metadata") or {}
    if not isinstance(extra, dict):
        raise InputError(f"{path}: the metadata of document {id!r} is not a JSON object.")
    own = {key: value for key, value in row.items() if key not in ("_id", "text", "metadata")}
    if not title:
        own.pop("title", None)
    return Document(id, f"{title or ''} {text}".strip(), {**extra, **own})


def _id(row: Mapping[str, Any], path: str | os.PathLike[str]) -> str:
    id = next((row[key] for key in _QUERY_KEYS if key in row), None)
    if isinstance(id, bool) or not isinstance(id, str | int) or id == "":
        raise InputError(f"{path}: a row needs an '_id', a string that is not empty; found {id!r}.")
    return str(id)


def _refuse_unknown(where: str, noun: str, unknown: list[str], home: str) -> None:
    if unknown:
        shown = ", ".join(repr(id) for id in unknown[:3]) + (", ..." if len(unknown) > 3 else "")
        if home == "texts":
            raise InputError(f"{where}: {len(unknown)} judged queries have no text: {shown}. Add them.")
        raise InputError(
            f"{where}: the judgements (qrels) name {len(unknown)} {noun} ids that are not in the {home}: {shown}. "
            f"Remove those judgements, or add what is missing to the {home}."
        )
