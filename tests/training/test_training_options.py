"""Options of retriever training: random negatives, layers of the adapter, averaging with the base, anchors."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from rader_training import RetrieverConfig
from rader_training.data.anchors import Anchors
from rader_training.data.batches import MASKED, NEGATIVE, POSITIVE, Collator, weights
from rader_training.data.corpus import Corpus
from rader_training.data.groups import Group, Groups
from rader_training.data.rows import load_samples
from rader_training.loss.info_nce import InfoNCE
from rader_training.models.adapters import add_lora, set_dropout
from rader_training.retriever import _RetrieverRun
from safetensors.torch import load_file
from typer.testing import CliRunner

from rader_plugins import RetrievalDataset, load_encoder
from rader_plugins.cli import build_app
from rader_plugins.encoding.local import LocalEncoder
from rader_plugins.errors import InputError
from rader_plugins.files import write_jsonl
from rader_plugins.recipes import Recipe
from rader_plugins.recipes.resolve import write_recipe
from rader_plugins.samples import Passage, Sample
from tests.support.tiny_models import tiny_bert
from tests.training.support import retriever_config, train_retriever
from tests.training.test_training_retriever import encoder_of, toy_dataset


def corpus_of(folder: Path, texts: dict[str, str]) -> Corpus:
    write_jsonl(folder / "corpus.jsonl", [{"id": id, "text": text} for id, text in texts.items()])
    return Corpus(folder / "corpus.jsonl", folder / "cache")


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return corpus_of(tmp_path, {f"d{number}": f"text {number}" for number in range(20)})


# Random negatives


def test_draws_are_even_distinct_and_the_same_again(corpus: Corpus) -> None:
    seen: Counter[str] = Counter()
    for batch in range(500):
        groups = [Group("q", "p", (), frozenset({"p"}), draw=f"42/0/{batch}")]
        negatives = corpus.draw(groups, 4)
        assert len(set(negatives)) == 4
        assert negatives == corpus.draw(groups, 4)
        seen.update(negatives)
    assert len(seen) == 20
    # 2,000 draws of 20 documents: 100 each, standard deviation below 10.
    assert min(seen.values()) > 60
    assert max(seen.values()) < 140


def test_no_positive_of_any_query_is_drawn_neither_by_id_nor_by_text(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, {"a": "other wording of a", "b": "text of b", "c": "hard", "d": "free", "e": "free"})
    groups = [
        Group("q1", "text of a", (), frozenset({"text of a"}), frozenset({"a"})),
        Group("q2", "x", ("hard",), frozenset({"x", "text of b"}), frozenset({"not in the corpus"})),
    ]
    # Of five documents two are positives, one is in the batch already, and two are the same text.
    assert corpus.draw(groups, 5) == ["free"]


def test_the_corpus_is_read_anew_when_it_has_changed(tmp_path: Path) -> None:
    first = corpus_of(tmp_path, {"a": "one"})
    second = corpus_of(tmp_path, {"a": "two"})
    assert first.digest != second.digest
    group = Group("q", "p", (), frozenset({"p"}))
    assert (first.draw([group], 1), second.draw([group], 1)) == (["one"], ["two"])


@pytest.mark.parametrize("in_batch", [True, False])
def test_what_is_a_negative_of_which_query(tiny: Path, tmp_path: Path, in_batch: bool) -> None:
    encoder = encoder_of(tiny)
    corpus = corpus_of(tmp_path, {"r": "far away"})
    groups = [Group("q1", "a", ("b",), frozenset({"a"})), Group("q2", "c", ("d", "a"), frozenset({"c"}))]
    batch = Collator(encoder.tokenizer, encoder.recipe, in_batch, corpus, 1)(groups)
    other = NEGATIVE if in_batch else MASKED
    assert batch["label"].tolist() == [  # passages: a b | c d a | r
        [POSITIVE, NEGATIVE, other, other, MASKED, NEGATIVE],
        [other, other, POSITIVE, NEGATIVE, NEGATIVE, NEGATIVE],
    ]
    plain = Collator(encoder.tokenizer, encoder.recipe)([*groups, Group("q3", "far away", (), frozenset())])
    assert batch["passage_input_ids"].tolist() == plain["passage_input_ids"].tolist(), "encoded as documents are"


def test_groups_carry_what_a_draw_depends_on(samples: Path, tmp_path: Path) -> None:
    groups = Groups(load_samples(samples, tmp_path / "cache"), size=3, weights={}, seed=1)
    draws = {groups[index].draw for index in range(16)}
    groups.epoch = 1
    draws |= {groups[index].draw for index in range(16)}
    assert len(draws) == 32
    assert groups[0].positive_ids == {"cat"}


def test_random_negatives_and_a_corpus_go_together(tiny: Path, samples: Path, corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="set random_negatives"):
        train_retriever(
            samples, str(tiny), tmp_path / "run", retriever_config(), corpus=tmp_path / "corpus.jsonl", device="cpu"
        )
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(InputError, match="no documents"):
        Corpus(tmp_path / "empty.jsonl", tmp_path / "cache")


def test_a_run_with_random_negatives_goes_on_to_the_same_weights(
    tiny: Path, samples: Path, corpus: Corpus, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    documents = tmp_path / "corpus.jsonl"
    settings: dict[str, Any] = {"random_negatives": 3, "save_every": 2, "learning_rate": 1e-2, "epochs": 2}

    def trained(out: str, resume: bool = False, **options: Any) -> Path:
        config = retriever_config(**{**settings, **options})
        return train_retriever(
            samples, str(tiny), tmp_path / out, config, corpus=documents, device="cpu", resume=resume
        ).model

    uninterrupted = trained("whole")
    trained("again")
    # As if it had been stopped after the sixth of eight steps, in the middle of the second epoch.
    (tmp_path / "again" / "checkpoints" / "checkpoint-8" / "complete").unlink()
    resumed = trained("again", resume=True)
    assert (uninterrupted / "model.safetensors").read_bytes() == (resumed / "model.safetensors").read_bytes()
    without = train_retriever(
        samples, str(tiny), tmp_path / "none", retriever_config(**{**settings, "random_negatives": 0}), device="cpu"
    ).model
    assert (uninterrupted / "model.safetensors").read_bytes() != (without / "model.safetensors").read_bytes()
    write_jsonl(documents, [{"id": "d", "text": "another corpus"}])
    with pytest.raises(InputError, match="differs in corpus"):
        trained("whole", resume=True)


# Dropout


def test_without_dropout_a_text_gets_the_same_vector_twice(tmp_path: Path) -> None:
    recipe = Recipe(name="bert", model=str(tiny_bert(tmp_path / "bert")))
    encoder = load_encoder(recipe, device="cpu", show_progress=False)
    assert isinstance(encoder, LocalEncoder)
    model = encoder.model.train()
    assert max(module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)) > 0
    features = encoder.tokenizer(["a text of some words"], return_tensors="pt")

    def vector() -> torch.Tensor:
        return model(dict(features))["sentence_embedding"].detach()

    assert not torch.equal(vector(), vector())
    set_dropout(model, 0.0)
    assert torch.equal(vector(), vector())
    with pytest.raises(InputError, match="dropout"):
        RetrieverConfig(dropout=1.0)


# Anchors


def anchors_of(folder: Path, tiny: Path) -> Anchors:
    write_jsonl(folder / "anchors.jsonl", [{"id": f"a{number}", "text": f"anchor {number}"} for number in range(12)])
    anchors = Anchors(folder / "anchors.jsonl", folder / "cache")
    anchors.encode(encoder_of(tiny))
    return anchors


def test_a_batch_holds_anchors_with_the_vectors_of_the_base(tiny: Path, tmp_path: Path) -> None:
    encoder = encoder_of(tiny)
    groups = [Group("q1", "a", ("b",), frozenset({"a"}), draw="1/0/0")]
    collator = Collator(encoder.tokenizer, encoder.recipe, anchors=anchors_of(tmp_path, tiny), anchored=5)
    batch = collator(groups)
    assert batch["anchor_input_ids"].shape[0] == 5
    assert batch["label"].shape == (1, 2), "they are nobody's negatives"
    second_batch = collator(groups)
    assert batch["anchor_input_ids"].tolist() == second_batch["anchor_input_ids"].tolist()
    other = collator([Group("q1", "a", ("b",), frozenset({"a"}), draw="1/1/0")])
    assert batch["anchor_input_ids"].tolist() != other["anchor_input_ids"].tolist()
    # Before any step the model puts them where the base does.
    features = {name: batch[f"anchor_{name}"] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        anchor_vectors = torch.nn.functional.normalize(encoder.model(features)["sentence_embedding"], dim=-1)
    assert torch.allclose(anchor_vectors, batch["anchor_target"], atol=1e-5)


def test_anchors_are_directions_where_a_recipe_does_not_scale_its_vectors(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "plain")
    recipe = dataclasses.replace(encoder_of(tiny).recipe, normalize=False)
    write_recipe(tmp_path / "plain", recipe, same_vectors=False)
    plain = encoder_of(tmp_path / "plain")
    assert abs(float((plain.encode_documents(["a"]) ** 2).sum()) - 1) > 0.01
    anchors = anchors_of(tmp_path, tiny)
    groups = [Group("q", "a", (), frozenset({"a"}), draw="1/0/0")]
    expected = anchors.draw(groups, 12)[1]
    anchors.encode(plain)
    assert anchors.draw(groups, 12)[1] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("mini_batch", [None, 1])
def test_the_loss_grows_by_the_distance_of_the_anchors(mini_batch: int | None) -> None:
    class Rows(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Parameter(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]))

        def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {"sentence_embedding": self.table[features["input_ids"][:, 0]]}

    def column(*rows: int) -> dict[str, torch.Tensor]:
        return {"input_ids": torch.tensor([[row] for row in rows]), "attention_mask": torch.ones(len(rows), 1)}

    def loss(weight: float) -> float:
        anchors = {**column(3, 2), "target": torch.tensor([[1.0, 0.0], [0.0, 1.0]])}
        model = Rows()
        value = InfoNCE(model, temperature=1.0, mini_batch_size=mini_batch, anchor_weight=weight)(
            [column(0), column(1, 2), anchors], torch.tensor([[POSITIVE, NEGATIVE]])
        )
        value.backward()
        assert model.table.grad is not None
        assert bool(model.table.grad[3].any()) is (weight > 0)
        return float(value.detach())

    # The first anchor has moved from cosine 1 to 0.6, the second has not moved: 0.2 on average.
    assert loss(10.0) - loss(0.0) == pytest.approx(2.0)


def test_anchors_hold_the_vectors_and_a_resumed_run_holds_them_at_the_base(
    tiny: Path, samples: Path, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    anchors = anchors_of(tmp_path, tiny)
    settings: dict[str, Any] = {"save_every": 2, "learning_rate": 1e-2, "epochs": 2}

    def trained(out: str, weight: float, resume: bool = False) -> Path:
        return train_retriever(
            samples,
            str(tiny),
            tmp_path / out,
            retriever_config(**settings, anchor_weight=weight),
            anchor=tmp_path / "anchors.jsonl" if weight else None,
            device="cpu",
            resume=resume,
        ).model

    anchored = trained("held", 100.0)
    trained("again", 100.0)
    (tmp_path / "again" / "checkpoints" / "checkpoint-8" / "complete").unlink()
    resumed = trained("again", 100.0, resume=True)
    assert (anchored / "model.safetensors").read_bytes() == (resumed / "model.safetensors").read_bytes()

    before = encoder_of(tiny).encode_documents(anchors.texts)

    def moved(model: Path) -> float:
        after = load_encoder(str(model), device="cpu", show_progress=False).encode_documents(anchors.texts)
        return float((1 - (before * after).sum(axis=1)).mean())

    assert moved(anchored) < moved(trained("free", 0.0))


def test_anchors_and_their_weight_go_together(tiny: Path, samples: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="go together"):
        train_retriever(samples, str(tiny), tmp_path / "run", RetrieverConfig(anchor_weight=1.0), device="cpu")
    with pytest.raises(InputError, match="go together"):
        train_retriever(samples, str(tiny), tmp_path / "run", anchor=tmp_path, device="cpu")
    for wrong in ({"anchor_weight": -1}, {"anchors": 0}):
        with pytest.raises(InputError, match="anchor"):
            RetrieverConfig(**wrong)  # type: ignore[arg-type]


# Weights


def test_a_query_counts_by_how_far_its_wording_is_from_its_positive() -> None:
    groups = [
        # 2 of the 4 words of the positive (six, guests, three, share) are among the query's 5.
        Group("How many guests share a hobby?", "Six guests, three share.", (), frozenset()),
        Group("Why is the sky blue?", "Light is scattered.", (), frozenset()),
        # All 2 words of the query (it has fewer) are the positive's.
        Group("The blue sky", "A blue sky is scattered light.", (), frozenset()),
    ]
    # 1, 2 and 0 of 2 times a half are 0.5, 1.0 and 0.0; their mean is 0.5.
    assert weights(groups, 1.0) == pytest.approx([1.0, 2.0, 0.0])
    # 1 - 0.5 * overlap: 0.75, 1.0, 0.5, with the mean 0.75.
    assert weights(groups, 0.5) == pytest.approx([1.0, 4 / 3, 2 / 3])
    assert weights(groups[2:], 1.0) == [1.0], "where none would count, all do"


@pytest.mark.parametrize("mini_batch", [None, 2])
def test_the_loss_is_the_weighted_mean(mini_batch: int | None) -> None:
    class Rows(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Parameter(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.6, 0.8]]))

        def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {"sentence_embedding": self.table[features["input_ids"][:, 0]]}

    passages = {"input_ids": torch.tensor([[2], [3]]), "attention_mask": torch.ones(2, 1)}
    label = torch.tensor([[POSITIVE, NEGATIVE], [NEGATIVE, POSITIVE]])

    def loss(*weight: float) -> tuple[float, torch.Tensor]:
        queries = {"input_ids": torch.tensor([[0], [1]]), "attention_mask": torch.ones(2, 1)}
        weight_column = {"weight": torch.tensor(weight)} if weight else {}
        model = Rows()
        value = InfoNCE(model, temperature=1.0, mini_batch_size=mini_batch)(
            [{**queries, **weight_column}, passages], label
        )
        value.backward()
        assert model.table.grad is not None
        return value.item(), model.table.grad

    # Cosines: 1.0 and 0.6 for the first query, 0.0 and 0.8 for the second.
    first, second = math.log(1 + math.exp(0.6 - 1.0)), math.log(1 + math.exp(0.0 - 0.8))
    assert loss()[0] == pytest.approx((first + second) / 2)
    assert loss(1.5, 0.5)[0] == pytest.approx((1.5 * first + 0.5 * second) / 2)
    torch.testing.assert_close(loss(1.5, 0.5)[1] + loss(0.5, 1.5)[1], 2 * loss()[1])


def test_weights_reach_the_training(tiny: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    texts = [
        ("the cat", "a cat"),
        ("who hunts mice", "a cat and a dog"),
        ("the dog barks", "a dog"),
        ("mice", "cheese"),
    ]
    samples = [
        Sample(f"q{number}", query, "question", (Passage(f"p{number}", text),), (Passage("n", "a whale"),))
        for number, (query, text) in enumerate(texts)
    ]
    write_jsonl(tmp_path / "s.jsonl", [sample.row() for sample in samples])

    def trained(strength: float) -> bytes:
        config = retriever_config(max_steps=2, learning_rate=1e-2, reasoning_weight=strength)
        report = train_retriever(tmp_path / "s.jsonl", str(tiny), tmp_path / f"run-{strength}", config, device="cpu")
        return (report.model / "model.safetensors").read_bytes()

    assert trained(0.0) != trained(1.0)


# Layers of the adapter


def adapted(encoder: LocalEncoder) -> set[str]:
    return {
        name.split(".lora_")[0].partition("base_model.model.")[2]
        for name, _ in encoder.model.named_parameters()
        if "lora_" in name
    }


def test_an_adapter_on_some_layers(tiny: Path, tmp_path: Path) -> None:
    encoder = encoder_of(tiny)
    encoder.model[0].model = add_lora(encoder.model[0].model, RetrieverConfig(lora_layers=(1,)))
    modules = adapted(encoder)
    assert {name.partition("layers.")[2].partition(".")[0] for name in modules} == {"1"}
    assert len(modules) == 7
    with pytest.raises(InputError, match=r"no transformer layers \[7\]"):
        add_lora(encoder_of(tiny).model[0].model, RetrieverConfig(lora_layers=(0, 7)))


def test_an_adapter_on_some_layers_of_a_model_without_the_papers_names(tmp_path: Path) -> None:
    recipe = Recipe(name="bert", model=str(tiny_bert(tmp_path / "bert")))
    encoder = load_encoder(recipe, device="cpu", show_progress=False)
    assert isinstance(encoder, LocalEncoder)
    encoder.model[0].model = add_lora(encoder.model[0].model, RetrieverConfig(lora_layers=(0,)))
    modules = adapted(encoder)
    assert all(".layer.0." in name for name in modules)
    assert {name.rpartition(".")[2] for name in modules} == {"query", "key", "value", "dense"}


# Averaging with the base


@pytest.mark.parametrize("lora", [True, False])
def test_exported_weights_lie_between_base_and_trained(
    tiny: Path, samples: Path, tmp_path: Path, lora: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    measured: list[float] = []
    measure = _RetrieverRun._measure
    # So that the last weights are exported, whatever a training of some steps is worth.

    def ever_better(run: _RetrieverRun, dataset: RetrievalDataset) -> dict[str, float]:
        values = measure(run, dataset)
        measured.append(sum(values.values()) / len(values))
        return dict.fromkeys(values, float(len(measured)))

    monkeypatch.setattr(_RetrieverRun, "_measure", ever_better)

    def trained(weight: float) -> dict[str, torch.Tensor]:
        config = retriever_config(lora=lora, learning_rate=1e-2, merge_weight=weight, evaluate_every=2)
        out = tmp_path / f"run-{weight}"
        report = train_retriever(samples, str(tiny), out, config, evaluate_on=toy_dataset(), device="cpu")
        exported = measured[-1]
        assert report.best_step == report.steps == 4
        card = (report.model / "README.md").read_text(encoding="utf-8")
        assert ("base + 0.25 * (trained - base)" in card) == (weight == 0.25)
        assert not list(out.glob("base.*")) + list(out.glob("trained.*")), "what it worked with is cleared away"
        # What was measured is what was exported: its own evaluation gives the same figure.
        with_it = retriever_config(learning_rate=1e-12, max_steps=1)
        measured.clear()
        train_retriever(
            samples, str(report.model), tmp_path / f"again-{weight}", with_it, evaluate_on=toy_dataset(), device="cpu"
        )
        assert measured[0] == pytest.approx(exported, abs=1e-9)
        return load_file(report.model / "model.safetensors")

    base = load_file(tiny / "model.safetensors")
    trained_tensors, part = trained(1.0), trained(0.25)
    moved = 0
    for name, tensor in trained_tensors.items():
        before = next(value for key, value in base.items() if key.endswith(name))
        moved += bool((tensor != before).any())
        if (whole_steps := (tensor - before).abs().max()) > 0:
            assert whole_steps > 1e-4
        torch.testing.assert_close(part[name], before + 0.25 * (tensor - before), rtol=0, atol=1e-6)
    assert moved >= (14 if lora else len(trained_tensors) - 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"reasoning_weight": 1.5},
        {"merge_weight": 0.0},
        {"merge_weight": 1.5},
        {"random_negatives": -1},
        {"lora_layers": [-1]},
    ]
    + [{"lora_layers": [0], "lora": False}, {"in_batch_negatives": False, "group_size": 1, "random_negatives": 0}],
)
def test_unusable_options(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        RetrieverConfig(**wrong)


def test_the_command_takes_a_corpus(tiny: Path, samples: Path, corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        "[retriever]\nmax_steps = 1\nrandom_negatives = 2\nin_batch_negatives = false\nlora_layers = [1]\n"
        "merge_weight = 0.5\n",
        encoding="utf-8",
    )
    arguments = ["train", "retriever", str(samples), "--base", str(tiny), "--out", str(tmp_path / "run")]
    options = ["--config", str(tmp_path / "c.toml"), "--corpus", str(tmp_path / "corpus.jsonl"), "--device", "cpu"]
    result = CliRunner().invoke(build_app(), [*arguments, *options, "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["steps"] == 1
