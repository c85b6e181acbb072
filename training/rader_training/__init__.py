"""From training samples to a retriever and a reranker that drop back in.

from rader_training import RetrieverConfig, train_retriever
train_retriever("samples", base="mini", out="trained")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rader_training.config import RerankerConfig, RetrieverConfig
    from rader_training.loss.divergence import TrainingDivergedError
    from rader_training.reranker import prepare_reranker, train_reranker
    from rader_training.retriever import prepare_retriever, train_retriever
    from rader_training.run.plan import TrainingPlan
    from rader_training.run.report import TrainingReport, WorseThanBaseError

__all__ = [
    "RerankerConfig",
    "RetrieverConfig",
    "TrainingDivergedError",
    "TrainingPlan",
    "TrainingReport",
    "WorseThanBaseError",
    "prepare_reranker",
    "prepare_retriever",
    "train_reranker",
    "train_retriever",
]

_HOMES = {
    "RerankerConfig": "rader_training.config",
    "RetrieverConfig": "rader_training.config",
    "TrainingDivergedError": "rader_training.loss.divergence",
    "TrainingPlan": "rader_training.run.plan",
    "TrainingReport": "rader_training.run.report",
    "WorseThanBaseError": "rader_training.run.report",
    "prepare_reranker": "rader_training.reranker",
    "prepare_retriever": "rader_training.retriever",
    "train_reranker": "rader_training.reranker",
    "train_retriever": "rader_training.retriever",
}


def __getattr__(name: str) -> Any:
    # Imported when they are used: the command line lists its commands without numpy and torch.
    if name not in _HOMES:
        raise AttributeError(f"module 'rader_training' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
