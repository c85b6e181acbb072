"""QLoRA: the base in 4 bits while its adapter is trained; what is judged and exported holds the base as it is."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("bitsandbytes", reason="needs bitsandbytes (test group)")

from rader_training import reranker as reranker_module
from rader_training import retriever
from rader_training.config import RetrieverConfig
from rader_training.models.four_bit import put_in_four_bit
from transformers import AutoModel

from rader_plugins import load_encoder
from rader_plugins.errors import InputError
from rader_plugins.reranking import load_reranker
from tests.support.tiny_models import tiny_qwen2
from tests.training.support import (
    assert_the_loss_falls,
    reranker_config,
    retriever_config,
    tensors,
    train_reranker,
    train_retriever,
)
from tests.training.test_training_retriever import toy_dataset

ADAPTED = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def linear_kinds(model: Any) -> set[str]:
    return {type(module).__name__ for module in model.modules() if isinstance(module, torch.nn.Linear)}


def assert_the_adapter_lies_on_the_base(trained: dict[str, Any], base: dict[str, Any], rank: int) -> None:
    """Adapted layers differ from the base by a matrix of the adapter's rank; all others are the base's, bit for bit."""
    moved = 0.0
    for name, weights in trained.items():
        before = next((value for key, value in base.items() if key.endswith(name) or name.endswith(key)), None)
        if before is None or name.startswith("score"):
            continue
        if name.split(".")[-2] in ADAPTED and name.endswith("weight"):
            singular = np.linalg.svd((weights - before).double().numpy(), compute_uv=False)
            assert singular[rank:].max(initial=0.0) <= 1e-5 * max(1.0, float(singular[0]))
            moved += float(singular[0])
        else:
            assert torch.equal(weights, before), name
    assert moved > 0


def watch_loading(monkeypatch: pytest.MonkeyPatch, run: Any) -> None:
    """Assert that no layer in 4 bits is left in memory when the base is loaded anew."""
    load = run._load_base_anew

    def watched(self: Any) -> None:
        assert not [None for thing in gc.get_objects() if type(thing).__name__ == "Params4bit"]
        load(self)

    monkeypatch.setattr(run, "_load_base_anew", watched)


def test_layers_hold_a_byte_for_two_weights(tiny: Path) -> None:
    model = AutoModel.from_pretrained(tiny)
    weights = sum(module.weight.numel() for module in model.modules() if isinstance(module, torch.nn.Linear))
    put_in_four_bit(model, torch.float32)
    assert linear_kinds(model) == {"Linear4bit"}
    assert 2 * sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear)) == weights
    with pytest.raises(InputError, match="no linear layers"):
        put_in_four_bit(torch.nn.ReLU(), torch.float32)


def test_a_retriever(tiny: Path, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rader_training.run import trainers

    kinds: set[str] = set()
    make = trainers.RetrieverTrainer.__init__

    def watched(self: Any, *arguments: Any, model: Any, **options: Any) -> None:
        kinds.update(linear_kinds(model))
        make(self, *arguments, model=model, **options)

    monkeypatch.setattr(trainers.RetrieverTrainer, "__init__", watched)
    watch_loading(monkeypatch, retriever._RetrieverRun)
    config = retriever_config(epochs=3, learning_rate=3e-3, lora_rank=4, lora_dropout=0.0, base_in_4bit=True)
    report = train_retriever(
        samples, str(tiny), tmp_path / "run", config, evaluate_on=toy_dataset(), device="cpu", keep_adapter=True
    )
    assert "Linear4bit" in kinds
    assert_the_loss_falls(tmp_path / "run")
    base = load_encoder(str(tiny), device="cpu", show_progress=False)
    assert_the_adapter_lies_on_the_base(tensors(report.model), base.model[0].model.state_dict(), rank=4)  # type: ignore[attr-defined]
    # Both figures of the verdict are those of models that others can load.
    for step, model in ((0, str(tiny)), (report.best_step, str(report.model))):
        assert report.evaluations[step] == pytest.approx(ndcg_of(model))
    # The adapter alone gives the same vectors on the base as it is.
    texts = ["where is number 3 of cat", "a whale"]
    merged, adapter = (
        load_encoder(str(folder), device="cpu", show_progress=False) for folder in (report.model, report.adapter)
    )
    np.testing.assert_allclose(merged.encode_queries(texts), adapter.encode_queries(texts), atol=1e-5)


def ndcg_of(model: str) -> float:
    from rader_plugins import RaderIndex, RaderRetriever
    from rader_plugins.evaluation import evaluate, index_corpus

    dataset = toy_dataset()
    with RaderIndex.create(None, encoder=load_encoder(model, device="cpu", show_progress=False)) as index:
        index_corpus(dataset, index)
        return evaluate(RaderRetriever(index, mode="dense"), dataset, measures=["nDCG@10"]).mean["nDCG@10"]


def test_a_run_that_was_refused_is_delivered_later(tiny: Path, samples: Path, tmp_path: Path) -> None:
    from rader_training import WorseThanBaseError

    config = retriever_config(max_steps=2, learning_rate=1e-9, base_in_4bit=True)
    options: dict[str, Any] = {"evaluate_on": toy_dataset(), "device": "cpu"}
    with pytest.raises(WorseThanBaseError):
        train_retriever(samples, str(tiny), tmp_path / "run", config, **{**options, "export_anyway": False})
    report = train_retriever(samples, str(tiny), tmp_path / "run", config, resume=True, **options)
    assert report.exported
    assert (report.model / "model.safetensors").is_file()


def test_a_reranker(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny_qwen2(tmp_path / "base", causal_lm=True)
    watch_loading(monkeypatch, reranker_module._RerankerRun)
    config = reranker_config(max_steps=4, learning_rate=3e-3, lora_rank=4, base_in_4bit=True)
    report = train_reranker(samples, str(base), tmp_path / "run", config, device="cpu")
    assert_the_adapter_lies_on_the_base(tensors(report.model), tensors(base), rank=4)
    reranker = load_reranker(report.model, device="cpu", show_progress=False)
    assert np.isfinite(reranker.score_pairs([("a cat", "the cat lives here")])).all()


def test_it_needs_an_adapter() -> None:
    with pytest.raises(InputError, match="lora = true"):
        RetrieverConfig(lora=False, base_in_4bit=True)
    with pytest.raises(InputError, match="true or false"):
        RetrieverConfig(base_in_4bit=4)  # type: ignore[arg-type]
