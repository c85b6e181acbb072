"""`PostgresCollection`: a table with pgvector's columns, and a small one beside it for what is named."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import BytesIO
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from rader_plugins.background import Workers
from rader_plugins.documents import Document
from rader_plugins.engines.collection import HEADER, Collection, FusedHit, Limits, Piece, Ranking, Row, Scope
from rader_plugins.engines.postgres.connections import Connections, positive
from rader_plugins.engines.postgres.filters import check_nul, json_path
from rader_plugins.engines.postgres.packing import PackedHalf, PackedTerms, PackedVector, exact_numbers, unpack
from rader_plugins.engines.postgres.statements import Statements
from rader_plugins.engines.sparse import Sparse
from rader_plugins.engines.urls import EngineUrl
from rader_plugins.errors import AlreadyExistsError, EngineError, InputError, RaderWarning
from rader_plugins.index.dense import AnnConfig
from rader_plugins.index.filters import Node
from rader_plugins.index.request import SearchRequest, Vector

__all__ = ["PostgresCollection"]

T = TypeVar("T")
_OPTIONS = (
    "table", "partition", "connections", "timeout", "host", "sslmode", "sslrootcert", "sslcert", "sslkey",
    "connect_timeout",
)  # fmt: skip
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,47}")
_PAGE = 1000
_BLOB = 4 << 20  # bytes of a blob that are sent or fetched at once
_MOST_INDEXED = {"float32": 2000, "float16": 4000}  # dimensions that pgvector's HNSW takes
_NOT_OURS = ("42P01", "42703", "42804", "42809", "42883", "22P02")  # no such table, or one of other columns
_TAKEN = ("42P07", "42710", "23505")  # a table, a type or a row of the catalogue of this name is there


class PostgresCollection(Collection):
    """A table in a PostgreSQL database with pgvector.

    Args:
        url: URL of the server and the table: ``postgresql://user@host:port/database?table=docs``.

    Raises:
        InputError: The URL has an unknown option, or the table an unusable name.
        MissingExtraError: The extra ``postgres`` is not installed.
    """

    engine = "PostgreSQL"
    limits = Limits(id_bytes=2000, partition_bytes=500, dimension=16_000, terms=16_000, nul=False)
    term_dimensions = 1_000_000_000
    breaks_ties = True
    consistency = "A search sees every write that had returned when it began; each part of an add() appears at once."

    def __init__(self, url: EngineUrl) -> None:
        url.check_options(_OPTIONS)
        table = url.options.get("table", "rader")
        if not _TABLE.fullmatch(table):
            raise InputError(f"table must be a name of letters, digits and _, at most 48 of them, not {table!r}.")
        self.shown = url.shown
        self._sql = Statements(table)
        self._has_vectors, self._half = True, False
        self._ann: AnnConfig | None = None
        self._connections = Connections(
            url, most=round(positive(url, "connections", 8)), timeout=positive(url, "timeout", 60)
        )
        self._workers = Workers(round(positive(url, "connections", 8)), "rader-postgres")

    # The table itself

    def exists(self) -> bool:
        """Whether one of the two tables, or something else of its name, is there."""
        statement = "SELECT COALESCE(to_regclass(%(table)s), to_regclass(%(blobs)s)) IS NOT NULL"
        return bool(self._rows(statement, types=False, table=self._sql.table, blobs=self._sql.blobs)[0][0])

    def make(self, dimension: int | None, dtype: str, ann: AnnConfig | None, header: bytes) -> None:
        """Make both tables in one transaction."""
        _check_ann(ann, dimension, dtype)
        if self.exists():  # also for a user who may not make tables
            raise self._taken()
        with self._connections.connection(types=False) as connection:
            extension = connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchone()
            if extension is None:
                _install(connection, self.shown)
        try:
            with self._connections.connection() as connection, connection.transaction():
                for statement in self._sql.make(dimension, dtype):
                    connection.execute(statement)
                connection.execute(self._sql.write, {"name": HEADER, "value": header})
        except EngineError as error:
            if getattr(error.__cause__, "sqlstate", None) in _TAKEN:
                raise self._taken() from None
            raise

    def _taken(self) -> AlreadyExistsError:
        return AlreadyExistsError(
            f"{self.shown} is there already, as {self._sql.table} or {self._sql.blobs}; nothing of it was touched. If "
            "it is an index, open_index opens it."
        )

    def open(self, dimension: int | None, dtype: str, ann: AnnConfig | None) -> None:
        """Take over how vectors are stored and searched."""
        self._has_vectors, self._half, self._ann = dimension is not None, dtype == "float16", ann

    def read(self, name: str) -> bytes | None:
        """Return a blob; None without a table of ours."""
        try:
            rows = self._rows(self._sql.read, types=False, name=name, start=1, most=_BLOB)
        except EngineError as error:
            if getattr(error.__cause__, "sqlstate", None) in _NOT_OURS:
                return None
            raise
        value = rows[0][0] if rows else None
        if not isinstance(value, bytes) or rows[0][1] == len(value):
            return value if isinstance(value, bytes) else None
        whole = BytesIO()
        while rows and rows[0][0]:
            whole.write(rows[0][0])
            rows = self._rows(self._sql.read, types=False, name=name, start=whole.tell() + 1, most=_BLOB)
        return whole.getvalue() if rows else None  # it was removed meanwhile

    def write(self, name: str, *pieces: Piece) -> None:
        """Store a blob, a part of it after the other, in one transaction."""
        parts = [piece[start : start + _BLOB] for piece in pieces for start in range(0, len(piece), _BLOB)] or [b""]
        with self._connections.connection() as connection, connection.transaction():
            for statement, value in zip([self._sql.write, *[self._sql.extend] * (len(parts) - 1)], parts, strict=True):
                connection.execute(statement, {"name": name, "value": value})

    def remove(self, name: str) -> None:
        """Delete a blob."""
        self._change(self._sql.remove, name=name)

    def names(self, prefix: str) -> list[str]:
        """Return names of blobs; there are no unfinished ones."""
        return [name for (name,) in self._rows(self._sql.names, types=False, prefix=prefix)]

    def optimize(self, ann: AnnConfig | None) -> None:
        """Build HNSW, if it is wanted, take out what is dead and count what is there."""
        with self._connections.connection(limited=False) as connection:
            if ann is not None:
                connection.execute(self._sql.make_ann(ann, half=self._half))
            remarks: list[str] = []
            listener = partial(_take_warning, remarks)
            connection.add_notice_handler(listener)
            connection.execute(f"VACUUM ANALYZE {self._sql.table}")
            connection.remove_notice_handler(listener)
        if remarks:  # it succeeds where the user may not do it
            warnings.warn(RaderWarning(f"optimize() was not done as a whole: {' '.join(remarks)}."), stacklevel=4)

    def close(self) -> None:
        """Close the connections of the pool."""
        self._connections.close()

    # Rows

    def stored(self, partition: str, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Return id -> digests."""
        return {id: (digest, other) for id, digest, other in self._among(self._sql.stored, partition, ids)}

    def upsert(self, partition: str, rows: Sequence[Row]) -> None:
        """Store rows in one statement: all of them or none."""
        # In the order of their ids, so that two writers do not wait for each other.
        rows = sorted(rows, key=lambda row: row.id)
        columns: dict[str, Any] = {
            "id": [row.id for row in rows],
            "body": [row.text for row in rows],
            "metadata": [exact_numbers(row.metadata) for row in rows],
            "digest": [row.digest for row in rows],
            "metadata_digest": [row.metadata_digest for row in rows],
            "terms": PackedTerms.of_all([row.terms for row in rows], self.term_dimensions),
            "stamp": [row.stamp for row in rows],
        }
        if self._has_vectors:
            packed = PackedHalf if self._half else PackedVector
            columns["vector"] = packed.of_all([row.vector for row in rows if row.vector is not None])
        self._change(self._sql.upsert(vectors=self._has_vectors), partition=partition, **columns)

    def put_terms(self, rows: Sequence[tuple[str, str, Sparse]], stamp: int) -> None:
        """Replace terms and stamps."""
        self._change(
            self._sql.put_terms,
            stamp=stamp,
            partitions=[partition for partition, _, _ in rows],
            ids=[id for _, id, _ in rows],
            terms=PackedTerms.of_all([terms for _, _, terms in rows], self.term_dimensions),
        )

    def delete(self, partition: str, ids: Sequence[str]) -> int:
        """Delete the rows of these ids; return how many there were."""
        return self._change(self._sql.delete, partition=partition, ids=_storable(ids))

    def documents(self, partition: str, ids: Sequence[str]) -> dict[str, Document]:
        """Return id -> document."""
        return {
            id: Document(id, body, metadata) for id, body, metadata in self._among(self._sql.documents, partition, ids)
        }

    def vectors(self, partition: str, ids: Sequence[str]) -> dict[str, Vector]:
        """Return id -> vector."""
        if not self._has_vectors:
            return {}
        rows = self._among(self._sql.vectors, partition, ids)
        return {id: unpack(vector, half=self._half) for id, vector in rows}

    def ids(self, scope: Scope) -> Iterator[str]:
        """Yield ids in their order, a page at a time."""
        condition, parameters = self._sql.condition(scope)
        last = ""
        while True:
            page = self._rows(self._sql.ids(condition), **parameters, id=last, most=_PAGE)
            yield from (id for (id,) in page)
            if len(page) < _PAGE:
                return
            last = page[-1][0]

    def count(self, partition: str) -> int:
        """Return how many rows a partition has."""
        return int(self._rows(self._sql.count, partition=partition)[0][0])

    def size(self, stamp: int | None = None) -> int:
        """Return how many rows there are, or have a stamp."""
        if stamp is None:
            return int(self._rows(self._sql.size)[0][0])
        return int(self._rows(self._sql.stamped, stamp=stamp)[0][0])

    def bytes(self) -> int:
        """Return what both tables and their indexes take."""
        return int(self._rows(self._sql.bytes)[0][0])

    def scan(self, stamp: int) -> Iterator[list[tuple[str, str, str]]]:
        """Yield rows of another stamp, a page at a time."""
        partition, id = "", ""
        while page := self._rows(self._sql.scan, stamp=stamp, partition=partition, id=id, most=_PAGE):
            yield [(where, name, body) for where, name, body in page]
            partition, id, _ = page[-1]

    # Searching

    def check(self, node: Node) -> None:
        """Refuse what PostgreSQL has no string for; everything else can be expressed."""
        check_nul(node)

    def has_field(self, partition: str, path: tuple[str, ...]) -> bool:
        """Whether any document has something there."""
        return bool(self._rows(self._sql.has_field, partition=partition, path=json_path(path))[0][0])

    def nearest(self, vectors: npt.NDArray[np.float32], k: int, scopes: Sequence[Scope]) -> list[Ranking]:
        """Search by vector, several queries side by side."""

        def search(place: int) -> Ranking:
            condition, parameters = self._sql.condition(scopes[place])
            statement = self._sql.nearest(condition, half=self._half, approximate=self._ann is not None)
            return self._ranking(statement, k, **parameters, vector=PackedVector.of(vectors[place]))

        return self._each(search, len(vectors))

    def lexical(self, queries: Sequence[Sparse], k: int, scopes: Sequence[Scope]) -> list[Ranking]:
        """Search by terms, several queries side by side."""

        def search(place: int) -> Ranking:
            condition, parameters = self._sql.condition(scopes[place])
            terms = PackedTerms.of(queries[place], self.term_dimensions)
            return self._ranking(self._sql.lexical(condition), k, **parameters, terms=terms)

        return self._each(search, len(queries))

    def hybrid(
        self, request: SearchRequest, vectors: npt.NDArray[np.float32], queries: Sequence[Sparse],
        scopes: Sequence[Scope],
    ) -> list[list[FusedHit]]:  # fmt: skip
        """Answer every query with one statement, several side by side."""

        def search(place: int) -> list[FusedHit]:
            condition, parameters = self._sql.condition(scopes[place])
            statement = self._sql.hybrid(condition, half=self._half, approximate=self._ann is not None)
            rows = self._searched(
                statement,
                max(request.k, request.candidates),
                **parameters,
                vector=PackedVector.of(vectors[place]),
                terms=PackedTerms.of(queries[place], self.term_dimensions),
                alpha=float(request.alpha),
                k=request.k,
            )
            return [FusedHit(Document(id, body, metadata), *scores) for id, body, metadata, *scores in rows]

        return self._each(search, len(queries))

    def dense_scores(self, partition: str, vector: Vector, ids: Sequence[str]) -> dict[str, float]:
        """Return inner products with a vector."""
        statement = self._sql.scores(self._sql.dense(half=self._half))
        return dict(self._among(statement, partition, ids, vector=PackedVector.of(vector)))

    def lexical_scores(self, partition: str, query: Sparse, ids: Sequence[str]) -> dict[str, float]:
        """Return inner products with terms."""
        statement = self._sql.scores("terms <#> %(terms)s")
        return dict(self._among(statement, partition, ids, terms=PackedTerms.of(query, self.term_dimensions)))

    # Statements

    def _each(self, search: Callable[[int], T], count: int) -> list[T]:
        if count == 1:
            return [search(0)]
        return [future.result() for future in [self._workers.submit(search, place) for place in range(count)]]

    def _ranking(self, statement: str, depth: int, **parameters: Any) -> Ranking:
        rows = self._searched(statement, depth, **parameters)
        return [id for id, _ in rows], np.array([score for _, score in rows], dtype=np.float64)

    def _searched(self, statement: str, depth: int, **parameters: Any) -> list[Any]:
        parameters["depth"] = depth
        if self._ann is None:
            return self._rows(statement, **parameters)
        breadth = min(max(self._ann.ef_search, depth), 1000)
        with self._connections.connection() as connection, connection.transaction():
            # As deep as it takes for a filter to leave enough, in the order of the scores.
            connection.execute("SELECT set_config('hnsw.ef_search', %s, true)", [str(breadth)])
            connection.execute("SET LOCAL hnsw.iterative_scan = strict_order")
            return connection.cursor(binary=True).execute(statement, parameters).fetchall()

    def _among(self, statement: str, partition: str, ids: Sequence[str], **parameters: Any) -> list[Any]:
        return self._rows(statement, partition=partition, ids=_storable(ids), **parameters) if ids else []

    def _rows(self, statement: str, *, types: bool = True, **parameters: Any) -> list[Any]:
        with self._connections.connection(types=types) as connection:
            return connection.cursor(binary=True).execute(statement, parameters).fetchall()

    def _change(self, statement: str, **parameters: Any) -> int:
        with self._connections.connection() as connection:
            return int(connection.execute(statement, parameters).rowcount)


