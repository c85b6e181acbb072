"""`searchable`: LangChain retrievers, chains and agents made ready for ``rader_plugins.evaluation.evaluate``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import HumanMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever

from langchain_rader._rag import question_key
from langchain_rader._reading import documents_of
from langchain_rader.retrievers import RaderRetriever
from rader_plugins.errors import InputError
from rader_plugins.evaluation.adapter_support import check_about, in_order, known_settings, source_id
from rader_plugins.evaluation.systems import UnusableResultsError, describe_retriever
from rader_plugins.recording import DOCUMENT_KEYS

__all__ = ["Searchable", "adapt", "searchable"]

Pairs = list[list[tuple[str, float]]]
_ID_REMEDY = (
    "Give the documents an id or metadata['doc_id'], or say which metadata key holds it: "
    "searchable(system, id_key='source_id')."
)


class Searchable:
    """A LangChain runnable as a search for ``rader_plugins.evaluation.evaluate``; :func:`searchable` makes it."""

    def __init__(
        self,
        system: Runnable[Any, Any],
        *,
        id_key: str | None = None,
        sources: str | Callable[[Any], Any] | None = None,
        input: str | Callable[[str], Any] | None = None,
        pass_k: bool | None = None,
        config: RunnableConfig | None = None,
        use_async: bool = False,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        if isinstance(system, VectorStore):
            raise InputError(f"{type(system).__name__} is searched through its retriever: store.as_retriever().")
        if not isinstance(system, Runnable):
            raise InputError(
                f"searchable() takes a LangChain retriever or another runnable, not {type(system).__name__}."
            )
        self.system = system
        self.id_key = id_key
        self.sources = sources
        self.input = input
        self.pass_k = isinstance(system, RaderRetriever | VectorStoreRetriever) if pass_k is None else pass_k
        self.config = config
        self.use_async = use_async
        self.about = check_about(about)
        self._takes_messages = input is None and _takes_messages(system)

    def __call__(self, queries: list[str], k: int | None = None) -> Pairs | Awaitable[Pairs]:
        """Return (document id, score) pairs for every query; an awaitable of them with ``use_async``."""
        options: dict[str, Any] = {"k": k} if self.pass_k and k is not None else {}
        inputs = [self._input(query) for query in queries]
        if self.use_async:
            return self._asearch(inputs, options)
        try:
            if len(inputs) == 1:  # what one user waits for, without the threads of a batch
                outputs = [self.system.invoke(inputs[0], self.config, **options)]
            else:
                outputs = self.system.batch(inputs, self.config, **options)
        except (TypeError, NotImplementedError) as error:
            if isinstance(error, NotImplementedError) or "coroutine function synchronously" in str(error):
                raise UnusableResultsError(
                    f"{self._name()} cannot be called synchronously ({type(error).__name__}: {error}). If it can be "
                    "awaited: searchable(system, use_async=True)."
                ) from error
            raise
        return [self._pairs(output) for output in outputs]

    async def _asearch(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> Pairs:
        if len(inputs) == 1:
            outputs = [await self.system.ainvoke(inputs[0], self.config, **options)]
        else:
            outputs = await self.system.abatch(list(inputs), self.config, **options)
        return [self._pairs(output) for output in outputs]

    def describe(self) -> dict[str, Any]:
        """Return what is known of the system, for the manifest of an evaluation."""
        system = self.system
        described: dict[str, Any] = {
            "name": self._name(),
            "class": f"{type(system).__module__}.{type(system).__qualname__}",
            "langchain-core": version("langchain-core"),
            "settings": known_settings(system),
            "id_key": self.id_key,
            "sources": self.sources if isinstance(self.sources, str | None) else "a function",
            "k": "asked for" if self.pass_k else "its own",
            "about": self.about,
        }
        if isinstance(system, RaderRetriever):
            described["settings"] = known_settings(system, ("k", "filter", "exclude_ids"))
            described["retriever"] = describe_retriever(system.core)
        return described

    def _name(self) -> str:
        return getattr(self.system, "name", None) or type(self.system).__name__

    def _input(self, query: str) -> Any:
        if callable(self.input):
            return self.input(query)
        if self.input == "messages" or (self.input is None and self._takes_messages):
            return {"messages": [HumanMessage(query)]}
        return query if self.input is None else {self.input: query}

    def _pairs(self, output: Any) -> list[tuple[str, float]]:
        if callable(self.sources):
            output = self.sources(output)
        elif self.sources is not None:
            if not isinstance(output, Mapping) or self.sources not in output:
                raise UnusableResultsError(f"There is no {self.sources!r} (sources=) in {_shown(output)}.")
            output = output[self.sources]
        scored_documents = documents_of(output)
        if scored_documents is None:
            raise UnusableResultsError(
                f"{self._name()} returned {_shown(output)}, which reports no documents. Looked for are a list of "
                f"documents, a dict or state that holds one under {', '.join(map(repr, DOCUMENT_KEYS[:4]))}, ... and "
                "messages with documents as their artifact (of a tool with response_format='content_and_artifact'). "
                "Say where they are: "
                "searchable(system, sources='key'), or sources=function of the output; or let the chain return them "
                "beside its answer (RunnablePassthrough.assign)."
            )
        ids = [self._id(document) for document, _ in scored_documents]
        return in_order(ids, [score for _, score in scored_documents])

    def _id(self, document: Document) -> str:
        label = f"The document {document.page_content[:60]!r}"
        if self.id_key is not None:
            if self.id_key not in document.metadata:
                raise UnusableResultsError(
                    f"{label} has no {self.id_key!r} (id_key) in its metadata, which holds {sorted(document.metadata)}."
                )
            return source_id(document.metadata[self.id_key], label, f"It stands under {self.id_key!r} (id_key).")
        return source_id(document.metadata.get("doc_id") or document.id, label, _ID_REMEDY)


def searchable(
    system: Runnable[Any, Any],
    *,
    id_key: str | None = None,
    sources: str | Callable[[Any], Any] | None = None,
    input: str | Callable[[str], Any] | None = None,
    pass_k: bool | None = None,
    config: RunnableConfig | None = None,
    use_async: bool = False,
    about: Mapping[str, Any] | None = None,
) -> Searchable:
    """Make a retriever, a chain or an agent ready for ``rader_plugins.evaluation.evaluate``.

    The order of the documents that it reports is the ranking. Their scores (metadata ``relevance_score`` or ``score``,
    or of ``(document, score)`` pairs) are taken where they agree with that order; otherwise the ranks count.

    Args:
        system: Any runnable whose output reports documents.
        id_key: Metadata key of the id that the corpus knows. Chunks that share one count as one document, by the best
            of them. By default ``doc_id`` where the metadata have it, else the document's own id.
        sources: Where the output holds the documents: the key of a dict, or a function of the output. By default the
            output is a list of documents, a dict or state object that has one (under ``context``,
            ``source_documents``, ``documents``, ...), or messages whose ``artifact`` is one.
        input: The key of the dict in which the runnable wants its question, or a function that makes the input of the
            question. By default ``messages`` of a graph or agent that takes these, else the question itself.
        pass_k: Whether to call the runnable with ``k=``, how many documents the evaluation needs. By default done for
            retrievers that are known to take it: ours and those of vector stores. All others return what they return.
        config: Callbacks, tags and the like, for every call.
        use_async: Call ``ainvoke``, for what can only be awaited.
        about: A JSON object with what else decides the results (prompts, models, versions), for the manifest.

    Raises:
        InputError: ``system`` is no runnable, or ``about`` is not JSON.

    Example:
        >>> from langchain_core.documents import Document
        >>> from langchain_core.runnables import RunnableLambda
        >>> chain = RunnableLambda(lambda question: {"answer": "6", "context": [Document("...", id="ramsey")]})
        >>> searchable(chain)(["How many guests must I invite?"])
        [[('ramsey', 1.0)]]
    """
    return Searchable(
        system,
        id_key=id_key,
        sources=sources,
        input=input,
        pass_k=pass_k,
        config=config,
        use_async=use_async,
        about=about,
    )


def adapt(system: object) -> Searchable | None:
    """Return the search for an object that ``evaluate`` was given; None if it is nothing of LangChain's to search."""
    if isinstance(system, Searchable):
        return system
    return Searchable(system) if isinstance(system, Runnable | VectorStore) else None  # type: ignore[arg-type]


def _takes_messages(system: Runnable[Any, Any]) -> bool:
    if isinstance(system, BaseRetriever):
        return False
    try:
        return question_key(system) == "messages"
    except InputError:  # it takes something else: the question goes in as it is, as before
        return False


def _shown(output: Any) -> str:
    if isinstance(output, Mapping):
        return f"a dict with the keys {', '.join(map(repr, output))}"
    return type(output).__name__
