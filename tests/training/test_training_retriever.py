"""Training a retriever: what it sees, what it computes, what it writes, and how it goes on after a kill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rader_training import RetrieverConfig
from rader_training.data.batches import MASKED, NEGATIVE, POSITIVE, Collator
from rader_training.data.groups import Group, Groups
from rader_training.data.rows import load_samples
from rader_training.loss.divergence import TrainingDivergedError
from rader_training.loss.info_nce import InfoNCE
from rader_training.models.adapters import add_lora
from rader_training.run.trainers import newest_checkpoint
from safetensors.torch import load_file
from typer.testing import CliRunner

from rader_plugins import Document, RetrievalDataset, load_encoder
from rader_plugins.cli import build_app
from rader_plugins.encoding.local import LocalEncoder
from rader_plugins.encoding.tokens import tokenize
from rader_plugins.errors import InputError
from rader_plugins.files import read_jsonl, write_jsonl
from rader_plugins.samples import Passage, Sample
from tests.support.kill import start
from tests.support.tiny_models import tiny_qwen2
from tests.training.conftest import ANIMALS, toy_samples
from tests.training.support import (
    assert_same_training,
    assert_the_loss_falls,
    retriever_config,
    retriever_margin,
    tensors,
    train_retriever,
)


def encoder_of(folder: Path) -> LocalEncoder:
    encoder = load_encoder(str(folder), device="cpu", show_progress=False)
    assert isinstance(encoder, LocalEncoder)
    return encoder


def toy_dataset() -> RetrievalDataset:
    corpus = {animal: Document(animal, f"the {animal} lives here") for animal in ANIMALS}
    queries = {animal: f"where is number 99 of {animal}" for animal in ANIMALS}
    return RetrievalDataset(corpus, queries, {animal: {animal: 1} for animal in ANIMALS}, name="animals")


# Data


def test_training_and_inference_see_the_same_tokens(tiny: Path, samples: Path, tmp_path: Path) -> None:
    encoder = encoder_of(tiny)
    groups = Groups(load_samples(samples, tmp_path / "cache"), size=3, weights={}, seed=0)
    collator = Collator(encoder.tokenizer, encoder.recipe)
    batch = [groups[0], groups[1], Group("long " * 100, "a long document " * 50, (), frozenset())]
    columns = collator(batch)
    for role, column, texts in (
        ("query", "query", [group.query for group in batch]),
        ("document", "passage", [text for group in batch for text in (group.positive, *group.negatives)]),
    ):
        expected = tokenize(encoder.tokenizer, encoder.recipe, role, texts).ids  # type: ignore[arg-type]
        ids, mask = columns[f"{column}_input_ids"], columns[f"{column}_attention_mask"]
        assert [row[attended.bool()].tolist() for row, attended in zip(ids, mask, strict=True)] == expected
        assert all(row[-1] == encoder.tokenizer.eos_token_id for row in expected)
    assert collator.truncated == {"query": 1, "document": 1}


def test_a_positive_of_a_query_is_never_its_negative(tiny: Path) -> None:
    encoder = encoder_of(tiny)
    shared = Group("q1", "a", ("b",), frozenset({"a", "c"}))
    other = Group("q2", "c", ("a", "b"), frozenset({"c"}))
    label = Collator(encoder.tokenizer, encoder.recipe)([shared, other])["label"].tolist()
    assert label == [  # passages: a b | c a b
        [POSITIVE, NEGATIVE, MASKED, MASKED, NEGATIVE],
        [NEGATIVE, NEGATIVE, POSITIVE, NEGATIVE, NEGATIVE],
    ]


def test_positives_of_a_query_that_come_in_several_rows_are_no_negatives_of_it(tiny: Path) -> None:
    encoder = encoder_of(tiny)
    rows = [Group("q", text, ("c",), frozenset({text})) for text in ("a", "b")]
    label = Collator(encoder.tokenizer, encoder.recipe)(rows)["label"].tolist()
    assert label == [[POSITIVE, NEGATIVE, MASKED, NEGATIVE], [MASKED, NEGATIVE, POSITIVE, NEGATIVE]]


def test_groups_are_drawn_by_seed_and_epoch(samples: Path, tmp_path: Path) -> None:
    rows = load_samples(samples, tmp_path / "cache")
    groups = Groups(rows, size=2, weights={}, seed=1)
    same_seed = Groups(rows, size=2, weights={}, seed=1)
    assert [groups[index] for index in range(16)] == [same_seed[index] for index in range(16)]
    same_seed.epoch = 1
    assert [groups[index] for index in range(16)] != [same_seed[index] for index in range(16)]
    assert groups.report.kinds == {"cot": 8, "question": 8}
    assert groups.report.short_groups == 0
    assert len(Groups(rows, size=2, weights={"cot": 2.5, "question": 0}, seed=1)) == 20
    with pytest.raises(InputError, match="weight 0"):
        Groups(rows, size=2, weights={"cot": 0, "question": 0}, seed=1)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (Sample("bad", "q", "question", ()), "has no positive"),
        (Sample("bad", " ", "question", (Passage("a", "t"),)), "empty query"),
        (Sample("bad", "q", "question", (Passage("a", " "),)), "empty query or positive"),
    ],
)
def test_unusable_samples_are_named(sample: Sample, message: str, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "s.jsonl", [*(usable.row() for usable in toy_samples(3)), sample.row()])
    with pytest.raises(InputError, match=f"'bad'.*row 4.*{message}"):
        Groups(load_samples(tmp_path / "s.jsonl", tmp_path / "cache"), size=2, weights={}, seed=0)


def test_a_positive_among_the_negatives_is_dropped_and_counted(tmp_path: Path) -> None:
    sample = Sample("s", "q", "cot", (Passage("a", "t"),), (Passage("a", "x"), Passage("b", "t"), Passage("c", "u")))
    write_jsonl(tmp_path / "s.jsonl", [sample.tevatron_row()])
    groups = Groups(load_samples(tmp_path / "s.jsonl", tmp_path / "cache"), size=4, weights={}, seed=0)
    assert groups[0].negatives == ("u",)
    assert (groups.report.negatives_dropped, groups.report.short_groups) == (2, 1)


def test_rows_of_ours_and_of_tevatron_may_stand_in_one_file(tmp_path: Path) -> None:
    first, second = toy_samples(2)
    write_jsonl(tmp_path / "s.jsonl", [first.row(), second.tevatron_row()])
    mixed = load_samples(tmp_path / "s.jsonl", tmp_path / "cache")
    groups = Groups(mixed, size=3, weights={}, seed=0)
    assert {groups[index].query for index in range(2)} == {first.query, second.query}
    assert [sample.query_id for sample in groups.samples()] == ["q0", "q1"]
    # Where all rows are ours, the same texts under Tevatron's names are not read a second time.
    write_jsonl(tmp_path / "ours.jsonl", [first.row(), second.row()])
    ours = load_samples(tmp_path / "ours.jsonl", tmp_path / "cache")
    assert mixed.formats == ours.formats == ["Tevatron"]
    assert Groups(ours, size=3, weights={}, seed=0)[1].positive == groups[1].positive


def test_what_is_no_data_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        load_samples(tmp_path / "nothing", tmp_path / "cache")
    (tmp_path / "s.jsonl").write_text("not json")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_samples(tmp_path / "s.jsonl", tmp_path / "cache")


# Loss


class Rows(torch.nn.Module):
    """Stands for a model: embeddings are rows of a table."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Parameter(torch.randn(10, 6))

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"sentence_embedding": self.table[features["input_ids"][:, 0]]}


