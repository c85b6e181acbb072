"""`Snapshot`: one committed state of an index, immutable, as a search sees it from beginning to end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rader_plugins.explanation import TermScore
from rader_plugins.index.dense import Approximate, CodedQueries, exact_scores, float_error, gather_scores
from rader_plugins.index.lexical import LexicalView, Postings, WeightedQuery, promising
from rader_plugins.index.quantised import QuantisedRows
from rader_plugins.index.selection import Ranking, best_rows, kth_largest, top_places
from rader_plugins.index.storage import Store

__all__ = ["Ranking", "Snapshot", "best_rows", "kth_largest", "top_places"]

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
_SCORE_BLOCK = 64 << 20  # bytes of scores held at once while a batch of queries is searched
_SCORED_AT_ONCE = 64  # rows beyond which double precision is worth avoiding
_LOWEST = np.finfo(np.float32).min  # rows that may not be found have the score minus infinity


class Snapshot:
    """What the searches of one moment share.

    Attributes:
        generation: Number of the commit.
        ids: Id of every row; the list may be longer than ``rows`` when later commits have extended it.
        shards, starts: Vectors and the first row of each array; none in an index without vectors.
        alive: Which rows hold a living document, shape (rows,).
        postings, lengths: What BM25 is made of.
        approximate: FAISS structure, if the index has one.
        quantised: The 8-bit copy of the vectors; None without.
    """

    def __init__(
        self,
        *,
        store: Store,
        generation: int,
        epoch: int,
        ids: list[str],
        alive: Mask,
        shards: Sequence[Array],
        starts: Sequence[int],
        postings: Sequence[Postings],
        lengths: Array,
        lexical: LexicalView,
        approximate: Approximate | None,
        quantised: QuantisedRows | None,
    ) -> None:
        self._store = store
        self.generation = generation
        self.epoch = epoch
        self.ids = ids
        self.alive = alive
        self.rows = len(alive)
        self.shards = tuple(shards)
        self.starts = tuple(starts)
        self.postings = tuple(postings)
        self.lengths = lengths
        self.lexical = lexical
        self.approximate = approximate
        self.quantised = quantised

    def __len__(self) -> int:
        return self.lexical.documents

    def without(self, mask: Mask | None, excluded: Sequence[str]) -> Mask | None:
        """Take documents out of a mask by id; ids that are not stored are ignored."""
        if not excluded:
            return mask
        mask = self.alive.copy() if mask is None else mask.copy()
        rows = [row for row in self._store.rows_of(list(excluded)).values() if row < self.rows]
        mask[rows] = False
        return mask

    # BM25

    def bm25_scores(self, query: str) -> npt.NDArray[np.float64]:
        """BM25 of every row for one query, shape (rows,); 0 where nothing matches."""
        return self.lexical.scores(self._weighted(query))

    def bm25_best(self, query: str, k: int, mask: Mask | None) -> Ranking:
        """The ``k`` best rows by BM25 for one query, in no order; only rows that match a term."""
        weighted = self._weighted(query)
        candidates = promising(
            self.lexical, weighted, k, self.alive if mask is None and len(self) < self.rows else mask
        )
        if candidates is None:
            return self.bm25_top(self.lexical.scores(weighted), k, mask)
        rows, scores = candidates
        matching = np.flatnonzero(scores > 0)
        return best_rows(rows[matching].astype(np.int64), scores[matching], k, self.ids)

    def _weighted(self, query: str) -> WeightedQuery:
        terms = self.lexical.config.analyzer.query_terms(query)
        term_ids = self._store.term_ids(list(dict.fromkeys(terms)))
        return self.lexical.query(Counter(term_ids[term] for term in terms if term in term_ids))

    def term_scores(self, query: str, rows: Array) -> list[tuple[tuple[TermScore, ...], tuple[str, ...]]]:
        """Return, for every row, what each term of a query that it holds adds to BM25, and the terms that it lacks."""
        terms = list(dict.fromkeys(self.lexical.config.analyzer.query_terms(query)))
        term_of = {id: term for term, id in self._store.term_ids(terms).items()}
        answers = []
        for parts in self.lexical.parts_of(self._weighted(query), rows):
            matches = tuple(TermScore(term_of[part.term], part.frequency, part.documents, part.score) for part in parts)
            names = {term.term for term in matches}
            answers.append((matches, tuple(term for term in terms if term not in names)))
        return answers

    def bm25_top(self, scores: npt.NDArray[np.float64], k: int, mask: Mask | None) -> Ranking:
        """The ``k`` best rows by BM25, in no order; only rows that match a term."""
        if mask is not None or len(self) < self.rows:
            scores = np.where(self.alive if mask is None else mask, scores, 0.0)
        if not len(scores):
            return np.zeros(0, dtype=np.int64), scores
        limit = kth_largest(scores, k)
        rows = np.flatnonzero(scores >= limit if limit > 0 else scores > 0)
        return best_rows(rows, scores[rows], k, self.ids)

    # Dense

    def dense_scores(self, query: npt.NDArray[np.float32], rows: Array) -> npt.NDArray[np.float32]:
        """Cosine of one query vector with some rows."""
        if not len(rows):
            return np.zeros(0, dtype=np.float32)
        return gather_scores(self.shards, self.starts, query, rows)

    def dense_top(self, queries: npt.NDArray[np.float32], k: int, masks: Sequence[Mask | None]) -> list[Ranking]:
        """The ``k`` best rows by cosine for every query, in no order.

        Args:
            queries: float32 array of shape (q, dimension).
            k: How many rows to return.
            masks: Which rows may be found, an array for every query; None allows all living documents.
        """
        if not self.rows:
            return [(np.zeros(0, np.int64), np.zeros(0, np.float32)) for _ in queries]
        if (approximate := self.approximate) is not None:
            return [
                self._approximate_top(approximate, query, k, mask) for query, mask in zip(queries, masks, strict=True)
            ]
        rankings: list[Ranking] = []
        step = max(1, _SCORE_BLOCK // (4 * self.rows))
        for first in range(0, len(queries), step):
            rankings += self._exact_top(queries[first : first + step], k, masks[first : first + step])
        return rankings

    def _exact_top(self, queries: Array, k: int, masks: Sequence[Mask | None]) -> list[Ranking]:
        runs = self.quantised.runs(self.shards, self.starts, self.rows, k) if self.quantised is not None else None
        # So few rows that looking at each is as fast.
        fewest = self.rows // (8 if runs is None else 64)
        few = [mask for mask in masks if mask is not None and np.count_nonzero(mask) <= fewest]
        if len(few) == len(masks):
            return [self._among(query, np.flatnonzero(mask), k) for query, mask in zip(queries, few, strict=True)]
        if runs is None:
            return self._scored_top(queries, k, masks)
        rankings = []
        coded = CodedQueries(queries, runs, self.rows)
        for number, (query, mask) in enumerate(zip(queries, masks, strict=True)):
            self._rule_out(coded.estimates[number], mask)
            rows = coded.candidates(number, k)
            if rows is None:
                rankings += self._scored_top(query[None], k, [mask])
                continue
            rankings.append(self._among(query, rows, k))
        return rankings

    def _scored_top(self, queries: Array, k: int, masks: Sequence[Mask | None]) -> list[Ranking]:
        rankings = []
        scores = exact_scores(self.shards, self.starts, queries, self.rows)
        for query, row_scores, mask in zip(queries, scores, masks, strict=True):
            self._rule_out(row_scores, mask)
            rows = _promising(row_scores, query, k)
            rankings.append(best_rows(rows, self.dense_scores(query, rows), k, self.ids))
        return rankings

    def _rule_out(self, scores: Array, mask: Mask | None) -> None:
        """Give the rows that may not be found the score minus infinity."""
        if mask is not None or len(self) < self.rows:
            scores[~(self.alive if mask is None else mask)] = -np.inf

    def _among(self, query: Array, rows: Array, k: int) -> Ranking:
        """The ``k`` best of some rows: by single precision first, so that few are scored in double precision."""
        if len(rows) > _SCORED_AT_ONCE + k:
            scores = gather_scores(self.shards, self.starts, query, rows, np.float32)
            rows = rows[_promising(scores, query, k)]
        return best_rows(rows, self.dense_scores(query, rows), k, self.ids)

    def _approximate_top(self, approximate: Approximate, query: Array, k: int, mask: Mask | None) -> Ranking:
        allowed = self.alive if mask is None else mask
        possible = int(np.count_nonzero(allowed))
        if possible <= max(4 * k, self.rows // 50):
            # So few rows are left that looking at each is as fast, and finds all of them.
            return self._among(query, np.flatnonzero(allowed), k)
        candidates = approximate.candidates(query, k, None if possible == self.rows else allowed)
        tail = np.flatnonzero(allowed[approximate.rows :]) + approximate.rows
        if len(candidates) + len(tail) < k:
            return self._among(query, np.flatnonzero(allowed), k)
        return self._among(query, np.concatenate([candidates, tail]), k)


def _promising(scores: Array, query: Array, k: int) -> Array:
    """Return where those scores stand, in single precision, that may be among the ``k`` best."""
    limit = kth_largest(scores, k) - 2 * float_error(query)
    return np.flatnonzero(scores >= max(np.nextafter(np.float32(limit), np.float32(-np.inf)), _LOWEST))
