"""What an index tells about itself."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rader_plugins.index.home import FIRST_ANALYZER, Home
from rader_plugins.index.snapshot import Snapshot
from rader_plugins.index.storage import FORMAT_VERSION

__all__ = ["describe"]


def describe(home: Home, snapshot: Snapshot) -> dict[str, Any]:
    """Return figures about one state of an index as a JSON object."""
    folder, settings = home.folder, home.settings
    return {
        "path": str(folder) if folder else None,
        "documents": len(snapshot),
        "deleted_rows": snapshot.rows - len(snapshot),
        "dimension": settings.dimension,
        "dtype": settings.dtype,
        "precision": settings.precision,
        "recipe": settings.recipe.name if settings.recipe else None,
        "model": settings.recipe.model if settings.recipe else None,
        "fingerprint": settings.fingerprint,
        "mean_terms": round(snapshot.lexical.mean_length, 2),
        "bm25": asdict(settings.bm25),
        "analyzer": home.store.meta("analyzer", FIRST_ANALYZER),
        "ann": settings.ann.kind if settings.ann else None,
        "ann_rows": snapshot.approximate.rows if snapshot.approximate else 0,
        "generation": snapshot.generation,
        "shards": len(snapshot.shards),
        "bytes": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder else None,
        "format_version": FORMAT_VERSION,
    }
