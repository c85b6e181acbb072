"""The SQL of one table. Names are checked before they come here; everything else is a parameter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rader_plugins.engines.collection import Scope
from rader_plugins.engines.postgres.filters import FilterSql
from rader_plugins.index.dense import AnnConfig

__all__ = ["Statements"]


class Statements:
    """What is asked of one table, and of the one beside it that holds blobs.

    Args:
        table: Name of the table: letters, digits, ``_``.
    """

    def __init__(self, table: str) -> None:
        self.table = f'"{table}"'
        self.blobs = f'"{table}_rader"'
        self.ann = f'"{table}_hnsw"'
        self.read = (
            f"SELECT substring(value FROM %(start)s FOR %(most)s), octet_length(value) FROM {self.blobs} "
            "WHERE name = %(name)s"
        )
        self.extend = f"UPDATE {self.blobs} SET value = value || %(value)s WHERE name = %(name)s"
        self.write = (
            f"INSERT INTO {self.blobs} (name, value) VALUES (%(name)s, %(value)s) "
            "ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value"
        )
        self.remove = f"DELETE FROM {self.blobs} WHERE name = %(name)s"
        self.names = f"SELECT name FROM {self.blobs} WHERE starts_with(name, %(prefix)s) ORDER BY name"
        among = f"FROM {self.table} WHERE partition = %(partition)s AND id = ANY(%(ids)s)"
        self.stored = f"SELECT id, digest, metadata_digest {among}"
        self.documents = f"SELECT id, body, metadata {among}"
        self.vectors = f"SELECT id, vector {among}"
        self.delete = f"DELETE {among}"
        self.count = f"SELECT count(*) FROM {self.table} WHERE partition = %(partition)s"
        self.size = f"SELECT count(*) FROM {self.table}"
        self.stamped = f"SELECT count(*) FROM {self.table} WHERE stamp = %(stamp)s"
        self.bytes = (
            f"SELECT pg_total_relation_size('{self.table}'::regclass) + "
            f"pg_total_relation_size('{self.blobs}'::regclass)"
        )
        self.scan = (
            f"SELECT partition, id, body FROM {self.table} "
            "WHERE stamp <> %(stamp)s AND (partition, id) > (%(partition)s, %(id)s) ORDER BY partition, id "
            "LIMIT %(most)s"
        )
        self.put_terms = (
            f"UPDATE {self.table} AS d SET terms = v.terms, stamp = %(stamp)s "
            "FROM unnest(%(partitions)s::text[], %(ids)s::text[], %(terms)b) AS v (partition, id, terms) "
            "WHERE d.partition = v.partition AND d.id = v.id"
        )
        self.has_field = (
            f"SELECT EXISTS (SELECT FROM {self.table} WHERE partition = %(partition)s "
            "AND jsonb_path_exists(metadata, %(path)s::jsonpath))"
        )

    def make(self, dimension: int | None, dtype: str) -> Iterator[str]:
        """Yield what makes both tables."""
        kind = "halfvec" if dtype == "float16" else "vector"
        vector = "" if dimension is None else f"vector {kind}({dimension}) NOT NULL, "
        yield (
            f'CREATE TABLE {self.table} (partition text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL, '
            "body text NOT NULL, metadata jsonb NOT NULL, digest text NOT NULL, metadata_digest text NOT NULL, "
            f"{vector}terms sparsevec NOT NULL, stamp integer NOT NULL, PRIMARY KEY (partition, id))"
        )
        yield f"CREATE INDEX ON {self.table} (stamp)"
        yield f"CREATE TABLE {self.blobs} (name text PRIMARY KEY, value bytea NOT NULL)"
        # Compressing what is all but incompressible costs more than it saves.
        yield f"ALTER TABLE {self.table} ALTER COLUMN terms SET STORAGE EXTERNAL"

    def make_ann(self, ann: AnnConfig, *, half: bool) -> str:
        """Return what builds HNSW over the vectors."""
        operators = "halfvec_ip_ops" if half else "vector_ip_ops"
        links = min(max(ann.links, 2), 100)
        breadth = min(max(ann.ef_construction, 2 * links), 1000)
        return (
            f"CREATE INDEX IF NOT EXISTS {self.ann} ON {self.table} USING hnsw (vector {operators}) "
            f"WITH (m = {links}, ef_construction = {breadth})"
        )

    def upsert(self, *, vectors: bool) -> str:
        """Return what stores rows given as arrays, a column each."""
        columns = ["id", "body", "metadata", "digest", "metadata_digest", *(["vector"] if vectors else []), "terms"]
        texts = set(columns) - {"vector", "terms"}  # these two are sent in the server's own form
        arrays = ", ".join(
            f"%({name}){'s' if name in texts else 'b'}{'::text[]' * (name in texts)}" for name in columns
        )
        values = ", ".join("v.metadata::jsonb" if name == "metadata" else f"v.{name}" for name in columns)
        changes = ", ".join(f"{name} = EXCLUDED.{name}" for name in (*columns[1:], "stamp"))
        return (
            f"INSERT INTO {self.table} (partition, {', '.join(columns)}, stamp) "
            f"SELECT %(partition)s, {values}, v.stamp FROM unnest({arrays}, %(stamp)s::int[]) "
            f"AS v ({', '.join(columns)}, stamp) ON CONFLICT (partition, id) DO UPDATE SET {changes}"
        )

    def condition(self, scope: Scope) -> tuple[str, dict[str, Any]]:
        """Return which rows may be found, as SQL and its parameters."""
        parameters: dict[str, Any] = {"partition": scope.partition}
        parts = ["partition = %(partition)s"]
        if scope.excluded:
            parameters["excluded"] = [id for id in scope.excluded if "\x00" not in id]
            parts.append("id <> ALL(%(excluded)s)")
        if scope.node is not None:
            parts.append(FilterSql(scope.node, parameters).sql)
        return " AND ".join(parts), parameters

    def ids(self, condition: str) -> str:
        """Return what reads a page of ids, in their order."""
        return f"SELECT id FROM {self.table} WHERE {condition} AND id > %(id)s ORDER BY id LIMIT %(most)s"

    def nearest(self, condition: str, *, half: bool, approximate: bool) -> str:
        """Return the search by vector: id and inner product, best first, equal ones by id.

        An approximate structure is only used where the order is its own operator's. Otherwise float16 vectors are
        multiplied as float32, as the embedded index does.
        """
        if approximate:
            product = f"vector <#> %(vector)s::{'halfvec' if half else 'vector'}"
            return (
                f"SELECT id, 0 - ({product}) AS score FROM {self.table} WHERE {condition} "
                f"ORDER BY {product}, id LIMIT %(depth)s"
            )
        return self._best(f"0 - ({self.dense(half=half)})", condition, "TRUE", "depth")

    def dense(self, *, half: bool) -> str:
        """Return the negative inner product with a vector."""
        return f"vector{'::vector' if half else ''} <#> %(vector)s"

    def lexical(self, condition: str) -> str:
        """Return the search by terms: id and inner product, best first, equal ones by id; none without a term."""
        return self._best("0 - (terms <#> %(terms)s)", condition, "score > 0", "depth")

    def _best(self, score: str, condition: str, wanted: str, depth: str) -> str:
        # OFFSET 0 keeps the planner from computing the product again for every use of it.
        return (
            f"SELECT id, score FROM (SELECT id, {score} AS score FROM {self.table} WHERE {condition} OFFSET 0) AS s "
            f"WHERE {wanted} ORDER BY score DESC, id LIMIT %({depth})s"
        )

    def scores(self, product: str) -> str:
        """Return the inner products of some rows."""
        return f"SELECT id, 0 - ({product}) FROM {self.table} WHERE partition = %(partition)s AND id = ANY(%(ids)s)"

    def hybrid(self, condition: str, *, half: bool, approximate: bool) -> str:
        """Return a whole hybrid search: both lists, their pool scored by both, z-scores, the fusion, the documents.

        Single rows are looked up by LATERAL and OFFSET 0. A join lets the planner read the whole table once more where
        it knows little of it: after much was added, and in plans that are made once for all values.
        """
        pool = self._approximate_pool(condition, half=half) if approximate else self._exact_pool(condition, half=half)
        return f"""
            WITH {pool},
            fused AS (
                SELECT id, dense, bm25,
                    %(alpha)s::float8 * {_z_score("dense")} + (1 - %(alpha)s::float8) * {_z_score("bm25")} AS fused
                FROM pool
            ),
            best AS (SELECT * FROM fused ORDER BY fused DESC, id LIMIT %(k)s)
            SELECT b.id, d.body, d.metadata, b.dense, b.bm25, b.fused
            FROM best AS b CROSS JOIN LATERAL (
                SELECT body, metadata FROM {self.table} WHERE partition = %(partition)s AND id = b.id OFFSET 0
            ) AS d
            ORDER BY b.fused DESC, b.id
        """

    def _exact_pool(self, condition: str, *, half: bool) -> str:
        """Return ``pool``: the rows of both lists, from one pass over the table that computes both scores of each."""
        scores = f"id, 0 - ({self.dense(half=half)}) AS dense, 0 - (terms <#> %(terms)s) AS bm25"
        return f"""
            scored AS MATERIALIZED (SELECT {scores} FROM {self.table} WHERE {condition}),
            near AS (SELECT * FROM scored ORDER BY dense DESC, id LIMIT %(depth)s),
            alike AS (SELECT * FROM scored WHERE bm25 > 0 ORDER BY bm25 DESC, id LIMIT %(depth)s),
            pool AS (SELECT * FROM near UNION SELECT * FROM alike)
        """

    def _approximate_pool(self, condition: str, *, half: bool) -> str:
        """Return ``pool``: the rows of both lists, each found by itself; what a row lacks is computed for it."""
        return f"""
            near AS ({self.nearest(condition, half=half, approximate=True)}),
            alike AS ({self.lexical(condition)}),
            pool AS (
                SELECT l.id, COALESCE(l.dense, m.dense) AS dense, COALESCE(l.bm25, m.bm25) AS bm25
                FROM (SELECT id, near.score AS dense, alike.score AS bm25 FROM near FULL JOIN alike USING (id)) AS l
                CROSS JOIN LATERAL (
                    SELECT CASE WHEN l.dense IS NULL THEN 0 - ({self.dense(half=half)}) END AS dense,
                        CASE WHEN l.bm25 IS NULL THEN 0 - (terms <#> %(terms)s) END AS bm25
                    FROM {self.table} WHERE partition = %(partition)s AND id = l.id OFFSET 0
                ) AS m
            )
        """


def _z_score(column: str) -> str:
    """Return the z-score over all rows; constant scores become 0, as in the core's fusion."""
    return (
        f"CASE WHEN max({column}) OVER () = min({column}) OVER () OR stddev_pop({column}) OVER () = 0 THEN 0 "
        f"ELSE ({column} - avg({column}) OVER ()) / stddev_pop({column}) OVER () END"
    )
