"""Tools: which of their calls search and which open a document, and what documents a result holds."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rader_plugins.recording.remarks import says_failed, says_nothing_found
from rader_plugins.recording.results import digest_id, is_retrieval_name, read_documents, text_of_content
from rader_plugins.trajectories import Considered
from rader_synthesis.importing.conversation import SearchResult
from rader_synthesis.importing.rows import parsed_cell

__all__ = [
    "as_text",
    "is_failure",
    "result_of",
    "is_open_name",
    "looks_like_documents",
    "opened_target",
    "read_results",
    "searches_by_name",
]

_LIST_KEYS = (
    "results", "documents", "hits", "docs", "data", "chunks", "items", "matches", "passages", "nodes", "sources",
    "output", "organic", "organic_results", "output_documents", "retrieved_documents", "context", "source_documents",
)  # fmt: skip
_PAGE_KEYS = ("url", "link", "uri", "href")
_FILE_KEYS = ("source", "file_id", "file_path", "path", "filename", "file_name")
_NUMBER_KEYS = ("index", "number", "rank", "citation_id", "ref_id")
_OWN_ID_KEYS = ("id", "_id", "doc_id", "docid", "document_id", "node_id", "id_", "chunk_id")
_WHOLE = frozenset(("search_result", "web_search_result", "document", "resource"))
_TEXT_BLOCKS = frozenset(("text", "input_text", "output_text", "thinking"))
_TAGGED = re.compile(r"<(document|doc|passage|source|chunk|search_result|result)\b([^>]*)>(.*?)</\1\s*>", re.S | re.I)
_ATTRIBUTE = re.compile(r"""([\w-]+)\s*=\s*["']([^"']*)["']""")
_INNER_TAG = re.compile(r"<(source|title|url|document_content|content|text|snippet)\b[^>]*>(.*?)</\1\s*>", re.S | re.I)
_NUMBERED = re.compile(r"^(?:\[(\d+)\]|【(\d+)】|(?:document|doc|passage|source|result)\s+(\d+)\s*:)", re.M | re.I)
_OPEN_WORDS = frozenset(
    ("open", "fetch", "get", "read", "view", "visit", "browse", "click", "load", "scrape", "crawl", "extract")
)
_SEARCH_WORDS = frozenset(("search", "retrieve", "retriever", "retrieval", "lookup", "query", "find", "rag"))
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_TARGET_KEYS = (
    "id", "ids", "doc_id", "docid", "document_id", "documentId", "document", "url", "urls", "link", "uri", "path",
    "file_path", "file", "filename", "page", "title", "name", "source", "key", "__arg1", "input",
)  # fmt: skip


def searches_by_name(name: str, tools: frozenset[str] | None) -> bool:
    """Whether a tool is one of those that are named as searches, or where none are named, calls itself one."""
    return is_retrieval_name(name) if tools is None else name in tools


def is_open_name(name: str) -> bool:
    """Whether a tool's name says that it opens one document: ``fetch``, ``open_page``, ``WebFetch``."""
    parts = {part.lower() for part in _WORDS.findall(name)}
    return bool(parts & _OPEN_WORDS) and not parts & _SEARCH_WORDS


def opened_target(arguments: object) -> list[str]:
    """Return what a call names that it may open: ids, addresses, paths, titles or numbers."""
    arguments = parsed_cell(arguments)
    if isinstance(arguments, str | int) and not isinstance(arguments, bool):
        return [str(arguments)]
    if not isinstance(arguments, Mapping):
        return []
    targets: list[str] = []
    for key in _TARGET_KEYS:
        value = arguments.get(key)
        for result in value if isinstance(value, list) else [value]:
            if isinstance(result, str | int) and not isinstance(result, bool) and str(result).strip():
                targets.append(str(result).strip())
    return targets


def is_failure(content: object) -> bool:
    """Whether what a tool returned says that it failed: an object of an error, or the text of one."""
    content = parsed_cell(content)
    if isinstance(content, list):
        content = text_of_content(content) if content else None
    if isinstance(content, Mapping):
        return str(content.get("type")).endswith("_error") or (
            bool(content.get("error")) and not content.get("results")
        )
    return isinstance(content, str) and says_failed(content)


def looks_like_documents(results: Sequence[SearchResult]) -> bool:
    """Whether what a tool of any name returned are documents: each has a text, or an address and a title."""
    return bool(results) and all(
        result.document.text or (result.document.title and result.document.id.startswith(("http://", "https://")))
        for result in results
    )


def read_results(content: object, *, plain: bool) -> list[SearchResult] | None:
    """Return the documents of a result; None if it holds none that can be told apart, and none at all is ``[]``.

    Understood is all that :func:`rader_plugins.recording.read_documents` reads, and content blocks of the interfaces
    (``search_result``, ``document``, ``web_search_result``, those of the Model Context Protocol), tags with numbers or
    inner tags, and lists of addresses.

    Args:
        content: JSON value, or text.
        plain: Whether text without JSON, tags or numbers is split into documents, and one object is a document.
    """
    content = parsed_cell(content)
    if isinstance(content, str):
        return _of_text(content, plain)
    if isinstance(content, Mapping):
        return _of_object(content, plain)
    if not isinstance(content, list):
        return None
    if content and all(isinstance(block, Mapping) and block.get("type") in _TEXT_BLOCKS for block in content):
        return read_results(text_of_content(content), plain=plain)
    results: list[SearchResult] = []
    for element in content:
        if isinstance(element, Mapping):
            if (result := result_of(element)) is not None:
                results.append(result)
        elif isinstance(element, str) and plain:
            results += _of_text(element, True) or []
    return _named_apart(results, fewest=2) if results or not content else None


