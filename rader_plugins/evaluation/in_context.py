"""Former place of :mod:`rader_plugins.evaluation.rag.in_context`."""

from rader_plugins.evaluation.rag.in_context import IN_CONTEXT_PROMPT, NO_CONTEXT_PROMPT, InContextRag, Searches

__all__ = ["IN_CONTEXT_PROMPT", "NO_CONTEXT_PROMPT", "InContextRag", "Searches"]
