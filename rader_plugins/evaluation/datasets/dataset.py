"""`RetrievalDataset`: documents, questions and judgements."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from rader_plugins.documents import Document, check_text
from rader_plugins.errors import InputError, RaderWarning
from rader_plugins.evaluation.datasets.beir import load_beir
from rader_plugins.evaluation.datasets.bright import load_bright
from rader_plugins.evaluation.datasets.bright_pro import load_bright_pro
from rader_plugins.evaluation.datasets.bundled import bundled_folder
from rader_plugins.evaluation.datasets.folders import read_folder
from rader_plugins.evaluation.rankings import Aspects, Excluded, Qrels
from rader_plugins.files import fingerprint

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
        aspects: Query id -> document id -> aspect -> relevance, where the query was judged aspect by aspect: what
            measures such as ``alpha_nDCG@10`` take.
        lost: (query, document) of judgements that were left out, since one of the two is not there. Published sets
            have such and knowledge bases lose articles; no system can find the document, so the query is compared
            without it. A warning says how many.

    Raises:
        InputError: No judgements, or none whose query and document exist.

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
    aspects: Aspects = field(default_factory=dict)
    lost: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for attribute in ("corpus", "queries", "qrels", "excluded", "originals", "aspects"):
            object.__setattr__(self, attribute, MappingProxyType(dict(getattr(self, attribute))))
        self._check()
        self._leave_out_lost_judgements()
        self._name_excluded_relevant()

    @property
    def title(self) -> str:
        """Name and split, as messages and tables call it."""
        return f"{self.name}, split {self.split}"

    def _check(self) -> None:
        if not any(self.qrels.values()):
            raise InputError(f"The judgements (qrels) of {self.title} are empty: nothing could be scored.")
        for id, document in self.corpus.items():
            if document.id != id:
                raise InputError(f"{self.title}: the corpus holds the document {document.id!r} under the id {id!r}.")
        for query, text in self.queries.items():
            check_text(text, f"query {query!r}")
        for query, text in self.originals.items():
            check_text(text, f"original of query {query!r}")
        for query, grades in self.qrels.items():
            for name, grade in grades.items():
                if isinstance(grade, bool) or not isinstance(grade, int):
                    raise InputError(
                        f"{self.title}: the relevance of {name!r} for query {query!r} is {grade!r}, no whole number."
                    )

    def _leave_out_lost_judgements(self) -> None:
        pairs = [(query, document) for query, grades in self.qrels.items() for document in grades]
        lost = [(query, name) for query, name in pairs if query not in self.queries or name not in self.corpus]
        if not lost:
            return
        query, name = lost[0]
        what = f"the query {query!r}, which is" if query not in self.queries else f"the document {name!r}, which is"
        if len(lost) == len(pairs):
            raise InputError(
                f"{self.title}: none of the {len(pairs)} judgements (qrels) is of a query and a document that are "
                f"there; the first is of {what} not. Do judgements, queries and corpus belong together?"
            )
        warnings.warn(
            f"{self.title}: {len(lost)} of {len(pairs)} judgements are of queries or documents that are not there and "
            f"are left out; the first is of {what} not.",
            RaderWarning,
            stacklevel=4,
        )
        gone = set(lost)
        for attribute in ("qrels", "aspects"):
            judgements = {
                query: {name: grade for name, grade in grades.items() if (query, name) not in gone}
                for query, grades in getattr(self, attribute).items()
            }
            object.__setattr__(self, attribute, MappingProxyType(judgements))
        object.__setattr__(self, "lost", (*self.lost, *lost))

    @property
    def excluded_relevant(self) -> list[tuple[str, str]]:
        """(query, document) that are judged relevant and excluded: nothing can find these."""
        return [
            (query, name)
            for query in self.judged
            for name in sorted(self.excluded.get(query, ()))
            if self.qrels[query].get(name, 0) > 0
        ]

    def _name_excluded_relevant(self) -> None:
        if pairs := self.excluded_relevant:
            query, name = pairs[0]
            warnings.warn(
                f"{self.title}: {len(pairs)} documents are judged relevant and excluded for the same query, so that "
                f"nothing can find them; the first is {name!r} for query {query!r}.",
                RaderWarning,
                stacklevel=4,
            )

    @classmethod
    def from_folder(cls, path: str | os.PathLike[str], split: str | None = None) -> RetrievalDataset:
        """Read a BEIR folder, or a folder of training samples.

        A BEIR folder holds ``corpus.jsonl`` (``_id``, ``title``, ``text``), ``queries.jsonl`` (``_id``, ``text``),
        ``qrels/<split>.tsv`` and perhaps ``excluded.jsonl`` (``_id``, ``excluded_ids``). A document's text is title and
        text, as in BEIR. Of samples (`rader samples`) the queries of one split are searched for, among the documents
        of all splits.

        Args:
            path: The folder to read.
            split: Name of the judgements; by default ``test``, or the only split that there is.

        Raises:
            InputError: A file is missing or unusable; the message says which and why.
        """
        return cls(**read_folder(Path(path), split).arguments())

    @classmethod
    def bundled(cls, name: str, split: str | None = None) -> RetrievalDataset:
        """Load a data set that comes with the library.

        Args:
            name: ``principles`` or ``skirl``; see :data:`rader_plugins.evaluation.datasets.bundled.BUNDLED_SETS`.
            split: Name of the judgements; by default ``test``.

        Raises:
            InputError: There is no such data set or split.

        Example:
            >>> dataset = RetrievalDataset.bundled("skirl")
            >>> len(dataset.corpus), len(dataset.judged)
            (200, 150)
        """
        return cls.from_folder(bundled_folder(name), split)

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
        contents = load_bright(split, reasoning=reasoning, long=long, data_dir=data_dir, repo=repo, revision=revision)
        return cls(**contents.arguments())

    @classmethod
    def bright_pro(
        cls,
        split: str,
        *,
        data_dir: str | os.PathLike[str] | None = None,
        repo: str = "yale-nlp/Bright-Pro",
        revision: str | None = None,
    ) -> RetrievalDataset:
        """Load one split of BRIGHT-Pro (Zhao et al., 2026), whose relevant documents each serve an aspect of the query.

        Its protocol scores ``weighted_alpha_nDCG@25`` and ``weighted_StRecall@25``; relevance itself is 0 or 1.

        Args:
            split: ``biology``, ``earth_science``, ``economics``, ``psychology``, ``robotics``, ``stackoverflow`` or
                ``sustainable_living``.
            data_dir: A copy of the repository: Parquet files as on the hub, or ``documents/<split>.json``,
                ``examples/<split>.json`` and ``aspects/<split>.json``.
            repo, revision: Repository and revision on the hub, as for :meth:`bright`, which also says what is raised.
        """
        return cls(**load_bright_pro(split, data_dir=data_dir, repo=repo, revision=revision).arguments())

    @classmethod
    def from_hub(
        cls,
        repo: str,
        split: str | None = None,
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
            repo: Repository on the hub, as ``organisation/name``.
            split: Which judgements; by default ``test``, or the only split that there is.
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
        return cls(**load_beir(repo, split, corpus, queries, qrels, revision=revision, data_dir=data_dir).arguments())

    @property
    def judged(self) -> tuple[str, ...]:
        """The queries that are evaluated: those with judgements, in the order of :attr:`queries`."""
        return tuple(query for query in self.queries if self.qrels.get(query))

    @property
    def without_judgements(self) -> tuple[str, ...]:
        """Queries that nobody judged in this split. They are not evaluated; reports count them."""
        return tuple(query for query in self.queries if not self.qrels.get(query))

    @property
    def answerable(self) -> tuple[str, ...]:
        """The judged queries that have a text, and a relevant document with a text that is not excluded."""
        return tuple(
            query
            for query in self.judged
            if self.queries[query].strip()
            and any(
                grade > 0 and name not in self.excluded.get(query, ()) and self.corpus[name].text.strip()
                for name, grade in self.qrels[query].items()
            )
        )

    def check_answerable(self) -> None:
        """Raise :class:`InputError` where every figure would be 0, whatever is evaluated."""
        if not self.answerable:
            raise InputError(
                f"{self.title} can show nothing: none of its {len(self.judged)} judged queries has a text, and a "
                "relevant document with a text that is not excluded. Name another data set or split."
            )

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
        if self.aspects:
            parts["aspects"] = {query: self.aspects.get(query, {}) for query in self.judged}
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
        if missing := [query for query in self.judged if query not in texts]:
            examples = ", ".join(map(repr, missing[:3]))
            raise InputError(f"{self.title}: {len(missing)} judged queries have no text: {examples}. Add them.")
        return replace(
            self,
            queries={query: texts.get(query, text) for query, text in self.queries.items()},
            originals={query: self.question(query) for query in self.queries},
        )
