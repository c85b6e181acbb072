"""`RaderReranker`: the rerankers of :mod:`rader_plugins` as a LangChain document compressor."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ConfigDict, Field, PrivateAttr, SkipValidation, field_validator
from typing_extensions import Self

from langchain_rader._inner import inner_runs
from langchain_rader._retrieved import RetrievedDocument
from rader_plugins.background import in_thread
from rader_plugins.documents import Hit
from rader_plugins.errors import InputError
from rader_plugins.recipes import Recipe
from rader_plugins.reranking import Reranker, load_reranker
from rader_plugins.reranking.base import as_hits

__all__ = ["RaderReranker"]


class RaderReranker(BaseDocumentCompressor):
    """Orders retrieved documents anew by a model that reads question and document together.

    Returned documents are copies, best first, with their id and with ``relevance_score`` in their metadata; documents
    with equal scores keep their order. A reranker that weighs in the first stage's score reads it from the metadata key
    ``score``, where :class:`langchain_rader.RaderRetriever` puts it. May be used from several threads and from asyncio.

    Setup:
        ```bash
        pip install 'rader-plugins[langchain,local]'
        ```

    Key init args:
        model: Registered name (``"rader-reranker-7b"``), directory or hub id of a cross-encoder, a ``Recipe``, or any
            ready ``rader_plugins.reranking.Reranker``.
        top_n: How many documents to keep; None keeps all.
        reranker_options: Options of ``rader_plugins.reranking.load_reranker``: ``device``, ``dtype``, ...

    Instantiate:
        ```python
        from langchain_rader import RaderReranker

        reranker = RaderReranker(model="cross-encoder/ms-marco-MiniLM-L6-v2", top_n=5)
        ```

    Usage:
        ```python
        reranker.compress_documents(documents, "How many guests must I invite?")
        await reranker.acompress_documents(documents, "How many guests must I invite?")
        ```

    Use within a chain:
        ```python
        from langchain_classic.retrievers import ContextualCompressionRetriever

        retriever = RaderRetriever(index="my-index", k=100)
        reranked = ContextualCompressionRetriever(base_retriever=retriever, base_compressor=reranker)
        chain = {"context": reranked, "question": RunnablePassthrough()} | prompt | llm
        ```

    Raises:
        ValueError: The model cannot be found or is no reranker, or an argument is unknown or out of its range.
        MissingExtraError: The model needs an extra that is not installed; the message has the ``pip install`` line.
    """

    model_config = ConfigDict(
        extra="forbid", protected_namespaces=(), arbitrary_types_allowed=True, hide_input_in_errors=True
    )

    model: SkipValidation[str | os.PathLike[str] | Recipe | Reranker]
    top_n: int | None = Field(default=None, ge=0)
    reranker_options: dict[str, Any] = Field(default_factory=dict, repr=False, exclude=True)

    _reranker: Reranker = PrivateAttr()

    @field_validator("model", mode="after")
    @classmethod
    def _check_type(cls, value: object) -> object:
        if isinstance(value, str | os.PathLike | Recipe | Reranker):
            return value
        raise InputError(f"it must be a name, directory, hub id, Recipe or Reranker, not {type(value).__name__}.")

    def model_post_init(self, context: Any, /) -> None:
        """Load the reranker, so that a misspelt name is an error here and not at the first question."""
        if not isinstance(self.model, Reranker):
            self._reranker = load_reranker(self.model, **self.reranker_options)
            return
        if self.reranker_options:
            raise InputError(
                f"A ready reranker takes no options ({', '.join(sorted(self.reranker_options))}): pass them to "
                "load_reranker()."
            )
        self._reranker = self.model

    @property
    def reranker(self) -> Reranker:
        """The reranker behind this object."""
        return self._reranker

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Return copies of the ``top_n`` best documents, best first.

        Args:
            documents: What was retrieved, best first.
            query: The question, as it was asked.
            callbacks: Hear of the calls of a chat model that grades.
        """
        hits = _hits(documents)
        with inner_runs(callbacks):
            ranking = self._reranker.rerank(query, hits, self.top_n) if hits else []
        return self._documents(ranking, hits, documents)

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """As :meth:`compress_documents`, without blocking the event loop."""
        hits = await in_thread(_hits, documents)
        with inner_runs(callbacks):
            ranking = await self._reranker.arerank(query, hits, self.top_n) if hits else []
        return self._documents(ranking, hits, documents)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self.model_copy()  # the model is shared: it is made for many users

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # where it is unpickled the model is loaded anew

    def _documents(self, found: list[Hit], hits: list[Hit], given: Sequence[Document]) -> list[Document]:
        by_name = {hit.document.id: document for hit, document in zip(hits, given, strict=True)}
        return [_scored(by_name[hit.document.id], hit.score) for hit in found]


def _hits(documents: Sequence[Document]) -> list[Hit]:
    if isinstance(documents, Document | str):
        raise InputError(f"Pass a list of documents, not one {type(documents).__name__}: [document].")
    return as_hits(
        [document.page_content for document in documents],
        ids=[document.id for document in documents],
        scores=[document.metadata.get("score") for document in documents],
    )


def _scored(document: Document, score: float) -> Document:
    metadata = {**document.metadata, "relevance_score": score}
    return RetrievedDocument(id=document.id, page_content=document.page_content, metadata=metadata)
