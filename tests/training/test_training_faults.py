"""What training does with unusable samples and bases, full disks, kills while it saves, and losses that are NaN."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rader_training import TrainingDivergedError, TrainingReport
from rader_training.run.trainers import newest_checkpoint
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rader_plugins import Recipe, load_encoder
from rader_plugins.errors import InputError
from rader_plugins.files import write_jsonl
from rader_plugins.recipes.resolve import read_directory, write_recipe
from rader_plugins.reranking import load_reranker
from rader_plugins.samples import Passage, Sample
from tests.support.kill import start
from tests.support.tiny_models import tiny_qwen2
from tests.support.tiny_rerankers import tiny_qwen2_classifier
from tests.training.conftest import toy_samples
from tests.training.support import reranker_config, retriever_config, train_reranker, train_retriever

Train = Callable[..., TrainingReport]


def retriever(samples: Path, base: str | Path | Recipe, out: Path, **options: Any) -> TrainingReport:
    resume = options.pop("resume", False)
    base = base if isinstance(base, Recipe) else str(base)
    return train_retriever(samples, base, out, retriever_config(**options), device="cpu", resume=resume)


def reranker(samples: Path, base: str | Path | Recipe, out: Path, **options: Any) -> TrainingReport:
    resume = options.pop("resume", False)
    base = base if isinstance(base, Recipe) else str(base)
    return train_reranker(samples, base, out, reranker_config(**options), device="cpu", resume=resume)


BOTH = pytest.mark.parametrize("train", [retriever, reranker])


def written(folder: Path, *samples: Sample) -> Path:
    write_jsonl(folder / "samples.jsonl", [sample.row() for sample in samples])
    return folder / "samples.jsonl"


def without_tokens(folder: Path, *names: str) -> Path:
    """Take special tokens from a tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for name in names:
        setattr(tokenizer, name, None)
    tokenizer.save_pretrained(folder)
    return folder


# Samples


