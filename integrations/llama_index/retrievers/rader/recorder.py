"""`TrajectoryRecorder`: writes what query engines, chat engines and agents asked, retrieved and answered."""

from __future__ import annotations

import builtins
import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from llama_index.core.agent.workflow import AgentWorkflow, BaseWorkflowAgent
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.base.response.schema import AsyncStreamingResponse, StreamingResponse
from llama_index.core.chat_engine.types import StreamingAgentChatResponse
from llama_index.core.instrumentation.events.llm import LLMChatEndEvent, LLMCompletionEndEvent
from llama_index.core.tools.types import BaseTool
from llama_index.core.workflow import Context, Workflow
from llama_index.retrievers.rader.recorder_handlers import Events, Spans
from llama_index.retrievers.rader.recorder_reading import (
    answer_of,
    arguments_of,
    calls_tools,
    considered,
    is_nodes,
    method_of,
    node_ids,
    nodes_of,
    question_of,
    read_tool_result,
)
from llama_index.retrievers.rader.recorder_streams import alisten, listen
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.dispatcher import Dispatcher
from typing_extensions import Unpack

from rader_plugins.construction import ByConstruction
from rader_plugins.files import fingerprint
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
)

__all__ = ["RecordedRun", "TrajectoryRecorder"]

_WRITERS = ("write_response_to_history", "awrite_response_to_history")
_POSTPROCESSING = ("postprocess_nodes", "apostprocess_nodes", "_postprocess_nodes", "_apostprocess_nodes")
_MODEL_STREAMS = ("stream_chat", "stream_complete", "astream_chat", "astream_complete")


@dataclass
class _Span:
    """What is kept of a span that is under way: its root, its tool, what it was given and asked, and its spans."""

    top: str
    tool: BaseTool | None = None
    streams: bool = False
    nodes: frozenset[str] = frozenset()
    query: str | None = None
    above: str | None = None
    has_tools: bool = False
    below: set[str] = field(default_factory=set)


