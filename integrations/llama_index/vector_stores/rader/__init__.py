"""LlamaIndex vector store over an index of rader-plugins."""

from rader_plugins.errors import import_extra

import_extra("llama_index.core", "llama-index")

from llama_index.vector_stores.rader.base import RaderVectorStore  # noqa: E402

__all__ = ["RaderVectorStore"]
