"""Long texts in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rader_plugins.arguments import check_count, shown
from rader_plugins.documents import Document
from rader_plugins.errors import InputError, import_extra
from rader_plugins.ingestion.code import Symbols, code_splitter
from rader_plugins.ingestion.headings import Sections

__all__ = ["Chunking", "parent_id"]

_LARGEST = 2**31
_MARKDOWN = ".md"
_LONGEST_LINE = 100_000  # characters; the time that the library takes grows with the square of a line's length


@dataclass(frozen=True)
class Chunking:
    """Splits long texts with ``semantic-text-splitter``: Markdown along its headings, code along its functions.

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
    def _splitters(self) -> dict[str, Any]:
        library = import_extra("semantic_text_splitter", "chunk")
        return {
            "": library.TextSplitter(self.size, overlap=self.overlap),
            _MARKDOWN: library.MarkdownSplitter(self.size, overlap=self.overlap),
        }

    def _splitter(self, code: str | None, *, markdown: bool) -> Any:
        splitters = self._splitters
        if code is None:
            return splitters[_MARKDOWN if markdown else ""]
        if code not in splitters:
            splitters[code] = code_splitter(code, self.size, self.overlap)
        return splitters[code]

    def split(
        self, document: Document, *, markdown: bool, code: str | None = None, first: int = 0, line: int | None = 1
    ) -> Iterator[Document]:
        """Yield the chunks of a document, ``<id>#<n>``, with its metadata and where they were cut.

        Where the document has a key of a chunk itself, such as ``parent_id``, it becomes ``document parent_id``.

        Args:
            document: The document to split.
            markdown: Whether its text is Markdown.
            code: If it is source code, the ending of such files.
            first: Number of the first chunk: parts of a file are split one after the other.
            line: Line of the file in which the text begins; None where the file has no lines.

        Raises:
            ImportError: It is source code, and the extra ``code`` is not installed.
        """
        text = document.text
        structure = Symbols(text, code) if code is not None else Sections(text) if markdown else None
        splitter = self._splitter(code, markdown=markdown)
        pieces = _without_endless_lines(text, max(_LONGEST_LINE, 10 * self.size))
        chunks = ((begin + start, chunk) for begin, piece in pieces for start, chunk in splitter.chunk_indices(piece))
        counted = 0
        for number, (start, chunk) in enumerate(chunks, start=first):
            origin: dict[str, Any] = {"parent_id": document.id, "chunk": number, "chunk_start": start}
            if line is not None:
                line += text.count("\n", counted, start)
                counted = start
                origin["chunk_line"] = line
            if structure is not None and (section := structure.name_of(start, start + len(chunk))) is not None:
                origin["section"] = section
            own = {f"document {key}" if key in origin else key: value for key, value in document.metadata.items()}
            yield Document(f"{document.id}#{number}", chunk, {**own, **origin})


def _without_endless_lines(text: str, longest: int) -> Iterator[tuple[int, str]]:
    """Yield a text in one piece, or cut within lines of more than ``longest`` characters; each piece with its start."""
    begin = line = 0
    while line < len(text):
        end = text.find("\n", line) + 1 or len(text)
        while end - line > longest:
            line = text.rfind(" ", line + longest // 2, line + longest) + 1 or line + longest
            yield begin, text[begin:line]
            begin = line
        line = end
    if begin < len(text):
        yield begin, text[begin:]


def parent_id(document: Document) -> str:
    """Return the id of the document that a chunk was cut from; of a whole document, its own."""
    parent, chunk = document.metadata.get("parent_id"), document.metadata.get("chunk")
    return str(parent) if document.id == f"{parent}#{chunk}" else document.id
