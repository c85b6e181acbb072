"""A collection that is a dict: what the engines' common part does can be seen without any engine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rader_plugins import RaderIndex
from rader_plugins.documents import Document
from rader_plugins.engines import Collection, Limits, Ranking, Row, Scope, Sparse
from rader_plugins.engines.collection import HEADER, Piece
from rader_plugins.errors import AlreadyExistsError, EngineError
from rader_plugins.index.filters import AllOf, Comparison, Node

Key = tuple[str, str]


class DictCollection(Collection):
    """Rows by partition and id. Ties come in the order of insertion; the filters are equalities of top-level keys.

    Attributes:
        failures: How many of the next upserts fail after they have stored half of their rows.
        requests: Names of the calls that there were.
    """

    engine = "A dict"
    shown = "dict://"
    limits = Limits(text_bytes=1000, nul=False)
    term_dimensions = 2**32 - 2
    most = 4096
    consistency = "A search sees every write that has returned."

    def __init__(self) -> None:
        self.rows: dict[Key, Row] = {}
        self.blobs: dict[str, bytes] = {}
        self.failures = 0
        self.requests: list[str] = []

    def exists(self) -> bool:
        return bool(self.blobs)

    def make(self, dimension: int | None, dtype: str, ann: object, header: bytes) -> None:
        if self.exists():
            raise AlreadyExistsError("There is an index already.")
        self.blobs[HEADER] = header

    def open(self, dimension: int | None, dtype: str, ann: object) -> None:
        pass

    def read(self, name: str) -> bytes | None:
        return self.blobs.get(name)

    def write(self, name: str, *pieces: Piece) -> None:
        self.blobs[name] = b"".join(pieces)

    def remove(self, name: str) -> None:
        self.blobs.pop(name, None)

    def names(self, prefix: str) -> list[str]:
        return [name for name in self.blobs if name.startswith(prefix)]

    def optimize(self, ann: object) -> None:
        pass

    def close(self) -> None:
        pass

    def stored(self, partition: str, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        return {id: (row.digest, row.metadata_digest) for id, row in self._of(partition, ids).items()}

    def _of(self, partition: str, ids: Sequence[str]) -> dict[str, Row]:
        return {id: self.rows[partition, id] for id in ids if (partition, id) in self.rows}

    def upsert(self, partition: str, rows: Sequence[Row]) -> None:
        self.requests.append("upsert")
        failing = self.failures > 0
        for row in rows[: len(rows) // 2] if failing else rows:
            self.rows[partition, row.id] = row
        if failing:
            self.failures -= 1
            raise EngineError("The connection broke.", transient=True)

    def put_terms(self, rows: Sequence[tuple[str, str, Sparse]], stamp: int) -> None:
        for partition, id, terms in rows:
            if (partition, id) in self.rows:
                old = self.rows[partition, id]
                self.rows[partition, id] = Row(**{**vars(old), "terms": terms, "stamp": stamp})

    def delete(self, partition: str, ids: Sequence[str]) -> int:
        return sum(self.rows.pop((partition, id), None) is not None for id in ids)

    def documents(self, partition: str, ids: Sequence[str]) -> dict[str, Document]:
        return {id: Document(id, row.text, json.loads(row.metadata)) for id, row in self._of(partition, ids).items()}

    def vectors(self, partition: str, ids: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
        return {id: row.vector for id, row in self._of(partition, ids).items() if row.vector is not None}

    def _visible(self, scope: Scope) -> list[Row]:
        return [
            row
            for (partition, id), row in self.rows.items()
            if partition == scope.partition and id not in scope.excluded and _passes(row, scope.node)
        ]

    def ids(self, scope: Scope) -> Iterator[str]:
        return iter([row.id for row in self._visible(scope)])

    def count(self, partition: str) -> int:
        return sum(where == partition for where, _ in self.rows)

    def size(self, stamp: int | None = None) -> int:
        return sum(stamp is None or row.stamp == stamp for row in self.rows.values())

    def scan(self, stamp: int) -> Iterator[list[tuple[str, str, str]]]:
        keys = [key for key, row in self.rows.items() if row.stamp != stamp]
        for start in range(0, len(keys), 7):
            yield [(*key, self.rows[key].text) for key in keys[start : start + 7]]

    def check(self, node: Node) -> None:
        pass

    def has_field(self, partition: str, path: tuple[str, ...]) -> bool:
        return any(path[0] in json.loads(row.metadata) for row in self.rows.values())

    def nearest(self, vectors: npt.NDArray[Any], k: int, scopes: Sequence[Scope]) -> list[Ranking]:
        self.requests.append("nearest")
        return [
            self._top([(row.id, _dense(row, vector)) for row in self._visible(scope)], k)
            for vector, scope in zip(vectors, scopes, strict=True)
        ]

    def lexical(self, queries: Sequence[Sparse], k: int, scopes: Sequence[Scope]) -> list[Ranking]:
        self.requests.append("lexical")
        scored = [
            [(row.id, _inner(row.terms, query)) for row in self._visible(scope)]
            for query, scope in zip(queries, scopes, strict=True)
        ]
        return [self._top([(id, score) for id, score in pairs if score > 0], k) for pairs in scored]

    def _top(self, pairs: list[tuple[str, float]], k: int) -> Ranking:
        best = sorted(pairs, key=lambda pair: -pair[1])[:k]
        return [id for id, _ in best], np.array([score for _, score in best])

    def dense_scores(self, partition: str, vector: npt.NDArray[Any], ids: Sequence[str]) -> dict[str, float]:
        return {id: _dense(row, vector) for id, row in self._of(partition, ids).items()}

    def lexical_scores(self, partition: str, query: Sparse, ids: Sequence[str]) -> dict[str, float]:
        return {id: _inner(row.terms, query) for id, row in self._of(partition, ids).items()}


def _passes(row: Row, node: Node | None) -> bool:
    if isinstance(node, AllOf):
        return all(_passes(row, part) for part in node.parts)
    if isinstance(node, Comparison) and node.operator == "$eq":
        return bool(json.loads(row.metadata).get(node.key) == node.operands[0])
    return node is None


def _dense(row: Row, vector: npt.NDArray[Any]) -> float:
    assert row.vector is not None
    return float(np.float32(row.vector.astype(np.float64) @ vector.astype(np.float64)))


def _inner(one: Sparse, other: Sparse) -> float:
    values = dict(zip(one.dimensions.tolist(), one.values.tolist(), strict=True))
    return float(
        sum(
            values.get(name, 0.0) * value
            for name, value in zip(other.dimensions.tolist(), other.values.tolist(), strict=True)
        )
    )


def index_in(collection: Any, encoder: Any, **options: Any) -> Any:
    """Make an index in a collection."""
    from rader_plugins.engines.index import create_engine_index

    return create_engine_index(collection, encoder, url=collection.shown, **options)


def embedded(encoder: Any, documents: Sequence[Document] = (), **options: Any) -> RaderIndex:
    """Make an index in memory."""
    index = RaderIndex.create(None, encoder, **options)
    index.add(documents)
    return index
