"""Making one index hold what another holds, without encoding anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rader_plugins.errors import FingerprintMismatchError
from rader_plugins.index.dense import gather

if TYPE_CHECKING:
    from rader_plugins.index.index import RaderIndex

__all__ = ["mirror"]

_ROWS = 8192


def mirror(source: RaderIndex, target: RaderIndex) -> None:
    """Add to ``target`` what is new or changed in ``source``, vectors included, and delete what is not in it.

    Raises:
        FingerprintMismatchError: They hold vectors of different recipes.
    """
    if target.fingerprint != source.fingerprint:
        raise FingerprintMismatchError(
            f"{target.path} holds vectors of recipe {target.recipe.name!r} (fingerprint {target.fingerprint}), not of "
            f"{source.recipe.name!r} (fingerprint {source.fingerprint}). Copy to another folder."
        )
    with source.frozen() as snapshot:
        rows = np.flatnonzero(snapshot.alive)
        names = [snapshot.ids[row] for row in rows.tolist()]
        for first in range(0, len(names), _ROWS):
            part = names[first : first + _ROWS]
            stored = {document.id: document for document in target.get(part)}
            documents = source.get(part)
            changed = [place for place, document in enumerate(documents) if stored.get(document.id) != document]
            if changed:
                vectors = gather(snapshot.shards, snapshot.starts, rows[first : first + _ROWS][changed])
                target.add([documents[place] for place in changed], vectors=vectors)
        kept = set(names)
        target.delete([document.id for document in target.documents() if document.id not in kept])
