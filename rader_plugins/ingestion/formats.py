"""What files hold that are no plain text: PDF, Office, web pages, books, notebooks, messages.

PDF is read page by page with pypdf, so that a passage can be cited by its page; messages with Python's own parser;
everything else with markitdown, which makes Markdown of it. The three read what they get in memory and change nothing.
"""

from __future__ import annotations

import io
import json
import logging
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from rader_plugins.errors import MissingExtraError, import_extra
from rader_plugins.text_files import binary_kind, detect_encoding

__all__ = ["DOCUMENT_SUFFIXES", "Part", "UnusableFileError", "read_parts"]

_SLIDE = re.compile(r"^<!-- Slide number: (\d+) -->$", re.MULTILINE)
_SHEET = re.compile(r"^## (.+)$", re.MULTILINE)
_LIBRARIES = ("pypdf", "pdfminer", "markitdown", "openpyxl", "mammoth", "fontTools")


class UnusableFileError(Exception):
    """A file of a known kind that gives no text; the message is the reason, to stand behind the file's name."""


@dataclass(frozen=True)
class Part:
    """A page, slide or sheet of a file, or all of it.

    Args:
        text: Text of the part.
        metadata: Number or name of the part: ``page``, ``slide`` or ``sheet``.
        markdown: Whether the text is Markdown.
        line: Line of the file in which the text begins; None where the file has no lines.
    """

    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    markdown: bool = True
    line: int | None = None


def read_parts(suffix: str, raw: bytes) -> list[Part]:
    """Return what a file says, part by part; single pages may be without text.

    Args:
        suffix: Ending of its name, one of :data:`DOCUMENT_SUFFIXES`.
        raw: The bytes of the file.

    Raises:
        UnusableFileError: It is encrypted, damaged, or holds no text (a scan, say).
        MissingExtraError: The extra ``documents`` is not installed.
    """
    if not raw.strip():
        raise UnusableFileError("it is empty")
    with _quiet():
        try:
            parts = _READERS[suffix](raw, suffix)
        except (UnusableFileError, MissingExtraError, MemoryError):
            raise
        except ImportError as error:
            raise MissingExtraError(f"needs pip install 'rader-plugins[documents]' ({_first_line(error)})") from error
        except Exception as error:  # of whatever library reads it: one file is never the end of a run
            raise UnusableFileError(f"damaged, or not what its name says ({_first_line(error)})") from error
    if not any(part.text.strip() for part in parts):
        raise UnusableFileError("no text; pictures and scans are not read")
    return parts


def _pdf(raw: bytes, suffix: str) -> list[Part]:
    pypdf = import_extra("pypdf", "documents")
    reader = pypdf.PdfReader(io.BytesIO(raw))
    if reader.is_encrypted and not reader.decrypt(""):
        raise UnusableFileError("encrypted with a password")
    return [
        Part(page.extract_text() or "", {"page": number}, markdown=False)
        for number, page in enumerate(reader.pages, start=1)
    ]


def _converted(raw: bytes, suffix: str) -> str:
    converters = import_extra("markitdown.converters", "documents")
    if raw.startswith(b"\xd0\xcf\x11\xe0") and suffix in (".docx", ".pptx", ".xlsx"):
        raise UnusableFileError("encrypted with a password, or of an old format under a new name")
    if suffix in _ZIPPED and not zipfile.is_zipfile(io.BytesIO(raw)):
        raise UnusableFileError("damaged, or not what its name says")
    if suffix == ".ipynb":
        json.loads(raw)
    # By the converter of this kind alone: markitdown itself would take what is damaged for plain text.
    library = import_extra("markitdown", "documents")
    about = library.StreamInfo(extension=suffix, charset=_charset_of_page(raw) if suffix in _PAGES else None)
    text: str = getattr(converters, _CONVERTERS[suffix])().convert(io.BytesIO(raw), about).markdown
    return text


def _charset_of_page(raw: bytes) -> str | None:
    """Return the encoding of a page that does not state it, by a guess; None where it states it."""
    if kind := binary_kind(raw):
        raise UnusableFileError(kind)
    if b"<" not in raw:
        raise UnusableFileError("no page: it has no tags")
    if re.search(rb"charset", raw[:2048], re.IGNORECASE):
        return None
    detected = detect_encoding(raw)
    if detected.name is None:
        raise UnusableFileError(detected.reason)
    return detected.name


def _whole(raw: bytes, suffix: str) -> list[Part]:
    return [Part(_converted(raw, suffix))]


def _slides(raw: bytes, suffix: str) -> list[Part]:
    return [Part(text, {} if name is None else {"slide": int(name)}) for name, text in _split(_SLIDE, raw, suffix)]


def _sheets(raw: bytes, suffix: str) -> list[Part]:
    return [Part(text, {} if name is None else {"sheet": name}) for name, text in _split(_SHEET, raw, suffix)]


def _split(heading: re.Pattern[str], raw: bytes, suffix: str) -> Iterator[tuple[str | None, str]]:
    before, *pieces = heading.split(_converted(raw, suffix))
    if before.strip():
        yield None, before.strip()
    for name, text in zip(pieces[::2], pieces[1::2], strict=True):
        yield name, text.strip()


def _message(raw: bytes, suffix: str) -> list[Part]:
    message = message_from_bytes(raw, policy=policy.default)
    if not isinstance(message, EmailMessage) or not message.keys():
        raise UnusableFileError("no message: it has no headers")
    body = message.get_body(preferencelist=("plain", "html"))
    text = "" if body is None else str(body.get_content())
    if body is not None and body.get_content_subtype() == "html":
        text = _converted(text.encode(), ".html")
    heads = [f"{name}: {message[name]}" for name in ("Subject", "From", "To", "Date") if message[name]]
    return [Part("\n".join(heads) + f"\n\n{text}", markdown=False)]


_CONVERTERS = {
    ".docx": "DocxConverter",
    ".pptx": "PptxConverter",
    ".xlsx": "XlsxConverter",
    ".html": "HtmlConverter",
    ".htm": "HtmlConverter",
    ".epub": "EpubConverter",
    ".ipynb": "IpynbConverter",
}
_PAGES = (".html", ".htm")
_ZIPPED = (".docx", ".pptx", ".xlsx", ".epub")
_READERS: Mapping[str, Callable[[bytes, str], list[Part]]] = {
    ".pdf": _pdf,
    ".docx": _whole,
    ".pptx": _slides,
    ".xlsx": _sheets,
    ".html": _whole,
    ".htm": _whole,
    ".epub": _whole,
    ".ipynb": _whole,
    ".eml": _message,
}
DOCUMENT_SUFFIXES = tuple(_READERS)
"""Endings of files that :func:`read_parts` reads."""


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to themselves what the libraries say of damaged files: the file is named with its reason."""
    levels = {name: logging.getLogger(name).level for name in _LIBRARIES}
    for name in levels:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:160]
