"""From training samples to a retriever and a reranker that drop back in.

from rader_training import RetrieverConfig, train_retriever
train_retriever("samples", base="mini", out="trained", config=RetrieverConfig(epochs=2))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rader_training.config import RerankerConfig, RetrieverConfig
    from rader_training.divergence import TrainingDivergedError
    from rader_training.report import TrainingReport
    from rader_training.reranker import train_reranker
    from rader_training.retriever import train_retriever

__all__ = [
    "RerankerConfig",
    "RetrieverConfig",
    "TrainingDivergedError",
    "TrainingReport",
    "train_reranker",
    "train_retriever",
]

_HOMES = {
    "RerankerConfig": "rader_training.config",
    "RetrieverConfig": "rader_training.config",
    "TrainingDivergedError": "rader_training.divergence",
    "TrainingReport": "rader_training.report",
    "train_reranker": "rader_training.reranker",
    "train_retriever": "rader_training.retriever",
}


def __getattr__(name: str) -> Any:
    # Imported when they are used: the command line lists its commands without numpy and torch.
    if name not in _HOMES:
        raise AttributeError(f"module 'rader_training' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
