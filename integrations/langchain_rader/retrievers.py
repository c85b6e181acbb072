"""`RaderRetriever`: hybrid, dense or BM25 search over a RaDeR index as a LangChain retriever."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams
from pydantic import BeforeValidator, ConfigDict, Field, SkipValidation, model_validator
from typing_extensions import Self

from langchain_rader._convert import (
    DocumentFilter,
    check_names,
    from_hit,
    to_core,
    to_core_filter,
    to_documents,
)
from langchain_rader._encoders import EmbeddingsEncoder, Model, as_encoder, default_instruction
from langchain_rader._fields import FilterField, IndexField, StageField
from langchain_rader._indexing import aadd, add, open_or_create
from langchain_rader._inner import inner_runs
from rader_plugins.background import in_thread
from rader_plugins.encoding import Encoder
from rader_plugins.index import Index, check_index, open_index
from rader_plugins.reranking import Reranker
from rader_plugins.reranking.load import as_reranker
from rader_plugins.retrieval import Mode
from rader_plugins.retrieval import RaderRetriever as CoreRetriever
from rader_plugins.retrieval.expansion import QueryExpansion, check_expansion

__all__ = ["RaderRetriever"]

_CALL_OPTIONS = ("k", "filter", "mode", "alpha", "exclude_ids", "instruction", "rerank_top")


def _open(index: object) -> object:
    return open_index(index) if isinstance(index, str | os.PathLike) else check_index(index)


class RaderRetriever(BaseRetriever):
    """Finds documents by reasoning-aware embeddings, by BM25, or by both.

    Each document that it returns has its ``id``, and in a copy of its metadata ``doc_id`` (the same id, for retrievers
    that merge results by a key), ``score`` (higher is better) and ``scores`` (what made the score: ``dense``,
    ``bm25``, ``fused``, ``rerank``, ``grade``). Stored metadata of these names is then found under ``stored``.

    Setup:
        ```bash
        pip install 'rader-plugins[langchain,local,mini]'
        ```

    Key init args:
        index: A ``rader_plugins.RaderIndex`` or another ``rader_plugins.index.Index``, or the path of one.
        k: How many documents; more than the index holds gives all.
        mode: ``"hybrid"``, ``"dense"`` or ``"bm25"`` (only documents that share a word with the query).
        alpha: Weight of the dense score in hybrid mode, 0 to 1.
        filter: Dict of metadata conditions (``{"year": {"$gte": 2000}}``; ``$eq $ne $in $nin $gt $gte $lt $lte $exists
            $and $or $not``) or a function from document to bool. Applied before ranking: k documents come back if k
            match.
        instruction: Replaces the model's own task instruction for queries.
        exclude_ids: Documents that must not be returned.
        reranker: Orders the best ``rerank_top`` documents anew, by the question as it was asked: a name, directory or
            hub id (``rader_plugins.reranking.load_reranker``), a ``Recipe``, any ``Reranker`` (``LLMReranker(
            LangChainChat(llm))`` lets a chat model grade) or a ``RaderReranker``.
        rerank_top: How many documents the reranker sees; at least ``k`` of them.
        reasoning: Writes the text to search for from the question, such as ``ReasoningQuery(LangChainChat(llm))``.

    Instantiate:
        ```python
        from langchain_rader import RaderRetriever

        retriever = RaderRetriever.from_documents(documents, model="mini", path="my-index")  # makes or extends it
        retriever = RaderRetriever(index="my-index", k=4)  # opens it
        ```

    Usage:
        >>> retriever = RaderRetriever.from_texts(
        ...     ["Ramsey: among six people, three know each other or three do not.", "Bayes' theorem ..."],
        ...     ids=["ramsey", "bayes"],
        ... )
        >>> retriever.invoke("How many guests must I invite?", k=1)[0].id
        'ramsey'

        Everything but ``index``, ``reranker`` and ``reasoning`` can be set anew for one call, sync or async:
        ``invoke(query, k=2, filter={...})``. None keeps what the retriever was made with; ``filter={}`` takes a filter
        away.

    Use within a chain:
        ```python
        chain = (
            {"context": retriever | format_documents, "question": RunnablePassthrough()}
            | prompt
            | llm
            | StrOutputParser()
        )
        chain.invoke("How many guests must I invite so that three of them share a hobby?")
        ```

    Raises:
        ValueError: An argument is unknown or out of its range, or there is no index at a path.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", hide_input_in_errors=True)

    index: Annotated[SkipValidation[Index], BeforeValidator(_open), IndexField] = Field(repr=False)
    k: int = Field(default=4, ge=0)
    mode: Mode = "hybrid"
    alpha: float = Field(default=0.8, ge=0, le=1)
    filter: Annotated[SkipValidation[DocumentFilter | None], FilterField] = None
    instruction: str | None = None
    exclude_ids: Sequence[str] = ()
    reranker: Annotated[SkipValidation[Reranker | None], BeforeValidator(as_reranker), StageField] = Field(
        default=None, repr=False
    )
    rerank_top: int = Field(default=100, ge=1)
    reasoning: Annotated[SkipValidation[QueryExpansion | None], BeforeValidator(check_expansion), StageField] = Field(
        default=None, repr=False
    )

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, given: Any) -> Any:
        """Name the argument that was meant where one is called as elsewhere."""
        if isinstance(given, dict):
            check_names(given, list(cls.model_fields), f"{cls.__name__}()")
        return given

    @classmethod
    def from_documents(
        cls,
        documents: Iterable[Document],
        model: Model = "mini",
        path: str | os.PathLike[str] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        source_id_key: str | None = "source",
        encoder_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Index documents and return a retriever over them.

        Args:
            documents: The documents; their metadata must be JSON. One without an id gets a digest of its text and
                metadata, so that indexing it again does not double it.
            model: What embeds: a name, directory, hub id, URL, ``Recipe``, ``Encoder`` or LangChain ``Embeddings``.
            path: Folder of the index; one that is there is opened and extended, and documents that it holds
                unchanged are not embedded again. None keeps the index in memory.
            ids: Ids in place of the documents' own.
            source_id_key: Metadata key of what a document was made from, such as the ``source`` of LangChain's loaders.
                All documents of a source belong in one call: stored ones with the same source that are not among
                these are deleted, so that a changed file does not leave its old text behind (as LangChain's
                ``index(..., cleanup="incremental")``). None deletes nothing.
            encoder_options: Options of ``rader_plugins.load_encoder``: ``device``, ``dtype``, ``cache``, ...
            **kwargs: Fields of the retriever: ``k``, ``mode``, ``alpha``, ...

        Raises:
            InputError: A document cannot be stored, or one id stands for two different documents.
            FingerprintMismatchError: The index at ``path`` was built with another model.
        """
        cls._check_fields(kwargs)
        prepared = to_core(documents, ids)
        encoder = as_encoder(model, encoder_options)
        retriever = cls._over(path, encoder, default_instruction(model), kwargs)
        add(retriever.index, prepared, source_id_key=source_id_key)
        return retriever

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        metadatas: Sequence[Mapping[str, Any] | None] | None = None,
        ids: Sequence[str | None] | None = None,
        model: Model = "mini",
        path: str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Index texts and return a retriever over them; see :meth:`from_documents`."""
        return cls.from_documents(to_documents(texts, metadatas), model, path, ids=ids, **kwargs)

    @classmethod
    async def afrom_documents(
        cls,
        documents: Iterable[Document],
        model: Model = "mini",
        path: str | os.PathLike[str] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        source_id_key: str | None = "source",
        encoder_options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Self:
        """As :meth:`from_documents`, without blocking the event loop."""
        cls._check_fields(kwargs)
        prepared = await in_thread(to_core, documents, ids)
        encoder = await in_thread(as_encoder, model, encoder_options)
        if isinstance(encoder, EmbeddingsEncoder):
            await encoder.afind_dimension()
        instruction = default_instruction(model)
        retriever = await in_thread(cls._over, path, encoder, instruction, kwargs)
        await aadd(retriever.index, prepared, source_id_key=source_id_key)
        return retriever

    @classmethod
    async def afrom_texts(
        cls,
        texts: Iterable[str],
        metadatas: Sequence[Mapping[str, Any] | None] | None = None,
        ids: Sequence[str | None] | None = None,
        model: Model = "mini",
        path: str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> Self:
        """As :meth:`from_texts`, without blocking the event loop."""
        return await cls.afrom_documents(to_documents(texts, metadatas), model, path, ids=ids, **kwargs)

    @classmethod
    def _over(
        cls,
        path: str | os.PathLike[str] | None,
        encoder: Encoder,
        instruction: str | None,
        fields: Mapping[str, Any],
    ) -> Self:
        index = open_or_create(path, encoder)
        return cls(index=index, **{"instruction": instruction, **fields})

    @classmethod
    def _check_fields(cls, fields: Mapping[str, Any]) -> None:
        """Find a misspelt argument before anything is embedded."""
        check_names(fields, [name for name in cls.model_fields if name != "index"], cls.__name__)

    def add_documents(
        self,
        documents: Iterable[Document],
        ids: Sequence[str | None] | None = None,
        *,
        source_id_key: str | None = None,
    ) -> list[str]:
        """Add documents to the index, or replace those of the same id; return their ids.

        With ``source_id_key`` stored documents of the same source are replaced too, as :meth:`from_documents` does it.
        """
        return add(self.index, to_core(documents, ids), source_id_key=source_id_key)

    async def aadd_documents(
        self,
        documents: Iterable[Document],
        ids: Sequence[str | None] | None = None,
        *,
        source_id_key: str | None = None,
    ) -> list[str]:
        """As :meth:`add_documents`, without blocking the event loop."""
        return await aadd(self.index, await in_thread(to_core, documents, ids), source_id_key=source_id_key)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        retriever, options = self._prepared(kwargs)
        with inner_runs(run_manager.get_child()):
            hits = retriever.search(query, **options)
        return [from_hit(hit) for hit in hits]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        retriever, options = self._prepared(kwargs)
        with inner_runs(run_manager.get_child()):
            hits = await retriever.asearch(query, **options)
        return [from_hit(hit) for hit in hits]

    @property
    def core(self) -> CoreRetriever:
        """The retriever of ``rader_plugins`` that searches as this one does; it knows no ``k`` and no ``filter``."""
        return self._core(self.rerank_top)

    def _core(self, rerank_top: int) -> CoreRetriever:
        return CoreRetriever(
            self.index,
            self.mode,
            self.alpha,
            self.instruction,
            reranker=self.reranker,
            rerank_top=rerank_top,
            reasoning=self.reasoning,
        )

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self.model_copy()  # index and models are shared: they are made for many users

    def _prepared(self, given: dict[str, Any]) -> tuple[CoreRetriever, dict[str, Any]]:
        """Return what searches, and the options of one call."""
        # BaseRetriever reads `verbose` for its callbacks and hands it on.
        given = {name: value for name, value in given.items() if name != "verbose"}
        check_names(given, _CALL_OPTIONS, f"{type(self).__name__}.invoke()")
        options = {name: getattr(self, name) if given.get(name) is None else given[name] for name in _CALL_OPTIONS}
        options["filter"] = to_core_filter(options["filter"])
        return self._core(options.pop("rerank_top")), options

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        """Tell traces which index and which model answered."""
        params = super()._get_ls_params(**kwargs)
        params["ls_vector_store_provider"] = type(self.index).__name__
        params["ls_embedding_provider"] = "rader_plugins"
        params["ls_embedding_model"] = self.index.recipe.name if self.index.recipe else None
        return params
