"""What can be evaluated: our retriever, a framework's through its adapter, any function from queries to scored ids."""

from __future__ import annotations

import functools
import importlib.metadata
import inspect
import math
import platform
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rader_plugins.errors import InputError
from rader_plugins.evaluation.adapters import adapted
from rader_plugins.evaluation.datasets.dataset import RetrievalDataset
from rader_plugins.evaluation.event_loop import EventLoopThread
from rader_plugins.evaluation.rankings import is_number
from rader_plugins.reranking.description import describe_reranker as about_reranker
from rader_plugins.retrieval import RaderRetriever

__all__ = [
    "Results",
    "SearchFunction",
    "System",
    "UnusableResultsError",
    "about_reranker",
    "as_system",
    "describe_retriever",
    "versions",
]

Results = list[tuple[str, float]]
"""Documents with their scores, of one query."""

_CHUNK = re.compile(r"(.+)#\d+", re.DOTALL)
_PACKAGES = (
    "rader-plugins", "ir-measures", "pytrec-eval-terrier", "numpy", "torch", "transformers", "sentence-transformers",
    "faiss-cpu", "PyStemmer",
)  # fmt: skip


class UnusableResultsError(InputError):
    """What a retriever returned cannot be scored. That is no matter of one question, so it ends the evaluation."""


class SearchFunction(Protocol):
    """Any callable that searches for a list of queries.

    It returns one list per query of ``(document id, score)``, higher scores better; equal scores rank in the order of
    the list. Three things are optional:

    - a keyword ``k``: then it is asked for so many documents, which includes those that exclusions will delete;
      without it, it should return some more than the largest cutoff;
    - it may be asynchronous (``async def``): all its calls are awaited on one event loop, in a thread of its own;
    - an attribute ``describe``, a method that returns a JSON object with whatever decides its results. It goes into the
      manifest, and a run is only resumed where it is the same. A ``name`` in it is what comparisons call the retriever.

    An exception counts against one question (see :func:`rader_plugins.evaluation.evaluate`), except for
    :class:`UnusableResultsError`, which ends the evaluation.

    Example:
        >>> def search(queries, k=10):
        ...     return [[("ramsey", 1.0), ("pigeonhole", 0.5)][:k] for _ in queries]
    """

    def __call__(
        self, queries: list[str], /
    ) -> Sequence[Sequence[tuple[str, float]]] | Awaitable[Sequence[Sequence[tuple[str, float]]]]:
        """Return (document id, score) pairs, one list per query."""
        ...


@dataclass(frozen=True)
class System:
    """A retriever made ready for evaluation.

    Attributes:
        search: Queries, documents to exclude for each, depth, questions for the reranker -> what the retriever
            returned, not checked yet.
        about: What it is, for the manifest; a JSON object.
        index_ids: Ids of the documents that it searches, where that is known.
        close: Function to call when the evaluation is over.
    """

    search: Callable[[list[str], list[list[str]], int, list[str]], Any]
    about: Mapping[str, Any]
    index_ids: frozenset[str] | None = None
    close: Callable[[], object] = lambda: None


def as_system(retriever: object) -> System:
    """Make a retriever ready.

    Raises:
        InputError: It is neither ours, nor known to an adapter, nor callable.
    """
    if isinstance(retriever, RaderRetriever):
        return _ours(retriever)
    search = adapted(retriever)
    if search is None:
        search = retriever
    if not callable(search):
        raise InputError(
            f"{type(retriever).__name__} cannot be evaluated as it is. evaluate() takes a RaderRetriever, a retriever "
            "or chain of LangChain, a retriever or query engine of LlamaIndex (with rader-plugins installed with their "
            "extras), or a function list[str] -> list[list[(id, score)]]; wrap the retriever in one."
        )
    return _function(search)


def one_list_each(returned: Any, count: int) -> list[Any]:
    """Check that a retriever returned one list for each of ``count`` queries.

    Raises:
        UnusableResultsError: It did not.
    """
    if isinstance(returned, str) or not isinstance(returned, Sequence) or len(returned) != count:
        length = f" of {len(returned)}" if isinstance(returned, Sequence) else ""
        raise UnusableResultsError(
            f"The retriever must return one list of (document id, score) per query: {count} lists, not "
            f"{type(returned).__name__}{length}."
        )
    return list(returned)


