"""Data sets that come with the library."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from rader_plugins.errors import InputError

__all__ = ["BUNDLED", "BUNDLED_SETS", "bundled_folder", "bundled_name"]

BUNDLED = "bundled"
"""Names the questions of the corpus that comes with the library, as ``bundled:principles`` does."""

BUNDLED_SETS = ("principles", "skirl")
"""``principles``: theorems and the situations that they resolve. ``skirl``: the help desk of a made-up tube post, with
the log of its conversations. Their README files tell more."""


def bundled_folder(name: str) -> Path:
    """Return the folder of a data set that comes with the library, in BEIR's layout.

    Args:
        name: One of :data:`BUNDLED_SETS`. ``skirl`` also holds ``conversations.jsonl.gz``, a log for ``rader import``.

    Raises:
        InputError: There is none of that name.

    Example:
        >>> (bundled_folder("skirl") / "conversations.jsonl.gz").is_file()
        True
    """
    if name not in BUNDLED_SETS:
        raise InputError(f"No data set {name!r} comes with the library. There are: {', '.join(BUNDLED_SETS)}.")
    return Path(str(files("rader_plugins").joinpath(f"data/{name}")))


def bundled_name(reference: str) -> str | None:
    """Return which data set ``bundled`` or ``bundled:NAME`` means; None for other references and existing paths."""
    kind, colon, name = reference.partition(":")
    if kind != BUNDLED or Path(reference).exists():
        return None
    return name if colon else BUNDLED_SETS[0]
