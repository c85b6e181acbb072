"""Which documents a text cites: by id, by title, or by quoting them.

The rules are strict, because what counts as cited becomes a positive of training:

- An **id** is cited where it stands in brackets of any script (``[ramsey]``, ``(thm-12)``, ``【kb-101】``), or anywhere
  as a word of its own if it has a letter and, beside it, a digit or one of ``- _ : / . #``. A number alone never is.
- A **title** is cited if it has two words or more and the text has them in this order (case aside), or if it stands in
  brackets, quotes (``「」``, ``«»``, ``„“``) or backticks by itself: the word "triangle" alone is no mention of a
  document called Triangle.
- A text **quotes** a document if both have the same :data:`NGRAM` words in a row, which the question does not have too.
  Of a shorter document, of four words or more, it has to have all.

Scripts without blanks (Chinese, Japanese, Thai, ...) have one and a half characters, in titles two, where these rules
have a word.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from rader_plugins.text_matching import UNSPACED

__all__ = ["NGRAM", "Citations", "cites", "quotes", "words"]

NGRAM = 8
_SHORTEST_QUOTE = 4
_WORD = re.compile(
    rf"[{UNSPACED}]|(?:(?![{UNSPACED}])[^\W_](?:['’](?=[^\W_])|[\u0300-\u036f\u064b-\u0670\u0900-\u0963\u0971-\u0dff])*)+"
)
_NAME = re.compile(rf"(?:(?![{UNSPACED}])\w)(?:(?![{UNSPACED}])[\w\-:/.#])*")
_IS_UNSPACED = re.compile(f"[{UNSPACED}]")
_OPENING, _CLOSING = r"\[(\"“”„«»‹›`'‘’「『【《〈〔（［｢＂", r"\])\"”“«»‹›`'’‘」』】》〉〕）］｣＂"
_BRACKETED = re.compile(rf"(?=[{_OPENING}]\s*([^{_OPENING}{_CLOSING}\n]{{2,100}}?)\s*[{_CLOSING}])")
_PARTS = re.compile(r"\s*[,;，、；|]\s*")
_LONGEST_TITLE = 40
_SHORTEST_TITLE = 2


def words(text: str) -> list[str]:
    """Return the words of a text in lower case.

    Example:
        >>> words("Euler's formula: V - E + F = 2")
        ["euler's", 'formula', 'v', 'e', 'f', '2']
    """
    return [word.lower().replace("’", "'") for word in _WORD.findall(text)]


def _length(tokens: Sequence[str], of_words: int, characters_of_word: float = 1.5) -> int:
    """Return how many tokens are as much as so many words, where most of them may be characters."""
    characters = sum(_IS_UNSPACED.match(token) is not None for token in tokens)
    return round(characters_of_word * of_words) if 2 * characters > len(tokens) else of_words


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
    if len(theirs) < _length(theirs, _SHORTEST_QUOTE):
        return False
    length = min(_length(theirs, NGRAM), len(theirs))
    shared = set(_ngrams(words(text), length)).intersection(_ngrams(theirs, length))
    return bool(shared and shared.difference(_ngrams(words(but_not), length)))


def _ngrams(tokens: list[str], length: int) -> Iterator[tuple[str, ...]]:
    return zip(*(tokens[start:] for start in range(length)), strict=False)


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
            tokens = words(title)
            if 1 <= len(tokens) <= _LONGEST_TITLE:
                titles[tuple(tokens)].append(id)
        self._titles = {title: ids[0] for title, ids in titles.items() if len(ids) == 1}
        self._lengths: dict[str, list[int]] = defaultdict(list)
        for name in self._titles:
            if len(name) >= _length(name, _SHORTEST_TITLE, 2) and len(name) not in self._lengths[name[0]]:
                self._lengths[name[0]].append(len(name))

    def find(self, text: str) -> list[str]:
        """Return the ids of the documents that a text names, in no order of importance, each once."""
        cited: dict[str, None] = {}
        for match in _BRACKETED.finditer(text):
            for name in (match[1], *_PARTS.split(match[1])):
                if name in self._ids and not name.isdigit():
                    cited[name] = None
                elif self._titles and (id := self._titles.get(tuple(words(name)))) is not None:
                    cited[id] = None
        for match in _NAME.finditer(text):
            name = match[0].rstrip(".:/#-")
            if name in self._ids and _tells(name):
                cited[name] = None
        tokens = words(text) if self._titles else []
        for start, token in enumerate(tokens):
            for length in self._lengths.get(token, ()):
                if (id := self._titles.get(tuple(tokens[start : start + length]))) is not None:
                    cited[id] = None
        return list(cited)


def _tells(id: str) -> bool:
    """Whether an id can be told from an ordinary word or number."""
    letters, digits = any(map(str.isalpha, id)), any(map(str.isdigit, id))
    return (letters and digits) or (letters and any(mark in id for mark in "-_:/.#"))
