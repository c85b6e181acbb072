"""`RaderVectorStore`: a RaDeR index as a LangChain vector store."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, get_args

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever
from typing_extensions import Self

from langchain_rader._convert import check_names, from_core, to_core, to_core_filter, to_documents, with_id
from langchain_rader._encoders import EmbeddingsEncoder, as_encoder, default_instruction
from langchain_rader._indexing import COMMIT_EVERY, aadd, add, open_or_create
from langchain_rader._search import near, relevance, scored, search_diverse, unit
from rader_plugins.background import in_thread
from rader_plugins.construction import ByConstruction
from rader_plugins.errors import InputError
from rader_plugins.index import Index, find_index
from rader_plugins.retrieval import Mode
from rader_plugins.retrieval import RaderRetriever as CoreRetriever

__all__ = ["RaderVectorStore"]

_SEARCH_OPTIONS = ("filter", "mode", "alpha", "exclude_ids", "instruction")
_VECTOR_OPTIONS = ("filter", "exclude_ids")


class _StoreRetriever(VectorStoreRetriever):
    """LangChain's retriever over a store, whose documents also have their id where other retrievers look for it."""

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        documents = super()._get_relevant_documents(query, run_manager=run_manager, **kwargs)
        return [with_id(document) for document in documents]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        documents = await super()._aget_relevant_documents(query, run_manager=run_manager, **kwargs)
        return [with_id(document) for document in documents]


