"""Making one index hold what another holds, without encoding anything."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from rader_plugins.errors import FingerprintMismatchError
from rader_plugins.index.protocol import Index

__all__ = ["mirror"]

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


def _parts(index: Index) -> Iterator[list[str]]:
    names = index.ids()
    while part := list(itertools.islice(names, _ROWS)):
        yield part


def _about(index: Index) -> str:
    if index.recipe is None:
        return "no vectors"
    return f"vectors of recipe {index.recipe.name!r} (fingerprint {index.fingerprint})"
