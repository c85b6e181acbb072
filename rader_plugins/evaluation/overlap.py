"""Former place of :mod:`rader_plugins.evaluation.datasets.overlap`."""

from rader_plugins.evaluation.datasets.overlap import BUNDLED, EvaluationSet, Overlap, load_evaluation_set

__all__ = ["BUNDLED", "EvaluationSet", "Overlap", "load_evaluation_set"]
