"""Engines: the same index in a database that serves many machines. Each is reached by its URL.

``create_index("postgresql://user@host/db?table=docs", encoder="mini")`` and ``open_index(url)`` of the core take these
URLs; nothing here has to be imported for that. What is one engine's own lies in one file of its name; everything else
(what changed and must be encoded, statistics of BM25, ties, fusion) is the same for all, so that they give the embedded
index's answers.
"""

from rader_plugins.engines.collection import Collection, Limits, Ranking, Row, Scope
from rader_plugins.engines.index import EngineIndex, create_engine_index, open_engine_index
from rader_plugins.engines.sparse import Sparse, TermWeights, dimension_of
from rader_plugins.engines.sparse_encoder import SparseBm25
from rader_plugins.engines.statistics import Statistics

__all__ = [
    "Collection", "EngineIndex", "Limits", "Ranking", "Row", "Scope", "Sparse", "SparseBm25", "Statistics",
    "TermWeights", "create_engine_index", "dimension_of", "open_engine_index",
]  # fmt: skip
