"""Dense search: exact over shards of vectors, or approximate through FAISS."""

from rader_plugins.index.dense.approximate import AnnConfig, Approximate, ann_config
from rader_plugins.index.dense.exact import ROUNDING, exact_scores, gather, gather_scores

__all__ = ["ROUNDING", "AnnConfig", "Approximate", "ann_config", "exact_scores", "gather", "gather_scores"]
