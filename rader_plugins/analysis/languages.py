"""Stems and stop words of the languages that PyStemmer (Snowball) knows."""

from __future__ import annotations

import threading
from functools import lru_cache
from importlib.resources import files

import Stemmer

from rader_plugins.arguments import shown
from rader_plugins.errors import InputError

__all__ = ["ENGLISH_STOP_WORDS", "LANGUAGES", "NO_LANGUAGE", "elided", "stem_words", "stop_words"]

NO_LANGUAGE = "none"
LANGUAGES: tuple[str, ...] = (*sorted(set(Stemmer.algorithms()) - {"porter", "dutch_porter"}), NO_LANGUAGE)
"""What a text may be analysed as. ``english`` is Lucene's; ``none`` neither stems nor drops words."""

_LUCENE_STOP_WORDS = """
a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to
was will with
"""
ENGLISH_STOP_WORDS = frozenset(_LUCENE_STOP_WORDS.split())

# Articles and particles that are written together with the next word.
_ELISIONS = {
    "french": "l m t qu n s j d c jusqu quoiqu lorsqu puisqu",
    "italian": "c l all dall dell nell sull coll pell gl agl dagl degl negl sugl un m t s v d",
    "catalan": "d l m n s t",
    "irish": "d m b",
}
_local = threading.local()  # a Snowball stemmer keeps the word that it works on, which is not safe to share


def stem_words(words: list[str], language: str) -> list[str]:
    """Return the stem of every word."""
    if language == NO_LANGUAGE:
        return words
    name = "porter" if language == "english" else language
    stemmers: dict[str, Stemmer.Stemmer] = _local.__dict__.setdefault("stemmers", {})
    if name not in stemmers:
        stemmers[name] = Stemmer.Stemmer(name, 0)  # its cache of words takes longer than the stem
    # Porter leaves nothing of a lone "s".
    return [stem or word for stem, word in zip(stemmers[name].stemWords(words), words, strict=True)]


@lru_cache(maxsize=64)
def stop_words(language: str) -> frozenset[str]:
    """Return the words that are too common to be searched for; none for a language without a list.

    Raises:
        InputError: The language is unknown.
    """
    if language not in LANGUAGES:
        raise InputError(f"BM25 has no language {shown(language)}. It has: {', '.join(LANGUAGES)}.")
    if language == "english":
        return ENGLISH_STOP_WORDS
    file = files("rader_plugins").joinpath(f"analysis/stop_words/{language}.txt")
    return frozenset(file.read_text(encoding="utf-8").split()) if file.is_file() else frozenset()


def elided(word: str, language: str) -> str:
    """Return a word without the article or particle that is written together with it (French ``l'homme``)."""
    if language in _ELISIONS and ("'" in word or "\u2019" in word):
        head, _, tail = word.replace("\u2019", "'").partition("'")
        if tail and head in _ELISIONS[language].split():
            return tail
    return word
