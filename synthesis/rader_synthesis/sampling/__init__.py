"""From trajectories to training samples: queries, positives, hard negatives, splits and a data card."""

from rader_plugins.evaluation.overlap import EvaluationSet, load_evaluation_set
from rader_plugins.index.bm25_only import bm25_index
from rader_synthesis.sampling.build import SampleReport, make_samples
from rader_synthesis.sampling.config import SamplingConfig
from rader_synthesis.sampling.query_writing import QueryWriter

__all__ = [
    "EvaluationSet",
    "QueryWriter",
    "SampleReport",
    "SamplingConfig",
    "bm25_index",
    "load_evaluation_set",
    "make_samples",
]
