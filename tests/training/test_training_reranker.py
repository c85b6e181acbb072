"""Training a reranker: what it sees, what it computes, what it writes, and how it goes on after a kill."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rader_training.data.groups import Group
from rader_training.data.pairs import PairCollator
from rader_training.loss.group_scorer import GroupScorer
from rader_training.run.trainers import newest_checkpoint
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from typer.testing import CliRunner

from rader_plugins import Document, Encoder, Recipe, RetrievalDataset
from rader_plugins.cli import build_app
from rader_plugins.documents import Hit
from rader_plugins.errors import InputError
from rader_plugins.evaluation import score_run, write_run
from rader_plugins.files import write_jsonl
from rader_plugins.recipes.resolve import write_recipe
from rader_plugins.reranking import PointwiseReranker, load_reranker
from rader_plugins.reranking.models import Classifier
from rader_plugins.samples import Passage, Sample
from tests.support.kill import start
from tests.support.tiny_models import SEED, tiny_qwen2
from tests.support.tiny_rerankers import tiny_cross_encoder, tiny_qwen2_classifier
from tests.training.conftest import ANIMALS, toy_samples
from tests.training.support import (
    assert_same_training,
    assert_the_loss_falls,
    reranker_config,
    reranker_margin,
    tensors,
    train_reranker,
)

TEXTS = ["the cat lives here", "the whale lives here", "no animal at all, but a longer text"]
RECIPE = Recipe(
    name="pairs",
    model="pairs",
    kind="reranker",
    pair_template="query: {query} document: {document}",
    append_eos=True,
    normalize=False,
    max_query_length=24,
    max_document_length=48,
)


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Qwen2ForCausalLM whose tokenizer has a chat template."""
    return tiny_qwen2(tmp_path_factory.mktemp("lm") / "model", causal_lm=True)


def dataset() -> RetrievalDataset:
    corpus = {animal: Document(animal, f"the {animal} lives here") for animal in ANIMALS}
    queries = {animal: f"where is number 99 of {animal}" for animal in ANIMALS}
    return RetrievalDataset(corpus, queries, {animal: {animal: 1} for animal in ANIMALS}, name="animals")


def first_stage() -> dict[str, dict[str, float]]:
    """All documents for every query, the relevant one last but one."""
    run = {}
    for index, animal in enumerate(ANIMALS):
        irrelevant = ANIMALS[index + 1 :] + ANIMALS[:index]
        run[animal] = {name: -float(rank) for rank, name in enumerate([*irrelevant[:-1], animal, irrelevant[-1]])}
    return run


def pairs_of(query: str) -> list[tuple[str, str]]:
    return [(query, text) for text in TEXTS]


class Listening(PointwiseReranker):
    """Remembers the token ids that its model reads."""

    def _forward(self, batch: list[list[int]], types: list[list[int]] | None) -> Any:
        self.read = [*getattr(self, "read", []), *batch]
        return super()._forward(batch, types)


@pytest.mark.parametrize("kind", ["template", "joined"])
def test_training_and_inference_see_the_same_tokens(tmp_path: Path, kind: str) -> None:
    if kind == "template":
        folder = tiny_qwen2_classifier(tmp_path / "model")
        write_recipe(folder, RECIPE, same_vectors=False)
    else:
        folder = tiny_cross_encoder(tmp_path / "model")
    loaded = load_reranker(folder, device="cpu")
    reranker = Listening(loaded.recipe, location=folder, device="cpu", show_progress=False)
    groups = [
        Group("a short question", "its answer", ("something else", "a long text " * 40), frozenset()),
        Group("a long question " * 20, "its answer", (), frozenset()),
    ]
    collator = PairCollator(Classifier(reranker.model, reranker.tokenizer), reranker.recipe)
    batch = collator(groups)
    rows = [row[mask.bool()].tolist() for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)]
    with pytest.warns(UserWarning, match="were cut"):
        reranker.score_pairs([(group.query, text) for group in groups for text in (group.positive, *group.negatives)])
    assert sorted(rows) == sorted(reranker.read)
    if kind == "template":
        assert all(row[-1] == reranker.tokenizer.eos_token_id for row in rows)
        assert max(map(len, rows)) == 48
    assert batch["places"].tolist() == [[0, 1, 2], [3, -1, -1]]
    assert batch["last"].tolist() == [len(row) - 1 for row in rows]
    assert (collator.seen, collator.truncated) == ({"pair": 4}, {"pair": 2})


