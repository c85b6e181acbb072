"""Which files of a folder are read, and what else lies there."""

from __future__ import annotations

import contextlib
import fnmatch
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rader_plugins.errors import InputError
from rader_plugins.ingestion.findings import DANGLING, Findings
from rader_plugins.ingestion.stores import Location

__all__ = ["Listing", "glob_matcher", "list_folder"]


@dataclass
class Listing:
    """What a walk through a folder found.

    Attributes:
        files: What is to be read, in ascending order of the path.
        mounts: Folders below it, relative with ``/``, on which another file system is mounted.
        findings: What is not read, and why.
    """

    files: list[Location] = field(default_factory=list)
    mounts: list[str] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)


def list_folder(root: Path, chosen: Callable[[str], bool], *, follow_links: bool = False) -> Listing:
    """Walk through a folder.

    Hidden files and folders, folders of indexes and, unless told otherwise, linked folders are not entered. A linked
    folder is entered once: not where it, or what holds it, is read under another name.

    Args:
        root: The folder to walk through.
        chosen: Whether a file is to be read, by its path relative to ``root`` with ``/``.
        follow_links: Whether to enter linked folders.
    """
    listing = Listing()
    findings = listing.findings
    device = root.stat().st_dev
    entered: set[tuple[int, int]] = set()
    folders = [""]  # relative, ending in "/"
    files: list[Path] = []
    links: list[str] = []  # wait until all that lies in the folder itself was read
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        if not _enter(root / folder, folder, entered, findings):
            continue
        for entry in _entries(root / folder, folder, findings):
            name = f"{folder}{entry.name}"
            is_folder = _is_folder(entry)
            if entry.name.startswith("."):
                findings.add("hidden", name + ("/" if is_folder else ""))
            elif is_folder and not entry.is_symlink():
                folders.append(f"{name}/")
                with contextlib.suppress(OSError):  # named when it is entered
                    if entry.stat().st_dev != device:
                        listing.mounts.append(name)
            elif is_folder and follow_links:
                links.append(f"{name}/")
            elif is_folder:
                findings.add("links", f"{name}/", "a linked folder, not followed")
            elif not _is_file(entry):
                dangling = entry.is_symlink() and not os.path.exists(entry.path)  # noqa: PTH110 - Path.exists may raise
                findings.add(*(("links", name, DANGLING) if dangling else ("left_out", name, "not a file")))
            elif chosen(name):
                files.append(root / name)
            else:
                findings.add("left_out", name)
    listing.files.extend(sorted(files))
    return listing


def _enter(path: Path, folder: str, entered: set[tuple[int, int]], findings: Findings) -> bool:
    """Note that a folder is read; False if it is an index, was read already under another name, or may not be."""
    try:
        status = path.stat()
    except OSError as error:
        findings.add("unreadable", folder or "./", error.strerror or str(error))
        return False
    if (status.st_dev, status.st_ino) in entered:
        findings.add("links", folder, "leads to a folder that is read already")
        return False
    entered.add((status.st_dev, status.st_ino))
    if folder and is_index_folder(path):
        findings.add("left_out", folder, "an index")
        return False
    return True


def is_index_folder(path: Path) -> bool:
    """Whether a folder holds an index."""
    try:
        return (path / "index.db").is_file() and (path / "vectors").is_dir()
    except OSError:
        return False


def _entries(path: Path, folder: str, findings: Findings) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        findings.add("unreadable", folder or "./", error.strerror or str(error))
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a chain of links that bites its own tail
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def glob_matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Return a function that says whether a relative path with ``/`` matches one of the patterns.

    A pattern without ``/`` is for the file's name, at any depth; one with ``/`` counts from the folder, and ``**``
    stands for any number of folders there.

    Raises:
        InputError: A pattern is empty, or names something outside the folder.
    """
    split = [_parts(pattern) for pattern in patterns]
    return lambda path: any(_matches(path.split("/"), parts) for parts in split)


def _parts(pattern: str) -> list[str]:
    parts = pattern.split("/")
    if not pattern.strip("/") or pattern.startswith("/") or ".." in parts or "\x00" in pattern:
        raise InputError(
            f"--glob {pattern!r} is no pattern: name files inside the folder, such as '*.tex' or 'notes/**/*.md'."
        )
    if len(parts) == 1:
        return ["**", pattern]
    return [*(part for part in parts[:-1] if part not in ("", ".")), parts[-1] or "**"]


def _matches(path: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern or not path:
        return not pattern and not path
    if pattern[0] == "**":
        return len(pattern) == 1 or any(_matches(path[start:], pattern[1:]) for start in range(len(path)))
    return fnmatch.fnmatchcase(path[0], pattern[0]) and _matches(path[1:], pattern[1:])
