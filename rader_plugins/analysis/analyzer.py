"""Text analysis for BM25: English after Lucene's EnglishAnalyzer, and other languages by their stems and stop words.

Words as in Unicode text segmentation, possessive ``'s`` removed (English), lower case, stop words removed, stems. Text
without blanks between words (Chinese, Japanese, Thai, ...) gives its letters and pairs of neighbouring letters, of
which a query takes the pairs, as Lucene's CJKAnalyzer does.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain, groupby, islice

from rader_plugins.analysis.counting import TermCounts, count_terms
from rader_plugins.analysis.languages import elided, stem_words, stop_words
from rader_plugins.analysis.tokens import BLANKLESS, clusters, normalize, split_texts, split_words, word_spans
from rader_plugins.arguments import check_flag, check_string

__all__ = ["ANALYZER", "Analyzer", "analyze"]

_VERSION = "rader/2"
_MAX_TERM = 255  # Lucene's own limit; a longer run of letters is not a word, and it would bloat the vocabulary.
_REMEMBERED_WORDS = 1 << 16
_REMEMBERED_LENGTH = 64
# Where a name of a program falls into parts: at punctuation, between words of camelCase, around numbers.
_PARTS = re.compile(r"[^\W\d_]?[^\W\d_A-Z]+|[A-Z]+(?![^\W\d_A-Z])|\d+")


@dataclass(frozen=True)
class Analyzer:
    """Turns texts into terms.

    Args:
        language: One of :data:`rader_plugins.analysis.LANGUAGES`.
        identifiers: Names of programs (``get_user_name``, ``foo.bar``, ``getUserName``) also give their parts, and
            ``C++``, ``C#`` and ``.NET`` are words.
        compatibility: Make ligatures, full-width letters and superscripts plain ones (NFKC; ``x²`` becomes ``x2``).

    Raises:
        InputError: The language is unknown.

    Example:
        >>> Analyzer().terms("The pigeons' holes aren't Euler's")
        ['pigeon', 'hole', "aren't", 'euler']
        >>> Analyzer("german").terms("Die Häuser der Stadt")
        ['haus', 'stadt']
    """

    language: str = "english"
    identifiers: bool = False
    compatibility: bool = False

    def __post_init__(self) -> None:
        stop_words(check_string(self.language, "language"))
        check_flag(self.identifiers, "identifiers")
        check_flag(self.compatibility, "compatibility")

    @property
    def name(self) -> str:
        """Name of this analysis, its version included; an index stores it, so that terms of two never meet."""
        options = ("identifiers",) * self.identifiers + ("compatibility",) * self.compatibility
        return "+".join((f"{_VERSION}:{self.language}", *options))

    @cached_property
    def _stop_words(self) -> frozenset[str]:
        return stop_words(self.language)

    def terms(self, text: str) -> list[str]:
        """Return the terms of a document in order."""
        return self._terms(text, letters=True)

    def query_terms(self, text: str) -> list[str]:
        """Return the terms of a query: as those of a document, without single letters of scripts without blanks."""
        return self._terms(text, letters=False)

    def count(self, texts: Iterable[str]) -> TermCounts:
        """Return how often the terms of documents stand in them; the same as counting :meth:`terms` of each."""
        return count_terms(texts, self._words_of_all, _terms_of_words(self, True).of_words)

    def matches(self, text: str, terms: Container[str]) -> Iterator[tuple[int, int, str]]:
        """Yield where a text holds some terms: first character, one after the last, and the term.

        Pairs of letters (scripts without blanks) match where both stand side by side.
        """
        of_word: dict[str, tuple[str, ...]] = {}
        before: tuple[int, int] | None = None
        for start, end in word_spans(text, identifiers=self.identifiers):
            word = text[start:end]
            if before is not None and before[1] == start and BLANKLESS.match(word):
                pair = normalize(text[before[0] : end], compatibility=self.compatibility)
                if pair in terms:
                    yield before[0], end, pair
            before = (start, end) if BLANKLESS.match(word) else None
            if word not in of_word:
                of_word[word] = tuple(dict.fromkeys(term for term in self.terms(word) if term in terms))
            for term in of_word[word]:
                yield start, end, term

    def words(self, text: str, terms: Container[str]) -> dict[str, str]:
        """Return how a text first writes some terms: ``{"theori": "Theories"}``.

        A word that holds several of them, as a name in code does, is the word of none.
        """
        words: dict[str, str] = {}
        for (start, end), group in groupby(self.matches(text, terms), key=lambda match: match[:2]):
            matches = list(group)
            if len(matches) == 1 and matches[0][2] not in words:
                words[matches[0][2]] = "".join(filter(str.isprintable, text[start:end]))
        return words

    def _words_of_all(self, texts: Sequence[str]) -> Iterator[list[str]]:
        normalized = [normalize(text, compatibility=self.compatibility) for text in texts]
        return split_texts(normalized, identifiers=self.identifiers)

    def _terms(self, text: str, *, letters: bool) -> list[str]:
        text = normalize(text, compatibility=self.compatibility)
        words = split_words(text, identifiers=self.identifiers)
        return list(chain.from_iterable(map(_terms_of_words(self, letters).__getitem__, words)))

    def _word_terms(self, words: Sequence[str]) -> list[list[str]]:
        """Return the terms of words of scripts with blanks: one, none for a stop word, more of an identifier."""
        unstemmed = [self._unstemmed(word) for word in words]
        stems = iter(stem_words(list(chain.from_iterable(unstemmed)), self.language))
        return [list(islice(stems, len(terms))) for terms in unstemmed]

    def _unstemmed(self, word: str) -> list[str]:
        terms: list[str] = []
        term = word.lower()
        if self.language == "english" and term.endswith(("'s", "\u2019s")):
            term = term[:-2]
        elif self.language != "english":
            term = elided(term, self.language)
        if term and term not in self._stop_words:
            terms.append(term[:_MAX_TERM])
        if self.identifiers:
            terms += self._parts(word)
        return terms

    def _parts(self, word: str) -> list[str]:
        parts = [part.lower() for part in _PARTS.findall(word)]
        if len(parts) < 2 and "".join(parts) == word.lower():
            return []
        return [part[:_MAX_TERM] for part in parts if part not in self._stop_words]


class _TermsOfWords(dict[str, list[str]]):
    """Remembers the terms of the words that an analysis met, since a text repeats most of its words."""

    def __init__(self, analyzer: Analyzer, letters: bool) -> None:
        self._analyzer = analyzer
        self._letters = letters

    def __missing__(self, word: str) -> list[str]:
        if _is_blankless(word):
            return stem_words(_letters_and_pairs(word, self._letters), self._analyzer.language)
        [terms] = self._analyzer._word_terms([word])
        self._remember(word, terms)
        return terms

    def of_words(self, words: Sequence[str]) -> list[list[str]]:
        """Return the terms of different words; those that are met for the first time are stemmed together."""
        terms = list(map(self.get, words))
        fresh = [word for word, there in zip(words, terms, strict=True) if there is None and not _is_blankless(word)]
        fresh_terms = dict(zip(fresh, self._analyzer._word_terms(fresh), strict=True))
        for word in fresh:
            self._remember(word, fresh_terms[word])
        return [
            (fresh_terms[word] if word in fresh_terms else self[word]) if there is None else there
            for word, there in zip(words, terms, strict=True)
        ]

    def _remember(self, word: str, terms: list[str]) -> None:
        if len(word) <= _REMEMBERED_LENGTH:
            if len(self) >= _REMEMBERED_WORDS:
                self.clear()
            self[word] = terms


@lru_cache(maxsize=32)
def _terms_of_words(analyzer: Analyzer, letters: bool) -> _TermsOfWords:
    return _TermsOfWords(analyzer, letters)


def _is_blankless(word: str) -> bool:
    return word[0] > "\x7f" and BLANKLESS.match(word) is not None


def _letters_and_pairs(run: str, letters: bool) -> list[str]:
    single = clusters(run)
    pairs = [first + second for first, second in zip(single, single[1:], strict=False)]
    return single + pairs if letters or not pairs else pairs


_DEFAULT = Analyzer()
ANALYZER = _DEFAULT.name
"""Name of the analysis that an index has unless it is told otherwise."""


def analyze(text: str) -> list[str]:
    """Return the terms of a text by the default analysis, English.

    Example:
        >>> analyze("The pigeons' holes aren't Euler's")
        ['pigeon', 'hole', "aren't", 'euler']
    """
    return _DEFAULT.terms(text)
