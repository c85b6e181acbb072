"""Long texts in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rader_plugins.arguments import check_count, shown
from rader_plugins.documents import Document
from rader_plugins.errors import InputError, import_extra

__all__ = ["Chunking", "parent_id"]

_LARGEST = 2**31


@dataclass(frozen=True)
class Chunking:
    """Splits long texts with ``semantic-text-splitter``, Markdown along its structure.

    Args:
        size: Maximal number of characters in a chunk.
        overlap: Maximal number of characters that two neighbouring chunks share.
    """

    size: int
    overlap: int = 0

    def __post_init__(self) -> None:
        check_count(self.size, "chunk size", 1)
        check_count(self.overlap, "chunk overlap", 0)
        if self.overlap >= self.size or self.size >= _LARGEST:
            raise InputError(
                f"A chunk size of {shown(self.size)} with an overlap of {shown(self.overlap)} does not work: the "
                "overlap must be below the size."
            )

    @cached_property
    def _splitters(self) -> dict[bool, Any]:
        library = import_extra("semantic_text_splitter", "chunk")
        return {
            False: library.TextSplitter(self.size, overlap=self.overlap),
            True: library.MarkdownSplitter(self.size, overlap=self.overlap),
        }

    def split(self, document: Document, *, markdown: bool, first: int = 0) -> Iterator[Document]:
        """Yield the chunks of a document, ``<id>#<n>``, with its metadata and where they were cut.

        Args:
            document: What to split.
            markdown: Whether its text is Markdown.
            first: Number of the first chunk: parts of a file are split one after the other.
        """
        for number, (start, text) in enumerate(self._splitters[markdown].chunk_indices(document.text), start=first):
            line = document.text.count("\n", 0, start) + 1
            origin = {"parent_id": document.id, "chunk": number, "chunk_start": start, "chunk_line": line}
            yield Document(f"{document.id}#{number}", text, {**document.metadata, **origin})


def parent_id(document: Document) -> str:
    """Return the id of the document that a chunk was cut from; of a whole document, its own."""
    parent, chunk = document.metadata.get("parent_id"), document.metadata.get("chunk")
    return str(parent) if document.id == f"{parent}#{chunk}" else document.id
