"""The two collections of an index in Milvus, and what the first one's description says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rader_plugins.engines.milvus.connection import MilvusConnection
from rader_plugins.errors import EngineError, InputError
from rader_plugins.index.dense import AnnConfig

__all__ = ["companion_of", "make_blobs", "make_rows", "search_parameters"]

_PREFIX = "rader-plugins index, described in "
_PROPERTY = "rader-plugins.index"  # Milvus Lite keeps no descriptions
_TEXT = 65_535
_LISTS = 1024


def companion_of(described: Mapping[str, Any]) -> str | None:
    """Return the name of the second collection from what ``describe_collection`` says; None where it is not ours."""
    for text in ((described.get("properties") or {}).get(_PROPERTY), described.get("description")):
        if isinstance(text, str) and text.startswith(_PREFIX):
            return text.removeprefix(_PREFIX)
    return None


def search_parameters(ann: AnnConfig | None) -> dict[str, int]:
    """Return the parameters of a search by vector."""
    kind = None if ann is None else ann.kind
    return (
        {"ef": ann.ef_search} if ann and kind == "hnsw" else {"nprobe": ann.probes} if ann and kind == "ivfpq" else {}
    )


def make_blobs(connection: MilvusConnection, name: str) -> None:
    """Make the collection of the blobs."""
    types = connection.library.DataType
    schema = connection.library.CollectionSchema(
        [
            _field(connection, "key", types.VARCHAR, max_length=256, is_primary=True),
            _field(connection, "value", types.VARCHAR, max_length=_TEXT),
            _field(connection, "unused", types.FLOAT_VECTOR, dim=2),  # Milvus has no collection without vectors
        ],
        description="rader-plugins: header and statistics of an index",
    )
    indexes = connection.call("prepare_index_params")
    indexes.add_index("unused", index_type="FLAT", metric_type="IP")
    connection.call("create_collection", name, schema=schema, index_params=indexes, consistency_level="Strong")


def make_rows(
    connection: MilvusConnection, name: str, companion: str, dimension: int | None, dtype: str, ann: AnnConfig | None
) -> None:
    """Make the collection of the documents.

    Raises:
        InputError: Milvus, or this server, has no such vectors or index.
        EngineError: There is one of this name, or the server failed.
    """
    types = connection.library.DataType
    half = dtype == "float16"
    kind, building = _index(ann, dimension)
    fields = [
        _field(connection, "key", types.VARCHAR, max_length=_TEXT, is_primary=True),
        _field(connection, "part", types.VARCHAR, max_length=_TEXT, is_partition_key=True),
        _field(connection, "text", types.VARCHAR, max_length=_TEXT),
        _field(connection, "metadata", types.VARCHAR, max_length=_TEXT),
        _field(connection, "digest", types.VARCHAR, max_length=64),
        _field(connection, "metadata_digest", types.VARCHAR, max_length=64),
        _field(connection, "stamp", types.INT64),
        _field(
            connection, "tokens", types.ARRAY, element_type=types.VARCHAR, max_length=256, max_capacity=4096,
        ),
        _field(connection, "bounds", types.JSON),
        _field(connection, "terms", types.SPARSE_FLOAT_VECTOR),
    ]  # fmt: skip
    indexes = connection.call("prepare_index_params")
    indexes.add_index("terms", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
    if dimension is not None:
        fields.append(_field(connection, "vector", types.FLOAT16_VECTOR if half else types.FLOAT_VECTOR, dim=dimension))
        indexes.add_index("vector", index_type=kind, metric_type="IP", params=building)
    schema = connection.library.CollectionSchema(fields, description=_PREFIX + companion)
    properties = {_PROPERTY: _PREFIX + companion}
    try:
        connection.call(
            "create_collection", name, schema=schema, index_params=indexes, consistency_level="Strong",
            properties=properties,
        )  # fmt: skip
    except EngineError as error:
        if half and "not support" in str(error):
            raise InputError(f"This server stores no float16 vectors, dtype='float32' is needed: {error}") from error
        raise
    _index_tokens(connection, name)


def _field(connection: MilvusConnection, name: str, kind: Any, **options: Any) -> Any:
    return connection.library.FieldSchema(name=name, dtype=kind, **options)


def _index(ann: AnnConfig | None, dimension: int | None) -> tuple[str, dict[str, int]]:
    """Return Milvus's index and what it is built with."""
    if ann is None or ann.kind == "flat" or dimension is None:
        return "FLAT", {}
    if ann.gpu:
        raise InputError("Milvus chooses GPUs by its own index types: leave gpu out of ann.")
    if ann.kind == "hnsw":
        return "HNSW", {"M": ann.links, "efConstruction": ann.ef_construction}
    codes = ann.code_bytes or max(1, dimension // 4)
    if dimension % codes:
        raise InputError(f"code_bytes of ann must divide the dimension {dimension}.")
    return "IVF_PQ", {"nlist": ann.lists or _LISTS, "m": codes, "nbits": 8}


def _index_tokens(connection: MilvusConnection, name: str) -> None:
    """Index the tokens, where the server can: filters are answered without it too, only slower."""
    if connection.is_lite:
        return  # it has no index over arrays
    indexes = connection.call("prepare_index_params")
    indexes.add_index("tokens", index_type="INVERTED")
    connection.call("create_index", name, indexes)
