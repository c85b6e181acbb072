"""`RetrievedDocument`: a document as a search returned it, which equals itself whatever it was found by."""

from __future__ import annotations

from typing import Any

from langchain_core.documents import Document

__all__ = ["RESULT_KEYS", "RetrievedDocument"]

RESULT_KEYS = ("doc_id", "score", "scores", "relevance_score")
"""Metadata that say how a document was found; they do not take part in comparisons."""


class RetrievedDocument(Document):
    """A document whose metadata also say how it was found.

    LangChain's retrievers that merge several results compare whole documents, metadata included. Those under
    :data:`RESULT_KEYS` are no part of a document: the same one, found by two queries, is equal. Everything else takes
    it for a plain ``Document``: pickles, checkpoints and LangChain's own format hold one.
    """

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Document):
            return NotImplemented
        return (self.id, self.page_content, _own(self.metadata)) == (other.id, other.page_content, _own(other.metadata))

    __hash__ = None  # type: ignore[assignment]  # as LangChain's

    def __reduce__(self) -> tuple[Any, ...]:
        return _plain, (self.model_dump(),)

    @classmethod
    def lc_id(cls) -> list[str]:
        """Return the name that LangChain's own format has for a document."""
        return Document.lc_id()


def _own(metadata: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if key not in RESULT_KEYS}


def _plain(fields: dict[str, Any]) -> Document:
    return Document(**fields)


# Checkpointers write down the class of what they store, and refuse those that they do not know.
for _attribute in ("__module__", "__name__", "__qualname__"):
    setattr(RetrievedDocument, _attribute, getattr(Document, _attribute))
