"""What is no reranker is an error that says what to do, never a head of random numbers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sentence_transformers")

from rader_plugins import Recipe, load_encoder  # noqa: E402
from rader_plugins.errors import InputError  # noqa: E402
from rader_plugins.reranking import load_reranker  # noqa: E402
from tests.support.tiny_models import tiny_bert, tiny_qwen2  # noqa: E402
from tests.support.tiny_rerankers import (  # noqa: E402
    tiny_classifier_lora,
    tiny_cross_encoder,
    tiny_qwen2_classifier,
)


def stated(folder: Path, **fields) -> Recipe:
    template = "query: {query} document: {document}"
    return Recipe(
        **{
            "name": "tiny",
            "model": str(folder),
            "kind": "reranker",
            "pair_template": template,
            "append_eos": True,
            **fields,
        }
    )


def test_a_language_model_without_a_score_head(tmp_path):
    folder = tiny_qwen2(tmp_path / "lm", causal_lm=True)
    for source in (folder, stated(folder)):
        with pytest.raises(InputError, match="language model without a score head"):
            load_reranker(source)


def test_retrievers_are_refused(tmp_path, mini):
    with pytest.raises(InputError, match="load_encoder"):
        load_reranker("mini")
    mini.save(tmp_path / "saved")
    with pytest.raises(InputError, match="load_encoder"):
        load_reranker(tmp_path / "saved")
    (tmp_path / "saved" / "rader_recipe.json").unlink()
    with pytest.raises(InputError, match="SentenceTransformer.*load_encoder"):
        load_reranker(tmp_path / "saved")
    with pytest.raises(InputError, match="not a sequence classifier"):
        load_reranker(tiny_bert(tmp_path / "bert"))
    with pytest.raises(InputError, match="load_encoder"):
        load_reranker(Recipe(name="retriever", model=str(tmp_path / "bert")))


def test_an_encoder_is_no_reranker_and_says_where_to_go(tmp_path):
    folder = tiny_qwen2_classifier(tmp_path / "model")
    with pytest.raises(InputError, match="load_reranker"):
        load_encoder(stated(folder))


@pytest.mark.parametrize("make", [tiny_cross_encoder, tiny_qwen2_classifier])
def test_three_labels(tmp_path, make):
    folder = make(tmp_path / "model", labels=3)
    for source in (folder, stated(folder)):
        with pytest.raises(InputError, match="3 labels"):
            load_reranker(source)


def test_a_head_that_is_missing_in_the_weights(tmp_path):
    from safetensors.torch import load_file, save_file

    for make, head in ((tiny_cross_encoder, "classifier.weight"), (tiny_qwen2_classifier, "score.weight")):
        folder = make(tmp_path / make.__name__)
        file = folder / "model.safetensors"
        state = load_file(file)
        del state[head]
        save_file(state, file, metadata={"format": "pt"})
        with pytest.raises(InputError, match=f"lacks 1 tensors.*{head}"):
            load_reranker(stated(folder))


def test_a_body_that_is_missing_in_the_weights(tmp_path):
    from safetensors.torch import load_file, save_file

    file = tiny_cross_encoder(tmp_path / "model") / "model.safetensors"
    state = {name: tensor for name, tensor in load_file(file).items() if "layer.1" not in name}
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match="lacks .* tensors"):
        load_reranker(tmp_path / "model")


def test_an_adapter_without_its_head(tmp_path):
    from safetensors.torch import load_file, save_file

    base = tiny_qwen2(tmp_path / "base", causal_lm=True)
    adapter = tiny_classifier_lora(tmp_path / "adapter", base)
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file({name: tensor for name, tensor in tensors.items() if "score" not in name}, file)
    with pytest.raises(InputError, match="adapter holds no score head.*language model"):
        load_reranker(stated(adapter, base_model=str(base)))
    save_file({name: tensor for name, tensor in tensors.items() if "layers.1" not in name}, file)
    with pytest.raises(InputError, match="missing"):
        load_reranker(stated(adapter, base_model=str(base)))


def test_an_adapter_of_several_labels_or_without_a_recipe(tmp_path):
    base = tiny_qwen2(tmp_path / "base", causal_lm=True)
    adapter = tiny_classifier_lora(tmp_path / "adapter", base, labels=2)
    with pytest.raises(InputError, match="2 labels"):
        load_reranker(stated(adapter, base_model=str(base)))
    with pytest.raises(InputError, match="does not say which template"):
        load_reranker(adapter)


def test_an_adapter_of_a_whole_classifier_keeps_its_head(tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    base = tiny_qwen2_classifier(tmp_path / "base")
    model = AutoModelForSequenceClassification.from_pretrained(base)
    config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=True)
    get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    pairs = [("a", "b"), ("a", "c d e")]
    merged = load_reranker(stated(tmp_path / "adapter", base_model=str(base))).score_pairs(pairs)
    assert merged == pytest.approx(load_reranker(stated(base)).score_pairs(pairs), abs=1e-5)


def test_a_decoder_that_does_not_say_its_template(tmp_path):
    with pytest.raises(InputError, match="State the template"):
        load_reranker(tiny_qwen2_classifier(tmp_path / "model"))


def test_options_and_names(tmp_path):
    folder = tiny_cross_encoder(tmp_path / "model")
    for wrong in ({"batch": 3}, {"location": "x"}):
        with pytest.raises(InputError, match="Unknown options.*batch_tokens"):
            load_reranker(folder, **wrong)
    with pytest.raises(InputError, match="batch_tokens must be"):
        load_reranker(folder, batch_tokens=0)
    with pytest.raises(InputError, match="activation is one of"):
        load_reranker(folder, activation="softmax")
    with pytest.raises(InputError, match="dtype"):
        load_reranker(folder, dtype="int8")
    with pytest.raises(InputError, match="trust_remote_code=True"):
        load_reranker(dataclasses.replace(stated(folder), needs_remote_code=True))
    with pytest.raises(InputError, match="no hub id"):
        load_reranker("nothing-of-that-name")
    with pytest.raises(InputError, match="neither in the local hub cache"):
        load_reranker("cross-encoder/ms-marco-MiniLM-L6-v2")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no model"):
        load_reranker(tmp_path / "empty")


def test_damaged_files(tmp_path):
    folder = tiny_cross_encoder(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"not tensors at all")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_reranker(folder)
    (folder / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        load_reranker(folder)


def test_a_moved_directory_keeps_its_fingerprint(tmp_path):
    folder = tiny_cross_encoder(tmp_path / "one")
    before = load_reranker(folder)
    folder.rename(tmp_path / "two")
    assert load_reranker(tmp_path / "two").fingerprint == before.fingerprint
    other = tiny_cross_encoder(tmp_path / "three", seed=4)
    assert load_reranker(other).fingerprint != before.fingerprint
    assert json.dumps(before.recipe.to_dict())
