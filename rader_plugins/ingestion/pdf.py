"""PDF, page by page, with pypdf: what each page says, under the number that a reader of the file sees."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from rader_plugins.errors import import_extra
from rader_plugins.ingestion.parts import Part, UnusableFileError

__all__ = ["read_pages"]

_DEEPEST = 50


def read_pages(raw: bytes) -> list[Part]:
    """Return the pages of a PDF; those that are damaged are without text, and the others keep their numbers.

    Raises:
        UnusableFileError: It is encrypted.
        MissingExtraError: The extra ``documents`` is not installed.
        Exception: It is damaged as a whole; of whatever kind pypdf raises.
    """
    pypdf = import_extra("pypdf", "documents")
    reader = pypdf.PdfReader(io.BytesIO(raw))
    try:
        is_locked = reader.is_encrypted and not reader.decrypt("")
    except pypdf.errors.DependencyError as error:
        raise UnusableFileError(
            f"encrypted; pip install cryptography reads it if it needs no password ({error})"
        ) from None
    if is_locked:
        raise UnusableFileError("encrypted with a password")
    pages = list(reader.pages)
    leaves = list(_leaves(reader.trailer["/Root"]["/Pages"], _DEEPEST))
    if leaves.count(True) != len(pages):  # a tree that pypdf mended in its own way
        leaves = [True] * len(pages)
    remaining = iter(pages)
    parts = []
    for number, is_there in enumerate(leaves, start=1):
        text, fault = _text(next(remaining)) if is_there else ("", "")
        is_lost = not is_there or bool(fault)
        missing = f"damaged{f' ({fault})' if fault else ''}" if is_lost else ""
        parts.append(Part(text, {"page": number}, markdown=False, missing=missing))
    if parts and all(part.missing for part in parts):
        raise UnusableFileError(parts[0].missing)
    return parts


def _text(page: Any) -> tuple[str, str]:
    """Return what a page says, and why that cannot be read."""
    try:
        return page.extract_text() or "", ""
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - of a damaged page, whatever it is
        return "", " ".join(str(error).split())[:100] or type(error).__name__


def _leaves(node: Any, depth: int) -> Iterator[bool]:
    """Yield of every page in a tree of pages whether it is there."""
    kids = node.get("/Kids") if hasattr(node, "get") else None
    if kids is None or depth == 0:
        yield hasattr(node, "get")
        return
    for kid in kids.get_object():
        yield from _leaves(kid.get_object(), depth - 1)
