"""Headings of Markdown and reStructuredText: the first is a file's title, the last before a chunk is its section."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

__all__ = ["MARKDOWN_SUFFIXES", "Sections", "first_heading"]

MARKDOWN_SUFFIXES = (".md", ".markdown")

_FENCE = re.compile(r"^ {0,3}(```|~~~)")
_ATX_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$")
_MARKDOWN_UNDERLINE = re.compile(r"^(=+|-{3,})$")
_RST_UNDERLINE = re.compile(r"^([=\-~^\"'#*+.:`_])\1{2,}$")


def first_heading(text: str, suffix: str) -> str | None:
    """Return the first heading of a text; None if it has none, or its kind has no headings.

    Args:
        text: The whole text of the document.
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
    if lines and lines[0].strip() == "---":  # front matter that could not be read
        start = 1 + next((number for number, line in enumerate(lines[1:], 1) if line.strip() == "---"), -1)
    return next((title for _, _, title in _markdown_headings(lines[start:])), None)


def _markdown_headings(lines: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Yield the number of the line (from 0), the level and the text of every heading outside of fenced code."""
    fence: str | None = None
    previous = ""
    for number, line in enumerate(lines):
        if mark := _FENCE.match(line):
            fence = mark[1] if fence is None else (None if mark[1] == fence else fence)
            previous = ""
        elif fence is None:
            if heading := _ATX_HEADING.match(line):
                yield number, line.count("#", 0, line.index(heading[1])), heading[1]
                previous = ""
                continue
            if previous and (underline := _MARKDOWN_UNDERLINE.match(line.rstrip())):
                yield number - 1, 1 if underline[1].startswith("=") else 2, previous
                previous = ""
                continue
            previous = line.strip()


class Sections:
    """The headings under which the parts of a Markdown text stand.

    Args:
        text: The whole text of the document.
    """

    def __init__(self, text: str) -> None:
        lines = text.split("\n")
        starts = [0]
        for line in lines:
            starts.append(starts[-1] + len(line) + 1)
        self._starts: list[int] = []
        self._names: list[str] = []
        path: list[tuple[int, str]] = []
        for number, level, title in _markdown_headings([line.rstrip("\r") for line in lines]):
            path = [(above, name) for above, name in path if above < level] + [(level, title)]
            self._starts.append(starts[number])
            self._names.append(" > ".join(name for _, name in path))

    def name_of(self, start: int, end: int) -> str | None:
        """Return the headings above a part of the text, such as ``Guide > Install``; else the first one within it."""
        position = bisect.bisect_right(self._starts, start)
        if position:
            return self._names[position - 1]
        return self._names[0] if self._starts and self._starts[0] < end else None
