"""`IndexReader`: what an embedded index tells of the documents that it holds, and how it finds them."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from rader_plugins.background import after_fork, in_thread
from rader_plugins.documents import Document, Hit
from rader_plugins.errors import IndexCorruptError, OutdatedTermsWarning
from rader_plugins.index.adding import id_list
from rader_plugins.index.dense import gather
from rader_plugins.index.fields import FieldColumns, StaleSnapshotError
from rader_plugins.index.filters import Filter, parse_filter
from rader_plugins.index.home import Home, outdated_analysis
from rader_plugins.index.lane import SearchLane, unhindered
from rader_plugins.index.lexical import Bm25Config
from rader_plugins.index.loader import load_snapshot
from rader_plugins.index.maintenance import damaged_rows
from rader_plugins.index.ranking import check_vectors, hit_details, rank, to_hits
from rader_plugins.index.request import SearchRequest, Vector
from rader_plugins.index.snapshot import Snapshot
from rader_plugins.index.statistics import describe
from rader_plugins.processor import cores
from rader_plugins.recipes import Recipe

__all__ = ["IndexReader"]

_CAPABILITIES = frozenset({"bm25", "filter", "filter_function", "ranks", "terms"})
_VECTOR_CAPABILITIES = _CAPABILITIES | {"dense", "hybrid"}
_ATTEMPTS = 3


class IndexReader:
    """Reads one index: its figures, its documents and searches, each of one committed state. It changes nothing.

    Args:
        home: The parts of the index that is read.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._snapshot: Snapshot | None = None
        self._fields = FieldColumns(home.store)
        self._knows_terms = False  # whether the analysis of the stored terms was looked at
        # The products of one search occupy more than one core, without Python's lock; finding words holds it.
        self._vector_lane = SearchLane(max(1, cores() // 2))
        self._word_lane = SearchLane(1)
        self._start_anew()
        after_fork(self._start_anew)

    def _start_anew(self) -> None:
        self._snapshot_lock = threading.RLock()  # `frozen` blocks nest

    @property
    def path(self) -> Path | None:
        """Its folder, or None in memory."""
        return self._home.folder

    @property
    def recipe(self) -> Recipe | None:
        """Whose vectors it holds; None without vectors."""
        return self._home.settings.recipe

    @property
    def fingerprint(self) -> str | None:
        """Fingerprint of the vectors; encoders must have the same. None without vectors."""
        return self._home.settings.fingerprint

    @property
    def dimension(self) -> int | None:
        """Length of the vectors; None without vectors."""
        return self._home.settings.dimension

    @property
    def bm25(self) -> Bm25Config:
        """How words are found and scored."""
        return self._home.settings.bm25

    @property
    def capabilities(self) -> frozenset[str]:
        """What a request may ask of it; see :class:`rader_plugins.index.Index`."""
        return _CAPABILITIES if self.recipe is None else _VECTOR_CAPABILITIES

    def snapshot(self, *, newest: bool = True) -> Snapshot:
        """Return the newest committed state; cheap when nothing was committed since the last call.

        Args:
            newest: False returns the state that was seen last without asking the database for a newer one, for
                callers that learn of it from :meth:`fetch`.
        """
        last = self._snapshot
        if last is not None and not newest:
            return last
        with self._snapshot_lock:
            self._snapshot = load_snapshot(self._home, self._snapshot)
            return self._snapshot

    def mask(self, snapshot: Snapshot, condition: Filter | None) -> npt.NDArray[np.bool_] | None:
        """Return which rows of a snapshot a filter admits, shape (rows,); None where there is no filter.

        Raises:
            InputError: The filter is unusable.
            StaleSnapshotError: Something was committed since the snapshot was taken.
        """
        if condition is None:
            return None
        if not callable(condition):
            return self._fields.mask(parse_filter(condition), snapshot)
        mask = np.zeros_like(snapshot.alive)
        for row, document in self._home.store.scan():
            if row < len(mask) and condition(document):
                mask[row] = True
        return mask & snapshot.alive

    def fetch(self, rows: Sequence[int], snapshot: Snapshot) -> dict[int, Document] | None:
        """Return row -> document of a snapshot, or None if something was committed since it was taken."""
        return self._home.store.documents_at(rows, snapshot.generation)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[Snapshot]:
        """Give the newest snapshot and keep every writer waiting until the block ends."""
        # In this order: another thread may hold the snapshot's lock and wait for the database.
        # And a search in the block must not wait for searches that wait for the database.
        with unhindered(), self._snapshot_lock, self._home.store.reading():
            self._snapshot = load_snapshot(self._home, self._snapshot)
            yield self._snapshot

    def search(self, request: SearchRequest) -> list[list[Hit]]:
        """Search one committed state, the newest when the search begins.

        Args:
            request: What to search for. :class:`rader_plugins.RaderRetriever` makes one of a question.

        Returns:
            Hits for every query, best first.

        Raises:
            InputError: The index cannot do what is asked of it, or vectors are missing or of another shape.
        """
        request.check(self.capabilities)
        if request.k == 0 or not request.queries:
            return [[] for _ in request.queries]
        vectors = check_vectors(request, self.dimension)
        if request.mode != "dense":
            self._warn_of_old_terms()
        lane = self._word_lane if vectors is None else self._vector_lane
        return lane.search(request, vectors, self._search_newest)

    async def asearch(self, request: SearchRequest) -> list[list[Hit]]:
        """As :meth:`search`, without blocking the event loop."""
        return await in_thread(self.search, request)

    def _search_newest(self, request: SearchRequest, vectors: Vector | None) -> list[list[Hit]]:
        # Some searches are so short that asking for a newer commit first would show; `fetch` finds it out too.
        last = self._snapshot
        approximate = request.mode == "dense" and last is not None and last.approximate is not None
        brief = (request.mode == "bm25" or approximate) and len(request.queries) == 1 and request.filter is None
        for attempt in range(_ATTEMPTS):
            hits = self._search_once(self.snapshot(newest=attempt > 0 or not brief), request, vectors)
            if hits is not None:
                return hits
        # Commits come faster than searches end: let the writer wait for this one.
        with self.frozen() as snapshot:
            return self._search_once(snapshot, request, vectors) or []

    def _warn_of_old_terms(self) -> None:
        """Say, once, if the terms of the documents were found otherwise than those of a query are."""
        if not self._knows_terms and (stored := outdated_analysis(self._home)) is not None:
            warnings.warn(
                OutdatedTermsWarning(
                    f"The words of this index were found by another version ({stored}; this one is "
                    f"{self._home.settings.bm25.analyzer.name}), so that BM25 misses what the two split or spell "
                    "otherwise. The next change renews them, and so does optimize() (`rader index optimize`)."
                ),
                stacklevel=3,
            )
        self._knows_terms = True

    def _search_once(
        self, snapshot: Snapshot, request: SearchRequest, vectors: Vector | None
    ) -> list[list[Hit]] | None:
        """Search one state; None if something was committed since it was taken."""
        try:
            shared = self.mask(snapshot, request.filter)
        except StaleSnapshotError:
            return None
        masks = [snapshot.without(shared, ids) for ids in request.exclude_ids or [()] * len(request.queries)]
        rankings = rank(snapshot, request, vectors, masks)
        documents = self.fetch(sorted({row for ranked in rankings for row in ranked.rows.tolist()}), snapshot)
        if documents is None:
            return None
        return [
            to_hits(ranked, documents, hit_details(snapshot, request, query, ranked))
            for query, ranked in zip(request.queries, rankings, strict=True)
        ]

    def get(self, ids: Sequence[str]) -> list[Document]:
        """Return the documents with these ids, in this order; ids that are not stored are left out."""
        documents = self._home.store.documents(id_list(ids))
        return [documents[id] for id in ids if id in documents]

    def ids(self, filter: Filter | None = None) -> Iterator[str]:
        """Yield the ids of all documents, or of those that pass a filter, in the order of insertion."""
        with self.frozen() as snapshot:
            mask = self.mask(snapshot, filter)
            rows = np.flatnonzero(snapshot.alive if mask is None else mask)
            names = [snapshot.ids[row] for row in rows.tolist()]
        yield from names

    def vectors(self, ids: Sequence[str]) -> dict[str, Vector]:
        """Return id -> stored vector, shape (dimension,), for those ids that are stored; empty without vectors."""
        with self.frozen() as snapshot:
            rows = self._home.store.rows_of(id_list(ids))
            if not rows or self.dimension is None:
                return {}
            vectors = gather(snapshot.shards, snapshot.starts, np.array(list(rows.values()))).astype(np.float32)
            return dict(zip(rows, vectors, strict=True))

    def documents(self) -> Iterator[Document]:
        """Yield every document in the order of insertion."""
        for _, document in self._home.store.scan():
            yield document

    def __len__(self) -> int:
        return len(self.snapshot())

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and bool(self._home.store.rows_of([id]))

    def stats(self) -> dict[str, Any]:
        """Return figures about the index as a JSON object."""
        return describe(self._home, self.snapshot())

    def verify(self) -> None:
        """Compare every committed vector with its checksum.

        Raises:
            IndexCorruptError: Vectors were changed since they were written; the message says how many documents.
        """
        if damaged := damaged_rows(self._home):
            raise IndexCorruptError(
                f"The vectors of {len(damaged)} rows in {self._home.folder} differ from what was written. The "
                "documents are intact in the database; `rader index repair` encodes the damaged vectors again."
            )

    # Closing

    def close(self) -> None:
        """Close the database. An index in memory is gone afterwards."""
        with self._snapshot_lock:
            self._snapshot = None
            self._home.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
