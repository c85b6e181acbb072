"""LlamaIndex nodes as documents of an index, and back.

A document's text is what LlamaIndex embeds of a node (``MetadataMode.EMBED``). Its metadata are the node's own, flat,
so that filters see them, and three reserved keys: the rest of the node as JSON, its id and that of its source document.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llama_index.core.bridge.pydantic import Field
from llama_index.core.schema import (
    BaseNode,
    ImageDocument,
    ImageNode,
    IndexNode,
    MetadataMode,
    Node,
    NodeWithScore,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.schema import Document as LlamaDocument

from rader_plugins import Document, Hit
from rader_plugins.documents import json_form
from rader_plugins.errors import IndexCorruptError, InputError

__all__ = ["ID_KEY", "NODE_KEY", "REF_KEY", "document_to_node", "hit_to_node", "node_to_document", "user_metadata"]

NODE_KEY = "_llama_index_node"
ID_KEY = "_llama_index_id"
REF_KEY = "_llama_index_ref_doc_id"
_RESERVED = (NODE_KEY, ID_KEY, REF_KEY)


class _Retrieved(BaseNode):
    """A node whose metadata tell how it was found.

    Its hash is that of the node as it was stored. LlamaIndex hashes metadata too, and its fusion retriever counts
    nodes as the same by their hash: with the scores in it, one node found by two queries would be two.
    """

    # A public field, because LlamaIndex's components keep no private attributes when they are pickled.
    score_keys: tuple[str, ...] = Field(
        default=(), exclude=True, repr=False, description="Metadata keys of the search."
    )

    @property
    def hash(self) -> str:
        """Hash of the stored node."""
        return _without_scores(self).hash


class RetrievedTextNode(_Retrieved, TextNode):
    """A :class:`TextNode` with scores."""


class RetrievedImageNode(_Retrieved, ImageNode):
    """An :class:`ImageNode` with scores."""


class RetrievedIndexNode(_Retrieved, IndexNode):
    """An :class:`IndexNode` with scores."""


class RetrievedNode(_Retrieved, Node):
    """A :class:`Node` with scores."""


class RetrievedDocument(_Retrieved, LlamaDocument):
    """A LlamaIndex :class:`Document` with scores."""


class RetrievedImageDocument(_Retrieved, ImageDocument):
    """An :class:`ImageDocument` with scores."""


# Subclasses before their bases: the first that fits is the closest.
_CLASSES: tuple[tuple[type[BaseNode], type[_Retrieved]], ...] = (
    (ImageDocument, RetrievedImageDocument),
    (LlamaDocument, RetrievedDocument),
    (IndexNode, RetrievedIndexNode),
    (ImageNode, RetrievedImageNode),
    (TextNode, RetrievedTextNode),
    (Node, RetrievedNode),
)


def node_to_document(node: BaseNode) -> Document:
    """Return the document that stores a node.

    The object of an :class:`IndexNode` and raw bytes of media are not stored. A subclass of a node class of
    LlamaIndex comes back as that class.

    Raises:
        InputError: It is no node of a known class, or its metadata use a reserved key.
    """
    if isinstance(node, NodeWithScore):
        raise InputError("add_nodes() takes nodes, not NodeWithScore: [scored.node for scored in results].")
    stock = next((stock for stock, _ in _CLASSES if isinstance(node, stock)), None)
    if stock is None:
        raise InputError(f"Nodes must be LlamaIndex nodes, not {type(node).__name__}.")
    if isinstance(node, _Retrieved):
        node = _without_scores(node)
    if used := [key for key in _RESERVED if key in node.metadata]:
        raise InputError(f"Node {node.node_id!r} uses the metadata keys {used}, which are reserved. Rename them.")
    if isinstance(node, IndexNode) and node.obj is not None:
        node = node.model_copy(update={"obj": None})
    text = node.get_content(metadata_mode=MetadataMode.EMBED)
    fields = _without_own_types(node).model_dump(mode="json")
    for name in ("metadata", "embedding", "class_name"):
        fields.pop(name, None)
    record: dict[str, Any] = {"class": stock.class_name(), "fields": fields}
    own = _take_text(fields)
    if own is not None:
        # The embedded text nearly always holds the node's own: where it stands is enough to know.
        start = text.rfind(own)
        record |= {"span": [start, start + len(own)]} if start >= 0 else {"text": own}
    reserved: dict[str, Any] = {NODE_KEY: json.dumps(record, ensure_ascii=False), ID_KEY: node.node_id}
    if node.ref_doc_id is not None:
        reserved[REF_KEY] = node.ref_doc_id
    return Document(id=node.node_id, text=text, metadata={**node.metadata, **reserved})


def document_to_node(document: Document) -> BaseNode:
    """Return the node that a document stores; a document that was no node becomes a :class:`TextNode`.

    Raises:
        IndexCorruptError: What is stored is not a node.
    """
    return _restore(document, 0)


def hit_to_node(hit: Hit) -> NodeWithScore:
    """Return a hit as a scored node.

    Its metadata gain ``node_id``, ``score`` and ``scores`` (one per stage), hidden from language and embedding
    models. A key that the node's own metadata hold already stays as it is.
    """
    node = _restore(hit.document, 1)
    hit_metadata = {"node_id": hit.document.id, "score": hit.score, "scores": dict(hit.scores)}
    added = {name: value for name, value in hit_metadata.items() if name not in node.metadata}
    node.metadata = {**node.metadata, **added}
    node.excluded_embed_metadata_keys = [*node.excluded_embed_metadata_keys, *added]
    node.excluded_llm_metadata_keys = [*node.excluded_llm_metadata_keys, *added]
    if isinstance(node, _Retrieved):
        node.score_keys = tuple(added)
    return NodeWithScore(node=node, score=float(hit.score))


def user_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata without the reserved keys."""
    return {key: value for key, value in metadata.items() if key not in _RESERVED}


