"""Ctrl-C: what was kept, how to go on, and an end within two seconds whatever else still runs."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import typer

from rader_plugins.cli.output import note
from rader_plugins.errors import InputError

__all__ = [
    "INTERRUPTED",
    "Interrupted",
    "end_if_interrupted",
    "end_soon_after_interruption",
    "interruptible",
    "resumable",
    "tell_interruption",
]

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it (128 and the number of the signal)."""

_PATIENCE = 1.5  # seconds that threads and open files get after Ctrl-C
_AGAIN = "What was stored before is intact; run the same command again."


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in a command that knows what it has kept; its text says so."""


@contextlib.contextmanager
def interruptible(left: Callable[[], str]) -> Iterator[None]:
    """At Ctrl-C, say what the block leaves and how to go on.

    Args:
        left: Returns that, as sentences.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(left()) from None


@contextlib.contextmanager
def resumable(kept: Callable[[], str], folder: Path | None = None) -> Iterator[None]:
    """If the block is cut short, say what was kept and that the same command goes on from there.

    Args:
        kept: Returns what was kept, as a clause without a full stop.
        folder: Folder that keeps the work; where it is empty or missing, the message says that nothing was kept.

    Example:
        >>> with resumable(lambda: "2 of 3 files are in out"):
        ...     pass
    """

    def left() -> str:
        if folder is not None and not (folder.is_dir() and any(folder.iterdir())):
            return f"nothing is kept in {folder} yet. Run the same command again."
        return f"{kept()}. The same command goes on from there."

    try:
        with interruptible(left):
            yield
    except Interrupted:
        raise
    except (InputError, typer.Exit):  # nothing was begun, or the command has said itself how it went
        raise
    except BaseException:
        note(f"Stopped: {left()}")
        raise


_told = threading.Event()


def tell_interruption(error: KeyboardInterrupt | None = None) -> None:
    """Write what an interruption left."""
    _told.set()
    note(f"Interrupted: {error}" if isinstance(error, Interrupted) else f"Interrupted. {_AGAIN}")


_interrupted = threading.Event()


def end_if_interrupted() -> None:
    """End this process now if Ctrl-C ended its command: taking libraries such as torch down can take many seconds."""
    if _interrupted.is_set():
        _end()


def _end() -> None:
    # Whatever is written is written atomically, so a process may end at any moment.
    with contextlib.suppress(Exception):
        if not _told.is_set():
            tell_interruption()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(INTERRUPTED)


def end_soon_after_interruption() -> None:
    """Let Ctrl-C end this process soon, also where a thread or a library does not hear of it; a second one at once."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        _interrupted.set()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        last = threading.Timer(_PATIENCE, _end)
        last.daemon = True
        last.start()
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, interrupt)
