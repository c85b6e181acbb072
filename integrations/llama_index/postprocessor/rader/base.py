"""`RaderRerank`: a reranker of rader-plugins as a LlamaIndex node postprocessor."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import llama_index.core.instrumentation as instrument
from llama_index.core.bridge.pydantic import ConfigDict, Field, PrivateAttr
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle
from llama_index.postprocessor.rader.tool_text import asked_text
from typing_extensions import Self

from rader_plugins import Hit, Recipe
from rader_plugins.errors import InputError
from rader_plugins.reranking import Reranker, load_reranker
from rader_plugins.reranking.base import as_hits

__all__ = ["RaderRerank"]

_RETRIEVAL_SCORE = "retrieval_score"

dispatcher = instrument.get_dispatcher(__name__)  # type: ignore[attr-defined]


class RaderRerank(BaseNodePostprocessor):
    """Orders retrieved nodes anew by a model that reads question and node together.

    It reads ``query_str`` of the query bundle and what LlamaIndex embeds of a node (``MetadataMode.EMBED``). The nodes
    given stay as they are; new :class:`~llama_index.core.schema.NodeWithScore` come back, best first, and nodes with
    equal scores keep their order. May be used from several threads and on an event loop at once.

    Args:
        model: What :func:`rader_plugins.reranking.load_reranker` takes (a registered name, a directory or hub id of a
            cross-encoder, a :class:`~rader_plugins.Recipe`), or any ready :class:`rader_plugins.reranking.Reranker`.
        top_n: How many nodes to keep; None keeps all.
        keep_retrieval_score: Put the score of the first stage into the metadata of a copy of each node, as
            ``retrieval_score``, hidden from language and embedding models.
        reranker_options: Options of :func:`~rader_plugins.reranking.load_reranker`: ``device``, ``dtype``, ...
        callback_manager: Callback manager of LlamaIndex, as in its base class.

    Raises:
        InputError: The model cannot be found or is no reranker, or an option is unknown. A query bundle is missing.
        MissingExtraError: A local model needs the extra ``local``.

    Example:
        >>> from llama_index.postprocessor.rader import RaderRerank
        >>> rerank = RaderRerank("cross-encoder/ms-marco-MiniLM-L6-v2", top_n=5)  # doctest: +SKIP
        >>> engine = index.as_query_engine(similarity_top_k=100, node_postprocessors=[rerank])  # doctest: +SKIP
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=(), extra="forbid")

    model: str = Field(description="Registered name, directory or hub id that the reranker was loaded from.")
    top_n: int | None = Field(default=None, ge=0, description="How many nodes to keep; None keeps all.")
    keep_retrieval_score: bool = Field(default=False, description="Keep the first stage's score in the metadata.")
    reranker_options: dict[str, Any] = Field(default_factory=dict, exclude=True, repr=False)

    _reranker: Reranker = PrivateAttr()
    _is_ready: bool = PrivateAttr(default=False)

    def __init__(
        self,
        model: str | os.PathLike[str] | Recipe | Reranker,
        top_n: int | None = None,
        *,
        keep_retrieval_score: bool = False,
        reranker_options: Mapping[str, Any] | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        options = dict(reranker_options or {})
        if isinstance(model, Reranker) and options:
            raise InputError(
                f"{', '.join(sorted(options))}: these have no effect on a loaded {type(model).__name__}. Give them to "
                "load_reranker()."
            )
        fields: dict[str, Any] = {
            "model": _place(model),
            "top_n": top_n,
            "keep_retrieval_score": keep_retrieval_score,
            "reranker_options": options,
        }
        super().__init__(callback_manager=callback_manager or CallbackManager([]), **fields)
        self._reranker = model if isinstance(model, Reranker) else load_reranker(model, **options)
        self._is_ready = isinstance(model, Reranker)

    @classmethod
    def class_name(cls) -> str:
        """Return the name that serialised objects carry."""
        return "RaderRerank"

    @property
    def reranker(self) -> Reranker:
        """The reranker behind it."""
        return self._reranker

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        bundle = _checked(query_bundle)
        if not nodes:
            return []
        with self._reported(nodes, bundle) as reranked:
            hits = _hits(nodes)
            reranked += self._scored(self._reranker.rerank(asked_text(bundle.query_str), hits, self.top_n), hits, nodes)
        return reranked

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        bundle = _checked(query_bundle)
        if not nodes:
            return []
        with self._reported(nodes, bundle) as reranked:
            hits = _hits(nodes)
            reranked += self._scored(
                await self._reranker.arerank(asked_text(bundle.query_str), hits, self.top_n), hits, nodes
            )
        return reranked

    @contextmanager
    def _reported(self, nodes: list[NodeWithScore], bundle: QueryBundle) -> Iterator[list[NodeWithScore]]:
        """Report start and end to LlamaIndex's instrumentation and to its callbacks; yields a list to fill."""
        top_n = len(nodes) if self.top_n is None else self.top_n
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: self.model,
            EventPayload.QUERY_STR: bundle.query_str,
            EventPayload.TOP_K: top_n,
        }
        reranked: list[NodeWithScore] = []
        dispatcher.event(ReRankStartEvent(query=bundle, nodes=nodes, top_n=top_n, model_name=self.model))
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            yield reranked
            event.on_end(payload={EventPayload.NODES: reranked})
        dispatcher.event(ReRankEndEvent(nodes=reranked))

    def _scored(self, found: list[Hit], hits: list[Hit], nodes: list[NodeWithScore]) -> list[NodeWithScore]:
        by_name = {hit.document.id: scored for hit, scored in zip(hits, nodes, strict=True)}
        results = []
        for hit in found:
            before = by_name[hit.document.id]
            node = _with_score(before.node, before.score) if self.keep_retrieval_score else before.node
            results.append(NodeWithScore(node=node, score=float(hit.score)))
        return results

    # Sent to another process, the model is loaded anew there; a copy in this one shares it.

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in self.__dict__.items() if name != "callback_manager"}
        # A reranker that was given ready says itself how it is loaded; its name alone does not.
        return {"__dict__": {**state, "model": self._reranker} if self._is_ready else state}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state["__dict__"])  # type: ignore[misc]

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self.model_copy()


