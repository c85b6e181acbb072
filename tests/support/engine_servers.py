"""The engines that the congruence suite runs over: each starts what it needs, gives URLs of its own, and ends it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tests.support.milvus_server import MilvusServer
from tests.support.postgres_server import PostgresServer
from tests.support.qdrant_folder import QdrantFolder

__all__ = ["SERVERS", "EngineServer"]


class EngineServer(Protocol):
    """What a test needs of a running engine."""

    def url(self, table: str) -> str:
        """URL of an index with a name of its own; nothing is there yet."""

    def stop(self) -> None:
        """End it, with all that it holds."""


# Starts the engine, or skips the test with the reason why it cannot.
SERVERS: dict[str, Callable[[], EngineServer]] = {
    "milvus": MilvusServer,
    "postgres": PostgresServer,
    "qdrant": QdrantFolder,
}
