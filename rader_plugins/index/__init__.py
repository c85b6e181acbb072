"""The index: the protocol that everything else relies on, and the embedded engine with vectors, terms and filters."""

from rader_plugins.index.dense import AnnConfig
from rader_plugins.index.filters import Filter
from rader_plugins.index.index import RaderIndex
from rader_plugins.index.lexical import Bm25Config
from rader_plugins.index.opening import create_index, find_index, open_index
from rader_plugins.index.protocol import (
    AddOptions,
    AddReport,
    Index,
    check_index,
    encoder_of,
    is_index,
    read_documents,
)
from rader_plugins.index.request import Mode, SearchRequest

__all__ = [
    "AddOptions",
    "AddReport",
    "AnnConfig",
    "Bm25Config",
    "Filter",
    "Index",
    "Mode",
    "RaderIndex",
    "SearchRequest",
    "check_index",
    "create_index",
    "encoder_of",
    "find_index",
    "is_index",
    "open_index",
    "read_documents",
]
