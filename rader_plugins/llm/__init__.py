"""Language models: the one protocol that grader, reasoning queries and synthesis talk to, and its HTTP client."""

from rader_plugins.llm.base import ChatModel, Completion, Message, RequestRefusedError, Usage
from rader_plugins.llm.cache import CachedChat
from rader_plugins.llm.openai_chat import OpenAIChat

__all__ = ["CachedChat", "ChatModel", "Completion", "Message", "OpenAIChat", "RequestRefusedError", "Usage"]
