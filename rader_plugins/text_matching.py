"""Whether two texts say the same: normal forms, word n-grams, shared words."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence

from rader_plugins.analysis import analyze

__all__ = ["digest", "ngrams", "normal", "shared_words", "word_overlap", "words"]

_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Return the words of a text, without case and punctuation.

    Example:
        >>> words("What is 2+2, really?")
        ['what', 'is', '2', '2', 'really']
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
    first_terms, second_terms = set(analyze(first)), set(analyze(second))
    smaller = min(len(first_terms), len(second_terms))
    return len(first_terms & second_terms) / smaller if smaller else 0.0
