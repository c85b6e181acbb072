"""Which objects of a store are read, and what else lies there: by the rules of a folder on this machine."""

from __future__ import annotations

import contextlib
import html
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote

from rader_plugins.errors import InputError
from rader_plugins.ingestion.findings import Findings
from rader_plugins.ingestion.listing import Listing
from rader_plugins.ingestion.store_urls import WEB
from rader_plugins.ingestion.stores import StorePath, information_of, tag_of

__all__ = ["StoredFolder", "list_store", "single_object"]

_DEEPEST = 100  # folders below each other


@dataclass
class StoredFolder:
    """What lies below a URL.

    Attributes:
        objects: Name of each object, relative with ``/`` -> the object, in the order of a folder on this machine.
        findings: What is not read whatever the user chooses, and why.
    """

    objects: dict[str, StorePath] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)

    def choose(self, chosen: Callable[[str], bool]) -> Listing:
        """Return the objects that are to be read; the others are noted."""
        listing = Listing()
        listing.findings.take(self.findings)
        for name, file in self.objects.items():
            if chosen(name):
                listing.files.append(file)
            else:
                listing.findings.add("left_out", name)
        return listing


def single_object(path: StorePath) -> StorePath | None:
    """Return the object that a URL names; None where it names a folder or a bucket.

    Raises:
        SourceError: The store is not reached.
        InputError: There is neither, or it may not be looked at.
    """
    root = path.address
    is_web = path.store.protocol in WEB
    if is_web and "?" not in root and root.endswith("/"):
        return None
    if not is_web and (path.store.url.endswith("/") or not root.strip("/")):
        return None
    with _naming(path):
        information = path.store.call(information_of(root))
    if information.get("type") == "directory":
        return None
    name = root.partition("?")[0].rstrip("/").rpartition("/")[2]
    inner, size = unquote(name) if is_web else name, information.get("size")
    return replace(path, inner=inner, size=size, tag=tag_of(path.store, information))


def list_store(path: StorePath) -> StoredFolder:
    """List all objects below a URL, in a time that grows with their number.

    Hidden objects and folders (of a name that begins with a full stop) and folders of indexes are left out.

    Raises:
        SourceError: The store is not reached.
        InputError: There is none, or it may not be listed.
    """
    result = StoredFolder()
    entries = dict(_flat(path) if _lists_at_once(path) else _walked(path, result.findings))
    if not entries and not result.findings.names:
        raise InputError(f"{path} is empty: no object has a name that begins so.")
    indexes = _index_folders(entries)
    for name in sorted(entries, key=lambda name: name.split("/")):
        folders = [name[:end] for end, letter in enumerate(name) if letter == "/"]
        if hidden := next((part for part in (*folders, name) if part.rpartition("/")[2].startswith(".")), None):
            result.findings.add("hidden", hidden if hidden == name else f"{hidden}/")
        elif index := next((folder for folder in folders if folder in indexes), None):
            result.findings.add("left_out", f"{index}/", "an index")
        else:
            result.objects[name] = entries[name]
    return result


@contextlib.contextmanager
def _naming(path: StorePath) -> Iterator[None]:
    """Put the URL into what a store refuses."""
    try:
        yield
    except OSError as error:
        hint = (
            " (names stand as they are: %20 is no space)" if "%" in str(path) and path.store.protocol not in WEB else ""
        )
        raise InputError(f"{path} cannot be read: {error}{hint}.") from None


def _lists_at_once(path: StorePath) -> bool:
    """Whether a store lists what lies at any depth by itself, a page for many objects."""
    from fsspec import AbstractFileSystem
    from fsspec.asyn import AsyncFileSystem

    kind = type(path.store.system)
    if issubclass(kind, AsyncFileSystem):
        return kind._find is not AsyncFileSystem._find
    return kind.find is not AbstractFileSystem.find


def _flat(path: StorePath) -> Iterator[tuple[str, StorePath]]:
    root = path.address

    def find(system: Any) -> Mapping[str, Mapping[str, Any]]:
        system.invalidate_cache()
        answer: Mapping[str, Mapping[str, Any]] = system.find(root, detail=True)
        return answer

    with _naming(path):
        entries = path.store.call(find)
    prefix = f"{root.rstrip('/')}/"
    for key, information in entries.items():
        # An object whose name ends in a slash stands for a folder.
        if key.startswith(prefix) and not key.endswith("/") and information.get("type", "file") == "file":
            yield key[len(prefix) :], _object(path, key[len(prefix) :], key, information)


def _walked(path: StorePath, findings: Findings) -> Iterator[tuple[str, StorePath]]:
    prefix = f"{path.address.rstrip('/')}/"
    folders, entered = [path.address], {prefix}
    while folders:
        folder = folders.pop()
        try:
            with _naming(path) if folder == path.address else contextlib.nullcontext():
                entries = path.store.call(_entries_of(folder))
        except OSError as error:
            findings.add("unreadable", f"{_inner(path, folder, prefix)}/", str(error))
            continue
        for information in entries:
            key = str(information["name"])
            key = html.unescape(key) if path.store.protocol in WEB else key
            name = _inner(path, key, prefix)
            if not key.startswith(prefix) or not name or (path.store.protocol in WEB and ("?" in key or "#" in key)):
                continue
            is_folder = information.get("type") == "directory"
            if is_folder and name.rpartition("/")[2].startswith("."):
                findings.add("hidden", f"{name}/")
            elif is_folder and information.get("islink"):
                findings.add("links", f"{name}/", "a linked folder, not followed")
            elif is_folder and name.count("/") >= _DEEPEST:
                findings.add("unreadable", f"{name}/", f"more than {_DEEPEST} folders deep: does it lead to itself?")
            elif is_folder and f"{key.rstrip('/')}/" not in entered:
                entered.add(f"{key.rstrip('/')}/")
                folders.append(key)
            elif not is_folder and information.get("type") == "file":
                yield name, _object(path, name, key, information)
            elif not is_folder:
                findings.add("left_out", name, "not a file")


def _inner(path: StorePath, key: str, prefix: str) -> str:
    name = key[len(prefix) :].rstrip("/")
    return unquote(name) if path.store.protocol in WEB else name


def _object(path: StorePath, name: str, key: str, information: Mapping[str, Any]) -> StorePath:
    return StorePath(path.store, name, key, information.get("size"), tag_of(path.store, information))


def _entries_of(folder: str) -> Callable[[Any], list[Mapping[str, Any]]]:
    def entries(system: Any) -> list[Mapping[str, Any]]:
        system.invalidate_cache()
        return list(system.ls(folder, detail=True))

    return entries


def _index_folders(names: Mapping[str, object]) -> set[str]:
    """Return the folders that hold an index."""
    with_vectors = {name[: -len("/vectors")] for name in _folders(names) if name.endswith("/vectors")}
    return {folder for folder in with_vectors if f"{folder}/index.db" in names}


def _folders(names: Mapping[str, object]) -> set[str]:
    return {name[:end] for name in names for end, letter in enumerate(name) if letter == "/"}
