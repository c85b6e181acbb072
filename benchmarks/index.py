"""An index of 100,000 documents: latency, adding, opening and memory against raw FAISS and raw bm25s.

Vectors are synthetic (unit vectors around 1,000 centres), texts are three sentences of words drawn by Zipf's law.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import Limit, Report, Row, arguments, latencies, milliseconds, resident, timed
from synthetic import GivenVectors, Query, Synthesis, Vectors

from rader_plugins import Document, RaderIndex, RaderRetriever
from rader_plugins.index.dense import AnnConfig

K = 10
_MODES = ("dense", "bm25", "hybrid")


class Raw:
    """FAISS's flat index and bm25s, used as their documentation shows."""

    def __init__(self, dimension: int) -> None:
        import bm25s  # type: ignore[import-untyped]
        import faiss
        import Stemmer
        from bm25s.tokenization import Tokenizer  # type: ignore[import-untyped]

        self._bm25s = bm25s
        self.flat: Any = faiss.IndexFlatIP(dimension)
        self.tokenizer: Any = Tokenizer(stemmer=Stemmer.Stemmer("english"), stopwords="en")
        self.bm25: Any = None
        self._tokens: list[list[int]] = []

    def add(self, texts: Sequence[str], vectors: Vectors) -> None:
        """Append vectors; build BM25 anew, which cannot be extended, from tokens that are kept."""
        self.flat.add(vectors)
        self._tokens += self.tokenizer.tokenize(list(texts), update_vocab=True, show_progress=False)
        self.bm25 = self._bm25s.BM25(k1=0.9, b=0.4, method="lucene")
        self.bm25.index((self._tokens, self.tokenizer.get_vocab_dict()), show_progress=False)

    def dense(self, query: Query) -> Any:
        return self.flat.search(query.vector[None, :], K)[1]

    def lexical(self, query: Query) -> Any:
        tokens = self.tokenizer.tokenize([query.text], update_vocab=False, show_progress=False)
        return self.bm25.retrieve(tokens, k=K, show_progress=False)

    def save(self, folder: Path) -> None:
        import faiss

        faiss.write_index(self.flat, str(folder / "flat.faiss"))
        self.bm25.save(str(folder / "bm25s"), show_progress=False)
        self.tokenizer.save_vocab(str(folder / "bm25s"))

    @classmethod
    def load(cls, folder: Path) -> Raw:
        import faiss

        raw = cls(1)
        raw.flat = faiss.read_index(str(folder / "flat.faiss"))
        raw.bm25 = raw._bm25s.BM25.load(str(folder / "bm25s"), show_progress=False)
        raw.tokenizer.load_vocab(str(folder / "bm25s"))
        return raw


def search(retriever: RaderRetriever, query: Query, mode: Any) -> Any:
    return retriever.search_batch([query.text], K, query_vectors=query.vector[None, :], mode=mode)[0]


def probe(folder: Path, whose: str) -> None:
    """In a process of its own: open, search once in each mode, print how much the resident memory grew."""
    import bm25s  # noqa: F401
    import faiss  # noqa: F401
    import Stemmer

    Stemmer.Stemmer("english")
    given = json.load(sys.stdin)
    query = Query(given["text"], np.array(given["vector"], dtype=np.float32))
    before = resident()["all"]
    if whose == "ours":
        retriever = RaderRetriever(RaderIndex.open(folder))
        found: Any = [search(retriever, query, mode) for mode in _MODES]
    else:
        raw = Raw.load(folder)
        found = [raw.dense(query), raw.lexical(query)]
    grown = resident()["all"] - before  # `found` and what it was searched in are still held
    print(json.dumps({"grown": grown, "results": len(found)}))


