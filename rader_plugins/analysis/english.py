"""English text analysis for BM25, after Lucene's EnglishAnalyzer.

Words as in Unicode text segmentation (UAX #29, as far as a regular expression goes), possessive ``'s`` removed,
lower case, Lucene's 33 stop words removed, Porter stems. The stemmer is Snowball's.
"""

from __future__ import annotations

import re
import threading

import Stemmer

__all__ = ["ANALYZER", "STOP_WORDS", "analyze"]

ANALYZER = "lucene-english/1"
"""Name of this analysis; stored in every index, so that terms of two analyses never meet."""

_LUCENE_STOP_WORDS = """
a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to
was will with
"""
STOP_WORDS = frozenset(_LUCENE_STOP_WORDS.split())

# One ideograph or kana is a word of its own; elsewhere a word runs on over an apostrophe, full stop or colon between
# letters, and over a decimal or thousands separator between digits.
_SINGLE = r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
_WORD = rf"(?:(?!{_SINGLE})\w)+"
_TOKEN = re.compile(
    rf"{_SINGLE}|{_WORD}(?:(?:(?<=[^\W\d_])['\u2019.:\u00b7](?=[^\W\d_])|(?<=\d)[.,;'\u2019](?=\d)){_WORD})*"
)
_MAX_TERM = 255  # Lucene's own limit; a longer run of letters is not a word, and it would bloat the vocabulary.

_local = threading.local()  # a Snowball stemmer keeps a cache that is not safe to share


def _stemmer() -> Stemmer.Stemmer:
    if not hasattr(_local, "stemmer"):
        _local.stemmer = Stemmer.Stemmer("porter")
    stemmer: Stemmer.Stemmer = _local.stemmer
    return stemmer


def analyze(text: str) -> list[str]:
    """Return the terms of a text in order.

    Example:
        >>> analyze("The pigeons' holes aren't Euler's")
        ['pigeon', 'hole', "aren't", 'euler']
    """
    words = []
    for word in _TOKEN.findall(text):
        word = word.lower()
        if word.endswith(("'s", "\u2019s")):
            word = word[:-2]
        if word and word not in STOP_WORDS:
            words.append(word[:_MAX_TERM])
    return list(_stemmer().stemWords(words))
