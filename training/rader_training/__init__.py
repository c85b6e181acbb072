"""From training samples to a retriever that drops back in.

from rader_training import RetrieverConfig, train_retriever
train_retriever("samples", base="mini", out="trained", config=RetrieverConfig(epochs=2))
"""

from rader_training.config import RetrieverConfig
from rader_training.retriever import TrainingReport, train_retriever

__all__ = ["RetrieverConfig", "TrainingReport", "train_retriever"]
