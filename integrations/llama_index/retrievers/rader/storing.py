"""Which nodes go into an index, and what they replace there."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from llama_index.core.indices.base import BaseIndex
from llama_index.core.ingestion import run_transformations
from llama_index.core.schema import BaseNode, IndexNode, TransformComponent
from llama_index.core.schema import Document as LlamaDocument
from llama_index.core.settings import Settings
from llama_index.core.storage.docstore import BaseDocumentStore
from llama_index.embeddings.rader.encoder import Model, encoder_for
from llama_index.retrievers.rader.filters import ids_where
from llama_index.retrievers.rader.nodes import REF_KEY, node_to_document, user_metadata

from rader_plugins import Document
from rader_plugins.documents import json_form
from rader_plugins.errors import InputError
from rader_plugins.files import canonical_json
from rader_plugins.index import Index, find_index, is_index

__all__ = ["add_nodes", "gather_nodes", "objects_of", "replace_documents", "split", "stored_index"]


def gather_nodes(
    nodes: Sequence[BaseNode] | None, index: Index | BaseIndex[Any] | None, docstore: BaseDocumentStore | None
) -> list[BaseNode]:
    """Return the nodes of all sources."""
    all_nodes = list(nodes or ())
    if isinstance(index, BaseIndex):
        if not index.docstore.docs:
            raise InputError(
                "This LlamaIndex index keeps its nodes in its vector store, not in its docstore. Pass the nodes "
                "themselves, or build it with store_nodes_override=True."
            )
        all_nodes += index.docstore.docs.values()
    elif index is not None and not is_index(index):
        raise InputError(
            f"index must be a LlamaIndex index, a RaderIndex or another Index, not {type(index).__name__}."
        )
    if docstore is not None:
        all_nodes += docstore.docs.values()
    return all_nodes


def stored_index(path: str | os.PathLike[str] | None, model: Model | None) -> Index | None:
    """Return the index in a folder or behind a URL; None where there is none yet, or no path."""
    return None if path is None else find_index(path, None if model is None else encoder_for(model))


def split(
    documents: Sequence[LlamaDocument], transformations: Sequence[TransformComponent] | None, show_progress: bool
) -> list[BaseNode]:
    """Turn documents into nodes."""
    if not documents:
        return []
    steps = Settings.transformations if transformations is None else transformations
    return list(run_transformations(list(documents), list(steps), show_progress=show_progress))


def objects_of(nodes: Sequence[BaseNode]) -> dict[str, Any]:
    """Return the objects that index nodes stand for, by ``index_id``."""
    return {node.index_id: node.obj for node in nodes if isinstance(node, IndexNode) and node.obj is not None}


def add_nodes(index: Index, nodes: Sequence[BaseNode]) -> int:
    """Add those nodes that are new or differ from what is stored; return how many."""
    if isinstance(nodes, BaseNode):
        raise InputError("add_nodes() takes a list of nodes: add_nodes([node]).")
    return index.add([node_to_document(node) for node in nodes])


def replace_documents(index: Index, sources: Sequence[LlamaDocument], nodes: Sequence[BaseNode]) -> None:
    """Add the nodes of source documents and delete those that these had before.

    A splitter gives its nodes new ids at each run. So nodes are compared by what they hold: a source document whose
    nodes are all stored already is left alone.
    """
    names = {source.node_id for source in sources}
    before: dict[str, list[Document]] = defaultdict(list)
    for document in index.get(ids_where(index, {REF_KEY: {"$in": sorted(names)}})):
        before[document.metadata[REF_KEY]].append(document)
    now: dict[str | None, list[Document]] = defaultdict(list)
    for node in nodes:
        document = node_to_document(node)
        now[document.metadata.get(REF_KEY)].append(document)
    same = {name for name in names if name in before and _contents(before[name]) == _contents(now[name])}
    fresh = [document for name, group in now.items() if name not in same for document in group]
    index.add(fresh)
    # Deleted last: a process killed in between leaves a document twice, and the next run mends it.
    fresh_ids = {document.id for document in fresh}
    index.delete([old.id for name in names - same for old in before[name] if old.id not in fresh_ids])


def _contents(documents: Sequence[Document]) -> list[tuple[str, str]]:
    return sorted(
        (document.text, canonical_json(json_form(user_metadata(document.metadata)))) for document in documents
    )
