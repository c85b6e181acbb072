"""What a retrieval tool was asked and what it returned, read from the many shapes in which tools say it."""

from __future__ import annotations

import hashlib
import json
import math
import numbers
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rader_plugins.recording.printed import is_printed, parse_printed
from rader_plugins.recording.remarks import says_failed, says_nothing_found
from rader_plugins.recording.states import fields_of
from rader_plugins.trajectories import Considered

__all__ = [
    "digest_id",
    "finite",
    "is_retrieval_name",
    "query_of",
    "read_documents",
    "text_of_content",
    "without_repeats",
]

_RETRIEVAL_WORDS = frozenset(
    ["search", "retrieve", "retriever", "retrieval", "lookup", "rag", "kb", "knowledge", "documents", "docs"]
)
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_QUERY_KEYS = ("query", "q", "question", "search_query", "queries", "input", "text", "keywords", "__arg1")
_LIST_KEYS = ("results", "documents", "hits", "docs", "data", "chunks", "items", "matches", "passages", "nodes")
_ID_KEYS = (
    "id", "_id", "doc_id", "docid", "document_id", "documentId", "node_id", "nodeId", "id_", "chunk_id", "chunkId",
    "file_id", "fileId",
)  # fmt: skip
_TEXT_KEYS = ("text", "content", "page_content", "body", "passage", "snippet", "chunk", "text_resource", "pageContent")
_TITLE_KEYS = ("title", "filename", "name")
_SCORE_KEYS = ("score", "similarity", "relevance_score", "relevance")
_INNER_KEYS = ("document", "node", "doc")
_RECORD_KEYS = ("kwargs", "_source", "payload", "entity", "properties", "fields", "__data__", "metadata")
"""Where stores keep the fields of a document, and LangChain those of an object that it wrote down."""
_TAGGED = re.compile(r"<(document|doc|passage|source|chunk)\b([^>]*)>(.*?)</\1\s*>", re.DOTALL | re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""(\w+)\s*=\s*["']([^"']*)["']""")
_NUMBERED = re.compile(
    r"^(?:\[\d+\]|(?:document|doc|passage|source|result)\s+\d+\s*:)[ \t]*", re.MULTILINE | re.IGNORECASE
)
_RULED = re.compile(r"\n[ \t]*(?:-{3,}|={3,}|\*{3,})[ \t]*(?:\n|$)")
_BLANK = re.compile(r"\n[ \t]*\n")
_HEADER = re.compile(r"\A(?:document |doc )?id[ \t]*:[ \t]*(\S+)[ \t]*\n+", re.IGNORECASE)


def is_retrieval_name(name: str) -> bool:
    """Whether the name of a tool says that it searches for documents.

    One of its words (``search_docs``, ``searchDocs`` and ``search-docs`` are two) has to be search, retrieve,
    retriever, retrieval, lookup, rag, kb, knowledge, documents or docs.

    Example:
        >>> is_retrieval_name("file_search"), is_retrieval_name("KnowledgeBase"), is_retrieval_name("research")
        (True, True, False)
    """
    return any(word.lower() in _RETRIEVAL_WORDS for word in _WORDS.findall(name))


def query_of(arguments: object) -> str | None:
    """Return what a tool was asked for, from its arguments: JSON, a mapping, or a plain text.

    The first of ``query``, ``q``, ``question``, ``search_query``, ``queries``, ``input``, ``text``, ``keywords``
    counts, else the only text among the arguments. Several queries stand one to a line. None if there is no such text.
    """
    if isinstance(arguments, str):
        parsed = _parsed(arguments)
        if parsed is None:
            return arguments.strip() or None
        arguments = parsed
    if not isinstance(arguments, Mapping):
        return _joined(arguments)
    for key in _QUERY_KEYS:
        if (query := _joined(arguments.get(key))) is not None:
            return query
    texts = [query for value in arguments.values() if isinstance(value, str) and (query := value.strip())]
    return texts[0] if len(texts) == 1 else None


def read_documents(result: object, *, plain: bool = True) -> list[Considered] | None:
    """Return the documents in what a retrieval tool returned; None if it holds none that can be told apart.

    Understood are lists of objects with a text (``text``, ``content``, ``page_content``, ...) and where possible an
    id, title and score, also within an object (``results``, ``documents``, ``hits``, ...) or below ``document`` or
    ``node``, or in pairs with a score; dicts, pydantic models and dataclasses alike; the text of these, as JSON or as
    Python prints them; and, with ``plain``, texts: tagged ``<document id="...">``, numbered ``[1]`` or ``Document 1:``,
    or divided by rules (``---``) or else by blank lines. A document without an id gets a digest of its text,
    ``text:...``. A printed object that cannot be read back is no document, a remark that nothing was found neither.

    Args:
        result: What the tool returned.
        plain: Whether a text that is not JSON is split into documents.
    """
    if isinstance(result, str):
        return _read_text(result, plain)
    fields = fields_of(result)
    if fields is not None:
        if (columns := _of_columns(fields)) is not None:
            return columns
        for key in _LIST_KEYS:
            if isinstance(fields.get(key), list | tuple):
                return read_documents(fields[key], plain=plain)
        document = _document(fields)
        return None if document is None else [document]
    if not isinstance(result, Sequence) or isinstance(result, bytes):
        return None
    documents = [document for item in result if (document := _of_item(item, plain)) is not None]
    return documents if documents or not result else None


def _read_text(text: str, plain: bool) -> list[Considered] | None:
    data = _parsed(text)
    if data is None and (is_printed(text) or text.lstrip()[:1] in ("[", "{", "(")):
        try:
            data = parse_printed(text)
        except ValueError:
            if is_printed(text):
                return None
    if data is not None:
        return read_documents(data, plain=plain)
    if not plain or is_printed(text):
        return None
    return [] if says_nothing_found(text) or says_failed(text) else _plain(text)


def _of_columns(fields: Mapping[str, Any]) -> list[Considered] | None:
    """Return the documents of a result in columns, as Chroma has it; None for any other."""
    ids, texts = fields.get("ids"), fields.get("documents")
    if isinstance(ids, list) and isinstance(texts, list) and len(ids) == len(texts) == 1 and isinstance(ids[0], list):
        ids, texts = ids[0], texts[0]
    if not isinstance(ids, list) or not isinstance(texts, list) or len(ids) != len(texts) or not ids:
        return None
    if not all(isinstance(value, str) for value in (*ids, *texts)):
        return None
    return [Considered(id, text) for id, text in zip(ids, texts, strict=True)]


def _of_item(item: object, plain: bool) -> Considered | None:
    if isinstance(item, str):
        return _of_text(item) if plain and not is_printed(item) else None
    score = None
    fields = fields_of(item)
    if fields is None and isinstance(item, list | tuple) and len(item) == 2:
        score = finite(item[1])
        fields = fields_of(item[0])
    document = None if fields is None else _document(fields)
    return document if document is None or score is None else replace(document, score=score)


def text_of_content(content: object) -> str:
    """Return the text of a message's content: a string, or a list of parts of which those with text count."""
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, Sequence):
        return ""
    texts = []
    for part in content:
        text = part if isinstance(part, str) else part.get("text") if isinstance(part, Mapping) else None
        if isinstance(text, str):
            texts.append(text)
    return "\n".join(texts)


