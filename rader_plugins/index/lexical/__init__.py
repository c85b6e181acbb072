"""BM25: postings, weighting, and the search for the best documents without scoring all."""

from rader_plugins.index.lexical.postings import Postings, pack_terms
from rader_plugins.index.lexical.pruning import promising
from rader_plugins.index.lexical.scoring import Bm25Config, LexicalView, WeightedQuery

__all__ = ["Bm25Config", "LexicalView", "Postings", "WeightedQuery", "pack_terms", "promising"]
