"""LlamaIndex node postprocessor with the rerankers of rader-plugins."""

from rader_plugins.errors import import_extra

import_extra("llama_index.core", "llama-index")

from llama_index.postprocessor.rader.base import RaderRerank  # noqa: E402

__all__ = ["RaderRerank"]
