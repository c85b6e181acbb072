"""Many at once: 50 callers with a query each, against the same one after the other; searches by 1, 2 and 8 threads.

A query that finds the model busy waits and is encoded together with others that wait: in this process with torch and
with ONNX Runtime, and in one request to an embedding server (a scripted one that answers whatever it is sent after a
fixed time). The peer runs them one by one.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

from common import Limit, Report, Row, arguments, questions
from index import as_documents, build, search
from sentence_transformers import SentenceTransformer
from synthetic import Synthesis

from rader_plugins import Encoder, RaderRetriever, load_encoder
from rader_plugins.encoding.http import HTTPEncoder
from rader_plugins.encoding.lane import LoadedModel
from rader_plugins.encoding.local import LocalEncoder
from rader_plugins.recipes.resolve import resolve
from rader_plugins.reranking.onnx_export import export_model

CALLERS = 50


def throughput(call: Callable[[Any], Any], inputs: Sequence[Any], threads: int) -> tuple[float, float]:
    """Return calls per second of so many threads that take turns, and the seconds of processor time of a call."""
    queue = iter(inputs)
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                item = next(queue, None)
            if item is None:
                return
            call(item)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    start, processor = time.perf_counter(), time.process_time()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return len(inputs) / (time.perf_counter() - start), (time.process_time() - processor) / len(inputs)


@contextlib.contextmanager
def one_by_one() -> Iterator[None]:
    """Let models of this process run every query alone."""
    ask = LoadedModel.ask

    def alone(self: LoadedModel, *texts: Any, budget: int, **options: Any) -> Any:
        return ask(self, *texts, budget=1, **options)

    with mock.patch.object(LoadedModel, "ask", alone):
        yield


def measure_encoder(report: Report, name: str, encoder: Encoder, options: Any) -> None:
    texts = (questions() * (1 + options.queries // len(questions())))[: options.queries]
    encoder.encode_queries(texts[:1])
    rates: dict[str, list[tuple[float, float]]] = {"together": [], "alone": []}
    for _ in range(options.rounds):
        rates["together"].append(throughput(lambda text: encoder.encode_queries([text]), texts, CALLERS))
        with one_by_one():
            rates["alone"].append(throughput(lambda text: encoder.encode_queries([text]), texts, CALLERS))
    speed = {way: median(rate for rate, _ in values) for way, values in rates.items()}
    limit = Limit(2.5, "at least")
    title = f"{CALLERS} callers, a query each, {name}"
    report.add(Row(title, speed["together"], "queries/s", speed["alone"], "one by one", limit))
    processor = {way: 1000 * median(seconds for _, seconds in values) for way, values in rates.items()}
    report.add(Row(f"{title}, processor time", processor["together"], "ms", processor["alone"], "one by one"))
    if isinstance(encoder, LocalEncoder):
        peer = SentenceTransformer(encoder.location, device="cpu")
        rates["peer"] = [throughput(lambda text: peer.encode([text]), texts, 1) for _ in range(options.rounds)]
        rate = median(rate for rate, _ in rates["peer"])
        report.add(Row(title, speed["together"], "queries/s", rate, "SentenceTransformer.encode, one after another"))


@contextlib.contextmanager
def slow_server(latency: float) -> Iterator[str]:
    """Run an embedding server that takes as long for any number of texts; give its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
            time.sleep(latency)
            data = [{"index": at, "embedding": [1.0, float(len(text))]} for at, text in enumerate(texts)]
            content = json.dumps({"data": data}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def measure_server(report: Report, options: Any) -> None:
    texts = [f"query {number}" for number in range(options.queries)]
    rates: dict[int, list[float]] = {1: [], 32: []}
    with slow_server(options.latency) as url, contextlib.ExitStack() as stack:
        encoders = {
            size: stack.enter_context(HTTPEncoder(url, recipe="plain", model="m", batch_size=size)) for size in rates
        }
        for _ in range(options.rounds):
            for size, encoder in encoders.items():
                rates[size].append(throughput(lambda text: encoder.encode_queries([text]), texts, CALLERS)[0])  # noqa: B023
    title = f"{CALLERS} callers, a query each, server of {1000 * options.latency:.0f} ms, 8 connections"
    limit = Limit(2.5, "at least")
    report.add(Row(title, median(rates[32]), "queries/s", median(rates[1]), "one text a request", limit))


def measure_searches(report: Report, options: Any, folder: Path) -> None:
    synthesis = Synthesis(384, options.seed)
    texts, vectors = synthesis.texts(options.documents), synthesis.vectors(options.documents)
    queries = synthesis.queries(options.searches, 16)
    index = build(folder / "index", as_documents(texts, 0), vectors)
    index.optimize()
    retriever = RaderRetriever(index)
    for mode in ("dense", "hybrid", "bm25"):
        rates: dict[int, list[tuple[float, float]]] = {1: [], 2: [], 8: []}
        search(retriever, queries[0], mode)
        for _ in range(options.rounds):
            for threads, values in rates.items():
                values.append(throughput(lambda query: search(retriever, query, mode), queries, threads))  # noqa: B023
        speed = {threads: median(rate for rate, _ in values) for threads, values in rates.items()}
        for threads, limit in ((2, None), (8, Limit(1, "at least"))):
            title = f"{mode} search of {options.documents:,}, {threads} threads"
            report.add(Row(title, speed[threads], "queries/s", speed[1], "1 thread", limit))
        report.notes[f"{mode}: processor time of a search by threads, ms"] = {
            threads: round(1000 * median(seconds for _, seconds in values), 2) for threads, values in rates.items()
        }
    index.close()


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--latency", type=float, default=0.05, help="of the scripted server, seconds")
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--searches", type=int, default=100)
    parser.add_argument("--only", choices=["encoders", "server", "searches"])
    options = parser.parse_args()
    report = Report("many", options, ("numpy", "torch", "onnxruntime"))
    with tempfile.TemporaryDirectory() as temporary:
        if options.only in (None, "encoders"):
            measure_encoder(report, "torch", load_encoder("mini", device="cpu", show_progress=False), options)
            resolved = resolve("mini", kind="retriever")
            export_model(resolved.recipe, resolved.location, Path(temporary) / "onnx", precision="fp32")
            onnx = load_encoder(str(Path(temporary) / "onnx"), show_progress=False)
            measure_encoder(report, "ONNX float32", onnx, options)
        if options.only in (None, "server"):
            measure_server(report, options)
        if options.only in (None, "searches"):
            measure_searches(report, options, Path(temporary))
    report.write(options.json)


if __name__ == "__main__":
    main()