def memory(folder: Path, whose: str, query: Query) -> int:
    """Return by how many bytes a fresh process grows that opens and searches what lies in a folder."""
    done = subprocess.run(
        [sys.executable, __file__, "--probe", whose, "--folder", str(folder)],
        input=json.dumps({"text": query.text, "vector": query.vector.tolist()}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return int(json.loads(done.stdout.splitlines()[-1])["grown"])


def build(path: Path, documents: list[Document], vectors: Vectors) -> RaderIndex:
    index = RaderIndex.create(path, encoder=GivenVectors(vectors.shape[1]))
    index.add(documents, vectors=vectors)
    return index


def as_documents(texts: Sequence[str], first: int) -> list[Document]:
    return [Document(id=f"d{first + at:07d}", text=text) for at, text in enumerate(texts)]


def searching(report: Report, retriever: RaderRetriever, raw: Raw, queries: list[Query]) -> None:
    def ours(mode: str) -> Any:
        return lambda query: search(retriever, query, mode)

    dense = latencies({"ours": ours("dense"), "peer": raw.dense}, queries)
    ratio = Limit(1.1)
    report.add(
        Row("dense search", milliseconds(dense["ours"]), "ms", milliseconds(dense["peer"]), "FAISS IndexFlatIP", ratio)
    )
    lexical = latencies({"ours": ours("bm25"), "peer": raw.lexical}, queries)
    ratio = Limit(1.5)
    report.add(Row("BM25 search", milliseconds(lexical["ours"]), "ms", milliseconds(lexical["peer"]), "bm25s", ratio))
    each = latencies({mode: ours(mode) for mode in _MODES} | {"flat": raw.dense, "bm25s": raw.lexical}, queries)
    median = {name: milliseconds(values) for name, values in each.items()}
    hybrid, ratio = median["hybrid"], Limit(1.3)
    report.add(
        Row("hybrid search", hybrid, "ms", median["dense"] + median["bm25"], "our dense + our BM25, summed", ratio)
    )
    report.add(
        Row(
            "hybrid search",
            hybrid,
            "ms",
            median["flat"] + median["bm25s"],
            "FAISS + bm25s, summed, no fusion",
            Limit(0.5),
        )
    )
    same = [
        {int(hit.document.id[1:]) for hit in search(retriever, query, "dense")} == set(raw.dense(query)[0].tolist())
        for query in queries
    ]
    report.notes["queries whose ten dense results are those of FAISS"] = f"{sum(same)} of {len(same)}"
    shared = []
    for query in queries:
        rows, _ = raw.lexical(query)
        hits = {int(hit.document.id[1:]) for hit in search(retriever, query, "bm25")}
        shared.append(len(hits & set(rows[0].tolist())) / max(1, len(hits)))
    report.notes["share of the BM25 results that bm25s has too (it does not weight the query)"] = statistics.mean(
        shared
    )
    report.notes["90th percentile, ms"] = {
        "dense": [1000 * float(np.quantile(dense[name], 0.9)) for name in ("ours", "peer")],
        "bm25": [1000 * float(np.quantile(lexical[name], 0.9)) for name in ("ours", "peer")],
        "hybrid": 1000 * float(np.quantile(each["hybrid"], 0.9)),
    }


def adding(report: Report, index: RaderIndex, raw: Raw, synthesis: Synthesis, query: Query, options: Any) -> None:
    added: dict[str, list[float]] = {"ours": [], "peer": []}
    first: dict[str, list[float]] = {name: [] for name in (*_MODES, "peer")}
    retriever = RaderRetriever(index)
    for _ in range(options.rounds):
        texts, vectors = synthesis.texts(options.added), synthesis.vectors(options.added)
        documents = as_documents(texts, len(index))
        added["ours"].append(timed(lambda: index.add(documents, vectors=vectors))[0])  # noqa: B023
        for mode in _MODES:
            seconds, hits = timed(lambda: search(retriever, query, mode))  # noqa: B023
            first[mode].append(seconds)
            own = Query(texts[0], vectors[0])
            if search(retriever, own, mode)[0].document.id != documents[0].id:
                raise SystemExit(f"A document just added is not the first {mode} result of its own text and vector.")
        added["peer"].append(timed(lambda: raw.add(texts, vectors))[0])  # noqa: B023
        first["peer"].append(timed(lambda: (raw.dense(query), raw.lexical(query)))[0])
    median = {name: statistics.median(values) for name, values in (first | added).items()}
    peer = "FAISS add + bm25s built anew from kept tokens"
    name = f"adding {options.added:,}"
    report.add(Row(name, median["ours"], "s", median["peer"], peer, Limit(2, of="ours")))
    total = median["ours"] + sum(statistics.median(first[mode]) for mode in _MODES)
    both = median["peer"] + statistics.median(first["peer"])
    report.add(Row(f"{name}, then the first search in each mode", total, "s", both, peer, Limit(2, of="ours")))
    report.notes["first search after adding, s"] = {mode: statistics.median(first[mode]) for mode in _MODES}


def opening(report: Report, name: str, path: Path, saved: Path, rounds: int) -> None:
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(rounds):
        took, index = timed(lambda: RaderIndex.open(path))
        index.close()
        seconds["ours"].append(took)
        seconds["peer"].append(timed(lambda: Raw.load(saved))[0])
    ours, peer = (statistics.median(seconds[whose]) for whose in ("ours", "peer"))
    report.add(Row(name, ours, "s", peer, "FAISS read_index + bm25s load", Limit(3, of="ours")))


def approximate(
    report: Report, path: Path, documents: list[Document], vectors: Vectors, queries: list[Query], raw: Raw
) -> None:
    import faiss

    config = AnnConfig("hnsw")
    index = RaderIndex.create(path, encoder=GivenVectors(vectors.shape[1]), ann="hnsw")
    index.add(documents, vectors=vectors)
    built, _ = timed(index.optimize)
    retriever = RaderRetriever(index)
    graph = faiss.IndexHNSWFlat(vectors.shape[1], config.links, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = config.ef_construction
    graph.hnsw.efSearch = config.ef_search
    took, _ = timed(lambda: graph.add(vectors))
    report.add(Row("building HNSW", built, "s", took, "FAISS IndexHNSWFlat.add, same parameters", Limit(1.2)))
    seconds = latencies(
        {
            "ours": lambda query: search(retriever, query, "dense"),
            "peer": lambda query: graph.search(query.vector[None], K),
        },
        queries,
    )
    ours, peer = milliseconds(seconds["ours"]), milliseconds(seconds["peer"])
    report.add(Row("dense search, HNSW", ours, "ms", peer, "FAISS IndexHNSWFlat, same parameters", Limit(1.2)))
    found = {"ours": 0, "peer": 0}
    for query in queries:
        right = set(raw.dense(query)[0].tolist())
        found["ours"] += len(right & {int(hit.document.id[1:]) for hit in search(retriever, query, "dense")})
        found["peer"] += len(right & set(graph.search(query.vector[None], K)[1][0].tolist()))
    recall = {name: count / (K * len(queries)) for name, count in found.items()}
    report.add(Row("recall@10, HNSW", recall["ours"], "", recall["peer"], "FAISS IndexHNSWFlat, same parameters"))
    retriever.index.close()


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--query-words", type=int, default=16, help="words of a query, a third of them function words")
    parser.add_argument("--added", type=int, default=1000, help="documents that are added to the index")
    parser.add_argument("--rounds", type=int, default=5, help="of adding and opening")
    parser.add_argument("--no-hnsw", action="store_true", help="leave out the approximate index, slow to build")
    parser.add_argument("--folder", type=Path, help="where the indexes are made; default: a temporary folder")
    parser.add_argument("--probe", choices=["ours", "peer"], help="used by the benchmark itself")
    options = parser.parse_args()
    if options.probe:
        probe(options.folder, options.probe)
        return
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="rader-benchmark-") as temporary:
        measure(options, Path(temporary))


def measure(options: Any, folder: Path) -> None:
    report = Report("index", options, ("numpy", "faiss-cpu", "bm25s", "PyStemmer"))
    synthesis = Synthesis(options.dimension, options.seed)
    texts, vectors = synthesis.texts(options.documents), synthesis.vectors(options.documents)
    queries = synthesis.queries(options.queries, options.query_words)
    documents = as_documents(texts, 0)
    path, saved = folder / "index", folder / "raw"
    saved.mkdir()

    raw = Raw(options.dimension)
    peer, _ = timed(lambda: raw.add(texts, vectors))
    ours, index = timed(lambda: build(path, documents, vectors))
    title = f"building {options.documents:,} x {options.dimension} on disk (vectors given)"
    report.add(Row(title, ours, "s", peer, "FAISS add + bm25s index, in memory", Limit(1.5)))
    raw.save(saved)

    opening(report, "open", path, saved, options.rounds)
    held = vectors.nbytes + sum(len(text.encode()) for text in texts)
    mega = 2**20
    grown = {"ours": memory(path, "ours", queries[0]), "peer": memory(saved, "peer", queries[0])}
    report.add(
        Row("resident memory", grown["ours"] / mega, "MiB", held / mega, "bytes of vectors and text", Limit(1.3))
    )
    report.add(Row("resident memory", grown["ours"] / mega, "MiB", grown["peer"] / mega, "FAISS + bm25s, without text"))
    searching(report, RaderRetriever(index), raw, queries)
    adding(report, index, raw, synthesis, queries[0], options)
    index.close()
    opening(report, f"open, after {options.rounds} additions", path, saved, options.rounds)
    if not options.no_hnsw:
        exact = Raw(options.dimension)
        exact.flat.add(vectors)
        approximate(report, folder / "hnsw", documents, vectors, queries, exact)
    report.write(options.json)


if __name__ == "__main__":
    main()
