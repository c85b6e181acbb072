from __future__ import annotations

import importlib.util

import pytest

from rader_plugins import Document

if importlib.util.find_spec("llama_index") is None or importlib.util.find_spec("llama_index.core") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def nodes(principles: list[Document]) -> list:
    """Twelve nodes of two source documents; metadata as a node parser leaves them."""
    from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode

    return [
        TextNode(
            id_=document.id,
            text=document.text,
            metadata={**document.metadata, "number": number, "file": f"{number % 2}.md"},
            excluded_embed_metadata_keys=["file"],
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"source-{number % 2}")},
            start_char_idx=number * 100,
            end_char_idx=number * 100 + len(document.text),
        )
        for number, document in enumerate(principles[:12])
    ]
