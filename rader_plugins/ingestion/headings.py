"""The title of a Markdown or reStructuredText file: its first heading."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

__all__ = ["MARKDOWN_SUFFIXES", "first_heading"]

MARKDOWN_SUFFIXES = (".md", ".markdown")

_FENCE = re.compile(r"^ {0,3}(```|~~~)")
_ATX_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$")
_MARKDOWN_UNDERLINE = re.compile(r"^(=+|-{3,})$")
_RST_UNDERLINE = re.compile(r"^([=\-~^\"'#*+.:`_])\1{2,}$")


def first_heading(text: str, suffix: str) -> str | None:
    """Return the first heading of a text; None if it has none, or its kind has no headings.

    Args:
        text: The whole text.
        suffix: Ending of the file's name in lower case.
    """
    if suffix in MARKDOWN_SUFFIXES:
        return _markdown_heading(text.splitlines())
    return _rst_heading(text.splitlines()) if suffix == ".rst" else None


def _rst_heading(lines: Sequence[str]) -> str | None:
    for title, line in pairwise(lines):
        if title.strip() and not _RST_UNDERLINE.match(title.rstrip()) and _RST_UNDERLINE.match(line.rstrip()):
            return title.strip()
    return None


def _markdown_heading(lines: Sequence[str]) -> str | None:
    start = 0
    if lines and lines[0].strip() == "---":  # YAML front matter
        start = 1 + next((number for number, line in enumerate(lines[1:], 1) if line.strip() == "---"), -1)
    fence: str | None = None
    previous = ""
    for line in lines[start:]:
        if mark := _FENCE.match(line):
            fence = mark[1] if fence is None else (None if mark[1] == fence else fence)
            previous = ""
        elif fence is None:
            if heading := _ATX_HEADING.match(line):
                return heading[1]
            if previous and _MARKDOWN_UNDERLINE.match(line.rstrip()):
                return previous
            previous = line.strip()
    return None
