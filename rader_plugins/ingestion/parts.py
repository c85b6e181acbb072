"""`Part`: what a file of a known kind says, page by page, and what of it could not be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Part", "UnusableFileError", "names_of"]

_NAMED = 10


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
        missing: What belongs to it and is not in the text, and why: attachments of a message, say; "" where all is.
    """

    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    markdown: bool = True
    line: int | None = None
    missing: str = ""


def names_of(names: list[str]) -> str:
    """Return the first names, and how many there are more."""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
