"""A document as a row of Milvus, and back."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from rader_plugins.engines.collection import Row
from rader_plugins.engines.facts import facts_of
from rader_plugins.engines.sparse import Sparse
from rader_plugins.errors import InputError
from rader_plugins.index.request import Vector

__all__ = ["TERMS", "TEXT_BYTES", "document_terms", "id_of", "key_of", "part_of", "query_terms", "row_of", "vector_of"]

TEXT_BYTES = 65_535
"""Of the longest string."""
TERMS = 2**32 - 2
"""How many dimensions terms may have. The one after them is of texts without terms: no sparse vector may be empty."""

_TOKENS = 4096  # elements of the longest array
# pymilvus writes keys into expressions as they are.
_ESCAPES = str.maketrans({character: f"%{ord(character):02X}" for character in "%'\"\\\n\r\t\0"})


def key_of(partition: str, id: str) -> str:
    """Return the primary key of a document."""
    return f"{part_of(partition)}/{id.translate(_ESCAPES)}"


def id_of(key: str) -> str:
    """Return the id of the document with a key."""
    return unquote(key.partition("/")[2])


def part_of(partition: str) -> str:
    """Return what the field ``part`` holds."""
    return quote(partition, safe="")


def row_of(partition: str, row: Row, *, half: bool) -> dict[str, Any]:
    """Return the values of all fields; ``half`` says that vectors are float16.

    Raises:
        InputError: The metadata has too many fields or values.
    """
    facts = facts_of(json.loads(row.metadata))
    bounds = {
        name: {kind: {"least": ends[0], "greatest": ends[1]} for kind, ends in kinds.items()}
        for name, kinds in facts.bounds.items()
    }
    if len(facts.tokens) > _TOKENS or len(json.dumps(bounds).encode()) > TEXT_BYTES:
        raise InputError(
            f"The metadata of document {row.id[:80]!r} has more fields and values than Milvus can filter by "
            f"({_TOKENS:,} facts of up to {TEXT_BYTES:,} bytes): leave some out. Nothing of this part was stored."
        )
    values = {
        "key": key_of(partition, row.id),
        "part": part_of(partition),
        "text": row.text,
        "metadata": row.metadata,
        "digest": row.digest,
        "metadata_digest": row.metadata_digest,
        "stamp": row.stamp,
        "tokens": facts.tokens,
        "bounds": bounds,
        "terms": document_terms(row.terms),
    }
    if row.vector is not None:
        values["vector"] = row.vector.astype(np.float16) if half else row.vector
    return values


def document_terms(terms: Sparse) -> dict[int, float]:
    """Return the sparse vector of a document."""
    return query_terms(terms) or {TERMS: 1.0}


def query_terms(terms: Sparse) -> dict[int, float]:
    """Return the sparse vector of a query."""
    return dict(zip(terms.dimensions.tolist(), terms.values.tolist(), strict=True))


def vector_of(value: Any, *, half: bool) -> Vector:
    """Return a vector as it is stored; ``half`` says that it is float16."""
    if isinstance(value, bytes):
        value = np.frombuffer(value, dtype=np.float16 if half else np.float32)
    return np.asarray(value, dtype=np.float32)