def _checked(bundle: QueryBundle | None) -> QueryBundle:
    if bundle is None:
        raise InputError("Reranking needs the question: postprocess_nodes(nodes, query_str='...').")
    return bundle


def _hits(nodes: list[NodeWithScore]) -> list[Hit]:
    return as_hits(
        [scored.node.get_content(metadata_mode=MetadataMode.EMBED) for scored in nodes],
        ids=[scored.node.node_id for scored in nodes],
        scores=[scored.score for scored in nodes],
    )


def _with_score(node: BaseNode, score: float | None) -> BaseNode:
    """Return a copy of a node that tells the score of the first stage."""
    update: dict[str, Any] = {"metadata": {**node.metadata, _RETRIEVAL_SCORE: score}}
    for name in ("excluded_embed_metadata_keys", "excluded_llm_metadata_keys"):
        update[name] = [*dict.fromkeys([*getattr(node, name), _RETRIEVAL_SCORE])]
    if hasattr(node, "score_keys"):  # our own retriever's nodes: what these name is no part of the node's hash
        update["score_keys"] = (*dict.fromkeys([*node.score_keys, _RETRIEVAL_SCORE]),)
    return node.model_copy(update=update)


def _place(model: str | os.PathLike[str] | Recipe | Reranker) -> str:
    """Say where the model comes from, in a form that loads again where there is one."""
    if isinstance(model, Recipe):
        return model.model
    if isinstance(model, Reranker):
        return str(getattr(model, "location", type(model).__name__))
    return os.fspath(model)
