"""BERT in plain torch gives the vectors of sentence-transformers, and steps aside where a checkpoint is another."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")

from safetensors.torch import load_file, save_file  # noqa: E402

from rader_plugins import Recipe, load_encoder  # noqa: E402
from rader_plugins.encoding.bert import PlainBert  # noqa: E402
from tests.support.tiny_models import tiny_bert  # noqa: E402

TEXTS = ["short", "among six people three know each other", "Ünïcode, 中文 and [SEP] inside", "", "x " * 300, "a b c d"]


@pytest.fixture
def folder(tmp_path):
    return tiny_bert(tmp_path / "bert")


def recipe_for(folder, **fields) -> Recipe:
    return Recipe(**{"name": "bert", "model": str(folder), "pooling": "mean", "max_document_length": 64, **fields})


def is_plain(encoder) -> bool:
    return isinstance(encoder._loaded.model, PlainBert)


VARIANTS = [
    {"pooling": "mean"},
    {"pooling": "cls"},
    {"pooling": "lasttoken"},
    {"pooling": "mean", "normalize": False},
    {"pooling": "mean", "pool_prompt": False, "document_template": "passage: {text}"},
    {"pooling": "lasttoken", "append_eos": True, "eos_token": "[SEP]"},
]


@pytest.mark.filterwarnings("ignore::rader_plugins.errors.TruncationWarning")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("fields", VARIANTS, ids=lambda fields: "-".join(map(str, fields.values())))
def test_vectors_are_those_of_sentence_transformers(folder, fields, dtype):
    encoder = load_encoder(recipe_for(folder, **fields), dtype=dtype, device="cpu")
    assert is_plain(encoder)
    vectors = encoder.encode_documents(TEXTS)
    single = encoder.encode_queries(TEXTS[:2])
    assert type(encoder.model).__name__ == "SentenceTransformer"  # which computes from now on
    assert not is_plain(encoder)
    tolerance = 1e-4 if dtype == "float32" else 2e-2
    np.testing.assert_allclose(vectors, encoder.encode_documents(TEXTS), atol=tolerance, rtol=tolerance)
    np.testing.assert_allclose(single, encoder.encode_queries(TEXTS[:2]), atol=tolerance, rtol=tolerance)


@pytest.mark.filterwarnings("ignore::rader_plugins.errors.TruncationWarning")
def test_mini_is_read_without_the_libraries_and_is_the_same(mini):
    code = (
        "import sys, numpy, rader_plugins\n"
        "rows = rader_plugins.load_encoder('mini', device='cpu', dtype='float32').encode_documents(sys.argv[2:])\n"
        "assert not {'transformers', 'sentence_transformers'} & set(sys.modules)\n"
        "sys.stdout.write(rows.tobytes().hex())\n"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code, "-", *TEXTS], capture_output=True, text=True, env=dict(os.environ), check=False
    )
    assert not done.returncode, done.stderr
    rows = np.frombuffer(bytes.fromhex(done.stdout), dtype=np.float32).reshape(len(TEXTS), -1)
    peer = load_encoder("mini", device="cpu", dtype="float32", attn_implementation="eager")
    assert not is_plain(peer)
    np.testing.assert_allclose(rows, peer.encode_documents(TEXTS), atol=1e-4)


def changed_settings(name, **values):
    def change(folder):
        settings = json.loads((folder / name).read_text(encoding="utf-8"))
        (folder / name).write_text(json.dumps({**settings, **values}), encoding="utf-8")

    return change


def changed_tensors(change):
    def rewrite(folder):
        file = folder / "model.safetensors"
        tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
        change(tensors)
        save_file(tensors, file, metadata={"format": "pt"})

    return rewrite


OTHERS = {
    "activation": changed_settings("config.json", hidden_act="relu"),
    "kind": changed_settings("config.json", is_decoder=True),
    "case": changed_settings("tokenizer_config.json", do_lower_case=False),
    "side": changed_settings("tokenizer_config.json", truncation_side="left"),
    "token": changed_settings("tokenizer_config.json", additional_special_tokens=["<thought>"]),
    "pattern": changed_settings("tokenizer.json", pre_tokenizer={"type": "Whitespace"}),
    "tensor": changed_tensors(lambda tensors: tensors.update({"encoder.extra.weight": torch.zeros(2)})),
}


@pytest.mark.filterwarnings("ignore::rader_plugins.errors.TruncationWarning")
@pytest.mark.parametrize("name", OTHERS)
def test_what_differs_is_left_to_the_libraries(folder, name):
    OTHERS[name](folder)
    encoder = load_encoder(recipe_for(folder), device="cpu", dtype="float32")
    assert not is_plain(encoder)
    assert np.isfinite(encoder.encode_documents(["Some words"])).all()


def test_a_model_that_is_taken_keeps_its_weights(folder):
    encoder = load_encoder(recipe_for(folder), device="cpu", dtype="float32")
    other = load_encoder(recipe_for(folder), device="cpu", dtype="float32", batch_tokens=64)
    vectors = encoder.encode_documents(TEXTS[:3])
    changed_tensors(lambda tensors: [tensor.mul_(-1) for tensor in tensors.values()])(folder)
    assert encoder.tokenizer.decode(encoder.tokenizer("short")["input_ids"]).startswith("[CLS]")
    np.testing.assert_allclose(other.encode_documents(TEXTS[:3]), vectors, atol=1e-4)
    with torch.no_grad():
        for weights in encoder.model.parameters():
            weights.mul_(0.5)
    assert np.abs(encoder.encode_documents(TEXTS[:3]) - vectors).max() > 1e-3


def test_an_encoder_of_a_classifier_reads_its_body(folder):
    changed_tensors(lambda tensors: tensors.update({f"bert.{name}": tensors.pop(name) for name in list(tensors)}))(
        folder
    )
    encoder = load_encoder(recipe_for(folder), device="cpu", dtype="float32")
    assert is_plain(encoder)
    vectors = encoder.encode_documents(TEXTS[:3])
    eager = load_encoder(recipe_for(folder), device="cpu", dtype="float32", attn_implementation="eager")
    np.testing.assert_allclose(vectors, eager.encode_documents(TEXTS[:3]), atol=1e-4)
