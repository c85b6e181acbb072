"""One index in Qdrant, as :class:`~rader_plugins.engines.collection.Collection` wants it."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rader_plugins.documents import Document
from rader_plugins.engines.blobs import Blobs
from rader_plugins.engines.collection import HEADER, Collection, Limits, Piece, Ranking, Row, Scope, positive
from rader_plugins.engines.facts import Has, facts_of, presence, translate
from rader_plugins.engines.qdrant.connection import QdrantConnection
from rader_plugins.engines.qdrant.filters import filtered, matches
from rader_plugins.engines.sparse import Sparse
from rader_plugins.errors import AlreadyExistsError, EngineError, InputError
from rader_plugins.index.dense import AnnConfig
from rader_plugins.index.filters import Node
from rader_plugins.index.request import Vector

__all__ = ["QdrantCollection"]

_OURS = "rader-plugins"
_REQUEST = 8 << 20  # bytes of one write
_PAGE = 1000  # rows of one read
_SEARCHES = 64  # queries of one request


class QdrantCollection(Collection):
    """One index in Qdrant. Its header and statistics are points of the same collection, without vectors.

    Args:
        connection: The connection to a server, or to a folder.
        name: Name of the collection in Qdrant.
        consistency: Read consistency in a cluster; None takes the server's own.
    """

    engine = "Qdrant"
    limits = Limits(text_bytes=8 << 20, metadata_bytes=8 << 20, dimension=65_536)
    term_dimensions = 2**32 - 1

    def __init__(self, connection: QdrantConnection, name: str, consistency: str | None = None) -> None:
        self._connection = connection
        self._models = connection.models
        self._name = name
        self._reading = {} if consistency is None or connection.is_local else {"consistency": consistency}
        self._about: dict[str, Any] | None = None
        self._search: Any = None
        self.shown = f"{connection.shown}/{name}"
        self.consistency = (
            "A search sees every write that was reported before it began."
            if connection.is_local
            else "Writes are reported when they can be searched (wait); reads "
            + (f"ask for {consistency} of the replicas." if consistency else "ask one replica.")
        )
        self._blobs = Blobs(self._put, self._got, self._drop, self._keys, chunk=1 << 20)

    # The collection itself

    def exists(self) -> bool:
        """See :meth:`Collection.exists`."""
        return bool(self._connection.call("collection_exists", self._name))

    def make(self, dimension: int | None, dtype: str, ann: AnnConfig | None, header: bytes) -> None:
        """See :meth:`Collection.make`."""
        models = self._models
        if self.exists():
            raise self._taken()
        vectors = {}
        if dimension is not None:
            vectors["dense"] = models.VectorParams(
                size=dimension, distance=models.Distance.DOT, datatype=models.Datatype(dtype),
                hnsw_config=_hnsw(models, ann),
            )  # fmt: skip
        try:
            self._connection.call(
                "create_collection",
                self._name,
                vectors_config=vectors,
                sparse_vectors_config={"terms": models.SparseVectorParams()},
                metadata={_OURS: {"header": header.decode()}},
            )
        except EngineError as error:
            if self.exists():
                raise self._taken() from error
            raise
        if not self._connection.is_local:
            self._index_fields()

    def open(self, dimension: int | None, dtype: str, ann: AnnConfig | None) -> None:
        """See :meth:`Collection.open`."""
        exact = ann is None or ann.kind == "flat"
        self._search = self._models.SearchParams(exact=exact, hnsw_ef=None if ann is None or exact else ann.ef_search)

    def _index_fields(self) -> None:
        kinds = self._models.PayloadSchemaType
        tenant = self._models.KeywordIndexParams(type="keyword", is_tenant=True)
        for field, schema in {
            "part": tenant, "kind": kinds.KEYWORD, "tokens": kinds.KEYWORD, "stamp": kinds.INTEGER,
        }.items():  # fmt: skip
            self._connection.call("create_payload_index", self._name, field, schema, wait=True)

    def _taken(self) -> AlreadyExistsError:
        return AlreadyExistsError(f"There is a collection at {self.shown} already; nothing of it was touched.")

    def _described(self) -> dict[str, Any] | None:
        """Return what the collection says of itself; None where it is not ours."""
        if self._about is None:
            metadata = self._connection.call("get_collection", self._name).config.metadata or {}
            self._about = metadata.get(_OURS)
        return self._about

    def read(self, name: str) -> bytes | None:
        """See :meth:`Collection.read`."""
        if name == HEADER:
            self._about = None  # the collection may have been made anew
        if self._about is None and (not self.exists() or self._described() is None):
            return None
        value = self._blobs.read(name)
        if value is None and name == HEADER and self._about is not None:
            return str(self._about["header"]).encode()  # as it was made
        return value

    def write(self, name: str, *pieces: Piece) -> None:
        """See :meth:`Collection.write`."""
        self._blobs.write(name, *pieces)

    def remove(self, name: str) -> None:
        """See :meth:`Collection.remove`."""
        self._blobs.remove(name)

    def names(self, prefix: str) -> list[str]:
        """See :meth:`Collection.names`."""
        return self._blobs.names(prefix)

    def _put(self, values: Mapping[str, str]) -> None:
        points = [
            self._models.PointStruct(id=_point("blob", key), vector={}, payload={"blob": key, "value": text})
            for key, text in values.items()
        ]
        self._connection.call("upsert", self._name, points, wait=True)

    def _got(self, keys: Sequence[str]) -> dict[str, str]:
        points = [_point("blob", key) for key in keys]
        records = self._connection.call("retrieve", self._name, points, with_payload=True, **self._reading)
        return {record.payload["blob"]: record.payload["value"] for record in records}

    def _drop(self, keys: Sequence[str]) -> None:
        self._erase([_point("blob", key) for key in keys])

    def _keys(self, prefix: str) -> list[str]:
        blobs = self._models.Filter(must_not=[matches(self._models, "kind", "row")])
        keys = [record.payload["blob"] for records in self._pages(blobs, ["blob"]) for record in records]
        return [key for key in keys if key.startswith(prefix)]

    def _erase(self, points: list[str]) -> None:
        self._connection.call("delete", self._name, self._models.PointIdsList(points=points), wait=True)

    def optimize(self, ann: AnnConfig | None) -> None:
        """See :meth:`Collection.optimize`; Qdrant merges and indexes segments by itself."""

    def close(self) -> None:
        """See :meth:`Collection.close`."""
        self._connection.close()

    # Rows

    def stored(self, partition: str, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """See :meth:`Collection.stored`."""
        records = self._records(partition, ids, ["id", "digest", "metadata_digest"])
        payloads = [record.payload for record in records]
        return {payload["id"]: (payload["digest"], payload["metadata_digest"]) for payload in payloads}

    def upsert(self, partition: str, rows: Sequence[Row]) -> None:
        """See :meth:`Collection.upsert`."""
        part: list[Any] = []
        size = 0
        for point, bytes_ in [(self._as_point(partition, row), _size(row)) for row in rows]:
            if part and size + bytes_ > _REQUEST:
                self._connection.call("upsert", self._name, part, wait=True)
                part, size = [], 0
            part.append(point)
            size += bytes_
        if part:
            self._connection.call("upsert", self._name, part, wait=True)

    def _as_point(self, partition: str, row: Row) -> Any:
        facts = facts_of(json.loads(row.metadata))
        bounds = {
            name: {
                kind: {"least": ends[0], "greatest": ends[1]}
                for kind, ends in kinds.items()
                if kind != "string"  # Qdrant does not compare them
            }
            for name, kinds in facts.bounds.items()
        }
        vectors: dict[str, Any] = {"terms": self._sparse(row.terms)}
        if row.vector is not None:
            vectors["dense"] = row.vector.tolist()
        payload = {
            "kind": "row",
            "id": row.id,
            "part": partition,
            "text": row.text,
            "metadata": row.metadata,
            "digest": row.digest,
            "metadata_digest": row.metadata_digest,
            "stamp": row.stamp,
            "tokens": facts.tokens,
            "bounds": bounds,
        }
        return self._models.PointStruct(id=_point(partition, row.id), vector=vectors, payload=payload)

    def put_terms(self, rows: Sequence[tuple[str, str, Sparse]], stamp: int) -> None:
        """See :meth:`Collection.put_terms`."""
        terms = {_point(partition, id): terms for partition, id, terms in rows}
        existing = [str(record.id) for record in self._retrieved(list(terms), ["stamp"])]
        if not existing:
            return
        vectors = [
            self._models.PointVectors(id=point, vector={"terms": self._sparse(terms[point])}) for point in existing
        ]
        try:
            self._connection.call("update_vectors", self._name, vectors, wait=True)
            self._connection.call("set_payload", self._name, {"stamp": stamp}, existing, wait=True)
        except InputError as error:  # one was deleted since: without it, it can be repeated
            raise EngineError(str(error), transient=True) from error

    def delete(self, partition: str, ids: Sequence[str]) -> int:
        """See :meth:`Collection.delete`."""
        existing = [str(record.id) for record in self._records(partition, ids, ["id"])]
        if existing:
            self._erase(existing)
        return len(existing)

    def documents(self, partition: str, ids: Sequence[str]) -> dict[str, Document]:
        """See :meth:`Collection.documents`."""
        payloads = [record.payload for record in self._records(partition, ids, ["id", "text", "metadata"])]
        return {
            payload["id"]: Document(payload["id"], payload["text"], json.loads(payload["metadata"]))
            for payload in payloads
        }

    def vectors(self, partition: str, ids: Sequence[str]) -> dict[str, Vector]:
        """See :meth:`Collection.vectors`."""
        records = self._records(partition, ids, ["id"], with_vectors=["dense"])
        return {
            record.payload["id"]: np.asarray(record.vector["dense"], dtype=np.float32)
            for record in records
            if record.vector and "dense" in record.vector
        }

    def ids(self, scope: Scope) -> Iterator[str]:
        """See :meth:`Collection.ids`."""
        for records in self._pages(self._where(scope), ["id"]):
            yield from (record.payload["id"] for record in records)

    def count(self, partition: str) -> int:
        """See :meth:`Collection.count`."""
        return self._count(self._models.Filter(must=[self._in_part(partition)]))

    def size(self, stamp: int | None = None) -> int:
        """See :meth:`Collection.size`."""
        conditions = [matches(self._models, "kind", "row")]
        if stamp is not None:
            conditions.append(matches(self._models, "stamp", stamp))
        return self._count(self._models.Filter(must=conditions))

    def scan(self, stamp: int) -> Iterator[list[tuple[str, str, str]]]:
        """See :meth:`Collection.scan`."""
        where = self._models.Filter(
            must=[matches(self._models, "kind", "row")], must_not=[matches(self._models, "stamp", stamp)]
        )
        for records in self._pages(where, ["id", "part", "text"]):
            payloads = [record.payload for record in records]
            yield [(payload["part"], payload["id"], payload["text"]) for payload in payloads]

    def _count(self, where: Any) -> int:
        return int(self._connection.call("count", self._name, count_filter=where, exact=True).count)

    def _pages(self, where: Any, fields: list[str]) -> Iterator[list[Any]]:
        offset = None
        while True:
            records, offset = self._connection.call(
                "scroll", self._name, scroll_filter=where, limit=_PAGE, offset=offset, with_payload=fields,
                with_vectors=False, **self._reading,
            )  # fmt: skip
            if records:
                yield records
            if offset is None:
                return

    def _records(self, partition: str, ids: Sequence[str], fields: list[str], **options: Any) -> list[Any]:
        return self._retrieved([_point(partition, id) for id in dict.fromkeys(ids)], fields, **options)

    def _retrieved(self, points: Sequence[str], fields: list[str], **options: Any) -> list[Any]:
        records: list[Any] = []
        for start in range(0, len(points), _PAGE):
            part = points[start : start + _PAGE]
            records += self._connection.call(
                "retrieve", self._name, part, with_payload=fields, **{"with_vectors": False, **options}, **self._reading
            )
        return records

    # Searching

    def check(self, node: Node) -> None:
        """See :meth:`Collection.check`."""
        filtered(self._models, translate(node))

    def has_field(self, partition: str, path: tuple[str, ...]) -> bool:
        """See :meth:`Collection.has_field`."""
        has = filtered(self._models, Has(presence(path)))
        where = self._models.Filter(must=[self._in_part(partition), has])
        records, _ = self._connection.call("scroll", self._name, scroll_filter=where, limit=1, with_payload=["id"])
        return bool(records)

    def nearest(self, vectors: npt.NDArray[np.float32], k: int, scopes: Sequence[Scope]) -> list[Ranking]:
        """See :meth:`Collection.nearest`."""
        return self._searched("dense", vectors.tolist(), k, [self._where(scope) for scope in scopes])

    def lexical(self, queries: Sequence[Sparse], k: int, scopes: Sequence[Scope]) -> list[Ranking]:
        """See :meth:`Collection.lexical`."""
        wheres = [self._where(scope) for scope in scopes]
        rankings = self._searched("terms", [self._sparse(query) for query in queries], k, wheres)
        return [positive(ranking) for ranking in rankings]

    def dense_scores(self, partition: str, vector: Vector, ids: Sequence[str]) -> dict[str, float]:
        """See :meth:`Collection.dense_scores`."""
        return self._scores("dense", vector.tolist(), partition, ids)

    def lexical_scores(self, partition: str, query: Sparse, ids: Sequence[str]) -> dict[str, float]:
        """See :meth:`Collection.lexical_scores`."""
        return self._scores("terms", self._sparse(query), partition, ids)

    def _scores(self, field: str, query: Any, partition: str, ids: Sequence[str]) -> dict[str, float]:
        points = [_point(partition, id) for id in ids]
        where = self._models.Filter(must=[self._models.HasIdCondition(has_id=points)])
        [(names, scores)] = self._searched(field, [query], max(1, len(points)), [where])
        return dict(zip(names, scores.tolist(), strict=True))

    def _searched(self, field: str, queries: Sequence[Any], k: int, wheres: Sequence[Any]) -> list[Ranking]:
        """Search one field: many queries in a request, each with its own condition."""
        parameters = None if self._connection.is_local or field != "dense" else self._search
        rankings: list[Ranking] = []
        for start in range(0, len(queries), _SEARCHES):
            part = slice(start, start + _SEARCHES)
            requests = [
                self._models.QueryRequest(
                    query=query, using=field, limit=k, filter=where, params=parameters,
                    with_payload=["id"],
                )
                for query, where in zip(queries[part], wheres[part], strict=True)
            ]  # fmt: skip
            answers = self._connection.call("query_batch_points", self._name, requests, **self._reading)
            for answer in answers:
                ids = [point.payload["id"] for point in answer.points]
                rankings.append((ids, np.array([point.score for point in answer.points], dtype=np.float64)))
        return rankings

    def _in_part(self, partition: str) -> Any:
        return matches(self._models, "part", partition)

    def _where(self, scope: Scope) -> Any:
        conditions = [self._in_part(scope.partition)]
        if scope.node is not None:
            conditions.append(filtered(self._models, translate(scope.node)))
        excluded = None
        if scope.excluded:
            points = [_point(scope.partition, id) for id in scope.excluded]
            excluded = [self._models.HasIdCondition(has_id=points)]
        return self._models.Filter(must=conditions, must_not=excluded)

    def _sparse(self, terms: Sparse) -> Any:
        return self._models.SparseVector(indices=terms.dimensions.tolist(), values=terms.values.tolist())


def _hnsw(models: Any, ann: AnnConfig | None) -> Any:
    if ann is not None and (ann.gpu or ann.kind == "ivfpq"):
        raise InputError("Qdrant has ann='hnsw' (on CPUs, or as its server is configured) and no other structure.")
    if ann is None or ann.kind == "flat":
        return models.HnswConfigDiff(m=0)  # no graph: every search is exact
    return models.HnswConfigDiff(m=ann.links, ef_construct=ann.ef_construction)


def _point(partition: str, id: str) -> str:
    digest = hashlib.blake2b(json.dumps([partition, id]).encode(), digest_size=16).digest()
    return str(uuid.UUID(bytes=digest))


def _size(row: Row) -> int:
    dimension = 0 if row.vector is None else len(row.vector)
    return len(row.text.encode()) + 4 * len(row.metadata.encode()) + 20 * (dimension + len(row.terms))
