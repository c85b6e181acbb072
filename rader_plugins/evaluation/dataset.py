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

from rader_plugins.documents import Document, check_text
from rader_plugins.errors import InputError
from rader_plugins.evaluation.rows import by_id, document_of, read_queries
from rader_plugins.evaluation.runs import Excluded, Qrels, read_excluded, read_qrels
from rader_plugins.files import fingerprint, read_jsonl

__all__ = ["RetrievalDataset"]


@dataclass(frozen=True)
class RetrievalDataset:
    """A corpus, queries, and which documents are relevant to which query.

    Args:
        corpus: Document id -> document.
        queries: Query id -> text that is searched for. Queries that nobody judged may be among them: they are not
            evaluated, see :attr:`without_judgements`.
        qrels: Query id -> document id -> relevance. Negative relevance counts as 0; grades above 1 count in nDCG.
        excluded: Query id -> documents deleted from its ranking before scoring (BRIGHT needs this).
        name: What to call it.
        split: Which of its splits.
        originals: Query id -> the question as it was asked, where :attr:`queries` holds something else, such as
            written-out reasoning. A reranker reads these.

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
    originals: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for attribute in ("corpus", "queries", "qrels", "excluded", "originals"):
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
        for query, text in self.originals.items():
            check_text(text, f"original of query {query!r}")
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
        corpus = (document_of(row, folder / "corpus.jsonl") for row in read_jsonl(folder / "corpus.jsonl"))
        excluded = folder / "excluded.jsonl"
        return cls(
            corpus=by_id(corpus, folder / "corpus.jsonl"),
            queries=read_queries(folder / "queries.jsonl"),
            qrels=read_qrels(judgements),
            excluded=read_excluded(excluded) if excluded.is_file() else {},
            name=folder.resolve().name,
            split=split,
        )

    @classmethod
    def bright(
        cls,
        split: str,
        *,
        reasoning: str | None = None,
        long: bool = False,
        data_dir: str | os.PathLike[str] | None = None,
        repo: str = "xlangai/BRIGHT",
        revision: str | None = None,
    ) -> RetrievalDataset:
        """Load one split of BRIGHT (Su et al., 2024) from the Hugging Face hub or a copy of it.

        Args:
            split: ``biology``, ``earth_science``, ``economics``, ``psychology``, ``robotics``, ``stackoverflow``,
                ``sustainable_living``, ``leetcode``, ``pony``, ``aops``, ``theoremqa_questions`` or
                ``theoremqa_theorems``.
            reasoning: Search for the reasoning that a language model wrote instead of the questions: ``gpt4``,
                ``claude-3-opus``, ``Gemini-1.0``, ``llama3-70b`` or ``grit``. The questions are kept as
                :attr:`originals`.
            long: Whole web pages (``long_documents``) instead of passages; for the first seven splits and ``pony``.
            data_dir: A copy of the repository, or of the files of this split; nothing is fetched then.
            repo: The repository, or a mirror of it.
            revision: Commit, tag or branch.

        Raises:
            InputError: No such split or reasoning, or the copy lacks a file.
            RaderError: The hub cannot be reached and the data is not in its cache; the message says what to do.
            MissingExtraError: ``datasets`` is not installed.

        Example:
            >>> dataset = RetrievalDataset.bright("theoremqa_theorems", reasoning="gpt4")  # doctest: +SKIP
            >>> len(dataset.corpus), len(dataset.judged)  # doctest: +SKIP
            (23839, 76)
        """
        from rader_plugins.evaluation.bright import load_bright

        return load_bright(split, reasoning=reasoning, long=long, data_dir=data_dir, repo=repo, revision=revision)

    @classmethod
    def from_hub(
        cls,
        repo: str,
        split: str = "test",
        *,
        corpus: str = "corpus",
        queries: str = "queries",
        qrels: str | None = None,
        revision: str | None = None,
        data_dir: str | os.PathLike[str] | None = None,
    ) -> RetrievalDataset:
        """Load a data set in BEIR's format from the Hugging Face hub or a copy of it.

        Both layouts there are read: judgements in a configuration of the repository itself (``mteb/scifact``), or in a
        repository of their own, called ``<repo>-qrels`` (``BeIR/scifact``).

        Args:
            repo: ``organisation/name``.
            split: Which judgements.
            corpus: Configuration of the documents.
            queries: Configuration of the queries.
            qrels: Configuration of the judgements, or a repository ``organisation/name``; None finds them.
            revision: Commit, tag or branch of ``repo``.
            data_dir: A copy of the repository; nothing is fetched then. Judgements lie in it or in
                ``<data_dir>-qrels``.

        Raises:
            InputError: A part is missing or of another form, or the copy lacks a file.
            RaderError: The hub cannot be reached and the data is not in its cache; the message says what to do.
            MissingExtraError: ``datasets`` is not installed.

        Example:
            >>> dataset = RetrievalDataset.from_hub("mteb/scifact")  # doctest: +SKIP
            >>> len(dataset.corpus), len(dataset.judged)  # doctest: +SKIP
            (5183, 300)
        """
        from rader_plugins.evaluation.beir import load_beir

        return load_beir(repo, split, corpus=corpus, queries=queries, qrels=qrels, revision=revision, data_dir=data_dir)

    @property
    def judged(self) -> tuple[str, ...]:
        """The queries that are evaluated: those with judgements, in the order of :attr:`queries`."""
        return tuple(query for query in self.queries if self.qrels.get(query))

    @property
    def without_judgements(self) -> tuple[str, ...]:
        """Queries that nobody judged in this split. They are not evaluated; reports count them."""
        return tuple(query for query in self.queries if not self.qrels.get(query))

    def question(self, query: str) -> str:
        """Return a query as it was asked: what a reranker reads."""
        return self.originals.get(query, self.queries[query])

    @cached_property
    def digest(self) -> str:
        """Fingerprint of everything that can change a figure: texts, judgements, exclusions."""
        texts = hashlib.sha256()
        for id in sorted(self.corpus):
            texts.update(json.dumps([id, self.corpus[id].text]).encode())
        parts = {
            "corpus": texts.hexdigest(),
            "queries": {query: self.queries[query] for query in self.judged},
            "qrels": {query: dict(self.qrels[query]) for query in self.judged},
            "excluded": {query: sorted(self.excluded.get(query, ())) for query in self.judged},
        }
        if self.originals:
            parts["originals"] = {query: self.question(query) for query in self.judged}
        return fingerprint(parts)

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

        The questions as they were stay in :attr:`originals`, for a reranker.

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
        return replace(
            self,
            queries={query: texts.get(query, text) for query, text in self.queries.items()},
            originals={query: self.question(query) for query in self.queries},
        )


def _refuse_unknown(where: str, noun: str, unknown: list[str], home: str) -> None:
    if unknown:
        shown = ", ".join(repr(id) for id in unknown[:3]) + (", ..." if len(unknown) > 3 else "")
        if home == "texts":
            raise InputError(f"{where}: {len(unknown)} judged queries have no text: {shown}. Add them.")
        raise InputError(
            f"{where}: the judgements (qrels) name {len(unknown)} {noun} ids that are not in the {home}: {shown}. "
            f"Remove those judgements, or add what is missing to the {home}."
        )