class RaderVectorStore(ByConstruction, VectorStore):
    """Documents and vectors in a RaDeR index, in memory or on disk, behind LangChain's vector store interface.

    The index is made with the first document, since only then the length of the vectors is sure to be known.
    Similarity is the cosine. May be used from several threads and from asyncio; async methods do not block the event
    loop.

    Setup:
        ```bash
        pip install 'rader-plugins[langchain,local,mini]'
        ```

    Key init args:
        embedding: ``RaderEmbeddings`` or any other LangChain embedding model.
        path: Folder of the index, or its URL in an engine. One that is there is opened, and must have been made with
            the same embedding model. None keeps it in memory.
        mode: How ``similarity_search`` ranks: ``"dense"`` (cosine), ``"hybrid"`` (with BM25) or ``"bm25"``.
        alpha: Weight of the dense score in hybrid mode, 0 to 1.
        dtype: How a new index stores vectors: ``"float32"`` or ``"float16"``.
        ann: Approximate search of a new index: None (exact), ``"hnsw"`` or ``"ivfpq"``.
        embedding_id: Name of the vectors, for an embedding model whose public settings do not tell, or tell too
            much (an index made with other settings is refused).

    Instantiate:
        ```python
        from langchain_rader import RaderEmbeddings, RaderVectorStore

        store = RaderVectorStore(embedding=RaderEmbeddings(model="mini"), path="my-index")
        ```

    Usage:
        >>> from langchain_rader import RaderEmbeddings, RaderVectorStore
        >>> store = RaderVectorStore(embedding=RaderEmbeddings(model="mini"))
        >>> store.add_texts(
        ...     ["Ramsey's theorem ...", "Bayes' theorem ..."], [{"year": 1930}, {"year": 1763}], ids=["r", "b"]
        ... )
        ['r', 'b']
        >>> store.similarity_search("conditional probability", k=1, filter={"year": {"$lt": 1900}})[0].id
        'b'

        Searches take ``filter`` (dict or function of a document, applied before ranking), ``exclude_ids``, ``mode``,
        ``alpha`` and ``instruction``. A text added without an id gets a digest of text and metadata as its id.

    Use within a chain:
        ```python
        retriever = store.as_retriever(search_type="mmr", search_kwargs={"k": 4, "filter": {"lang": "en"}})
        chain = {"context": retriever, "question": RunnablePassthrough()} | prompt | llm
        ```

    Raises:
        InputError: An argument is unusable.
        FingerprintMismatchError: The index at ``path`` was made with another embedding model.
    """

    def __init__(
        self,
        embedding: Embeddings,
        path: str | os.PathLike[str] | None = None,
        *,
        mode: Mode = "dense",
        alpha: float = 0.8,
        dtype: Literal["float32", "float16"] = "float32",
        ann: str | None = None,
        embedding_id: str | None = None,
    ) -> None:
        if not isinstance(embedding, Embeddings):
            raise InputError(
                f"embedding must be a LangChain embedding model such as RaderEmbeddings(model='mini'), not "
                f"{type(embedding).__name__}."
            )
        if mode not in get_args(Mode) or not 0 <= alpha <= 1:
            raise InputError(
                f"mode is one of {', '.join(get_args(Mode))} and alpha lies between 0 and 1; not {mode!r}, {alpha!r}."
            )
        self._embedding = embedding
        self._encoder = (
            as_encoder(embedding) if embedding_id is None else EmbeddingsEncoder(embedding, identity=embedding_id)
        )
        self._path = path
        self._defaults: dict[str, Any] = {
            "mode": mode,
            "alpha": alpha,
            "instruction": default_instruction(embedding) if embedding_id is None else None,
        }
        self._index_options: dict[str, Any] = {"dtype": dtype, "ann": ann}
        self._index_lock = threading.Lock()
        self._index = find_index(path, self._encoder) if path is not None else None

    @property
    def embeddings(self) -> Embeddings:
        """The embedding model."""
        return self._embedding

    @property
    def index(self) -> Index | None:
        """The index, for what this class does not show (``optimize``, ``stats``); None before the first document."""
        if self._index is None and self._path is not None:
            with self._index_lock:  # another process may have made it since
                if self._index is None:
                    self._index = find_index(self._path, self._encoder)
        return self._index

    def close(self) -> None:
        """Close the index. One in memory is gone afterwards."""
        if self._index is not None:
            self._index.close()

    def __reduce__(self) -> tuple[Any, ...]:
        if self._path is None and self._index is not None and len(self._index):
            raise InputError("A store in memory cannot be pickled: give it a path.")
        return super().__reduce__()

    def as_retriever(self, **kwargs: Any) -> VectorStoreRetriever:
        """Return a retriever over the store; its documents also have their id as ``doc_id`` in the metadata."""
        tags = kwargs.pop("tags", None) or self._get_retriever_tags()
        return _StoreRetriever(vectorstore=self, tags=tags, **kwargs)

    # Adding and deleting

    def _index_to_write(self) -> Index:
        with self._index_lock:
            if self._index is None:
                self._index = open_or_create(self._path, self._encoder, **self._index_options)
            return self._index

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Add texts, or replace those of the same id; see :meth:`add_documents`."""
        return self.add_documents(to_documents(texts, metadatas), ids=ids, **kwargs)

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """As :meth:`add_texts`, without blocking the event loop."""
        return await self.aadd_documents(to_documents(texts, metadatas), ids=ids, **kwargs)

    def add_documents(
        self, documents: list[Document], ids: Sequence[str | None] | None = None, **kwargs: Any
    ) -> list[str]:
        """Add documents, or replace those of the same id.

        Args:
            documents: The documents; their metadata must be JSON.
            ids: Ids in place of the documents' own. None, or None for one of them, takes the document's own; one that
                has none gets a digest of its text and metadata, so identical ones become one.
            **kwargs: ``batch_size``: documents per commit. ``source_id_key``: a metadata key; stored documents that
                share its value with one of these, and are none of these, are deleted, as
                :meth:`RaderRetriever.from_documents` does it. By default nothing is deleted.

        Returns:
            The id of every document, in order.

        Raises:
            InputError: A document cannot be stored, or one id stands for two different documents.
        """
        options = _adding_options(kwargs)
        prepared = to_core(documents, ids)
        return add(self._index_to_write(), prepared, **options) if prepared else []

    async def aadd_documents(
        self, documents: list[Document], ids: Sequence[str | None] | None = None, **kwargs: Any
    ) -> list[str]:
        """As :meth:`add_documents`, without blocking the event loop."""
        options = _adding_options(kwargs)
        prepared = await in_thread(to_core, documents, ids)
        if not prepared:
            return []
        if isinstance(self._encoder, EmbeddingsEncoder):
            await self._encoder.afind_dimension()
        return await aadd(await in_thread(self._index_to_write), prepared, **options)

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Delete documents by id; ids that are not stored are ignored. None deletes all, as LangChain defines it."""
        check_names(kwargs, (), "delete()")
        index = self.index
        if index is not None:
            index.delete(index.ids() if ids is None else ids)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the documents with these ids, in this order; ids that are not stored are left out."""
        index = self.index
        return [from_core(document) for document in index.get(ids)] if index is not None else []

    # Searching

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """Return the ``k`` best documents, as they were stored, best first.

        Args:
            query: Text of the question.
            k: How many documents to return.
            **kwargs: ``filter`` (dict of metadata conditions or function of a document, applied before ranking),
                ``exclude_ids``, ``mode``, ``alpha``, ``instruction``.
        """
        return [document for document, _ in self.similarity_search_with_score(query, k, **kwargs)]

    async def asimilarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """As :meth:`similarity_search`, without blocking the event loop."""
        return [document for document, _ in await self.asimilarity_search_with_score(query, k, **kwargs)]

    def similarity_search_with_score(self, query: str, k: int = 4, **kwargs: Any) -> list[tuple[Document, float]]:
        """As :meth:`similarity_search`, with scores; higher is better (in dense mode: the cosine)."""
        options = self._options(kwargs, _SEARCH_OPTIONS, "similarity_search()")
        index = self.index
        return [] if index is None else scored(CoreRetriever(index).search(query, k, **options))

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """As :meth:`similarity_search_with_score`, without blocking the event loop."""
        options = self._options(kwargs, _SEARCH_OPTIONS, "similarity_search()")
        index = await in_thread(lambda: self.index)
        return [] if index is None else scored(await CoreRetriever(index).asearch(query, k, **options))

    def similarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Return the ``k`` documents of the highest cosine with a vector, and the cosines.

        Args:
            embedding: The vector, of any length but zero.
            k: How many documents to return.
            **kwargs: Any of ``filter`` and ``exclude_ids``, as in :meth:`similarity_search`.
        """
        options = self._options(kwargs, _VECTOR_OPTIONS, "similarity_search_by_vector()")
        return scored(near(self.index, "", unit(embedding), k, options))

    def similarity_search_by_vector(self, embedding: list[float], k: int = 4, **kwargs: Any) -> list[Document]:
        """As :meth:`similarity_search_with_score_by_vector`, without the cosines."""
        scored_documents = self.similarity_search_with_score_by_vector(embedding, k, **kwargs)
        return [document for document, _ in scored_documents]

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Return ``k`` documents that are similar to the query and differ from one another.

        Args:
            query: Text of the question.
            k: How many documents to return.
            fetch_k: Among how many of the best they are chosen.
            lambda_mult: 1 for the most relevant, 0 for the most diverse ones.
            **kwargs: Any option of :meth:`similarity_search`.
        """
        options = self._options(kwargs, _SEARCH_OPTIONS, "max_marginal_relevance_search()")
        vector = self._encoder.encode_queries([query], instruction=options.pop("instruction"))[0]
        return search_diverse(self.index, query, vector, k, fetch_k, lambda_mult, options)

    async def amax_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """As :meth:`max_marginal_relevance_search`, without blocking the event loop."""
        options = self._options(kwargs, _SEARCH_OPTIONS, "max_marginal_relevance_search()")
        vectors = await self._encoder.aencode_queries([query], instruction=options.pop("instruction"))
        index = await in_thread(lambda: self.index)
        return await in_thread(search_diverse, index, query, vectors[0], k, fetch_k, lambda_mult, options)

    def max_marginal_relevance_search_by_vector(
        self, embedding: list[float], k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """As :meth:`max_marginal_relevance_search`, from a vector."""
        options = self._options(kwargs, _VECTOR_OPTIONS, "max_marginal_relevance_search_by_vector()")
        return search_diverse(self.index, "", unit(embedding), k, fetch_k, lambda_mult, options)

    async def amax_marginal_relevance_search_by_vector(
        self, embedding: list[float], k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """As :meth:`max_marginal_relevance_search_by_vector`, without blocking the event loop."""
        return await in_thread(
            self.max_marginal_relevance_search_by_vector, embedding, k, fetch_k, lambda_mult, **kwargs
        )

    def _options(self, given: dict[str, Any], known: Sequence[str], where: str) -> dict[str, Any]:
        """Return what to search by. A search by vector has no words to go by, so it is dense."""
        check_names(given, known, where)
        defaults = self._defaults if known is _SEARCH_OPTIONS else {"mode": "dense"}
        options = defaults | {name: value for name, value in given.items() if value is not None}
        return options | {"filter": to_core_filter(options.get("filter"))}

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        """Relevance is the cosine, and 0 where that is negative."""
        return relevance(self._defaults["mode"])

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        scale = relevance(kwargs.get("mode") or self._defaults["mode"])
        scored_documents = self.similarity_search_with_score(query, k, **kwargs)
        return [(document, scale(score)) for document, score in scored_documents]

    async def _asimilarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        scale = relevance(kwargs.get("mode") or self._defaults["mode"])
        scored_documents = await self.asimilarity_search_with_score(query, k, **kwargs)
        return [(document, scale(score)) for document, score in scored_documents]

    # Making one

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Make a store (``**kwargs`` as for the class) and add texts to it."""
        store = cls(embedding, **kwargs)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    @classmethod
    async def afrom_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> Self:
        """As :meth:`from_texts`, without blocking the event loop."""
        store = await in_thread(cls, embedding, **kwargs)
        await store.aadd_texts(texts, metadatas, ids=ids)
        return store


def _adding_options(given: dict[str, Any]) -> dict[str, Any]:
    check_names(given, ("batch_size", "source_id_key"), "add_documents()")
    return {"commit_every": given.get("batch_size", COMMIT_EVERY), "source_id_key": given.get("source_id_key")}