def clean(results: Any, query: str, excluded: Sequence[str]) -> dict[str, float]:
    """Check what a retriever returned for a query and take out what is excluded.

    A document that stands twice keeps its best score.

    Raises:
        UnusableResultsError: A pair is not (string, number), or a score is NaN or infinite.
    """
    if isinstance(results, str) or not isinstance(results, Sequence):
        raise UnusableResultsError(
            f"The retriever must return a list of (document id, score) pairs; for query {query!r} it gave "
            f"{type(results).__name__}."
        )
    best: dict[str, float] = {}
    banned = set(excluded)
    finite = math.isfinite
    for pair in results:
        if type(pair) is tuple and len(pair) == 2 and type(pair[0]) is str and type(pair[1]) is float:
            document, score = pair
        else:
            document, score = _checked(pair, query)
        if not finite(score):
            raise UnusableResultsError(
                f"The score of document {document!r} for query {query!r} is {score} (it must be a finite number). Look "
                "at the vectors of that query and document."
            )
        if document not in banned and ((before := best.get(document)) is None or before < score):
            best[document] = score
    return best


def _checked(pair: Any, query: str) -> tuple[str, float]:
    if not isinstance(pair, tuple | list) or len(pair) != 2 or not isinstance(pair[0], str):
        raise UnusableResultsError(
            f"The retriever must return (document id, score) pairs; for query {query!r} it gave {pair!r}."
        )
    if not is_number(pair[1]):
        raise UnusableResultsError(
            f"The score of document {pair[0]!r} for query {query!r} is {pair[1]!r}, not a number."
        )
    return pair[0], float(pair[1])


def collapse(scores: Mapping[str, float], corpus: Mapping[str, Any]) -> dict[str, float]:
    """Let a document take the place of its chunks, with the score of the best of them.

    ``<id>#<n>`` is a chunk of ``<id>`` where the corpus has ``<id>`` and not ``<id>#<n>``.
    """
    if scores.keys() <= corpus.keys():
        return dict(scores)
    merged: dict[str, float] = {}
    for name, score in scores.items():
        document = name
        if name not in corpus and (match := _CHUNK.fullmatch(name)) and match[1] in corpus:
            document = match[1]
        merged[document] = max(merged.get(document, -math.inf), score)
    return merged


def overlooked(system: System, dataset: RetrievalDataset, collapsing: bool) -> tuple[int, int]:
    """Return how many documents of the corpus the index lacks, and how many it has beyond the corpus."""
    if system.index_ids is None:
        return 0, 0
    names: set[str] = set(system.index_ids)
    if collapsing:
        names = set(collapse(dict.fromkeys(names, 0.0), dataset.corpus))
    return len(dataset.corpus.keys() - names), len(names - dataset.corpus.keys())


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that decide figures, as far as they are installed."""
    return dict(_versions())


@functools.cache  # what a process has imported stays what it is
def _versions() -> dict[str, str]:
    installed = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def _ours(retriever: RaderRetriever) -> System:
    index = retriever.index

    def search(queries: list[str], excluded: list[list[str]], depth: int, questions: list[str]) -> list[Results]:
        hit_lists = retriever.search_batch(queries, depth, exclude_ids=excluded, rerank_queries=questions)
        return [[(hit.document.id, hit.score) for hit in hits] for hits in hit_lists]

    return System(search, retriever.describe(), frozenset(index.ids()))


def describe_retriever(retriever: RaderRetriever) -> dict[str, Any]:
    """Return what decides the results of a retriever: :meth:`RaderRetriever.describe`."""
    return retriever.describe()


def _function(retriever: SearchFunction) -> System:
    takes_k = _takes_k(retriever)
    loop = EventLoopThread()

    def search(queries: list[str], excluded: list[list[str]], depth: int, questions: list[str]) -> Any:
        extra = max(map(len, excluded), default=0)
        options: dict[str, int] = {"k": depth + extra} if takes_k else {}
        results = retriever(queries, **options)
        return loop.run(results) if inspect.isawaitable(results) else results

    name = getattr(retriever, "__qualname__", type(retriever).__qualname__)
    about: dict[str, Any] = {"kind": "function", "name": f"{retriever.__module__}.{name}"}
    describe = getattr(retriever, "describe", None)
    if callable(describe):
        about["description"] = described = describe()
        if isinstance(described, Mapping) and isinstance(described.get("name"), str):
            about["name"] = described["name"]
    return System(search, about, close=loop.close)


def _takes_k(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    return "k" in parameters and parameters["k"].kind is not inspect.Parameter.POSITIONAL_ONLY
