"""The HTTP encoder against a scripted server."""

from __future__ import annotations

import asyncio
import threading
import warnings

import numpy as np
import pytest

from rader_plugins import Recipe, load_encoder
from rader_plugins.encoding.client import embeddings_url
from rader_plugins.encoding.http import HTTPEncoder
from rader_plugins.errors import EncodingError, InputError, TruncationWarning
from tests.support.embedding_server import EmbeddingServer, text_vector, wait_for

RECIPE = Recipe(
    name="served-tiny",
    model="owner/tiny",
    query_template="query: {instruction}{text}",
    document_template="document: {text}",
    append_eos=True,
    eos_token="<|im_end|>",
    dimension=8,
)


def connect(server: EmbeddingServer, **options) -> HTTPEncoder:
    options = {"recipe": RECIPE, "backoff": 0.0, "timeout": 10.0, **options}
    return HTTPEncoder(server.url, **options)


def expected(texts: list[str]) -> np.ndarray:
    rows = np.stack([text_vector(text, 8) for text in texts])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/", "/v1/embeddings"])
def test_every_form_of_the_url(end):
    assert embeddings_url("http://host:8000" + end) == "http://host:8000/v1/embeddings"


@pytest.mark.parametrize("url", ["ftp://host", "http://", "http://host:port"])
def test_bad_url(url):
    with pytest.raises(InputError):
        embeddings_url(url)


def test_applies_the_recipe_and_normalises():
    with EmbeddingServer() as server, connect(server) as encoder:
        rows = encoder.encode_queries(["a", "b<|im_end|>"], instruction="Do: ")
        assert rows.dtype == np.float32
        np.testing.assert_allclose(rows, expected(["query: Do: a<|im_end|>", "query: Do: b<|im_end|>"]), atol=1e-6)
        np.testing.assert_allclose(encoder.encode_documents(["a"]), expected(["document: a<|im_end|>"]), atol=1e-6)
        assert server.requests[0]["encoding_format"] == "float"
        assert server.requests[0]["model"] == "served"  # the only one that the server lists


def test_model_name_falls_back_to_the_recipe():
    with EmbeddingServer(models=("one", "two")) as server, connect(server) as encoder:
        encoder.encode_documents(["a"])
        assert server.requests[0]["model"] == "owner/tiny"


def test_server_that_appends_eos_itself():
    with EmbeddingServer() as server, connect(server, server_appends_eos=True) as encoder:
        encoder.encode_documents(["a"])
        assert server.requests[0]["input"] == ["document: a"]


def test_eos_without_a_name_is_an_error():
    with pytest.raises(InputError, match="eos_token"):
        HTTPEncoder("http://localhost:1", recipe=Recipe(name="x", model="owner/x", append_eos=True))


def test_no_silent_default_recipe():
    with pytest.raises(InputError, match="recipe="):
        load_encoder("http://localhost:1")


def test_registered_recipe_by_name_and_same_fingerprint():
    encoder = load_encoder("http://localhost:1", recipe="mini")
    assert encoder.recipe.name == "mini"
    assert encoder.dimension == 384


def test_plain():
    with EmbeddingServer() as server, load_encoder(server.url, recipe="plain") as encoder:
        assert encoder.recipe.model == "served"
        assert encoder.dimension == 8
        np.testing.assert_allclose(encoder.encode_queries(["a"]), expected(["a"]), atol=1e-6)


def test_many_batches_keep_their_order_and_equal_texts_are_sent_once():
    texts = [f"text {number % 50}" for number in range(200)]
    with EmbeddingServer() as server, connect(server, batch_size=7) as encoder:
        rows = encoder.encode_documents(texts)
        np.testing.assert_allclose(rows, expected([f"document: {text}<|im_end|>" for text in texts]), atol=1e-6)
        assert sum(len(request["input"]) for request in server.requests) == 50


@pytest.mark.parametrize("action", ["429", "500", "503", "drop"])
def test_retries(action):
    with EmbeddingServer(script=(action, action)) as server, connect(server) as encoder:
        np.testing.assert_allclose(encoder.encode_documents(["a"]), expected(["document: a<|im_end|>"]), atol=1e-6)
        assert len(server.requests) == 3