def _restore(document: Document, variant: int) -> BaseNode:
    metadata = user_metadata(document.metadata)
    node_json = document.metadata.get(NODE_KEY)
    if node_json is None:
        text_node = (TextNode, RetrievedTextNode)[variant]
        return text_node.from_dict({"id_": document.id, "text": document.text, "metadata": metadata})
    try:
        record = json.loads(node_json)
        kind = next(pair[variant] for pair in _CLASSES if pair[0].class_name() == record["class"])
        fields = record["fields"]
        if "span" in record or "text" in record:
            span = slice(*record["span"]) if "span" in record else None
            _put_text(fields, record["text"] if span is None else document.text[span])
        return kind.from_dict({**fields, "metadata": metadata})
    except (ValueError, TypeError, KeyError, AttributeError, StopIteration) as error:
        raise IndexCorruptError(
            f"Document {document.id!r} does not hold a LlamaIndex node that can be read ({error}). Add it again."
        ) from error


def _without_own_types(node: BaseNode) -> BaseNode:
    """Return a node without metadata, whose related nodes have theirs in the form in which they are stored.

    Pydantic knows none for numpy's numbers, which splitters copy into the relations of what they make.
    """
    relations = {
        kind: [_related(relation) for relation in related] if isinstance(related, list) else _related(related)
        for kind, related in node.relationships.items()
    }
    return node.model_copy(update={"metadata": {}, "embedding": None, "relationships": relations})


def _related(info: RelatedNodeInfo) -> RelatedNodeInfo:
    if not info.metadata:
        return info
    try:
        return info.model_copy(update={"metadata": json_form(info.metadata)})
    except ValueError:
        return info  # as LlamaIndex has it; the metadata of the node itself are refused by name


def _take_text(fields: dict[str, Any]) -> str | None:
    """Take a node's own text out of its fields."""
    text = fields.pop("text", None)  # a Document repeats it here
    resource = fields.get("text_resource")
    own = resource.pop("text", None) if isinstance(resource, dict) else text if "text_resource" not in fields else None
    return own if isinstance(own, str) else None


def _put_text(fields: dict[str, Any], text: str) -> None:
    if isinstance(fields.get("text_resource"), dict):
        fields["text_resource"]["text"] = text
    else:
        fields["text"] = text


def _without_scores(node: _Retrieved) -> BaseNode:
    stock = next(stock for stock, _ in _CLASSES if isinstance(node, stock))
    fields = {name: value for name, value in node.__dict__.items() if name != "score_keys"}
    fields["metadata"] = {key: value for key, value in node.metadata.items() if key not in node.score_keys}
    for name in ("excluded_embed_metadata_keys", "excluded_llm_metadata_keys"):
        fields[name] = [key for key in fields[name] if key not in node.score_keys]
    return stock.model_construct(**fields)
