"""`QueryQuality`: whether the queries that a language model wrote look like queries at all.

A model that is too small, or whose prompt does not reach it, answers in the right form all the same: one query for
every document, the document's own sentence, words in a circle, another script. Each such query passes the checks of its
kind; together they tell.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass, field

from rader_plugins.text_matching import digest, normal, words

__all__ = ["QueryQuality"]

_ENOUGH = 3
_SUSPICIOUS = 0.25
_COPIED_WORDS = 6
"""Words in a row that a query takes over from its document as they are."""
_REMEMBERED = 10_000


@dataclass
class QueryQuality:
    """What is counted of the queries of one kind.

    Attributes:
        queries: How many there are.
        signs: How many show what looks wrong, by its name.
    """

    queries: int = 0
    signs: Counter[str] = field(default_factory=Counter)
    _documents: dict[bytes, bytes] = field(default_factory=dict)

    def add(self, query: str, document: str, question: str = "") -> None:
        """Look at a query.

        Args:
            query: What the model wrote.
            document: Title and text of the document that it is for.
            question: What the search was for; empty where the model did not see it.
        """
        self.queries += 1
        content, of = digest(query), digest(document)
        if len(self._documents) < _REMEMBERED:  # enough to tell, and memory does not grow
            first = self._documents.setdefault(content, of)
        else:
            first = self._documents.get(content, of)
        tokens = words(query)
        self.signs["the same for several documents"] += first != of
        self.signs["copied from the document"] += _is_copied(tokens, document)
        self.signs["words in a circle"] += len(tokens) >= _COPIED_WORDS and len(set(tokens)) <= len(tokens) / 2
        self.signs["in another script than question and document"] += _is_foreign(query, f"{question} {document}")

    def warnings(self) -> list[str]:
        """Return what looks wrong in so many queries that it is no accident."""
        if self.queries < _ENOUGH:
            return []
        return [
            f"{number:,} of {self.queries:,} are {sign}"
            for sign, number in sorted(self.signs.items())
            if number >= _ENOUGH - 1 and number >= _SUSPICIOUS * self.queries
        ]


def _is_copied(tokens: list[str], document: str) -> bool:
    """Whether most of a query stands in the document, word for word."""
    size = max(_COPIED_WORDS, (3 * len(tokens) + 3) // 4)
    text = f" {normal(document)} "
    runs = (" ".join(tokens[start : start + size]) for start in range(len(tokens) - size + 1))
    return any(f" {run} " in text for run in runs)


def _is_foreign(query: str, texts: str) -> bool:
    script = _script(query)
    return bool(script) and script not in _scripts(texts)


def _script(text: str) -> str:
    """Return the script of most letters of a text; empty without letters."""
    scripts = _scripts(text)
    return max(scripts, key=lambda name: scripts[name]) if scripts else ""


def _scripts(text: str) -> Counter[str]:
    """Count letters by script: the first word of their Unicode name (``LATIN``, ``CJK``, ``CYRILLIC``, ...)."""
    return Counter(unicodedata.name(letter, "").partition(" ")[0] for letter in text[:4000] if letter.isalpha())
