"""LlamaIndex retriever over an index of rader-plugins; LlamaIndex's LLMs for its graders and reasoning queries;
a recorder of what an application asks, retrieves and answers."""

from rader_plugins.errors import import_extra

import_extra("llama_index.core", "llama-index")

from llama_index.retrievers.rader._rag import RagQueryEngine, RagWorkflow  # noqa: E402
from llama_index.retrievers.rader.base import RaderRetriever  # noqa: E402
from llama_index.retrievers.rader.chat import LlamaIndexChat  # noqa: E402
from llama_index.retrievers.rader.evaluation import searchable  # noqa: E402
from llama_index.retrievers.rader.recorder import TrajectoryRecorder  # noqa: E402

__all__ = ["LlamaIndexChat", "RaderRetriever", "RagQueryEngine", "RagWorkflow", "TrajectoryRecorder", "searchable"]
