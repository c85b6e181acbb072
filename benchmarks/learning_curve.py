"""What the default training gains with so many proofs: the tables of "The default command" in docs/results.md.

    python benchmarks/learning_curve.py --proofs proofs_train.jsonl --corpus entailmentbank \
        --sets entailmentbank:dev theoremqa:dev --sizes 50 100 300 1308 --seeds 42 1 2 --out curve

For each size and seed: proofs drawn by the seed (all of them, where there are no more), `rader import proofs`,
`rader samples`, `rader train retriever` without a configuration but for the seed, and dense search in every set. Prints
Markdown: nDCG@10 x 100; a difference is to the base, with its bootstrap interval (BCa, 95%) over the queries and the
paired permutation test. The rows of a size with several seeds are followed by their mean: each query's over the seeds.
Goes on from what --out holds.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from models import measured

from rader_plugins.evaluation import RetrievalDataset, confidence_interval
from rader_plugins.evaluation.comparing.significance import p_text, paired_test

RADER = [sys.executable, "-c", "from rader_plugins.cli import main; main()"]
NOT_BETTER = 3  # exit code of a training whose result is worse than the base


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proofs", type=Path, required=True, help="what `rader import proofs` takes")
    parser.add_argument("--corpus", type=Path, required=True, help="BEIR folder of their documents")
    parser.add_argument("--sets", nargs="+", required=True, metavar="FOLDER:SPLIT", help="what is searched")
    parser.add_argument("--sizes", nargs="+", type=int, default=[50, 100, 300, 1308])
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 1, 2])
    parser.add_argument("--base", default="mini")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    sets = [RetrievalDataset.from_folder(*name.rsplit(":", 1)) for name in options.sets]
    before = [measure(options.base, dataset, options.out / "base") for dataset in sets]
    print("| proofs | samples | seed | steps | minutes | verdict |", *(f" {one.name} | p |" for one in sets))
    print("|" + " --- |" * (6 + 2 * len(sets)))
    for size in options.sizes:
        runs = []
        for seed in options.seeds:
            folder = options.out / f"{size}-{seed}"
            facts = trained(options, size, seed, folder)
            model = folder / "run" / "model"
            name = str(model) if model.is_dir() else options.base
            runs.append([measure(name, dataset, folder) for dataset in sets])
            print_row([size, *facts], before, runs[-1])
        if len(runs) > 1:
            means = [[fmean(values) for values in zip(*found, strict=True)] for found in zip(*runs, strict=True)]
            print_row([size, "", f"mean of {len(runs)}", "", "", ""], before, means)


def trained(options: argparse.Namespace, size: int, seed: int, folder: Path) -> list[Any]:
    """Train on some of the proofs; returns samples, seed, steps, minutes and verdict."""
    facts = folder / "facts.json"
    if facts.is_file():
        found: list[Any] = json.loads(facts.read_bytes())
        return found
    folder.mkdir(parents=True, exist_ok=True)
    proofs, trajectories, samples, config = (folder / name for name in ("p.jsonl", "t.jsonl", "samples", "c.toml"))
    lines = options.proofs.read_text(encoding="utf-8").splitlines()
    drawn = lines if size >= len(lines) else random.Random(seed).sample(lines, size)
    proofs.write_text("\n".join(drawn) + "\n", encoding="utf-8")
    config.write_text(f"[retriever]\nseed = {seed}\n", encoding="utf-8")
    against = [part for name in options.sets for part in ("--check-against", name)]
    if not trajectories.exists():
        rader("import", "proofs", proofs, "--out", trajectories)
    if not samples.exists():
        rader(
            *("samples", trajectories, "--corpus", options.corpus, "--without-reward", "--dev-share", "0.05"),
            *("--against", options.sets[0], "--out", samples),
        )
    started = time.monotonic()
    run = folder / "run"
    resume = ["--resume"] if run.exists() else []
    command = ["train", "retriever", samples, "--base", options.base, "--config", config, "--out", run, *against]
    output = rader(*command, *resume)
    minutes = f"{(time.monotonic() - started) / 60:.1f}" + (", since it was resumed" if resume else "")
    settings = json.loads((run / "finished.json").read_bytes())
    verdict = settings.get("verdict", {}).get("outcome", "worse")
    trained_on = re.search(r"samples +([\d,]+)", output)
    row = [trained_on[1] if trained_on else "", seed, settings["steps"], minutes, verdict]
    facts.write_text(json.dumps(row), encoding="utf-8")
    return row


def rader(*arguments: str | Path) -> str:
    """Run a command and return what it prints; its result may be that the base is better."""
    given = [str(argument) for argument in arguments]
    done = subprocess.run([*RADER, *given], stdout=subprocess.PIPE, text=True, encoding="utf-8", check=False)
    if done.returncode not in (0, NOT_BETTER):
        raise SystemExit(f"rader {' '.join(given)} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def measure(model: str, dataset: RetrievalDataset, folder: Path) -> list[float]:
    """Return nDCG@10 of each query, dense."""
    stored = folder / f"{dataset.name}-{dataset.split}.json"
    if not stored.is_file():
        ((_, values),) = measured("model", model, dataset, ["dense"], folder / "searched")
        stored.write_text(json.dumps(values), encoding="utf-8")
    values = json.loads(stored.read_bytes())
    return list(map(float, values))


def print_row(cells: Sequence[Any], before: Sequence[list[float]], after: Sequence[list[float]]) -> None:
    """Print a line of the table."""
    shown = [str(cell) for cell in cells]
    for first, second in zip(before, after, strict=True):
        changes = [new - old for old, new in zip(first, second, strict=True)]
        figure = f"{100 * fmean(second):.1f}, {100 * fmean(changes):+.1f}"
        if any(changes):
            low, high = confidence_interval(changes)
            figure += f" ({100 * low:+.1f} to {100 * high:+.1f})"
        shown += [figure, p_text(paired_test(("base", "trained"), first, second).p_permutation)]
    print(f"| {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main()