def test_retries_after_a_timeout():
    with EmbeddingServer(script=("hang",)) as server, connect(server, timeout=2.0) as encoder:
        assert encoder.encode_documents(["a"]).shape == (1, 8)


def test_gives_up_at_the_limit():
    with EmbeddingServer(script=("500",) * 10) as server, connect(server, max_retries=2) as encoder:
        with pytest.raises(EncodingError, match="3 times.*status 500.*scripted failure"):
            encoder.encode_documents(["a"])
        assert len(server.requests) == 3


def test_does_not_wait_an_hour():
    with (
        EmbeddingServer(script=("429-late",)) as server,
        connect(server) as encoder,
        pytest.raises(EncodingError, match="3600"),
    ):
        encoder.encode_documents(["a"])


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("400", "scripted failure 400.*tokenizer="),
        ("401", "OPENAI_API_KEY"),
        ("404", "model="),
        ("short", "2 vectors for 3"),
        ("doubled", "index"),
        ("nan", "NaN"),
        ("zero", "zero vector"),
        ("dim", "dimension 9; 8"),
        ("nested", "pooling"),
        ("garbage", "JSON"),
        ("error-200", "all is not well"),
    ],
)
def test_bad_answers_are_errors_at_once(action, words):
    # A request that is refused for its texts (400) is halved until each stands alone.
    with EmbeddingServer(script=(action,) * (5 if action == "400" else 1)) as server, connect(server) as encoder:
        with pytest.raises(EncodingError, match=words) as caught:
            encoder.encode_documents(["a", "b", "c"])
        assert len(str(caught.value)) < 900
        assert len(server.requests) == (5 if action == "400" else 1)


def test_one_bad_batch_fails_the_call():
    with (
        EmbeddingServer(script=("ok", "nan", "ok")) as server,
        connect(server, batch_size=1) as encoder,
        pytest.raises(EncodingError),
    ):
        encoder.encode_documents(["a", "b", "c", "d"])


def test_wrong_order_is_put_right():
    with EmbeddingServer(script=("reversed",)) as server, connect(server) as encoder:
        rows = encoder.encode_documents(["a", "b", "c"])
        np.testing.assert_allclose(rows, expected([f"document: {text}<|im_end|>" for text in "abc"]), atol=1e-6)


def test_dimension_must_stay_the_same():
    recipe = Recipe(name="x", model="owner/x")
    with EmbeddingServer(script=("ok", "dim")) as server, connect(server, recipe=recipe) as encoder:
        assert encoder.dimension == 8
        with pytest.raises(EncodingError, match="dimension"):
            encoder.encode_documents(["a"])


