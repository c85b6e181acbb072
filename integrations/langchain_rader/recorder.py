"""`TrajectoryRecorder`: writes what running chains and agents asked, retrieved and answered."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.messages import BaseMessage
from langchain_core.outputs import LLMResult
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tracers.context import register_configure_hook
from typing_extensions import Unpack

from langchain_rader._graph_state import ChainNode, ChainNodes, is_interrupt, is_passed_on
from langchain_rader._inner import INNER_TAG
from langchain_rader._reading import (
    NO_ANSWER,
    answer_of,
    as_considered,
    documents_of,
    question_in_state,
    question_of,
)
from langchain_rader._tool_results import read_tool_result
from rader_plugins.construction import ByConstruction
from rader_plugins.recording import (
    RecordedRun,
    Recorder,
    RecorderOptions,
    TrajectoryWriter,
    describe_call,
    guarded,
    is_control_flow,
    named_error,
    query_of,
    text_of_content,
)

__all__ = ["RecordedRun", "TrajectoryRecorder"]

_active: ContextVar[BaseCallbackHandler | None] = ContextVar("rader_recorder", default=None)
register_configure_hook(_active, inheritable=True)


class TrajectoryRecorder(ByConstruction, Recorder, BaseCallbackHandler):
    """A callback handler that records every root run as a trajectory: one row of JSONL.

    It holds the question (from the input), each query with the documents that came back (ids, texts, scores), what
    language models wrote on the way, and the answer (from the output). A tool that searches is a query, and so is a
    step or a graph's node that returns documents which it was not given; if a retriever ran below, that one is recorded
    instead. Other tools are thoughts. Of nested retrievers the outermost counts. Of a conversation only what came after
    the last human message counts. A run that was interrupted has no answer; the run that resumes it continues it
    (:func:`rader_plugins.recording.read_recorded` puts them together). A stream that was closed early is no failure. A
    failed run has ``error`` in its metadata and no reward. What cannot be read is left out and counted (``unread``).

    It works with ``invoke``, ``batch``, ``stream``, their async forms and agents, however many run at once. Writing is
    done by a thread of its own; a full queue drops rows rather than wait, and no error of the recorder or of its hooks
    reaches the application: they are logged once and counted in :attr:`counts`.

    Args:
        path: The file that trajectories are appended to, or a writer that several recorders share.
        question: Finds the question in a root's input; None takes a text, or the first of ``question``, ``query``,
            ``input``, ``prompt``, ``text``, ... and the last human message of ``messages``, or the only text there
            is; and if there is none, the first query.
        answer: Finds the answer in a root's output; None takes a text or message, or the first of
            ``structured_response``, ``answer``, ``output``, ``result``, ``response``, ``text``, ... of a dict, model
            or dataclass, or the message that ends ``messages``; if the output shows nothing of these, what a model
            wrote last.
        options: ``retrieval_tools``, ``redact``, ``limits``, ``only_with_retrieval``, ``record_failed``, ``metadata``,
            ``queue_size`` and ``max_bytes``, as in :class:`rader_plugins.recording.RecorderOptions`.

    Raises:
        InputError: An option is unusable.

    Example:
        >>> recorder = TrajectoryRecorder("runs.jsonl")  # doctest: +SKIP
        >>> run_id = uuid4()  # doctest: +SKIP
        >>> chain.invoke(question, {"callbacks": [recorder], "run_id": run_id})  # doctest: +SKIP
        >>> recorder.feedback(run_id, reward=1.0)  # doctest: +SKIP
    """

    # Its methods are quick and never wait: a hop to another thread would cost more, and could mix up their order.
    run_inline = True

    def __init__(
        self,
        path: str | os.PathLike[str] | TrajectoryWriter,
        *,
        question: Callable[[Any], str | None] | None = None,
        answer: Callable[[Any], str | None] | None = None,
        **options: Unpack[RecorderOptions],
    ) -> None:
        Recorder.__init__(self, path, source="langchain", **options)
        self._question = question or question_of
        self._answer = answer
        self._asked: dict[UUID, tuple[str, str, int, str | None]] = {}
        self._chains = ChainNodes()

    @contextmanager
    def run(self, run_id: object = None, *, question: str | None = None) -> Iterator[RecordedRun]:
        """Make everything within one run, as :meth:`rader_plugins.recording.Recorder.run` says.

        What runs within is recorded without naming the recorder in ``callbacks``.
        """
        token = _active.set(self)
        try:
            with super().run(run_id, question=question) as run:
                yield run
        finally:
            try:
                _active.reset(token)
            except ValueError:  # a generator that was closed in another context
                _active.set(None)

    # Chains

    @guarded
    def on_chain_start(
        self,
        serialized: dict[str, Any],
        inputs: dict[str, Any],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A chain begins."""
        question = None
        parent = self._parent(parent_run_id)
        try:
            if parent is None:
                question = self._question(inputs)
        finally:
            # Also where the hook raised: what runs below must not be taken for a run of its own.
            self._start(run_id, parent, "chain", question, tags)
            if self.tracker.knows(str(run_id)):
                self._chains.enter(run_id, parent, inputs, tags or (), metadata or {}, str(kwargs.get("name") or ""))

    @guarded
    def on_chain_end(self, outputs: dict[str, Any], *, run_id: UUID, **kwargs: Any) -> None:
        """A chain ended."""
        if (chain := self._chains.leave(run_id, outputs)) is None:
            self._finish(run_id)
            return
        inputs = kwargs.get("inputs")  # a stream learns its input as it goes: what it said at the start was empty
        self._note_search(str(run_id), chain, outputs, inputs)
        if not chain.is_top:
            self._finish(run_id)
            return
        try:
            if self.tracker.has_open(str(run_id)):  # what it was made of still writes: nobody reads it to its end
                self.tracker.mark(str(run_id), closed_early=True)
            if inputs is not None:
                self.tracker.ask(str(run_id), self._question(inputs))
            answer = self._read_answer(run_id, chain, outputs)
        except Exception:
            self._finish(run_id, error="the recorder could not read the answer")
            raise
        self._finish(run_id, answer)

    @guarded
    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A chain failed, was interrupted, or is not read any further."""
        chain = self._chains.leave(run_id, None)
        if chain is None or not chain.is_top:
            if chain is not None and is_interrupt(error):
                chain.root.interrupted = True
            self._finish(run_id, error=_failure(error))
            return
        chain.root.interrupted |= is_interrupt(error)
        try:
            if is_control_flow(error):
                self.tracker.mark(str(run_id), closed_early=True)
            if kwargs.get("inputs") is not None:
                self.tracker.ask(str(run_id), self._question(kwargs["inputs"]))
            self._mark_thread(run_id, chain)
        finally:
            self._finish(run_id, NO_ANSWER if chain.root.interrupted else None, _failure(error))

    def _read_answer(self, run_id: UUID, chain: ChainNode, outputs: Any) -> str | None:
        """Return the answer in a root's output, and note what its trajectory says of a graph's thread."""
        self._mark_thread(run_id, chain)
        if chain.root.resumed:
            self.tracker.ask_first(str(run_id), question_in_state(outputs))
        if chain.root.interrupted:
            return NO_ANSWER
        if self._answer is not None:
            return self._answer(outputs)
        return answer_of(outputs, stale=chain.stale_fields(outputs))

    def _mark_thread(self, run_id: UUID, chain: ChainNode) -> None:
        root = chain.root
        facts = {"interrupted": root.interrupted, "resumed": root.resumed, "thread": root.thread, "graph": root.graph}
        self.tracker.mark(str(run_id), **{name: value for name, value in facts.items() if value})

    def _note_search(self, run_id: str, chain: ChainNode, outputs: Any, inputs: Any) -> None:
        """Record documents that a step returned and was not given: it searched by itself."""
        if chain.is_graph or chain.has_tools:
            return
        documents = documents_of(outputs)
        if documents and (fresh := chain.fresh(documents, inputs)):
            query = question_of(inputs) if inputs is not None else chain.query
            self.tracker.retrieved(run_id, [as_considered(document, score) for document, score in fresh], query)

    # Retrievers

    @guarded
    def on_retriever_start(
        self,
        serialized: dict[str, Any],
        query: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """A retriever begins."""
        self._start(run_id, parent_run_id, "retriever", query, tags)

    @guarded
    def on_retriever_end(self, documents: Sequence[Document], *, run_id: UUID, **kwargs: Any) -> None:
        """A retriever returned."""
        self.tracker.retrieved(str(run_id), [as_considered(document) for document in documents])
        self._finish(run_id)

    @guarded
    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A retriever failed."""
        self._finish(run_id, error=_failure(error))

    # Language models

    @guarded
    def on_llm_start(
        self,
        serialized: dict[str, Any],
        prompts: list[str],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """A language model begins."""
        self._start(run_id, parent_run_id, "llm", prompts[-1] if prompts else None, _marked(tags, kwargs))

    @guarded
    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """A chat model begins."""
        question = None if self._parent(parent_run_id) else question_of(messages[0] if messages else None)
        self._start(run_id, parent_run_id, "llm", question, _marked(tags, kwargs))

    @guarded
    def on_llm_new_token(self, token: Any, *, chunk: Any = None, run_id: UUID, **kwargs: Any) -> None:
        """A language model that streams wrote a part of its text."""
        message = getattr(chunk, "message", None)
        text = text_of_content(token if message is None else message.content)
        self.tracker.write(str(run_id), text, answers=not getattr(message, "tool_call_chunks", None))

    @guarded
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """A language model ended."""
        try:
            text, answers = _written(response)
            self.tracker.thought(str(run_id), text, answers=answers)
        finally:
            self._finish(run_id)

    @guarded
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A language model failed, or is not read any further."""
        if is_control_flow(error):
            self.tracker.mark(str(run_id), closed_early=True)
        self._finish(run_id, error=_failure(error))

    # Tools

    @guarded
    def on_tool_start(
        self,
        serialized: dict[str, Any],
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        inputs: dict[str, Any] | None = None,
        tags: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """A tool begins."""
        name = kwargs.get("name") or (serialized or {}).get("name") or "tool"
        query = query_of(inputs) if inputs else query_of(input_str)
        self._start(run_id, parent_run_id, "tool", query, tags)
        if self.tracker.knows(str(run_id)):
            self._chains.enter_tool(run_id, self._parent(parent_run_id))
            self._asked[run_id] = (str(name), *describe_call(str(name), inputs, str(input_str)), query)
            while len(self._asked) > 10_000:  # tools that never ended
                self._asked.pop(next(iter(self._asked)))

    @guarded
    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool returned."""
        try:
            if (tool_call := self._asked.pop(run_id, None)) is not None:
                name, call, unread, query = tool_call
                result = read_tool_result(output, self.is_retrieval_tool(name))
                if result.documents is not None:
                    self.tracker.retrieved(str(run_id), result.documents, query)
                else:
                    self.tracker.tool_result(str(run_id), call, result.text, result.unread + unread)
        finally:
            self._chains.leave(run_id, None)
            self._finish(run_id)

    @guarded
    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool failed or was interrupted."""
        self._asked.pop(run_id, None)
        self._chains.leave(run_id, None)
        self._finish(run_id, error=_failure(error))

    def _parent(self, parent: UUID | None) -> UUID | None:
        """Return the recorded run above a new one; None if there is none.

        Some runnables (those with fallbacks) hand their own configuration to what they call, so that it seems to stand
        alone; LangChain's context still tells.
        """
        if parent is None:
            callbacks = (var_child_runnable_config.get() or {}).get("callbacks")
            parent = getattr(callbacks, "parent_run_id", None)
        return parent if parent is not None and self.tracker.knows(str(parent)) else None

    def _start(
        self, run_id: UUID, parent: UUID | None, kind: Any, text: str | None, tags: Sequence[str] | None
    ) -> None:
        recorded = self._parent(parent)
        parent_id = str(recorded or parent) if recorded or parent else None
        manual = self._within.get()
        if recorded is None and manual is not None and self.tracker.knows(manual):
            parent_id = manual
            self.tracker.ask_first(manual, text)
        hidden = INNER_TAG in (tags or ())
        self.tracker.start(str(run_id), parent_id, kind, text, hidden=hidden, metadata=self.metadata)

    def _finish(self, run_id: UUID, answer: str | None = None, error: str | None = None) -> None:
        self.tracker.finish(str(run_id), answer, error)


def _written(response: LLMResult) -> tuple[str, bool]:
    """Return what a model wrote, and whether it may be an answer: not with calls of tools beside it."""
    texts, answers = [], True
    for generation in (candidate for candidates in response.generations for candidate in candidates[:1]):
        message = getattr(generation, "message", None)
        texts.append(text_of_content(message.content) if message is not None else generation.text)
        answers = answers and not getattr(message, "tool_calls", None)
    return "\n".join(text for text in texts if text), answers


def _marked(tags: Sequence[str] | None, told: Mapping[str, Any]) -> Sequence[str]:
    """Return the tags of a model call; those of LangChain's middleware (summaries, choices of tools) are inner ones."""
    inner = "lc_source" in (told.get("metadata") or {})
    return [*(tags or ()), INNER_TAG] if inner else tags or ()


def _failure(error: BaseException) -> str | None:
    return None if is_control_flow(error) or is_passed_on(error) else named_error(error)
