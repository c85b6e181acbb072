"""A cross-encoder of BERT in plain torch gives the scores of transformers."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")

from rader_plugins import Recipe  # noqa: E402
from rader_plugins.reranking import load_reranker  # noqa: E402
from rader_plugins.reranking.bert import PlainClassifier  # noqa: E402
from tests.support.tiny_rerankers import tiny_cross_encoder  # noqa: E402

PAIRS = [
    ("short", "a document"),
    ("fewest guests?", "among any six people three know each other"),
    ("", "Ünïcode, 中文 and [SEP] inside"),
    ("x " * 80, "y " * 90),
    ("a b", ""),
]


@pytest.fixture
def folder(tmp_path):
    return tiny_cross_encoder(tmp_path / "bert")


def is_plain(reranker) -> bool:
    return isinstance(reranker._model, PlainClassifier)


def template(folder) -> Recipe:
    return Recipe(
        name="bert", model=str(folder), kind="reranker", pair_template="query: {query} document: {document}",
        append_eos=True, eos_token="[SEP]", max_query_length=32, max_document_length=64,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore::rader_plugins.errors.TruncationWarning")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("recipe_of", [lambda folder: None, template], ids=["pairs", "template"])
def test_scores_are_those_of_transformers(folder, dtype, recipe_of):
    reranker = load_reranker(folder, recipe=recipe_of(folder), dtype=dtype, device="cpu")
    assert is_plain(reranker)
    assert reranker.precision == dtype
    scores = reranker.score_pairs(PAIRS)
    assert type(reranker.model).__name__ == "BertForSequenceClassification"  # which computes from now on
    assert not is_plain(reranker)
    tolerance = 1e-4 if dtype == "float32" else 3e-2
    np.testing.assert_allclose(scores, reranker.score_pairs(PAIRS), atol=tolerance, rtol=tolerance)


@pytest.mark.filterwarnings("ignore::rader_plugins.errors.TruncationWarning")
def test_no_library_is_imported_and_the_scores_are_those_of_eager_attention(folder):
    code = (
        "import json, sys\n"
        "from rader_plugins.reranking import load_reranker\n"
        "scores = load_reranker(sys.argv[1], device='cpu', dtype='float32').score_pairs(json.loads(sys.argv[2]))\n"
        "assert not {'transformers', 'sentence_transformers'} & set(sys.modules)\n"
        "print(json.dumps(scores.tolist()))\n"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code, str(folder), json.dumps(PAIRS)],
        capture_output=True, text=True, env=dict(os.environ), check=False,
    )  # fmt: skip
    assert not done.returncode, done.stderr
    peer = load_reranker(folder, device="cpu", dtype="float32", attn_implementation="eager")
    assert not is_plain(peer)
    np.testing.assert_allclose(json.loads(done.stdout.splitlines()[-1]), peer.score_pairs(PAIRS), atol=1e-4)


@pytest.mark.filterwarnings("ignore::rader_plugins.errors.TruncationWarning")
def test_a_model_that_is_taken_keeps_its_weights(folder, tmp_path):
    reranker = load_reranker(folder, device="cpu", dtype="float32")
    scores = reranker.score_pairs(PAIRS)
    other = tiny_cross_encoder(tmp_path / "other", seed=5)
    (other / "model.safetensors").replace(folder / "model.safetensors")
    assert reranker.tokenizer.decode(reranker.tokenizer("short")["input_ids"]).startswith("[CLS]")
    assert not is_plain(reranker)
    np.testing.assert_allclose(reranker.score_pairs(PAIRS), scores, atol=1e-4)
    with torch.no_grad():
        reranker.model.classifier.bias.add_(1)
    np.testing.assert_allclose(reranker.score_pairs(PAIRS), scores + 1, atol=1e-4)


def test_a_tokenizer_that_joins_pairs_otherwise_is_left_to_the_libraries(folder):
    file = folder / "tokenizer.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["post_processor"]["pair"] = settings["post_processor"]["pair"][:-1]
    file.write_text(json.dumps(settings), encoding="utf-8")
    assert not is_plain(load_reranker(folder, device="cpu"))
