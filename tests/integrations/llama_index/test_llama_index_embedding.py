from __future__ import annotations

import asyncio
import copy
import json
import pickle
import threading

import numpy as np
import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.ingestion import IngestionCache, IngestionPipeline
from llama_index.core.ingestion.pipeline import get_transformation_hash
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.schema import MetadataMode, TextNode
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.embeddings.rader import RaderEmbedding

from rader_plugins import Encoder, Recipe, load_encoder
from rader_plugins.encoding.base import Vectors
from rader_plugins.errors import FingerprintMismatchError, InputError
from rader_plugins.recipes import get_recipe
from tests.support.embedding_server import EmbeddingServer

QUESTION = "fewest guests so that three share a hobby"


class RoleEncoder(Encoder):
    """Says in its vectors which role and instruction a text was given; counts the texts of every call."""

    def __init__(self, name: str = "roles") -> None:
        self.recipe = Recipe(name=name, model="tests/roles", query_template="{instruction}{text}")
        self.calls: list[int] = []
        self.entered = asyncio.Event()
        self.released = asyncio.Event()

    @property
    def dimension(self) -> int:
        return 3

    def encode_queries(self, texts: list[str], *, instruction: str | None = None) -> Vectors:  # type: ignore[override]
        self.calls.append(len(texts))
        return np.array([[1, 0, len(instruction or "")]] * len(texts), dtype=np.float32)

    def encode_documents(self, texts: list[str]) -> Vectors:  # type: ignore[override]
        self.calls.append(len(texts))
        return np.array([[0, 1, len(text)] for text in texts], dtype=np.float32)

    async def aencode_queries(self, texts: list[str], *, instruction: str | None = None) -> Vectors:  # type: ignore[override]
        self.entered.set()
        await self.released.wait()
        return self.encode_queries(texts, instruction=instruction)

    async def aencode_documents(self, texts: list[str]) -> Vectors:  # type: ignore[override]
        self.entered.set()
        await self.released.wait()
        return self.encode_documents(texts)


@pytest.fixture(scope="module")
def embedding(mini: Encoder) -> RaderEmbedding:
    return RaderEmbedding(model=mini)


def test_is_a_base_embedding() -> None:
    assert BaseEmbedding.__name__ in [base.__name__ for base in RaderEmbedding.__mro__]
    assert RaderEmbedding.class_name() == "RaderEmbedding"


def test_vectors_are_those_of_the_encoder(embedding: RaderEmbedding, mini: Encoder) -> None:
    query = embedding.get_query_embedding(QUESTION)
    assert len(query) == 384
    assert type(query[0]) is float
    assert query == mini.encode_queries([QUESTION])[0].tolist()
    texts = ["a theorem", "", "a much longer text about colours of edges in a complete graph"]
    # How many texts share a batch moves the last digits of single precision.
    np.testing.assert_allclose(embedding.get_text_embedding_batch(texts), mini.encode_documents(texts), atol=1e-5)


async def test_async_gives_what_sync_gives(embedding: RaderEmbedding) -> None:
    assert await embedding.aget_query_embedding(QUESTION) == embedding.get_query_embedding(QUESTION)
    assert await embedding.aget_text_embedding("a text") == embedding.get_text_embedding("a text")
    texts = [f"text number {number}" for number in range(7)]
    split = RaderEmbedding(model=embedding.encoder, embed_batch_size=3, num_workers=2)
    np.testing.assert_allclose(
        await split.aget_text_embedding_batch(texts), embedding.get_text_embedding_batch(texts), atol=1e-5
    )


async def test_roles_and_instruction() -> None:
    encoder = RoleEncoder()
    encoder.released.set()
    model = RaderEmbedding(model=encoder, query_instruction="find: ")
    assert model.get_query_embedding("x") == [1, 0, 6]
    assert await model.aget_query_embedding("x") == [1, 0, 6]
    assert model.get_text_embedding("x") == [0, 1, 1]
    assert await model.aget_text_embedding("x") == [0, 1, 1]
    assert model.get_text_embedding_batch(["x", "xy"]) == [[0, 1, 1], [0, 1, 2]]
    assert await model.aget_text_embedding_batch(["x", "xy"]) == [[0, 1, 1], [0, 1, 2]]


def test_batches_have_the_size_asked_for() -> None:
    encoder = RoleEncoder()
    RaderEmbedding(model=encoder, embed_batch_size=4).get_text_embedding_batch(list("abcdefghij"))
    assert encoder.calls == [4, 4, 2]


@pytest.mark.parametrize("method", ["aget_query_embedding", "aget_text_embedding"])
async def test_the_loop_runs_on_while_a_text_is_encoded(method: str) -> None:
    encoder = RoleEncoder()
    task = asyncio.create_task(getattr(RaderEmbedding(model=encoder), method)("x"))
    # The encoder waits until this very loop lets it go on: a call that blocked the loop would never return.
    await asyncio.wait_for(encoder.entered.wait(), 10)
    assert not task.done()
    encoder.released.set()
    assert len(await asyncio.wait_for(task, 10)) == 3


