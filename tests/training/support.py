"""What tests of training share: small settings, and properties of a training that hold whatever the processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rader_training
import torch
from rader_training import RerankerConfig, RetrieverConfig, TrainingReport
from safetensors.torch import load_file

from rader_plugins import Encoder
from rader_plugins.files import read_jsonl
from rader_plugins.reranking import PointwiseReranker
from rader_plugins.samples import Sample
from tests.support.tiny_models import SEED

FAST: dict[str, Any] = {
    "batch_size": 4,
    "accumulate": 1,
    "group_size": 3,
    "warmup_steps": 0,
    "epochs": 1,
    "kinds": {},
    "log_every": 1,
    "lora": True,
    "bf16": False,  # the same on every processor
    "seed": SEED,
}


def retriever_config(**settings: Any) -> RetrieverConfig:
    """Settings for tiny models, with nothing left to be fitted but the learning rate."""
    return RetrieverConfig(**{**FAST, "temperature": 0.01, "random_negatives": 0, "merge_weight": 1.0, **settings})


def reranker_config(**settings: Any) -> RerankerConfig:
    """The same for rerankers."""
    return RerankerConfig(**{**FAST, **settings})


def train_retriever(*arguments: Any, **options: Any) -> TrainingReport:
    """Train on all samples, and export whatever comes of it: a tiny random model may become better or worse."""
    return rader_training.train_retriever(*arguments, **{"holdout": False, "export_anyway": True, **options})


def train_reranker(*arguments: Any, **options: Any) -> TrainingReport:
    """The same for rerankers."""
    return rader_training.train_reranker(*arguments, **{"holdout": False, "export_anyway": True, **options})


def assert_the_loss_falls(run: Path) -> None:
    """The mean loss of the last third of the steps is below that of the first third."""
    losses = [row["loss"] for row in read_jsonl(run / "metrics.jsonl") if "loss" in row]
    third = len(losses) // 3
    assert third
    assert np.mean(losses[-third:]) < np.mean(losses[:third])


def retriever_margin(encoder: Encoder, samples: Sequence[Sample]) -> float:
    """How much closer queries are to their positives than to their negatives: the mean difference of cosines."""

    def cosine(query: str, text: str) -> float:
        return float((encoder.encode_queries([query]) @ encoder.encode_documents([text]).T).item())

    return _margin(samples, cosine)


def reranker_margin(reranker: PointwiseReranker, samples: Sequence[Sample]) -> float:
    """How much higher positives are scored than negatives, on average."""
    return _margin(samples, lambda query, text: float(reranker.score_pairs([(query, text)])[0]))


def _margin(samples: Sequence[Sample], score: Any) -> float:
    differences = [
        score(sample.query, sample.positives[0].full_text) - score(sample.query, negative.full_text)
        for sample in samples
        for negative in sample.negatives
    ]
    return float(np.mean(differences))


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a model directory."""
    return load_file(folder / "model.safetensors")


def assert_same_training(
    found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], base: Mapping[str, torch.Tensor]
) -> None:
    """Two trainings moved the weights of a base alike: their difference is a small part of what they moved.

    Single weights are not compared: Adam makes a step of full size of a gradient that is all rounding.
    """
    moved = different = 0.0
    for name, tensor in expected.items():
        before = next((value for key, value in base.items() if key.endswith(name) or name.endswith(key)), None)
        if before is None:  # a new head, which no base holds
            continue
        moved += float((tensor - before).double().pow(2).sum())
        different += float((tensor - found[name]).double().pow(2).sum())
    assert moved > 0, "nothing was trained"
    assert different <= 0.01 * moved, f"of {moved**0.5:.4g} that was moved, {different**0.5:.4g} differs"
