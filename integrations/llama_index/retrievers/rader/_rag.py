"""LlamaIndex's query engines for :func:`rader_plugins.evaluate_rag`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.chat_engine.types import BaseChatEngine

from rader_plugins.errors import InputError
from rader_plugins.evaluation import RagAnswer

__all__ = ["RagQueryEngine", "adapt"]


class RagQueryEngine:
    """A query engine that :func:`rader_plugins.evaluate_rag` can ask; plain engines are wrapped by themselves.

    What was retrieved are the source nodes of its responses.

    Args:
        engine: The query engine. It must not stream.
        description: A JSON object for the manifest, which tells this engine from others: LlamaIndex's engines cannot
            describe themselves, so use another folder, or another description, when you change one.

    Raises:
        InputError: It is no query engine.

    Example:
        >>> from rader_plugins import evaluate_rag
        >>> engine = RagQueryEngine(index.as_query_engine(), description={"k": 5})  # doctest: +SKIP
        >>> evaluate_rag(engine, "problems.jsonl", "math", out="runs/engine").accuracy  # doctest: +SKIP
        0.74
    """

    def __init__(self, engine: BaseQueryEngine, *, description: Mapping[str, Any] | None = None) -> None:
        if not isinstance(engine, BaseQueryEngine):
            raise InputError(f"RagQueryEngine takes a LlamaIndex query engine, not {type(engine).__name__}.")
        self.engine = engine
        self.description = dict(description or {})

    def describe(self) -> dict[str, Any]:
        """Return what the manifest says of the engine."""
        return {"engine": type(self.engine).__qualname__, **self.description}

    async def aanswer(self, question: str) -> RagAnswer:
        """Return the answer to one question.

        Raises:
            InputError: The engine streams.
        """
        response: Any = await self.engine.aquery(question)
        if not hasattr(response, "response"):
            raise InputError("The query engine streams its answers. Make it with streaming=False.")
        nodes = response.source_nodes
        scores = [node.score for node in nodes]
        return RagAnswer(
            str(response.response or ""),
            tuple(node.node.get_content() for node in nodes),
            tuple(str(node.node.node_id) for node in nodes),
            tuple(float(score) for score in scores if score is not None) if None not in scores else (),
        )


def adapt(chain: object) -> RagQueryEngine | None:
    """Return a query engine for :func:`rader_plugins.evaluate_rag`; None for what is none.

    Raises:
        InputError: It is a chat engine.
    """
    if isinstance(chain, BaseChatEngine):
        raise InputError(
            "A chat engine remembers earlier questions, so its answers depend on their order. Evaluate a query engine: "
            "index.as_query_engine()."
        )
    return RagQueryEngine(chain) if isinstance(chain, BaseQueryEngine) else None