@BOTH
@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (Sample("bad", "q", "cot", (), (Passage("n", "t"),)), "has no positive"),
        (Sample("bad", " ", "cot", (Passage("p", "t"),), (Passage("n", "u"),)), "empty query or positive"),
        (Sample("bad", "q", "cot", (Passage("p", ""),), (Passage("n", "u"),)), "empty query or positive"),
    ],
)
def test_unusable_samples_leave_no_run(tiny: Path, tmp_path: Path, train: Train, sample: Sample, message: str) -> None:
    samples = written(tmp_path, *toy_samples(3), sample)
    with pytest.raises(InputError, match=f"'bad'.*row 4.*{message}"):
        train(samples, tiny, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@BOTH
def test_samples_without_negatives(tiny: Path, tmp_path: Path, train: Train) -> None:
    bare = [dataclasses.replace(sample, negatives=()) for sample in toy_samples(4)]
    report = train(written(tmp_path, *bare, *toy_samples(8)[4:]), tiny, tmp_path / "run", max_steps=1)
    assert report.data["without_negatives"] == 4
    # In-batch negatives are enough for a retriever; for a reranker there is nothing to tell the positive from.
    assert report.data["samples"] == (8 if train is retriever else 4)
    (tmp_path / "bare").mkdir()
    alone = written(tmp_path / "bare", *bare)
    if train is retriever:
        assert train(alone, tiny, tmp_path / "run-2", max_steps=1).steps == 1
    else:
        with pytest.raises(InputError, match="None of the 4 samples has a hard negative"):
            train(alone, tiny, tmp_path / "run-2")


@BOTH
def test_short_groups_and_positives_among_the_negatives(tiny: Path, tmp_path: Path, train: Train) -> None:
    positive = Passage("p", "the positive")
    negatives = (Passage("p", "another text"), Passage("n", "the positive"), Passage("e", " "), Passage("m", "good"))
    odd = Sample("odd", "a query", "cot", (positive,), negatives)
    report = train(written(tmp_path, odd, *toy_samples(4)), tiny, tmp_path / "run", max_steps=1)
    assert report.data["negatives_dropped"] == 3, "by id, by text, and an empty one"
    assert report.data["short_groups"] == 1


# Bases


def test_a_retriever_base_without_a_padding_token(tiny: Path, samples: Path, tmp_path: Path) -> None:
    base = without_tokens(Path(shutil.copytree(tiny, tmp_path / "base")), "pad_token")
    report = retriever(samples, base, tmp_path / "run", max_steps=1)
    texts = ["a", "a longer text than that"]
    ours = load_encoder(report.model, device="cpu").encode_queries(texts)
    theirs = SentenceTransformer(str(report.model), device="cpu").encode_query(texts, batch_size=2)
    assert (ours * theirs).sum(axis=1).min() > 0.9999


@pytest.mark.parametrize("padding", ["none", "eos"])
def test_a_reranker_base_without_a_padding_token_of_its_own(samples: Path, tmp_path: Path, padding: str) -> None:
    base = without_tokens(tiny_qwen2(tmp_path / "base", causal_lm=True), "pad_token")
    if padding == "eos":
        tokenizer = AutoTokenizer.from_pretrained(base)
        tokenizer.pad_token = tokenizer.eos_token
        tokenizer.save_pretrained(base)
    report = reranker(samples, base, tmp_path / "run", max_steps=2)
    pairs = [("a query", "short"), ("a query", "a document that is somewhat longer")]
    scores = load_reranker(report.model, device="cpu").score_pairs(pairs)
    plain = AutoModelForSequenceClassification.from_pretrained(report.model)
    tokenizer = AutoTokenizer.from_pretrained(report.model)
    with torch.no_grad():
        rows = [tokenizer(f"query: {q} document: {d}", return_tensors="pt") for q, d in pairs]
        theirs = [plain(**row).logits.item() for row in rows]
        np.testing.assert_allclose(scores, theirs, atol=1e-4)
        with pytest.raises(ValueError, match="no padding token"):  # and no score that was read at another token
            plain(input_ids=torch.ones((2, 3), dtype=torch.int64))


def test_a_base_without_an_end_of_sequence_token(tiny: Path, samples: Path, tmp_path: Path) -> None:
    base = without_tokens(Path(shutil.copytree(tiny, tmp_path / "base")), "eos_token")
    with pytest.raises(InputError, match="has no end-of-sequence token. Name it"):
        retriever(samples, base, tmp_path / "run")
    (base / "rader_recipe.json").unlink()
    with pytest.raises(InputError, match=r"has none. Name it: dataclasses.replace\(recipe, eos_token="):
        reranker(samples, base, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    named = Recipe(
        name="named",
        model=str(base),
        kind="reranker",
        pair_template="{query} {document}",
        append_eos=True,
        eos_token="<|endoftext|>",
    )
    report = reranker(samples, named, tmp_path / "run", max_steps=1)
    assert read_directory(report.model, "reranker").eos_token == "<|endoftext|>"


def test_a_recipe_that_cannot_be_saved_is_refused_before_the_training(
    tiny: Path, samples: Path, tmp_path: Path
) -> None:
    recipe = dataclasses.replace(read_directory(tiny), model=str(tiny), document_template="document: {text} (end)")
    with pytest.raises(InputError, match="goes on behind"):
        retriever(samples, recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_bases_that_cannot_become_a_reranker(tiny: Path, samples: Path, tmp_path: Path) -> None:
    sorter = tiny_qwen2_classifier(tmp_path / "sorter", labels=3)
    recipe = Recipe(name="r", model=str(sorter), kind="reranker", pair_template="{query} {document}")
    with pytest.raises(InputError, match="classifier of 3 labels"):
        reranker(samples, recipe, tmp_path / "run")
    damaged = Path(shutil.copytree(tiny, tmp_path / "damaged"))
    tensors = load_file(damaged / "model.safetensors")
    del tensors["layers.0.mlp.up_proj.weight"]
    save_file(tensors, damaged / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="lacks the tensors of model.layers.0.mlp.up_proj"):
        reranker(samples, damaged, tmp_path / "run")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        reranker(samples, tmp_path / "empty", tmp_path / "run")
    assert not (tmp_path / "run").exists()


# Checkpoints


@BOTH
def test_a_checkpoint_of_another_recipe(tiny: Path, samples: Path, tmp_path: Path, train: Train) -> None:
    settings: dict[str, Any] = {"max_steps": 4, "save_every": 2}
    train(samples, tiny, tmp_path / "run", **settings)
    other = Path(shutil.copytree(tiny, tmp_path / "other"))
    if train is retriever:
        changed = dataclasses.replace(read_directory(other), model="tiny", query_template="Query: {text}")
        write_recipe(other, changed, same_vectors=False)
        base: Path | Recipe = other
    else:
        base = Recipe(name="tiny", model=str(tiny), kind="reranker", pair_template="Q: {query} D: {document}")
    with pytest.raises(InputError, match="another training run: it differs in .*base_fingerprint"):
        train(samples, base, tmp_path / "run", resume=True, **settings)
    # Weights of another run, put among the checkpoints of this one.
    train(samples, tiny, tmp_path / "small", lora_rank=4, **settings)
    strange = tmp_path / "small" / "checkpoints" / "checkpoint-4" / "trained.safetensors"
    shutil.copy(strange, tmp_path / "run" / "checkpoints" / "checkpoint-4" / "trained.safetensors")
    (tmp_path / "run" / "finished.json").unlink()  # as if it had been killed before its end
    with pytest.raises(InputError, match="weights of another model, or of other LoRA settings"):
        train(samples, tiny, tmp_path / "run", resume=True, **settings)


LIMITED = """
import importlib, resource, signal, sys
from rader_training.run import trainers
from rader_plugins.errors import RaderError
from tests.training import test_training_faults as here

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit then fails as on a full disk
def fill():
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, resource.RLIM_INFINITY))

if sys.argv[5] == "checkpoint":
    save = trainers.TrainedWeights._save
    def full(self, *arguments, **options):
        if self.state.global_step == 4:
            fill()
        save(self, *arguments, **options)
    trainers.TrainedWeights._save = full
else:
    merge = getattr(importlib.import_module("rader_training." + sys.argv[1]), "_" + sys.argv[1].capitalize() + "Run")
    whole = merge._merge_adapter
    def full(self):
        whole(self)
        fill()
    merge._merge_adapter = full
from pathlib import Path
try:
    getattr(here, sys.argv[1])(Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]), **here.SAVED)
except RaderError as error:
    print(error, flush=True)
"""
SAVED: dict[str, Any] = {"epochs": 2, "max_steps": 6, "save_every": 2, "learning_rate": 1e-2}


@pytest.mark.parametrize(("train", "what"), [(retriever, "checkpoint"), (reranker, "model")])
def test_a_full_disk_while_saving(tiny: Path, samples: Path, tmp_path: Path, train: Train, what: str) -> None:
    torch.set_num_threads(1)
    process = start(LIMITED, train.__name__, str(samples), str(tiny), str(tmp_path / "run"), what)
    output, _ = process.communicate(timeout=600)
    assert "cannot be written" in output
    assert "--resume" in output
    checkpoint = newest_checkpoint(tmp_path / "run" / "checkpoints")
    assert checkpoint is not None
    assert checkpoint.name == ("checkpoint-2" if what == "checkpoint" else "checkpoint-6")
    assert not (tmp_path / "run" / "model").exists()
    resumed = train(samples, tiny, tmp_path / "run", resume=True, **SAVED)
    expected = train(samples, tiny, tmp_path / "whole", **SAVED)
    name = "model.safetensors"
    assert (resumed.model / name).read_bytes() == (expected.model / name).read_bytes()


KILLED = """
import sys, threading
from pathlib import Path
from rader_training.models import export
from tests.training import test_training_faults as here

def stop(*arguments, **options):
    print("writing", flush=True)
    threading.Event().wait(60)
export.write_recipe = stop
getattr(here, sys.argv[1])(Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]), resume=True, **here.SAVED)
"""


def test_a_kill_while_the_model_is_written(tiny: Path, samples: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    expected = reranker(samples, tiny, tmp_path / "whole", **SAVED)
    process = start(KILLED, "reranker", str(samples), str(tiny), str(tmp_path / "run"))
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "writing"
    process.kill()
    process.wait()
    assert not (tmp_path / "run" / "model").exists(), "a directory that is there is whole"
    resumed = reranker(samples, tiny, tmp_path / "run", resume=True, **SAVED)
    name = "model.safetensors"
    assert (resumed.model / name).read_bytes() == (expected.model / name).read_bytes()
    file_names = {path.name for path in (tmp_path / "run").iterdir()}
    assert file_names <= {
        "model",
        "checkpoints",
        "metrics.jsonl",
        "curves.png",
        "training.json",
        "finished.json",
        "best.safetensors",
        "run.lock",
    }


# Losses that are no numbers


@BOTH
def test_a_diverged_training_leaves_the_last_good_weights(
    tiny: Path, samples: Path, tmp_path: Path, train: Train
) -> None:
    # The first step of a warm-up has the rate 0; the second throws the weights away.
    wild: dict[str, Any] = {"lora": False, "learning_rate": 1e30, "max_steps": 8, "warmup_steps": 1, "save_every": 0}
    with pytest.raises(TrainingDivergedError, match="set save_every"):
        train(samples, tiny, tmp_path / "unsaved", **wild)
    with pytest.raises(TrainingDivergedError, match="Lower the learning rate.*model holds the weights of step 1"):
        train(samples, tiny, tmp_path / "run", **{**wild, "save_every": 1})
    trained = load_file(tmp_path / "run" / "model" / "model.safetensors")
    before = load_file(tiny / "model.safetensors")
    for name, tensor in before.items():
        torch.testing.assert_close(trained[name if train is retriever else f"model.{name}"], tensor)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert rows[0]["step"] == 1
