"""Rows of corpora and queries in BEIR's format."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rader_plugins.documents import Document
from rader_plugins.errors import InputError
from rader_plugins.files import read_jsonl

__all__ = ["by_id", "document_of", "id_of", "queries_of", "read_queries"]

_ID_KEYS = ("_id", "query_id", "id")


def read_queries(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read a JSONL file of queries: ``_id`` (or ``query_id``, ``id``) and ``text``.

    Raises:
        InputError: A row is of another form, or an id stands twice.
    """
    if not Path(path).is_file():
        raise InputError(f"There is no file {path}.")
    return queries_of(read_jsonl(path), path)


def queries_of(rows: Iterable[Mapping[str, Any]], path: str | os.PathLike[str], column: str = "text") -> dict[str, str]:
    """Return query id -> text of rows.

    Raises:
        InputError: A row is of another form, or an id stands twice; the message names ``path``.
    """
    queries: dict[str, str] = {}
    for row in rows:
        id, text = id_of(row, path), row.get(column)
        if not isinstance(text, str):
            raise InputError(f"{path}: query {id!r} has no {column!r}, or it is not a string.")
        if id in queries:
            raise InputError(f"{path}: the id {id!r} stands twice.")
        queries[id] = text
    return queries


def by_id(documents: Iterable[Document], path: str | os.PathLike[str]) -> dict[str, Document]:
    """Return documents under their ids.

    Raises:
        InputError: An id stands twice; the message names ``path``.
    """
    corpus: dict[str, Document] = {}
    for document in documents:
        if document.id in corpus:
            raise InputError(f"{path}: the id {document.id!r} stands twice.")
        corpus[document.id] = document
    return corpus


def document_of(row: Mapping[str, Any], path: str | os.PathLike[str]) -> Document:
    """Return the document of a row of a BEIR corpus: its text is title and text.

    Raises:
        InputError: The row is of another form; the message names ``path``.
    """
    id, title, text = id_of(row, path), row.get("title"), row.get("text")
    if not isinstance(text, str) or not (title is None or isinstance(title, str)):
        raise InputError(f"{path}: document {id!r} needs a string 'text' (and 'title', if it has one).")
    extra = row.get("metadata") or {}
    if not isinstance(extra, dict):
        raise InputError(f"{path}: the metadata of document {id!r} is not a JSON object.")
    own = {key: value for key, value in row.items() if key not in ("_id", "id", "text", "metadata")}
    if not title:
        own.pop("title", None)
    return Document(id, f"{title or ''} {text}".strip(), {**extra, **own})


def id_of(row: Mapping[str, Any], path: str | os.PathLike[str]) -> str:
    """Return the id of a row, as a string.

    Raises:
        InputError: There is none; the message names ``path``.
    """
    id = next((row[key] for key in _ID_KEYS if key in row), None)
    if isinstance(id, bool) or not isinstance(id, str | int) or id == "":
        raise InputError(f"{path}: a row needs an '_id', a string that is not empty; found {id!r}.")
    return str(id)