def test_threads_share_one_model(embedding: RaderEmbedding) -> None:
    texts = [f"text {'long ' * number}{number}" for number in range(8)]
    expected = [embedding.get_query_embedding(text) for text in texts]
    vectors: list[list[float]] = [[]] * len(texts)

    def work(number: int) -> None:
        vectors[number] = embedding.get_query_embedding(texts[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Queries that wait are encoded together, which changes their last bits.
    for vector, alone in zip(vectors, expected, strict=True):
        assert vector == pytest.approx(alone, abs=1e-5)


def test_to_dict_tells_everything_that_decides_vectors_and_nothing_else() -> None:
    first = RaderEmbedding(model="mini", device="cpu", batch_tokens=512)
    fields = first.to_dict()
    assert fields["model_name"] == "mini"
    assert fields["fingerprint"] == get_recipe("mini").fingerprint
    assert fields["recipe"]["pooling"] == "mean"
    assert {"revision", "query_template", "document_template", "max_document_length"} <= set(fields["recipe"])
    assert fields["variant"] == "torch.float32"
    text = json.dumps(fields)
    assert "512" not in text
    assert "callback_manager" not in fields
    restored = RaderEmbedding.from_dict(fields)
    assert restored.to_dict() == fields
    assert restored.get_query_embedding(QUESTION) == first.get_query_embedding(QUESTION)


def test_the_ingestion_cache_tells_models_apart() -> None:
    nodes = [TextNode(text="x")]
    keys = [
        get_transformation_hash(nodes, RaderEmbedding(model=encoder, query_instruction=instruction))
        for encoder, instruction in (
            (RoleEncoder(), None),
            (RoleEncoder("renamed"), None),
            (RoleEncoder(), "find: "),
        )
    ]
    other = RoleEncoder()
    other.recipe = Recipe(name="roles", model="tests/roles", query_template="{instruction}{text}", max_query_length=9)
    keys.append(get_transformation_hash(nodes, RaderEmbedding(model=other)))
    assert len(set(keys)) == 4
    assert keys[0] == get_transformation_hash(nodes, RaderEmbedding(model=RoleEncoder()))


def test_from_dict_of_a_directory_and_of_a_recipe(embedding: RaderEmbedding) -> None:
    folder = embedding.encoder.location  # type: ignore[attr-defined]
    stated = get_recipe("mini")
    recipe = Recipe(name="mine", model=folder, pooling="mean", max_query_length=64, max_document_length=64)
    for model, options in ((folder, {}), (recipe, {}), (folder, {"recipe": recipe}), (stated, {})):
        original = RaderEmbedding(model=model, **options)
        restored = RaderEmbedding.from_dict(json.loads(json.dumps(original.to_dict())))
        assert restored.fingerprint == original.fingerprint
        assert restored.encoder.recipe.max_query_length == original.encoder.recipe.max_query_length


def test_from_dict_refuses_a_model_that_was_changed(embedding: RaderEmbedding) -> None:
    fields = embedding.to_dict() | {"fingerprint": "0" * 32}
    with pytest.raises(FingerprintMismatchError, match="0{32}"):
        RaderEmbedding.from_dict(fields)


def test_from_dict_takes_a_loaded_encoder() -> None:
    encoder = RoleEncoder()
    fields = RaderEmbedding(model=encoder, dtype=None).to_dict()
    assert RaderEmbedding.from_dict(fields, model=encoder).encoder is encoder


def test_options_are_checked(mini: Encoder) -> None:
    with pytest.raises(InputError, match="colour"):
        RaderEmbedding(model="mini", colour="red")
    with pytest.raises(InputError, match="device"):
        RaderEmbedding(model=mini, device="cpu")
    with pytest.raises(InputError, match="takes no instruction"):
        RaderEmbedding(model=mini, query_instruction="find: ")
    with pytest.raises(InputError, match="served_model"):
        RaderEmbedding(model="mini", served_model="x")


def test_llama_indexs_own_cache_is_refused(embedding: RaderEmbedding) -> None:
    with pytest.raises(InputError, match="cache='vectors.db'"):
        RaderEmbedding(model=embedding.encoder, embeddings_cache=SimpleKVStore())
    copy = embedding.model_copy()
    with pytest.raises(InputError, match="cache="):
        copy.embeddings_cache = SimpleKVStore()


def test_the_cache_that_is_named_instead_keeps_roles_apart(tmp_path: object) -> None:
    cache = f"{tmp_path}/vectors.db"
    folder = RaderEmbedding(model="mini").encoder.location  # type: ignore[attr-defined]
    recipe = Recipe(name="mine", model=folder, pooling="mean", query_template="query: {text}")
    model = RaderEmbedding(model=recipe, cache=cache)
    query, text = model.get_query_embedding("x"), model.get_text_embedding("x")
    assert query != text
    assert (model.get_query_embedding("x"), model.get_text_embedding("x")) == (query, text)
    assert model.encoder.hits == 2  # type: ignore[attr-defined]


def test_a_server_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    with EmbeddingServer(dimension=384) as server:
        model = RaderEmbedding(model=server.url, recipe="mini", served_model="served")
        assert len(model.get_query_embedding("x")) == 384
        assert "sk-very-secret" in str(server.headers)
        fields = model.to_dict()
        assert fields["served_model"] == "served"
        assert "sk-very-secret" not in json.dumps(fields) + repr(model) + json.dumps(model.to_payload())
        restored = RaderEmbedding.from_dict(fields)
        assert restored.get_query_embedding("x") == model.get_query_embedding("x")
        plain = RaderEmbedding(model=server.url, recipe="plain")
        assert RaderEmbedding.from_dict(plain.to_dict()).fingerprint == plain.fingerprint
    for url in ("http://me:pw@localhost:1/v1", "http://localhost:1/v1?api_key=1"):
        with pytest.raises(InputError, match="environment"):
            RaderEmbedding(model=url, recipe="mini")


def test_events_and_callbacks(embedding: RaderEmbedding) -> None:
    names: list[str] = []

    class Handler(BaseEventHandler):
        def handle(self, event: object, **_: object) -> None:
            names.append(type(event).__name__)

    debug = LlamaDebugHandler(print_trace_on_end=False)
    root = get_dispatcher()
    handler = Handler()
    root.add_event_handler(handler)
    try:
        model = RaderEmbedding(model=embedding.encoder, embed_batch_size=2, callback_manager=CallbackManager([debug]))
        model.get_text_embedding_batch(["a", "b", "c"])
    finally:
        root.event_handlers.remove(handler)
    assert names == ["EmbeddingStartEvent", "EmbeddingEndEvent"] * 2
    assert len(debug.get_event_pairs(CBEventType.EMBEDDING)) == 2


def test_a_deep_copy_shares_the_weights(embedding: RaderEmbedding) -> None:
    duplicate = copy.deepcopy(embedding)
    assert duplicate is not embedding
    assert duplicate.encoder is embedding.encoder
    assert duplicate.to_dict() == embedding.to_dict()


def test_a_pickled_model_loads_itself_anew(embedding: RaderEmbedding) -> None:
    unpickled = pickle.loads(pickle.dumps(embedding))  # noqa: S301 - what a pipeline with workers does
    assert unpickled.to_dict() == embedding.to_dict()
    assert unpickled.get_query_embedding("x") == embedding.get_query_embedding("x")


def test_ingestion_pipeline_and_its_cache() -> None:
    encoder = RoleEncoder()
    pipeline = IngestionPipeline(transformations=[RaderEmbedding(model=encoder)], cache=IngestionCache())
    nodes = [TextNode(id_=name, text=name * 3, metadata={"k": 1}) for name in "ab"]
    embedded = pipeline.run(nodes=nodes)
    assert [node.embedding for node in embedded] == [
        [0, 1, len(node.get_content(metadata_mode=MetadataMode.EMBED))] for node in nodes
    ]
    pipeline.run(nodes=nodes)
    assert encoder.calls == [2]


async def test_async_ingestion_pipeline(embedding: RaderEmbedding) -> None:
    pipeline = IngestionPipeline(transformations=[embedding], disable_cache=True)
    embedded = await pipeline.arun(nodes=[TextNode(text=text) for text in ("a", "b c")])
    np.testing.assert_allclose(
        [node.embedding for node in embedded], embedding.get_text_embedding_batch(["a", "b c"]), atol=1e-5
    )


def test_vector_store_index(embedding: RaderEmbedding, nodes: list[TextNode]) -> None:
    index = VectorStoreIndex(nodes, embed_model=embedding)
    results = index.as_retriever(similarity_top_k=len(nodes)).retrieve(QUESTION)
    texts = [node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes]
    cosines = embedding.encoder.encode_documents(texts) @ embedding.encoder.encode_queries([QUESTION])[0]
    assert [scored.node_id for scored in results] == [nodes[row].node_id for row in np.argsort(-cosines)]
    np.testing.assert_allclose([scored.score for scored in results], np.sort(cosines)[::-1], atol=1e-5)


def test_a_model_by_name_equals_the_loaded_one(embedding: RaderEmbedding) -> None:
    assert RaderEmbedding(model=load_encoder("mini")).to_dict() == RaderEmbedding(model="mini").to_dict()
