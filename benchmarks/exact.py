"""Exact dense search alone: one query and batches against FAISS's flat index and quantisers and usearch's exact search.

Vectors are synthetic (unit vectors around 1,000 centres). Every result is compared with that of scoring every row. With
`--profile`, also where the time of one query and of one build goes, and what share of the memory's rate is reached.
"""

from __future__ import annotations

import cProfile
import importlib.util
import io
import json
import pstats
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import Limit, Report, Row, arguments, latencies, milliseconds, resident, timed
from synthetic import GivenVectors, Synthesis, Vectors

from rader_plugins import Document, RaderIndex
from rader_plugins.index import SearchRequest
from rader_plugins.index.dense import CodedQueries

K = 10
SIZES = ["100000x384", "100000x1024", "20000x3584", "1000000x384"]
_BATCH = 80
_CHECKED = 10_000_000  # scores: single numbers are added slowly


def filled(path: Path, vectors: Vectors) -> RaderIndex:
    index = RaderIndex.create(path, GivenVectors(vectors.shape[1]))
    index.add([Document(id=f"d{row:07d}", text="a") for row in range(len(vectors))], vectors=vectors)
    index.optimize()
    return index


def search(index: RaderIndex, queries: Vectors, k: int = K) -> Any:
    return index.search(SearchRequest(["q"] * len(queries), k=k, mode="dense", vectors=queries))


