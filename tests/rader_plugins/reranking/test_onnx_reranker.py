"""Rerankers of ONNX files: the scores of torch, in their order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sentence_transformers")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from typer.testing import CliRunner  # noqa: E402

from rader_plugins import Document, Hit, RaderIndex, Recipe  # noqa: E402
from rader_plugins.cli import build_app  # noqa: E402
from rader_plugins.encoding import onnx_export  # noqa: E402
from rader_plugins.errors import InputError  # noqa: E402
from rader_plugins.files import atomic_write  # noqa: E402
from rader_plugins.recipes import RECIPE_FILE  # noqa: E402
from rader_plugins.recipes.resolve import resolve, write_recipe  # noqa: E402
from rader_plugins.reranking import PointwiseReranker, load_reranker  # noqa: E402
from rader_plugins.reranking.onnx_export import export_model  # noqa: E402
from rader_plugins.reranking.onnx_reranker import OnnxReranker  # noqa: E402
from tests.support.encoders import HashEncoder  # noqa: E402
from tests.support.tiny_models import tiny_qwen2  # noqa: E402
from tests.support.tiny_rerankers import tiny_cross_encoder, tiny_qwen2_classifier  # noqa: E402

TEMPLATE = Recipe(
    name="own", model="?", kind="reranker", pair_template="query: {query} document: {document}", append_eos=True,
    max_query_length=32, max_document_length=64,
)  # fmt: skip
PAIRS = [
    ("fewest guests", "Ramsey's theorem"), ("", ""), ("a " * 200, "b " * 300), ("fewest guests", "x " * 300),
    ("why?", "because"), ("fewest guests", "Ramsey's theorem"),
]  # fmt: skip

pytestmark = pytest.mark.filterwarnings("ignore::rader_plugins.errors.TruncationWarning")


@pytest.fixture(params=["decoder in a template", "cross-encoder"])
def original(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "cross-encoder":
        return tiny_cross_encoder(tmp_path / "original")
    folder = tiny_qwen2_classifier(tmp_path / "original")
    write_recipe(folder, TEMPLATE, same_vectors=False)
    return folder


@pytest.fixture(autouse=True)
def few_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "COMPARED", 10)


@pytest.mark.slow
def test_scores_of_torch(original: Path, tmp_path: Path) -> None:
    resolved = resolve(str(original), kind="reranker")
    exported = export_model(resolved.recipe, resolved.location, tmp_path / "onnx")
    assert exported.agreement > 0.9999
    torch_reranker, onnx_reranker = load_reranker(original, dtype="float32"), load_reranker(tmp_path / "onnx")
    assert isinstance(torch_reranker, PointwiseReranker)
    assert isinstance(onnx_reranker, OnnxReranker)
    assert onnx_reranker.fingerprint == torch_reranker.fingerprint
    first, second = torch_reranker.score_pairs(PAIRS), onnx_reranker.score_pairs(PAIRS)
    assert np.allclose(first, second, atol=1e-4 * max(1.0, float(np.abs(first).max())))
    assert onnx_reranker.truncated == torch_reranker.truncated
    hits = [Hit(Document(str(n), text), 0.0, n + 1) for n, (_, text) in enumerate(PAIRS[:2])]
    assert len(onnx_reranker.rerank("fewest guests", hits)) == 2
    assert onnx_reranker.precision == torch_reranker.precision == "float32"


@pytest.mark.slow
def test_the_command_exports_either_kind_and_others_take_it(original: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(build_app(), ["export-onnx", str(original), "--out", str(tmp_path / "onnx"), "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["kind"], report["precision"]) == ("reranker", "fp32")
    assert report["agreement"] > 0.999
    again = CliRunner().invoke(build_app(), ["export-onnx", str(original), "--out", str(tmp_path / "onnx")])
    assert again.exit_code == 2
    assert "exists and is not an empty directory" in again.stderr
    arguments = ["export-onnx", str(tmp_path / "onnx"), "--out", str(tmp_path / "again")]
    once_more = CliRunner().invoke(build_app(), arguments)
    assert once_more.exit_code == 2
    assert "ONNX form alone" in once_more.stderr
    assert not (tmp_path / "again").exists()
    with RaderIndex.create(tmp_path / "index", HashEncoder()) as index:
        index.add([Document(str(n), f"prime tree {n}") for n in range(5)])
    arguments = ["search", str(tmp_path / "index"), "prime tree", "--mode", "bm25", "--ids"]
    searched = CliRunner().invoke(build_app(), [*arguments, "--rerank", str(tmp_path / "onnx")])
    assert searched.exit_code == 0, searched.output
    assert len(searched.stdout.split()) == 5


@pytest.mark.slow
def test_an_encoder_by_the_command(tmp_path: Path) -> None:
    folder = tiny_qwen2(tmp_path / "tiny")
    recipe = Recipe(name="own", model="?", append_eos=True, max_query_length=64, max_document_length=64)
    write_recipe(folder, recipe, same_vectors=False)
    out = str(tmp_path / "onnx")
    result = CliRunner().invoke(build_app(), ["export-onnx", str(folder), "--out", out])
    assert result.exit_code == 0, result.output
    assert "smallest cosine to the original" in result.stdout
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("three strangers at a party")
    index = str(tmp_path / "index")
    built = CliRunner().invoke(build_app(), ["index", "build", str(tmp_path / "texts"), "--out", index, "--model", out])
    assert built.exit_code == 0, built.output
    for options in ([], ["--model", out, "--backend", "onnx"], ["--model", str(folder)]):
        searched = CliRunner().invoke(build_app(), ["search", index, "three strangers", "--mode", "dense", *options])
        assert searched.exit_code == 0, searched.output
        assert "a.txt" in searched.stdout
    refused = CliRunner().invoke(build_app(), ["search", index, "x", "--model", str(folder), "--backend", "onnx"])
    assert refused.exit_code == 2
    assert "holds no onnx/model.onnx" in refused.stderr
    assert f"rader export-onnx {folder} --out" in refused.stderr  # no registered name, and found from everywhere


def test_what_has_neither_vectors_nor_scores_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = CliRunner().invoke(build_app(), ["export-onnx", str(tmp_path / "empty"), "--out", str(tmp_path / "o")])
    assert result.exit_code == 2
    assert "holds no model" in result.stderr


@pytest.mark.parametrize("server", ["https://example.com/v1", "http://user:secret@localhost:8000/v1"])
def test_a_server_is_no_model_to_export(server: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(build_app(), ["export-onnx", server, "--out", str(tmp_path / "o")])
    assert result.exit_code == 2
    assert "A URL names a server" in result.stderr
    assert "secret" not in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_options_of_torch_are_refused(original: Path, tmp_path: Path) -> None:
    resolved = resolve(str(original), kind="reranker")
    export_model(resolved.recipe, resolved.location, tmp_path / "onnx")
    with pytest.raises(InputError, match="has no effect"):
        load_reranker(tmp_path / "onnx", dtype="bfloat16")
    with pytest.raises(InputError, match="Unknown options.*devise"):
        load_reranker(tmp_path / "onnx", devise="cpu")


@pytest.mark.slow
def test_a_file_of_an_encoder_is_no_reranker(tmp_path: Path) -> None:
    folder = tiny_qwen2(tmp_path / "tiny")
    recipe = Recipe(name="own", model="?", append_eos=True)
    write_recipe(folder, recipe, same_vectors=False)
    resolved = resolve(str(folder))
    export_model(resolved.recipe, resolved.location, tmp_path / "onnx")
    fields: dict[str, Any] = TEMPLATE.to_dict()
    with atomic_write(tmp_path / "onnx" / RECIPE_FILE) as stream:
        stream.write(json.dumps(fields).encode())
    with pytest.raises(InputError, match="last_hidden_state.*a reranker gives"):
        load_reranker(tmp_path / "onnx")
