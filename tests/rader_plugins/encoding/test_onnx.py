"""Encoders of ONNX files: the vectors, ids and fingerprints of torch, in a process without it."""

from __future__ import annotations

import dataclasses
import errno
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sentence_transformers")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from rader_plugins import Document, RaderIndex, RaderRetriever, Recipe, load_encoder  # noqa: E402
from rader_plugins.encoding import onnx_export, onnx_graph  # noqa: E402
from rader_plugins.encoding.onnx_encoder import OnnxEncoder  # noqa: E402
from rader_plugins.encoding.onnx_export import export_encoder  # noqa: E402
from rader_plugins.encoding.saving import new_directory  # noqa: E402
from rader_plugins.encoding.tokenizer_file import read_tokenizer  # noqa: E402
from rader_plugins.encoding.tokens import lock_of, tokenize  # noqa: E402
from rader_plugins.errors import EncodingError, FingerprintMismatchError, InputError, TruncationWarning  # noqa: E402
from rader_plugins.recipes.resolve import resolve  # noqa: E402
from tests.support.tiny_models import tiny_bert, tiny_qwen2  # noqa: E402

TEXTS = [
    "", "a", "Six people at a party: three know each other.", "x " * 300, "Ramsey's theorem, 0123456789", "a",
    "ends in <|im_end|>", "Größe \N{SNOWMAN} 数学", "two  blanks \t and a\nline",
]  # fmt: skip
MEAN = Recipe(name="mean", model="?", pooling="mean", max_query_length=32, max_document_length=48)
LAST = Recipe(
    name="last", model="?", query_template="query: {instruction}{text}", document_template="document: {text}",
    instruction="Given a question: ", append_eos=True, max_query_length=32, max_document_length=48,
)  # fmt: skip
RECIPES = {
    "mean": MEAN,
    "mean without its prompt": dataclasses.replace(MEAN, query_template="query: {text}", pool_prompt=False),
    "first token": dataclasses.replace(MEAN, pooling="cls"),
    "last token": LAST,
    "not normalised": dataclasses.replace(LAST, normalize=False),
}

pytestmark = pytest.mark.filterwarnings("ignore::rader_plugins.errors.TruncationWarning")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {"mean": tiny_bert(folder / "bert"), "lasttoken": tiny_qwen2(folder / "qwen2")}


