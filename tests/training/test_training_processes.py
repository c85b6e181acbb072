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
from rader_training import RetrieverConfig, train_retriever
from rader_training.data import Groups, load_rows
from rader_training.retriever import _RetrieverRun
from safetensors.torch import load_file

from rader_plugins import load_encoder
from rader_plugins.errors import InputError, MissingExtraError
from rader_plugins.files import read_jsonl, write_jsonl
from tests.training.conftest import ANIMALS
from tests.training.test_training_retriever import encoder_of

# Without in-batch negatives and dropout the gradient of a batch of four is the mean of those of its halves.
SETTINGS: dict[str, Any] = {
    "accumulate": 1,
    "group_size": 3,
    "warmup_steps": 1,
    "log_every": 1,
    "lora_dropout": 0.0,
    "in_batch_negatives": False,
    "temperature": 0.1,
    "learning_rate": 1e-2,
    "max_steps": 6,
    "evaluate_every": 2,
    "save_every": 3,
}


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    folder = tmp_path / "animals"
    (folder / "qrels").mkdir(parents=True)
    write_jsonl(folder / "corpus.jsonl", [{"_id": one, "text": f"the {one} lives here"} for one in ANIMALS])
    write_jsonl(folder / "queries.jsonl", [{"_id": one, "text": f"where is number 99 of {one}"} for one in ANIMALS])
    rows = ["query-id\tcorpus-id\tscore", *(f"{one}\t{one}\t1" for one in ANIMALS)]
    (folder / "qrels" / "dev.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def test_configurations_of_sharding_reach_the_arguments(
    tiny: Path, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = encoder_of(tiny)
    groups = Groups(load_rows(samples, tmp_path / "cache"), size=3, weights={}, seed=0)
    layers = {"transformer_layer_cls_to_wrap": ["Qwen2DecoderLayer"], "cpu_offload": True}
    config = RetrieverConfig(fsdp=True, fsdp_config=layers)
    run = _RetrieverRun(tmp_path / "run", config, encoder.model, encoder.recipe, {}, groups, None, "name")
    arguments = run._training_arguments(run._arguments())
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


def test_a_model_that_was_cut_apart_is_put_together(tiny: Path, samples: Path, tmp_path: Path) -> None:
    # accelerate knows FSDP for accelerators only and keeps the model whole on a CPU: what is tested is the way from
    # the trainer's gathered weights to the exported model.
    settings = {**SETTINGS, "max_steps": 2, "evaluate_every": 0, "save_every": 0}
    whole = train_retriever(
        samples, str(tiny), tmp_path / "alone", RetrieverConfig(**settings, batch_size=4), device="cpu"
    )
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    lines += ["batch_size = 2", "fsdp = true", 'fsdp_config = {transformer_layer_cls_to_wrap = ["Qwen2DecoderLayer"]}']
    (tmp_path / "c.toml").write_text("\n".join(["[retriever]", *lines]) + "\n", encoding="utf-8")
    arguments = ["train", "retriever", str(samples), "--base", str(tiny), "--out", str(tmp_path / "run")]
    done = torchrun(tmp_path, *arguments, "--device", "cpu", "--config", str(tmp_path / "c.toml"))
    assert done.returncode == 0, done.stderr
    expected, found = (load_file(model / "model.safetensors") for model in (whole.model, tmp_path / "run" / "model"))
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=2e-4)
    assert not (tmp_path / "run" / "gathered").exists()


def torchrun(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = folder / "rader.py"
    script.write_text("from rader_plugins.cli import main\n\nmain()\n", encoding="utf-8")
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    return subprocess.run([sys.executable, *run, *arguments], capture_output=True, text=True, timeout=240, check=False)


def test_two_processes_give_the_weights_of_one(tiny: Path, samples: Path, animals: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    from rader_plugins import RetrievalDataset

    dataset = RetrievalDataset.from_folder(animals, split="dev")
    alone = train_retriever(
        samples,
        str(tiny),
        tmp_path / "alone",
        RetrieverConfig(**SETTINGS, batch_size=4),
        evaluate_on=dataset,
        device="cpu",
    )
    lines = [f"{name} = {json.dumps(value)}" for name, value in SETTINGS.items()]
    (tmp_path / "c.toml").write_text("\n".join(["[retriever]", "batch_size = 2", *lines]) + "\n", encoding="utf-8")
    out = tmp_path / "run"
    arguments = ["train", "retriever", str(samples), "--base", str(tiny), "--out", str(out), "--device", "cpu"]
    arguments += ["--config", str(tmp_path / "c.toml"), "--evaluate-on", str(animals)]
    done = torchrun(tmp_path, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)  # one report: the second process says nothing
    assert report["steps"] == alone.steps == 6
    assert report["evaluations"] == pytest.approx({str(at): value for at, value in alone.evaluations.items()})
    # The same data in the same order, and the gradients averaged.
    expected, found = (load_file(model / "model.safetensors") for model in (alone.model, out / "model"))
    start = load_file(tiny / "model.safetensors")
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=2e-4)
    moved = max(
        (tensor - next(v for k, v in start.items() if k.endswith(n))).abs().max() for n, tensor in found.items()
    )
    assert moved > 1e-2, "they have learnt"
    losses = [
        [row["loss"] for row in read_jsonl(run / "metrics.jsonl") if "loss" in row] for run in (alone.model.parent, out)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=2e-3)
    checkpoint = out / "checkpoints" / "checkpoint-6"
    assert (checkpoint / "complete").is_file()
    assert {file.name for file in checkpoint.glob("rng_state*")} == {"rng_state_0.pth", "rng_state_1.pth"}
    assert load_encoder(str(out / "model"), device="cpu", show_progress=False).encode_queries(["x"]).shape == (1, 32)
    # An error of the first process ends both.
    again = torchrun(tmp_path, *arguments)
    assert again.returncode != 0
    assert "holds a training run" in again.stderr
