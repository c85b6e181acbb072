"""Qdrant in this process, over a folder: there is no package that brings a Qdrant server."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

_MEMORY = Path("/dev/shm")  # its database syncs after every document


class QdrantFolder:
    """A folder of collections."""

    def __init__(self) -> None:
        pytest.importorskip("qdrant_client", reason="needs qdrant-client (extra qdrant)")
        self._own = tempfile.TemporaryDirectory(prefix="rader-qdrant-", dir=_MEMORY if _MEMORY.is_dir() else None)
        self.folder = Path(self._own.name)

    def url(self, name: str, **options: str) -> str:
        """URL of a collection."""
        query = "&".join(f"{key}={value}" for key, value in options.items())
        return f"qdrant://{self.folder}/{name}{'?' + query if query else ''}"

    def stop(self) -> None:
        """Delete it."""
        self._own.cleanup()