@pytest.mark.parametrize("mini_batch", [None, 1, 2])
def test_the_loss_and_its_gradients_are_those_of_the_formula(mini_batch: int | None) -> None:
    model = Rows()
    features = [
        {"input_ids": torch.tensor([[0], [1]]), "attention_mask": torch.ones(2, 1)},
        {"input_ids": torch.tensor([[2], [3], [4], [5]]), "attention_mask": torch.ones(4, 1)},
    ]
    label = torch.tensor([[POSITIVE, NEGATIVE, MASKED, NEGATIVE], [NEGATIVE, NEGATIVE, POSITIVE, NEGATIVE]])
    loss = InfoNCE(model, temperature=0.5, mini_batch_size=mini_batch)(features, label)
    loss.backward()
    unit = torch.nn.functional.normalize(model.table.detach().double(), dim=-1).numpy()
    logits = unit[:2] @ unit[2:6].T / 0.5
    first = logits[0, [0, 1, 3]]
    expected = -np.mean([first[0] - np.log(np.exp(first).sum()), logits[1, 2] - np.log(np.exp(logits[1]).sum())])
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    gradient = model.table.grad
    assert gradient is not None
    plain = Rows()
    InfoNCE(plain, temperature=0.5, mini_batch_size=None)(features, label).backward()
    torch.testing.assert_close(gradient, plain.table.grad)