@pytest.mark.parametrize("make", [tiny_qwen2_classifier, tiny_cross_encoder])
def test_the_loss_is_that_of_the_formula(tmp_path: Path, make: Any) -> None:
    folder = make(tmp_path / "model")
    if make is tiny_qwen2_classifier:
        write_recipe(folder, RECIPE, same_vectors=False)
    reranker = load_reranker(folder, device="cpu")
    groups = [Group("q one", "a", ("b", "c d e"), frozenset()), Group("q two", "b", ("a",), frozenset())]
    batch = PairCollator(Classifier(reranker.model, reranker.tokenizer), reranker.recipe)(groups)
    output = GroupScorer(reranker.model)(**batch)
    scores = reranker.score_pairs([("q one", "a"), ("q one", "b"), ("q one", "c d e"), ("q two", "b"), ("q two", "a")])
    np.testing.assert_allclose(output["scores"].numpy(), scores, atol=1e-5)
    wide = scores.astype(np.float64)
    losses = [np.log(np.exp(group).sum()) - group[0] for group in (wide[:3], wide[3:])]
    assert output["loss"].item() == pytest.approx(np.mean(losses), rel=1e-5)


def told_apart_by_a_word(swapped: bool) -> list[Sample]:
    """Samples whose positives and negatives differ in the same words each time; ``swapped`` makes one of the other."""
    texts = [("the {} lives here", "nobody has seen any {}"), ("nobody has seen any {}", "the {} lives here")][swapped]
    return [
        dataclasses.replace(
            sample,
            positives=(Passage(f"{animal}+", texts[0].format(animal)),),
            negatives=(Passage(f"{animal}-", texts[1].format(animal)),),
        )
        for sample, animal in zip(toy_samples(), ANIMALS * 2, strict=True)
    ]


@pytest.mark.parametrize(("lora", "swapped"), [(True, False), (False, True)])
def test_a_language_model_becomes_a_reranker(language_model: Path, tmp_path: Path, lora: bool, swapped: bool) -> None:
    samples = tmp_path / "samples.jsonl"
    write_jsonl(samples, [sample.row() for sample in told_apart_by_a_word(swapped)])
    config = reranker_config(
        epochs=9,
        learning_rate=3e-3 if lora else 1e-3,
        lora=lora,
        **({"lora_dropout": 0.0} if lora else {}),
        evaluate_every=18,
    )
    report = train_reranker(
        samples,
        str(language_model),
        tmp_path / "run",
        config,
        evaluate_on=dataset(),
        first_stage=first_stage(),
        device="cpu",
        name="animals",
        keep_adapter=lora,
    )
    assert report.steps == 36
    assert set(report.evaluations) == {0, 18, 36}
    assert_the_loss_falls(tmp_path / "run")
    reranker = load_reranker(report.model, device="cpu", show_progress=False)
    assert reranker.recipe.pair_template == "query: {query} document: {document}"
    assert reranker_margin(reranker, told_apart_by_a_word(swapped)) > 0
    # The directory holds what was evaluated.
    corpus = dataset().corpus
    hits = [[Hit(corpus[name], 0.0, 1) for name in first_stage()[animal]] for animal in ANIMALS]
    rankings = reranker.rerank_batch(list(dataset().queries.values()), hits)
    run = {
        animal: {hit.document.id: hit.score for hit in ranking}
        for animal, ranking in zip(ANIMALS, rankings, strict=True)
    }
    ndcg = score_run(run, dataset().qrels, ["nDCG@10"]).mean["nDCG@10"]
    assert ndcg == pytest.approx(report.evaluations[report.best_step])
    # Plain transformers, with a batch that is padded, scores alike: template, EOS and padding are in the files.
    query = "where is number 3 of cat"
    scores = reranker.score_pairs(pairs_of(query))
    plain = AutoModelForSequenceClassification.from_pretrained(report.model)
    tokenizer = AutoTokenizer.from_pretrained(report.model)
    texts = [f"query: {query} document: {text}" for text in TEXTS]
    with torch.no_grad():
        theirs = plain(**tokenizer(texts, padding=True, return_tensors="pt")).logits[:, 0]
    np.testing.assert_allclose(scores, theirs.numpy(), atol=1e-4)
    card = (report.model / "README.md").read_text(encoding="utf-8")
    assert '"learning_rate"' in card
    assert "First stage (nDCG@10)" in card
    if lora:
        assert report.adapter is not None
        unmerged = load_reranker(report.adapter, device="cpu", show_progress=False)
        np.testing.assert_allclose(unmerged.score_pairs(pairs_of(query)), scores, atol=1e-4)
        from peft import PeftModel

        base = AutoModelForSequenceClassification.from_pretrained(language_model, num_labels=1)
        adapted = PeftModel.from_pretrained(base, report.adapter).eval()
        with torch.no_grad():
            theirs = adapted(**tokenizer(texts, padding=True, return_tensors="pt")).logits[:, 0]
        np.testing.assert_allclose(scores, theirs.numpy(), atol=1e-4)


