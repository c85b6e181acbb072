"""One index in a Milvus server, as :class:`~rader_plugins.engines.collection.Collection` wants it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt

from rader_plugins.background import Workers
from rader_plugins.documents import Document
from rader_plugins.engines.blobs import Blobs
from rader_plugins.engines.collection import HEADER, Collection, Limits, Piece, Ranking, Row, Scope, positive
from rader_plugins.engines.facts import Has, presence, translate
from rader_plugins.engines.milvus.connection import MilvusConnection
from rader_plugins.engines.milvus.expressions import list_of, rendered, string
from rader_plugins.engines.milvus.rows import (
    TERMS,
    TEXT_BYTES,
    document_terms,
    id_of,
    key_of,
    part_of,
    query_terms,
    row_of,
    vector_of,
)
from rader_plugins.engines.milvus.schema import companion_of, make_blobs, make_rows, search_parameters
from rader_plugins.engines.sparse import Sparse
from rader_plugins.errors import AlreadyExistsError, EngineError, InputError
from rader_plugins.index.dense import AnnConfig
from rader_plugins.index.filters import Node
from rader_plugins.index.request import Vector

__all__ = ["MilvusCollection"]

_MOST = 16_384  # hits of one request
_REQUEST = 8 << 20  # bytes of one write
_ROWS = 1000  # rows of one read
_RESULTS = 200_000  # hits of one request, over all its queries


class MilvusCollection(Collection):
    """One index in a Milvus server (2.6 or newer).

    Args:
        connection: The connection to the server.
        name: Name of the collection in the database.
        consistency: Consistency level of searches; everything else is read with ``Strong``.
    """

    engine = "Milvus"
    # Id and partition are one key, in which a byte may take three.
    limits = Limits(
        id_bytes=20_000, text_bytes=TEXT_BYTES, metadata_bytes=TEXT_BYTES, partition_bytes=1800, dimension=32_768
    )
    term_dimensions = TERMS
    most = _MOST

    def __init__(self, connection: MilvusConnection, name: str, consistency: str = "Strong") -> None:
        self._connection = connection
        self._name = name
        self._consistency = consistency
        self._companion: str | None = None
        self._has_vectors = self._half = False
        self._search: dict[str, int] = {}
        self._workers = Workers(8, "rader-milvus")
        self.shown = f"{connection.shown}/{name}"
        self.consistency = (
            "Strong: a search sees every write that was reported before it began."
            if consistency == "Strong"
            else f"{consistency}: a search may miss the newest writes, as Milvus describes that level."
        )

    # The collection itself

    def exists(self) -> bool:
        """See :meth:`Collection.exists`."""
        return bool(self._connection.call("has_collection", self._name))

    def make(self, dimension: int | None, dtype: str, ann: AnnConfig | None, header: bytes) -> None:
        """See :meth:`Collection.make`."""
        if self.exists():
            raise self._taken()
        companion = f"{self._name}_rader_{secrets.token_hex(4)}"
        make_blobs(self._connection, companion)
        try:
            self._blobs(companion).write(HEADER, header)
            make_rows(self._connection, self._name, companion, dimension, dtype, ann)
            other = self._described()
        except (EngineError, InputError) as error:
            self._connection.call("drop_collection", companion)
            if isinstance(error, EngineError) and self.exists():
                raise self._taken() from error
            raise
        if other != companion:
            self._connection.call("drop_collection", companion)
            raise self._taken()

    def _taken(self) -> AlreadyExistsError:
        return AlreadyExistsError(f"There is a collection at {self.shown} already; nothing of it was touched.")

    def open(self, dimension: int | None, dtype: str, ann: AnnConfig | None) -> None:
        """See :meth:`Collection.open`."""
        self._has_vectors, self._half = dimension is not None, dtype == "float16"
        self._search = search_parameters(ann)

    def read(self, name: str) -> bytes | None:
        """See :meth:`Collection.read`."""
        if name == HEADER:
            self._companion = None  # the collection may have been made anew
        if self._companion is None and not self.exists():
            return None
        companion = self._described()
        return None if companion is None else self._blobs(companion).read(name)

    def write(self, name: str, *pieces: Piece) -> None:
        """See :meth:`Collection.write`."""
        self._blobs(self._own()).write(name, *pieces)

    def remove(self, name: str) -> None:
        """See :meth:`Collection.remove`."""
        self._blobs(self._own()).remove(name)

    def names(self, prefix: str) -> list[str]:
        """See :meth:`Collection.names`."""
        return self._blobs(self._own()).names(prefix)

    def optimize(self, ann: AnnConfig | None) -> None:
        """Write segments out and compact them; Milvus builds its indexes by itself."""
        self._connection.call("flush", self._name)
        self._connection.call("compact", self._name)

    def close(self) -> None:
        """See :meth:`Collection.close`."""
        self._connection.close()

    def _described(self) -> str | None:
        """Return the name of the second collection; None where the first is not ours."""
        if self._companion is None:
            self._companion = companion_of(self._connection.call("describe_collection", self._name))
        return self._companion

    def _own(self) -> str:
        companion = self._described()
        if companion is None:
            raise InputError(f"{self.shown} was not made by rader-plugins.")
        return companion

    def _blobs(self, companion: str) -> Blobs:
        call = self._connection.call

        def put(values: Mapping[str, str]) -> None:
            call(
                "upsert", companion, [{"key": key, "value": text, "unused": [0.0, 0.0]} for key, text in values.items()]
            )

        def get(keys: Sequence[str]) -> dict[str, str]:
            rows = call("query", companion, filter=f"key in {list_of(keys)}", output_fields=["key", "value"])
            return {row["key"]: row["value"] for row in rows}

        def drop(keys: Sequence[str]) -> None:
            call("delete", companion, ids=list(keys))

        def keys(prefix: str) -> list[str]:
            pages = self._connection.pages(companion, f"key like {string(prefix + '%')}", ["key"], _ROWS)
            return [row["key"] for rows in pages for row in rows]

        return Blobs(put, get, drop, keys, chunk=48_000)

    # Rows

    def stored(self, partition: str, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """See :meth:`Collection.stored`."""
        rows = self._rows(partition, ids, ["digest", "metadata_digest"])
        return {id: (row["digest"], row["metadata_digest"]) for id, row in rows}

    def upsert(self, partition: str, rows: Sequence[Row]) -> None:
        """See :meth:`Collection.upsert`."""
        values = [row_of(partition, row, half=self._half) for row in rows]
        part: list[dict[str, Any]] = []
        size = 0
        for row, value in zip(rows, values, strict=True):
            part.append(value)
            size += 4 * len(row.text) + 8 * len(row.metadata) + 8 * len(row.terms) + 4 * len(value.get("vector", ()))
            if size > _REQUEST:
                self._connection.call("upsert", self._name, part)
                part, size = [], 0
        if part:
            self._connection.call("upsert", self._name, part)

    def put_terms(self, rows: Sequence[tuple[str, str, Sparse]], stamp: int) -> None:
        """See :meth:`Collection.put_terms`."""
        by_key = {key_of(partition, id): (partition, terms) for partition, id, terms in rows}
        existing = {row["key"] for row in self._query_keys(list(by_key), ["key"])}
        values = [
            {
                "key": key,
                "part": part_of(partition),
                "stamp": stamp,
                "terms": document_terms(terms),
            }
            for key, (partition, terms) in by_key.items()
            if key in existing
        ]
        if values:
            self._connection.call("upsert", self._name, values, partial_update=True)

    def delete(self, partition: str, ids: Sequence[str]) -> int:
        """See :meth:`Collection.delete`."""
        keys = [key_of(partition, id) for id in ids]
        existing = [row["key"] for row in self._query_keys(keys, ["key"])]
        if existing:
            self._connection.call("delete", self._name, ids=existing)
        return len(existing)

    def documents(self, partition: str, ids: Sequence[str]) -> dict[str, Document]:
        """See :meth:`Collection.documents`."""
        rows = self._rows(partition, ids, ["text", "metadata"], consistency_level=self._consistency)
        return {id: Document(id, row["text"], json.loads(row["metadata"])) for id, row in rows}

    def vectors(self, partition: str, ids: Sequence[str]) -> dict[str, Vector]:
        """See :meth:`Collection.vectors`."""
        if not self._has_vectors:
            return {}
        return {id: vector_of(row["vector"], half=self._half) for id, row in self._rows(partition, ids, ["vector"])}

    def ids(self, scope: Scope) -> Iterator[str]:
        """See :meth:`Collection.ids`."""
        for rows in self._connection.pages(self._name, _where(scope), ["key"], _ROWS):
            yield from (id_of(row["key"]) for row in rows)

    def count(self, partition: str) -> int:
        """See :meth:`Collection.count`."""
        return self._count(_in_part(partition))

    def size(self, stamp: int | None = None) -> int:
        """See :meth:`Collection.size`."""
        return self._count("" if stamp is None else f"stamp == {stamp}")

    def scan(self, stamp: int) -> Iterator[list[tuple[str, str, str]]]:
        """See :meth:`Collection.scan`."""
        for rows in self._connection.pages(self._name, f"stamp != {stamp}", ["key", "part", "text"], _ROWS):
            yield [(unquote(row["part"]), id_of(row["key"]), row["text"]) for row in rows]

    def _count(self, where: str) -> int:
        [row] = self._connection.call("query", self._name, filter=where, output_fields=["count(*)"])
        return int(row["count(*)"])

    def _rows(
        self, partition: str, ids: Sequence[str], fields: list[str], **options: Any
    ) -> list[tuple[str, dict[str, Any]]]:
        keys = [key_of(partition, id) for id in dict.fromkeys(ids)]
        return [(id_of(row["key"]), row) for row in self._query_keys(keys, ["key", *fields], **options)]

    def _query_keys(self, keys: Sequence[str], fields: list[str], **options: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for start in range(0, len(keys), _ROWS):
            where = f"key in {list_of(keys[start : start + _ROWS])}"
            rows += self._connection.call("query", self._name, filter=where, output_fields=fields, **options)
        return rows

    # Searching

    def check(self, node: Node) -> None:
        """See :meth:`Collection.check`; everything that :func:`translate` takes can be expressed."""
        translate(node)

    def has_field(self, partition: str, path: tuple[str, ...]) -> bool:
        """See :meth:`Collection.has_field`."""
        where = f"{_in_part(partition)} and {rendered(Has(presence(path)))}"
        return bool(self._connection.call("query", self._name, filter=where, output_fields=["key"], limit=1))

    def nearest(self, vectors: npt.NDArray[np.float32], k: int, scopes: Sequence[Scope]) -> list[Ranking]:
        """See :meth:`Collection.nearest`."""
        queries = list(vectors.astype(np.float16) if self._half else vectors)
        return self._searched("vector", queries, k, [_where(scope) for scope in scopes])

    def lexical(self, queries: Sequence[Sparse], k: int, scopes: Sequence[Scope]) -> list[Ranking]:
        """See :meth:`Collection.lexical`."""
        rankings = self._searched(
            "terms", [query_terms(query) for query in queries], k, [_where(scope) for scope in scopes]
        )
        return [positive(ranking) for ranking in rankings]

    def dense_scores(self, partition: str, vector: Vector, ids: Sequence[str]) -> dict[str, float]:
        """See :meth:`Collection.dense_scores`."""
        query = vector.astype(np.float16) if self._half else vector
        return self._scores("vector", query, partition, ids)

    def lexical_scores(self, partition: str, query: Sparse, ids: Sequence[str]) -> dict[str, float]:
        """See :meth:`Collection.lexical_scores`."""
        return self._scores("terms", query_terms(query), partition, ids)

    def _scores(self, field: str, query: Any, partition: str, ids: Sequence[str]) -> dict[str, float]:
        part = _in_part(partition)
        scores: dict[str, float] = {}
        for start in range(0, len(ids), _MOST):
            keys = [key_of(partition, id) for id in ids[start : start + _MOST]]
            [(names, values)] = self._searched(field, [query], len(keys), [f"{part} and key in {list_of(keys)}"])
            scores |= zip(names, values.tolist(), strict=True)
        return scores

    def _searched(self, field: str, queries: Sequence[Any], k: int, wheres: Sequence[str]) -> list[Ranking]:
        """Search one field; queries of the same condition go in one request, the requests side by side."""
        groups: dict[str, list[int]] = {}
        for number, where in enumerate(wheres):
            groups.setdefault(where, []).append(number)
        step = max(1, min(1000, _RESULTS // k))
        requests = [
            (where, numbers[start : start + step])
            for where, numbers in groups.items()
            for start in range(0, len(numbers), step)
        ]

        def ask(where: str, numbers: Sequence[int]) -> list[Ranking]:
            answers = self._connection.call(
                "search", self._name, data=[queries[number] for number in numbers], anns_field=field, limit=k,
                filter=where, output_fields=["key"], search_params=self._search_params(field, k),
                consistency_level=self._consistency,
            )  # fmt: skip
            return [([id_of(key) for key in hits.ids], np.array(hits.distances, dtype=np.float64)) for hits in answers]

        if len(requests) == 1:
            answers = [ask(*requests[0])]
        else:
            answers = list(self._workers.map(lambda request: ask(*request), requests))
        rankings: list[Ranking] = [([], np.zeros(0))] * len(queries)
        for (_, numbers), answer in zip(requests, answers, strict=True):
            for number, ranking in zip(numbers, answer, strict=True):
                rankings[number] = ranking
        return rankings

    def _search_params(self, field: str, k: int) -> dict[str, Any]:
        parameters = dict(self._search) if field == "vector" else {}
        if "ef" in parameters:
            parameters["ef"] = max(k, parameters["ef"])  # HNSW returns no more than it looks at
        return {"metric_type": "IP", "params": parameters}


def _in_part(partition: str) -> str:
    return f"part == {string(part_of(partition))}"


def _where(scope: Scope) -> str:
    conditions = [_in_part(scope.partition)]
    if scope.node is not None:
        conditions.append(f"({rendered(translate(scope.node))})")
    if scope.excluded:
        conditions.append(f"key not in {list_of(key_of(scope.partition, id) for id in scope.excluded)}")
    return " and ".join(conditions)
