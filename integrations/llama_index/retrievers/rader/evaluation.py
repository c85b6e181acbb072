"""`searchable`: LlamaIndex retrievers and query engines made ready for ``rader_plugins.evaluation.evaluate``."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.response.schema import AsyncStreamingResponse, StreamingResponse
from llama_index.core.chat_engine.types import BaseChatEngine
from llama_index.core.indices.base import BaseIndex
from llama_index.core.schema import NodeWithScore
from llama_index.core.workflow import Workflow
from llama_index.retrievers.rader._rag import RagWorkflow
from llama_index.retrievers.rader.base import RaderRetriever
from llama_index.retrievers.rader.recorder_reading import nodes_of

from rader_plugins.errors import InputError
from rader_plugins.evaluation.adapter_support import check_about, in_order, known_settings, source_id
from rader_plugins.evaluation.systems import UnusableResultsError, describe_retriever
from rader_plugins.recording import without_repeats
from rader_plugins.trajectories import Trajectory

__all__ = ["Searchable", "adapt", "searchable"]

Pairs = list[list[tuple[str, float]]]
_NODE_ID, _REF_DOC_ID = "node_id", "ref_doc_id"


class Searchable:
    """A LlamaIndex retriever or query engine as a search for ``evaluate``; :func:`searchable` makes it."""

    def __init__(
        self,
        system: BaseRetriever | BaseQueryEngine | Workflow,
        *,
        id_key: str | None = None,
        pass_k: bool | None = None,
        use_async: bool = False,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        if isinstance(system, BaseIndex):
            raise InputError("An index is searched through index.as_retriever() or index.as_query_engine().")
        if isinstance(system, BaseChatEngine):
            raise InputError(
                "A chat engine remembers the questions before. Evaluate its retriever, or a query engine, instead."
            )
        if not isinstance(system, BaseRetriever | BaseQueryEngine | Workflow):
            raise InputError(
                f"searchable() takes a LlamaIndex retriever, query engine, agent or workflow, not "
                f"{type(system).__name__}."
            )
        can = isinstance(system, BaseRetriever) and hasattr(system, "similarity_top_k")
        if pass_k and not can:
            raise InputError(f"{type(system).__name__} has no similarity_top_k to set: leave pass_k out.")
        self.system = system
        self.id_key = id_key
        self.pass_k = can if pass_k is None else pass_k
        self.use_async = use_async or isinstance(system, Workflow)
        self._workflow = RagWorkflow(system) if isinstance(system, Workflow) else None
        self.about = check_about(about)

    def __call__(self, queries: list[str], k: int | None = None) -> Pairs | Awaitable[Pairs]:
        """Return (document id, score) pairs for every query; an awaitable of them with ``use_async``."""
        system = self._asked_for(k)
        if self.use_async:
            return self._asearch(system, queries)
        if isinstance(system, Workflow):
            raise InputError("A workflow can only be awaited.")
        if isinstance(system, BaseRetriever):
            return [self._pairs(system.retrieve(query)) for query in queries]
        pairs = []
        for query in queries:
            response: Any = system.query(query)
            if isinstance(response, StreamingResponse):
                response = response.get_response()  # the answer is part of what a user waits for
            pairs.append(self._pairs(_sources(response)))
        return pairs

    async def _asearch(self, system: BaseRetriever | BaseQueryEngine | Workflow, queries: Sequence[str]) -> Pairs:
        async def one(query: str) -> list[tuple[str, float]]:
            if isinstance(system, BaseRetriever):
                return self._pairs(await system.aretrieve(query))
            if self._workflow is not None:
                return self._of_run(*await self._workflow.arun(query))
            if isinstance(system, Workflow):
                raise InputError("A workflow is run as it was given.")
            response: Any = await system.aquery(query)
            if isinstance(response, AsyncStreamingResponse):
                response = await response.get_response()
            return self._pairs(_sources(response))

        return list(await asyncio.gather(*map(one, queries)))

    def describe(self) -> dict[str, Any]:
        """Return what is known of the system, for the manifest of an evaluation."""
        system = self.system
        described: dict[str, Any] = {
            "name": type(system).__name__,
            "class": f"{type(system).__module__}.{type(system).__qualname__}",
            "llama-index-core": version("llama-index-core"),
            "settings": known_settings(system),
            "id_key": self.id_key,
            "k": "asked for" if self.pass_k else "its own",
            "about": self.about,
        }
        if isinstance(system, RaderRetriever):
            names = ("similarity_top_k", "filters", "node_ids", "doc_ids", "exclude_ids", "use_query_embedding")
            described["settings"] = known_settings(system, names)
            described["retriever"] = describe_retriever(system.core)
        if self.pass_k:
            described["settings"].pop("similarity_top_k", None)
        return described

    def _asked_for(self, k: int | None) -> BaseRetriever | BaseQueryEngine | Workflow:
        """Return what finds ``k`` nodes: a copy, since the retriever may be in use elsewhere."""
        if not self.pass_k or k is None:
            return self.system
        deeper: Any = copy.copy(self.system)
        deeper.similarity_top_k = k
        retriever: BaseRetriever = deeper
        return retriever

    def _pairs(self, nodes: Sequence[NodeWithScore]) -> list[tuple[str, float]]:
        return in_order([self._id(node) for node in nodes], [node.score for node in nodes])

    def _of_run(self, result: Any, run: Trajectory | None) -> list[tuple[str, float]]:
        """Read what a workflow found from what it returned, else from what its steps and tools did."""
        if nodes := nodes_of(result):
            return self._pairs(nodes)
        if self.id_key not in (None, _NODE_ID):
            raise UnusableResultsError(
                f"The workflow returned {type(result).__name__}, which holds no nodes, so that {self.id_key!r} "
                "(id_key) cannot be read. Let it return them: StopEvent(result={'answer': ..., 'source_nodes': nodes})."
            )
        documents = without_repeats(
            document for step in (run.retrievals if run else ()) for document in step.considered
        )
        return in_order([document.id for document in documents], [document.score for document in documents])

    def _id(self, scored: NodeWithScore) -> str:
        node = scored.node
        if self.id_key is None:
            return node.ref_doc_id or node.node_id
        label = f"Node {node.node_id!r}"
        remedy = "id_key is 'ref_doc_id', 'node_id' or a metadata key that every node has."
        if self.id_key in (_NODE_ID, _REF_DOC_ID):
            return source_id(node.node_id if self.id_key == _NODE_ID else node.ref_doc_id, label, remedy)
        if self.id_key not in node.metadata:
            raise UnusableResultsError(
                f"{label} has no {self.id_key!r} (id_key) in its metadata, only {sorted(node.metadata)}. {remedy}"
            )
        return source_id(node.metadata[self.id_key], f"{label}, under {self.id_key!r},", remedy)


def searchable(
    system: BaseRetriever | BaseQueryEngine | Workflow,
    *,
    id_key: str | None = None,
    pass_k: bool | None = None,
    use_async: bool = False,
    about: Mapping[str, Any] | None = None,
) -> Searchable:
    """Make a retriever, query engine, agent or workflow ready for ``rader_plugins.evaluation.evaluate``.

    The order of the nodes (of a query engine: the ``source_nodes`` of its response; of an agent or workflow: those in
    its result, else those that its retrievers, tools and steps found, in that order) is the ranking. Their scores are
    taken where they agree with that order; otherwise the ranks count.

    Args:
        system: The retriever, query engine, agent or workflow.
        id_key: What the corpus knows a node by: ``"ref_doc_id"`` (its source document), ``"node_id"``, or a metadata
            key. Nodes that share one count as one document, by the best of them. By default ``ref_doc_id`` where a
            node has one, else its ``node_id``.
        pass_k: Whether the retriever is to find as many nodes as the evaluation needs, through its
            ``similarity_top_k``. By default done where it has one. A query engine returns what it returns.
        use_async: Call ``aretrieve`` or ``aquery``.
        about: A JSON object with what else decides the results (prompts, models, versions), for the manifest.

    Raises:
        InputError: ``system`` is something else, or ``about`` is not JSON.

    Example:
        >>> from llama_index.core.schema import TextNode
        >>> from llama_index.retrievers.rader import RaderRetriever
        >>> nodes = [TextNode(id_="ramsey", text="Among six people three know each other or three do not.")]
        >>> search = searchable(RaderRetriever.from_defaults(nodes=nodes, model="mini"))
        >>> [[id for id, score in found] for found in search(["How many guests must I invite?"], k=10)]
        [['ramsey']]
    """
    return Searchable(system, id_key=id_key, pass_k=pass_k, use_async=use_async, about=about)


def adapt(system: object) -> Searchable | None:
    """Return the search for an object that ``evaluate`` was given; None if it is nothing of LlamaIndex's to search."""
    if isinstance(system, Searchable):
        return system
    is_searchable = isinstance(system, BaseRetriever | BaseQueryEngine | BaseIndex | BaseChatEngine | Workflow)
    return Searchable(system) if is_searchable else None  # type: ignore[arg-type]


def _sources(response: Any) -> Sequence[NodeWithScore]:
    nodes = getattr(response, "source_nodes", None)
    if not isinstance(nodes, Sequence) or isinstance(nodes, str):
        raise UnusableResultsError(
            f"The query engine returned {type(response).__name__}, which has no source_nodes. A custom query engine "
            "reports them in a Response(answer, source_nodes=nodes)."
        )
    return nodes
