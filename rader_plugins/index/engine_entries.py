"""Which engine is behind a URL: an entry point of the scheme's name."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from rader_plugins.encoding.base import Encoder
from rader_plugins.errors import InputError
from rader_plugins.index.protocol import Index
from rader_plugins.recipes import Recipe

__all__ = ["ENGINES", "Engine", "check_slashes", "find_engine"]

ENGINES = "rader.engines"
"""Entry-point group: each entry has the name of a URL's scheme, its value is an :class:`Engine`."""

_URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://")
_FEW_SLASHES = re.compile(r"(milvus|milvus\+https|qdrant|qdrant\+https|postgres|postgresql):(?!//)", re.IGNORECASE)


class Engine(Protocol):
    """What keeps indexes behind URLs of one scheme; a module with these two functions is one."""

    def create(self, url: str, encoder: Encoder | Recipe | str | None, **options: Any) -> Index:
        """Make a new, empty index; an option that the engine does not have is refused by name."""

    def open(self, url: str, encoder: Encoder | Recipe | str | None) -> Index:
        """Open an index; the encoder must have its fingerprint."""


def check_slashes(text: str) -> None:
    """Refuse a URL with too few slashes, which would be taken for a folder.

    Raises:
        InputError: It is one. The message does not repeat it, since a password may stand in it.
    """
    if (match := _FEW_SLASHES.match(text.strip())) is not None and not Path(text).exists():
        raise InputError(
            f"What begins with {match[1]}: is neither a folder nor a URL: that begins with {match[1]}:// ."
        )


def find_engine(where: object) -> Engine | None:
    """Return what is behind a URL; None for a folder.

    Raises:
        InputError: It is the URL of an unknown engine, or has too few slashes.
    """
    if not isinstance(where, str):
        return None
    match = _URL.match(where.strip())
    if match is None:
        check_slashes(where)
        return None
    scheme = match[1].lower()
    entries = {entry.name.lower(): entry for entry in entry_points(group=ENGINES)}
    if (entry := entries.get(scheme)) is None:
        available = f"engines are installed for {', '.join(sorted(entries))}" if entries else "no engine is installed"
        raise InputError(
            f"No engine is known for URLs that begin with {scheme}:// ({available}). An index is kept in a folder, in "
            "memory (None), or behind the URL of an engine."
        )
    try:
        engine: Engine = entry.load()
    except Exception as error:  # noqa: BLE001 - whatever another package raises is reported with its name
        raise InputError(f"The engine {entry.name!r} ({entry.value}) cannot be loaded: {error}") from error
    return engine
