"""Evaluation sets, and what texts that are trained on have in common with their queries."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rader_plugins.errors import InputError
from rader_plugins.evaluation.datasets.bundled import BUNDLED, bundled_folder, bundled_name
from rader_plugins.evaluation.datasets.names import is_remote, open_dataset
from rader_plugins.evaluation.trec_files import read_qrels
from rader_plugins.files import fingerprint, read_jsonl
from rader_plugins.text_matching import digest, ngrams, words

if TYPE_CHECKING:
    from rader_plugins.evaluation.datasets.dataset import RetrievalDataset

__all__ = ["BUNDLED", "EvaluationSet", "Overlap", "load_evaluation_set"]

_IDS = ("_id", "id", "query_id")
_TEXTS = ("text", "question", "query", "problem")


@dataclass(frozen=True)
class Overlap:
    """A query that an evaluation set has too.

    Args:
        dataset: Name of the evaluation set.
        query: Id of its query.
        how: ``exact`` (the same words), or ``ngram`` (as many words in a row as were asked for).
    """

    dataset: str
    query: str
    how: str


class EvaluationSet:
    """The queries of an evaluation set, and the texts of its corpus if it has one.

    Args:
        name: What to call it.
        queries: Texts of the queries, by id.
        documents: Texts of its corpus.
        ngram: Words in a row that count as an overlap. Queries of fewer words are compared as wholes.

    Example:
        >>> test = EvaluationSet("test", {"q": "How many guests must I invite?"}, ngram=5)
        >>> test.overlap("Tell me: how many guests must I feed?")
        Overlap(dataset='test', query='q', how='ngram')
    """

    def __init__(
        self, name: str, queries: Mapping[str, str], documents: Iterator[str] | None = None, *, ngram: int = 13
    ) -> None:
        self.name = name
        self.queries = len(queries)
        self.ngram = ngram
        self.fingerprint = fingerprint([name, dict(queries)])
        self._exact: dict[bytes, str] = {}
        self._grams: dict[bytes, str] = {}
        for id, text in queries.items():
            self._exact.setdefault(digest(text), id)
            for gram in ngrams(words(text), ngram):
                self._grams.setdefault(gram, id)
        self._documents = {digest(text) for text in documents or ()}

    @classmethod
    def of(cls, dataset: RetrievalDataset, *, ngram: int = 13) -> EvaluationSet:
        """Return the judged queries of a data set, as they are searched for and as they were asked."""
        queries = {id: dataset.queries[id] for id in dataset.judged}
        queries |= {f"{id} (as asked)": dataset.originals[id] for id in dataset.judged if id in dataset.originals}
        documents = (document.text for document in dataset.corpus.values())
        return cls(f"{dataset.name}:{dataset.split}", queries, documents, ngram=ngram)

    def same(self, text: str) -> Overlap | None:
        """Return which query has the same words as a text; None if none has."""
        query = self._exact.get(digest(text))
        return None if query is None else Overlap(self.name, query, "exact")

    def overlap(self, text: str) -> Overlap | None:
        """Return how a text overlaps with a query of the set; None if it does not."""
        if (same := self.same(text)) is not None:
            return same
        for gram in ngrams(words(text), self.ngram):
            if (query := self._grams.get(gram)) is not None:
                return Overlap(self.name, query, "ngram")
        return None

    @property
    def documents(self) -> int:
        """How many distinct texts its corpus has."""
        return len(self._documents)

    def knows(self, text: str) -> bool:
        """Whether a document of its corpus has these words."""
        return bool(self._documents) and self.holds(digest(text))

    def holds(self, content: bytes) -> bool:
        """Whether a document with this digest of its text stands in the set's corpus."""
        return content in self._documents


def load_evaluation_set(source: str | os.PathLike[str], *, ngram: int = 13) -> EvaluationSet:
    """Load the queries that must not be trained on.

    Args:
        source: ``bundled`` or ``bundled:NAME``; a JSONL file of ``_id`` (or ``id``) and ``text`` (or ``question``,
            ``query``); a BEIR folder, whose queries count that are judged in any split other than ``train``
            (``folder:dev`` names one); or a name of ``rader evaluate``: ``bright:SPLIT``, ``bright-long:SPLIT``,
            ``hub:ORGANISATION/NAME``.
        ngram: Length of the word n-grams that are compared; see :class:`EvaluationSet`.

    Raises:
        InputError: It is none of these, or holds no queries.
    """
    path, split = Path(source), None
    if is_remote(str(source)) and not path.exists():
        return EvaluationSet.of(open_dataset(str(source)), ngram=ngram)
    if (bundled := bundled_name(str(source))) is not None:
        path = bundled_folder(bundled)
    elif not path.exists() and ":" in str(source):
        folder, _, split = str(source).rpartition(":")
        path = Path(folder)
    if path.is_file():
        queries, documents, name = _queries(path), None, path.stem
    elif (path / "queries.jsonl").is_file():
        judged_ids = _judged(path, split)
        queries = {
            id: text for id, text in _queries(path / "queries.jsonl").items() if judged_ids is None or id in judged_ids
        }
        documents = _documents(path / "corpus.jsonl")
        name = path.resolve().name if split is None else f"{path.resolve().name}:{split}"
    else:
        raise InputError(
            f"{source} is no evaluation set: name 'bundled', a JSONL file of queries, a BEIR folder, which has a "
            "queries.jsonl, or bright:SPLIT or hub:ORGANISATION/NAME."
        )
    if not queries:
        raise InputError(f"{source} holds no queries of an evaluation set.")
    return EvaluationSet(name, queries, documents, ngram=ngram)


def _queries(path: Path) -> dict[str, str]:
    queries: dict[str, str] = {}
    for number, row in enumerate(read_jsonl(path), start=1):
        text = _first(row, _TEXTS)
        if not isinstance(text, str):
            raise InputError(f"{path}, row {number} has none of {', '.join(map(repr, _TEXTS))} as a text.")
        name = _first(row, _IDS)
        queries[str(number) if name is None else str(name)] = text
    return queries


def _first(row: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((row[key] for key in keys if row.get(key) is not None), None)


def _judged(folder: Path, split: str | None) -> set[str] | None:
    """Return the queries that are judged for evaluation; None where there are no judgements, so that all count."""
    judgements = {file.stem: file for file in sorted((folder / "qrels").glob("*.tsv"))}
    if split is not None:
        if split not in judgements:
            names = ", ".join(judgements) or "none"
            raise InputError(f"{folder} has no split {split!r}; it has {names}.")
        judgements = {split: judgements[split]}
    elif not judgements:
        return None
    else:
        judgements.pop("train", None)
    return {query for file in judgements.values() for query in read_qrels(file)}


def _documents(path: Path) -> Iterator[str]:
    if path.is_file():
        for row in read_jsonl(path):
            yield f"{row.get('title') or ''} {row.get('text') or ''}"