def test_key_is_read_at_request_time_and_never_shown(monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-secret")
    with EmbeddingServer(script=("ok", "ok", "401")) as server, connect(server, api_key_env="MY_KEY") as encoder:
        encoder.encode_documents(["a"])
        assert server.headers[-1]["Authorization"] == "Bearer sk-secret"
        monkeypatch.delenv("MY_KEY")
        encoder.encode_documents(["b"])
        assert "Authorization" not in server.headers[-1]
        monkeypatch.setenv("MY_KEY", "sk-secret")
        with pytest.raises(EncodingError, match="MY_KEY") as caught:
            encoder.encode_documents(["c"])
        assert "sk-secret" not in repr(encoder) + str(caught.value) + str(vars(encoder))


def test_url_credentials_are_not_shown():
    encoder = HTTPEncoder("http://user:sesame@localhost:1/v1?key=abc", recipe=RECIPE)
    assert "sesame" not in repr(encoder)
    assert "abc" not in repr(encoder)


def test_requests_are_bounded_over_all_callers_and_do_run_at_once():
    with EmbeddingServer() as server, connect(server, concurrency=3, batch_size=1) as encoder:
        server.gate = threading.Barrier(3)  # every request waits until three are in work
        callers = [
            threading.Thread(target=encoder.encode_documents, args=([f"{caller} {number}" for number in range(6)],))
            for caller in range(3)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(30)
        assert len(server.requests) == 18
        assert server.most == 3


async def test_async_does_not_block_the_loop():
    with EmbeddingServer(script=("hang",)) as server, connect(server) as encoder:
        task = asyncio.create_task(encoder.aencode_queries(["a"]))
        await asyncio.to_thread(wait_for, lambda: len(server.requests) == 1)
        assert not task.done()
        server.released.set()
        np.testing.assert_allclose(await task, expected(["query: a<|im_end|>"]), atol=1e-6)
        assert (await encoder.aencode_documents([])).shape == (0, 8)


async def test_async_failure_raises():
    with (
        EmbeddingServer(script=("400",)) as server,
        connect(server, batch_size=1) as encoder,
        pytest.raises(EncodingError),
    ):
        await encoder.aencode_documents(["a", "b"])


def test_close_ends_a_waiting_retry():
    failed = []

    def call(encoder: HTTPEncoder) -> None:
        try:
            encoder.encode_documents(["a"])
        except EncodingError as error:
            failed.append(error)

    with EmbeddingServer(script=("500",) * 5) as server:
        encoder = connect(server, backoff=60.0)
        thread = threading.Thread(target=call, args=(encoder,))
        thread.start()
        wait_for(lambda: len(server.requests) == 1)
        encoder.close()
        thread.join(20)
        assert failed
        with pytest.raises(EncodingError, match="closed"):
            encoder.encode_documents(["b"])


def test_empty_list_and_bad_texts():
    with EmbeddingServer() as server, connect(server) as encoder:
        assert encoder.encode_documents([]).shape == (0, 8)
        assert server.requests == []
        with pytest.raises(InputError, match="surrogate"):
            encoder.encode_documents(["\ud800"])
        with pytest.raises(InputError, match="string"):
            encoder.encode_documents([3])
        with pytest.raises(InputError, match="list"):
            encoder.encode_documents("text")


def test_unreachable_server_says_so():
    with EmbeddingServer() as server:
        url = server.url
    encoder = HTTPEncoder(url, recipe=RECIPE, model="m", backoff=0.0, max_retries=1)
    with pytest.raises(EncodingError, match="Is the server up"):
        encoder.encode_documents(["a"])


@pytest.mark.parametrize("option", [{"concurrency": 0}, {"batch_size": 0}, {"max_retries": -1}, {"timeout": 0}])
def test_bad_options(option):
    with pytest.raises(InputError):
        HTTPEncoder("http://localhost:1", recipe=RECIPE, **option)


@pytest.mark.parametrize("adds_eos", [False, True])
def test_cuts_on_this_side_with_a_tokenizer(tmp_path, adds_eos):
    pytest.importorskip("tokenizers")
    from tests.support.tiny_models import bpe_tokenizer

    tokenizer = bpe_tokenizer(adds_eos=adds_eos)
    tokenizer.save_pretrained(tmp_path)
    recipe = Recipe(
        name="x",
        model="owner/x",
        document_template="document: {text}",
        append_eos=True,
        max_document_length=16,
    )
    with EmbeddingServer() as server, connect(server, recipe=recipe, tokenizer=tmp_path) as encoder:
        with pytest.warns(TruncationWarning):
            encoder.encode_documents(["Ramsey's theorem " * 5000, "short", "naïve ∑ 🙂" * 30])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            encoder.encode_documents(["once is enough " * 50])
        assert encoder.truncated == 3
        sent = server.requests[0]["input"]
    # What the server's own tokenizer makes of it: the whole budget, one end-of-sequence token.
    ids = [tokenizer(text)["input_ids"] for text in sent]
    assert [len(row) for row in ids][:2] == [16, len(ids[1])]
    assert max(len(row) for row in ids) <= 16
    assert all(row[-1] == 2 and row.count(2) == 1 for row in ids)


def test_a_recipe_may_name_a_model_that_is_nowhere_here():
    recipe = Recipe(name="own", model="my-model")
    encoder = HTTPEncoder("http://localhost:1", recipe=recipe)
    assert encoder.fingerprint == recipe.fingerprint
    with pytest.raises(InputError, match="reranker"):
        HTTPEncoder("http://localhost:1", recipe="rader-reranker-7b")
    with pytest.raises(InputError, match="no registered recipe"):
        HTTPEncoder("http://localhost:1", recipe="my-model")
