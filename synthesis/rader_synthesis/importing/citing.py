"""What interfaces say that an answer cites."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rader_synthesis.importing.conversation import Citation

__all__ = ["citation_of"]

_NAMES = ("url", "source", "file_id", "document_id", "id", "title", "filename", "document_title")
_NO_DOCUMENTS = frozenset(("file_path", "container_file_citation"))


def citation_of(entry: Mapping[str, Any]) -> Citation | None:
    """Return what one entry of ``citations`` or ``annotations`` cites; None if that is no document.

    Read are ``url_citation`` and ``file_citation`` of OpenAI, ``search_result_location``,
    ``web_search_result_location`` and the locations in documents of Anthropic, and lists of ``document_ids``.
    """
    kind = entry.get("type")
    if kind in _NO_DOCUMENTS:
        return None
    if isinstance(kind, str) and isinstance(entry.get(kind), Mapping):  # as chat completions nest it
        entry = entry[kind]
    names = [str(entry[key]) for key in _NAMES if isinstance(entry.get(key), str | int) and entry[key] != ""]
    names += [str(id) for id in entry.get("document_ids") or () if isinstance(id, str | int)]
    if isinstance(entry.get("document_index"), int):
        names.append(f"document:{entry['document_index']}")
    text = next((entry[key] for key in ("cited_text", "quote") if isinstance(entry.get(key), str)), "")
    if not names and not text:
        return None
    address = entry.get("url")
    title = next((entry[key] for key in ("title", "filename") if isinstance(entry.get(key), str)), "")
    return Citation(tuple(dict.fromkeys(names)), text, address if isinstance(address, str) else "", title)