def peers(vectors: Vectors) -> dict[str, Callable[[Vectors], Any]]:
    """Return what searches the same vectors otherwise; the quantiser's answers are approximate."""
    import faiss

    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    quantised = faiss.IndexScalarQuantizer(vectors.shape[1], faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    quantised.train(vectors[:10_000])
    quantised.add(vectors)
    contenders: dict[str, Callable[[Vectors], Any]] = {
        "FAISS IndexFlatIP": lambda queries: flat.search(queries, K)[1],
        "FAISS IndexScalarQuantizer, 8 bits, approximate": lambda queries: quantised.search(queries, K)[1],
    }
    if importlib.util.find_spec("usearch") is not None:
        import usearch.index

        contenders["usearch, exact"] = lambda queries: (
            usearch.index.search(vectors, queries, K, usearch.index.MetricKind.IP, exact=True).keys
        )
    return contenders


def apart(path: Path, queries: Vectors) -> dict[str, float]:
    """Return what a fresh process notes that opens an index and searches it; see :func:`probe`."""
    np.save(path.parent / "queries.npy", queries)
    done = subprocess.run([sys.executable, __file__, "--probe", str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    notes: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return notes


def probe(path: Path) -> None:
    queries = np.load(path.parent / "queries.npy")
    took, index = timed(lambda: RaderIndex.open(path, GivenVectors(queries.shape[1]), verify=False))
    times = [timed(lambda: search(index, query[None]))[0] for query in queries]  # noqa: B023
    sizes = {f"{name}, GiB": size / 2**30 for name, size in resident().items()}
    print(json.dumps({"open, s": took, "first search, s": times[0], "second search, s": times[1], **sizes}))
    index.close()


def read_rate() -> float:
    """Return how many bytes a second one thread reads from memory, in sums over 256 MB."""
    numbers = np.ones(32 << 20, dtype=np.int64)
    return float(numbers.nbytes / min(timed(numbers.sum)[0] for _ in range(5)))


def measure(report: Report, folder: Path, count: int, dimension: int, options: Any) -> None:
    synthesis = Synthesis(dimension, options.seed, vocabulary=10)
    vectors = synthesis.vectors(count)
    queries = synthesis.vectors(options.queries)
    path = folder / f"{count}-{dimension}"
    index = filled(path, vectors)
    title = f"{count:,} x {dimension}"
    contenders = peers(vectors)
    seconds = latencies(
        {"ours": lambda query: search(index, query[None])}
        | {name: lambda query, call=call: call(query[None]) for name, call in contenders.items()},
        list(queries),
    )
    for name in contenders:
        limit = Limit(0.3) if "Flat" in name else None
        report.add(
            Row(f"one query, {title}", milliseconds(seconds["ours"]), "ms", milliseconds(seconds[name]), name, limit)
        )
    batch = queries[:_BATCH]
    for name, call in contenders.items():
        limit = None if "approximate" in name else Limit(1)
        ours = min(timed(lambda: search(index, batch))[0] for _ in range(3))
        theirs = min(timed(lambda: call(batch))[0] for _ in range(3))  # noqa: B023
        report.add(Row(f"{len(batch)} queries at once, {title}", 1000 * ours, "ms", 1000 * theirs, name, limit))
    same = 0
    checked = queries[: max(10, min(len(queries), _CHECKED // count))]
    for query, hits in zip(checked, search(index, checked), strict=True):
        scores = np.einsum("ij,j->i", vectors, query, dtype=np.float64).astype(np.float32)
        right = sorted(np.argpartition(-scores, K)[: 4 * K].tolist(), key=lambda row: (-scores[row], row))[:K]
        same += [(int(hit.document.id[1:]), hit.score) for hit in hits] == [(r, float(scores[r])) for r in right]
    report.notes[f"{title}: queries whose ids and scores are those of scoring every row"] = f"{same} of {len(checked)}"
    if options.profile:
        profile(report, index, title, queries, folder)
    index.close()
    if Path("/proc/self/smaps_rollup").exists():
        notes = apart(path, queries)
        limit = Limit(0.6, of="ours") if (count, dimension) == (1_000_000, 384) else None
        report.add(Row(f"memory of a searching process, {title}", notes["all, GiB"], "GiB", limit=limit))
        report.notes[f"{title}: a process of its own"] = notes
    shutil.rmtree(path)


def profile(report: Report, index: RaderIndex, title: str, queries: Vectors, folder: Path) -> None:
    """Note what one query consists of, and where a build spends its time."""
    snapshot = index.snapshot()
    runs = snapshot.quantised and snapshot.quantised.runs(snapshot.shards, snapshot.starts, snapshot.rows, K)
    if runs:
        scans, choices, rows = [], [], []
        for query in queries:
            took, coded = timed(lambda: CodedQueries(query[None], runs, snapshot.rows))  # noqa: B023
            scans.append(took)
            took, candidates = timed(lambda: coded.candidates(0, K))  # noqa: B023
            choices.append(took)
            rows.append(snapshot.rows if candidates is None else len(candidates))
        size = sum(run.codes.nbytes for run in runs)
        rate = size / float(np.median(scans))
        report.notes[f"{title}: one query"] = {
            "reading the codes, ms": milliseconds(scans),
            "ruling rows out, ms": milliseconds(choices),
            "rows scored exactly, median": float(np.median(rows)),
            "whole search, ms": milliseconds([timed(lambda: search(index, q[None]))[0] for q in queries]),  # noqa: B023
            "GB/s read": rate / 1e9,
            "share of what one thread reads from memory": rate / read_rate(),
        }
    synthesis = Synthesis(snapshot.shards[0].shape[1], 1)
    texts, vectors = synthesis.texts(10_000), synthesis.vectors(10_000)
    documents = [Document(id=f"d{row:07d}", text=text) for row, text in enumerate(texts)]
    profiler = cProfile.Profile(time.process_time)
    other = RaderIndex.create(folder / f"profile-{snapshot.rows}", GivenVectors(vectors.shape[1]))
    profiler.enable()
    other.add(documents, vectors=vectors)
    profiler.disable()
    other.close()
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).sort_stats("tottime").print_stats(12)
    report.notes[f"{title}: adding 10,000 documents, seconds of processor time"] = text.getvalue()


def short_of_room(folder: Path, size: int) -> bool:
    """Whether so many bytes are neither free in memory nor on disk, as far as the system tells."""
    info = Path("/proc/meminfo")
    free = re.search(r"MemAvailable:\s+(\d+)", info.read_text(encoding="utf-8")) if info.exists() else None
    return shutil.disk_usage(folder).free < size or free is not None and 1024 * int(free.group(1)) < size


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="ROWSxDIMENSION")
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--folder", type=Path, help="where the indexes are made; default: a temporary folder")
    parser.add_argument("--probe", type=Path, help="used by the benchmark itself")
    options = parser.parse_args()
    if options.probe:
        probe(options.probe)
        return
    report = Report("exact", options, ("numpy", "faiss-cpu"))
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="rader-benchmark-") as folder:
        for size in options.sizes:
            count, dimension = map(int, size.split("x"))
            if short_of_room(Path(folder), 10 * count * dimension):
                print(f"| {size} | not run: too little memory or disk | | | |", flush=True)
                continue
            measure(report, Path(folder), count, dimension, options)
    report.write(options.json)


if __name__ == "__main__":
    main()
