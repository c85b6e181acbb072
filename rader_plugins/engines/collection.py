"""`Collection`: what one engine does for :class:`~rader_plugins.engines.index.EngineIndex`, in as few calls as do.

An engine stores rows, finds them by vector or terms, and keeps a few named blobs beside them. It knows no encoder, no
statistics and no fusion.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from rader_plugins.documents import Document
from rader_plugins.engines.sparse import Sparse
from rader_plugins.index.dense import AnnConfig
from rader_plugins.index.filters import Node
from rader_plugins.index.request import SearchRequest, Vector

__all__ = ["HEADER", "Collection", "FusedHit", "Limits", "Piece", "Ranking", "Row", "Scope", "positive"]

HEADER = "header"
"""Name of the blob that says that a collection is ours, and what it holds."""

Piece: TypeAlias = "bytes | memoryview"
"""A part of a blob."""

Ranking: TypeAlias = "tuple[list[str], npt.NDArray[np.float64]]"
"""Ids and their scores, best first."""


@dataclass(frozen=True)
class Limits:
    """What an engine cannot store; None means that nothing of the kind is known.

    Attributes:
        id_bytes, text_bytes, metadata_bytes, partition_bytes: Greatest length of each, in bytes of UTF-8.
        dimension: Greatest length of a vector.
        terms: Most different terms of a text.
        nul: Whether U+0000 may stand in a text, an id, metadata or the name of a partition.
    """

    id_bytes: int | None = None
    text_bytes: int | None = None
    metadata_bytes: int | None = None
    partition_bytes: int | None = None
    dimension: int | None = None
    terms: int | None = None
    nul: bool = True


@dataclass(frozen=True)
class Row:
    """A document as an engine stores it. Its key is its partition and its id.

    Attributes:
        id, text: Id and text of the document.
        metadata: Metadata of the document, as JSON.
        digest: Digest of the text, 32 hexadecimal digits.
        metadata_digest: Digest of the metadata in canonical form, 32 hexadecimal digits.
        vector: float32 array of shape (dimension,), of length 1; None in an index without vectors.
        terms: What BM25 multiplies; may be empty.
        stamp: Tells rows that the statistics count from later ones.
    """

    id: str
    text: str
    metadata: str
    digest: str
    metadata_digest: str
    vector: Vector | None
    terms: Sparse
    stamp: int


@dataclass(frozen=True)
class Scope:
    """Which documents may be found.

    Attributes:
        partition: Those of it alone; ``""`` is the one without a name.
        node: Those that pass; every key in it leads where :func:`~rader_plugins.index.filters.path_of` says.
        excluded: Ids of those that must not be.
    """

    partition: str
    node: Node | None = None
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True)
class FusedHit:
    """A hit of a hybrid search that an engine fused itself."""

    document: Document
    dense: float
    bm25: float
    fused: float


class Collection(ABC):
    """One collection or table of an engine. Every method may be called from several threads at once.

    Each method raises :class:`~rader_plugins.errors.EngineError` where the engine fails, with ``transient`` set if the
    call may be repeated, and :class:`~rader_plugins.errors.InputError` where the user must change something.

    Attributes:
        engine: The engine's name, for messages.
        shown: Address of the collection without secrets.
        limits: What cannot be stored.
        term_dimensions: How many dimensions sparse vectors have.
        most: The most hits that one request returns; None means any number.
        breaks_ties: Whether ``nearest`` and ``lexical`` order equal scores by ascending id, also at the last hit.
        consistency: What a search sees of a write, in a sentence.
    """

    engine: str
    shown: str
    limits: Limits = Limits()
    term_dimensions: int
    most: int | None = None
    breaks_ties: bool = False
    consistency: str

    # The collection itself

    @abstractmethod
    def exists(self) -> bool:
        """Whether something of this name is there, ours or a stranger's."""

    @abstractmethod
    def make(self, dimension: int | None, dtype: str, ann: AnnConfig | None, header: bytes) -> None:
        """Make it, empty; a process that is killed meanwhile leaves it or nothing that :meth:`exists` sees.

        Args:
            dimension: Length of the vectors; None makes a collection without vectors.
            dtype: Type in which vectors are stored, ``float32`` or ``float16``.
            ann: None searches exactly; otherwise the engine's own structure, as far as it has the parameters.
            header: The first value of the blob :data:`HEADER`.

        Raises:
            AlreadyExistsError: Something of this name is there.
            InputError: The engine has no such vectors or structure.
        """

    @abstractmethod
    def open(self, dimension: int | None, dtype: str, ann: AnnConfig | None) -> None:
        """Take over what :meth:`make` was given when the collection was made; called before any row is touched."""

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """Return a blob; None if there is none of this name, or the collection is not ours."""

    @abstractmethod
    def write(self, name: str, *pieces: Piece) -> None:
        """Store a blob durably, given as pieces that follow each other, in place of one of the same name."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Delete a blob, if there is one of this name, also one that was not written to its end."""

    @abstractmethod
    def names(self, prefix: str) -> list[str]:
        """Return the names of blobs that begin so, also of those that were not written to their end."""

    @abstractmethod
    def optimize(self, ann: AnnConfig | None) -> None:
        """Do what the engine has for making searches fast and storage small."""

    @abstractmethod
    def close(self) -> None:
        """Give back connections; a later call opens them again."""

    # Rows

    @abstractmethod
    def stored(self, partition: str, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Return id -> digest and metadata digest of those that are stored."""

    @abstractmethod
    def upsert(self, partition: str, rows: Sequence[Row]) -> None:
        """Store rows, in place of those of the same ids; return when all are stored. Safe to repeat."""

    @abstractmethod
    def put_terms(self, rows: Sequence[tuple[str, str, Sparse]], stamp: int) -> None:
        """Replace terms and stamp of stored rows: (partition, id, terms) of each. Those that are gone stay gone."""

    @abstractmethod
    def delete(self, partition: str, ids: Sequence[str]) -> int:
        """Delete rows; return how many there were."""

    @abstractmethod
    def documents(self, partition: str, ids: Sequence[str]) -> dict[str, Document]:
        """Return id -> document of those that are stored."""

    @abstractmethod
    def vectors(self, partition: str, ids: Sequence[str]) -> dict[str, Vector]:
        """Return id -> float32 vector of those that are stored; empty without vectors."""

    @abstractmethod
    def ids(self, scope: Scope) -> Iterator[str]:
        """Yield ids, however many there are, in memory that does not grow with them."""

    @abstractmethod
    def count(self, partition: str) -> int:
        """Return how many rows a partition has."""

    @abstractmethod
    def size(self, stamp: int | None = None) -> int:
        """Return how many rows there are in all partitions, or how many have a stamp."""

    def bytes(self) -> int | None:
        """Return how much it takes on disk; None where the engine does not tell."""
        return None

    @abstractmethod
    def scan(self, stamp: int) -> Iterator[list[tuple[str, str, str]]]:
        """Yield (partition, id, text) of all rows that have another stamp, in lists of about a thousand."""

    # Searching

    @abstractmethod
    def check(self, node: Node) -> None:
        """Look at a filter.

        Raises:
            InputError: The engine cannot express a part of it; the message names the part and what there is.
        """

    @abstractmethod
    def has_field(self, partition: str, path: tuple[str, ...]) -> bool:
        """Whether any document of a partition has something at the end of a path."""

    @abstractmethod
    def nearest(self, vectors: npt.NDArray[np.float32], k: int, scopes: Sequence[Scope]) -> list[Ranking]:
        """Return the ``k`` rows of the greatest inner products for every vector.

        Args:
            vectors: Shape (q, dimension).
            k: How many rows to return, ``most`` at the most.
            scopes: One for every vector.
        """

    @abstractmethod
    def lexical(self, queries: Sequence[Sparse], k: int, scopes: Sequence[Scope]) -> list[Ranking]:
        """Return the ``k`` rows of the greatest inner products above 0 for every sparse vector."""

    @abstractmethod
    def dense_scores(self, partition: str, vector: Vector, ids: Sequence[str]) -> dict[str, float]:
        """Return id -> inner product with a vector, of those that are stored."""

    @abstractmethod
    def lexical_scores(self, partition: str, query: Sparse, ids: Sequence[str]) -> dict[str, float]:
        """Return id -> inner product with a sparse vector, of those that are stored; 0 may be left out."""

    def hybrid(
        self, request: SearchRequest, vectors: npt.NDArray[np.float32], queries: Sequence[Sparse],
        scopes: Sequence[Scope],
    ) -> list[list[FusedHit]] | None:  # fmt: skip
        """Answer a hybrid search as a whole, exactly as the core's ``fuse`` would; None where the engine cannot."""
        return None


def positive(ranking: Ranking) -> Ranking:
    """Return the part of a ranking with scores above 0, for engines that return others too."""
    ids, scores = ranking
    positions = np.flatnonzero(scores > 0)
    return [ids[position] for position in positions], scores[positions]
