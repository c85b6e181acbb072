"""Whether two texts say the same: normal forms, word n-grams, shared words."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence

__all__ = ["UNSPACED", "digest", "ngrams", "normal", "shared_words", "word_overlap", "words"]

UNSPACED = (
    "\u0e01-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\uff66-\uff9d\U00020000-\U0003ffff"
)
"""Characters of scripts that put no blanks between words: Thai, Lao, Tibetan, Burmese, Khmer, kana and Han."""
_PUNCTUATION = "\u0e4f\u0e5a\u0e5b\u0f0b-\u0f14\u104a-\u104f\u17d4-\u17da\u30a0\u30fb"
_MARKS = "\u0300-\u036f\u0591-\u05bd\u05bf-\u05c7\u064b-\u065f\u0670\u06d6-\u06ed\u0900-\u0963\u0971-\u0dff\u200c\u200d"
# Vowel signs and the like, of Hebrew, Arabic, Devanagari, Tamil, ..., belong to a word but are no letters to \w.
_WORD = re.compile(rf"(?![{_PUNCTUATION}])[{UNSPACED}]|(?:(?![{UNSPACED}])[\w{_MARKS}])+")


def words(text: str) -> list[str]:
    """Return the words of a text, without case and punctuation; of a script without blanks, its characters.

    Example:
        >>> words("What is 2+2, really?")
        ['what', 'is', '2', '2', 'really']
        >>> words("退款要30天")
        ['退', '款', '要', '30', '天']
    """
    return _WORD.findall(text.casefold())


def normal(text: str) -> str:
    """Return what two texts that say the same have in common: their words, or where there are none the text itself."""
    return " ".join(words(text)) or " ".join(text.split())


def digest(text: str) -> bytes:
    """Return 16 bytes that stand for :func:`normal` of a text.

    Example:
        >>> digest("What is  this?") == digest("what is this")
        True
    """
    return hashlib.blake2b(normal(text).encode("utf-8"), digest_size=16).digest()


def ngrams(tokens: Sequence[str], length: int) -> Iterator[bytes]:
    """Yield 8 bytes for every ``length`` words in a row."""
    for start in range(len(tokens) - length + 1):
        yield hashlib.blake2b(" ".join(tokens[start : start + length]).encode("utf-8"), digest_size=8).digest()


def shared_words(query: str, document: str) -> float:
    """Return which share of a query's distinct words a document holds, stop words aside and stems compared.

    0 for a query that consists of stop words.

    Example:
        >>> shared_words("How many guests share a hobby?", "Of six guests three share one.")
        0.4
    """
    from rader_plugins.analysis import analyze  # brings numpy, which `rader --help` can do without

    query_terms = set(analyze(query))
    return len(query_terms & set(analyze(document))) / len(query_terms) if query_terms else 0.0


def word_overlap(first: str, second: str) -> float:
    """Return which share of the distinct words of the text with fewer of them the other text holds, too.

    The overlap coefficient (Szymkiewicz-Simpson); stop words aside and stems compared. Unlike a share of the longer
    text's words it does not fall because that text goes on. 0 where a text consists of stop words.

    Example:
        >>> word_overlap("How many guests share a hobby, we ask as we do not know?", "Guests share tables.")
        0.6666666666666666
    """
    from rader_plugins.analysis import analyze

    first_terms, second_terms = set(analyze(first)), set(analyze(second))
    smaller = min(len(first_terms), len(second_terms))
    return len(first_terms & second_terms) / smaller if smaller else 0.0
