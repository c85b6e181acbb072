"""`create_index` and `open_index`: an index by where it is, whatever keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any, Literal, TypedDict

from typing_extensions import Unpack

from rader_plugins.encoding.base import Encoder
from rader_plugins.errors import NoIndexError
from rader_plugins.index.dense import AnnConfig
from rader_plugins.index.engine_entries import ENGINES, Engine, find_engine
from rader_plugins.index.index import RaderIndex
from rader_plugins.index.lexical import Bm25Config
from rader_plugins.index.protocol import Index
from rader_plugins.recipes import Recipe

__all__ = ["ENGINES", "CreateOptions", "Engine", "create_index", "find_index", "open_index"]


class CreateOptions(TypedDict, total=False):
    """What a new index may be given: see :meth:`rader_plugins.RaderIndex.create`."""

    dtype: Literal["float32", "float16"] | None
    ann: str | AnnConfig | Mapping[str, Any] | None
    bm25: Bm25Config | None
    exist_ok: bool
    lock_timeout: float


def create_index(
    where: str | PathLike[str] | None, encoder: Encoder | Recipe | str | None, **options: Unpack[CreateOptions]
) -> Index:
    """Make a new, empty index.

    Args:
        where: Folder to make, or the URL of an engine; None keeps the index in memory.
        encoder: What makes the vectors: an encoder, or what :func:`rader_plugins.load_encoder` takes. None makes an
            index without vectors, for ``mode="bm25"``.
        **options: See :meth:`rader_plugins.RaderIndex.create`; an engine says which it takes.

    Raises:
        InputError: There is an index already, an option is unusable, or ``where`` is the URL of an unknown engine.

    Example:
        >>> from rader_plugins import Document, RaderRetriever
        >>> index = create_index(None, encoder=None)
        >>> index.add([Document(id="a", text="Among any six people, three know each other or three do not.")])
        AddReport(added=1, replaced=0, unchanged=0, encoded=0, skipped=0)
        >>> [hit.document.id for hit in RaderRetriever(index, mode="bm25").search("six people")]
        ['a']
    """
    if (engine := find_engine(where)) is not None:
        return engine.create(str(where), encoder, **options)
    return RaderIndex.create(where, encoder, **options)


def open_index(where: str | PathLike[str], encoder: Encoder | Recipe | str | None = None) -> Index:
    """Open an index.

    Args:
        where: Folder of the index, or the URL of an engine.
        encoder: What encodes queries and new documents; it must have the index's fingerprint. None loads the recorded
            one when it is first needed.

    Raises:
        NoIndexError: There is no index.
        InputError: ``where`` is the URL of an unknown engine.
        FingerprintMismatchError: The encoder makes other vectors than the index holds.
    """
    if (engine := find_engine(where)) is not None:
        return engine.open(str(where), encoder)
    return RaderIndex.open(where, encoder)


def find_index(where: str | PathLike[str], encoder: Encoder | Recipe | str | None = None) -> Index | None:
    """As :func:`open_index`; None where there is no index."""
    try:
        return open_index(where, encoder)
    except NoIndexError:
        return None
