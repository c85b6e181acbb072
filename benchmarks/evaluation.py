"""What `evaluate()` adds to a retriever's own time, against the bare loop over `retriever.search` on the same queries.

Both run whole, in turns. `evaluate()` checks, keeps and scores the results and writes its folder; the bare loop throws
them away. Two runs of the same loop differ by more than what is added, so a second row takes the retriever's time from
the run itself; the limit is on that one.
"""

from __future__ import annotations

import statistics
import tempfile
import warnings
from pathlib import Path

from common import PRINCIPLES, Limit, Report, Row, arguments, timed, varied_pages

from rader_plugins import Document, RaderIndex, RaderRetriever, load_encoder
from rader_plugins.errors import RaderWarning
from rader_plugins.evaluation import Evaluation, RetrievalDataset, evaluate, index_corpus

_LIMIT = Limit(1.05)


def bare(retriever: RaderRetriever, dataset: RetrievalDataset, depth: int) -> None:
    for query in dataset.judged:
        retriever.search(dataset.queries[query], depth)


def evaluated(retriever: RaderRetriever, dataset: RetrievalDataset, depth: int) -> Evaluation:
    with tempfile.TemporaryDirectory() as folder:
        return evaluate(retriever, dataset, k_values=[10, depth], out=Path(folder) / "run")


def measure(report: Report, retriever: RaderRetriever, dataset: RetrievalDataset, depth: int, rounds: int) -> None:
    ours, peer, added, within = [], [], [], []
    count = len(dataset.judged)
    bare(retriever, dataset, depth)
    evaluated(retriever, dataset, depth)
    for number in range(rounds):
        for contender in ("ours", "peer") if number % 2 else ("peer", "ours"):
            if contender == "peer":
                peer.append(timed(lambda: bare(retriever, dataset, depth))[0])
                continue
            seconds, found = timed(lambda: evaluated(retriever, dataset, depth))
            ours.append(seconds)
            # What the calls of the retriever took within this very run: no other run's noise in the difference.
            within.append(sum(found.seconds.values()))
            added.append(seconds - within[-1])
    name = f"evaluate(), {count} queries, {retriever.mode}, {depth} documents each"
    # BM25 alone takes about a millisecond: what is done with a hundred results shows beside that.
    limit = None if retriever.mode == "bm25" else _LIMIT
    report.add(Row(name, statistics.median(ours), "s", statistics.median(peer), "loop over search()"))
    report.add(Row(name, statistics.median(ours), "s", statistics.median(within), "its calls of search()", limit))
    report.notes[name] = {
        "added, milliseconds per query": 1000 * statistics.median(added) / count,
        "added, share of the retriever's time in the same run": statistics.median(
            extra / (total - extra) for extra, total in zip(added, ours, strict=True)
        ),
        "seconds per round": {"evaluate()": ours, "loop": peer},
    }


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--documents", type=int, default=5000, help="the bundled corpus and others made of it")
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    dataset = RetrievalDataset.from_folder(PRINCIPLES)
    encoder = load_encoder("mini", device="cpu", show_progress=False)
    report = Report("evaluation", options, ("sentence-transformers", "ir-measures", "pytrec-eval-terrier"))
    with tempfile.TemporaryDirectory() as folder, RaderIndex.create(Path(folder) / "index", encoder) as index:
        index_corpus(dataset, index)
        more = varied_pages(options.documents, options.seed)[len(dataset.corpus) :]
        index.add([Document(f"made-{at}", text) for at, text in enumerate(more)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RaderWarning)
            for mode in ("hybrid", "dense", "bm25"):
                measure(report, RaderRetriever(index, mode=mode), dataset, options.depth, options.rounds)
    report.write(options.json)


if __name__ == "__main__":
    main()
