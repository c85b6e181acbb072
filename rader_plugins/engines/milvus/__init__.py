"""Milvus, through ``pymilvus``: ``milvus://host:port/collection`` and ``milvus+https://...``.

The token comes from ``MILVUS_TOKEN``, or as user and password of the URL. Options of the URL: ``database``,
``partition``, ``timeout`` (seconds of one request), ``consistency`` of searches (``Strong``, ``Bounded``, ``Session``
or ``Eventually``).

A row's key is its partition and its id. Terms are a sparse vector, vectors are searched by FLAT or the index that
``ann`` asks for, both by inner product. Filters run over tokens and bounds (:mod:`rader_plugins.engines.facts`). What
an index says of itself lies in a second collection, which the first one names. The first is made last, so that an index
is there as a whole or not at all.
"""

from __future__ import annotations

import re

from typing_extensions import Unpack

from rader_plugins.encoding.base import Encoder
from rader_plugins.engines.index import EngineIndex, create_engine_index, open_engine_index
from rader_plugins.engines.milvus.collection import MilvusCollection
from rader_plugins.engines.milvus.connection import MilvusConnection
from rader_plugins.engines.urls import EngineUrl
from rader_plugins.errors import InputError
from rader_plugins.index.opening import CreateOptions
from rader_plugins.recipes import Recipe

__all__ = ["create", "open"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_CONSISTENCY = ("Strong", "Bounded", "Session", "Eventually")


def create(url: str, encoder: Encoder | Recipe | str | None, **options: Unpack[CreateOptions]) -> EngineIndex:
    """Make an index; see :func:`rader_plugins.create_index`."""
    collection, partition = _collection(url)
    return create_engine_index(collection, encoder, url=url, partition=partition, **options)


def open(url: str, encoder: Encoder | Recipe | str | None) -> EngineIndex:
    """Open an index; see :func:`rader_plugins.open_index`."""
    collection, partition = _collection(url)
    return open_engine_index(collection, encoder, url=url, partition=partition)


def _collection(url: str) -> tuple[MilvusCollection, str]:
    parts = EngineUrl.parse(url)
    parts.check_options(["consistency", "database", "partition", "timeout"])
    if parts.host is None or not _NAME.fullmatch(parts.path):
        raise InputError(
            f"{parts.shown} names no collection: milvus://host:port/name, where the name has letters, digits and "
            "underscores and begins with none of the digits."
        )
    consistency = parts.options.get("consistency", "Strong")
    if consistency not in _CONSISTENCY:
        raise InputError(f"consistency is one of {', '.join(_CONSISTENCY)}, not {consistency!r}.")
    return MilvusCollection(MilvusConnection.of(parts), parts.path, consistency), parts.options.get("partition", "")
