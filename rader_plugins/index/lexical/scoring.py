"""BM25 with the weighting of the query that BRIGHT and RaDeR use, over immutable blocks of postings.

A sparse dot product (DESIGN section 4): with sat(f, n) = f / (f + k1 (1 - b + b n / avgdl)) and
idf(t) = ln(1 + (N - df + 0.5) / (df + 0.5)),

    score(q, d) = sum over terms t of idf(t)^2 * sat(tf(t, q), |q|) * sat(tf(t, d), |d|)

where |q| counts the query's terms that the corpus holds. Lucene's own BM25 is the option ``query_weighted=False``:
idf(t) * tf(t, q) * sat(tf(t, d), |d|). N, df and avgdl are taken over the living documents at each commit, so scores
equal those of an index built afresh.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rader_plugins.analysis import Analyzer
from rader_plugins.arguments import check_flag, shown
from rader_plugins.errors import InputError
from rader_plugins.index.lexical.postings import Array, Postings

__all__ = ["Bm25Config", "LexicalView", "TermPart", "WeightedQuery"]

_FREQUENT = 512  # postings of a term from which on they are worth keeping between queries
_ROUNDED_UP = 1 + 1e-6  # a bound in double precision covers products in single precision
_COMMON = 16  # a term that one in so many documents holds may have a column
_COLUMNS = 64  # columns kept at most: so many bytes per document
_TINY = 1e-30
_BLOCK = 8192  # postings added at once: what is allocated for them stays small enough to be used again


@dataclass(frozen=True)
class Bm25Config:
    """How words are found and scored.

    Args:
        k1: Saturation of the term frequency, at least 0.
        b: Weight of the length of a document, 0 to 1.
        query_weighted: Weight the terms of the query as those of a document.
        language: What stems and stop words are of; see :data:`rader_plugins.analysis.LANGUAGES`.
        identifiers, compatibility: Whether names in code are split too, and whether compatible characters count as
            equal; see :class:`rader_plugins.analysis.Analyzer`.

    Raises:
        InputError: A value is outside its range, or the language is unknown.

    Example:
        >>> Bm25Config(language="german").analyzer.terms("die Häuser")
        ['haus']
    """

    k1: float = 0.9
    b: float = 0.4
    query_weighted: bool = True
    language: str = "english"
    identifiers: bool = False
    compatibility: bool = False

    @cached_property
    def analyzer(self) -> Analyzer:
        """What turns texts into terms."""
        return Analyzer(self.language, identifiers=self.identifiers, compatibility=self.compatibility)

    def __post_init__(self) -> None:
        check_flag(self.query_weighted, "query_weighted")
        _ = self.analyzer  # an unknown language is an error now
        numbers = all(isinstance(value, int | float) for value in (self.k1, self.b))
        if not numbers or not (0 <= self.k1 < math.inf and 0 <= self.b <= 1):
            raise InputError(f"BM25 needs k1 >= 0 and b between 0 and 1, not k1={shown(self.k1)}, b={shown(self.b)}.")


@dataclass(frozen=True)
class WeightedQuery:
    """The terms of a query that a state of an index holds, the rarest first, equally rare ones as in the query.

    Every sum is taken in this order: it depends neither on how terms happen to be numbered nor on how a search goes
    about it.

    Attributes:
        terms: Ids of the terms, shape (t,).
        weights: Weight of each term, shape (t,).
        bounds: No document gets more than this for the term, shape (t,).
        first, last: Where the postings of each term begin and end in each block, shape (blocks, t).
    """

    terms: Array
    weights: npt.NDArray[np.float32]
    bounds: npt.NDArray[np.float64]
    first: Array
    last: Array

    def __len__(self) -> int:
        return len(self.weights)


class TermPart(NamedTuple):
    """One term's part of a score.

    Attributes:
        term: Id of the term.
        frequency: How often the document holds it.
        documents: How many living documents do.
        score: What the term adds to the score.
    """

    term: int
    frequency: int
    documents: int
    score: float


class LexicalView:
    """BM25 over one state of an index.

    Args:
        parts: Blocks of postings, in ascending order of rows.
        lengths: Number of terms of every row, shape (rows,).
        alive: Which rows hold a living document, shape (rows,).
        term_count: One more than the largest term id.
        config: k1, b and the weighting of the query.
    """

    def __init__(
        self, parts: Sequence[Postings], lengths: Array, alive: Array, term_count: int, config: Bm25Config
    ) -> None:
        self.parts = tuple(parts)
        self.config = config
        self.rows = len(lengths)
        self.documents = int(np.count_nonzero(alive))
        total = int(lengths[alive].sum(dtype=np.int64))
        self.mean_length = total / self.documents if total else 1.0
        everyone = self.documents == self.rows
        counts = np.zeros(term_count, dtype=np.int64)
        for part in self.parts:
            part.add_frequencies(counts, None if everyone else alive)
        self._document_frequency = counts.astype(np.int32)
        # A posting's saturation is f / (f + norm): the norm depends on the row alone.
        norms = config.k1 * (1 - config.b + config.b * lengths / self.mean_length)
        self.norms = np.maximum(norms, _TINY).astype(np.float32)  # so that 0 / (0 + norm) is 0
        self.least_norm = self.norms.min(initial=np.float32(np.inf))
        self._kept: dict[tuple[int, int], npt.NDArray[np.float32]] = {}
        self._columns: dict[int, Array] = {}

    def query(self, counts: Counter[int] | Mapping[int, int]) -> WeightedQuery:
        """Weigh the terms of a query, those that no living document holds left out, and find their postings.

        Args:
            counts: Term id -> frequency in the query, in the order of the query.
        """
        term_ids = [term for term in counts if term < len(self._document_frequency)]
        terms = np.array(term_ids, dtype=np.int32)
        frequency = self._document_frequency[terms]
        repeats = np.array([counts[term] for term in term_ids], dtype=np.float64)
        order = np.argsort(frequency, kind="stable")[np.count_nonzero(frequency == 0) :]
        terms, repeats, frequency = terms[order], repeats[order], frequency[order]
        weights = np.log1p((self.documents - frequency + 0.5) / (frequency + 0.5))  # idf
        if self.config.query_weighted:
            k1, b = self.config.k1, self.config.b
            weights = weights**2 * (repeats / (repeats + k1 * (1 - b + b * repeats.sum() / self.mean_length)))
        else:
            weights *= repeats
        ranges = [part.find(terms) for part in self.parts]
        maxima = np.zeros(len(terms))
        for *_, part_most in ranges:
            maxima = np.maximum(maxima, part_most)
        return WeightedQuery(
            terms=terms,
            weights=weights.astype(np.float32),
            bounds=weights * maxima / (maxima + self.least_norm) * _ROUNDED_UP,
            first=np.array([first for first, *_ in ranges]),
            last=np.array([last for _, last, _ in ranges]),
        )

    def scores(self, query: WeightedQuery) -> npt.NDArray[np.float64]:
        """Score every row for one query.

        Returns:
            float64 array of shape (rows,); 0 where no term matches. Rows of deleted documents may have a score.
        """
        summed = np.zeros(self.rows)
        for position, weight in enumerate(query.weights):
            for number, part in enumerate(self.parts):
                first, last = int(query.first[number, position]), int(query.last[number, position])
                if first == last:
                    continue
                rows, saturations = part.rows[first:last], self._saturations(number, first, last)
                for start in range(0, last - first, _BLOCK):
                    block = slice(start, start + _BLOCK)
                    # In double precision, one term after the other.
                    np.add.at(summed, rows[block].astype(np.intp), (saturations[block] * weight).astype(np.float64))
        return summed

    def parts_of(self, query: WeightedQuery, rows: Array) -> list[list[TermPart]]:
        """Return, for each of some rows, the parts of its score, the largest first; only of terms that it holds."""
        parts: list[list[TermPart]] = [[] for _ in rows]
        for position, (term, weight) in enumerate(zip(query.terms.tolist(), query.weights, strict=True)):
            for number, part in enumerate(self.parts):
                first, last = int(query.first[number, position]), int(query.last[number, position])
                stored = part.rows[first:last]
                places = stored.searchsorted(rows)
                for index, (row, place) in enumerate(zip(rows.tolist(), places.tolist(), strict=True)):
                    if place < len(stored) and stored[place] == row:
                        frequency = int(part.frequencies[first + place])
                        score = float(self._saturations(number, first, last)[place] * weight)
                        parts[index].append(TermPart(term, frequency, int(self._document_frequency[term]), score))
        for row_parts in parts:
            row_parts.sort(key=lambda part: -part.score)
        return parts

    def _saturations(self, number: int, first: int, last: int) -> npt.NDArray[np.float32]:
        """Return sat(f, n) of some postings; those of frequent terms are kept."""
        cached_saturations = self._kept.get((number, first))
        if cached_saturations is not None:
            return cached_saturations
        part = self.parts[number]
        saturations = part.frequencies[first:last].astype(np.float32)
        saturations /= saturations + self.norms[part.rows[first:last]]
        if last - first >= _FREQUENT:
            self._kept[number, first] = saturations
        return saturations

    def column(self, term: int) -> Array | None:
        """Return how often every row holds a common term, shape (rows,); None for a term that is not common.

        A look-up for many rows at once; those of the terms that were asked for last are kept.
        """
        cached_column = self._columns.get(term)
        if cached_column is not None or _COMMON * int(self._document_frequency[term]) < self.rows:
            return cached_column
        ranges = [part.find(np.array([term])) for part in self.parts]
        column = np.zeros(self.rows, dtype=np.min_scalar_type(max(int(maxima[0]) for *_, maxima in ranges)))
        for part, (first, last, _) in zip(self.parts, ranges, strict=True):
            span = slice(int(first[0]), int(last[0]))
            column[part.rows[span]] = part.frequencies[span]
        if len(self._columns) >= _COLUMNS:
            self._columns = dict(list(self._columns.items())[_COLUMNS // 2 :])
        self._columns[term] = column
        return column
