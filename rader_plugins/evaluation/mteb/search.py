"""`RaderSearch`: a whole retriever, hybrid and reranked if wanted, in mteb."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rader_plugins.encoding.base import Encoder
from rader_plugins.errors import InputError
from rader_plugins.evaluation.indexing import index_documents
from rader_plugins.evaluation.mteb.meta import model_meta
from rader_plugins.evaluation.mteb.tasks import Instruction, documents_of, queries_of, task_instruction
from rader_plugins.evaluation.rankings import separated
from rader_plugins.evaluation.systems import about_reranker
from rader_plugins.index import RaderIndex, encoder_of
from rader_plugins.recipes import Recipe
from rader_plugins.reranking.base import Reranker
from rader_plugins.retrieval import Mode, RaderRetriever
from rader_plugins.retrieval.expansion import QueryExpansion

if TYPE_CHECKING:
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.models.model_meta import ModelMeta

__all__ = ["RaderSearch"]

_LOG = logging.getLogger(__name__)
# Hits hold their documents, and mteb asks for a thousand of each query.
_BATCH = 32
_KINDS = {"dense": "dense", "bm25": "sparse", "hybrid": "hybrid"}


class RaderSearch:
    """A retriever in mteb (its ``SearchProtocol``): every retrieval and reranking task.

    The corpus of a task becomes a :class:`rader_plugins.RaderIndex`. Where a task names the documents to rank for each
    query (``top_ranked``: reranking tasks, and BRIGHT v1.1, which leaves out each query's excluded documents), no other
    document is looked at. Scores are strictly separated, so that mteb sees the order of our retriever.

    Args:
        encoder: An encoder, or what :func:`rader_plugins.load_encoder` takes.
        mode: ``hybrid``, ``dense`` or ``bm25``; the latter too needs the encoder for its index.
        alpha: Weight of the dense score in hybrid mode.
        instruction: Instruction for the queries: one text, or task name -> text. By default tasks of BRIGHT get the
            instruction that RaDeR was evaluated with, if the recipe takes one, and others the recipe's own.
        candidates: How many documents each side of a hybrid search contributes.
        reranker: Orders the best ``rerank_top`` documents anew; no others are returned then.
        rerank_top: How many documents the reranker sees.
        reasoning: Writes the query that is searched for, such as a :class:`rader_plugins.ReasoningQuery`.
        folder: Where indexes are kept, one folder for each task, subset and split; a later run encodes nothing again,
            and a killed one goes on. None keeps the index of the current task in memory.
        name: What mteb calls it, ``organisation/name``.

    Raises:
        InputError: An argument is outside its range.

    Example:
        >>> import mteb  # doctest: +SKIP
        >>> search = RaderSearch("rader-3b", mode="hybrid", folder="indexes")  # doctest: +SKIP
        >>> mteb.evaluate(search, mteb.get_benchmark("BRIGHT(v1.1)"))  # doctest: +SKIP
    """

    def __init__(
        self,
        encoder: Encoder | Recipe | str,
        *,
        mode: Mode = "hybrid",
        alpha: float = 0.8,
        instruction: Instruction = None,
        candidates: int = 1000,
        reranker: Reranker | None = None,
        rerank_top: int = 100,
        reasoning: QueryExpansion | None = None,
        folder: str | os.PathLike[str] | None = None,
        name: str | None = None,
    ) -> None:
        self.instruction = instruction
        self.folder = Path(folder) if folder is not None else None
        self._options: dict[str, Any] = {
            "mode": mode, "alpha": alpha, "candidates": candidates, "reranker": reranker, "rerank_top": rerank_top,
            "reasoning": reasoning,
        }  # fmt: skip
        with RaderIndex.create(None, encoder) as empty:
            self.encoder = encoder_of(empty)
            # Wrong options are told now, not when the corpus of the first task has been encoded.
            RaderRetriever(empty, **self._options)
        settings: dict[str, Any] = {
            "mode": mode,
            "alpha": alpha if mode == "hybrid" else None,
            "candidates": candidates if mode == "hybrid" else None,
            "instruction": dict(instruction) if isinstance(instruction, Mapping) else instruction,
            "reranker": about_reranker(reranker, rerank_top) if reranker is not None else None,
            "reasoning": _about_reasoning(reasoning),
        }
        self.mteb_model_meta: ModelMeta = model_meta(self.encoder, _KINDS[mode], settings, name)
        self._index: RaderIndex | None = None
        self._ids: Collection[str] = ()

    def index(
        self,
        corpus: Iterable[Mapping[str, Any]],
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        **_: Any,
    ) -> None:
        """Index the corpus of a task.

        Args:
            corpus: Rows with ``id``, ``text`` and perhaps ``title``.
            task_metadata: Metadata of the mteb task.
            hf_split: Which split of it.
            hf_subset: Which subset of it.

        Raises:
            InputError: A document is no text, or the index in ``folder`` is of another corpus.
        """
        self.close()
        documents = documents_of(corpus)
        self._index = self._open(f"{task_metadata.name}-{hf_subset}-{hf_split}")
        index_documents(documents, self._index, name=f"task {task_metadata.name}")
        self._ids = documents.keys()

    def search(
        self,
        queries: Iterable[Mapping[str, Any]],
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        top_k: int,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        **_: Any,
    ) -> dict[str, dict[str, float]]:
        """Search for the queries of a task in the corpus that was indexed last.

        Args:
            queries: Rows with ``id``, ``text`` and perhaps ``instruction``.
            task_metadata: Metadata of the mteb task, which decides the instruction.
            hf_split: Which split of it.
            hf_subset: Which subset of it.
            top_k: How many documents each query gets; at most ``rerank_top`` with a reranker.
            top_ranked: Query id -> the documents among which it is answered.

        Returns:
            Query id -> document id -> score.
        """
        if self._index is None:
            raise InputError("There is nothing to search yet: call index() with the corpus of the task first.")
        retriever = RaderRetriever(
            self._index,
            instruction=task_instruction(task_metadata, hf_subset, self.encoder.recipe, self.instruction),
            **self._options,
        )
        depth = top_k if retriever.reranker is None else min(top_k, retriever.rerank_top)
        texts = queries_of(queries)
        results: dict[str, dict[str, float]] = {query: {} for query in texts}
        answered = [query for query in texts if top_ranked is None or query in top_ranked]
        if len(answered) < len(texts):
            _LOG.warning(
                "%s names no documents to rank for %d of its queries: they get none.",
                task_metadata.name,
                len(texts) - len(answered),
            )
        for start in range(0, len(answered), _BATCH):
            batch = answered[start : start + _BATCH]
            found = retriever.search_batch(
                [texts[query] for query in batch],
                depth,
                exclude_ids=None if top_ranked is None else [self._others(top_ranked[query]) for query in batch],
            )
            for query, hits in zip(batch, found, strict=True):
                results[query] = separated({hit.document.id: hit.score for hit in hits})
        return results

    def close(self) -> None:
        """Close the index of the last task."""
        if self._index is not None:
            self._index.close()
            self._index = None

    def _open(self, name: str) -> RaderIndex:
        if self.folder is None:
            return RaderIndex.create(None, self.encoder)
        path = self.folder / re.sub(r"[^\w.-]", "_", name)
        if RaderIndex.exists(path):
            return RaderIndex.open(path, self.encoder)
        self.folder.mkdir(parents=True, exist_ok=True)
        return RaderIndex.create(path, self.encoder)

    def _others(self, wanted: Sequence[str]) -> list[str]:
        chosen = set(wanted)
        return [id for id in self._ids if id not in chosen]


def _about_reasoning(reasoning: QueryExpansion | None) -> dict[str, Any] | None:
    if reasoning is None:
        return None
    known = {name: getattr(reasoning, name, None) for name in ("mode", "prompt", "temperature", "max_tokens", "seed")}
    return {"kind": type(reasoning).__name__, **{name: value for name, value in known.items() if value is not None}}
