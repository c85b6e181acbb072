"""Qdrant, through ``qdrant-client``: ``qdrant://host:port/collection``; in this process ``qdrant:///folder/collection``.

Port 6334 (the default) is asked by gRPC, any other by HTTP, or as ``transport=grpc`` or ``http`` says;
``qdrant+https`` encrypts both. The key comes from ``QDRANT_API_KEY``. Other options of the URL: ``partition``,
``timeout`` (seconds of one request), ``consistency`` of reads in a cluster (``majority``, ``quorum`` or ``all``).

Without a host the collection lies in a folder that one process alone may open: for trials and tests, since every search
looks at every document, in Python.
"""

from __future__ import annotations

from pathlib import Path

from typing_extensions import Unpack

from rader_plugins.encoding.base import Encoder
from rader_plugins.engines.index import EngineIndex, create_engine_index, open_engine_index
from rader_plugins.engines.qdrant.collection import QdrantCollection
from rader_plugins.engines.qdrant.connection import QdrantConnection
from rader_plugins.engines.urls import EngineUrl
from rader_plugins.errors import InputError
from rader_plugins.index.opening import CreateOptions
from rader_plugins.recipes import Recipe

__all__ = ["create", "open"]

_CONSISTENCY = ("majority", "quorum", "all")
_FORBIDDEN = frozenset('<>:"/\\|?*\0')


def create(url: str, encoder: Encoder | Recipe | str | None, **options: Unpack[CreateOptions]) -> EngineIndex:
    """Make an index; see :func:`rader_plugins.create_index`."""
    collection, partition = _collection(url)
    return create_engine_index(collection, encoder, url=url, partition=partition, **options)


def open(url: str, encoder: Encoder | Recipe | str | None) -> EngineIndex:
    """Open an index; see :func:`rader_plugins.open_index`."""
    collection, partition = _collection(url)
    return open_engine_index(collection, encoder, url=url, partition=partition)


def _collection(url: str) -> tuple[QdrantCollection, str]:
    parts = EngineUrl.parse(url)
    parts.check_options(["partition"] if parts.host is None else ["consistency", "partition", "timeout", "transport"])
    name = Path(parts.path).name if parts.host is None else parts.path
    if not name or _FORBIDDEN & set(name) or (parts.host is None and not Path(parts.path).is_absolute()):
        raise InputError(f"{parts.shown} names no collection: qdrant://host:port/name or qdrant:///folder/name.")
    consistency = parts.options.get("consistency")
    if consistency not in (None, *_CONSISTENCY):
        raise InputError(f"consistency is one of {', '.join(_CONSISTENCY)}, not {consistency!r}.")
    if parts.host is None:
        connection = QdrantConnection.local(Path(parts.path).parent)
    else:
        connection = QdrantConnection.remote(parts)
    return QdrantCollection(connection, name, consistency), parts.options.get("partition", "")
