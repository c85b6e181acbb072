"""Two processes train one model: torchrun on the CPU."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from rader_training import RetrieverConfig
from rader_training.data.groups import Groups
from rader_training.data.rows import load_samples
from rader_training.retriever import _RetrieverRun
from rader_training.run.arguments import trainer_arguments
from rader_training.run.options import RunOptions

from rader_plugins import RetrievalDataset, load_encoder
from rader_plugins.errors import InputError, MissingExtraError
from rader_plugins.files import read_jsonl, write_jsonl
from tests.support.tiny_models import SEED
from tests.training.conftest import ANIMALS
from tests.training.support import assert_same_training, retriever_config, tensors, train_retriever
from tests.training.test_training_retriever import encoder_of

# Without in-batch negatives and dropout the gradient of a batch of four is the mean of those of its halves.
SETTINGS: dict[str, Any] = {
    "accumulate": 1,
    "group_size": 3,
    "warmup_steps": 1,
    "log_every": 1,
    "lora": True,
    "bf16": False,
    "random_negatives": 0,
    "merge_weight": 1.0,
    "lora_dropout": 0.0,
    "in_batch_negatives": False,
    "temperature": 0.1,
    "learning_rate": 1e-2,
    "epochs": 2,
    "max_steps": 6,
    "kinds": {},
    "evaluate_every": 6,
    "save_every": 3,
    "seed": SEED,
}


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    folder = tmp_path / "animals"
    (folder / "qrels").mkdir(parents=True)
    write_jsonl(folder / "corpus.jsonl", [{"_id": animal, "text": f"the {animal} lives here"} for animal in ANIMALS])
    write_jsonl(
        folder / "queries.jsonl", [{"_id": animal, "text": f"where is number 99 of {animal}"} for animal in ANIMALS]
    )
    rows = ["query-id\tcorpus-id\tscore", *(f"{animal}\t{animal}\t1" for animal in ANIMALS)]
    (folder / "qrels" / "dev.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def test_configurations_of_sharding_reach_the_arguments(
    tiny: Path, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = encoder_of(tiny)
    groups = Groups(load_samples(samples, tmp_path / "cache"), size=3, weights={}, seed=0)
    layers = {"transformer_layer_cls_to_wrap": ["Qwen2DecoderLayer"], "cpu_offload": True}
    config = retriever_config(fsdp=True, fsdp_config=layers)
    run = _RetrieverRun(
        folder=tmp_path / "run",
        config=config,
        model=encoder.model,
        recipe=encoder.recipe,
        base={},
        groups=groups,
        development=None,
        options=RunOptions(),
        plan=None,  # type: ignore[arg-type]
        load_again=lambda: encoder,
    )
    arguments = run._training_arguments(trainer_arguments(run.config, 4, tmp_path / "run", "cpu"))
    assert arguments.fsdp_plugin_args["transformer_cls_names_to_wrap"] == "Qwen2DecoderLayer"
    assert arguments.fsdp_plugin_args["cpu_offload"] is True
    assert config.fsdp_config == layers, "transformers writes into what it is given"
    with pytest.raises(InputError, match="torchrun"):
        train_retriever(samples, str(tiny), tmp_path / "run", config, device="cpu")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="does not go on from a checkpoint"):
        train_retriever(samples, str(tiny), tmp_path / "run", config, device="cpu", resume=True)
    if importlib.util.find_spec("deepspeed") is None:
        with pytest.raises(MissingExtraError, match="pip install deepspeed"):
            train_retriever(samples, str(tiny), tmp_path / "run", RetrieverConfig(deepspeed="z.json"), device="cpu")


@pytest.mark.parametrize(
    "wrong", [{"fsdp": True, "deepspeed": "z.json"}, {"fsdp_config": {"a": 1}}, {"fsdp": True, "evaluate_every": 1}]
)
def test_unusable_sharding(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        RetrieverConfig(**wrong)


WORKER = """
import json, os, sys
from tests.training.support import retriever_config, train_retriever
from rader_plugins.cli import main
from rader_plugins.errors import InputError

samples, base, out = sys.argv.pop(1), sys.argv.pop(1), sys.argv.pop(1)
config = retriever_config(**json.loads(sys.argv.pop(1)))
train_retriever(samples, base, out, config, device="cpu")
try:
    train_retriever(samples, base, out, config, device="cpu")
except InputError as error:
    print(f"process {os.environ['RANK']}: {error}", file=sys.stderr, flush=True)
main()
"""


def test_two_processes_give_the_weights_of_one(tiny: Path, samples: Path, animals: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    alone = train_retriever(
        samples,
        str(tiny),
        tmp_path / "alone",
        retriever_config(**SETTINGS, batch_size=4),
        evaluate_on=RetrievalDataset.from_folder(animals, split="dev"),
        device="cpu",
    )
    lines = [f"{name} = {json.dumps(value)}" for name, value in SETTINGS.items()]
    (tmp_path / "c.toml").write_text("\n".join(["[retriever]", "batch_size = 2", *lines]) + "\n", encoding="utf-8")
    # accelerate knows FSDP for accelerators only and keeps the model whole on a CPU: what is tested is the way from
    # the trainer's gathered weights to the exported model.
    layers = {"transformer_layer_cls_to_wrap": ["Qwen2DecoderLayer"]}
    apart = {**SETTINGS, "batch_size": 2, "fsdp": True, "fsdp_config": layers, "evaluate_every": 0, "save_every": 0}
    (tmp_path / "worker.py").write_text(WORKER, encoding="utf-8")
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(tmp_path / "worker.py")]
    first = [str(samples), str(tiny), str(tmp_path / "apart"), json.dumps(apart)]
    then = ["train", "retriever", str(samples), "--base", str(tiny), "--out", str(tmp_path / "run"), "--device", "cpu"]
    then += ["--config", str(tmp_path / "c.toml"), "--evaluate-on", str(animals), "--json", "--export-anyway"]
    done = subprocess.run([sys.executable, *run, *first, *then], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)  # one report: the second process says nothing
    assert report["steps"] == alone.steps == 6
    assert report["evaluations"] == pytest.approx({str(step): value for step, value in alone.evaluations.items()})
    # The same data in the same order, and the gradients averaged.
    expected, weights, gathered = (
        tensors(folder / "model") for folder in (tmp_path / "alone", tmp_path / "run", tmp_path / "apart")
    )
    assert_same_training(gathered, expected, tensors(tiny))
    assert_same_training(weights, expected, tensors(tiny))
    assert not (tmp_path / "apart" / "gathered").exists()
    rows = [list(read_jsonl(tmp_path / folder / "metrics.jsonl")) for folder in ("alone", "run", "apart")]
    losses = [[row["loss"] for row in log if "loss" in row] for log in rows]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert losses[0] == pytest.approx(losses[2], rel=0.05)
    checkpoint = tmp_path / "run" / "checkpoints" / "checkpoint-6"
    assert (checkpoint / "complete").is_file()
    assert {file.name for file in checkpoint.glob("rng_state*")} == {"rng_state_0.pth", "rng_state_1.pth"}
    assert load_encoder(str(tmp_path / "run" / "model"), device="cpu", show_progress=False).dimension == 32
    for process in (0, 1):  # the first alone looks into the folder
        assert f"process {process}: {tmp_path / 'apart'} holds an earlier training run" in done.stderr
