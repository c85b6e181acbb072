"""`RaderVectorStore`: an index of rader-plugins as LlamaIndex's vector store."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.indices.query.embedding_utils import get_top_k_mmr_embeddings
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    DEFAULT_PERSIST_FNAME,
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from llama_index.embeddings.rader.encoder import Model, encoder_for
from llama_index.postprocessor.rader.tool_text import asked_text
from llama_index.retrievers.rader.filters import core_filter
from llama_index.retrievers.rader.nodes import REF_KEY, document_to_node, node_to_document
from typing_extensions import Self

from rader_plugins import Hit, RaderIndex
from rader_plugins import RaderRetriever as CoreRetriever
from rader_plugins.background import in_thread
from rader_plugins.encoding import Vectors
from rader_plugins.errors import InputError
from rader_plugins.index import Index, check_index, create_index, encoder_of, find_index, open_index
from rader_plugins.retrieval import Mode

__all__ = ["RaderVectorStore"]

_MODES: Mapping[VectorStoreQueryMode, Mode] = {
    VectorStoreQueryMode.DEFAULT: "dense",
    VectorStoreQueryMode.MMR: "dense",
    VectorStoreQueryMode.HYBRID: "hybrid",
    VectorStoreQueryMode.SEMANTIC_HYBRID: "hybrid",
    VectorStoreQueryMode.SPARSE: "bm25",
    VectorStoreQueryMode.TEXT_SEARCH: "bm25",
}
_PREFETCH = 4.0


class RaderVectorStore(BasePydanticVectorStore):
    """Nodes, vectors and words in an index of rader-plugins: in memory, on disk or in an engine.

    Works below ``VectorStoreIndex`` and ``IngestionPipeline``: a changed document replaces its nodes with
    ``docstore_strategy=UPSERTS`` and ``refresh_ref_docs``. Query modes: ``default`` (cosine), ``hybrid`` (with BM25,
    see ``alpha``), ``text_search`` and ``sparse`` (BM25 alone), ``mmr``. Filters are applied before ranking. Scores of
    ``hybrid`` compare the candidates of one query; those of ``default`` are cosines.

    Args:
        path: Folder of the index or its URL in an engine, opened or made; None keeps it in memory.
        embed_model: What makes the vectors. ``VectorStoreIndex`` must use the same one, which is why it is best made
            once: ``embed_model = RaderEmbedding(model="mini")``.
        index: A ready index (any :class:`rader_plugins.index.Index`), or the folder or engine's URL of one, in place of
            ``path`` and ``embed_model``. What it cannot do (a mode, a filter) is refused.
        alpha: Weight of the cosine in ``hybrid``, 0 to 1; a query's own ``alpha`` wins.

    Raises:
        InputError: The arguments contradict one another.
        FingerprintMismatchError: The index at ``path`` holds vectors of another model.

    Example:
        >>> from llama_index.core import StorageContext, VectorStoreIndex
        >>> from llama_index.core.schema import TextNode
        >>> from llama_index.embeddings.rader import RaderEmbedding
        >>> from llama_index.vector_stores.rader import RaderVectorStore
        >>> embed_model = RaderEmbedding(model="mini")
        >>> store = RaderVectorStore(embed_model=embed_model)
        >>> context = StorageContext.from_defaults(vector_store=store)
        >>> nodes = [TextNode(id_="ramsey", text="Among six people three know each other or three do not.")]
        >>> index = VectorStoreIndex(nodes, storage_context=context, embed_model=embed_model)
        >>> [each.node.node_id for each in index.as_retriever().retrieve("How many guests?")]
        ['ramsey']
    """

    stores_text: bool = True
    is_embedding_query: bool = True
    path: str | None = Field(default=None, description="Folder of the index.")
    alpha: float = Field(default=0.8, ge=0, le=1, description="Weight of the cosine in hybrid mode.")

    _index: Index = PrivateAttr()
    _arguments: dict[str, Any] = PrivateAttr()

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        embed_model: Model | None = None,
        *,
        index: Index | str | os.PathLike[str] | None = None,
        alpha: float = 0.8,
    ) -> None:
        if index is not None and (path is not None or embed_model is not None):
            raise InputError("A ready index has its own folder and model: leave path and embed_model out.")
        if index is None:
            ready = _open(path, embed_model)
        else:
            ready = open_index(index) if isinstance(index, str | os.PathLike) else check_index(index)
        folder = ready.path if isinstance(ready, RaderIndex) else None
        super().__init__(path=None if folder is None else str(folder), alpha=alpha)  # type: ignore[call-arg]
        self._index = ready
        self._arguments = {"path": self.path, "embed_model": embed_model} if self.path is not None else {"index": ready}

    @classmethod
    def class_name(cls) -> str:
        """Return the name that serialised objects carry."""
        return "RaderVectorStore"

    @property
    def client(self) -> Index:
        """The index that holds the nodes."""
        return self._index

    # Adding and deleting

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Add nodes, or replace those of the same id, with the embeddings that they carry; return their ids.

        Nodes without an embedding are embedded by the store's own model.

        Raises:
            InputError: A node cannot be stored.
        """
        _refuse(kwargs, "add()")
        embedded = [node for node in nodes if node.embedding is not None]
        plain = [node for node in nodes if node.embedding is None]
        if embedded:
            vectors = np.asarray([node.get_embedding() for node in embedded], dtype=np.float32)
            self._index.add([node_to_document(node) for node in embedded], vectors=vectors)
        if plain:
            self._index.add([node_to_document(node) for node in plain])
        return [node.node_id for node in nodes]

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete the nodes of a source document."""
        _refuse(delete_kwargs, "delete()")
        self._index.delete(filter={REF_KEY: {"$eq": ref_doc_id}})

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Delete nodes by id, by filters, or those of the ids that pass the filters.

        Raises:
            InputError: Neither is given: :meth:`clear` deletes all.
        """
        _refuse(delete_kwargs, "delete_nodes()")
        if node_ids is None and filters is None:
            raise InputError("delete_nodes() needs node_ids or filters; clear() deletes all.")
        if filters is None:
            self._index.delete(node_ids)
        else:
            self._index.delete(node_ids, filter=core_filter(self._index, filters, None, None))

    def clear(self) -> None:
        """Delete all nodes."""
        self._index.delete(list(self._index.ids()))

    # Reading

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Return nodes by id (in that order), by filters (in the order of insertion), or all."""
        ids = list(self._index.ids(None if filters is None else core_filter(self._index, filters, None, None)))
        if node_ids is not None:
            passing = set(ids)
            ids = [id for id in node_ids if id in passing]
        return [document_to_node(document) for document in self._index.get(ids)]

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Return the best nodes, as they were stored, with their scores.

        Args:
            query: The query as LlamaIndex has it.
            **kwargs: Further options of mode ``mmr``: ``mmr_threshold`` and ``mmr_prefetch_factor`` or
                ``mmr_prefetch_k``.

        Raises:
            InputError: The mode is not known, or the query lacks what it needs.
        """
        if query.mode not in _MODES:
            raise InputError(f"RaderVectorStore has the query modes {', '.join(_MODES)}, not {query.mode.value!r}.")
        if query.mode != VectorStoreQueryMode.MMR:
            _refuse(kwargs, f"query() in mode {query.mode.value!r}")
            return _result(self._search(query, self._count(query)))
        return self._diverse(query, **kwargs)

    def _search(self, query: VectorStoreQuery, k: int) -> list[Hit]:
        mode = _MODES[query.mode]
        if mode != "dense" and not query.query_str:
            raise InputError(f"A query in mode {query.mode.value!r} needs its text (query_str).")
        if k < 1 or not len(self._index):
            return []
        retriever = CoreRetriever(self._index, mode, self.alpha if query.alpha is None else query.alpha)
        [hits] = retriever.search_batch(
            [asked_text(query.query_str or "")],
            k,
            query_vectors=self._vector(query) if mode != "bm25" else None,
            # LlamaIndex's own retriever passes empty lists where nothing is to be left out.
            filter=core_filter(self._index, query.filters, query.node_ids or None, query.doc_ids or None),
        )
        return hits

    def _vector(self, query: VectorStoreQuery) -> Vectors | None:
        """Return the query's own embedding, shape (1, dimension); None leaves it to the store's model."""
        if query.query_embedding is not None:
            vector = np.asarray([query.query_embedding], dtype=np.float32)
            length = float(np.linalg.norm(vector))
            if vector.shape[1] != self._index.dimension or not np.isfinite(length) or length == 0:
                raise InputError(
                    f"The query's embedding must have {self._index.dimension} numbers and a direction: use the same "
                    "embed_model for the index and the store."
                )
            return np.asarray(vector / length, dtype=np.float32)
        if not query.query_str:
            raise InputError("A query needs an embedding (query_embedding) or its text (query_str).")
        return None

    def _diverse(
        self,
        query: VectorStoreQuery,
        *,
        mmr_threshold: float | None = None,
        mmr_prefetch_factor: float = _PREFETCH,
        mmr_prefetch_k: int | None = None,
    ) -> VectorStoreQueryResult:
        """Choose among more candidates than asked for by maximal marginal relevance, as LlamaIndex does it."""
        k = query.similarity_top_k
        threshold = query.mmr_threshold if mmr_threshold is None else mmr_threshold
        hits = self._search(query, max(k, mmr_prefetch_k or round(k * mmr_prefetch_factor)))
        vectors = self._index.vectors([hit.document.id for hit in hits])
        candidates = {hit.document.id: hit for hit in hits if hit.document.id in vectors}
        if not candidates:
            return _result([])
        embedding = query.query_embedding or _embed(self._index, asked_text(query.query_str or ""))
        _, ids = get_top_k_mmr_embeddings(
            embedding,
            [vectors[id].tolist() for id in candidates],
            similarity_top_k=k,
            embedding_ids=list(candidates),
            mmr_threshold=threshold,
        )
        return _result([candidates[id] for id in ids])

    @staticmethod
    def _count(query: VectorStoreQuery) -> int:
        """Return how many nodes a query asks for: each mode may have a number of its own."""
        own = {"bm25": query.sparse_top_k, "hybrid": query.hybrid_top_k}.get(_MODES[query.mode])
        return query.similarity_top_k if own is None else own

    # Without blocking the event loop

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """As :meth:`add`, without blocking the event loop."""
        return await in_thread(self.add, nodes, **kwargs)

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """As :meth:`delete`, without blocking the event loop."""
        await in_thread(self.delete, ref_doc_id, **delete_kwargs)

    async def adelete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """As :meth:`delete_nodes`, without blocking the event loop."""
        await in_thread(self.delete_nodes, node_ids, filters, **delete_kwargs)

    async def aclear(self) -> None:
        """As :meth:`clear`, without blocking the event loop."""
        await in_thread(self.clear)

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """As :meth:`get_nodes`, without blocking the event loop."""
        return await in_thread(self.get_nodes, node_ids, filters)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """As :meth:`query`, without blocking the event loop."""
        return await in_thread(self.query, query, **kwargs)

    # Keeping

    def persist(self, persist_path: str, fs: Any = None) -> None:
        """Copy the index to a folder, and bring up to date what lies there.

        An index on disk is kept where it is: ``StorageContext.persist()`` copies none, and what it wrote is loaded with
        ``StorageContext.from_defaults(persist_dir=..., vector_store=RaderVectorStore(path))``. What an engine holds it
        keeps itself.

        Raises:
            InputError: ``fs`` is not the local file system.
        """
        if fs is not None and type(fs).__name__ != "LocalFileSystem":
            raise InputError("An index lies in a local folder: persist without fs.")
        of_storage_context = Path(persist_path).name.endswith(DEFAULT_PERSIST_FNAME)
        if isinstance(self._index, RaderIndex) and (self._index.path is None or not of_storage_context):
            self._index.copy_to(Path(persist_path))

    @classmethod
    def from_persist_path(cls, persist_path: str | os.PathLike[str], embed_model: Model | None = None) -> Self:
        """Open what :meth:`persist` wrote."""
        if not RaderIndex.exists(persist_path):
            raise InputError(f"There is no index at {os.fspath(persist_path)!r}.")
        return cls(persist_path, embed_model)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self.model_copy()  # the index is shared: it is made for many users

    def __reduce__(self) -> tuple[Any, ...]:
        if self.path is None and isinstance(self._index, RaderIndex):
            raise InputError("A store in memory cannot be pickled: give it a path.")
        return _make, (type(self), {**self._arguments, "alpha": self.alpha})


def _open(path: str | os.PathLike[str] | None, embed_model: Model | None) -> Index:
    stored = None if path is None else find_index(path, None if embed_model is None else encoder_for(embed_model))
    return create_index(path, encoder_for("mini" if embed_model is None else embed_model)) if stored is None else stored


def _embed(index: Index, text: str) -> list[float]:
    vector: list[float] = encoder_of(index).encode_queries([text])[0].tolist()
    return vector


def _result(hits: Sequence[Hit]) -> VectorStoreQueryResult:
    return VectorStoreQueryResult(
        nodes=[document_to_node(hit.document) for hit in hits],
        similarities=[float(hit.score) for hit in hits],
        ids=[hit.document.id for hit in hits],
    )


def _refuse(options: Mapping[str, Any], where: str) -> None:
    if options:
        raise InputError(f"{where} takes no {', '.join(sorted(options))}.")


def _make(cls: type[RaderVectorStore], arguments: dict[str, Any]) -> RaderVectorStore:
    return cls(**arguments)