def without_repeats(documents: Iterable[Considered]) -> tuple[Considered, ...]:
    """Return the documents, each id at its first place only."""
    documents_by_id: dict[str, Considered] = {}
    for document in documents:
        documents_by_id.setdefault(document.id, document)
    return tuple(documents_by_id.values())


def split_title(text: str, title: object) -> tuple[str, str]:
    """Return the title that a text begins with, as in a BEIR corpus, and the rest; no title if it does not.

    Put together again by a space they are the text, which is what was indexed.
    """
    if isinstance(title, str) and title and text.startswith(f"{title} "):
        return title, text[len(title) + 1 :]
    return "", text


def digest_id(text: str) -> str:
    """Return the id of a document that has none of its own: a digest of its text."""
    return "text:" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def _parsed(text: str) -> Any:
    if text.lstrip()[:1] not in ("[", "{"):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _joined(value: object) -> str | None:
    texts = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return "\n".join(text.strip() for text in texts if isinstance(text, str) and text.strip()) or None


def _document(row: Mapping[str, Any]) -> Considered | None:
    nothing: Mapping[str, Any] = {}
    inner = next((fields for key in _INNER_KEYS if (fields := fields_of(row.get(key))) is not None), nothing)
    if not any(text_of_content(item.get(key)).strip() for key in _TEXT_KEYS for item in (inner, row)):
        records = (fields_of(item.get(key)) for key in _RECORD_KEYS for item in (inner, row))
        with_text = (
            item for item in records if item is not None and any(text_of_content(item.get(k)) for k in _TEXT_KEYS)
        )
        inner = next(with_text, inner)
    metadata = next((item["metadata"] for item in (inner, row) if isinstance(item.get("metadata"), Mapping)), nothing)
    mappings = (inner, row, metadata)
    texts = (text_of_content(item.get(key)).strip() for key in _TEXT_KEYS for item in (inner, row))
    text = next((candidate for candidate in texts if candidate), "")
    id = next((candidate for key in _ID_KEYS for item in mappings if (candidate := _name(item.get(key)))), "")
    if not id and not text:
        return None
    title = next((item[key] for key in _TITLE_KEYS for item in mappings if isinstance(item.get(key), str)), "")
    scores = (finite(item.get(key)) for key in _SCORE_KEYS for item in (row, *mappings))
    return Considered(
        id or digest_id(text), text, next((item for item in scores if item is not None), None), title=title
    )


def _name(value: object) -> str:
    return "" if isinstance(value, bool) or not isinstance(value, str | int) else str(value)


def finite(value: object) -> float | None:
    """Return a number as float; None if it is none, or not finite."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        return None
    return float(value)


def _of_text(text: str, id: str = "", title: str = "") -> Considered | None:
    text = text.strip()
    if head := _HEADER.match(text):
        id, text = id or head[1], text[head.end() :].strip()
    return Considered(id or digest_id(text), text, title=title) if text else None


def _plain(text: str) -> list[Considered] | None:
    documents: list[Considered | None]
    if tagged := list(_TAGGED.finditer(text)):
        documents = []
        for match in tagged:
            named = {key.lower(): value for key, value in _ATTRIBUTE.findall(match[2])}
            id = next((named[key] for key in (*_ID_KEYS, "source") if named.get(key)), "")
            documents.append(_of_text(match[3], id, named.get("title", "")))
    else:
        starts = [match.start() for match in _NUMBERED.finditer(text)]
        if starts:
            blocks = [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
            documents = [_of_text(_NUMBERED.sub("", block, count=1)) for block in blocks]
        else:
            divided = _RULED.split(text)
            documents = [_of_text(block) for block in (divided if len(divided) > 1 else _BLANK.split(text))]
    return [document for document in documents if document is not None] or None
