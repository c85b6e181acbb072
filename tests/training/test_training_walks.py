"""Three people's ways through the training command: it gets better, it gets worse, it is interrupted."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from rader_plugins import Encoder, load_encoder
from rader_plugins.cli import build_app
from rader_plugins.files import write_jsonl
from rader_plugins.samples import Passage, Sample
from tests.support.kill import start
from tests.training.support import FAST, tensors

TOPICS = ["refund", "printer", "drawer", "voucher", "parcel", "invoice", "currency", "backup", "domain", "shift"]
NAMES = ["blorvik", "quaffle", "trindle", "mospar", "yelgo", "vantik", "drubbo", "skelm", "fozzle", "jaspet"]
DOCUMENTS = [Passage(topic, f"Handling of a {topic} in the shop: what the owner has to do.") for topic in TOPICS]


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(build_app(), ["train", "retriever", *map(str, arguments)])


def private_words(count: int = 120) -> list[Sample]:
    """Problems that call a topic by a name that no base knows; the same names come again in other problems."""
    rng = random.Random(0)
    samples = []
    for number in range(count):
        topic = number % len(TOPICS)
        query = f"case {number}: the {NAMES[topic]} again"
        negatives = tuple(DOCUMENTS[topic_id] for topic_id in rng.sample(range(len(TOPICS)), 4) if topic_id != topic)
        samples.append(Sample(f"q{number}", query, "question", (DOCUMENTS[topic],), negatives, f"p{number}"))
    return samples


def written(path: Path, samples: list[Sample]) -> Path:
    write_jsonl(path, [sample.row() for sample in samples])
    return path


@pytest.mark.slow
@pytest.mark.real
def test_the_readme_command_makes_a_better_model_and_proves_it(mini: Encoder, tmp_path: Path) -> None:
    samples = written(tmp_path / "samples.jsonl", private_words())
    result = run(samples, "--base", "mini", "--out", tmp_path / "trained", "--device", "cpu", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["verdict"]["outcome"] == "better", report["verdict"]["sentence"]
    assert report["verdict"]["p"] < 0.05
    assert report["evaluations"][str(report["best_step"])] > report["evaluations"]["0"]
    assert report["data"]["held_out"] == 12, "what it is judged on was not trained on"
    assert "12 of 120 problems, held out" in report["evaluated_on"]
    trained = load_encoder(report["model"], device="cpu")
    unseen = [f"nobody asked before about a {name}" for name in NAMES]
    texts = [document.text for document in DOCUMENTS]

    def right(encoder: Encoder) -> int:
        scores = encoder.encode_queries(unseen) @ encoder.encode_documents(texts).T
        return int((scores.argmax(axis=1) == np.arange(len(NAMES))).sum())

    assert right(trained) > right(mini)


@pytest.mark.slow
@pytest.mark.real
def test_a_worse_result_is_not_delivered(mini: Encoder, tmp_path: Path) -> None:
    plain = [
        Sample(
            f"q{number}", f"{topic} question", "question", (DOCUMENTS[(number + 3) % len(TOPICS)],), (), f"p{number}"
        )
        for number, topic in enumerate(TOPICS)
    ]
    samples = written(tmp_path / "samples.jsonl", plain)
    folder = tmp_path / "bench"
    (folder / "qrels").mkdir(parents=True)
    write_jsonl(folder / "corpus.jsonl", [{"_id": document.id, "text": document.text} for document in DOCUMENTS])
    write_jsonl(folder / "queries.jsonl", [{"_id": topic, "text": f"what about a {topic}"} for topic in TOPICS])
    lines = ["query-id\tcorpus-id\tscore", *(f"{topic}\t{topic}\t1" for topic in TOPICS)]
    (folder / "qrels" / "dev.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "c.toml").write_text("[retriever]\nlearning_rate = 0.05\nmerge_weight = 1\n", encoding="utf-8")
    command = [samples, "--base", "mini", "--out", tmp_path / "run", "--evaluate-on", folder, "--device", "cpu"]
    command += ["--config", tmp_path / "c.toml"]
    result = run(*command)
    assert result.exit_code == 3, result.output
    assert "Worse than the base" in result.output
    assert "--export-anyway" in result.output
    assert not (tmp_path / "run" / "model").exists()
    anyway = run(*command, "--resume", "--export-anyway")
    assert anyway.exit_code == 0, anyway.output
    assert "nothing was trained" in anyway.output
    assert "Worse than the base" in anyway.output
    assert "Worse than the base" in (tmp_path / "run" / "model" / "README.md").read_text(encoding="utf-8")


INTERRUPTED = """
import sys, threading
from transformers import TrainerCallback
from rader_training.models import export
from rader_training.run import run, trainers
from rader_plugins.cli import main

moment = sys.argv.pop(1)
def stop():
    print("now", flush=True)
    threading.Event().wait()      # until Ctrl-C

class Stop(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if moment == f"step {state.global_step}":
            stop()

make = run.TrainingRun._trainer
def with_stop(self, *arguments):
    trainer = make(self, *arguments)
    trainer.add_callback(Stop())
    return trainer
run.TrainingRun._trainer = with_stop
run._SAVE_SECONDS = 0.0           # a checkpoint after each step
if moment == "export":
    export.write_recipe = lambda *arguments, **options: stop()
if moment == "start":
    run.TrainingRun.run = lambda *arguments, **options: stop()
main()
"""


@pytest.mark.slow
def test_ctrl_c_at_any_time_and_it_goes_on(
    tiny: Path, samples: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    settings = {**FAST, "epochs": 2, "learning_rate": 1e-2, "temperature": 0.05, "lora": True}
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    (tmp_path / "c.toml").write_text("\n".join(["[retriever]", *lines]) + "\n", encoding="utf-8")
    common = [samples, "--base", tiny, "--config", tmp_path / "c.toml", "--device", "cpu", "--export-anyway"]
    uninterrupted = run(*common, "--out", tmp_path / "whole")
    assert uninterrupted.exit_code == 0, uninterrupted.output
    for moment, goes_on in (("start", "from the beginning"), ("step 3", "from step 2"), ("export", "from step 8")):
        out = tmp_path / moment.replace(" ", "-")
        command = ["train", "retriever", *map(str, common), "--out", str(out)]
        process = start(INTERRUPTED, moment, *command)
        assert process.stdout is not None
        while process.stdout.readline().strip() != "now":
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert goes_on in " ".join(capfd.readouterr().err.split())
        resumed = run(*common, "--out", out, "--resume")
        assert resumed.exit_code == 0, resumed.output
        first, second = tensors(out / "model"), tensors(tmp_path / "whole" / "model")
        assert all(torch.equal(first[name], second[name]) for name in second)
