"""Language models: the one protocol that grader, reasoning queries and synthesis talk to, and what implements it."""

from rader_plugins.llm.asking import Asked, GaveUpError, GiveUp, aask_all, ask_all
from rader_plugins.llm.base import (
    ChatModel,
    Completion,
    ContextOverflowError,
    EmptyAnswersError,
    Generator,
    Message,
    RequestRefusedError,
    Usage,
)
from rader_plugins.llm.budget import Budget, BudgetedLLM, BudgetExceededError, Spent
from rader_plugins.llm.cache import CachedChat
from rader_plugins.llm.generator import GeneratorBase, as_generator
from rader_plugins.llm.openai_chat import OpenAIChat
from rader_plugins.llm.sampling import Sampling, SamplingOptions
from rader_plugins.llm.vllm_local import VLLMGenerator

__all__ = [
    "Asked",
    "Budget",
    "BudgetExceededError",
    "BudgetedLLM",
    "CachedChat",
    "ChatModel",
    "Completion",
    "ContextOverflowError",
    "EmptyAnswersError",
    "GaveUpError",
    "Generator",
    "GeneratorBase",
    "GiveUp",
    "Message",
    "OpenAIChat",
    "RequestRefusedError",
    "Sampling",
    "SamplingOptions",
    "Spent",
    "Usage",
    "VLLMGenerator",
    "aask_all",
    "as_generator",
    "ask_all",
]
