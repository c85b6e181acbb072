"""Making one index hold what another holds, without encoding anything."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rader_plugins.errors import FingerprintMismatchError
from rader_plugins.files import atomic_write
from rader_plugins.index.home import BUILD_RECORD
from rader_plugins.index.protocol import Index

__all__ = ["copy", "copy_record", "mirror"]

_ROWS = 8192


def mirror(source: Index, target: Index) -> None:
    """Add to ``target`` what is new or changed in ``source``, vectors included, and delete what is not in it.

    Raises:
        FingerprintMismatchError: They hold vectors of different recipes.
    """
    if target.fingerprint != source.fingerprint:
        raise FingerprintMismatchError(
            f"The index to copy to holds {_about(target)}, not {_about(source)}. Copy to another folder."
        )
    names = set()
    for part in _parts(source):
        documents = source.get(part)
        vectors = source.vectors(part)
        target.add(documents, vectors=np.stack([vectors[document.id] for document in documents]) if vectors else None)
        names.update(part)
    target.delete([name for name in target.ids() if name not in names])


def copy(source: Index, target: Index) -> None:
    """Make an index of another kind hold what this one holds, ready to be searched, and close it.

    Raises:
        FingerprintMismatchError: They hold vectors of different recipes.
    """
    try:
        mirror(source, target)
        target.optimize()
    finally:
        target.close()


def copy_record(source: Path | None, target: Path) -> None:
    """Give the index in ``target`` the note of how that in ``source`` was built, or none if that has none."""
    note = source / BUILD_RECORD if source is not None else None
    if note is not None and note.is_file():
        with atomic_write(target / BUILD_RECORD) as stream:
            stream.write(note.read_bytes())
    else:
        (target / BUILD_RECORD).unlink(missing_ok=True)


def _parts(index: Index) -> Iterator[list[str]]:
    names = index.ids()
    while part := list(itertools.islice(names, _ROWS)):
        yield part


def _about(index: Index) -> str:
    if index.recipe is None:
        return "no vectors"
    return f"vectors of recipe {index.recipe.name!r} (fingerprint {index.fingerprint})"
