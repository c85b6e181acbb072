"""Web pages as Markdown, by markitdown, in the encoding that they state or that their bytes tell."""

from __future__ import annotations

import codecs
import io
import re

from rader_plugins.errors import import_extra
from rader_plugins.ingestion.headings import first_heading
from rader_plugins.ingestion.parts import UnusableFileError
from rader_plugins.text_files import binary_kind, decode, detect_encoding, has_byte_lines

__all__ = ["page_text"]

_STATED = re.compile(rb"""(?:charset|<\?xml[^>]*\sencoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")  # which the parser would take for text
_HEAD = 2048
# Browsers take these for the larger ones, and pages rely on it.
_AS_BROWSERS = {"iso8859-1": "cp1252", "ascii": "cp1252", "gb2312": "gb18030", "gbk": "gb18030"}


def page_text(raw: bytes, *, titled: bool = False) -> str:
    """Return what a page says.

    Args:
        raw: The page, in whatever encoding.
        titled: Put its title above it where it has no heading of its own.

    Raises:
        UnusableFileError: It is no page, or in an encoding that cannot be told.
        MissingExtraError: The extra ``documents`` is not installed.
    """
    converters = import_extra("markitdown.converters", "documents")
    library = import_extra("markitdown", "documents")
    if kind := binary_kind(raw):
        raise UnusableFileError(kind)
    # Decoded here: where a byte of a page is damaged, the parser guesses, and takes UTF-8 for Japanese.
    page = _DECLARATION.sub("", decode(raw, _encoding(raw))[0])
    if "<" not in page:
        raise UnusableFileError("no page: it has no tags")
    about = library.StreamInfo(extension=".html", charset="utf-8")
    converted = converters.HtmlConverter().convert(io.BytesIO(page.encode("utf-8", "replace")), about)
    text: str = converted.markdown
    title = " ".join((converted.title or "").split())
    is_wanted = titled and title and text.strip() and first_heading(text, ".md") is None
    return f"# {title}\n\n{text}" if is_wanted else text


def _encoding(raw: bytes) -> str:
    """Return the encoding that the bytes of a page tell for certain, that it states, or that is likely."""
    detected = detect_encoding(raw)
    stated = _stated(raw)
    is_seven_bit = raw.isascii() and stated is not None  # which is UTF-8 too, and means something else
    if detected.name is not None and detected.certain and not is_seven_bit:
        return detected.name
    if stated is not None and (detected.name is None or codecs.lookup(stated).name != "utf-8"):
        return stated
    if detected.name is None:
        raise UnusableFileError(detected.reason)
    return detected.name


def _stated(raw: bytes) -> str | None:
    """Return the encoding that a page states; None if it is none that Python has, or that such bytes can be in."""
    stated = _STATED.search(raw[:_HEAD])
    if stated is None:
        return None
    name = stated[1].decode("ascii", "replace").lower()
    try:
        name = _AS_BROWSERS.get(codecs.lookup(name).name, name)
        return name if has_byte_lines(name) else None
    except (LookupError, ValueError, TypeError):
        return None
