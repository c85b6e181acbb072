"""`RaderRetriever`: dense, BM25 or hybrid search over an :class:`rader_plugins.index.Index`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypedDict, get_args

import numpy.typing as npt
from typing_extensions import Unpack

from rader_plugins import background
from rader_plugins.arguments import check_flag, check_string
from rader_plugins.documents import Hit, check_text, corpus_digest, text_list
from rader_plugins.errors import InputError
from rader_plugins.index import Filter, Index, Mode, SearchRequest, check_index, encoder_of, read_documents
from rader_plugins.index.request import Detail, as_vectors
from rader_plugins.reranking.base import Reranker
from rader_plugins.reranking.description import describe_reranker
from rader_plugins.retrieval.expansion import QueryExpansion, check_expansion

__all__ = ["Mode", "RaderRetriever", "SearchOptions"]

# Figures of an index that decide what a search finds.
_DECISIVE = ("documents", "dtype", "dimension", "bm25", "ann", "ann_rows")


class SearchOptions(TypedDict, total=False):
    """What a call may set anew: see :class:`RaderRetriever` and :meth:`RaderRetriever.search`."""

    filter: Filter | None
    mode: Mode | None
    alpha: float | None
    instruction: str | None
    explain: bool


@dataclass(frozen=True)
class _Plan:
    """One call: what the index is asked for, how queries are encoded, and how many hits are left of it.

    Attributes:
        request: The request to the index; its queries are those that reasoning may write anew.
        instruction: Instruction for the encoder; None takes the recipe's.
        k: Hits of the call; the request asks for more where a reranker chooses among them.
        questions: What the reranker reads.
        expansion: What writes the text to search for, where that text makes a difference.
    """

    request: SearchRequest
    instruction: str | None
    k: int
    questions: Sequence[str]
    expansion: QueryExpansion | None


class RaderRetriever:
    """Searches an index.

    ``dense`` ranks by cosine, ``bm25`` by BM25 (documents that share a term with the query only). ``hybrid`` takes the
    best ``candidates`` of both, scores every one of them by both, and ranks by
    ``alpha * z(dense) + (1 - alpha) * z(bm25)``, z-scored over these candidates (RaDeR, section 4: alpha 0.8;
    1.0 in the model's home domain, which is plain cosine). Equal scores are ordered by document id.

    Args:
        index: What to search: a :class:`rader_plugins.RaderIndex` or any other
            :class:`rader_plugins.index.Index`. One without vectors takes ``mode="bm25"``.
        mode: ``hybrid``, ``dense`` or ``bm25``.
        alpha: Weight of the dense score in hybrid mode, 0 to 1.
        instruction: Task instruction for the query; None takes the recipe's own.
        candidates: How many documents each side of a hybrid search contributes.
        reranker: Orders the best ``rerank_top`` documents anew, by the question as it was asked; ``scores`` of a hit
            then holds ``rerank`` too. None leaves the first stage's order.
        rerank_top: How many documents the reranker sees; at least ``k`` of them.
        reasoning: Writes the query that is searched for from the question that was asked, such as a
            :class:`rader_plugins.ReasoningQuery`. The reranker gets the question itself.

    Raises:
        InputError: An argument is outside its range, or the index cannot do what is asked of it.

    Example:
        >>> from rader_plugins import RaderIndex, RaderRetriever
        >>> retriever = RaderRetriever(RaderIndex.open("my-index"), mode="hybrid", alpha=0.8)  # doctest: +SKIP
        >>> [hit.document.id for hit in retriever.search("How many guests must I invite?", k=3)]  # doctest: +SKIP
        ['ramsey-theorem', 'pigeonhole-principle', 'handshake-lemma']
    """

    def __init__(
        self,
        index: Index,
        mode: Mode = "hybrid",
        alpha: float = 0.8,
        instruction: str | None = None,
        *,
        candidates: int = 1000,
        reranker: Reranker | None = None,
        rerank_top: int = 100,
        reasoning: QueryExpansion | None = None,
    ) -> None:
        check_index(index)
        if reranker is not None and not isinstance(reranker, Reranker):
            raise InputError(f"reranker must be a Reranker, not {type(reranker).__name__}: load_reranker(name).")
        if not isinstance(rerank_top, int) or isinstance(rerank_top, bool) or rerank_top < 1:
            raise InputError(f"rerank_top must be a whole number of at least 1, not {rerank_top!r}.")
        self.index = index
        self.reranker = reranker
        self.rerank_top = rerank_top
        self.reasoning = check_expansion(reasoning)
        self.instruction = instruction
        self._defaults = SearchRequest(mode=mode, alpha=alpha, candidates=candidates)
        self._defaults.check(index.capabilities)

    @property
    def mode(self) -> Mode:
        """How it searches unless a call says otherwise."""
        return self._defaults.mode

    @property
    def alpha(self) -> float:
        """Weight of the dense score unless a call says otherwise."""
        return self._defaults.alpha

    @property
    def candidates(self) -> int:
        """How many documents each side of a hybrid search contributes."""
        return self._defaults.candidates

    def describe(self, *, corpus: bool = False) -> dict[str, Any]:
        """Return everything that decides its results, as a JSON object: two retrievers that differ are told apart.

        Args:
            corpus: Also a digest of the ids and texts that it searches, for which every document is read.
        """
        stats = self.index.stats()
        hybrid = self.mode == "hybrid"
        about: dict[str, Any] = {
            "kind": "RaderRetriever",
            "mode": self.mode,
            "alpha": self.alpha if hybrid else None,
            "candidates": self.candidates if hybrid else None,
            "instruction": self.instruction,
            "recipe": None if self.index.recipe is None else asdict(self.index.recipe),
            "recipe_fingerprint": self.index.fingerprint,
            "index": {name: stats.get(name) for name in _DECISIVE},
        }
        if self.mode != "bm25":
            about["encoder_variant"] = encoder_of(self.index).variant
        if self.reranker is not None:
            about["reranker"] = describe_reranker(self.reranker, self.rerank_top)
        if self.reasoning is not None:
            about["reasoning"] = {
                "kind": type(self.reasoning).__name__,
                "mode": getattr(self.reasoning, "mode", None),
                "fingerprint": getattr(self.reasoning, "fingerprint", None),
            }
        if corpus:
            about["corpus"] = corpus_digest(read_documents(self.index))
        return about

    def search(
        self, query: str, k: int = 10, *, exclude_ids: Sequence[str] = (), **options: Unpack[SearchOptions]
    ) -> list[Hit]:
        """Return the ``k`` best documents for one query.

        Args:
            query: Text of the question.
            k: How many hits; 0 gives none, more than the index holds gives all.
            exclude_ids: Documents that must not be returned.
            **options: ``filter`` (dict or function, applied before ranking), ``mode``, ``alpha``, ``instruction``;
                ``explain=True`` keeps what :meth:`rader_plugins.Hit.explain` tells.

        Returns:
            Hits, best first. In ``bm25`` mode fewer than ``k`` if fewer documents share a term with the query.
        """
        return self.search_batch([query], k, exclude_ids=[exclude_ids], **options)[0]

    def search_batch(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        exclude_ids: Sequence[Sequence[str]] | None = None,
        query_vectors: npt.ArrayLike | None = None,
        rerank_queries: Sequence[str] | None = None,
        **options: Unpack[SearchOptions],
    ) -> list[list[Hit]]:
        """Search many queries at once: one encoding, one multiplication with the vectors of the index.

        Args:
            queries: Texts of the questions.
            k: How many hits for each.
            exclude_ids: Ids of documents that must not be returned, a list for every query.
            query_vectors: Vectors of the queries, shape (q, dimension), if they are known already. They stand for
                the questions in place of what ``reasoning`` writes, which only BM25 reads then.
            rerank_queries: What the reranker reads instead of the queries: the questions as they were asked, where the
                queries are reasoning that was written out beforehand.
            **options: Any option of :meth:`search`.
        """
        plan = self._plan(queries, k, exclude_ids, query_vectors, rerank_queries, options)
        request = plan.request
        if plan.expansion is not None:
            request = replace(request, queries=plan.expansion.expand(request.queries))
        if request.needs_vectors and request.vectors is None:
            vectors = encoder_of(self.index).encode_queries(request.queries, instruction=plan.instruction)
            request = replace(request, vectors=vectors)
        hits = self.index.search(request)
        if self.reranker is None or not any(hits):
            return hits
        return [ranking[: plan.k] for ranking in self.reranker.rerank_batch(plan.questions, hits)]

    async def asearch(
        self, query: str, k: int = 10, *, exclude_ids: Sequence[str] = (), **options: Unpack[SearchOptions]
    ) -> list[Hit]:
        """As :meth:`search`, without blocking the event loop."""
        return (await self.asearch_batch([query], k, exclude_ids=[exclude_ids], **options))[0]

    async def asearch_batch(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        exclude_ids: Sequence[Sequence[str]] | None = None,
        query_vectors: npt.ArrayLike | None = None,
        rerank_queries: Sequence[str] | None = None,
        **options: Unpack[SearchOptions],
    ) -> list[list[Hit]]:
        """As :meth:`search_batch`, without blocking the event loop."""
        plan = self._plan(queries, k, exclude_ids, query_vectors, rerank_queries, options)
        request = plan.request
        if plan.expansion is not None:
            request = replace(request, queries=await plan.expansion.aexpand(request.queries))
        if request.needs_vectors and request.vectors is None:
            encoder = await background.in_thread(encoder_of, self.index)  # may have to load a model
            vectors = await encoder.aencode_queries(request.queries, instruction=plan.instruction)
            request = replace(request, vectors=vectors)
        hits = await self.index.asearch(request)
        if self.reranker is None or not any(hits):
            return hits
        return [ranking[: plan.k] for ranking in await self.reranker.arerank_batch(plan.questions, hits)]

    def _plan(
        self,
        queries: Sequence[str],
        k: int,
        exclude_ids: Sequence[Sequence[str]] | None,
        query_vectors: npt.ArrayLike | None,
        rerank_queries: Sequence[str] | None,
        options: SearchOptions,
    ) -> _Plan:
        """Check a call and plan it; what the index cannot do is refused here, before anything is encoded."""
        if unknown := sorted(set(options) - SearchOptions.__annotations__.keys()):
            raise InputError(f"Unknown search options {unknown}; known: {', '.join(SearchOptions.__annotations__)}.")
        values: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
        instruction = values.pop("instruction", self.instruction)
        if instruction is not None:
            check_text(check_string(instruction, "instruction"), "the instruction")
        if check_flag(values.pop("explain", False), "explain"):
            values["details"] = frozenset(get_args(Detail))
        if isinstance(queries, str):
            raise InputError("search_batch() takes a list of queries; search() takes one.")
        texts = text_list(queries, "query")
        if query_vectors is not None:
            values["vectors"] = as_vectors(query_vectors, len(texts), self.index.dimension)
        values = {"mode": self.mode, "alpha": self.alpha, "candidates": self.candidates, **values}
        plain = all(isinstance(values[name], str | int | float) for name in ("mode", "alpha"))
        if plain and values["mode"] == "hybrid" and values["alpha"] == 1:
            values["mode"] = "dense"  # plain cosine: no pool, no z-scores, no BM25
        depth = max(k, self.rerank_top) if self.reranker is not None and isinstance(k, int) and k > 0 else k
        request = SearchRequest(texts, k=depth, exclude_ids=exclude_ids, **values)
        request.check(self.index.capabilities)
        expansion = self.reasoning
        if k == 0 or (request.mode == "dense" and query_vectors is not None):
            expansion = None
        return _Plan(request, instruction, k, _rerank_queries(request.queries, rerank_queries), expansion)


def _rerank_queries(queries: Sequence[str], questions: Sequence[str] | None) -> Sequence[str]:
    if questions is None:
        return queries
    texts = text_list(questions, "rerank query")
    if len(texts) != len(queries):
        raise InputError("rerank_queries holds one question for every query.")
    return texts
