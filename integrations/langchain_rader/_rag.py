"""LangChain's chains for :func:`rader_plugins.evaluate_rag`."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import merge_configs

from rader_plugins.errors import InputError
from rader_plugins.evaluation import RagAnswer

__all__ = ["RagRunnable", "adapt"]

_QUESTIONS = ("question", "input", "query")
_ANSWERS = ("answer", "output", "result", "response", "text")
_CONTEXTS = ("context", "source_documents", "documents", "contexts")


class RagRunnable:
    """A LangChain chain that :func:`rader_plugins.evaluate_rag` can ask; plain runnables are wrapped by themselves.

    What the chain retrieves is seen through callbacks, however deep in it the retriever sits; of a retriever that calls
    others, what it returns itself. A chain that returns its documents is taken at its word instead.

    Args:
        runnable: The chain.
        input_key: Where the question goes; by default what the chain's input schema says: a text, or one of
            ``question``, ``input``, ``query``, or the only field that there is.
        answer_key: Which field of the output is the answer; by default ``answer``, ``output``, ``result``,
            ``response`` or ``text``.
        context_key: Which field of the output holds the documents; by default ``context``, ``source_documents``,
            ``documents`` or ``contexts``.
        config: Of every call.
        description: A JSON object for the manifest, which tells this chain from others: LangChain's chains cannot
            describe themselves, so use another folder, or another description, when you change one.

    Raises:
        InputError: The chain takes several fields, none of which is known.

    Example:
        >>> from rader_plugins import evaluate_rag
        >>> chain = RagRunnable(rag_chain, description={"model": "qwen", "k": 5})  # doctest: +SKIP
        >>> evaluate_rag(chain, "problems.jsonl", "math", out="runs/chain").accuracy  # doctest: +SKIP
        0.74
    """

    def __init__(
        self,
        runnable: Runnable[Any, Any],
        *,
        input_key: str | None = None,
        answer_key: str | None = None,
        context_key: str | None = None,
        config: RunnableConfig | None = None,
        description: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(runnable, Runnable):
            raise InputError(f"RagRunnable takes a LangChain runnable, not {type(runnable).__name__}.")
        self.runnable = runnable
        self.input_key = input_key or _input_key(runnable)
        self.answer_keys = (answer_key,) if answer_key else _ANSWERS
        self.context_keys = (context_key,) if context_key else _CONTEXTS
        self.config = config
        self.description = dict(description or {})

    def describe(self) -> dict[str, Any]:
        """Return what the manifest says of the chain."""
        return {"runnable": type(self.runnable).__qualname__, "name": self.runnable.get_name(), **self.description}

    async def aanswer(self, question: str) -> RagAnswer:
        """Return the answer to one question.

        Raises:
            InputError: The output holds no answer.
        """
        seen = _Retrievals()
        given = {self.input_key: question} if self.input_key else question
        config = merge_configs(self.config, {"callbacks": [seen]})
        output = await self.runnable.ainvoke(given, config)
        return _answer(self._text(output), self._documents(output, seen.documents))

    def _text(self, output: Any) -> str:
        if isinstance(output, Mapping):
            key = next((key for key in self.answer_keys if key in output), None)
            if key is None:
                raise InputError(
                    f"The chain returned {sorted(map(str, output))}, none of which is known to be the answer: pass "
                    "answer_key=."
                )
            output = output[key]
        if isinstance(output, BaseMessage):
            return str(output.text)
        if not isinstance(output, str):
            raise InputError(f"The answer of the chain is {type(output).__name__}, neither a text nor a message.")
        return output

    def _documents(self, output: Any, retrieved: Sequence[Document]) -> Sequence[Document]:
        for key in self.context_keys if isinstance(output, Mapping) else ():
            found = output.get(key)
            if isinstance(found, (list, tuple)) and all(isinstance(document, Document) for document in found):
                return found
        return retrieved


def adapt(chain: object) -> RagRunnable | None:
    """Return a chain for :func:`rader_plugins.evaluate_rag`; None for what is no runnable."""
    return RagRunnable(chain) if isinstance(chain, Runnable) else None


class _Retrievals(BaseCallbackHandler):
    """Collects the documents of every retriever that no other retriever called, each document once."""

    run_inline = True

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: set[UUID] = set()
        self._documents: dict[str, Document] = {}

    @property
    def documents(self) -> list[Document]:
        with self._lock:
            return list(self._documents.values())

    def on_retriever_start(
        self,
        serialized: dict[str, Any],
        query: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        """Remember which runs are retrievers."""
        with self._lock:
            self._runs.add(run_id)

    def on_retriever_end(
        self, documents: Sequence[Document], *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        """Keep what was found."""
        with self._lock:
            if parent_run_id not in self._runs:
                for document in documents:
                    self._documents.setdefault(document.id or document.page_content, document)


def _answer(text: str, documents: Sequence[Document]) -> RagAnswer:
    ids = [document.id for document in documents]
    scores = [document.metadata.get("score") for document in documents]
    return RagAnswer(
        text,
        tuple(document.page_content for document in documents),
        tuple(str(id) for id in ids) if all(id is not None for id in ids) else (),
        tuple(float(score) for score in scores if isinstance(score, (int, float)))
        if all(isinstance(score, (int, float)) for score in scores)
        else (),
    )


def _input_key(runnable: Runnable[Any, Any]) -> str | None:
    """Return the field that takes the question; None if the chain takes a text."""
    schema = runnable.get_input_jsonschema()
    fields = list(schema.get("properties", {})) if schema.get("type") == "object" else []
    if not fields:
        return None
    known = [key for key in _QUESTIONS if key in fields] or (fields if len(fields) == 1 and fields != ["root"] else [])
    if not known:
        raise InputError(
            f"The chain takes {', '.join(fields)}, and it is not clear which of them is the question: wrap it in "
            "RagRunnable(chain, input_key=...)."
        )
    return known[0]
