"""Dense search: exact over shards of vectors, or approximate through FAISS."""

from rader_plugins.index.dense.approximate import AnnConfig, Approximate, ann_config
from rader_plugins.index.dense.codes import CodedQueries, CodeRun, quantise
from rader_plugins.index.dense.exact import exact_scores, float_error, gather, gather_scores
from rader_plugins.index.dense.kernels import integer_products

__all__ = [
    "AnnConfig",
    "Approximate",
    "CodeRun",
    "CodedQueries",
    "ann_config",
    "exact_scores",
    "float_error",
    "gather",
    "gather_scores",
    "integer_products",
    "quantise",
]