@pytest.mark.parametrize("mini_batch", [None, 3])
def test_texts_are_computed_by_length_without_changing_the_loss(
    mini_batch: int | None, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = encoder_of(tiny)
    model = encoder.model.train()
    groups = [
        Group(
            f"query {'word ' * number}",
            f"text {number} " * (5 * number + 1),
            tuple(f"no {number} {n} " * n for n in (1, 9, 3)),
            positives,
        )
        for number, positives in enumerate([frozenset({"text 1 " * 6}), *([frozenset[str]()] * 4)])
    ]
    collator = Collator(encoder.tokenizer, encoder.recipe, reasoning_weight=0.5)
    padded: list[int] = []
    forward = model.forward

    def counted(features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        padded.append(features["input_ids"].numel())
        return forward(features)

    def computed() -> tuple[float, torch.Tensor]:
        batch = collator(groups)
        columns = [
            {name.partition("_")[2]: value for name, value in batch.items() if name.startswith(role)}
            for role in ("query_", "passage_")
        ]
        model.zero_grad()
        loss = InfoNCE(model, temperature=0.1, mini_batch_size=mini_batch)(columns, batch["label"])
        loss.backward()
        weight = model[0].model.embed_tokens.weight.grad
        return loss.item(), weight.clone()

    monkeypatch.setattr(model, "forward", counted)
    model.requires_grad_(True)
    value, gradient = computed()
    cut = sum(padded)
    padded.clear()
    monkeypatch.setattr(
        "rader_training.loss.info_nce._by_length", lambda column: (column, torch.arange(len(column["input_ids"])))
    )
    monkeypatch.setattr("rader_training.loss.info_nce._blocks", lambda lengths: [(0, len(lengths))])
    full_loss, expected = computed()
    assert value == pytest.approx(full_loss, rel=1e-4)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-5)
    assert cut < sum(padded), "fewer tokens of padding are computed"


def test_a_loss_that_is_not_finite_ends_the_training() -> None:
    model = Rows()
    model.table.data[2] = torch.nan
    features = [{"input_ids": torch.tensor([[row]]), "attention_mask": torch.ones(1, 1)} for row in (0, 2)]
    with pytest.raises(TrainingDivergedError, match="became NaN"):
        InfoNCE(model, temperature=0.5, mini_batch_size=None)(features, torch.tensor([[POSITIVE]]))


# Training


@pytest.mark.parametrize("lora", [True, False])
@pytest.mark.filterwarnings("ignore::rader_plugins.errors.TruncationWarning")
def test_a_retriever_learns_and_drops_back_in(tiny: Path, samples: Path, tmp_path: Path, lora: bool) -> None:
    config = retriever_config(
        epochs=9,
        temperature=0.1,
        learning_rate=3e-3 if lora else 1e-3,
        lora=lora,
        mini_batch=3,
        evaluate_every=12,
    )
    report = train_retriever(
        samples, str(tiny), tmp_path / "run", config, evaluate_on=toy_dataset(), device="cpu", name="animals"
    )
    assert report.steps == 36
    assert set(report.evaluations) == {0, 12, 24, 36}
    assert report.evaluations[report.best_step] == max(value for step, value in report.evaluations.items() if step)
    assert_the_loss_falls(tmp_path / "run")
    assert report.curves is not None
    base, trained = encoder_of(tiny), encoder_of(report.model)
    assert retriever_margin(trained, toy_samples()) > retriever_margin(base, toy_samples())
    assert trained.fingerprint != base.fingerprint, "an index of the base must not take the new model's vectors"
    assert trained.recipe.query_template == "query: {text}"
    texts = ["where is number 3 of cat", "long " * 60]
    ours = {"query": trained.encode_queries(texts), "document": trained.encode_documents(texts)}
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(str(report.model), device="cpu")
    for role, encode in (("query", plain.encode_query), ("document", plain.encode_document)):
        theirs = encode(texts, normalize_embeddings=True)
        assert (ours[role] * theirs).sum(axis=1).min() > 0.9999
    assert (ours["query"] * base.encode_queries(texts)).sum(axis=1).max() < 0.99999, "it has changed"
    card = (report.model / "README.md").read_text(encoding="utf-8")
    assert '"temperature": 0.1' in card
    rows = list(read_jsonl(tmp_path / "run" / "metrics.jsonl"))
    assert any("loss" in row for row in rows)
    with pytest.raises(InputError, match="holds an earlier training run"):
        train_retriever(samples, str(tiny), tmp_path / "run", config, evaluate_on=toy_dataset(), device="cpu")
    with pytest.raises(InputError, match="another training run: it differs in config"):
        train_retriever(
            *(samples, str(tiny), tmp_path / "run", retriever_config()),
            evaluate_on=toy_dataset(),
            device="cpu",
            resume=True,
        )


WORKER = """
import sys, threading
from rader_training.run.trainers import WholeCheckpoints
from tests.training.support import retriever_config, train_retriever
from tests.training.test_training_retriever import RESUMED

mark = WholeCheckpoints.on_save
def on_save(self, args, state, control, **kwargs):
    if state.global_step == int(sys.argv[4]):
        print("saving", flush=True)   # before the mark: this checkpoint is not whole
        threading.Event().wait(60)
    mark(self, args, state, control, **kwargs)
WholeCheckpoints.on_save = on_save
train_retriever(sys.argv[1], sys.argv[2], sys.argv[3], retriever_config(**RESUMED), device="cpu", resume=True)
"""
RESUMED: dict[str, Any] = {"epochs": 3, "save_every": 2, "learning_rate": 1e-2}


def test_a_killed_training_goes_on_to_the_same_weights(tiny: Path, samples: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    expected = train_retriever(samples, str(tiny), tmp_path / "whole", retriever_config(**RESUMED), device="cpu")
    process = start(WORKER, str(samples), str(tiny), str(tmp_path / "run"), "8")
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "saving"
    process.kill()
    process.wait()
    checkpoint = newest_checkpoint(tmp_path / "run" / "checkpoints")
    assert checkpoint is not None
    assert checkpoint.name == "checkpoint-6", "the one that was not whole does not count"
    resumed = train_retriever(
        samples, str(tiny), tmp_path / "run", retriever_config(**RESUMED), device="cpu", resume=True
    )
    assert resumed.steps == expected.steps == 12
    for name in ("model.safetensors",):
        assert (resumed.model / name).read_bytes() == (expected.model / name).read_bytes()
    steps = [row["step"] for row in read_jsonl(tmp_path / "run" / "metrics.jsonl") if "loss" in row]
    assert steps == list(range(1, 13))


def test_gradient_checkpointing_changes_no_weight(tiny: Path, samples: Path, tmp_path: Path) -> None:
    models = {}
    for name, options in {"plain": {}, "checkpointed": {"gradient_checkpointing": True}}.items():
        config = retriever_config(max_steps=3, lora_dropout=0.0, learning_rate=1e-2, **options)
        models[name] = train_retriever(samples, str(tiny), tmp_path / name, config, device="cpu").model
    assert_same_training(tensors(models["checkpointed"]), tensors(models["plain"]), tensors(tiny))


def test_encoders_of_the_base_that_are_in_use_keep_their_vectors(tiny: Path, samples: Path, tmp_path: Path) -> None:
    used = load_encoder(str(tiny), device="cpu", show_progress=False)
    before = used.encode_queries(["a cat"])
    config = retriever_config(max_steps=2, lora=False, learning_rate=1e-2)
    train_retriever(samples, str(tiny), tmp_path / "run", config, device="cpu")
    np.testing.assert_array_equal(used.encode_queries(["a cat"]), before)


def test_in_bfloat16_the_adapter_is_float32(tiny: Path, samples: Path, tmp_path: Path) -> None:
    config = retriever_config(max_steps=2, bf16=True, save_every=2)
    report = train_retriever(samples, str(tiny), tmp_path / "run", config, device="cpu")
    trained = load_file(tmp_path / "run" / "checkpoints" / "checkpoint-2" / "trained.safetensors")
    assert {tensor.dtype for tensor in trained.values()} == {torch.float32}
    assert {tensor.dtype for tensor in load_file(report.model / "model.safetensors").values()} == {torch.bfloat16}


def test_patience_ends_a_training_that_gets_no_better(tiny: Path, samples: Path, tmp_path: Path) -> None:
    config = retriever_config(epochs=20, learning_rate=1e-9, evaluate_every=2, patience=2)
    report = train_retriever(samples, str(tiny), tmp_path / "run", config, evaluate_on=toy_dataset(), device="cpu")
    assert report.steps == 6
    assert report.best_step == 2


def test_lora_targets(tiny: Path) -> None:
    model = encoder_of(tiny).model[0].model
    with pytest.raises(InputError, match="no layers named nothing"):
        add_lora(model, RetrieverConfig(lora_targets=("nothing",)))
    model = add_lora(model, RetrieverConfig())
    adapted = {name.split(".lora_")[0].rpartition(".")[2] for name, _ in model.named_parameters() if "lora_" in name}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_the_command(tiny: Path, samples: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[retriever]\nbatch_size = 4\naccumulate = 1\nmax_steps = 2\n", encoding="utf-8")
    arguments = ["train", "retriever", str(samples), "--base", str(tiny), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(
        build_app(), [*arguments, "--config", str(tmp_path / "c.toml"), "--device", "cpu", "--json"]
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["steps"] == 2
    assert (Path(report["model"]) / "modules.json").is_file()
    plain = tiny_qwen2(tmp_path / "plain")
    named = ["train", "retriever", str(samples), "--base", str(plain), "--config", str(tmp_path / "c.toml")]
    named += ["--device", "cpu", "--out", str(tmp_path / "named"), "--json"]
    result = CliRunner().invoke(build_app(), named)
    assert result.exit_code == 2
    assert "does not say which template" in result.output
    result = CliRunner().invoke(build_app(), [*named, "--recipe", "rader-7b"])
    assert result.exit_code == 0, result.output
    recipe = encoder_of(Path(json.loads(result.stdout)["model"])).recipe
    assert recipe.query_template == "query: {instruction}{text}"
    assert recipe.source == "trained from plain with rader-plugins"
    (tmp_path / "c.toml").write_text("[retriever]\nlearning_rats = 4\n", encoding="utf-8")
    result = CliRunner().invoke(build_app(), [*arguments, "--config", str(tmp_path / "c.toml")])
    assert result.exit_code == 2
    assert "learning_rats" in result.output


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": 0}, {"batch_size": 0}, {"lora_dropout": 1.0}, {"kinds": {"cot": -1}}, {"epochs": float("nan")}]
    + [{"mini_batch": 0}, {"patience": -1}],
)
def test_unusable_hyper_parameters(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        RetrieverConfig(**wrong)
