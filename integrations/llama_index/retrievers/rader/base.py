"""`RaderRetriever` for LlamaIndex: dense, BM25 or hybrid search over an index of rader-plugins."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.indices.base import BaseIndex
from llama_index.core.schema import BaseNode, IndexNode, NodeWithScore, QueryBundle, TransformComponent
from llama_index.core.schema import Document as LlamaDocument
from llama_index.core.storage.docstore import BaseDocumentStore
from llama_index.embeddings.rader.encoder import Model, encoder_for
from llama_index.postprocessor.rader import RaderRerank
from llama_index.retrievers.rader import storing
from llama_index.retrievers.rader.filters import NodeFilter, core_filter, ids_where
from llama_index.retrievers.rader.nodes import REF_KEY, hit_to_node
from llama_index.retrievers.rader.persistence import (
    pack_filters,
    pack_reasoning,
    pack_reranker,
    read_config,
    unpack_filters,
    unpack_stage,
    write_config,
)
from llama_index.retrievers.rader.request import Request, mean_direction, read_request

from rader_plugins import Hit, RaderIndex, Recipe
from rader_plugins import RaderRetriever as CoreRetriever
from rader_plugins.background import in_thread
from rader_plugins.errors import InputError
from rader_plugins.index import Filter, Index, check_index, create_index, encoder_of, is_index, open_index
from rader_plugins.reranking import Reranker
from rader_plugins.reranking.load import as_reranker
from rader_plugins.retrieval import Mode
from rader_plugins.retrieval.expansion import QueryExpansion

__all__ = ["RaderRetriever"]

# What LangChain and rader-plugins call the same.
_ELSEWHERE = {"k": "similarity_top_k", "top_k": "similarity_top_k", "filter": "filters", "search_type": "mode"}


class RaderRetriever(BaseRetriever):
    """Retrieves nodes from an index of rader-plugins.

    Nodes come back as they were added. Their metadata tell ``node_id``, ``score`` and ``scores`` (one per stage:
    ``dense``, ``bm25``, ``fused``, ``rerank``, ``grade``), hidden from language and embedding models. A document that
    was added by other means comes back as a :class:`~llama_index.core.schema.TextNode`.

    A query's own embedding is used if the bundle has one, the mean of those of ``custom_embedding_strs`` if it has
    these; BM25 reads ``query_str`` always. Searches may run in several threads and on an event loop at once.

    Args:
        index: A :class:`rader_plugins.RaderIndex` or another :class:`rader_plugins.index.Index`, or the folder of one,
            or its URL in an engine.
        similarity_top_k: How many nodes; 0 gives none, more than the index holds gives all.
        mode: ``hybrid``, ``dense`` or ``bm25``.
        alpha: Weight of the dense score in hybrid mode, 0 to 1.
        filters: Conditions on metadata, applied before ranking: LlamaIndex's ``MetadataFilters`` (nested ones too), a
            dict filter of rader-plugins, or a function from :class:`rader_plugins.Document` to bool.
        node_ids: Ids of the only nodes that may be returned.
        doc_ids: Only nodes of these source documents (``ref_doc_id``).
        exclude_ids: Ids of nodes that must not be returned.
        instruction: Task instruction for queries; None takes the recipe's own.
        candidates: How many nodes each side of a hybrid search contributes.
        use_query_embedding: False ignores the embedding of a query bundle. LlamaIndex's vector retrievers leave
            theirs in the bundle, so that one of another model arrives here when retrievers are run over one query.
        reranker: Orders the best ``rerank_top`` nodes anew, by the question as it was asked: a name, directory or hub
            id (:func:`rader_plugins.reranking.load_reranker`), a recipe, any
            :class:`~rader_plugins.reranking.Reranker` (``LLMReranker(LlamaIndexChat(llm))`` lets an LLM grade), or a
            ``RaderRerank``.
        rerank_top: How many nodes the reranker sees; at least ``similarity_top_k`` of them.
        reasoning: Writes the text to search for from the question, such as ``ReasoningQuery(LlamaIndexChat(llm))``. An
            embedding that the bundle brings along is searched by as it is; BM25 reads the reasoning then.
        callback_manager, object_map, objects, verbose: Arguments of LlamaIndex's ``BaseRetriever``, as there.

    Attributes:
        index: The index that is searched.
        similarity_top_k, filters, node_ids, doc_ids, exclude_ids: The arguments above; a change counts from the next
            search on.

    Raises:
        InputError: An argument is outside its range, or there is no index.

    Example:
        >>> from llama_index.core.schema import TextNode
        >>> from llama_index.retrievers.rader import RaderRetriever
        >>> nodes = [TextNode(id_="ramsey", text="Among six people three know each other or three do not.")]
        >>> retriever = RaderRetriever.from_defaults(nodes=nodes, model="mini", similarity_top_k=3)
        >>> [scored.node.node_id for scored in retriever.retrieve("How many guests must I invite?")]
        ['ramsey']
    """

    def __init__(
        self,
        index: Index | str | os.PathLike[str],
        similarity_top_k: int = 4,
        *,
        mode: Mode = "hybrid",
        alpha: float = 0.8,
        filters: NodeFilter | None = None,
        node_ids: Sequence[str] | None = None,
        doc_ids: Sequence[str] | None = None,
        exclude_ids: Sequence[str] = (),
        instruction: str | None = None,
        candidates: int = 1000,
        use_query_embedding: bool = True,
        reranker: str | os.PathLike[str] | Recipe | Reranker | RaderRerank | None = None,
        rerank_top: int = 100,
        reasoning: QueryExpansion | None = None,
        callback_manager: CallbackManager | None = None,
        object_map: dict[str, Any] | None = None,
        objects: list[IndexNode] | None = None,
        verbose: bool = False,
        **others: Any,
    ) -> None:
        _refuse_others(others)
        super().__init__(callback_manager, object_map, objects, verbose)
        self.index: Index = open_index(index) if isinstance(index, str | os.PathLike) else check_index(index)
        self._core = CoreRetriever(
            self.index,
            mode,
            alpha,
            instruction,
            candidates=candidates,
            reranker=as_reranker(reranker),
            rerank_top=rerank_top,
            reasoning=reasoning,
        )
        self._reranker = pack_reranker(reranker)
        if self.index.recipe is not None:
            self.index.recipe.query_prefix(instruction)  # an instruction that the recipe has no place for
        self.similarity_top_k = similarity_top_k
        self.filters = filters
        self.node_ids = node_ids
        self.doc_ids = doc_ids
        self.exclude_ids = exclude_ids
        self.use_query_embedding = use_query_embedding
        self._request(QueryBundle(""))  # what is wrong with the arguments is better known now than at a search
        core_filter(self.index, filters, node_ids, doc_ids)

    @property
    def mode(self) -> Mode:
        """How it searches: ``hybrid``, ``dense`` or ``bm25``."""
        return self._core.mode

    @property
    def alpha(self) -> float:
        """Weight of the dense score in hybrid mode."""
        return self._core.alpha

    @property
    def instruction(self) -> str | None:
        """Instruction for queries; None stands for the recipe's own."""
        return self._core.instruction

    @property
    def core(self) -> CoreRetriever:
        """The retriever of ``rader_plugins`` behind this one, with its reranker and reasoning."""
        return self._core

    # Making and keeping

    @classmethod
    def from_defaults(
        cls,
        nodes: Sequence[BaseNode] | None = None,
        documents: Sequence[LlamaDocument] | None = None,
        index: Index | BaseIndex[Any] | None = None,
        docstore: BaseDocumentStore | None = None,
        model: Model | None = None,
        path: str | os.PathLike[str] | None = None,
        similarity_top_k: int = 4,
        transformations: Sequence[TransformComponent] | None = None,
        show_progress: bool = False,
        **options: Any,
    ) -> RaderRetriever:
        """Index nodes and return the retriever over them.

        Running it again with the same nodes encodes nothing: unchanged nodes stay, changed ones (same ``node_id``)
        are replaced. ``documents`` are split first; the nodes of a document (same ``doc_id``) replace those that it
        had before. Nothing else is deleted.

        Args:
            nodes: Indexed as they are.
            documents: Split by ``transformations`` into nodes.
            index: A LlamaIndex index, whose docstore's nodes are indexed, or a :class:`rader_plugins.RaderIndex` to
                add to.
            docstore: A document store whose nodes are indexed.
            model: What makes the vectors: what :func:`rader_plugins.load_encoder` takes, an encoder, or an embedding
                model of LlamaIndex. None takes what an existing index was built with, and ``"mini"`` for a new one.
            path: Folder of the index or its URL in an engine, made if there is none; None keeps it in memory.
            similarity_top_k: How many nodes a search gives.
            transformations: Transformations of ``documents``; default: ``Settings.transformations`` (a sentence
                splitter).
            show_progress: Show a bar while transformations run.
            **options: Further arguments of :class:`RaderRetriever`.

        Raises:
            InputError: There is nothing to index and no index at ``path``.
            FingerprintMismatchError: The index at ``path`` holds vectors of another model.
        """
        gathered_nodes = storing.gather_nodes(nodes, index, docstore)
        stored = storing.stored_index(path, model)
        if not gathered_nodes and not documents and stored is None and not is_index(index):
            raise InputError(
                "There are no nodes to index. Pass nodes, documents, a docstore or a LlamaIndex index that keeps its "
                "nodes in its docstore; or the path of an existing index."
            )
        split = storing.split(documents or (), transformations, show_progress)
        target: Index
        if index is not None and not isinstance(index, BaseIndex):
            if path is not None or model is not None:
                raise InputError("A RaderIndex has its own folder and model: leave path and model out.")
            target = check_index(index)
        elif stored is not None:
            target = stored
        else:
            target = create_index(path, encoder_for("mini" if model is None else model))
        retriever = cls(target, similarity_top_k, **options)
        retriever.object_map = {**storing.objects_of([*gathered_nodes, *split]), **retriever.object_map}
        storing.add_nodes(target, gathered_nodes)
        storing.replace_documents(target, documents or (), split)
        return retriever

    def add_nodes(self, nodes: Sequence[BaseNode]) -> int:
        """Index nodes; one with a stored ``node_id`` replaces that node. Returns how many were new or changed.

        The object of an :class:`~llama_index.core.schema.IndexNode` is kept in memory only (``object_map``).
        """
        added = storing.add_nodes(self.index, nodes)
        self.object_map.update(storing.objects_of(nodes))
        return added

    def delete_nodes(self, node_ids: Sequence[str]) -> int:
        """Delete nodes by id; ids that are not stored are ignored. Returns how many were deleted."""
        return self.index.delete(node_ids)

    def delete_ref_doc(self, ref_doc_id: str) -> int:
        """Delete the nodes of a source document. Returns how many were deleted."""
        return self.index.delete(ids_where(self.index, {REF_KEY: {"$eq": ref_doc_id}}))

    def persist(self, path: str | os.PathLike[str] | None = None) -> None:
        """Write index and configuration to a folder.

        A reranker that was given by name or directory is recorded by that. Any other, reasoning, and a function as
        filter are objects that a file cannot hold: :meth:`from_persist_dir` then wants them again.

        Args:
            path: The folder; None takes that of the index. An index of the same recipe that lies there is brought to
                the state of this one.

        Raises:
            InputError: The index is in memory and no path is given.
            FingerprintMismatchError: Another recipe's index lies there.
        """
        if not isinstance(self.index, RaderIndex):
            raise InputError(f"{type(self.index).__name__} keeps its documents itself: only a RaderIndex is persisted.")
        own = self.index.path
        if path is None and own is None:
            raise InputError("This index is in memory: persist(path) needs a folder.")
        folder = Path(own if path is None and own is not None else path or "")
        if own is None or folder.resolve() != own.resolve():
            self.index.copy_to(folder)
        write_config(
            folder,
            {
                "similarity_top_k": self.similarity_top_k,
                "mode": self.mode,
                "alpha": self.alpha,
                "filters": pack_filters(self.filters),
                "node_ids": None if self.node_ids is None else list(self.node_ids),
                "doc_ids": None if self.doc_ids is None else list(self.doc_ids),
                "exclude_ids": list(self.exclude_ids),
                "instruction": self.instruction,
                "candidates": self._core.candidates,
                "use_query_embedding": self.use_query_embedding,
                "reranker": self._reranker,
                "rerank_top": self._core.rerank_top,
                "reasoning": pack_reasoning(self._core.reasoning),
                "verbose": self._verbose,
            },
        )

    @classmethod
    def from_persist_dir(
        cls, path: str | os.PathLike[str], model: Model | None = None, **overrides: Any
    ) -> RaderRetriever:
        """Open what :meth:`persist` wrote.

        Args:
            path: The folder that was written.
            model: What encodes queries, with the index's fingerprint; None loads the recorded recipe.
            **overrides: Arguments of :class:`RaderRetriever` that take the place of the recorded ones.

        Raises:
            InputError: No retriever was persisted there, or it had a filter, reranker or reasoning that could not be
                recorded and is not given anew (None goes without).
        """
        folder = Path(path)
        config = read_config(folder)
        packed = config.pop("filters", None)
        if "filters" not in overrides:
            config["filters"] = unpack_filters(packed)
        for stage in ("reranker", "reasoning"):
            packed = config.pop(stage, None)
            config[stage] = overrides[stage] if stage in overrides else unpack_stage(stage, packed)
        index = RaderIndex.open(folder, None if model is None else encoder_for(model))
        return cls(index, **{**config, **overrides})

    def __deepcopy__(self, memo: dict[int, Any]) -> RaderRetriever:
        return copy.copy(self)  # index and models are shared: they are made for many users

    # Searching

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        request = self._request(query_bundle)
        if request.k == 0:
            return []
        vector = request.vector
        if request.to_embed:
            vector = mean_direction(
                encoder_of(self.index).encode_queries(request.to_embed, instruction=self.instruction)
            )
        [hits] = self._core.search_batch(
            [request.text],
            request.k,
            exclude_ids=[request.exclude_ids],
            query_vectors=vector,
            filter=self._filter(request),
        )
        return _nodes(hits)

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        request = self._request(query_bundle)
        if request.k == 0:
            return []
        vector = request.vector
        if request.to_embed:
            encoder = await in_thread(encoder_of, self.index)  # may have to load a model
            vector = mean_direction(await encoder.aencode_queries(request.to_embed, instruction=self.instruction))
        [hits] = await self._core.asearch_batch(
            [request.text],
            request.k,
            exclude_ids=[request.exclude_ids],
            query_vectors=vector,
            filter=await in_thread(self._filter, request),
        )
        return await in_thread(_nodes, hits)

    def _request(self, bundle: QueryBundle) -> Request:
        return read_request(
            bundle,
            k=self.similarity_top_k,
            dimension=None if self.mode == "bm25" else self.index.dimension,
            use_embedding=self.use_query_embedding,
            filters=self.filters,
            node_ids=self.node_ids,
            doc_ids=self.doc_ids,
            exclude_ids=self.exclude_ids,
        )

    def _filter(self, request: Request) -> Filter | None:
        return core_filter(self.index, request.filters, request.node_ids, request.doc_ids)


def _nodes(hits: list[Hit]) -> list[NodeWithScore]:
    return [hit_to_node(hit) for hit in hits]


def _refuse_others(given: dict[str, Any]) -> None:
    for name in given:
        hint = f" Did you mean {_ELSEWHERE[name]!r}?" if name in _ELSEWHERE else ""
        raise InputError(f"RaderRetriever takes no argument {name!r}.{hint}")
