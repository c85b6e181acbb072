"""LangChain's chains for :func:`rader_plugins.evaluate_rag`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import merge_configs

from langchain_rader._reading import answer_of, as_considered, documents_of
from langchain_rader.recorder import TrajectoryRecorder
from rader_plugins.errors import InputError
from rader_plugins.evaluation import RagAnswer
from rader_plugins.recording import (
    ANSWER_KEYS,
    DOCUMENT_KEYS,
    UNLIMITED,
    RunCollector,
    fields_of,
    without_repeats,
)
from rader_plugins.trajectories import Considered, Trajectory

__all__ = ["RagRunnable", "adapt", "question_key"]

_QUESTIONS = ("question", "input", "query", "messages")


class RagRunnable:
    """A chain or agent that :func:`rader_plugins.evaluate_rag` can ask; plain runnables are wrapped by themselves.

    Answer and documents are read as :class:`~langchain_rader.TrajectoryRecorder` reads them: the answer from a text, a
    field or the message that ends a conversation, the documents from retrievers, tools and steps, however deep they
    sit. A chain that returns its documents in a field is taken at its word instead. An agent that ends without an
    answer has answered nothing. A graph with a checkpointer gets a thread of its own for each question.

    Args:
        runnable: The chain or agent.
        input_key: Where the question goes; by default what the chain's input schema says: a text, or one of
            ``question``, ``input``, ``query``, ``messages``, or the only field that there is.
        answer_key: Which field of the output is the answer; by default the first of ``structured_response``,
            ``answer``, ``output``, ``result``, ``response``, ``text``, ... or the end of ``messages``.
        context_key: Which field of the output holds the documents; by default the first of ``context``,
            ``source_documents``, ``documents``, ``contexts``, ...
        config: Configuration of every call.
        description: A JSON object for the manifest, which tells this chain from others: LangChain's chains cannot
            describe themselves, so use another folder, or another description, when you change one.

    Raises:
        InputError: The chain takes several fields, none of which is known; or ``config`` names one thread for all
            questions.

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
        self.input_key = input_key or question_key(runnable)
        self.answer_keys = (answer_key,) if answer_key else ANSWER_KEYS
        self.context_keys = (context_key,) if context_key else DOCUMENT_KEYS
        self._remembers = bool(getattr(runnable, "checkpointer", None))
        if self._remembers and "thread_id" in (config or {}).get("configurable", {}):
            raise InputError(
                "config names a thread_id, so that all questions would be one conversation. Leave it out: each "
                "question gets a thread of its own."
            )
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
        collector = RunCollector()
        recorder = TrajectoryRecorder(collector, limits=UNLIMITED, only_with_retrieval=False)
        run_id = uuid4()
        prompt: Any = [HumanMessage(question)] if self.input_key == "messages" else question
        config: RunnableConfig = {"callbacks": [recorder], "run_id": run_id}
        if self._remembers:
            config["configurable"] = {"thread_id": str(run_id)}
        output = await self.runnable.ainvoke(
            {self.input_key: prompt} if self.input_key else prompt, merge_configs(self.config, config)
        )
        return _as_answer(self._text(output), self._documents(output, collector.take(str(run_id))))

    def _text(self, output: Any) -> str:
        fields = None if isinstance(output, BaseMessage) else fields_of(output)
        if fields is not None and not any(key in fields for key in (*self.answer_keys, "messages")):
            raise InputError(
                f"The chain returned {sorted(map(str, fields))}, none of which is known to be the answer: pass "
                "answer_key=."
            )
        text = answer_of(output, self.answer_keys)
        if text is None:
            raise InputError(f"The answer of the chain is {type(output).__name__}, neither a text nor a message.")
        return text

    def _documents(self, output: Any, run: Trajectory | None) -> list[Considered]:
        fields = None if isinstance(output, BaseMessage) else fields_of(output)
        for key in self.context_keys if fields is not None else ():
            if fields is not None and (documents := documents_of(fields.get(key))) is not None:
                return [as_considered(document, score) for document, score in documents]
        steps = () if run is None else run.retrievals
        return list(without_repeats(document for step in steps for document in step.considered))


def adapt(chain: object) -> RagRunnable | None:
    """Return a chain for :func:`rader_plugins.evaluate_rag`; None for what is no runnable."""
    return RagRunnable(chain) if isinstance(chain, Runnable) else None


def _as_answer(text: str, documents: list[Considered]) -> RagAnswer:
    scores = [document.score for document in documents if document.score is not None]
    named = not any(document.id.startswith("text:") for document in documents)  # else an id is made of the text
    return RagAnswer(
        text,
        tuple(f"{document.title} {document.text}".strip() for document in documents),
        tuple(document.id for document in documents) if named else (),
        tuple(scores) if len(scores) == len(documents) else (),
    )


def question_key(runnable: Runnable[Any, Any]) -> str | None:
    """Return the field that takes the question; None if the chain takes a text.

    Raises:
        InputError: There are several fields, and none is known to be it.
    """
    schema = runnable.get_input_jsonschema()
    fields = list(schema.get("properties", {})) if schema.get("type") == "object" else []
    if not fields:
        return None
    candidates = [key for key in _QUESTIONS if key in fields] or (
        fields if len(fields) == 1 and fields != ["root"] else []
    )
    if not candidates:
        raise InputError(
            f"The chain takes {', '.join(fields)}, and it is not clear which of them is the question: wrap it in "
            "RagRunnable(chain, input_key=...)."
        )
    return candidates[0]
