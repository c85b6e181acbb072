"""`Corpus`: the documents that trajectories refer to, found by id, by text, or by a part of their text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Literal
from zlib import crc32

from rader_plugins.documents import Document
from rader_plugins.recording.results import split_title
from rader_plugins.text_matching import words
from rader_plugins.trajectories import Considered, Step
from rader_synthesis.importing.report import ImportReport

__all__ = ["Corpus", "Fragments", "settle_steps", "title_and_text"]

Fragments = Literal["join", "keep"]
"""What becomes of a result that is a part of a document of the corpus: that document, or itself."""

_WINDOW = 6
_ONE_IN = 8
_FEWEST_WORDS = 4
_MOST_HOLDERS = 50


class Corpus:
    """The documents that trajectories refer to: by id, by text, by a part of their text, and by their order.

    Args:
        documents: All of them; they are kept in memory.
        fragments: ``join`` makes a result that is a part of a document that document, ``keep`` leaves it.
    """

    def __init__(self, documents: Iterable[Document], *, fragments: Fragments = "join") -> None:
        self.documents = list(documents)
        self.fragments = fragments
        self._by_id = {document.id: document for document in self.documents}
        self._by_text = {_digest(document.text): document for document in reversed(self.documents)}
        self._anchors: dict[int, list[int]] | None = None
        self._without_anchor: list[int] = []

    def __len__(self) -> int:
        return len(self.documents)

    def get(self, id: str) -> Document | None:
        """Return the document of an id, or None."""
        return self._by_id.get(id)

    def find_text(self, text: str) -> Document | None:
        """Return the document with exactly this text (white space aside), or None."""
        return self._by_text.get(_digest(text))

    def find_fragment(self, text: str) -> Document | None:
        """Return the only document that a text of four words or more is a part of (white space aside), or None."""
        fragment = " ".join(text.split())
        tokens = words(fragment)
        if len(tokens) < _FEWEST_WORDS:
            return None
        holders = [number for number in self._candidates(tokens) if fragment in self._text(number)]
        return self.documents[holders[0]] if len(holders) == 1 else None

    def within(self, text: str) -> list[Document]:
        """Return the documents whose whole text stands in a text, such as a prompt, in the order of the text."""
        prompt = " ".join(text.split())
        starts: dict[int, int] = {}
        for number in {*self._candidates(words(prompt)), *self._without_anchor}:
            document = self.documents[number]
            body = " ".join(title_and_text(document)[1].split())
            if len(words(body)) >= _FEWEST_WORDS and (start := prompt.find(body)) >= 0:
                starts[number] = start
        return [self.documents[number] for number in sorted(starts, key=starts.__getitem__)]

    def settle(self, retrieved: Considered, report: ImportReport) -> Considered:
        """Return a retrieved document under its id and with its text in the corpus, where it can be found there."""
        document = self.get(retrieved.id) or (self.find_text(retrieved.text) if retrieved.text else None)
        if document is None and retrieved.title and retrieved.text:
            document = self.find_text(f"{retrieved.title} {retrieved.text}")
        if document is None and self.fragments == "join" and retrieved.text:
            document = self.find_fragment(retrieved.text)
            if document is not None:
                report.notes["part of a document of the corpus, taken for that document"] += 1
        if document is None:
            report.notes["retrieved document that is not in the corpus"] += 1
            return retrieved
        title, text = title_and_text(document)
        return replace(retrieved, id=document.id, text=text, title=title)

    def _text(self, number: int) -> str:
        return " ".join(self.documents[number].text.split())

    def _candidates(self, tokens: list[str]) -> list[int]:
        """Return the documents that share a sampled window of words with a text; those of a short text are all."""
        if self._anchors is None:
            self._anchors = {}
            for number, document in enumerate(self.documents):
                anchors = set(_sampled(words(document.text)))
                if not anchors:
                    self._without_anchor.append(number)
                for anchor in anchors:
                    self._anchors.setdefault(anchor, []).append(number)
        sampled = set(_sampled(tokens))
        if not sampled:
            return list(range(len(self.documents)))
        holders = (self._anchors.get(anchor, []) for anchor in sampled)
        # What many documents have in common (a notice at their end) tells none of them.
        return sorted({number for numbers in holders if len(numbers) <= _MOST_HOLDERS for number in numbers})


def _sampled(tokens: list[str]) -> Iterator[int]:
    """Yield a number for every window of words that begins with one word in eight, chosen by the word itself."""
    for start in range(len(tokens) - _WINDOW + 1):
        if crc32(tokens[start].encode("utf-8")) % _ONE_IN == 0:
            yield hash(tuple(tokens[start : start + _WINDOW]))


def title_and_text(document: Document) -> tuple[str, str]:
    """Return the title that a document's text begins with, as in a BEIR corpus, and the rest; no title otherwise."""
    return split_title(document.text, document.metadata.get("title"))


def settle_steps(steps: Iterable[Step], corpus: Corpus | None, report: ImportReport) -> tuple[Step, ...]:
    """Return the steps with their documents as the corpus has them, none twice in one retrieval."""
    in_corpus = []
    for step in steps:
        if step.considered:
            documents = step.considered
            if corpus is not None:
                documents = tuple(corpus.settle(document, report) for document in documents)
            if step.document_id is not None:
                renamed = {old.id: new.id for old, new in zip(step.considered, documents, strict=True)}
                step = replace(step, document_id=renamed.get(step.document_id, step.document_id))
            step = replace(step, considered=_without_repeats(documents))
            if without := sum(not document.text for document in step.considered):
                report.notes["retrieved document without a text, of which no sample can come (see --corpus)"] += without
        in_corpus.append(step)
    return tuple(in_corpus)


def _without_repeats(documents: Iterable[Considered]) -> tuple[Considered, ...]:
    """Return every document once, at its first rank; a label that a later part of it has counts for all of it."""
    distinct: dict[str, Considered] = {}
    for document in documents:
        first = distinct.setdefault(document.id, document)
        if document.relevant and not first.relevant:
            labelled = replace(document, score=first.score, text=first.text, title=first.title)
            first = distinct[document.id] = labelled
        if document.opened and not first.opened:
            distinct[document.id] = replace(first, opened=True, weight=document.weight)
    return tuple(distinct.values())


def _digest(text: str) -> bytes:
    return hashlib.blake2b(" ".join(text.split()).encode("utf-8", "replace"), digest_size=16).digest()
