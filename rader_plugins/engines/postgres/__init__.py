"""PostgreSQL with pgvector (extra ``postgres``): ``postgresql://user@host:port/database?table=docs``."""

from __future__ import annotations

from typing import Any

from rader_plugins.encoding.base import Encoder
from rader_plugins.engines.index import EngineIndex, create_engine_index, open_engine_index
from rader_plugins.engines.postgres.collection import PostgresCollection
from rader_plugins.engines.urls import EngineUrl
from rader_plugins.recipes import Recipe

__all__ = ["create", "open"]


def create(url: str, encoder: Encoder | Recipe | str | None, **options: Any) -> EngineIndex:
    """Make a new, empty index in a table of its own; see :func:`rader_plugins.create_index`.

    Args:
        url: ``postgresql://user@host:port/database``. Options behind ``?``: ``table`` (``rader``), ``partition``,
            ``connections`` at most (8), ``timeout`` in seconds of one request (60), and libpq's ``host`` (the folder of
            a socket), ``sslmode``, ``sslrootcert``, ``sslcert``, ``sslkey``, ``connect_timeout``. The password is
            better kept where libpq finds it: ``PGPASSWORD`` or a password file.
        encoder: What makes the vectors; None makes an index without.
        **options: ``dtype``, ``bm25``, ``exist_ok``; ``ann``: ``"hnsw"`` or its parameters, built by ``optimize()``,
            for up to 2,000 dimensions (float16: 4,000). None searches exactly.
    """
    parsed = EngineUrl.parse(url)
    collection = PostgresCollection(parsed)
    return create_engine_index(collection, encoder, url=url, partition=parsed.options.get("partition", ""), **options)


def open(url: str, encoder: Encoder | Recipe | str | None) -> EngineIndex:
    """Open an index; see :func:`create` for its URL and :func:`rader_plugins.open_index`."""
    parsed = EngineUrl.parse(url)
    return open_engine_index(
        PostgresCollection(parsed), encoder, url=url, partition=parsed.options.get("partition", "")
    )
