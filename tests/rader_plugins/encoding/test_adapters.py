"""Adapters that hold more than low-rank matrices are merged into what peft itself computes, and nobody is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

peft = pytest.importorskip("peft")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
loading = pytest.importorskip("peft.utils.save_and_load")

from rader_plugins.encoding.adapters import merge_adapter, read_adapter  # noqa: E402
from rader_plugins.recipes import Recipe  # noqa: E402
from tests.support.tiny_models import tiny_qwen2  # noqa: E402


@pytest.mark.parametrize(
    ("settings", "save_embeddings"),
    [
        ({"target_modules": ["q_proj"]}, False),
        ({"target_modules": ["q_proj"]}, True),
        ({"target_modules": ["q_proj", "embed_tokens"]}, True),
        ({"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}, False),
    ],
    ids=["matrices", "with embeddings", "on embeddings", "new embeddings"],
)
def test_an_adapter_is_merged_as_peft_computes_it(
    settings: dict[str, Any], save_embeddings: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny_qwen2(tmp_path / "base")
    trained = peft.get_peft_model(transformers.AutoModel.from_pretrained(base), peft.LoraConfig(r=2, **settings))
    for weights in trained.parameters():
        if weights.requires_grad:
            torch.nn.init.normal_(weights, std=0.05)
    trained.peft_config["default"].base_model_name_or_path = "owner/base"  # is not on this machine
    trained.save_pretrained(tmp_path / "adapter", save_embedding_layers=save_embeddings)
    ids = torch.tensor([[5, 6, 7]])
    expected = trained.eval()(ids).last_hidden_state
    plain = transformers.AutoModel.from_pretrained(base)
    assert (plain(ids).last_hidden_state - expected).abs().max() > 1e-3

    def asked(*arguments: object, **options: object) -> None:
        raise AssertionError(f"the hub was asked for {arguments}")

    monkeypatch.setattr(loading, "check_file_exists_on_hf_hub", asked)
    adapter = read_adapter(Recipe(name="a", model="a"), tmp_path / "adapter")
    merged = merge_adapter(plain, adapter)
    torch.testing.assert_close(merged(ids).last_hidden_state, expected, atol=1e-5, rtol=0)
