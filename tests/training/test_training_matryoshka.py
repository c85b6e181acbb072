"""Vectors that are of use when they are cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from rader_training.data.batches import NEGATIVE, POSITIVE
from rader_training.loss.info_nce import InfoNCE

from tests.training.support import retriever_config, train_retriever
from tests.training.test_training_retriever import Rows


@pytest.mark.parametrize("mini_batch", [None, 1])
def test_the_loss_is_the_mean_over_lengths(mini_batch: int | None) -> None:
    features = [
        {"input_ids": torch.tensor([[0], [1]]), "attention_mask": torch.ones(2, 1)},
        {"input_ids": torch.tensor([[2], [3]]), "attention_mask": torch.ones(2, 1)},
    ]
    label = torch.tensor([[POSITIVE, NEGATIVE], [NEGATIVE, POSITIVE]])
    model = Rows()
    loss = InfoNCE(model, temperature=0.5, mini_batch_size=mini_batch, lengths=[2, 4])(
        [dict(column) for column in features], label
    )
    table = model.table.detach().double()

    def expected(length: int) -> float:
        unit = torch.nn.functional.normalize(table[:4, :length], dim=-1)
        logits = (unit[:2] @ unit[2:4].T / 0.5).numpy()
        return float(-np.mean([logits[row, row] - np.log(np.exp(logits[row]).sum()) for row in (0, 1)]))

    assert loss.item() == pytest.approx(np.mean([expected(length) for length in (2, 4, 6)]), rel=1e-4)


@pytest.mark.slow
def test_it_reaches_the_training(tiny: Path, samples: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    weights = {
        name: (
            train_retriever(
                samples, str(tiny), tmp_path / name, retriever_config(max_steps=2, **options), device="cpu"
            ).model
            / "model.safetensors"
        ).read_bytes()
        for name, options in {"plain": {}, "cut": {"matryoshka": [8]}}.items()
    }
    assert weights["plain"] != weights["cut"]
