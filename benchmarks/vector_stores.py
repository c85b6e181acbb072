"""Milvus and Qdrant through rader-plugins against their own clients doing the same calls, in one run.

    python benchmarks/vector_stores.py milvus://127.0.0.1:19530/bench --documents 2000
    python benchmarks/vector_stores.py qdrant:///dev/shm/bench/docs --documents 500

Adding: given vectors; the client sends the same rows again. Hybrid search: the dense and the sparse request, the two
score requests of the pool and the documents, one after the other by the client alone, against ``RaderRetriever`` with
vectors that are known. Run it from the repository, with its root on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from rader_plugins import Document, RaderRetriever, create_index
from rader_plugins.engines.collection import Scope
from tests.support.encoders import HashEncoder, random_text


def seconds(call: Callable[[int], Any], times: int) -> float:
    """Median of some calls, each with its number."""
    taken = []
    for number in range(times):
        started = time.perf_counter()
        call(number)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def by_hand(index: Any, query: str, vector: Any, candidates: int, k: int) -> list[str]:
    """The calls of one hybrid search, without ties, fusion and threads."""
    collection, scope = index._collection, Scope("")
    terms = index._moments.weights().query(query)
    [(near, _)] = collection.nearest(vector[None], candidates, [scope])
    [(alike, _)] = collection.lexical([terms], candidates, [scope])
    lacking = [id for id in alike if id not in set(near)]
    collection.dense_scores("", vector, lacking)
    collection.lexical_scores("", terms, [id for id in near if id not in set(alike)])
    collection.documents("", near[:k])
    return near[:k]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--queries", type=int, default=20)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    encoder = HashEncoder(options.dimension)
    documents = [Document(f"d{n:06d}", random_text(rng, 60), {"n": n}) for n in range(options.documents)]
    vectors = encoder.encode_documents([document.text for document in documents])
    index: Any = create_index(options.url, encoder)
    # The rows as they were sent are sent again by the collection alone, after each part: the load is the same for both.
    upsert, raw_adding = index._collection.upsert, 0.0

    def twice(partition: str, rows: Any) -> None:
        nonlocal raw_adding
        upsert(partition, rows)
        started = time.perf_counter()
        upsert(partition, rows)
        raw_adding += time.perf_counter() - started

    index._collection.upsert = twice
    started = time.perf_counter()
    index.add(documents, vectors=vectors)
    adding = time.perf_counter() - started - raw_adding
    index._collection.upsert = upsert
    index.optimize()

    queries = [random_text(rng, 8) for _ in range(options.queries)]
    query_vectors = encoder.encode_queries(queries)
    retriever = RaderRetriever(index, "hybrid", candidates=options.candidates)

    def ours(number: int) -> None:
        position = number % len(queries)
        retriever.search_batch([queries[position]], 10, query_vectors=query_vectors[position : position + 1])

    def theirs(number: int) -> None:
        position = number % len(queries)
        by_hand(index, queries[position], query_vectors[position], options.candidates, 10)

    ours(0), theirs(0)
    pairs = [(seconds(ours, options.queries), seconds(theirs, options.queries)) for _ in range(3)]
    searching, raw_searching = (statistics.median(values) for values in zip(*pairs, strict=True))
    print(
        json.dumps(
            {
                "engine": index.stats()["engine"],
                "documents": options.documents,
                "add_per_second": round(len(documents) / adding, 1),
                "add_ratio": round(raw_adding / adding, 2),
                "hybrid_ms": round(1000 * searching, 1),
                "hybrid_ratio": round(searching / raw_searching, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
