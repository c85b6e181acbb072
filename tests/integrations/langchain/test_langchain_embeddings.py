from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from langchain_rader import RaderEmbeddings
from pydantic import ValidationError

from rader_plugins import Encoder, Recipe
from rader_plugins.encoding import Vectors
from rader_plugins.errors import InputError

TEXT = "Among any six people three know each other."


class AsyncOnly(Encoder):
    """The mini encoder, of which only the async side may be used."""

    def __init__(self, inner: Encoder) -> None:
        self.inner = inner
        self.recipe = inner.recipe
        self.calls: list[str] = []

    @property
    def dimension(self) -> int:
        return self.inner.dimension

    def encode_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> Vectors:
        raise RuntimeError("the event loop would be blocked")

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        raise RuntimeError("the event loop would be blocked")

    async def aencode_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> Vectors:
        self.calls.append("query")
        return await self.inner.aencode_queries(texts, instruction=instruction)

    async def aencode_documents(self, texts: Sequence[str]) -> Vectors:
        self.calls.append("document")
        return await self.inner.aencode_documents(texts)


def test_vectors_are_those_of_the_encoder(embeddings: RaderEmbeddings, mini: Encoder) -> None:
    assert embeddings.embed_query(TEXT) == mini.encode_queries([TEXT])[0].tolist()
    assert embeddings.embed_documents([TEXT, "b"]) == mini.encode_documents([TEXT, "b"]).tolist()
    assert all(type(value) is float for value in embeddings.embed_query(TEXT))
    assert embeddings.embed_documents([]) == []


def test_line_breaks_stay(mini: Encoder) -> None:
    # mini's tokenizer drops white space, so look at what the encoder is given.
    seen: list[str] = []

    class Recorder(AsyncOnly):
        def encode_documents(self, texts: Sequence[str]) -> Vectors:
            seen.extend(texts)
            return np.eye(len(texts), 3, dtype=np.float32)

    RaderEmbeddings(model=Recorder(mini)).embed_documents(["def f():\n    return 1\n"])
    assert seen == ["def f():\n    return 1\n"]


def test_queries_and_documents_get_their_own_template(mini: Encoder, prefixed: Recipe) -> None:
    embeddings = RaderEmbeddings(model=prefixed)
    query = embeddings.embed_query(TEXT)
    document = embeddings.embed_documents([TEXT])[0]
    np.testing.assert_allclose(query, mini.encode_documents([f"query: {TEXT}"])[0], atol=1e-5)
    np.testing.assert_allclose(document, mini.encode_documents([f"document: {TEXT}"])[0], atol=1e-5)
    assert float(np.dot(query, document)) < 0.999


def test_instruction_goes_to_queries_alone(mini: Encoder, prefixed: Recipe) -> None:
    plain = RaderEmbeddings(model=prefixed)
    instructed = RaderEmbeddings(model=prefixed, instruction="Find the theorem. ")
    np.testing.assert_allclose(
        instructed.embed_query(TEXT), mini.encode_documents([f"query: Find the theorem. {TEXT}"])[0], atol=1e-5
    )
    np.testing.assert_allclose(instructed.embed_documents([TEXT]), plain.embed_documents([TEXT]), atol=1e-5)


async def test_async_methods_use_the_async_side(mini: Encoder, embeddings: RaderEmbeddings) -> None:
    encoder = AsyncOnly(mini)
    async_embeddings = RaderEmbeddings(model=encoder)
    np.testing.assert_allclose(await async_embeddings.aembed_query(TEXT), embeddings.embed_query(TEXT), atol=1e-5)
    np.testing.assert_allclose(
        await async_embeddings.aembed_documents([TEXT]), embeddings.embed_documents([TEXT]), atol=1e-5
    )
    assert encoder.calls == ["query", "document"]
    assert all(type(value) is float for value in await async_embeddings.aembed_query(TEXT))


def test_model_name_is_accepted_too(mini: Encoder) -> None:
    assert RaderEmbeddings(model_name=mini).encoder is mini  # type: ignore[call-arg]


def test_options_reach_the_encoder() -> None:
    embeddings = RaderEmbeddings(model="mini", device="cpu", encoder_options={"batch_tokens": 64})
    assert embeddings.encoder.batch_tokens == 64  # type: ignore[attr-defined]


def test_a_cache_on_disk_keeps_roles_apart(tmp_path: Path, prefixed: Recipe) -> None:
    for _ in range(2):
        embeddings = RaderEmbeddings(model=prefixed, cache=tmp_path / "vectors")
        assert embeddings.embed_query(TEXT) != embeddings.embed_documents([TEXT])[0]
    assert list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "no-such-model"}, "no registered recipe"),
        ({"model": 7}, "must be a name"),
        ({"model": "mini", "encoder_options": {"batch": 3}}, "Unknown options"),
        ({"model": "mini", "device": "cpu", "encoder_options": {"device": "cpu"}}, "given twice"),
        ({"model": "mini", "instruction": "Find."}, "takes no instruction"),
        ({"model": "mini", "normalise": True}, "normalise"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RaderEmbeddings(**arguments)  # type: ignore[arg-type]


def test_a_ready_encoder_takes_no_options(mini: Encoder) -> None:
    with pytest.raises(ValueError, match="takes no options"):
        RaderEmbeddings(model=mini, device="cpu")


def test_lone_surrogate_is_refused(embeddings: RaderEmbeddings) -> None:
    with pytest.raises(InputError, match="surrogate"):
        embeddings.embed_query("a\ud800")


def test_nothing_secret_is_shown() -> None:
    embeddings = RaderEmbeddings(
        model="https://user:hunter2@models.example/v1?key=hunter2",
        recipe="mini",
        encoder_options={"api_key_env": "HUNTER2"},
    )
    texts = [repr(embeddings), str(embeddings), embeddings.model_dump_json(), str(embeddings.model_dump())]
    for text in texts:
        assert "hunter2" not in text.lower()
        assert "models.example/v1" in text
    with pytest.raises(ValidationError) as failure:
        RaderEmbeddings(model="mini", encoder_options={"api_key": "hunter2"})
    assert "hunter2" not in str(failure.value)


def test_serialisation_holds_the_recipe(mini: Encoder, prefixed: Recipe) -> None:
    dumped = RaderEmbeddings(model=prefixed).model_dump()
    assert dumped["model"]["query_template"] == "query: {instruction}{text}"
    assert RaderEmbeddings(model=mini).model_dump()["model"] == mini.recipe.to_dict()
    assert "prefixed" in repr(RaderEmbeddings(model=prefixed))
