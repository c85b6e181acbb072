"""LlamaIndex's query engines, agents and workflows for :func:`rader_plugins.evaluate_rag`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from llama_index.core.agent.workflow import AgentWorkflow, BaseWorkflowAgent
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.chat_engine.types import BaseChatEngine
from llama_index.core.workflow import StartEvent, Workflow
from llama_index.retrievers.rader.recorder import TrajectoryRecorder
from llama_index.retrievers.rader.recorder_reading import answer_of

from rader_plugins.errors import InputError
from rader_plugins.evaluation import RagAnswer
from rader_plugins.recording import QUESTION_KEYS, UNLIMITED, RunCollector, without_repeats
from rader_plugins.trajectories import Trajectory

__all__ = ["RagQueryEngine", "RagWorkflow", "adapt"]


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


class RagWorkflow:
    """An agent or workflow that :func:`rader_plugins.evaluate_rag` can ask; plain ones are wrapped by themselves.

    Answer and nodes are read as :class:`~llama_index.retrievers.rader.TrajectoryRecorder` reads them: the answer from
    the response or the field of the event or dict that the run ends with, the nodes from retrievers, tools and steps.
    An agent that ends without an answer has answered nothing.

    Args:
        workflow: The agent or workflow. Each question is a run of its own, without memory of the others.
        input_key: What ``run()`` takes the question as; by default ``user_msg`` for agents, else the field of a start
            event of its own that is called ``question``, ``query``, ``input``, ..., or the only one it has.
        answer: Finds the answer in what a run returns; None reads it as said above.
        description: A JSON object for the manifest, which tells this workflow from others.

    Raises:
        InputError: It is no workflow, or it is not clear where the question goes.

    Example:
        >>> evaluate_rag(RagWorkflow(agent), "problems.jsonl", "math").accuracy  # doctest: +SKIP
        0.74
    """

    def __init__(
        self,
        workflow: Workflow,
        *,
        input_key: str | None = None,
        answer: Callable[[Any], str | None] | None = None,
        description: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(workflow, Workflow):
            raise InputError(f"RagWorkflow takes a LlamaIndex agent or workflow, not {type(workflow).__name__}.")
        self.workflow = workflow
        self.input_key = input_key or _input_key(workflow)
        self.description = dict(description or {})
        self._answer = answer or answer_of
        self._lock = threading.Lock()
        self._recording_now: tuple[TrajectoryRecorder, RunCollector] | None = None
        self._asking = 0

    def describe(self) -> dict[str, Any]:
        """Return what the manifest says of the workflow."""
        return {"workflow": type(self.workflow).__qualname__, **self.description}

    async def aanswer(self, question: str) -> RagAnswer:
        """Return the answer to one question.

        Raises:
            InputError: What the run returned holds no answer.
        """
        result, run = await self.arun(question)
        text = self._answer(result)
        if text is None:
            raise InputError(
                f"The workflow returned {type(result).__name__}, and nothing in it is known to be the answer: pass "
                "answer=, a function of it."
            )
        steps = () if run is None else run.retrievals
        documents = without_repeats(document for step in steps for document in step.considered)
        scores = [document.score for document in documents if document.score is not None]
        return RagAnswer(
            text,
            tuple(document.text for document in documents),
            tuple(document.id for document in documents),
            tuple(scores) if len(scores) == len(documents) else (),
        )

    async def arun(self, question: str) -> tuple[Any, Trajectory | None]:
        """Return what the workflow returns to a question, and the run as it was recorded."""
        run_id = str(uuid4())
        with self._recording() as (recorder, collector):
            with recorder.run(run_id, question=question):
                arguments: dict[str, Any] = {self.input_key: question}
                result = await self.workflow.run(**arguments)
            return result, collector.take(run_id)

    @contextmanager
    def _recording(self) -> Iterator[tuple[TrajectoryRecorder, RunCollector]]:
        """Listen to LlamaIndex while any question is under way."""
        with self._lock:
            if self._recording_now is None:
                collector = RunCollector()
                listener = TrajectoryRecorder(collector, limits=UNLIMITED, only_with_retrieval=False)
                self._recording_now = (listener, collector)
            recorder, collector = self._recording_now
            self._asking += 1
        try:
            yield recorder, collector
        finally:
            with self._lock:
                self._asking -= 1
                if not self._asking:
                    self._recording_now = None
                    recorder.close()


def _input_key(workflow: Workflow) -> str:
    if isinstance(workflow, BaseWorkflowAgent | AgentWorkflow):
        return "user_msg"
    event = workflow.start_event_class
    fields = list(event.model_fields)
    named = [key for key in QUESTION_KEYS if key in fields] or (fields if len(fields) == 1 else [])
    if not named or event is StartEvent:
        raise InputError(
            f"It is not clear what {type(workflow).__name__}.run() takes its question as: wrap it in "
            "RagWorkflow(workflow, input_key='query')."
        )
    return named[0]


def adapt(chain: object) -> RagQueryEngine | RagWorkflow | None:
    """Return an engine, agent or workflow for :func:`rader_plugins.evaluate_rag`; None for what is none.

    Raises:
        InputError: It is a chat engine.
    """
    if isinstance(chain, BaseChatEngine):
        raise InputError(
            "A chat engine remembers earlier questions, so its answers depend on their order. Evaluate a query engine: "
            "index.as_query_engine()."
        )
    if isinstance(chain, Workflow):
        return RagWorkflow(chain)
    return RagQueryEngine(chain) if isinstance(chain, BaseQueryEngine) else None
