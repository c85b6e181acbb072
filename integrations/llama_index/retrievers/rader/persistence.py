"""What a retriever keeps beside its index."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llama_index.core.vector_stores.types import MetadataFilters
from llama_index.retrievers.rader.filters import NodeFilter

from rader_plugins.errors import InputError
from rader_plugins.files import write_json

__all__ = [
    "pack_filters",
    "pack_reasoning",
    "pack_reranker",
    "read_config",
    "unpack_filters",
    "unpack_stage",
    "write_config",
]

_FILE = "llama_index_retriever.json"
_SCHEMA = "rader-llama-index-retriever/1"


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write a retriever's configuration beside its index.

    Raises:
        InputError: Something in it is not JSON.
    """
    try:
        write_json(folder / _FILE, {"schema": _SCHEMA, **config})
    except (TypeError, ValueError) as error:
        raise InputError(f"The retriever's configuration cannot be written as JSON: {error}.") from None


def read_config(folder: Path) -> dict[str, Any]:
    """Read what :func:`write_config` wrote.

    Raises:
        InputError: There is none, or it is not of this version.
    """
    file = folder / _FILE
    if not file.is_file():
        raise InputError(
            f"{folder} holds no retriever that was persisted. RaderRetriever(index={str(folder)!r}) opens an index "
            "without one."
        )
    try:
        config = json.loads(file.read_bytes())
    except ValueError as error:
        raise InputError(f"{file} is not JSON: {error}. Persist the retriever again.") from None
    if not isinstance(config, dict) or config.pop("schema", None) != _SCHEMA:
        raise InputError(
            f"{file} is not of the schema {_SCHEMA!r}, which this version reads. Persist the retriever again."
        )
    return config


def pack_filters(filters: NodeFilter | None) -> dict[str, Any] | None:
    """Return filters as JSON; a function leaves only the note that there was one."""
    if filters is None:
        return None
    if isinstance(filters, MetadataFilters):
        return {"metadata_filters": filters.model_dump(mode="json")}
    return {"dict": dict(filters)} if isinstance(filters, Mapping) else {"function": True}


def unpack_filters(packed: Mapping[str, Any] | None) -> NodeFilter | None:
    """Return what :func:`pack_filters` was given.

    Raises:
        InputError: It was a function.
    """
    if packed is None:
        return None
    if "function" in packed:
        raise InputError(
            "This retriever was persisted with a function as its filter, which a file cannot hold. Pass it again: "
            "from_persist_dir(path, filters=...)."
        )
    if "dict" in packed:
        filters: dict[str, Any] = packed["dict"]
        return filters
    return MetadataFilters.model_validate(packed["metadata_filters"])


def pack_reranker(given: object) -> dict[str, Any] | None:
    """Return a reranker as JSON: its name or directory if that is what was given, else the note that there was one."""
    if given is None:
        return None
    if isinstance(given, str | os.PathLike):
        path = Path(given)
        return {"name": str(path.resolve()) if path.is_dir() else os.fspath(given)}
    return {"object": type(given).__name__}


def pack_reasoning(given: object) -> dict[str, Any] | None:
    """Return the note that there was an object, which may hold a model and its key."""
    return None if given is None else {"object": type(given).__name__}


def unpack_stage(stage: str, packed: Mapping[str, Any] | None) -> Any:
    """Return the name of a reranker, None where there was nothing.

    Raises:
        InputError: It was an object.
    """
    if packed is None:
        return None
    if isinstance(packed, Mapping) and isinstance(packed.get("name"), str):
        return packed["name"]
    kind = packed.get("object", "an object") if isinstance(packed, Mapping) else "an object"
    raise InputError(
        f"This retriever was persisted with {kind} as its {stage}, which a file cannot hold. Pass it again: "
        f"from_persist_dir(path, {stage}=...), or {stage}=None to go without."
    )
