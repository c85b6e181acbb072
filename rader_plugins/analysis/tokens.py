"""Where words begin and end, in every script: Unicode text segmentation (UAX #29) as far as regular expressions go.

Equivalent spellings are made equal first: composed characters (NFC), no soft hyphens nor other invisible characters, no
optional vowel signs of Arabic and Hebrew.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import compress
from typing import Literal

__all__ = ["BLANKLESS", "clusters", "normalize", "split_texts", "split_words", "word_spans"]

# Scripts written without blanks between words: Chinese, Japanese, Thai, Lao, Burmese, Khmer and others. One of their
# letters is no word, and a whole run is a sentence.
_BLANKLESS_RANGES = (
    "\u3005-\u3007\u3040-\u30ff\u3100-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\uff66-\uff9f\u0e00-\u0eff\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf"
    "\u1b00-\u1b7f\ua980-\ua9df\U00020000-\U0003ffff"
)
BLANKLESS = re.compile(f"[{_BLANKLESS_RANGES}]")
"""A character of a script without blanks between words."""

# Signs of vowels and the like that are written or left out at will, and the stroke that stretches a word.
_OPTIONAL_MARKS = re.compile("[\u0640\u064b-\u0652\u0670\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7]")
# Selectors of variants, and the tags of a plane that is looked through no further.
_SELECTORS = "\ufe00-\ufe0f\U000e0000-\U000e01ef"
_ZERO_WIDTH_SPACE = "\u200b"  # separates words, unlike other invisible characters
_LAST = 0x1F000  # there are no marks beyond, but for selectors


def normalize(text: str, *, compatibility: bool = False) -> str:
    """Return a text in which what looks equal is equal.

    Args:
        text: The text to normalise, of any length.
        compatibility: NFKC in place of NFC: also makes ligatures, full-width letters and superscripts plain ones.
    """
    if text.isascii():
        return text
    form: Literal["NFC", "NFKC"] = "NFKC" if compatibility else "NFC"
    # Invisible characters first: one between a letter and its accent would keep them apart.
    text = _invisible().sub("", text)
    if not unicodedata.is_normalized(form, text):
        text = unicodedata.normalize(form, text)
    return _OPTIONAL_MARKS.sub("", text)


@lru_cache(maxsize=1)
def _invisible() -> re.Pattern[str]:
    return re.compile(f"[{_ranges('Cf', without=_ZERO_WIDTH_SPACE)}{_SELECTORS}]")


@lru_cache(maxsize=1)
def _marks() -> str:
    return _ranges("M")


def _ranges(category: str, without: str = "") -> str:
    """Return the characters of a general category (or of all that begin with it) as ranges of a regular expression."""
    codes = [
        code
        for code in range(_LAST)
        if unicodedata.category(chr(code)).startswith(category) and chr(code) not in without
    ]
    parts = []
    start = previous = codes[0]
    for code in [*codes[1:], sys.maxunicode + 1]:
        if code != previous + 1:
            parts.append(f"{re.escape(chr(start))}-{re.escape(chr(previous))}")
            start = code
        previous = code
    return "".join(parts)


def _expression(letter: str, marks: str, *, identifiers: bool) -> re.Pattern[str]:
    # A word is letters with their marks, running on over an apostrophe, full stop or colon between letters, and over a
    # decimal or thousands separator between digits.
    word = rf"{letter}(?:{letter}{f'|[{marks}]' if marks else ''})*"
    # Of scripts without blanks, a run; their ranges also hold signs, which are no letters.
    following = rf"(?=[\w{marks}])[{_BLANKLESS_RANGES}{marks}]" if marks else rf"(?=\w)[{_BLANKLESS_RANGES}]"
    run = rf"(?=\w)[{_BLANKLESS_RANGES}](?:{following})*"
    before_letter = rf"(?<=[^\W\d_]|[{marks}])" if marks else r"(?<=[^\W\d_])"
    joined = rf"{word}(?:(?:{before_letter}['\u2019.:\u00b7](?=[^\W\d_])|(?<=\d)[.,;'\u2019](?=\d)){word})*"
    names = r"[^\W\d_]\w*(?:\+\+|\#)(?!\w)|(?<![\w.])\.[A-Z]{3}\b|" if identifiers else ""
    return re.compile(f"{names}{run}|{joined}")


@lru_cache(maxsize=2)
def _ascii_pattern(identifiers: bool) -> re.Pattern[str]:
    """Return what :func:`_expression` comes to within ASCII, several times faster."""
    joined = r"\w+(?:(?:(?<=[A-Za-z])['.:](?=[A-Za-z])|(?<=[0-9])[.,;'](?=[0-9]))\w+)*"
    names = r"[A-Za-z]\w*(?:\+\+|\#)(?!\w)|(?<![\w.])\.[A-Z]{3}\b|" if identifiers else ""
    return re.compile(f"{names}{joined}", re.ASCII)


# What joins letters or digits here and separates words there, and a table that makes blanks of all other signs.
_JOINTS = "'.:,;"
_BETWEEN_TEXTS = "\x00"
_BLANKS = {code: " " for code in range(1, 128) if not (chr(code).isalnum() or chr(code) in "_" + _JOINTS)}
_LOOSE_JOINTS = re.compile(rf"[{_JOINTS}](?!(?<=[A-Za-z]['.:])[A-Za-z])(?!(?<=[0-9][.,;'])[0-9])")


@lru_cache(maxsize=8)
def _pattern(blankless: bool, marks: bool, identifiers: bool) -> re.Pattern[str]:
    letter = rf"(?:(?![{_BLANKLESS_RANGES}])\w)" if blankless else r"\w"
    return _expression(letter, _marks() if marks else "", identifiers=identifiers)


def split_words(text: str, *, identifiers: bool = False) -> list[str]:
    """Return the words of a text that :func:`normalize` returned, in order, and runs of scripts without blanks whole.

    Args:
        text: A text that :func:`normalize` returned.
        identifiers: Take ``C++``, ``C#`` and ``.NET`` for words.
    """
    return _pattern_of(text, identifiers).findall(text)


def split_texts(texts: Sequence[str], *, identifiers: bool = False) -> Iterator[list[str]]:
    """Yield the words of each of many texts: the same as :func:`split_words` returns, sooner.

    Args:
        texts: Texts that :func:`normalize` returned.
        identifiers: Take ``C++``, ``C#`` and ``.NET`` for words.
    """
    # Texts within ASCII together: what is no word becomes a blank, and Python's own functions find the blanks.
    is_plain = [not identifiers and text.isascii() and _BETWEEN_TEXTS not in text for text in texts]
    joined = _BETWEEN_TEXTS.join(compress(texts, is_plain)).translate(_BLANKS)
    plain = iter(_LOOSE_JOINTS.sub(" ", joined).split(_BETWEEN_TEXTS))
    for text, has_blanks in zip(texts, is_plain, strict=True):
        yield next(plain).split() if has_blanks else split_words(text, identifiers=identifiers)


def word_spans(text: str, *, identifiers: bool = False) -> Iterator[tuple[int, int]]:
    """Yield where the words of a text begin and end; a run of a script without blanks gives its letters.

    The text need not be normalised: what is invisible within a word separates it here.
    """
    for match in _pattern_of(text, identifiers).finditer(text):
        if not BLANKLESS.match(match.group()):
            yield match.span()
            continue
        start = match.start()
        for letter in clusters(match.group()):
            yield start, start + len(letter)
            start += len(letter)


def _pattern_of(text: str, identifiers: bool) -> re.Pattern[str]:
    if text.isascii():
        return _ascii_pattern(identifiers)
    has_marks = any(unicodedata.category(character)[0] == "M" for character in set(text) if character > "\x7f")
    return _pattern(BLANKLESS.search(text) is not None, has_marks, identifiers)


def clusters(run: str) -> list[str]:
    """Return the letters of a run, each with its marks."""
    letters: list[str] = []
    for character in run:
        if letters and unicodedata.category(character)[0] == "M":
            letters[-1] += character
        else:
            letters.append(character)
    return letters
