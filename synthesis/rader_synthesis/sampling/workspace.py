"""Where a sample set is put together, and how it takes its place all at once."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock

from rader_plugins.errors import InputError
from rader_plugins.files import sync_folder

__all__ = ["CARD", "Workspace", "check_output", "workspace"]

CARD = "card.json"


@dataclass(frozen=True)
class Workspace:
    """A folder beside the output.

    Args:
        scratch: Folder for what is thrown away at the end.
        result: What becomes the output.
    """

    scratch: Path
    result: Path


def check_output(out: Path, *, overwrite: bool) -> None:
    """Refuse an output that is there already, unless it is a sample set that may be replaced.

    Raises:
        InputError: With what to do.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / CARD).is_file():
        raise InputError(f"{out} is there already and is no sample set. Choose another folder.")
    if not overwrite:
        raise InputError(f"{out} holds a sample set already. Choose another folder, or replace it with --overwrite.")


@contextlib.contextmanager
def workspace(out: Path, *, overwrite: bool = False) -> Iterator[Workspace]:
    """Give a workspace; when the block ends its result is renamed to ``out``, with all files on the disk.

    If the block fails, or the process is killed, ``out`` is what it was before. What a killed process left behind is
    cleared away by the next one.

    Raises:
        InputError: The output is there already, or another process works on it.
    """
    out = Path(os.path.abspath(out))  # noqa: PTH100 - a link that is replaced is not to be followed
    work, old = out.with_name(f".{out.name}.partial"), out.with_name(f".{out.name}.replaced")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        if old.exists() and not out.exists():  # killed between the two renames
            old.rename(out)
        check_output(out, overwrite=overwrite)
        work.mkdir(exist_ok=True)
        lock = filelock.FileLock(work / "lock", timeout=0)
        lock.acquire()
    except (filelock.Timeout, FileNotFoundError):
        raise InputError(f"Another process is making {out}. Wait for it, or choose another folder.") from None
    except OSError as error:  # of what lies beside the output, under names that only this module knows
        error.filename, error.filename2 = str(out), None
        raise
    try:
        space = Workspace(work / "scratch", work / "result")
        for folder in (space.scratch, space.result, old):
            shutil.rmtree(folder, ignore_errors=True)
        space.scratch.mkdir()
        space.result.mkdir()
        yield space
        _sync(space.result)
        if out.is_dir() and not any(out.iterdir()):
            out.rmdir()
        if out.exists():
            out.rename(old)
        space.result.rename(out)
        sync_folder(out.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        lock.release()


def _sync(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            with (Path(parent) / name).open("rb") as stream:
                os.fsync(stream.fileno())
        sync_folder(parent)
