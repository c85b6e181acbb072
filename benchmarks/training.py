"""Training a retriever: samples per second against sentence-transformers' trainer, and memory.

Each run trains `mini` in full, for a few steps, in a process of its own. Throughput is what the trainer itself reports
(`train_samples_per_second`: without loading and exporting); contenders take turns.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
from argparse import SUPPRESS
from pathlib import Path
from typing import Any

from common import Limit, Report, Row, arguments, sentences, varied_pages

_GROUP, _BATCH, _SCALE = 4, 16, 20.0
_MIB = 1024.0  # /proc counts in KiB


def write_samples(folder: Path, count: int, negatives: int, seed: int, pages_each: int = 1) -> Path:
    """Make samples: a sentence, a text of so many pages, and other such texts."""
    from rader_plugins.sample_files import SampleWriter
    from rader_plugins.samples import Passage, Sample

    rng = random.Random(seed)
    pages, lines = varied_pages(2000, seed), sentences()
    if pages_each > 1:
        pages = [" ".join(rng.sample(pages, pages_each)) for _ in range(200)]
    with SampleWriter(folder) as writer:
        for number in range(count):
            drawn = rng.sample(range(len(pages)), negatives + 1)
            passages = [Passage(f"d{place}", pages[place]) for place in drawn]
            query = f"{rng.choice(lines)} {number}"
            writer.add(
                "train", Sample(f"q{number}", query, "question", (passages[0],), tuple(passages[1:]), f"p{number}")
            )
    return folder


# What a child process does; each returns figures.


def ours(samples: str, work: str, steps: int, options: dict[str, Any]) -> dict[str, float]:
    from rader_training import RetrieverConfig, train_retriever

    config = RetrieverConfig(
        **{"group_size": _GROUP, "batch_size": _BATCH, "accumulate": 1, "lora": False, "temperature": 1 / _SCALE}
        | {"learning_rate": 2e-5, "warmup_steps": 0, "max_steps": steps, "log_every": 1000}
        | options
    )
    train_retriever(samples, "mini", Path(work) / "run", config, device="cpu")
    rows = [json.loads(line) for line in (Path(work) / "run" / "metrics.jsonl").read_text().splitlines()]
    return {name: value for row in rows for name, value in row.items()}


def theirs(samples: str, work: str, steps: int, options: dict[str, Any]) -> dict[str, float]:
    import sentence_transformers as st
    from datasets import Dataset
    from sentence_transformers.sentence_transformer import losses

    from rader_plugins import load_encoder
    from rader_plugins.sample_files import read_samples

    model = st.SentenceTransformer(load_encoder("mini", device="cpu").location, device="cpu")
    columns: dict[str, list[str]] = {}
    for sample in read_samples(samples, "train"):
        texts = {"query": sample.query, "positive": sample.positives[0].text}
        texts |= {f"negative_{at}": one.text for at, one in enumerate(sample.negatives[: _GROUP - 1])}
        for name, text in texts.items():
            columns.setdefault(name, []).append(text)
    loss: Any = losses.MultipleNegativesRankingLoss(model, scale=_SCALE)
    if options:
        loss = losses.CachedMultipleNegativesRankingLoss(model, scale=_SCALE, mini_batch_size=options["mini_batch"])
    settings = st.SentenceTransformerTrainingArguments(
        output_dir=str(Path(work) / "run"),
        per_device_train_batch_size=_BATCH,
        learning_rate=2e-5,
        max_steps=steps,
        save_strategy="no",
        logging_steps=1000,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        seed=42,
    )
    trainer = st.SentenceTransformerTrainer(
        model=model, args=settings, train_dataset=Dataset.from_dict(columns), loss=loss
    )
    return dict(trainer.train().metrics)


def memory(samples: str, work: str, steps: int, options: dict[str, Any]) -> dict[str, float]:
    """Train; return the most memory of the process' own at any time, and what of it came after the first forward."""
    from transformers import TrainerCallback

    class Mark(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            before.append(anonymous())

    from rader_training.run import run

    before: list[float] = []
    peak = [0.0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            peak[0] = max(peak[0], anonymous())

    trainer = run.TrainingRun._trainer

    def marked(self: Any, *parts: Any) -> Any:
        made = trainer(self, *parts)
        made.add_callback(Mark())
        return made

    run.TrainingRun._trainer = marked  # type: ignore[method-assign]
    thread = threading.Thread(target=watch)
    thread.start()
    ours(samples, work, steps, options)
    done.set()
    thread.join()
    return {"peak": peak[0] / _MIB, "before": before[0] / _MIB}


def anonymous() -> float:
    """Return the KiB of memory that are this process' own; pages of mapped files are the system's to drop."""
    with Path("/proc/self/status").open(encoding="ascii") as lines:
        return float(next(line.split()[1] for line in lines if line.startswith("RssAnon")))


def child(task: str, samples: Path, steps: int, **options: Any) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as work:
        request = json.dumps([task, str(samples), work, steps, options])
        done = subprocess.run(
            [sys.executable, __file__, "--child", request],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
        )
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def throughput(report: Report, samples: Path, steps: int, rounds: int, peer: str, name: str, **options: Any) -> None:
    seen: dict[str, list[float]] = {"ours": [], "theirs": []}
    for number in range(rounds):
        for contender in list(seen)[:: 1 if number % 2 else -1]:
            seen[contender].append(child(contender, samples, steps, **options)["train_samples_per_second"])
    ratios = [one / other for one, other in zip(seen["ours"], seen["theirs"], strict=True)]
    row = Row(
        name,
        statistics.median(seen["ours"]),
        "samples/s",
        statistics.median(seen["theirs"]),
        peer,
        Limit(1.0, "at least"),
    )
    report.add(row)
    report.notes[name] = {"samples per second by round": seen, "ratios by round": ratios}


def measure_throughput(report: Report, folder: Path, steps: int, rounds: int, seed: int) -> None:
    samples = write_samples(folder / "few", _BATCH * steps, _GROUP - 1, seed)
    what = f"training, groups of {_GROUP}, batches of {_BATCH}"
    throughput(report, samples, steps, rounds, "MultipleNegativesRankingLoss", what)
    cached = "CachedMultipleNegativesRankingLoss"
    throughput(report, samples, steps, rounds, cached, f"{what}, gradients cached", mini_batch=16)


def measure_memory(report: Report, folder: Path, seed: int) -> None:
    # An adapter, so that the group is what counts and not the state of the optimizer; passages as long as they may be.
    group = write_samples(folder / "group", 4, 11, seed, pages_each=5)
    sizes = {"batch_size": 1, "group_size": 12, "lora": True}
    found = [child("memory", group, 2, **sizes, **more) for more in ({"mini_batch": 1}, {})]
    taken = [one["peak"] - one["before"] for one in found]
    name = "memory of a group of 12 passages of 256 tokens, gradients cached"
    report.add(Row(name, taken[0], "MiB", taken[1], "not cached", Limit(0.5)))
    report.notes[name] = found
    peaks = {}
    for count in (2000, 20000):
        many = write_samples(folder / str(count), count, 11, seed)
        peaks[count] = child("memory", many, 2, **{**sizes, "batch_size": 2, "mini_batch": 4})
    name = "peak memory, 20,000 samples of 12 passages"
    report.add(Row(name, peaks[20000]["peak"], "MiB", peaks[2000]["peak"], "2,000 samples", Limit(1.05)))
    report.notes[name] = peaks


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--steps", type=int, default=10, help="of each run that is timed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["throughput", "memory"])
    parser.add_argument("--child", help=SUPPRESS)
    options = parser.parse_args()
    if options.child:
        task, samples, work, steps, given = json.loads(options.child)
        print(json.dumps(globals()[task](samples, work, steps, given)))
        return
    report = Report("training", options, ("sentence-transformers", "transformers", "torch"))
    with tempfile.TemporaryDirectory() as folder:
        if options.only != "memory":
            measure_throughput(report, Path(folder), options.steps, options.rounds, options.seed)
        if options.only != "throughput":
            measure_memory(report, Path(folder), options.seed)
    report.write(options.json)


if __name__ == "__main__":
    main()
