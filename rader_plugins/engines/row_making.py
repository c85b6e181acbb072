"""From a checked document to the row that an engine stores, and what of it an engine cannot store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from rader_plugins.engines.collection import Collection, Limits, Row
from rader_plugins.engines.sparse import Sparse
from rader_plugins.errors import InputError
from rader_plugins.files import canonical_json
from rader_plugins.index.adding import Prepared

__all__ = ["check_limits", "check_partition", "check_query", "check_terms", "digest_of", "metadata_digest", "row_of"]


def row_of(item: Prepared, vector: npt.NDArray[Any] | None, terms: Sparse, stamp: int) -> Row:
    """Return the row of a document, with the terms and the stamp that it shall have."""
    document = item.document
    return Row(
        id=document.id,
        text=document.text,
        metadata=item.metadata,
        digest=digest_of(document.text),
        metadata_digest=metadata_digest(item.metadata),
        vector=None if vector is None else np.asarray(vector, dtype=np.float32),
        terms=terms,
        stamp=stamp,
    )


def digest_of(text: str) -> str:
    """Return what tells whether a stored text is the same."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:32]


@lru_cache(1024)  # the parts of a file often have the same
def metadata_digest(metadata: str) -> str:
    """Return what tells whether stored metadata, given as JSON, is the same whatever the order of its keys."""
    return digest_of(canonical_json(json.loads(metadata)))


def check_limits(batch: Sequence[Prepared], limits: Limits, engine: str) -> None:
    """Look at documents before anything of them is encoded or stored.

    Raises:
        InputError: The engine cannot store one of them; the message names it, the limit and what to do.
    """
    for item in batch:
        document = item.document
        parts = (
            ("id", document.id, limits.id_bytes),
            ("text", document.text, limits.text_bytes),
            ("metadata", item.metadata, limits.metadata_bytes),
        )
        for name, value, most in parts:
            if most is None or 4 * len(value) <= most:
                continue
            if (size := len(value.encode("utf-8"))) > most:
                raise InputError(
                    f"The {name} of document {document.id[:80]!r} has {size:,} bytes, and {engine} stores {most:,} at "
                    "most. Split or shorten it; nothing of this part was stored."
                )
        if not limits.nul and ("\x00" in document.text or "\\u0000" in item.metadata):
            raise InputError(
                f"Document {document.id[:80]!r} holds the character U+0000, which {engine} cannot store. Remove it; "
                "nothing of this part was stored."
            )


def check_partition(partition: str, collection: Collection) -> str:
    """Return the name of a partition, if the engine can have one.

    Raises:
        InputError: It is too long, or holds U+0000 where that cannot be stored.
    """
    limits = collection.limits
    size = len(partition.encode("utf-8"))
    if limits.partition_bytes is not None and size > limits.partition_bytes:
        raise InputError(
            f"The name of the partition has {size:,} bytes, and {collection.engine} takes {limits.partition_bytes:,} "
            "at most."
        )
    if not limits.nul and "\x00" in partition:
        raise InputError(
            f"The name of the partition holds the character U+0000, which {collection.engine} cannot store."
        )
    return partition


def check_terms(sizes: Sequence[tuple[str, int]], collection: Collection) -> None:
    """Look at how many different terms documents have: (id, number) of each.

    Raises:
        InputError: There are more in one of them than the engine stores.
    """
    most = collection.limits.terms
    for id, size in sizes:
        if most is not None and size > most:
            raise InputError(
                f"The text of document {id[:80]!r} has {size:,} different words, and {collection.engine} stores "
                f"{most:,} at most. Split it; nothing of this part was stored."
            )


def check_query(terms: Sparse, collection: Collection) -> Sparse:
    """Return what a query multiplies, if the engine takes so much.

    Raises:
        InputError: It has more different terms than the engine stores.
    """
    most = collection.limits.terms
    if most is not None and len(terms) > most:
        raise InputError(
            f"The query has {len(terms):,} different words, and {collection.engine} takes {most:,} at most. Shorten it."
        )
    return terms
