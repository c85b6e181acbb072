"""LlamaIndex retriever over an index of rader-plugins."""

from rader_plugins.errors import import_extra

import_extra("llama_index.core", "llama-index")

from llama_index.retrievers.rader.base import RaderRetriever  # noqa: E402

__all__ = ["RaderRetriever"]
