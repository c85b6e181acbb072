"""What files hold that are no plain text: PDF, Office, web pages, books, notebooks, messages.

PDF is read page by page with pypdf, so that a passage can be cited by its page; workbooks with openpyxl; messages with
Python's own parser; everything else with markitdown, which makes Markdown of it. All read what they get in memory and
change nothing.
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

from rader_plugins.errors import MissingExtraError, import_extra
from rader_plugins.ingestion.books import missing_chapters
from rader_plugins.ingestion.messages import read_message
from rader_plugins.ingestion.pages import page_text
from rader_plugins.ingestion.parts import Part, UnusableFileError
from rader_plugins.ingestion.pdf import read_pages
from rader_plugins.ingestion.sheets import read_sheets

__all__ = ["DOCUMENT_SUFFIXES", "Part", "UnusableFileError", "read_parts"]

_SLIDE = re.compile(r"^<!-- Slide number: (\d+) -->$", re.MULTILINE)
_LIBRARIES = ("pypdf", "pdfminer", "markitdown", "openpyxl", "mammoth", "fontTools", "bs4")


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
        reasons = [part.missing for part in parts if part.missing]
        raise UnusableFileError(f"no text; {reasons[0] if reasons else 'pictures and scans are not read'}")
    return parts


def _pdf(raw: bytes, suffix: str) -> list[Part]:
    return read_pages(raw)


def _converted(raw: bytes, suffix: str) -> str:
    converters = import_extra("markitdown.converters", "documents")
    _check_archive(raw, suffix)
    # By the converter of this kind alone: markitdown itself would take what is damaged for plain text.
    library = import_extra("markitdown", "documents")
    about = library.StreamInfo(extension=suffix)
    text: str = getattr(converters, _CONVERTERS[suffix])().convert(io.BytesIO(raw), about).markdown
    return text


def _check_archive(raw: bytes, suffix: str) -> None:
    if raw.startswith(b"\xd0\xcf\x11\xe0") and suffix in (".docx", ".pptx", ".xlsx"):
        raise UnusableFileError("encrypted with a password, or of an old format under a new name")
    if suffix in _ZIPPED and not zipfile.is_zipfile(io.BytesIO(raw)):
        raise UnusableFileError("damaged, or not what its name says")


def _whole(raw: bytes, suffix: str) -> list[Part]:
    return [Part(_converted(raw, suffix))]


def _notebook(raw: bytes, suffix: str) -> list[Part]:
    notebook = json.loads(raw)
    if sheets := notebook.get("worksheets"):  # before version 4
        cells = [cell for sheet in sheets for cell in sheet["cells"]]
        notebook["cells"] = [{**cell, "source": cell.get("source", cell.get("input", ""))} for cell in cells]
    return _whole(json.dumps(notebook).encode(), suffix)


def _page(raw: bytes, suffix: str) -> list[Part]:
    return [Part(page_text(raw, titled=True))]


def _message(raw: bytes, suffix: str) -> list[Part]:
    return [read_message(raw)]


def _sheets(raw: bytes, suffix: str) -> list[Part]:
    import_extra("markitdown.converters", "documents")
    _check_archive(raw, suffix)
    return read_sheets(raw)


def _slides(raw: bytes, suffix: str) -> list[Part]:
    text = _converted(raw, suffix)
    # Marks count up from 1; others are what a slide says.
    marks: list[re.Match[str]] = []
    for mark in _SLIDE.finditer(text):
        if int(mark[1]) == len(marks) + 1:
            marks.append(mark)
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return [
        Part(text[mark.end() : end].strip(), {"slide": number})
        for number, (mark, end) in enumerate(zip(marks, ends, strict=True), start=1)
    ]


def _book(raw: bytes, suffix: str) -> list[Part]:
    text = _converted(raw, suffix)
    return [Part(text, missing=missing_chapters(raw))]


_CONVERTERS = {
    ".docx": "DocxConverter",
    ".pptx": "PptxConverter",
    ".epub": "EpubConverter",
    ".ipynb": "IpynbConverter",
}
_ZIPPED = (".docx", ".pptx", ".xlsx", ".epub")
_READERS: Mapping[str, Callable[[bytes, str], list[Part]]] = {
    ".pdf": _pdf,
    ".docx": _whole,
    ".pptx": _slides,
    ".xlsx": _sheets,
    ".html": _page,
    ".htm": _page,
    ".epub": _book,
    ".ipynb": _notebook,
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
