"""Which documents a text cites: by id, by title, or by quoting them.

The rules are strict, because what counts as cited becomes a positive of training:

- An **id** is cited where it stands in brackets (``[ramsey]``, ``(thm-12)``), or anywhere as a word of its own if it
  has a letter and, beside it, a digit or one of ``- _ : / . #``. A number alone never is.
- A **title** is cited if it has two words or more and the text has them in this order (case aside), or if it stands in
  brackets, quotes or backticks by itself: the word "triangle" alone is no mention of a document called Triangle.
- A text **quotes** a document if both have the same :data:`NGRAM` words in a row, which the question does not have too.
  Of a shorter document, of four words or more, it has to have all.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

__all__ = ["NGRAM", "Citations", "cites", "quotes", "words"]

NGRAM = 8
_SHORTEST_QUOTE = 4
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_NAME = re.compile(r"\w[\w\-:/.#]*")
_BRACKETED = re.compile(r"""[\[("“`]\s*([^\[\]()"“”`\n]{2,100}?)\s*[\])"”`]""")
_LONGEST_TITLE = 20


def words(text: str) -> list[str]:
    """Return the words of a text in lower case.

    Example:
        >>> words("Euler's formula: V - E + F = 2")
        ["euler's", 'formula', 'v', 'e', 'f', '2']
    """
    return [word.lower().replace("’", "'") for word in _WORD.findall(text)]


def cites(text: str, id: str, title: str = "") -> bool:
    """Whether a text names a document by its id or title; the rules are those of this module.

    Example:
        >>> cites("By the pigeonhole principle two of them agree.", "php", "Pigeonhole Principle")
        True
    """
    return bool(Citations([(id, title)]).find(text))


def quotes(text: str, document: str, but_not: str = "") -> bool:
    """Whether a text quotes a document; what ``but_not`` (the question) has too does not count.

    Example:
        >>> quotes("Since three people know each other, we are done.", "three people know each other")
        True
    """
    theirs = words(document)
    if len(theirs) < _SHORTEST_QUOTE:
        return False
    length = min(NGRAM, len(theirs))
    found = set(_ngrams(words(text), length)).intersection(_ngrams(theirs, length))
    return bool(found and found.difference(_ngrams(words(but_not), length)))


def _ngrams(tokens: list[str], length: int) -> Iterator[tuple[str, ...]]:
    return zip(*(tokens[at:] for at in range(length)), strict=False)


class Citations:
    """Finds which of many documents a text names; the time depends on the text, not on the number of documents.

    Args:
        documents: Id and title (or "") of each. A title of several documents names none of them.
    """

    def __init__(self, documents: Iterable[tuple[str, str]]) -> None:
        self._ids: set[str] = set()
        titles: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for id, title in documents:
            self._ids.add(id)
            named = words(title)
            if 1 <= len(named) <= _LONGEST_TITLE:
                titles[tuple(named)].append(id)
        self._titles = {title: ids[0] for title, ids in titles.items() if len(ids) == 1}
        self._lengths: dict[str, list[int]] = defaultdict(list)
        for known in self._titles:
            if len(known) > 1 and len(known) not in self._lengths[known[0]]:
                self._lengths[known[0]].append(len(known))

    def find(self, text: str) -> list[str]:
        """Return the ids of the documents that a text names, in no order of importance, each once."""
        found: dict[str, None] = {}
        for match in _BRACKETED.finditer(text):
            if match[1] in self._ids and not match[1].isdigit():
                found[match[1]] = None
            elif self._titles and (named := self._titles.get(tuple(words(match[1])))) is not None:
                found[named] = None
        for match in _NAME.finditer(text):
            name = match[0].rstrip(".:/#-")
            if name in self._ids and _tells(name):
                found[name] = None
        tokens = words(text) if self._titles else []
        for at, token in enumerate(tokens):
            for length in self._lengths.get(token, ()):
                if (id := self._titles.get(tuple(tokens[at : at + length]))) is not None:
                    found[id] = None
        return list(found)


def _tells(id: str) -> bool:
    """Whether an id can be told from an ordinary word or number."""
    letters, digits = any(map(str.isalpha, id)), any(map(str.isdigit, id))
    return (letters and digits) or (letters and any(mark in id for mark in "-_:/.#"))
