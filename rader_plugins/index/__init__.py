"""The index: documents, vectors and terms, with filters."""

from rader_plugins.index.dense import AnnConfig
from rader_plugins.index.filters import Filter
from rader_plugins.index.index import RaderIndex
from rader_plugins.index.lexical import Bm25Config

__all__ = ["AnnConfig", "Bm25Config", "Filter", "RaderIndex"]