def result_of(row: Mapping[str, Any]) -> SearchResult | None:
    """Return the document that an object stands for, under its id, or its address, or a digest of its text."""
    documents = read_documents([row], plain=False)
    levels = [
        row,
        *(row[key] for key in ("document", "node", "doc", "metadata", "payload") if isinstance(row.get(key), Mapping)),
    ]
    levels += [inner["metadata"] for inner in levels[1:] if isinstance(inner.get("metadata"), Mapping)]
    pages = [
        str(level[key]) for key in _PAGE_KEYS for level in levels if isinstance(level.get(key), str) and level[key]
    ]
    files = [
        str(level[key]) for key in _FILE_KEYS for level in levels if isinstance(level.get(key), str) and level[key]
    ]
    addresses = [*pages, *files]
    if not documents and not addresses:
        return None
    document = documents[0] if documents else Considered(addresses[0], "", title=str(row.get("title") or ""))
    own_id = any(level.get(key) not in (None, "") for key in _OWN_ID_KEYS for level in levels)
    if addresses and not own_id:
        # A page is a document; a result that names a file is one of many parts of it, which have to be told apart.
        part = not pages and bool(document.text) and row.get("type") not in _WHOLE
        document = replace(document, id=_part_id(addresses[0], document.text) if part else addresses[0])
    numbers = [
        f"[{level[key]}]" for key in _NUMBER_KEYS for level in levels
        if isinstance(level.get(key), int | str) and str(level[key]).isdigit()
    ]  # fmt: skip
    return SearchResult(
        document, tuple(dict.fromkeys([*addresses, *([document.title] if document.title else []), *numbers]))
    )


def _of_object(content: Mapping[str, Any], plain: bool) -> list[SearchResult] | None:
    for key in ("structuredContent", "structured_content", "artifact"):
        if isinstance(content.get(key), Mapping | list) and (results := read_results(content[key], plain=False)):
            return results
    blocks = content.get("content")
    if isinstance(blocks, list) and blocks and all(isinstance(block, Mapping) and "type" in block for block in blocks):
        return read_results(blocks, plain=plain)
    if isinstance(content.get("ids"), list) and isinstance(content.get("documents"), list):
        return [SearchResult(document) for document in read_documents(content) or []]
    if isinstance(hits := content.get("hits"), Mapping) and isinstance(hits.get("hits"), list):  # of Elasticsearch
        return read_results(hits["hits"], plain=plain)
    for key in _LIST_KEYS:
        if isinstance(content.get(key), list):
            return read_results(content[key], plain=plain)
        if isinstance(content.get(key), Mapping) and set(content) <= {key, "status", "error", "name", "type"}:
            return read_results(content[key], plain=plain)
    if not plain:
        return None
    for key in ("output", "result"):
        if isinstance(content.get(key), str) and set(content) <= {key, "status", "error", "name", "type", "stdout"}:
            return read_results(content[key], plain=plain)
    result = result_of(content)
    return None if result is None else [result]


def _of_text(text: str, plain: bool) -> list[SearchResult] | None:
    if tagged := list(_TAGGED.finditer(text)):
        return _named_apart([results for match in tagged if (results := _of_tag(match)) is not None], fewest=1) or None
    numbers = [next(filter(None, match.groups())) for match in _NUMBERED.finditer(text)]
    if not plain and len(numbers) < 2:
        return None
    if says_nothing_found(text) or says_failed(text):
        return [] if plain else None
    documents = read_documents(text) or []
    if len(numbers) == len(documents) and numbers:
        return [SearchResult(document, (f"[{number}]",)) for document, number in zip(documents, numbers, strict=True)]
    return (
        [SearchResult(document, (document.title,) if document.title else ()) for document in documents]
        if plain
        else None
    )


def _of_tag(match: re.Match[str]) -> SearchResult | None:
    named = {key.lower(): value for key, value in _ATTRIBUTE.findall(match[2])}
    inner = {tag.lower(): value.strip() for tag, value in _INNER_TAG.findall(match[3])}
    body = next((inner[tag] for tag in ("document_content", "content", "text", "snippet") if inner.get(tag)), None)
    text = (body if body is not None else _INNER_TAG.sub("", match[3]) if inner else match[3]).strip()
    row: dict[str, Any] = {**named, **{tag: value for tag, value in inner.items() if tag in ("source", "title", "url")}}
    return result_of({**row, "text": text}) if text or row else None


def _named_apart(results: list[SearchResult], *, fewest: int) -> list[SearchResult]:
    """Return the documents with ids that tell them apart, over all results and not only in this one.

    Ids that only count the results (``1, 2, 3``; as many as ``fewest``) are numbers; parts of one file or page that
    share its name get a digest of their text behind it.
    """
    ids = [result.document.id for result in results]
    if len(ids) >= fewest and ids in ([str(n) for n in range(len(ids))], [str(n) for n in range(1, len(ids) + 1)]):
        return [
            SearchResult(
                replace(
                    result.document, id=digest_id(result.document.text) if result.document.text else result.document.id
                ),
                (*result.names, f"[{result.document.id}]"),
            )
            for result in results
        ]
    texts: Counter[str] = Counter(id for id, _ in {(result.document.id, result.document.text) for result in results})
    return [
        result
        if texts[result.document.id] == 1
        else SearchResult(
            replace(result.document, id=_part_id(result.document.id, result.document.text)),
            (result.document.id, *result.names),
        )
        for result in results
    ]


def _part_id(whole: str, text: str) -> str:
    return f"{whole}#{digest_id(text)[5:13]}"


def as_text(value: object, longest: int | None = None) -> str:
    """Return a JSON value as text, cut where it is longer than wanted."""
    if isinstance(value, list) and value and all(isinstance(block, Mapping) for block in value):
        value = text_of_content(value) or value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if longest is None else text[:longest]
