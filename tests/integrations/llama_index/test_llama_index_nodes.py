from __future__ import annotations

import copy
import json
import pickle

import pytest
from llama_index.core.schema import (
    BaseNode,
    ImageDocument,
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeRelationship,
    NodeWithScore,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.schema import Document as LlamaDocument
from llama_index.retrievers.rader.nodes import NODE_KEY, document_to_node, hit_to_node, node_to_document

from rader_plugins import Document, Hit
from rader_plugins.errors import IndexCorruptError, InputError

RELATIONS = {
    NodeRelationship.SOURCE: RelatedNodeInfo(node_id="doc", hash="h", metadata={"a": 1}),
    NodeRelationship.NEXT: RelatedNodeInfo(node_id="n2"),
    NodeRelationship.CHILD: [RelatedNodeInfo(node_id="c1"), RelatedNodeInfo(node_id="c2")],
}
NODES: list[BaseNode] = [
    TextNode(id_="plain", text="a text"),
    TextNode(id_="empty", text=""),
    TextNode(
        id_="full",
        text="text with {braces}\n ünï \U0001f600  ",
        metadata={"year": 1930, "list": [1, "x", None], "nested": {"a": {"b": 1.5}}, "none": None, "hidden": "h"},
        excluded_embed_metadata_keys=["hidden", "year"],
        excluded_llm_metadata_keys=["nested"],
        relationships=RELATIONS,
        start_char_idx=3,
        end_char_idx=99,
        metadata_template="<{key}={value}>",
        metadata_separator=";",
        text_template="{content}\n--\n{metadata_str}",
        mimetype="text/markdown",
    ),
    TextNode(id_="lost", text="the template drops it", metadata={"a": 1}, text_template="{metadata_str}"),
    IndexNode(id_="index", text="points", index_id="target", metadata={"a": 1}),
    ImageNode(id_="image", text="caption", image_path="x.png", image_url="http://localhost/x.png"),
    Node(id_="node", text_resource=MediaResource(text="node text"), metadata={"a": 1}),
    Node(id_="bare", metadata={"a": 1}),
    Node(id_="picture", image_resource=MediaResource(url="http://localhost/x.png"), text_resource=MediaResource()),
    LlamaDocument(id_="document", text="document text", metadata={"a": 1}, excluded_llm_metadata_keys=["a"]),
    ImageDocument(id_="image-document", text="caption"),
]


def _hit(node: BaseNode, score: float = 0.5) -> Hit:
    document = node_to_document(node)
    document = Document(document.id, document.text, json.loads(json.dumps(document.metadata)))
    return Hit(document, score, 1, {"dense": 0.25, "fused": score})


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.node_id)
def test_a_node_comes_back_as_it_was(node: BaseNode) -> None:
    before = node.model_dump()
    restored = document_to_node(_hit(node).document)
    assert type(restored) is type(node)
    assert restored == node
    assert restored.hash == node.hash
    assert node.model_dump() == before


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.node_id)
def test_scores_are_in_the_metadata_and_nowhere_else(node: BaseNode) -> None:
    scored = hit_to_node(_hit(node))
    assert isinstance(scored.node, type(node))
    assert scored.node.class_name() == node.class_name()
    assert scored.node.metadata == {
        **node.metadata,
        "node_id": node.node_id,
        "score": 0.5,
        "scores": {"dense": 0.25, "fused": 0.5},
    }
    for mode in (MetadataMode.EMBED, MetadataMode.LLM, MetadataMode.NONE):
        assert scored.node.get_content(metadata_mode=mode) == node.get_content(metadata_mode=mode)
    assert scored.node.hash == node.hash == hit_to_node(_hit(node, 0.75)).node.hash
    assert scored.node.relationships == node.relationships
    unpickled = pickle.loads(pickle.dumps(copy.deepcopy(scored)))  # noqa: S301 - what process pools do to results
    assert unpickled.node.hash == node.hash
    assert json.loads(scored.model_dump_json())["node"]["metadata"]["scores"] == {"dense": 0.25, "fused": 0.5}


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.node_id)
def test_a_retrieved_node_can_be_stored_again(node: BaseNode) -> None:
    assert node_to_document(hit_to_node(_hit(node)).node) == node_to_document(node)


def test_the_embedded_text_is_that_of_llama_index() -> None:
    node = TextNode(text="body", metadata={"a": 1, "b": 2}, excluded_embed_metadata_keys=["b"])
    assert node_to_document(node).text == node.get_content(metadata_mode=MetadataMode.EMBED) == "a: 1\n\nbody"


def test_the_text_is_stored_once() -> None:
    node = TextNode(text="a rather unusual text", metadata={"a": 1})
    assert "unusual" not in json.dumps(node_to_document(node).metadata)


def test_metadata_of_the_user_win() -> None:
    scored = hit_to_node(_hit(TextNode(text="x", metadata={"score": "forte"})))
    assert scored.node.metadata["score"] == "forte"
    assert scored.score == 0.5
    assert "score: forte" in scored.node.get_content(metadata_mode=MetadataMode.LLM)


def test_a_subclass_comes_back_as_the_class_it_extends() -> None:
    class Custom(TextNode):
        extra: int = 3

    assert type(document_to_node(node_to_document(Custom(text="x")))) is TextNode


def test_the_object_of_an_index_node_is_not_stored_nor_taken_away() -> None:
    target = object()
    node = IndexNode(text="x", index_id="i", obj=target)
    assert document_to_node(node_to_document(node)).obj is None  # type: ignore[attr-defined]
    assert node.obj is target


def test_a_document_of_other_origin_becomes_a_text_node() -> None:
    document = Document("a", "text", {"k": [1]})
    node = document_to_node(document)
    assert (type(node), node.node_id, node.get_content(), node.metadata) == (TextNode, "a", "text", {"k": [1]})
    scored = hit_to_node(Hit(document, 1.0, 1, {"dense": 1.0}))
    assert scored.node.metadata["scores"] == {"dense": 1.0}
    assert document.metadata == {"k": [1]}


@pytest.mark.parametrize("stored", ["not json", "[]", "{}", '{"class": "Alien", "fields": {}}', 7])
def test_a_damaged_node_is_named(stored: object) -> None:
    with pytest.raises(IndexCorruptError, match="'a'"):
        document_to_node(Document("a", "text", {NODE_KEY: stored}))


def test_unusable_nodes() -> None:
    with pytest.raises(InputError, match="reserved"):
        node_to_document(TextNode(text="x", metadata={NODE_KEY: 1}))
    with pytest.raises(InputError, match="scored.node"):
        node_to_document(NodeWithScore(node=TextNode(text="x")))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="str"):
        node_to_document("x")  # type: ignore[arg-type]