def test_an_encoder_becomes_a_cross_encoder(mini: Encoder, samples: Path, tmp_path: Path) -> None:
    config = reranker_config(max_steps=2, max_document_length=64)
    report = train_reranker(samples, "mini", tmp_path / "run", config, device="cpu", keep_adapter=True)
    reranker = load_reranker(report.model, device="cpu", show_progress=False)
    pairs = [*pairs_of("where is the cat"), ("where is the cat", "it lives in a long text " * 30)]
    with pytest.warns(UserWarning, match="64 tokens"):
        scores = reranker.score_pairs(pairs)
    from sentence_transformers import CrossEncoder

    theirs = CrossEncoder(str(report.model), device="cpu").predict(pairs, activation_fn=torch.nn.Identity())
    np.testing.assert_allclose(scores, theirs, atol=1e-4)
    assert report.adapter is not None
    settings = json.loads((report.adapter / "adapter_config.json").read_text(encoding="utf-8"))
    assert settings["base_model_name_or_path"] == "sentence-transformers/all-MiniLM-L6-v2"
    unmerged = load_reranker(report.adapter, device="cpu", show_progress=False)
    np.testing.assert_allclose(unmerged.score_pairs(pairs[:3]), scores[:3], atol=1e-4)


def test_a_reranker_goes_on_with_its_own_head_and_recipe(samples: Path, tmp_path: Path) -> None:
    folder = tiny_qwen2_classifier(tmp_path / "base")
    with pytest.raises(InputError, match="State the template"):
        train_reranker(samples, str(folder), tmp_path / "none", reranker_config(), device="cpu")
    write_recipe(folder, RECIPE, same_vectors=False)
    config = reranker_config(max_steps=1, learning_rate=1e-12)
    report = train_reranker(samples, str(folder), tmp_path / "run", config, device="cpu")
    before, after = load_reranker(folder, device="cpu"), load_reranker(report.model, device="cpu")
    np.testing.assert_allclose(after.score_pairs(pairs_of("q")), before.score_pairs(pairs_of("q")), atol=1e-5)
    assert after.recipe.max_document_length == 48
    assert after.fingerprint != before.fingerprint


@pytest.mark.parametrize("lora", [True, False])
def test_accumulation_and_checkpointing_change_no_weight(
    language_model: Path, samples: Path, tmp_path: Path, lora: bool
) -> None:
    common: dict[str, Any] = {"max_steps": 3, "lora": lora, **({"lora_dropout": 0.0} if lora else {})}
    changed: dict[str, dict[str, Any]] = {
        "plain": {},
        "accumulated": {"batch_size": 2, "accumulate": 2},
        "checkpointed": {"gradient_checkpointing": True},
    }
    weights = {}
    for name, change in changed.items():
        report = train_reranker(
            samples, str(language_model), tmp_path / name, reranker_config(**{**common, **change}), device="cpu"
        )
        weights[name] = tensors(report.model)
    for name in ("accumulated", "checkpointed"):
        assert_same_training(weights[name], weights["plain"], tensors(language_model))


def test_bfloat16_keeps_the_base_and_trains_in_float32(language_model: Path, samples: Path, tmp_path: Path) -> None:
    config = reranker_config(max_steps=2, bf16=True, save_every=2)
    report = train_reranker(
        samples,
        str(language_model),
        tmp_path / "run",
        config,
        evaluate_on=dataset(),
        first_stage=first_stage(),
        device="cpu",
    )
    from safetensors.torch import load_file

    trained = load_file(tmp_path / "run" / "checkpoints" / "checkpoint-2" / "trained.safetensors")
    assert {tensor.dtype for tensor in trained.values()} == {torch.float32}
    saved_tensors = load_file(report.model / "model.safetensors")
    assert saved_tensors["model.embed_tokens.weight"].dtype == torch.bfloat16
    assert np.isfinite(load_reranker(report.model, device="cpu").score_pairs(pairs_of("q"))).all()


WORKER = """
import sys, threading
from rader_training.run.trainers import WholeCheckpoints
from tests.training.support import reranker_config, train_reranker
from tests.training.test_training_reranker import RESUMED

mark = WholeCheckpoints.on_save
def on_save(self, args, state, control, **kwargs):
    if state.global_step == 8:
        print("saving", flush=True)   # before the mark: this checkpoint is not whole
        threading.Event().wait(60)
    mark(self, args, state, control, **kwargs)
WholeCheckpoints.on_save = on_save
train_reranker(sys.argv[1], sys.argv[2], sys.argv[3], reranker_config(**RESUMED), device="cpu", resume=True)
"""
RESUMED: dict[str, Any] = {"epochs": 3, "save_every": 2, "learning_rate": 1e-2}


