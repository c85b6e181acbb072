"""Evaluating chains that answer questions."""

from rader_plugins.evaluation.rag.asking import evaluate_rag
from rader_plugins.evaluation.rag.chains import RagAnswer, RagChain
from rader_plugins.evaluation.rag.in_context import InContextRag
from rader_plugins.evaluation.rag.result import RagComparison, RagEvaluation, RagRow, compare_rag

__all__ = [
    "InContextRag",
    "RagAnswer",
    "RagChain",
    "RagComparison",
    "RagEvaluation",
    "RagRow",
    "compare_rag",
    "evaluate_rag",
]
