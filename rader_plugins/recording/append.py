"""Appending rows to a file that several processes share and any of them may be killed while writing."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

from rader_plugins.files import naming

__all__ = ["append_rows", "open_recording", "recorded_files"]

_LOCK_SECONDS = 10.0
_BLOCK = 1 << 16


def append_rows(path: Path, rows: bytes, max_bytes: int | None = None) -> None:
    """Append whole rows; either all of them are in the file afterwards or, with an exception, none.

    An unfinished row at the end, which a killed writer left, is removed first: every writer holds the lock while it
    writes, so nobody is still at it.

    Args:
        path: The file; made if it is not there.
        rows: JSONL that ends with a line break.
        max_bytes: Rename the file first if it would grow beyond this.

    Raises:
        OSError: The file cannot be written, or another process held it for ten seconds.
    """
    with FileLock(f"{path}.lock", timeout=_LOCK_SECONDS):
        if max_bytes is not None and path.exists() and 0 < path.stat().st_size > max_bytes - len(rows):
            path.rename(_next_name(path))
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            end = _sound_end(descriptor)
            os.lseek(descriptor, end, os.SEEK_SET)
            try:
                remainder = memoryview(rows)
                with naming(path):
                    while remainder:
                        remainder = remainder[os.write(descriptor, remainder) :]
            except OSError:
                os.ftruncate(descriptor, end)
                raise
        finally:
            os.close(descriptor)


def recorded_files(path: str | os.PathLike[str]) -> list[Path]:
    """Return the files of a recording, oldest first: those that were renamed when they had grown, then the file."""
    file = Path(path)
    numbered = [
        (number, sibling)
        for sibling in file.parent.glob(f"{file.stem}.*{file.suffix}")
        if (number := _number(file, sibling))
    ]
    return [sibling for _, sibling in sorted(numbered)] + ([file] if file.exists() or not numbered else [])


@contextmanager
def open_recording(path: str | os.PathLike[str]) -> Iterator[Iterator[tuple[Path, BinaryIO]]]:
    """Open a recording as it is now, and yield its files, oldest first; a writer may go on and rename them meanwhile.

    Raises:
        OSError: A file cannot be read.
    """
    with ExitStack() as stack:
        # First the newest: should it be renamed before the others are listed, it is seen there.
        newest = stack.enter_context(Path(path).open("rb")) if Path(path).is_file() else None
        files = [file for file in recorded_files(path) if file != Path(path)]
        yield _opened(files, Path(path), newest)


def _opened(files: Sequence[Path], path: Path, newest: BinaryIO | None) -> Iterator[tuple[Path, BinaryIO]]:
    is_renamed = False
    for file in files:
        with file.open("rb") as stream:
            is_renamed |= newest is not None and os.path.sameopenfile(stream.fileno(), newest.fileno())
            yield file, stream
    if newest is not None and not is_renamed:
        yield path, newest


def _number(path: Path, other: Path) -> int:
    match = re.fullmatch(re.escape(path.stem) + r"\.(\d{5,})" + re.escape(path.suffix), other.name)
    return int(match[1]) if match else 0


def _next_name(path: Path) -> Path:
    last = max((_number(path, sibling) for sibling in path.parent.glob(f"{path.stem}.*{path.suffix}")), default=0)
    return path.with_name(f"{path.stem}.{last + 1:05d}{path.suffix}")


def _sound_end(descriptor: int) -> int:
    """Return where to go on: the end of the last whole row; what stands after it is cut off."""
    size = os.lseek(descriptor, 0, os.SEEK_END)
    tail = b""
    start = size
    while start > 0:
        step = min(_BLOCK, start)
        os.lseek(descriptor, start - step, os.SEEK_SET)
        tail = os.read(descriptor, step) + tail
        start -= step
        if (line_break := tail.rfind(b"\n")) >= 0:
            start += line_break + 1
            tail = tail[line_break + 1 :]
            break
    if not tail:
        return size
    try:
        json.loads(tail)
    except ValueError:
        os.ftruncate(descriptor, start)
        return start
    # A whole row without its line break: written by hand, or by a writer that was killed at the last byte.
    os.lseek(descriptor, size, os.SEEK_SET)
    os.write(descriptor, b"\n")
    return size + 1