@pytest.fixture(scope="module")
def exported(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return recipe -> (recipe with its model, directory of the ONNX file), each exported once."""
    made: dict[Recipe, tuple[Recipe, Path]] = {}

    def export(recipe: Recipe) -> tuple[Recipe, Path]:
        if recipe not in made:
            checkpoint = checkpoints["lasttoken" if recipe.pooling == "lasttoken" else "mean"]
            resolved = resolve(dataclasses.replace(recipe, model=str(checkpoint)))
            out = tmp_path_factory.mktemp("onnx") / "model"
            export_encoder(resolved.recipe, resolved.location, out)
            made[recipe] = dataclasses.replace(recipe, model=str(checkpoint)), out
        return made[recipe]

    return export


def cosines(first: Any, second: Any) -> Any:
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (first.astype(float) * second).sum(axis=1) / lengths


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.slow
def test_vectors_of_torch(name: str, exported: Any) -> None:
    recipe, folder = exported(RECIPES[name])
    original, copy = load_encoder(recipe, dtype="float32"), load_encoder(folder)
    assert isinstance(copy, OnnxEncoder)
    assert copy.fingerprint == original.fingerprint
    assert (copy.dimension, copy.precision) == (original.dimension, "float32")
    for role in ("encode_queries", "encode_documents"):
        vectors = [getattr(encoder, role)(TEXTS) for encoder in (original, copy)]
        assert cosines(*vectors).min() > 0.9999
        assert np.allclose(*(np.linalg.norm(rows, axis=1) for rows in vectors), rtol=1e-3)
        assert copy.truncated == original.truncated
        one_by_one = np.concatenate([getattr(copy, role)([text]) for text in TEXTS])
        assert cosines(one_by_one, vectors[1]).min() > 0.9999
        original._truncated = copy._truncated = 0
    if recipe.takes_instruction:
        with_instruction = [encoder.encode_queries(TEXTS, instruction="Other: ") for encoder in (original, copy)]
        assert cosines(*with_instruction).min() > 0.9999
    assert copy.encode_documents([]).shape == (0, copy.dimension)


def test_what_is_cut_is_said(exported: Any) -> None:
    _, folder = exported(MEAN)
    encoder = load_encoder(folder, shared=False)
    with pytest.warns(TruncationWarning, match="32 tokens of recipe 'mean'"):
        encoder.encode_queries(["x " * 300])


def test_the_tokenizer_gives_the_ids_of_transformers(exported: Any) -> None:
    from transformers import AutoTokenizer

    for recipe, folder in map(exported, (MEAN, LAST)):
        theirs, ours = AutoTokenizer.from_pretrained(folder), read_tokenizer(folder)
        for role in ("query", "document"):
            assert tokenize(ours, recipe, role, TEXTS) == tokenize(theirs, recipe, role, TEXTS)
        assert ours.all_special_ids
        assert set(ours.all_special_ids) == set(theirs.all_special_ids)
        assert (ours.eos_token_id, ours.pad_token_id) == (theirs.eos_token_id, theirs.pad_token_id)
        with lock_of(ours):
            pairs = ours(TEXTS, TEXTS[::-1], truncation="longest_first", max_length=40)
        assert pairs["input_ids"] == theirs(TEXTS, TEXTS[::-1], truncation="longest_first", max_length=40)["input_ids"]


def test_one_index_for_both(exported: Any, tmp_path: Path) -> None:
    recipe, folder = exported(LAST)
    documents = [Document(f"d{n}", text) for n, text in enumerate(dict.fromkeys(TEXTS)) if text]
    with RaderIndex.create(tmp_path / "index", load_encoder(recipe)) as index:
        index.add(documents)
    with RaderIndex.open(tmp_path / "index", load_encoder(folder)) as index:
        index.add([Document("new", "three strangers")])
        hits = RaderRetriever(index, "dense").search("three strangers", 20)
        assert {hit.document.id for hit in hits} == {document.id for document in documents} | {"new"}
    with pytest.raises(FingerprintMismatchError):
        RaderIndex.open(tmp_path / "index", load_encoder(exported(MEAN)[1]))


def test_an_index_that_an_exported_model_made_finds_it_again(exported: Any, tmp_path: Path) -> None:
    with RaderIndex.create(tmp_path / "index", load_encoder(exported(LAST)[1])) as index:
        index.add([Document("d", "three strangers")])
    with RaderIndex.open(tmp_path / "index") as index:
        assert [hit.document.id for hit in RaderRetriever(index, "dense").search("strangers", 1)] == ["d"]


def test_beside_other_weights_the_file_changes_nothing_unless_it_is_asked_for(
    checkpoints: dict[str, Path], exported: Any, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    transformer = Transformer(str(checkpoints["mean"]))
    folder = tmp_path / "both"
    SentenceTransformer(modules=[transformer, Pooling(32, pooling_mode="mean")]).save(str(folder))
    before = load_encoder(folder)
    shutil.copytree(exported(MEAN)[1] / "onnx", folder / "onnx")
    after, run = load_encoder(folder), load_encoder(folder, backend="onnx")
    assert type(after) is type(before)
    assert isinstance(run, OnnxEncoder)
    assert before.fingerprint == after.fingerprint == run.fingerprint
    assert cosines(after.encode_documents(TEXTS), run.encode_documents(TEXTS)).min() > 0.9999
    assert run.variant != after.variant, "a cache keeps them apart"


@pytest.mark.slow
def test_modules_of_their_own(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """Of a directory whose modules decide, all of them are exported."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer

    modules = [Transformer(str(checkpoints["mean"])), Pooling(32, pooling_mode="mean"), Dense(32, 8)]
    SentenceTransformer(modules=modules).save(str(tmp_path / "dense"))
    resolved = resolve(str(tmp_path / "dense"))
    assert resolved.recipe.pooling == "model"
    export_encoder(resolved.recipe, resolved.location, tmp_path / "onnx")
    original, copy = load_encoder(tmp_path / "dense", dtype="float32"), load_encoder(tmp_path / "onnx")
    assert copy.dimension == 8
    assert cosines(original.encode_documents(TEXTS), copy.encode_documents(TEXTS)).min() > 0.9999


@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.slow
def test_fewer_bits_are_written_or_refused_with_the_figure(
    precision: Any, exported: Any, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    resolved = resolve(exported(MEAN)[0])
    result = None
    try:
        result = export_encoder(resolved.recipe, resolved.location, tmp_path / "out", precision=precision)
    except EncodingError as error:
        refusal = str(error)
    if result is None:  # how far a random model is from its rounded copy is a matter of chance
        assert "at least 0.999 is wanted" in refusal
        assert not (tmp_path / "out").exists()
        return
    assert result.agreement >= 0.999
    copy, original = load_encoder(tmp_path / "out"), load_encoder(exported(MEAN)[1])
    assert copy.precision == {"fp16": "float16", "int8": "int8"}[precision]
    assert copy.fingerprint == original.fingerprint
    assert copy.variant != original.variant
    assert cosines(original.encode_documents(TEXTS), copy.encode_documents(TEXTS)).min() > 0.99


def test_a_copy_that_is_no_copy_is_not_written(exported: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnx
    from onnx import numpy_helper

    def spoiled(model: Any, precision: str) -> Any:
        random = np.random.default_rng(0)
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.dtype == np.float32 and values.ndim == 2:
                noisy = values + random.normal(scale=0.2, size=values.shape).astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(noisy, tensor.name))
        return model

    assert onnx
    monkeypatch.setattr(onnx_graph, "_converted", spoiled)
    resolved = resolve(exported(MEAN)[0])
    with pytest.raises(EncodingError, match=r"smallest cosine .* is -?0\.\d+, and at least 0\.999"):
        export_encoder(resolved.recipe, resolved.location, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_is_written_into_from_within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with new_directory(".") as folder:
        (folder / "file").write_text("content")
    assert [file.name for file in tmp_path.rglob("*")] == ["empty", "file"]


def test_options_without_effect_are_refused(exported: Any, checkpoints: dict[str, Path]) -> None:
    _, folder = exported(MEAN)
    for option in ({"dtype": "bfloat16"}, {"trust_remote_code": True}, {"attn_implementation": "sdpa"}):
        with pytest.raises(InputError, match=f"{next(iter(option))}.*has no effect"):
            load_encoder(folder, **option)
    assert load_encoder(folder, dtype="auto", trust_remote_code=False, attn_implementation=None)
    with pytest.raises(InputError, match="torch or onnx"):
        load_encoder(folder, backend="tensorflow")
    with pytest.raises(InputError, match=r"with backend='onnx' it is one of cpu"):
        load_encoder(folder, device="mps")
    with pytest.raises(InputError, match=r"holds no onnx/model.onnx.*rader export-onnx"):
        load_encoder(dataclasses.replace(MEAN, model=str(checkpoints["mean"])), backend="onnx")


@pytest.mark.parametrize("device", ["cpu:", "cpu:3", "cpu:x", "gpu", ""])
def test_a_device_that_does_not_exist_is_refused(device: str, exported: Any) -> None:
    with pytest.raises(InputError, match="device is "):
        load_encoder(exported(MEAN)[1], device=device)


def test_a_device_whose_libraries_are_missing_is_refused(exported: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # onnxruntime-gpu without CUDA names its provider, and then goes on on the CPU.
    import onnxruntime

    session = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda file, options, providers: session(file, options, providers=["CPUExecutionProvider"]),
    )
    with pytest.raises(InputError, match="cannot run .* on cuda: .* use device='cpu'"):
        load_encoder(exported(MEAN)[1], device="cuda", shared=False)
    assert load_encoder(exported(MEAN)[1], device="cpu", shared=False)


def test_what_lies_beside_a_large_file_belongs_to_its_identity(exported: Any, tmp_path: Path) -> None:
    import onnx

    folder = tmp_path / "large"
    shutil.copytree(exported(MEAN)[1], folder)
    file = folder / "onnx" / "model.onnx"
    model = onnx.load(str(file))
    file.unlink()
    onnx.save_model(model, str(file), save_as_external_data=True, location="model.onnx_data", size_threshold=0)
    before = load_encoder(folder)
    data = bytearray((folder / "onnx" / "model.onnx_data").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "onnx" / "model.onnx_data").write_bytes(data)
    after = load_encoder(folder)
    assert after.fingerprint != before.fingerprint
    assert after.variant != before.variant


def test_what_is_exported_already_is_told(exported: Any, tmp_path: Path) -> None:
    _, folder = exported(MEAN)
    with pytest.raises(InputError, match="ONNX form alone"):
        load_encoder(folder, backend="torch")


def test_a_full_disk_is_no_fault_of_the_model(exported: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(onnx_graph, "_converted", full)
    resolved = resolve(exported(MEAN)[0])
    with pytest.raises(OSError, match="No space left"):
        export_encoder(resolved.recipe, resolved.location, tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"no model at all"])
def test_a_damaged_file_is_an_error_of_ours(content: bytes, exported: Any, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(exported(MEAN)[1], folder)
    (folder / "onnx" / "model.onnx").write_bytes(content)
    with pytest.raises(InputError, match="cannot be loaded by ONNX Runtime"):
        load_encoder(folder)
    shutil.copytree(exported(MEAN)[1], folder, dirs_exist_ok=True)
    (folder / "tokenizer.json").write_bytes(content)
    with pytest.raises(InputError, match="is no tokenizer"):
        load_encoder(folder)


def test_many_threads_and_a_fork(exported: Any) -> None:
    _, folder = exported(LAST)
    encoder = load_encoder(folder)
    expected = encoder.encode_documents(TEXTS)
    results: list[Any] = []
    workers = [threading.Thread(target=lambda: results.append(encoder.encode_documents(TEXTS))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 4
    assert all(np.array_equal(rows, expected) for rows in results)
    if not hasattr(os, "fork"):
        return
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    child = context.Process(target=lambda: sending.send(encoder.encode_documents(TEXTS)))
    child.start()
    assert receiving.poll(60), "the forked process waits for threads that do not exist there"
    assert np.allclose(receiving.recv(), expected, atol=1e-6)
    child.join(60)
    assert child.exitcode == 0


WITHOUT_TORCH = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "transformers", "sentence_transformers", "peft", "onnx", "safetensors"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
folder, place = sys.argv[1:]
"""


def without_torch(code: str, *arguments: Any) -> str:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH + code, *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_without_torch_in_the_process(exported: Any, tmp_path: Path) -> None:
    recipe, folder = exported(LAST)
    with RaderIndex.create(tmp_path / "index", load_encoder(recipe)) as index:
        index.add([Document("d", "three strangers"), Document("e", "the harmonic mean")])
    code = (
        "from rader_plugins import Document, RaderIndex, RaderRetriever, load_encoder\n"
        "with RaderIndex.open(place, load_encoder(folder)) as index:\n"
        "    index.add([Document('f', 'a prime number')])\n"
        "    print([hit.document.id for hit in RaderRetriever(index).search('a prime number', 1)])\n"
    )
    assert without_torch(code, folder, tmp_path / "index") == "['f']\n"


@pytest.mark.slow
def test_langchain_without_torch(exported: Any, tmp_path: Path) -> None:
    pytest.importorskip("langchain_core")
    code = (
        "from langchain_rader import RaderEmbeddings, RaderVectorStore\n"
        "store = RaderVectorStore.from_texts(['three strangers', 'a mean'], RaderEmbeddings(model=folder))\n"
        "print(store.similarity_search('three strangers', k=1)[0].page_content)\n"
    )
    assert without_torch(code, exported(LAST)[1], tmp_path) == "three strangers\n"


def test_mini(mini: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "COMPARED", 12)
    resolved = resolve("mini")
    result = export_encoder(resolved.recipe, resolved.location, tmp_path / "mini")
    assert result.agreement > 0.9999
    copy = load_encoder(tmp_path / "mini")
    assert copy.fingerprint == mini.fingerprint


def test_doctor_names_the_devices_that_the_option_takes() -> None:
    from typer.testing import CliRunner

    from rader_plugins.cli.app import build_app

    line = next(
        line for line in CliRunner().invoke(build_app(), ["doctor"]).stdout.splitlines() if "ONNX Runtime" in line
    )
    assert "cpu" in line
    assert "Provider" not in line