class TrajectoryRecorder(ByConstruction, Recorder):
    """Records every root run of LlamaIndex as a trajectory: one row of JSONL.

    A run is what a query engine, chat engine, agent or retriever does for one call from outside. Its trajectory holds
    the question, each query with the nodes that came back (ids, texts, scores), what language models wrote on the way,
    and the answer. A tool that searches is a query, and so is a workflow's step that returns nodes which it was not
    given; if a retriever ran below, that one is recorded instead. Other tools are thoughts. Of nested retrievers the
    outermost counts. A streamed answer is recorded when it has been read to its end, or as far as it was read. A failed
    run has ``error`` in its metadata and no reward. What cannot be read is left out and counted (``unread``).

    A workflow that waits and is resumed from its context, in whatever process, is one run if both parts have one name:
    ``with recorder.run(run_id)`` around each.

    Recording begins when the recorder is made, for the whole process, and ends with :meth:`close`; however many runs
    are under way at once are kept apart. Writing is done by a thread of its own; a full queue drops rows rather than
    wait, and no error of the recorder or of its hooks reaches the application: they are logged once and counted in
    :attr:`counts`.

    Args:
        path: The file that trajectories are appended to, or a writer that several recorders share.
        question: Finds the question in the arguments of a root's call (a mapping); None takes the query or message.
        answer: Finds the answer in what a root returned; None takes the text of the response.
        dispatcher: Where to listen; None listens to everything.
        options: ``retrieval_tools``, ``redact``, ``limits``, ``only_with_retrieval``, ``record_failed``, ``metadata``,
            ``queue_size`` and ``max_bytes``, as in :class:`rader_plugins.recording.RecorderOptions`.

    Raises:
        InputError: An option is unusable.

    Example:
        >>> recorder = TrajectoryRecorder("runs.jsonl")  # doctest: +SKIP
        >>> with recorder.run() as run:  # doctest: +SKIP
        ...     response = query_engine.query("How many guests must I invite?")
        >>> recorder.feedback(run.id, reward=1.0)  # doctest: +SKIP
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | TrajectoryWriter,
        *,
        question: Callable[[Mapping[str, Any]], str | None] | None = None,
        answer: Callable[[Any], str | None] | None = None,
        dispatcher: Dispatcher | None = None,
        **options: Unpack[RecorderOptions],
    ) -> None:
        super().__init__(path, source="llama-index", **options)
        self._question = question or question_of
        self._answer = answer or answer_of
        self._spans: dict[str, _Span] = {}
        self._chats: dict[int, str] = {}
        self._paused: ContextVar[bool] = ContextVar("rader_paused", default=False)
        self._dispatcher = dispatcher or get_dispatcher()
        self._handlers = (Spans(self), Events(self))
        self._dispatcher.add_span_handler(self._handlers[0])
        self._dispatcher.add_event_handler(self._handlers[1])

    def close(self, timeout: float = 10.0) -> bool:
        """Stop recording and write what is queued; False if that took longer than ``timeout`` seconds.

        Runs under way are written as far as they came (``closed_early``).
        """
        self._close_open(None)
        spans, events = self._handlers
        # By identity: these are pydantic models, and two recorders' handlers may be equal.
        self._dispatcher.span_handlers = [handler for handler in self._dispatcher.span_handlers if handler is not spans]
        self._dispatcher.event_handlers = [
            handler for handler in self._dispatcher.event_handlers if handler is not events
        ]
        return super().close(timeout)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Record nothing of what runs within: evaluations of the application, say, which search and answer too."""
        token = self._paused.set(True)
        try:
            yield
        finally:
            with suppress(ValueError):  # a generator that was closed in another context
                self._paused.reset(token)

    # What the handlers tell

    @guarded
    def entered(self, id: str, bound: inspect.BoundArguments, instance: Any, parent: str | None) -> None:
        """A span begins."""
        if self._paused.get():
            return
        parent_span = self._spans.get(parent) if parent is not None else None
        manual = self._within.get()
        tool = instance if isinstance(instance, BaseTool) and method_of(id) in ("call", "acall") else None
        if tool is not None and parent_span is not None and parent_span.tool is tool:
            tool = None  # acall of a tool that passes the work on to call
        kind: Literal["chain", "retriever", "tool"] = "chain"
        text = query = None
        input_ids: frozenset[str] = frozenset()
        if isinstance(instance, BaseRetriever) and method_of(id) in ("retrieve", "aretrieve"):
            kind, text = "retriever", question_of(bound.arguments)
        elif tool is not None:
            kind, text = "tool", query_of(arguments_of(bound))
            self._mark_tools(parent)
        else:
            input_ids, query = node_ids(list(arguments_of(bound).values())), question_of(bound.arguments)
        if parent_span is None and manual is not None and self.tracker.knows(manual):
            parent = manual
            if not isinstance(instance, BaseLLM):
                self.tracker.ask_first(manual, self._question(bound.arguments))
        elif parent_span is None and text is None:
            try:
                text = self._question(bound.arguments)
            except Exception:
                self._open(id, id, tool, parent, kind, None)
                raise
        self._open(id, id if parent_span is None else parent_span.top, tool, parent, kind, text)
        if (span := self._spans.get(id)) is not None:
            span.nodes, span.query, span.above = input_ids, query, parent
            if manual is not None and span.top == id and isinstance(instance, Workflow):
                self._mark_part(manual, bound, instance)

    def _mark_part(self, manual: str, bound: inspect.BoundArguments, workflow: Workflow) -> None:
        """Note what the parts of a run that waits for someone have in common, in whatever process: the run's name."""
        arguments = bound.arguments
        context = arguments.get("ctx")
        goes_on = isinstance(context, Context) and context.is_running
        if goes_on or ("init_state" in arguments and arguments.get("start_event") is None):
            self.tracker.mark(manual, resumed=True)
        thread = fingerprint({"run": self.tracker.name_of(manual)})[:16]
        self.tracker.mark(manual, thread=thread, graph=type(workflow).__name__)

    def _end(self, key: str, run: RecordedRun, error: BaseException | None) -> None:
        self._close_open(key)
        super()._end(key, run, error)

    @guarded
    def _close_open(self, above: str | None) -> None:
        """End what is under way: streams that nobody read, workflows that wait. They have no answer yet."""
        for id, span in list(self._spans.items()):
            if span.top == id and above in (None, span.above):
                self.tracker.mark(id, closed_early=True)
                self._close_span(id, "", None)

    def _mark_tools(self, id: str | None) -> None:
        while id is not None and (span := self._spans.get(id)) is not None and not span.has_tools:
            span.has_tools = True
            id = span.above

    def _open(self, id: str, top: str, tool: BaseTool | None, parent: str | None, kind: Any, text: str | None) -> None:
        hidden = method_of(id) in _POSTPROCESSING  # what a reranker asks of a model is no thought of the application
        self.tracker.start(id, parent, kind, text, hidden=hidden, root_id=id[-36:], metadata=self.metadata)
        if self.tracker.knows(id):
            self._spans[id] = _Span(top, tool)
            if top != id and (top_span := self._spans.get(top)) is not None:
                top_span.below.add(id)
            while len(self._spans) > 100_000:  # spans that never ended
                self._spans.pop(next(iter(self._spans)))

    @guarded
    def exited(self, id: str, bound: inspect.BoundArguments, instance: Any, result: Any) -> None:
        """A span ended."""
        span = self._spans.get(id)
        if span is None:
            return
        if isinstance(instance, StreamingAgentChatResponse) and method_of(id) in _WRITERS:
            self._close_span(id, None, None)
            self._chat_is_read(instance, None)
            return
        if span.top == id and self._is_stream(id, result):
            return
        if isinstance(instance, BaseLLM) and method_of(id) in _MODEL_STREAMS:
            span.streams = True  # what it writes is known when its event comes
            return
        try:
            if isinstance(instance, BaseRetriever) and is_nodes(result):
                self.tracker.retrieved(id, [considered(node) for node in result])
            elif span.tool is not None:
                self._tool(id, span.tool, bound, result)
            else:
                self._note_search(id, span, result)
            answer = self._answer(result) if span.top == id else None
            if result is None and span.top == id and isinstance(instance, Workflow) and method_of(id) == "run":
                answer = ""  # cancelled: a run that ends returns the event that stopped it
                self.tracker.mark(id, closed_early=True)
        except Exception:
            self._close_span(id, None, "the recorder could not read the answer")
            raise
        self._close_span(id, answer, None)

    @guarded
    def dropped(self, id: str, instance: Any, error: BaseException | None) -> None:
        """A span failed."""
        if isinstance(instance, StreamingAgentChatResponse) and method_of(id) in _WRITERS:
            self._chat_is_read(instance, error)
        if id not in self._spans:
            return
        if error is not None and _is_cancelled(error):
            self.tracker.mark(id, closed_early=True)
            # What a model wrote last is as much as an agent said; to another workflow it may be anything.
            is_agent = isinstance(instance, AgentWorkflow | BaseWorkflowAgent)
            self._close_span(id, "" if isinstance(instance, Workflow) and not is_agent else None, None)
        else:
            self._close_span(id, None, named_error(error) if error is not None else "dropped")

    @guarded
    def written(self, event: LLMChatEndEvent | LLMCompletionEndEvent) -> None:
        """A language model wrote something."""
        span = self._spans.get(event.span_id) if event.span_id is not None else None
        response = event.response
        if span is None or event.span_id is None or response is None:
            return
        message = getattr(response, "message", None)
        text = (message.content if message is not None else getattr(response, "text", None)) or ""
        self.tracker.start(event.id_, event.span_id, "llm")
        self.tracker.thought(event.id_, text, answers=not calls_tools(message))
        self.tracker.finish(event.id_)
        if span.streams:
            self._close_span(event.span_id, None, None)

    def _is_stream(self, id: str, result: Any) -> bool:
        """Whether a root returned a stream; then its run goes on until the application has read that."""
        if isinstance(result, StreamingResponse) and result.response_gen is not None:
            result.response_gen = listen(result.response_gen, partial(self._read, id))
            return True
        if isinstance(result, AsyncStreamingResponse) and result.response_gen is not None:
            result.response_gen = alisten(result.response_gen, partial(self._read, id))
            return True
        if isinstance(result, StreamingAgentChatResponse):
            self._chats[builtins.id(result)] = id
            while len(self._chats) > 10_000:  # answers that nobody read
                self._chats.pop(next(iter(self._chats)))
            if result.is_done:  # the thread that writes it was faster
                self._chat_is_read(result, None)
            return True
        return False

    def _chat_is_read(self, chat: StreamingAgentChatResponse, error: BaseException | None) -> None:
        id = self._chats.pop(builtins.id(chat), None)
        if id is not None:
            text = chat.unformatted_response or chat.response
            self._close_span(id, text.strip() or None, None if error is None else named_error(error))

    @guarded
    def _read(self, id: str, said: Sequence[object], error: BaseException | None) -> None:
        """A stream was read to its end, or no further (``GeneratorExit``)."""
        failed = error is not None and not _is_cancelled(error)
        if error is not None and not failed:
            self.tracker.mark(id, closed_early=True)
        text = "".join(token for token in said if isinstance(token, str))
        self._close_span(id, text or None, named_error(error) if failed and error is not None else None)

    def _close_span(self, id: str, answer: str | None, error: str | None) -> None:
        span = self._spans.pop(id, None)
        if span is not None and span.top == id:
            for child_id in span.below:
                self._spans.pop(child_id, None)
        elif span is not None and (top := self._spans.get(span.top)) is not None:
            top.below.discard(id)
        self.tracker.finish(id, answer, error)

    def _tool(self, id: str, tool: BaseTool, bound: inspect.BoundArguments, result: Any) -> None:
        name = tool.metadata.name or type(tool).__name__
        arguments = {key: value for key, value in arguments_of(bound).items() if not isinstance(value, Context)}
        tool_result = read_tool_result(result, self.is_retrieval_tool(name))
        if tool_result.documents is not None:
            self.tracker.retrieved(id, tool_result.documents, query_of(arguments))
            return
        call, unread = describe_call(name, arguments)
        self.tracker.tool_result(id, call, tool_result.text, tool_result.unread + unread)

    def _note_search(self, id: str, span: _Span, result: Any) -> None:
        """Record nodes that a step or function returned and was not given: it searched by itself."""
        if span.has_tools:
            return
        fresh = [hit for hit in nodes_of(result, scored=True) or () if hit.node.node_id not in span.nodes]
        if fresh:
            self.tracker.retrieved(id, [considered(hit) for hit in fresh], span.query)


def _is_cancelled(error: BaseException) -> bool:
    return is_control_flow(error) or type(error).__name__ == "WorkflowCancelledByUser"
