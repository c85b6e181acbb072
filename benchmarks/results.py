"""How well BM25, dense and hybrid search retrieve, over alpha: the tables of docs/results.md.

    python benchmarks/results.py FOLDER --split dev [FOLDER ...]

Each folder is a BEIR data set. Prints Markdown: means x 100 with bootstrap confidence intervals over the queries, and
the paired permutation test of every setting against dense alone.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from common import machine

from rader_plugins import RaderIndex, RaderRetriever, load_encoder
from rader_plugins.evaluation import (
    Evaluation,
    RetrievalDataset,
    compare,
    confidence_interval,
    evaluate,
    index_corpus,
)
from rader_plugins.evaluation.comparing.significance import p_text

ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
MEASURES = ("nDCG@10", "R@10")
DENSE = "hybrid, alpha 1 (dense)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="BEIR folders")
    parser.add_argument("--split", default="test", help="judgements: qrels/SPLIT.tsv")
    parser.add_argument("--model", default="mini", help="what load_encoder() takes")
    parser.add_argument("--out", type=Path, help="keep indexes, runs and the comparison page here; goes on from there")
    arguments = parser.parse_args()
    encoder = load_encoder(arguments.model)
    about = machine(["numpy", "ir-measures", "scipy"])
    for folder in arguments.folders:
        dataset = RetrievalDataset.from_folder(folder, arguments.split)
        with tempfile.TemporaryDirectory() as temporary:
            home = (arguments.out or Path(temporary)) / f"{dataset.name}-{dataset.split}"
            place = home / "index"
            place.parent.mkdir(parents=True, exist_ok=True)
            opened = RaderIndex.open(place, encoder) if RaderIndex.exists(place) else RaderIndex.create(place, encoder)
            with opened as index:
                index_corpus(dataset, index)
                runs = {name: run(index, dataset, home, *setting) for name, setting in settings().items()}
        print(table(dataset, runs, arguments.model), flush=True)
        if arguments.out:
            compare(runs).write(home)
    print(f"Python {about['python']}, {about['versions']}.")


def settings() -> dict[str, tuple[str, float]]:
    """Return name -> mode and alpha."""
    named = {f"hybrid, alpha {alpha:g}": ("hybrid", alpha) for alpha in ALPHAS if alpha != 1}
    return {"BM25": ("bm25", 0.0), **named, DENSE: ("hybrid", 1.0)}


def run(index: RaderIndex, dataset: RetrievalDataset, home: Path, mode: str, alpha: float) -> Evaluation:
    retriever = RaderRetriever(index, mode=mode, alpha=alpha)  # type: ignore[arg-type]
    return evaluate(retriever, dataset, measures=MEASURES, out=home / f"{mode}-{alpha:g}", batch_size=64)


def table(dataset: RetrievalDataset, runs: dict[str, Evaluation], model: str) -> str:
    tests = {}
    for test in compare(runs, measure=MEASURES[0]).groups[0].tests:
        if test.second == DENSE:
            tests[test.first] = f"{p_text(test.p_permutation)} ({p_text(test.p_adjusted)})"
    lines = [
        f"### {dataset.name}, split {dataset.split}",
        "",
        f"{len(dataset.judged):,} queries, {len(dataset.corpus):,} documents, model `{model}`.",
        "",
        "| setting | nDCG@10 | Recall@10 | p against dense (adjusted) |",
        "| --- | --- | --- | --- |",
    ]
    for name, found in runs.items():
        cells = [figure(found, measure) for measure in MEASURES]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} | {tests.get(name, '')} |")
    return "\n".join([*lines, ""])


def figure(found: Evaluation, measure: str) -> str:
    low, high = confidence_interval([row[measure] for row in found.per_query.values()])
    return f"{100 * found.mean[measure]:.1f} ({100 * low:.1f} to {100 * high:.1f})"


if __name__ == "__main__":
    main()
