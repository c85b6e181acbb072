"""LlamaIndex embeddings with the models of rader-plugins."""

from rader_plugins.errors import import_extra

import_extra("llama_index.core", "llama-index")

from llama_index.embeddings.rader.base import RaderEmbedding  # noqa: E402

__all__ = ["RaderEmbedding"]
