"""Searching an index: fusion of scores and the retriever."""

from rader_plugins.retrieval.fusion import fuse, z_scores
from rader_plugins.retrieval.retriever import Mode, RaderRetriever

__all__ = ["Mode", "RaderRetriever", "fuse", "z_scores"]
