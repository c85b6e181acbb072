"""Evaluating retrievers: data sets, runs, scores and comparisons. Needs ``pip install 'rader-plugins[evaluation]'``."""

from rader_plugins.evaluation.comparing.comparison import Comparison, Group, compare
from rader_plugins.evaluation.comparing.significance import PairedTest, confidence_interval, paired_test
from rader_plugins.evaluation.datasets.bundled import bundled_folder
from rader_plugins.evaluation.datasets.dataset import RetrievalDataset
from rader_plugins.evaluation.datasets.rows import read_queries
from rader_plugins.evaluation.indexing import index_corpus
from rader_plugins.evaluation.rag.asking import evaluate_rag
from rader_plugins.evaluation.rag.chains import RagAnswer, RagChain
from rader_plugins.evaluation.rag.in_context import InContextRag
from rader_plugins.evaluation.rag.result import RagComparison, RagEvaluation, RagRow, compare_rag
from rader_plugins.evaluation.rankings import Aspects, Excluded, Qrels, Run, interpolate
from rader_plugins.evaluation.result import Evaluation
from rader_plugins.evaluation.runner import evaluate
from rader_plugins.evaluation.scoring import Scores, score_run
from rader_plugins.evaluation.suite import Suite, evaluate_all
from rader_plugins.evaluation.systems import SearchFunction, UnusableResultsError
from rader_plugins.evaluation.trec_files import read_aspects, read_excluded, read_qrels, read_run, write_run

__all__ = [
    "Aspects",
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
    "Suite",
    "UnusableResultsError",
    "bundled_folder",
    "compare",
    "compare_rag",
    "confidence_interval",
    "evaluate",
    "evaluate_all",
    "evaluate_rag",
    "index_corpus",
    "interpolate",
    "paired_test",
    "read_aspects",
    "read_excluded",
    "read_qrels",
    "read_queries",
    "read_run",
    "score_run",
    "write_run",
]
