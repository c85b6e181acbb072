"""Imported trajectories become training samples: seconds, and memory for a fifth of them and for all.

Each size runs in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from common import Limit, Report, Row, arguments
from rader_synthesis.sampling import SamplingConfig, bm25_index, make_samples
from synthetic import Synthesis

from rader_plugins import Document, RaderIndex, load_encoder
from rader_plugins.trajectories import Considered, Step, Trajectory, write_trajectories


def made_trajectories(count: int, documents: list[str], synthesis: Synthesis, seed: int) -> Iterator[Trajectory]:
    """Two trajectories a problem, two retrievals each: five documents considered, two of them relevant."""
    rng = random.Random(seed)
    for first in range(0, count, 500):
        block = min(500, count - first)
        sentences = iter(synthesis.sentences(7 * block))
        question = ""
        for number in range(first, first + block):
            question = next(sentences) + " " + next(sentences) if number % 2 == 0 or not question else question
            steps = []
            for at in range(2):
                found = rng.sample(range(len(documents)), 5)
                considered = tuple(
                    Considered(f"d{id}", documents[id], 1 - place / 10, place % 3 == 0, "", "reflection")
                    for place, id in enumerate(found)
                )
                kept = f"d{found[3 * at]}"
                steps += [Step("thought", next(sentences)), Step("query", next(sentences))]
                steps += [Step("retrieval", documents[found[3 * at]], kept, considered)]
            problem = f"p{number // 2}"
            yield Trajectory(f"{problem}#{number % 2}", problem, question, (*steps, Step("answer", "8")), "8", "8", 1.0)


def run(folder: Path, trajectories: int, documents: int, dense: bool, seed: int) -> dict[str, float]:
    """Make samples of synthetic trajectories; return seconds, peak memory and what came out."""
    synthesis = Synthesis(8, seed)
    texts = synthesis.texts(documents)
    file = folder / "trajectories.jsonl"
    write_trajectories(file, made_trajectories(trajectories, texts, synthesis, seed))
    corpus = [Document(f"d{number}", text) for number, text in enumerate(texts)]
    del synthesis, texts
    start = time.perf_counter()
    if dense:
        index = RaderIndex.create(folder / "index", load_encoder("mini", show_progress=False))
        index.add(corpus)
    else:
        index = bm25_index(folder / "index", corpus)
    indexed = time.perf_counter()
    del corpus
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    processor = time.process_time()
    report = make_samples([file], folder / "out", index=index, dense=dense, config=SamplingConfig())
    seconds = time.perf_counter() - indexed
    return {
        "index": indexed - start,
        "seconds": seconds,
        "processor": time.process_time() - processor,
        "samples": float(sum(report.samples.values())),
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
        "before": before / 1000,
    }


def apart(trajectories: int, documents: int, dense: bool, seed: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        settings = [folder, str(trajectories), str(documents), str(int(dense)), str(seed)]
        done = subprocess.run(
            [sys.executable, __file__, "--run", *settings], check=True, capture_output=True, text=True
        )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    if sys.argv[1:2] == ["--run"]:
        folder, trajectories, documents, dense, seed = sys.argv[2:]
        print(json.dumps(run(Path(folder), int(trajectories), int(documents), dense == "1", int(seed))))
        return
    parser = arguments(__doc__ or "")
    parser.add_argument("--trajectories", type=int, default=10_000)
    parser.add_argument("--documents", type=int, default=4_000)
    parser.add_argument("--dense", action="store_true", help="mine by vectors of the mini model too")
    given = parser.parse_args()
    report = Report("samples", given, ["rader-plugins", "pyarrow", "numpy"])
    few = apart(given.trajectories // 5, given.documents, given.dense, given.seed)
    many = apart(given.trajectories, given.documents, given.dense, given.seed)
    name = f"{given.trajectories:,} trajectories, {many['samples']:,.0f} samples"
    limit = None if given.dense else Limit(300, of="ours")
    report.add(Row(name, many["seconds"], "s", limit=limit))
    report.add(Row("of these, on the processor", many["processor"], "s"))
    report.add(Row("index of the corpus", many["index"], "s"))
    report.add(
        Row(
            "peak memory", many["megabytes"], "MB", few["megabytes"], f"{given.trajectories // 5:,} trajectories",
            Limit(1.1),
        )
    )  # fmt: skip
    report.notes["before the samples"] = f"{many['before']:,.0f} MB"
    report.write(given.json)


if __name__ == "__main__":
    main()
