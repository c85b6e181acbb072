"""The passage of a document that matches best, for people to read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rader_plugins.analysis import Analyzer
from rader_plugins.documents import Hit

__all__ = ["Passage", "best_passage", "passage_of"]

_FRONT_MATTER = re.compile(r"\A\s*(---|\+\+\+)[ \t]*\n.*?\n\1[ \t]*(?:\n|\Z)", re.DOTALL)
_SAYING = re.compile(r"^.*\w.*$", re.MULTILINE)
_REPEATED = 0.1
"""What a term counts that the passage has already, of what it counts the first time."""


@dataclass(frozen=True)
class Passage:
    """A part of a text.

    Args:
        start, end: Offset in the text of its first character, and one after that of its last.
        line: The line of the text, from 1, in which its first term stands; without terms, in which it begins.
        marks: Offsets in the text of the terms in the passage: first character of each, and one after its last.
    """

    start: int
    end: int
    line: int
    marks: tuple[tuple[int, int], ...] = ()


def best_passage(
    text: str, matches: Iterable[tuple[int, int, str]], weights: Mapping[str, float], size: int
) -> Passage:
    """Return the part of a text whose terms weigh most; without any, its beginning after front matter.

    Args:
        text: The whole text of the document.
        matches: Terms in the text, as :meth:`rader_plugins.analysis.Analyzer.matches` gives them, in their order.
        weights: What each term counts; the first passage with the largest sum is taken, in which a term that is
            repeated counts little.
        size: Greatest length of the passage, in characters.
    """
    spans = [(start, end, weights.get(term, 0.0)) for start, end, term in matches]
    names = [text[start:end].casefold() for start, end, _ in spans]
    first = last = 0
    best_sum = 0.0
    for left in range(len(spans)):
        total, seen, right = 0.0, set[str](), left
        while right < len(spans) and spans[right][1] - spans[left][0] <= size:
            total += spans[right][2] * (_REPEATED if names[right] in seen else 1)
            seen.add(names[right])
            right += 1
        if total > best_sum + 1e-12:
            best_sum, first, last = total, left, right
    if not best_sum:
        return _beginning(text, size)
    start, end = spans[first][0], spans[last - 1][1]
    room = size - (end - start)
    # Some words before, the rest after.
    body = front.end() if (front := _FRONT_MATTER.match(text)) is not None and front.end() <= start else 0
    earliest = max(body, min(start - room // 3, len(text) - size))
    start = _at_word(text, earliest, start) if earliest > body else body
    end = _at_end(text, end, min(len(text), start + size))
    marks = _merged([(left, right) for left, right, _ in spans if start <= left and right <= end])
    return Passage(start, end, text.count("\n", 0, marks[0][0]) + 1, marks)


def passage_of(hit: Hit, size: int = 300, analyzer: Analyzer | None = None) -> Passage:
    """Return the passage of a hit that matches best what was searched for.

    Args:
        hit: A hit of a search with ``explain=True``; of any other, the beginning of its text is returned.
        size: Greatest length of the passage, in characters.
        analyzer: What finds words; None takes the analysis of the index that gave the hit.

    Example:
        >>> hits = retriever.search("How many guests must I invite?", explain=True)  # doctest: +SKIP
        >>> passage = passage_of(hits[0])  # doctest: +SKIP
        >>> hits[0].document.text[passage.start : passage.end]  # doctest: +SKIP
    """
    details = hit.details
    if details is None or not details.terms:
        return best_passage(hit.document.text, (), {}, size)
    weights = {term.term: term.score / term.frequency for term in details.terms}
    matches = (analyzer or details.analyzer or Analyzer()).matches(hit.document.text, weights)
    return best_passage(hit.document.text, matches, weights, size)


def _merged(spans: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)


def _beginning(text: str, size: int) -> Passage:
    front = _FRONT_MATTER.match(text)
    saying = _SAYING.search(text, front.end() if front is not None else 0) or _SAYING.search(text)
    start = saying.start() if saying is not None else 0
    start += len(text[start:]) - len(text[start:].lstrip())
    return Passage(start, _at_end(text, start, min(len(text), start + size)), text.count("\n", 0, start) + 1)


def _at_word(text: str, start: int, latest: int) -> int:
    """Return the first beginning of a word from ``start`` on, a paragraph's if one begins before ``latest``."""
    paragraph = text.rfind("\n\n", start - 1, latest)
    if paragraph >= 0:
        return paragraph + 2
    blank = re.compile(r"\s+").search(text, start - 1, latest)
    return blank.end() if blank is not None else latest


def _at_end(text: str, earliest: int, end: int) -> int:
    """Return the last end of a word up to ``end``."""
    if end >= len(text):
        return len(text)
    blank = max(text.rfind(" ", earliest, end + 1), text.rfind("\n", earliest, end + 1))
    return blank if blank > earliest else end
