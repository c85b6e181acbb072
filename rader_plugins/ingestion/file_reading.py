"""One file becomes documents: whatever it holds, and whatever is wrong with it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rader_plugins.documents import Document
from rader_plugins.errors import InputError, MissingExtraError
from rader_plugins.ingestion.chunking import Chunking
from rader_plugins.ingestion.code import CODE_SUFFIXES, language_of
from rader_plugins.ingestion.findings import Findings
from rader_plugins.ingestion.formats import DOCUMENT_SUFFIXES, Part, UnusableFileError, read_parts
from rader_plugins.ingestion.front_matter import split_front_matter
from rader_plugins.ingestion.headings import MARKDOWN_SUFFIXES, first_heading
from rader_plugins.ingestion.rows import row_fault
from rader_plugins.ingestion.stores import Location
from rader_plugins.ingestion.tables import TABLE_SUFFIXES, Row, TableColumns, read_table
from rader_plugins.text_files import binary_kind, decode, detect_encoding, encoding_of_mark, has_byte_lines

__all__ = ["FileContent", "FileReader"]

_MOST_CONTROLS = 0.01
# What a row's document, or a chunk of it, says of itself: a column of that name goes by another.
_OWN_KEYS = frozenset({"path", "row", "parent_id", "chunk", "chunk_start", "chunk_line"})


@dataclass
class FileContent:
    """What a file gave.

    Attributes:
        documents: Documents of the file, in their order.
        findings: What is wrong with it.
        sha256: Digest of the file's content, in hexadecimal; "" if nobody will know how it was read: not at all, or by
            a reader that had to be ended.
    """

    documents: list[Document] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)
    sha256: str = ""


@dataclass(frozen=True)
class FileReader:
    """Reads files into documents, each by its format.

    Args:
        chunking: How to split documents; None leaves them whole.
        encoding: Encoding of files that are not UTF-8 and bear no byte order mark; None guesses.
        columns: What the columns of tables are for; None reads tables as plain texts.
    """

    chunking: Chunking | None = None
    encoding: str | None = None
    columns: TableColumns | None = None

    def read(self, file: Location, name: str) -> FileContent:
        """Return what a file holds; nothing, which is noted, if it cannot be read or is no text.

        Args:
            file: The file to read.
            name: What it is called in ids and findings; may hold lone surrogates.
        """
        content = FileContent()
        findings = content.findings
        name = findings.clean(name)
        try:
            raw = file.read_bytes()
            content.sha256 = hashlib.sha256(raw).hexdigest()
            content.documents = list(self._documents(raw, name, file.suffix.lower(), findings))
        except OSError as error:
            findings.add("unreadable", name, error.strerror or str(error))
        except UnusableFileError as error:
            findings.add("binary", name, str(error))
        except MemoryError:
            findings.add("binary", name, "reading it takes more memory than there is, or than a reader may have")
            content.sha256 = ""
        except MissingExtraError as error:
            is_missing = isinstance(error.__cause__, ModuleNotFoundError)
            findings.add("needs_extra", name, "" if is_missing else str(error))
        if findings.replaced:
            findings.add("mended", name, f"{findings.replaced} replaced")
        return content

    def _documents(self, raw: bytes, name: str, suffix: str, findings: Findings) -> Iterator[Document]:
        if self.columns is not None and suffix in TABLE_SUFFIXES:
            yield from self._rows(self._text(raw, name, findings), name, suffix, self.columns, findings)
            return
        parts = self._parts(raw, name, suffix, findings)
        # The first heading of Markdown, which documents were made into too; code and plain text have none.
        title = first_heading(parts[0].text, ".md" if parts[0].markdown else suffix) if parts else None
        number = 0
        for part in parts:
            if part.missing or not part.text.strip():
                label = ", ".join([name, *(f"{kind} {place}" for kind, place in part.metadata.items())])
                findings.add("partial" if part.missing else "empty", label, part.missing)
            if not part.text.strip():
                continue
            metadata = {**({"title": title} if title else {}), **part.metadata, "path": name}
            if self.chunking is None and part.line not in (None, 1):
                metadata["line"] = part.line
            document = Document(name, part.text, metadata)
            if len(parts) > 1 and self.chunking is None:
                # A page is found and cited by itself, as a chunk is.
                document = Document(f"{name}#{number}", part.text, metadata | {"parent_id": name, "chunk": number})
            for chunk in self._chunks(document, part, suffix, number, findings):
                yield chunk
                number += 1

    def _parts(self, raw: bytes, name: str, suffix: str, findings: Findings) -> list[Part]:
        if suffix in DOCUMENT_SUFFIXES:
            parts = [replace(part, text=findings.clean(part.text)) for part in read_parts(suffix, raw)]
            findings.replaced += sum(part.text.count("\ufffd") for part in parts)
            return parts
        text = self._text(raw, name, findings)
        is_markdown = suffix in MARKDOWN_SUFFIXES
        language = language_of(suffix)
        metadata: dict[str, Any] = {} if language is None else {"language": language}
        if not is_markdown:
            return [Part(text, metadata, markdown=False, line=1)]
        front = split_front_matter(text)
        if front.fault is not None:
            findings.add("front_matter", name, front.fault)
        return [_with_front_matter(text, findings.clean(dict(front.metadata)), front.length)]

    def _rows(self, text: str, name: str, suffix: str, columns: TableColumns, findings: Findings) -> Iterator[Document]:
        from rader_plugins.index.adding import prepare  # brings numpy, which `rader --help` can do without

        first: dict[str, Row] = {}
        rows = read_table(text, suffix, columns)
        if not rows:
            findings.add("empty", name, "it has no rows")
        for row in rows:
            label = f"{name}, row {row.number}"
            if row.is_open:
                findings.add("faulty", f"{label} to the end", "a cell begins with quotes that do not end")
                continue
            if not row.text:
                findings.add("empty", label)
                continue
            id = f"{name}:{row.number}" if columns.id is None else row.id
            if not id:
                findings.add("unnamed", label, f"nothing in column {columns.id!r}")
                continue
            if (namesake := first.setdefault(id, row)) is not row:
                same = (namesake.text, namesake.metadata) == (row.text, row.metadata)
                detail = "the same" if same else "with something else, which stays"
                findings.add("repeated", label, f"the id {id!r} is that of row {namesake.number}, {detail}")
                continue
            if row.surplus:
                detail = f"cells beyond the last column, {row.surplus} of them: are quotes missing?"
                findings.add("partial", label, detail)
            metadata = {f"column {key}" if key in _OWN_KEYS else key: value for key, value in row.metadata.items()}
            document = Document(id, row.text, {**metadata, "path": name, "row": row.number})
            try:
                prepare(document)
            except InputError as error:
                findings.add("faulty", label, row_fault(error))
                continue
            yield from self._chunks(document, Part(row.text, markdown=False), suffix, 0, findings)

    def _chunks(
        self, document: Document, part: Part, suffix: str, first: int, findings: Findings
    ) -> Iterator[Document]:
        if self.chunking is None:
            yield document
            return
        options: Mapping[str, Any] = {"markdown": part.markdown, "first": first, "line": part.line}
        if suffix in CODE_SUFFIXES:
            try:
                yield from self.chunking.split(document, **options, code=suffix)
                return
            except ImportError:
                detail = f"pip install 'rader-plugins[code]' splits {language_of(suffix)} along its functions"
                findings.add("unstructured", str(document.metadata["path"]), detail)
        yield from self.chunking.split(document, **options)

    def _text(self, raw: bytes, name: str, findings: Findings) -> str:
        """Return the text of a file.

        Raises:
            UnusableFileError: It holds none.
        """
        if self.encoding is None or not _is_in(self.encoding, raw):
            detected = detect_encoding(raw)
            if detected.name is None:
                raise UnusableFileError(detected.reason)
            if not detected.certain and detected.name != "utf-8":
                findings.add("guessed", name, detected.name)
            text, replaced = decode(raw, detected.name)
        else:
            text, replaced = decode(raw, self.encoding)
            controls = sum(character < " " and character not in "\t\n\r\f\v\x1a\x1b" for character in text)
            if "\x00" in text or controls > _MOST_CONTROLS * len(text):
                raise UnusableFileError(f"no text in {self.encoding}")
        findings.replaced += replaced
        cleaned: str = findings.clean(text)
        return cleaned


def _with_front_matter(text: str, metadata: dict[str, Any], length: int) -> Part:
    """Return a Markdown text without its front matter, whose title it begins with where no heading says the same."""
    line = text.count("\n", 0, length) + 1
    body = text[length:]
    title = metadata.get("title")
    if isinstance(title, str) and title.strip() and body.strip():
        if first_heading(body, ".md") != title:
            body, line = f"{title}\n\n{body}", max(1, line - 2)
    elif "title" in metadata and not isinstance(title, str):
        metadata["title"] = str(title)
    return Part(body, metadata, line=line)


def _is_in(encoding: str, raw: bytes) -> bool:
    """Whether the encoding that a user names is meant for a file: the bytes do not say themselves what they are."""
    if encoding_of_mark(raw) or binary_kind(raw):
        return False
    if raw.isascii():  # that of 7-bit encodings too, which give something else than the letters of ASCII
        return has_byte_lines(encoding) or b"\x00" in raw
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return False
