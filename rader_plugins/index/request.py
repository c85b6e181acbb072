"""`SearchRequest`: one search, as the retriever hands it to an index, and the capabilities that it takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from rader_plugins.documents import check_text, text_list
from rader_plugins.errors import InputError
from rader_plugins.index.filters import Filter

__all__ = ["Detail", "Mode", "SearchRequest", "Vector", "as_vectors"]

Mode = Literal["hybrid", "dense", "bm25"]
Detail = Literal["ranks", "terms"]
_MODES = get_args(Mode)
_LONGEST_QUERY = 1e38
Vector = npt.NDArray[np.float32]
"""float32 array of shape (dimension,)."""


@dataclass(frozen=True)
class SearchRequest:
    """What to search for, and how.

    Attributes:
        queries: The texts; BM25 reads them.
        vectors: Vectors of the queries, shape (q, dimension); None in ``bm25`` mode.
        k: Hits for each query; 0 gives none.
        mode: ``dense`` (cosine), ``bm25`` (documents that share a term with the query only) or ``hybrid``.
        alpha: Weight of the dense score in hybrid mode, 0 to 1.
        candidates: How many documents each side of a hybrid search contributes; at least ``k`` of them.
        filter: Which documents may be found, applied before ranking.
        exclude_ids: Ids of documents that must not be returned, a list for every query; None excludes none.
        partition: The part of the index to search; None searches the index's own (all of it, where there are no parts).
        details: What hits carry beside their scores: ``ranks`` in each list, ``terms`` with what each adds to BM25.

    Raises:
        InputError: A value is outside its range.
    """

    queries: Sequence[str] = ()
    vectors: npt.NDArray[np.float32] | None = None
    k: int = 10
    mode: Mode = "hybrid"
    alpha: float = 0.8
    candidates: int = 1000
    filter: Filter | None = None
    exclude_ids: Sequence[Sequence[str]] | None = None
    partition: str | None = None
    details: frozenset[Detail] = frozenset()

    def __post_init__(self) -> None:
        if not _is_count(self.k, 0):
            raise InputError(f"k must be a whole number of at least 0, not {self.k!r}.")
        if not _is_count(self.candidates, 1):
            raise InputError(f"candidates must be a whole number of at least 1, not {self.candidates!r}.")
        if not isinstance(self.mode, str) or self.mode not in _MODES:
            raise InputError(f"mode is one of {', '.join(_MODES)}, not {self.mode!r}.")
        if isinstance(self.alpha, bool) or not isinstance(self.alpha, int | float) or not 0 <= self.alpha <= 1:
            raise InputError(f"alpha must lie between 0 (BM25) and 1 (dense), not {self.alpha!r}.")
        if self.filter is not None and not isinstance(self.filter, Mapping) and not callable(self.filter):
            raise InputError(f"A filter is a dict or a function, not {type(self.filter).__name__}.")
        object.__setattr__(self, "queries", text_list(self.queries, "query"))
        object.__setattr__(self, "exclude_ids", self._excluded())
        if not isinstance(self.details, frozenset) or self.details:
            details = text_list(self.details, "detail")
            if unknown := sorted(set(details) - set(get_args(Detail))):
                raise InputError(f"details are {' and '.join(get_args(Detail))}, not {', '.join(unknown)}.")
            object.__setattr__(self, "details", frozenset(details))
        if self.partition is not None:
            check_text(self.partition, "the partition")

    def _excluded(self) -> list[list[str]]:
        if self.exclude_ids is None:
            return [[] for _ in self.queries]
        ids = self.exclude_ids
        if isinstance(ids, str | bytes | Mapping) or not isinstance(ids, Iterable):
            raise InputError(f"exclude_ids holds a list of ids for every query, not {type(ids).__name__}.")
        ids = list(ids)
        if any(isinstance(entry, str) for entry in ids):
            raise InputError("exclude_ids holds a list of ids for every query (for search(): one list of ids).")
        lists = [text_list(entry, "id to exclude") for entry in ids]
        if len(lists) != len(self.queries):
            raise InputError(
                f"exclude_ids holds a list of ids for every query (for search(): one list of ids): {len(self.queries)} "
                f"lists, not {len(lists)}."
            )
        return lists

    @property
    def needs_vectors(self) -> bool:
        """Whether an answer takes vectors of the queries."""
        return self.mode != "bm25" and self.k > 0 and len(self.queries) > 0

    @property
    def needs(self) -> frozenset[str]:
        """The capabilities that an index must have to answer it."""
        needs: set[str] = {self.mode, *self.details}
        if self.filter is not None:
            needs.add("filter" if isinstance(self.filter, Mapping) else "filter_function")
        if self.partition is not None:
            needs.add("partition")
        return frozenset(needs)

    def check(self, capabilities: frozenset[str], index: str = "This index") -> None:
        """Refuse what an index cannot do.

        Args:
            capabilities: What the index can do.
            index: What a message calls it.

        Raises:
            InputError: It lacks a capability; the message names it and those that it has.
        """
        if self.needs <= capabilities:
            return
        lacking = sorted(self.needs - capabilities)
        if "dense" not in capabilities and {"dense", "hybrid"} & set(lacking):
            raise InputError(f"{index} holds no vectors, so it cannot search by {self.mode}: use mode='bm25'.")
        raise InputError(f"{index} cannot do {', '.join(lacking)}; it can do {', '.join(sorted(capabilities))}.")


def as_vectors(vectors: npt.ArrayLike, count: int, dimension: int | None) -> Vector:
    """Return vectors of queries as a float32 array of shape (count, dimension).

    Raises:
        InputError: They are no numbers, have another shape, hold NaN or infinity, or are longer than 1e38.
    """
    try:
        if np.iscomplexobj(vectors):
            raise TypeError("complex numbers have no cosine")
        with np.errstate(all="ignore"):
            array = np.asarray(vectors, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"query_vectors must be numbers of the shape ({count}, {dimension}): {error}.") from None
    if array.shape != (count, dimension):
        raise InputError(f"query_vectors must have the shape ({count}, {dimension}), not {array.shape}.")
    wide = array.astype(np.float64)
    # Products with stored vectors, which have length 1, must be numbers of single precision. One comparison for all
    # that may be wrong, since every query comes through here: NaN is not at most anything.
    if not (np.einsum("ij,ij->i", wide, wide) <= _LONGEST_QUERY**2).all():
        if not np.isfinite(array).all():
            raise InputError("query_vectors hold NaN or infinity.")
        raise InputError(
            f"query_vectors are longer than {_LONGEST_QUERY:g}, so that scores would not be finite: scale them."
        )
    return array


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
