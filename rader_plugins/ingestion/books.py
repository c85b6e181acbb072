"""Books (EPUB), by markitdown: which chapters cannot be read, which it would pass over or take for text."""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
from urllib.parse import unquote
from xml.etree import ElementTree

from rader_plugins.ingestion.parts import UnusableFileError, names_of

__all__ = ["missing_chapters"]

_ENCRYPTION = "META-INF/encryption.xml"
_PAGE = re.compile(r"\.x?html?$", re.IGNORECASE)


def missing_chapters(raw: bytes) -> str:
    """Say which chapters a book names and does not hold; "" where it holds all.

    Raises:
        UnusableFileError: Its chapters are encrypted.
        Exception: It is damaged.
    """
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        names = set(archive.namelist())
        # Fonts may be encrypted in books that anyone can read.
        if _ENCRYPTION in names and any(
            map(_PAGE.search, _values(archive.read(_ENCRYPTION), "CipherReference", "URI"))
        ):
            raise UnusableFileError("encrypted: its chapters are protected against copying")
        [package] = _values(archive.read("META-INF/container.xml"), "rootfile", "full-path")[:1]
        content = archive.read(package)
    hrefs = dict(zip(_values(content, "item", "id"), _values(content, "item", "href"), strict=True))
    missing = [
        href
        for chapter in _values(content, "itemref", "idref")
        if not _paths(href := hrefs.get(chapter, chapter), posixpath.dirname(package)) & names
    ]
    return f"chapters that the file does not hold: {names_of(missing)}" if missing else ""


def _paths(href: str, folder: str) -> set[str]:
    return {posixpath.normpath(posixpath.join(folder, name)) for name in (href, unquote(href))}


def _values(xml: bytes, tag: str, attribute: str) -> list[str]:
    elements = ElementTree.fromstring(xml).iter()
    return [element.get(attribute, "") for element in elements if element.tag.rpartition("}")[2] == tag]