def _take_warning(remarks: list[str], notice: Any) -> None:
    if notice.severity_nonlocalized == "WARNING":
        remarks.append(str(notice.message_primary))


def _storable(ids: Sequence[str]) -> list[str]:
    return [id for id in ids if "\x00" not in id]  # others are not there


def _check_ann(ann: AnnConfig | None, dimension: int | None, dtype: str) -> None:
    if ann is None:
        return
    if ann.kind != "hnsw":
        raise InputError(f"PostgreSQL has ann='hnsw' or None (exact search), not {ann.kind!r}.")
    most = _MOST_INDEXED[dtype]
    if dimension is not None and dimension > most:
        half = "" if dtype == "float16" or dimension > _MOST_INDEXED["float16"] else "dtype='float16' or "
        raise InputError(
            f"pgvector's HNSW takes {most:,} dimensions of {dtype} at most, not {dimension:,}: use {half}ann=None, "
            "which searches exactly."
        )


def _install(connection: Any, shown: str) -> None:
    try:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except Exception as error:
        state = getattr(error, "sqlstate", None)
        if state in _TAKEN:  # somebody else installed it at the same moment
            return
        if state in ("42501", "58P01", "0A000"):
            raise EngineError(
                f"pgvector is not installed in the database of {shown}, and cannot be by this user: CREATE EXTENSION "
                f"vector, by somebody who may. The server says: {' '.join(str(error).split())}"
            ) from None
        raise
