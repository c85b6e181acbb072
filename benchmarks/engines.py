"""An index in an engine against the engine's own client doing the same calls, in turns, in one run.

    python -m benchmarks.engines postgres --documents 100000       # starts a server of its own, and ends it
    python -m benchmarks.engines milvus --documents 3000           # Milvus Lite's server
    python -m benchmarks.engines qdrant --documents 1000           # in this process, over a folder in memory
    python -m benchmarks.engines 'postgresql://user@host/db?table=benchmark'

Every call to a client is written down and made again by the client alone, one after the other: on a second collection
what was written, on the same one what was searched. A hybrid search in PostgreSQL is one statement, so there the
separate statements are the measure: dense, sparse, two that score the pool, the documents. Vectors are known. Adding is
also compared with making the rows (sparse vectors, JSON) and the same calls, one batch after the other, since somebody
has to make them. Medians of rounds; the ratios are taken within a round.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from rader_plugins import Document, create_index
from rader_plugins.engines.collection import Row, Scope
from rader_plugins.engines.sparse import TermWeights
from rader_plugins.index import SearchRequest
from tests.support.encoders import HashEncoder

_WORDS = 20_000
_BATCH = 1024
Call = Callable[[Any, str], Any]  # takes the client, and the name of the collection that it is made on


def corpus(count: int, dimension: int, seed: int = 0) -> tuple[list[Document], np.ndarray[Any, Any]]:
    """Return texts of 20 to 120 words, drawn by Zipf's law, and vectors of length 1."""
    rng = np.random.default_rng(seed)
    documents = []
    for number in range(count):
        words = np.minimum(rng.zipf(1.3, size=int(rng.integers(20, 120))), _WORDS)
        documents.append(
            Document(f"d{number:08d}", " ".join(f"w{word}" for word in words.tolist()), {"n": number % 10})
        )
    vectors = rng.standard_normal((count, dimension)).astype(np.float32)
    return documents, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@contextlib.contextmanager
def served(engine: str) -> Iterator[str]:
    """Give the URL of a collection; end the server if it was started here."""
    if "://" in engine:
        yield engine
        return
    from tests.support.milvus_server import MilvusServer
    from tests.support.postgres_server import PostgresServer
    from tests.support.qdrant_folder import QdrantFolder

    server: Any = {"postgres": PostgresServer, "milvus": MilvusServer, "qdrant": QdrantFolder}[engine]()
    try:
        yield server.url("benchmark")
    finally:
        server.stop()


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


class Recorder:
    """Writes down what the client of one index is called with, and makes the same calls by the client alone."""

    def __init__(self, index: Any) -> None:
        self.index = index
        self.collection = index._collection
        self.calls: list[Call] = []
        self.is_postgres = self.collection.engine == "PostgreSQL"
        if self.is_postgres:
            self._watch_postgres()
        else:
            self._watch_client()

    def _watch_client(self) -> None:
        connection, name = self.collection._connection, self.collection._name
        original = connection.call

        def watched(method: str, *arguments: Any, **options: Any) -> Any:
            if arguments and arguments[0] == name:

                def call(client: Any, target: str) -> Any:
                    return getattr(client, method)(target, *arguments[1:], **options)

                self.calls.append(call)
            return original(method, *arguments, **options)

        connection.call = watched

    def _watch_postgres(self) -> None:
        table = self.collection._sql.table
        for name in ("_rows", "_change"):
            original = getattr(self.collection, name)

            def watched(statement: str, *, _original: Any = original, **parameters: Any) -> Any:
                values = {key: value for key, value in parameters.items() if key != "types"}

                def call(client: Any, target: str) -> Any:
                    cursor = client.cursor(binary=True).execute(statement.replace(table, f'"{target}"'), values)
                    return cursor.fetchall() if cursor.description else None

                if table in statement:  # and not the small one beside it
                    self.calls.append(call)
                return _original(statement, **parameters)

            setattr(self.collection, name, watched)

    def taken(self) -> list[Call]:
        """Return the calls since the last time."""
        calls, self.calls[:] = list(self.calls), []
        return calls

    def again(self, calls: Sequence[Call], target: str) -> float:
        """Make calls again, on a collection of a name; return the seconds."""
        if self.is_postgres:
            with self.collection._connections.connection() as client:
                return seconds(lambda: [call(client, target) for call in calls])
        client = self.collection._connection._connected()
        return seconds(lambda: [call(client, target) for call in calls])

    @property
    def name(self) -> str:
        """Name of the collection or the table."""
        name: str = self.collection._sql.table if self.is_postgres else self.collection._name
        return name.strip('"')


