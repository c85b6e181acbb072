"""Data sets for retrieval: folders, BRIGHT, the Hugging Face hub, samples."""

from rader_plugins.evaluation.datasets.dataset import RetrievalDataset
from rader_plugins.evaluation.datasets.names import open_dataset
from rader_plugins.evaluation.datasets.rows import read_queries

__all__ = ["RetrievalDataset", "open_dataset", "read_queries"]
