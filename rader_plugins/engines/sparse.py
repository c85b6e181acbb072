"""BM25 with a weighted query as an inner product of two sparse vectors, for engines that hold and multiply such.

A document holds sat(tf, \\|d\\|) in the dimension of each of its terms, a query idf(t)^2 * sat(tf, \\|q\\|); see
:mod:`rader_plugins.index.lexical.scoring` for the formula. The dimension of a term is a hash of it, so that no
vocabulary has to be kept anywhere and any number of writers agree. Two terms of one dimension count as one: among
100,000 terms that befalls about one pair in 2^32 dimensions, among 5 million some 3,000.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from rader_plugins.analysis import Analyzer
from rader_plugins.engines.statistics import Statistics
from rader_plugins.explanation import TermScore
from rader_plugins.index.lexical import Bm25Config

__all__ = ["Counts", "Sparse", "TermWeights", "count_terms", "dimension_of", "term_counts"]

Array = npt.NDArray[Any]
Counts: TypeAlias = "tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]"
"""The dimensions of some terms, ascending, and how often each occurs."""

_TINY = 1e-30
_CACHED = 1 << 15


@dataclass(frozen=True)
class Sparse:
    """A sparse vector; it may be empty.

    Attributes:
        dimensions: Ascending, uint32 array of shape (n,).
        values: float32 array of shape (n,).
    """

    dimensions: npt.NDArray[np.uint32]
    values: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.values)


@lru_cache(_CACHED)
def dimension_of(term: str, dimensions: int) -> int:
    """Return the dimension of a term, 0 to ``dimensions`` - 1.

    Args:
        term: A term as the analyzer returns it.
        dimensions: How many dimensions an engine has.

    Example:
        >>> dimension_of("prime", 2**32 - 2)
        2349018132
    """
    digest = hashlib.blake2b(term.encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "little") % dimensions


def term_counts(terms: Iterable[str], dimensions: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """Return the dimensions of some terms, ascending, and how often each occurs; both of shape (n,)."""
    counts: dict[int, int] = {}
    for term, count in Counter(terms).items():
        name = dimension_of(term, dimensions)
        counts[name] = counts.get(name, 0) + count
    names = sorted(counts)
    return np.array(names, dtype=np.uint32), np.array([counts[name] for name in names], dtype=np.int64)


def count_terms(texts: Sequence[str], analyzer: Analyzer, dimensions: int) -> list[Counts]:
    """Return what :func:`term_counts` does of the terms of each of many documents, sooner."""
    counts = analyzer.count(texts)
    numbers = np.array([dimension_of(name, dimensions) for name in counts.names], dtype=np.uint32)
    starts, names, repeats = counts.numbered(numbers)
    return [(names[first:last], repeats[first:last]) for first, last in pairwise(starts.tolist())]


@dataclass(frozen=True)
class TermWeights:
    """Turns texts into sparse vectors, by the statistics of one moment.

    Terms of a query that the statistics do not have may have come with documents since: they weigh as much as the
    rarest, and do not count for \\|q\\|. Where nothing was written since, no document holds them, and every score is
    that of the formula.

    Args:
        config: k1, b, the analysis, and whether the query is weighted.
        statistics: N, df and avgdl.
        dimensions: How many dimensions the engine has.
    """

    config: Bm25Config
    statistics: Statistics
    dimensions: int

    def documents(self, texts: Sequence[str]) -> list[Sparse]:
        """Return the vectors of documents."""
        return self.of_all_counts(count_terms(texts, self.config.analyzer, self.dimensions))

    def of_counts(self, names: npt.NDArray[np.uint32], counts: npt.NDArray[np.int64]) -> Sparse:
        """Return the vector of a document whose terms were counted already; see :func:`term_counts`."""
        [vector] = self.of_all_counts([(names, counts)])
        return vector

    def of_all_counts(self, counted: Sequence[Counts]) -> list[Sparse]:
        """Return the vectors of documents whose terms were counted already; see :func:`count_terms`."""
        sizes = [len(counts) for _, counts in counted]
        document = np.repeat(np.arange(len(counted)), sizes)
        counts = np.concatenate([np.zeros(0, np.int64), *(counts for _, counts in counted)])
        lengths = np.bincount(document, weights=counts, minlength=len(counted))
        norms = np.maximum(self._norm(lengths), _TINY).astype(np.float32)
        frequencies = counts.astype(np.float32)
        values = frequencies / (frequencies + norms[document])
        ends = pairwise(accumulate(sizes, initial=0))
        return [Sparse(names, values[first:last]) for (names, _), (first, last) in zip(counted, ends, strict=True)]

    def query(self, text: str) -> Sparse:
        """Return the vector of a query."""
        names, repeats = term_counts(self.config.analyzer.query_terms(text), self.dimensions)
        frequency = self.statistics.frequency_of(names)
        length = int(repeats[frequency > 0].sum())
        frequency = np.maximum(frequency, 1)
        documents = max(self.statistics.documents, 1)
        weights = np.log1p((documents - frequency + 0.5) / (frequency + 0.5))  # idf
        if self.config.query_weighted:
            weights = weights**2 * (repeats / (repeats + self._norm(length)))
        else:
            weights = weights * repeats
        return Sparse(names, weights.astype(np.float32))

    def shares(self, query: str, texts: Sequence[str]) -> list[tuple[tuple[TermScore, ...], tuple[str, ...]]]:
        """Return, for every text, what each term of a query that it holds adds to BM25, and the terms that it lacks.

        The parts of a text add up to the inner product of both vectors, largest first. Terms that came since the
        statistics were taken count as those of one document.
        """
        terms = list(dict.fromkeys(self.config.analyzer.query_terms(query)))
        vector = self.query(query)
        weight_of = dict(zip(vector.dimensions.tolist(), vector.values.tolist(), strict=True))
        frequency = np.maximum(self.statistics.frequency_of(vector.dimensions), 1).tolist()
        documents_of = dict(zip(vector.dimensions.tolist(), frequency, strict=True))
        # Of several terms of one dimension, the first stands for all.
        name_of = {dimension_of(term, self.dimensions): term for term in reversed(terms)}
        answers = []
        for text in texts:
            names, counts = term_counts(self.config.analyzer.terms(text), self.dimensions)
            saturations = self.of_counts(names, counts).values.tolist()
            shares = [
                TermScore(name_of[name], count, documents_of[name], weight_of[name] * saturation)
                for name, count, saturation in zip(names.tolist(), counts.tolist(), saturations, strict=True)
                if name in name_of
            ]
            shares.sort(key=lambda share: (-share.score, share.documents, terms.index(share.term)))
            matched = {dimension_of(share.term, self.dimensions) for share in shares}
            missing = tuple(term for term in terms if dimension_of(term, self.dimensions) not in matched)
            answers.append((tuple(shares), missing))
        return answers

    def _norm(self, length: Any) -> Any:
        k1, b = self.config.k1, self.config.b
        return k1 * (1 - b + b * length / self.statistics.mean_length)