def compare_adding(url: str, documents: Sequence[Document], vectors: np.ndarray[Any, Any], rounds: int) -> Recorder:
    """Add parts of the corpus through the index, and by the client alone; return the recorder of the index."""
    encoder = HashEncoder(vectors.shape[1])
    twin: Any = create_index(url.replace("benchmark", "benchmark_raw"), encoder)
    index: Any = create_index(url, encoder)
    recorder = Recorder(index)
    ratios: dict[str, list[float]] = {"the same calls alone": [], "making the rows and the same calls": []}
    rates = []
    first = 7 * len(documents) // 10  # they make the statistics, which the others leave in force, and are not measured
    for number, part in enumerate([np.arange(first), *np.array_split(np.arange(first, len(documents)), rounds)]):
        texts = [documents[position] for position in part]
        taken: dict[str, float] = {}

        def ours(texts: Any = texts, part: Any = part, taken: Any = taken) -> None:
            recorder.taken()
            taken["ours"] = seconds(lambda: index.add(texts, vectors=vectors[part]))
            taken["the same calls alone"] = recorder.again(recorder.taken(), "benchmark_raw")

        def by_hand(texts: Any = texts, part: Any = part, taken: Any = taken) -> None:
            weights = index._moments.weights()
            taken["making the rows and the same calls"] = seconds(
                lambda: write_rows(twin._collection, weights, texts, vectors[part])
            )

        if not number:
            ours()
            index.optimize()
            continue
        # Who comes first meets words that nobody has stemmed yet.
        for call in (ours, by_hand) if number % 2 else (by_hand, ours):
            call()
        rates.append(len(texts) / taken["ours"])
        for name, values in ratios.items():
            values.append(taken[name] / taken["ours"])
    print(f"adding: {statistics.median(rates):,.0f} a second")
    for name, values in ratios.items():
        print(f"  against {name}: {statistics.median(values):.2f} x ({min(values):.2f} to {max(values):.2f})")
    twin.close()
    return recorder


def write_rows(
    collection: Any, weights: TermWeights, documents: Sequence[Document], vectors: np.ndarray[Any, Any]
) -> None:
    """Make rows of documents, batch after batch, look what is stored of them, and store them."""
    for start in range(0, len(documents), _BATCH):
        part = documents[start : start + _BATCH]
        rows = [
            Row(
                f"x{item.id}",
                item.text,
                json.dumps(item.metadata),
                "0" * 32,
                "0" * 32,
                vector,
                terms,
                2,
            )
            for item, vector, terms in zip(
                part, vectors[start : start + _BATCH], weights.documents([item.text for item in part]), strict=True
            )
        ]
        collection.stored("", [row.id for row in rows])
        collection.upsert("", rows)


def separate_statements(index: Any, text: str, vector: np.ndarray[Any, Any], candidates: int) -> None:
    """Make one hybrid search of PostgreSQL statement by statement."""
    collection, query, scope = index._collection, index._moments.weights().query(text), Scope("")
    [(near, _)] = collection.nearest(vector[None], candidates, [scope])
    [(alike, _)] = collection.lexical([query], candidates, [scope])
    collection.lexical_scores("", query, [id for id in near if id not in set(alike)])
    collection.dense_scores("", vector, [id for id in alike if id not in set(near)])
    collection.documents("", near[:10])


def compare_searching(recorder: Recorder, dimension: int, queries: int, rounds: int, candidates: int) -> None:
    """Search the same through the index and by the client alone, in turns."""
    index = recorder.index
    texts, vectors = [document.text for document in corpus(queries, 1)[0]], corpus(queries, dimension)[1]
    times: dict[str, list[float]] = {"hybrid": [], "dense": [], "bm25": [], "alone": []}
    ratios, counts = [], []
    for number in range(-1, rounds * queries):  # the first is not counted
        text, vector = texts[number % queries], vectors[number % queries]
        taken = {}
        for mode in ("dense", "bm25", "hybrid"):
            request: Any = SearchRequest([text], vector[None], k=10, mode=mode, candidates=candidates)  # type: ignore[arg-type]
            recorder.taken()
            taken[mode] = seconds(lambda request=request: index.search(request))  # type: ignore[misc]
        calls = recorder.taken()
        if recorder.is_postgres:
            taken["alone"] = seconds(
                lambda text=text, vector=vector: separate_statements(index, text, vector, candidates)
            )  # type: ignore[misc]
        else:
            taken["alone"] = recorder.again(calls, recorder.name)
        if number < 0:
            continue
        counts.append(len(calls))
        ratios.append(taken["hybrid"] / taken["alone"])
        for name, value in taken.items():
            times[name].append(value)
    medians = {name: 1000 * statistics.median(values) for name, values in times.items()}
    print(f"hybrid: {medians['hybrid']:.1f} ms, the client alone {medians['alone']:.1f} ms")
    print(f"  {statistics.median(ratios):.2f} x (median of {len(ratios)}), {statistics.median(counts):.0f} calls")
    print(f"dense: {medians['dense']:.1f} ms; bm25: {medians['bm25']:.1f} ms")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", help="postgres, milvus, qdrant, or a URL with 'benchmark' as its collection or table")
    parser.add_argument("--documents", type=int, default=6000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--candidates", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    documents, vectors = corpus(options.documents, options.dimension)
    with served(options.engine) as url:
        recorder = compare_adding(url, documents, vectors, options.rounds)
        renewed = seconds(recorder.index.optimize)
        size = recorder.index.stats()["bytes"]
        print(f"optimize: {renewed:.1f} s; {(size or 0) / len(documents):,.0f} bytes a document")
        compare_searching(recorder, options.dimension, options.queries, options.rounds, options.candidates)
        recorder.index.close()
    print(f"load {os.getloadavg()[0]:.0f}, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
