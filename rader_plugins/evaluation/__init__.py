"""Evaluating retrievers: data sets, runs, scores and comparisons. Needs ``pip install 'rader-plugins[evaluation]'``."""

from rader_plugins.evaluation.comparison import Comparison, Group, compare
from rader_plugins.evaluation.dataset import RetrievalDataset
from rader_plugins.evaluation.in_context import InContextRag
from rader_plugins.evaluation.indexing import index_corpus
from rader_plugins.evaluation.rag import evaluate_rag
from rader_plugins.evaluation.rag_chains import RagAnswer, RagChain
from rader_plugins.evaluation.rag_result import RagComparison, RagEvaluation, RagRow, compare_rag
from rader_plugins.evaluation.result import Evaluation
from rader_plugins.evaluation.rows import read_queries
from rader_plugins.evaluation.runner import evaluate
from rader_plugins.evaluation.runs import (
    Excluded,
    Qrels,
    Run,
    interpolate,
    read_excluded,
    read_qrels,
    read_run,
    write_run,
)
from rader_plugins.evaluation.scoring import Scores, score_run
from rader_plugins.evaluation.statistics import PairedTest, confidence_interval, paired_test
from rader_plugins.evaluation.systems import SearchFunction, UnusableResultsError

__all__ = [
    "Comparison",
    "Evaluation",
    "Excluded",
    "Group",
    "InContextRag",
    "PairedTest",
    "Qrels",
    "RagAnswer",
    "RagChain",
    "RagComparison",
    "RagEvaluation",
    "RagRow",
    "RetrievalDataset",
    "Run",
    "Scores",
    "SearchFunction",
    "UnusableResultsError",
    "compare",
    "compare_rag",
    "confidence_interval",
    "evaluate",
    "evaluate_rag",
    "index_corpus",
    "interpolate",
    "paired_test",
    "read_excluded",
    "read_qrels",
    "read_queries",
    "read_run",
    "score_run",
    "write_run",
]