def test_a_killed_training_goes_on_to_the_same_weights(language_model: Path, samples: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    base = str(language_model)
    expected = train_reranker(samples, base, tmp_path / "whole", reranker_config(**RESUMED), device="cpu")
    process = start(WORKER, str(samples), base, str(tmp_path / "run"))
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "saving"
    process.kill()
    process.wait()
    checkpoint = newest_checkpoint(tmp_path / "run" / "checkpoints")
    assert checkpoint is not None
    assert checkpoint.name == "checkpoint-6"
    resumed = train_reranker(samples, base, tmp_path / "run", reranker_config(**RESUMED), device="cpu", resume=True)
    assert resumed.steps == expected.steps == 12
    name = "model.safetensors"
    assert (resumed.model / name).read_bytes() == (expected.model / name).read_bytes()


@pytest.mark.filterwarnings("ignore::rader_plugins.errors.RaderWarning")
def test_bm25_is_the_first_stage_by_default(language_model: Path, samples: Path, tmp_path: Path) -> None:
    config = reranker_config(max_steps=1)
    animals = dataset()
    qrels = {"cat": animals.qrels["cat"], "dog": animals.qrels["dog"]}
    data = RetrievalDataset(animals.corpus, animals.queries, qrels, excluded={"dog": {"dog"}})
    report = train_reranker(samples, str(language_model), tmp_path / "run", config, evaluate_on=data, device="cpu")
    # One document holds the query's animal; that of the other query is deleted from its ranking.
    assert report.evaluations == {0: 0.5, 1: 0.5}


def test_two_processes_give_the_weights_of_one(language_model: Path, samples: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    settings = {
        "group_size": 3,
        "accumulate": 1,
        "warmup_steps": 1,
        "log_every": 1,
        "learning_rate": 1e-2,
        "lora": True,
        "bf16": False,
        "epochs": 1,
        "seed": SEED,
    }
    settings |= {"lora_dropout": 0.0, "max_steps": 4, "save_every": 2, "gradient_checkpointing": True}
    alone = train_reranker(
        samples, str(language_model), tmp_path / "alone", reranker_config(**settings, batch_size=4), device="cpu"
    )
    lines = [f"{name} = {json.dumps(value)}" for name, value in {**settings, "batch_size": 2}.items()]
    (tmp_path / "c.toml").write_text("\n".join(["[reranker]", *lines]) + "\n", encoding="utf-8")
    (tmp_path / "worker.py").write_text("from rader_plugins.cli import main\n\nmain()\n", encoding="utf-8")
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(tmp_path / "worker.py")]
    run += ["train", "reranker", str(samples), "--base", str(language_model), "--out", str(tmp_path / "run")]
    run += ["--config", str(tmp_path / "c.toml"), "--device", "cpu", "--json", "--no-holdout"]
    done = subprocess.run([sys.executable, *run], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)  # one report: the second process says nothing
    assert report["steps"] == alone.steps == 4
    assert_same_training(tensors(Path(report["model"])), tensors(alone.model), tensors(language_model))


def test_the_command(language_model: Path, samples: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        "[reranker]\nbatch_size = 4\naccumulate = 1\nmax_steps = 2\ndepth = 3\n\n[retriever]\ntemperature = 0.05\n",
        encoding="utf-8",
    )
    folder = tmp_path / "data"
    (folder / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", {n: d.text for n, d in dataset().corpus.items()}), ("queries", dataset().queries)):
        lines = [json.dumps({"_id": key, "text": text}) for key, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (folder / "qrels" / "dev.tsv").write_text("".join(f"{a}\t{a}\t1\n" for a in ANIMALS), encoding="utf-8")
    write_run(first_stage(), tmp_path / "first.trec")
    arguments = ["train", "reranker", str(samples), "--base", str(language_model), "--out", str(tmp_path / "run")]
    arguments += ["--config", str(tmp_path / "c.toml"), "--device", "cpu", "--keep-adapter", "--no-holdout"]
    measured = ["--evaluate-on", str(folder), "--first-stage", str(tmp_path / "first.trec")]
    result = CliRunner().invoke(build_app(), [*arguments, *measured, "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["steps"] == 2
    assert set(report["evaluations"].values()) == {0.0}, "the relevant document is not among the first three"
    assert (Path(report["adapter"]) / "adapter_model.safetensors").is_file()
    result = CliRunner().invoke(build_app(), [*arguments, *measured, "--out", str(tmp_path / "two")])
    assert result.exit_code == 0, result.output
    assert "adapter" in result.stdout
