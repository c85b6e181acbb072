"""Attention in float32 under bfloat16 autocast: the same attention, only more exact."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch
from rader_training.data.batches import POSITIVE
from rader_training.loss import attention
from rader_training.loss.attention import Float32Attention, fast_attention
from rader_training.loss.info_nce import InfoNCE
from torch.nn import functional

from rader_plugins import load_encoder
from rader_plugins.recipes import Recipe
from tests.support.tiny_models import tiny_bert


def test_products_are_exact_and_types_stay() -> None:
    torch.manual_seed(0)
    texts = [torch.randn(2, 2, 5, 8).bfloat16() for _ in range(3)]
    mask = torch.zeros(2, 1, 1, 5).bfloat16()
    mask[1, ..., 3:] = -torch.inf
    with Float32Attention():
        positional = functional.scaled_dot_product_attention(*texts, attn_mask=mask)
        query, key, value = texts
        named = functional.scaled_dot_product_attention(query=query, key=key, value=value, attn_mask=mask)
    exact = functional.scaled_dot_product_attention(*(text.float() for text in texts), attn_mask=mask.float())
    assert positional.dtype == torch.bfloat16
    assert torch.equal(positional, exact.bfloat16())
    assert torch.equal(named, positional)


def test_outside_of_bfloat16_nothing_changes() -> None:
    torch.manual_seed(0)
    texts = [torch.randn(2, 2, 5, 8) for _ in range(3)]
    with Float32Attention():
        attended = functional.scaled_dot_product_attention(*texts)
    assert torch.equal(attended, functional.scaled_dot_product_attention(*texts))
    assert isinstance(fast_attention("cpu"), contextlib.nullcontext)
    assert isinstance(fast_attention("cuda"), contextlib.nullcontext)


@pytest.mark.parametrize("has_amx", [False, True])
def test_it_is_for_processors_without_amx(has_amx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx, raising=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert isinstance(fast_attention("cpu"), Float32Attention) is not has_amx
        assert not isinstance(fast_attention("cuda"), Float32Attention)


@pytest.mark.parametrize("mini_batch", [None, 1])
def test_the_loss_uses_it_and_gradients_keep_their_direction(
    mini_batch: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    cast: list[torch.dtype] = []

    def as_float32(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        cast.append(value.dtype)
        return value.float() if value.is_floating_point() else value

    monkeypatch.setattr(attention, "_as_float32", as_float32)
    recipe = Recipe(name="bert", model=str(tiny_bert(tmp_path / "bert")))
    model = load_encoder(recipe, device="cpu", show_progress=False, shared=False).model.eval().requires_grad_(True)

    def gradient(bf16: bool) -> torch.Tensor:
        tokens = model.tokenizer(["one text", "another of more words"], return_tensors="pt", padding=True)
        columns = [{name: tokens[name] for name in ("input_ids", "attention_mask")} for _ in range(2)]
        loss = InfoNCE(model, temperature=0.5, mini_batch_size=mini_batch)
        model.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss(columns, POSITIVE * torch.eye(2, dtype=torch.int64)).backward()
        parts = [weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]
        return torch.cat(parts)

    exact = gradient(False)
    assert not cast
    rounded = gradient(True)
    assert torch.bfloat16 in cast
    assert functional.cosine_similarity(exact, rounded, dim=0) > 0.9
