"""How often terms stand in texts, counted for many texts at once: numbers in arrays in place of a dictionary a text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from rader_plugins.sorting import stable_order

__all__ = ["TermCounts", "count_terms"]

Array = npt.NDArray[Any]
_CHARACTERS = 1 << 21  # of the texts that are split at once: their words take some 30 times as many bytes


@dataclass(frozen=True)
class TermCounts:
    """How often terms stand in some texts, as p entries (text, term, count) in the order of the texts.

    Attributes:
        texts: How many texts there are; those without a term have no entry.
        names: The different terms.
        text: Number of the text of each entry, ascending, int64 array of shape (p,).
        term: Position of its term in ``names``, int64 array of shape (p,).
        count: How often it stands there, int64 array of shape (p,).
    """

    texts: int
    names: list[str]
    text: npt.NDArray[np.int64]
    term: npt.NDArray[np.int64]
    count: npt.NDArray[np.int64]

    def lengths(self) -> npt.NDArray[np.int64]:
        """Return how many terms each text has, repeated ones counted: shape (texts,)."""
        return np.bincount(self.text, weights=self.count, minlength=self.texts).astype(np.int64)

    def numbered(
        self, numbers: npt.NDArray[np.uint32]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """Give every term a number, and sort the entries of each text by it; terms of one number count as one.

        Args:
            numbers: Those of ``names``, uint32 array of shape (t,).

        Returns:
            Where the entries of each text begin and the last ones end, shape (texts + 1,); number and count of each
            entry, shape (q,).
        """
        number = numbers[self.term]
        order = stable_order(number)
        order = order[stable_order(self.text[order])]
        number, text, count = number[order], self.text[order], self.count[order]
        is_first = np.ones(len(order), dtype=bool)
        is_first[1:] = (number[1:] != number[:-1]) | (text[1:] != text[:-1])
        if not is_first.all():
            first = np.flatnonzero(is_first)
            number, text, count = number[first], text[first], np.add.reduceat(count, first)
        starts = np.searchsorted(text, np.arange(self.texts + 1)).astype(np.int64)
        return starts, number, count


class _Numbers(dict[str, int]):
    """Numbers strings in the order in which they are met."""

    def __missing__(self, name: str) -> int:
        number = self[name] = len(self)
        return number

    def of(self, names: Iterable[str]) -> npt.NDArray[np.int64]:
        """Return the number of each of some strings, shape (n,)."""
        return np.fromiter(map(self.__getitem__, names), dtype=np.int64)


def count_terms(
    texts: Iterable[str],
    split: Callable[[Sequence[str]], Iterable[list[str]]],
    terms_of: Callable[[Sequence[str]], list[list[str]]],
) -> TermCounts:
    """Count the terms of texts.

    Args:
        texts: Texts of any number and length; a part of them is split at a time.
        split: Returns the words of each of some texts.
        terms_of: Returns the terms of each of some different words: none, one or more.
    """
    names = _Numbers()
    parts = [_counted(split(part), terms_of, names) for part in _parts(texts)]
    firsts = np.cumsum([0, *(texts for texts, *_ in parts)])
    return TermCounts(
        int(firsts[-1]),
        list(names),
        _concatenated([text + first for (_, text, _, _), first in zip(parts, firsts, strict=False)]),
        _concatenated([term for _, _, term, _ in parts]),
        _concatenated([count for *_, count in parts]),
    )


def _counted(
    words_of: Iterable[list[str]], terms_of: Callable[[Sequence[str]], list[list[str]]], names: _Numbers
) -> tuple[int, Array, Array, Array]:
    """Return how many texts there are, and text, term and count of every entry."""
    words = _Numbers()
    lengths: list[int] = []
    word = words.of(chain.from_iterable(_measured(words_of, lengths)))
    text = np.repeat(np.arange(len(lengths)), lengths)
    terms = terms_of(list(words))
    numbers = names.of(chain.from_iterable(terms))
    sizes = np.fromiter(map(len, terms), dtype=np.int64, count=len(terms))
    starts = np.cumsum(sizes) - sizes
    # The first term of every word that has one, then the second of those that have two, and so on.
    entries = []
    for nth in range(int(sizes.max(initial=0))):
        has_term = sizes[word] > nth
        word, text = word[has_term], text[has_term]
        entries.append(text * len(names) + numbers[starts[word] + nth])
    keys, counts = np.unique(_concatenated(entries), return_counts=True)
    return len(lengths), *np.divmod(keys, max(len(names), 1)), counts.astype(np.int64)


def _measured(lists: Iterable[list[str]], lengths: list[int]) -> Iterator[list[str]]:
    """Yield lists and note how long each is."""
    for entries in lists:
        lengths.append(len(entries))
        yield entries


def _concatenated(arrays: Sequence[Array]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.zeros(0, dtype=np.int64), *arrays])


def _parts(texts: Iterable[str]) -> Iterator[list[str]]:
    """Cut texts into lists of about as many characters; at least one, which may be empty."""
    part: list[str] = []
    size = 0
    for text in texts:
        part.append(text)
        size += len(text)
        if size >= _CHARACTERS:
            yield part
            part, size = [], 0
    yield part
