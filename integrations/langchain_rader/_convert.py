"""Between LangChain's types and those of :mod:`rader_plugins`."""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from langchain_core.documents import Document as LangChainDocument

from langchain_rader._retrieved import RESULT_KEYS, RetrievedDocument
from rader_plugins.documents import Document, Hit, check_text, metadata_json
from rader_plugins.errors import InputError
from rader_plugins.files import canonical_json, fingerprint
from rader_plugins.index import Filter

__all__ = [
    "DocumentFilter",
    "check_names",
    "from_core",
    "from_hit",
    "same_document",
    "to_core",
    "to_core_filter",
    "to_documents",
    "unique",
    "with_id",
]

# What other frameworks and stores call the same.
_ELSEWHERE = {
    "similarity_top_k": "k",
    "top_k": "k",
    "top_n": "k",
    "limit": "k",
    "n_results": "k",
    "filters": "filter",
    "where": "filter",
    "metadata_filter": "filter",
    "vector_store_query_mode": "mode",
    "search_type": "mode",
    "ids_to_exclude": "exclude_ids",
}

DocumentFilter: TypeAlias = Mapping[str, Any] | Callable[[LangChainDocument], bool]
"""A dict of conditions (see :mod:`rader_plugins.index.filters`), or a function of a LangChain document."""

_SHADOWING = RESULT_KEYS[:3]
_SHADOWED = "stored"


def to_core(documents: Iterable[LangChainDocument], ids: Sequence[str | None] | None = None) -> list[Document]:
    """Convert and check documents, one for one.

    Args:
        documents: The LangChain documents to convert.
        ids: Ids of the documents; None, or None for one of them, takes the document's own. A document with neither gets
            a digest of its text and metadata, so that adding it again replaces it instead of doubling it.

    Raises:
        InputError: Something is no document, an id, text or metadata cannot be stored, or one id stands for two
            different documents.
    """
    if isinstance(documents, LangChainDocument | str):
        raise InputError(f"Pass a list of documents, not one {type(documents).__name__}: [document].")
    originals = list(documents)
    names: list[str | None] = [None] * len(originals) if ids is None else list(_id_list(ids))
    if len(names) != len(originals):
        raise InputError(f"There are {len(names)} ids for {len(originals)} documents or texts; give one for each.")
    converted: list[Document] = []
    first: dict[str, Document] = {}
    for number, (document, name) in enumerate(zip(originals, names, strict=True)):
        core = _converted(document, name, number)
        earlier = first.setdefault(core.id, core)
        if earlier is not core and not same_document(earlier, core):
            raise InputError(
                f"The id {core.id!r} stands twice in one call, with different text or metadata, so it is unclear "
                "which one should win."
            )
        converted.append(core)
    return converted


def _id_list(ids: Sequence[str | None]) -> Sequence[str | None]:
    if isinstance(ids, str):
        raise InputError(f"ids must be a list with an id for every document: [{ids!r}].")
    return ids


def _converted(document: object, name: str | None, number: int) -> Document:
    if not isinstance(document, LangChainDocument):
        raise InputError(
            f"Document {number} is of type {type(document).__name__}, not a langchain_core Document. Plain strings "
            "go to from_texts() or add_texts()."
        )
    id = document.id if name is None else name
    label = f"document {number}" if id is None else f"document {id!r} (number {number})"
    text = check_text(document.page_content, label)
    metadata = json.loads(metadata_json(document.metadata, label))  # as it will be stored
    if id is None:
        id = fingerprint({"text": text, "metadata": metadata})
    if not isinstance(id, str) or not id:
        raise InputError(f"The id of document {number} must be a non-empty string, not {id!r}.")
    check_text(id, f"the id {id!r}")
    return Document(id=id, text=text, metadata=metadata)


def to_documents(
    texts: Iterable[str], metadatas: Sequence[Mapping[str, Any] | None] | None = None
) -> list[LangChainDocument]:
    """Make LangChain documents of texts and their metadata (as many, or none at all)."""
    if isinstance(texts, str):
        raise InputError("Pass a list of texts, not one string: [text].")
    page_contents = [check_text(text, f"text {number}") for number, text in enumerate(texts)]
    metadata_list = [None] * len(page_contents) if metadatas is None else list(metadatas)
    if len(metadata_list) != len(page_contents):
        raise InputError(f"There are {len(metadata_list)} metadatas for {len(page_contents)} texts; give one for each.")
    return [
        LangChainDocument(page_content=text, metadata=dict(metadata or {}))
        for text, metadata in zip(page_contents, metadata_list, strict=True)
    ]


def unique(documents: Iterable[Document]) -> list[Document]:
    """Return the documents without repetitions; :func:`to_core` made sure that equal ids mean equal documents."""
    return list({document.id: document for document in documents}.values())


def same_document(one: Document | None, other: Document) -> bool:
    """Whether two documents of one id hold the same text and, as JSON, the same metadata (1, 1.0 and true differ)."""
    return (
        one is not None
        and one.text == other.text
        and canonical_json(dict(one.metadata)) == canonical_json(dict(other.metadata))
    )


def from_core(document: Document) -> LangChainDocument:
    """Return a stored document as LangChain's, metadata as it was stored."""
    return LangChainDocument(id=document.id, page_content=document.text, metadata=dict(document.metadata))


def from_hit(hit: Hit) -> LangChainDocument:
    """Return a hit as a document whose metadata has ``doc_id``, ``score`` and ``scores``; ``==`` leaves these out.

    Where the stored metadata has keys of these names, the result's win (a chain relies on them), and what they hide is
    kept under ``stored``.
    """
    metadata = dict(hit.document.metadata)
    if any(key in metadata for key in _SHADOWING):
        hidden = {key: metadata[key] for key in (*_SHADOWING, _SHADOWED) if key in metadata}
        metadata[_SHADOWED] = hidden
    metadata |= {"doc_id": hit.document.id, "score": hit.score, "scores": dict(hit.scores)}
    return RetrievedDocument(id=hit.document.id, page_content=hit.document.text, metadata=metadata)


def with_id(document: LangChainDocument) -> LangChainDocument:
    """Return a stored document whose metadata also has ``doc_id``, for retrievers that merge results by a key."""
    if "doc_id" in document.metadata or document.id is None:
        return document
    metadata = {**document.metadata, "doc_id": document.id}
    return RetrievedDocument(id=document.id, page_content=document.page_content, metadata=metadata)


def to_core_filter(filter: DocumentFilter | None) -> Filter | None:
    """Return a filter over core documents; a function is called with LangChain documents."""
    if filter is None or isinstance(filter, Mapping):
        return filter
    if not callable(filter):
        raise InputError(
            f"filter must be a dict of conditions or a function of a document, not {type(filter).__name__}."
        )
    if inspect.iscoroutinefunction(filter) or inspect.iscoroutinefunction(type(filter).__call__):
        raise InputError("filter must be a plain function: a coroutine counts as true for every document.")
    condition = filter
    return lambda document: bool(condition(from_core(document)))


def check_names(given: Mapping[str, object], known: Sequence[str], where: str) -> None:
    """Raise :class:`InputError` if an option is not known; a misspelt one would otherwise change nothing."""
    for name in given:
        if name not in known:
            other = _ELSEWHERE.get(name, "")
            near = [other] if other in known else difflib.get_close_matches(name.lower(), known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise InputError(f"{where} takes no argument {name!r}; it takes {', '.join(known)}.{hint}")
