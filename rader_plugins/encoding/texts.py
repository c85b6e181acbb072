"""What encoders do with their input before it becomes tokens or requests: checks, and progress on a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence

from rader_plugins.documents import check_text
from rader_plugins.errors import InputError
from rader_plugins.recipes import Role

__all__ = ["checked_texts", "progress", "wants_progress"]

# Fewer texts than this are no long work.
_FEW = 64


def checked_texts(texts: Sequence[str], role: Role) -> list[str]:
    """Return the texts as a list of strings that can be tokenised and sent.

    Raises:
        InputError: ``texts`` is a single string, or an element is not a valid one.
    """
    if isinstance(texts, (str, bytes)):
        raise InputError(f"Pass a list of {role} texts, not one string: [text].")
    return [check_text(text, f"{role} {number}") for number, text in enumerate(texts)]


def wants_progress(show: bool | None, count: int) -> bool:
    """Return whether to show progress: what was asked for, else whether many texts meet a terminal."""
    if show is not None:
        return show
    return count > _FEW and sys.stderr is not None and sys.stderr.isatty()


@contextlib.contextmanager
def progress(total: int, shown: bool, label: str) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on the standard error, or nothing; yields a function that advances it."""
    if not shown:
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda count: bar.update(task, advance=count)
