"""Does the loop pay on a domain of its own? Cross-validation over the 150 conversations of the made-up help desk.

    python benchmarks/skirl.py --out skirl                       # the default commands, five folds
    python benchmarks/skirl.py --out skirl --config F.toml       # other settings of `rader train retriever`

For each fold the conversations of the other four go through `rader import`, `rader samples` and `rader train
retriever`; the model answers the fold's questions, among all 200 articles. A model that the training refuses, as it is
worse than its base, is not used: the base answers there. Then base and models are compared over all 150 questions:
nDCG@10 and Recall@10, bootstrap intervals, paired permutation test. Goes on where it was stopped. Needs
`pip install 'rader-plugins[all,mini]'`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the base is an installed package
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from rader_plugins import RaderIndex, RaderRetriever, load_encoder
from rader_plugins.evaluation import (
    Evaluation,
    RetrievalDataset,
    bundled_folder,
    compare,
    confidence_interval,
    evaluate,
    index_corpus,
    paired_test,
)
from rader_plugins.evaluation.comparing.significance import p_text

MEASURES = ["nDCG@10", "R@10"]
RADER = [sys.executable, "-c", "from rader_plugins.cli import main; main()"]
WORSE_THAN_BASE = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="mini", help="what `rader train retriever --base` takes")
    parser.add_argument("--config", type=Path, help="settings of the training; by default its own")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True, help="keeps everything; goes on from there")
    options = parser.parse_args()
    if not 2 <= options.folds <= 20:
        parser.error("--folds is a number from 2 to 20.")
    dataset = RetrievalDataset.bundled("skirl")
    folds = [dataset.judged[number :: options.folds] for number in range(options.folds)]
    models = []
    for number, held_out in enumerate(folds, start=1):
        start = time.monotonic()
        models.append(train(held_out, options, options.out / f"fold-{number}"))
        print(f"fold {number}: {models[-1]}, {(time.monotonic() - start) / 60:.1f} minutes", flush=True)
    for mode in ("dense", "hybrid"):
        before = measured([options.base] * len(folds), folds, dataset, mode, options.out / f"{mode}-before")
        after = measured(models, folds, dataset, mode, options.out / f"{mode}-after")
        show(mode, before, after)
        compare([before, after]).write(options.out / f"report-{mode}")


def train(held_out: Sequence[str], options: argparse.Namespace, folder: Path) -> str:
    """Make a model of the conversations that are not held out; return its path, or the base where it got no better."""
    model, desk = folder / "run" / "model", bundled_folder("skirl")
    if model.is_dir():
        return str(model)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "conversations.jsonl"
    with gzip.open(desk / "conversations.jsonl.gz", "rt", encoding="utf-8") as stream:
        rows = [line for line in stream if json.loads(line)["id"] not in held_out]
    log.write_text("".join(rows), encoding="utf-8")
    trajectories, samples = folder / "trajectories.jsonl", folder / "samples"
    if not samples.is_dir():
        rader("import", "openai", log, "--corpus", desk, "--label", "citation", "--out", trajectories)
        rader("samples", trajectories, "--corpus", desk, "--without-reward", "--out", samples)
    settings = ["--config", options.config] if options.config else []
    resumed = ["--resume"] if (folder / "run").is_dir() else []
    command = ["train", "retriever", samples, "--base", options.base, "--out", folder / "run", *settings, *resumed]
    rc = rader(*command, allowed=(0, WORSE_THAN_BASE))
    return options.base if rc == WORSE_THAN_BASE else str(model)


def measured(
    models: Sequence[str], folds: Sequence[Sequence[str]], dataset: RetrievalDataset, mode: str, out: Path
) -> Evaluation:
    """Evaluate on all questions, each answered by the model of its fold."""
    retrievers: dict[str, RaderRetriever] = {}
    for model in dict.fromkeys(models):
        index = RaderIndex.create(None, load_encoder(model, show_progress=False))
        index_corpus(dataset, index)
        retrievers[model] = RaderRetriever(index, mode=mode)  # type: ignore[arg-type]
    answering = {
        dataset.queries[query]: retrievers[model] for model, fold in zip(models, folds, strict=True) for query in fold
    }

    def search(queries: list[str], k: int = 10) -> list[list[tuple[str, float]]]:
        return [[(hit.document.id, hit.score) for hit in answering[query].search(query, k)] for query in queries]

    return evaluate(search, dataset, measures=MEASURES, out=out, name=out.name)


def show(mode: str, before: Evaluation, after: Evaluation) -> None:
    """Print means, intervals and the test."""
    for measure in MEASURES:
        first, second = ([run.per_query[query][measure] for query in before.per_query] for run in (before, after))
        low, high = confidence_interval([b - a for a, b in zip(first, second, strict=True)])
        test = paired_test(("before", "after"), first, second)
        means = (f"{100 * sum(values) / len(values):.1f}" for values in (first, second))
        print(
            f"{mode} {measure}: {' before, '.join(means)} after, {100 * test.difference:+.1f} "
            f"({100 * low:+.1f} to {100 * high:+.1f}), p {p_text(test.p_permutation)}; "
            f"{test.wins} better, {test.losses} worse, {test.ties} equal"
        )


def rader(*arguments: str | Path, allowed: Sequence[int] = (0,)) -> int:
    """Run a command of ours, show it first; return its exit code."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ rader {shlex.join(words)}", flush=True)
    rc = subprocess.run([*RADER, *words], check=False).returncode
    if rc not in allowed:
        raise SystemExit(f"rader {words[0]} ended with exit code {rc}.")
    return rc


if __name__ == "__main__":
    main()
