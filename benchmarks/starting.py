"""How long one waits for the first answer: loading the small model, opening an index and searching it, the demo.

Each is a process of its own, with the files in the operating system's cache.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import Limit, Report, Row, arguments
from index import as_documents, build
from synthetic import Synthesis

_LOADING = """
import json, sys, time
start = time.perf_counter()
import rader_plugins
imported = time.perf_counter()
encoder = rader_plugins.load_encoder(sys.argv[1], device="cpu")
loaded = time.perf_counter()
encoder.encode_queries(["the fewest guests so that three share a hobby"])
print(json.dumps({"import rader_plugins": imported - start, "load": loaded - imported,
                  "first query": time.perf_counter() - loaded}))
"""
_LIBRARIES = """
import json, time
start = time.perf_counter()
import torch
between = time.perf_counter()
import sentence_transformers
print(json.dumps({"import torch": between - start, "import sentence_transformers": time.perf_counter() - between}))
"""
_OPENING = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
import numpy as np
from rader_plugins import RaderIndex, RaderRetriever
from synthetic import GivenVectors
vector = np.load(sys.argv[3])
start = time.perf_counter()
retriever = RaderRetriever(RaderIndex.open(sys.argv[2], GivenVectors(vector.shape[1])))
times = {"open": time.perf_counter() - start}
for name in ("first search", "second search"):
    start = time.perf_counter()
    retriever.search_batch(["the words of a query"], 10, query_vectors=vector, mode="hybrid")
    times[name] = time.perf_counter() - start
print(json.dumps(times))
"""


def apart(script: str, *words: str) -> dict[str, float]:
    """Run a script in a process of its own; return what it printed last."""
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    times: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return times


def medians(script: str, rounds: int, *words: str) -> dict[str, float]:
    apart(script, *words)  # its files are read then
    runs = [apart(script, *words) for _ in range(rounds)]
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def measure_opening(report: Report, options: Any, folder: Path) -> None:
    import numpy as np

    synthesis = Synthesis(384, options.seed)
    texts, vectors = synthesis.texts(options.documents), synthesis.vectors(options.documents)
    index = build(folder / "index", as_documents(texts, 0), vectors)
    index.optimize()
    index.close()
    np.save(folder / "query.npy", synthesis.vectors(1))
    here = str(Path(__file__).parent)
    times = medians(_OPENING, options.rounds, here, str(folder / "index"), str(folder / "query.npy"))
    both = times["open"] + times["first search"]
    title = f"opening {options.documents:,} documents and the first query"
    report.add(Row(title, both, "s", limit=Limit(1, of="ours")))
    report.notes[title] = times


def measure_loading(report: Report, options: Any) -> None:
    times = medians(_LOADING, options.rounds, "mini")
    total = times["import rader_plugins"] + times["load"]
    libraries = medians(_LIBRARIES, options.rounds)
    name = "import of torch and sentence_transformers alone"
    report.add(Row("loading `mini`", total, "s", sum(libraries.values()), name, Limit(1.5, of="ours")))
    report.notes["loading `mini`, s"] = {**times, **libraries}
    from rader_plugins.recipes.resolve import resolve
    from rader_plugins.reranking.onnx_export import export_model

    resolved = resolve("mini", kind="retriever")
    with tempfile.TemporaryDirectory() as folder:
        export_model(resolved.recipe, resolved.location, Path(folder) / "onnx", precision="fp32")
        times = medians(_LOADING, options.rounds, str(Path(folder) / "onnx"))
    total = times["import rader_plugins"] + times["load"]
    report.add(Row("loading `mini` as ONNX", total, "s", limit=Limit(1.5, of="ours")))
    report.notes["loading `mini` as ONNX, s"] = times


def measure_demo(report: Report) -> None:
    demo = Path(__file__).parents[1] / "examples" / "demo.py"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(demo)]
        start = time.perf_counter()
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=dict(os.environ))
        took = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stderr)
    report.add(Row("the demo, after the install", took, "s", limit=Limit(30, of="ours")))
    report.notes["last line of the demo"] = done.stdout.splitlines()[-1]


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["opening", "loading", "demo"])
    options = parser.parse_args()
    report = Report("starting", options, ("torch", "sentence-transformers", "transformers", "onnxruntime"))
    if options.only in (None, "opening"):
        with tempfile.TemporaryDirectory() as folder:
            measure_opening(report, options, Path(folder))
    if options.only in (None, "loading"):
        measure_loading(report, options)
    if options.only in (None, "demo"):
        measure_demo(report)
    report.write(options.json)


if __name__ == "__main__":
    main()
