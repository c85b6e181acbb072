"""Models side by side, dense and hybrid (alpha 0.8): the tables of `rader-mini` in docs/results.md.

    python benchmarks/models.py --models mini rader-mini --sets entailmentbank:dev theoremqa:dev \
        --proofs proofs-trajectories.jsonl --samples samples --corpus entailmentbank

A set is FOLDER:SPLIT, a BEIR data set. With --samples also the questions and the cot queries of its validation split:
the question alone is judged on all facts of its proof; the question with the proof's earlier steps on the facts that
are not used yet, those that are used being excluded. Means of nDCG@10 x 100; differences to the first model with
bootstrap intervals (BCa, 95%) over the queries and the paired permutation test.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from rader_plugins import RaderIndex, RaderRetriever, load_encoder
from rader_plugins.documents import Document
from rader_plugins.evaluation import RetrievalDataset, confidence_interval, evaluate, index_corpus
from rader_plugins.evaluation.comparing.significance import p_text, paired_test
from rader_plugins.sample_files import read_samples
from rader_plugins.trajectories import Trajectory, read_trajectories

MEASURE = "nDCG@10"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", required=True, help="what load_encoder() takes; NAME=MODEL renames one")
    parser.add_argument("--sets", nargs="*", default=[], metavar="FOLDER:SPLIT")
    parser.add_argument("--proofs", type=Path, help="trajectories that the samples were made of")
    parser.add_argument("--samples", type=Path, help="folder of `rader samples`")
    parser.add_argument("--corpus", type=Path, help="BEIR folder of the documents that the samples are judged on")
    parser.add_argument("--modes", nargs="+", default=["dense", "hybrid"], choices=["dense", "hybrid"])
    parser.add_argument("--out", type=Path, required=True, help="keep indexes and runs here; goes on from there")
    options = parser.parse_args()
    sets = [RetrievalDataset.from_folder(*name.rsplit(":", 1)) for name in options.sets]
    if options.samples:
        sets += held_out(options.samples, options.proofs, options.corpus)
    models = dict(name.split("=", 1) if "=" in name else (name, name) for name in options.models)
    for dataset in sets:
        print(f"### {dataset.name}, {dataset.split}\n\n{len(dataset.judged):,} queries.\n")
        print("| model | mode | nDCG@10 | difference | p |\n| --- | --- | --- | --- | --- |")
        first: dict[str, list[float]] = {}
        for name, model in models.items():
            for mode, values in measured(name, model, dataset, options.modes, options.out):
                print(row(name, mode, values, first.setdefault(mode, values)), flush=True)
        print()


def measured(
    name: str, model: str, dataset: RetrievalDataset, modes: list[str], out: Path
) -> Iterator[tuple[str, list[float]]]:
    """Return mode and nDCG@10 of each query."""
    encoder = load_encoder(model, show_progress=False)
    corpus = dataset.name.partition(" ")[0]  # one index serves all sets over a corpus
    place = out / corpus / name / "index"
    place.parent.mkdir(parents=True, exist_ok=True)
    opened = RaderIndex.open(place, encoder) if RaderIndex.exists(place) else RaderIndex.create(place, encoder)
    with opened as index:
        index_corpus(dataset, index)
        for mode in modes:
            retriever = RaderRetriever(index, mode=mode)  # type: ignore[arg-type]
            folder = place.parent / f"{dataset.name.replace(' ', '-')}-{dataset.split}-{mode}"
            found = evaluate(retriever, dataset, measures=[MEASURE], out=folder, batch_size=64)
            yield mode, [found.per_query[query][MEASURE] for query in sorted(dataset.judged)]


def row(name: str, mode: str, values: list[float], first: list[float]) -> str:
    low, high = confidence_interval(values)
    mean = sum(values) / len(values)
    cells = [f"`{name}`", mode, f"{100 * mean:.1f} ({100 * low:.1f} to {100 * high:.1f})"]
    if values is first:
        return f"| {' | '.join(cells)} | | |"
    changes = [after - before for before, after in zip(first, values, strict=True)]
    low, high = confidence_interval(changes)
    p = p_text(paired_test(("first", name), first, values).p_permutation)
    change = 100 * sum(changes) / len(changes)
    return f"| {' | '.join(cells)} | {change:+.1f} ({100 * low:+.1f} to {100 * high:+.1f}) | {p} |"


def held_out(samples: Path, proofs: Path, corpus: Path) -> list[RetrievalDataset]:
    """Return the questions and the cot queries of the validation split."""
    documents = RetrievalDataset.from_folder(corpus, "dev").corpus
    trajectories = {one.id: one for one in read_trajectories(proofs)}
    made: dict[str, dict[str, tuple[str, set[str], set[str]]]] = {"question": {}, "cot": {}}
    for sample in read_samples(samples, "validation"):
        known = trajectories.get(sample.trajectory_id or "")
        if known is None or sample.query_kind not in made:
            continue
        # A cot query is named cot:TRAJECTORY:STEP, the step being the retrieval that it leads to.
        at = int(sample.query_id.rsplit(":", 1)[1]) if sample.query_kind == "cot" else 0
        used, open_ = facts(known, 0, at), facts(known, at, len(known.steps))
        if open_ - used:
            made[sample.query_kind][sample.query_id] = (sample.query, open_ - used, used)
    return [dataset(kind, rows, documents, corpus.name) for kind, rows in made.items()]


def facts(trajectory: Trajectory, start: int, end: int) -> set[str]:
    """Return the ids of relevant documents of the steps from ``start`` up to ``end``."""
    return {one.id for step in trajectory.steps[start:end] for one in step.considered if one.relevant}


def dataset(
    kind: str, rows: dict[str, tuple[str, set[str], set[str]]], documents: dict[str, Document], name: str
) -> RetrievalDataset:
    return RetrievalDataset(
        documents,
        {id: text for id, (text, _, _) in rows.items()},
        {id: dict.fromkeys(relevant, 1) for id, (_, relevant, _) in rows.items()},
        {id: used for id, (_, _, used) in rows.items() if used},
        name=f"{name} {kind}",
        split="held-out",
    )


if __name__ == "__main__":
    main()
