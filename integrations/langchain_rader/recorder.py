"""`TrajectoryRecorder`: writes what running chains and agents asked, retrieved and answered."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.messages import BaseMessage
from langchain_core.outputs import LLMResult

from rader_plugins.recording import (
    Recorder,
    RecordingLimits,
    Redact,
    TrajectoryWriter,
    digest_id,
    finite,
    guarded,
    is_retrieval_name,
    query_of,
    read_documents,
    split_title,
    text_of_content,
)
from rader_plugins.trajectories import Considered

__all__ = ["TrajectoryRecorder"]

_QUESTION_KEYS = ("question", "query", "input", "prompt", "text", "messages")
_ANSWER_KEYS = ("answer", "output", "result", "response", "text", "messages")
_ID_KEYS = ("doc_id", "id", "_id", "document_id")


class TrajectoryRecorder(Recorder, BaseCallbackHandler):
    """A callback handler that records every root run as a trajectory: one row of JSONL.

    It holds the question (from the input), each query with the documents that came back (ids, texts, scores), what
    language models wrote on the way, and the answer (from the output). A tool that searches is a query; if it uses a
    retriever, that one is recorded and not the tool. Other tools are thoughts. Of nested retrievers the outermost
    counts. A failed run has ``error`` in its metadata and no reward.

    It works with ``invoke``, ``batch``, ``stream``, their async forms and agents, however many run at once. Writing is
    done by a thread of its own; a full queue drops rows rather than wait, and no error of the recorder or of its hooks
    reaches the application: they are logged once and counted in :attr:`counts`.

    Args:
        path: The file that trajectories are appended to, or a writer that several recorders share.
        question: Finds the question in a root's input; None takes a text, or the first of ``question``, ``query``,
            ``input``, ``prompt``, ``text`` and the last human message of ``messages``, or the only text there is; and
            if there is none, the first query.
        answer: Finds the answer in a root's output; None takes a text or message, or the first of ``answer``,
            ``output``, ``result``, ``response``, ``text`` and the last message of ``messages``, else what a model
            wrote last.
        retrieval_tools: Names of tools whose results are documents; None: those whose name says so, and those that
            return LangChain documents.
        redact: Applied to every text before it is written; what it raises on is not written.
        limits: Bounds of memory.
        only_with_retrieval: Leave out runs that searched for nothing.
        record_failed: Also record runs that failed.
        metadata: Goes into every trajectory.
        queue_size: Most rows that wait to be written.
        max_bytes: Rename a file that would grow beyond this and begin a new one.

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
        retrieval_tools: Sequence[str] | None = None,
        redact: Redact | None = None,
        limits: RecordingLimits | None = None,
        only_with_retrieval: bool = True,
        record_failed: bool = True,
        metadata: Mapping[str, Any] | None = None,
        queue_size: int = 1000,
        max_bytes: int | None = None,
    ) -> None:
        Recorder.__init__(
            self,
            path,
            source="langchain",
            redact=redact,
            limits=limits,
            only_with_retrieval=only_with_retrieval,
            record_failed=record_failed,
            metadata=metadata,
            queue_size=queue_size,
            max_bytes=max_bytes,
        )
        self._question = question or _question
        self._answer = answer or _answer
        self._tools = None if retrieval_tools is None else frozenset(retrieval_tools)
        self._asked: dict[UUID, tuple[str, str, str | None]] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> TrajectoryRecorder:
        """Return itself: a copy of a configuration records to the same file."""
        return self

    # Chains

    @guarded
    def on_chain_start(
        self,
        serialized: dict[str, Any],
        inputs: dict[str, Any],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        """A chain begins."""
        question = None
        try:
            if not self._inside(parent_run_id):
                question = self._question(inputs)
        finally:
            # Also where the hook raised: what runs below must not be taken for a run of its own.
            self._start(run_id, parent_run_id, "chain", question)

    @guarded
    def on_chain_end(
        self, outputs: dict[str, Any], *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        """A chain ended."""
        if self._inside(parent_run_id):
            self.tracker.finish(str(run_id))
            return
        try:
            if (inputs := kwargs.get("inputs")) is not None:
                # A stream learns its input as it goes: what it said at the start was empty.
                self.tracker.ask(str(run_id), self._question(inputs))
            answer = self._answer(outputs)
        except Exception:
            self.tracker.finish(str(run_id), error="the recorder could not read the answer")
            raise
        self.tracker.finish(str(run_id), answer)

    @guarded
    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A chain failed."""
        self.tracker.finish(str(run_id), error=_named(error))

    # Retrievers

    @guarded
    def on_retriever_start(
        self,
        serialized: dict[str, Any],
        query: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        """A retriever begins."""
        self._start(run_id, parent_run_id, "retriever", query)

    @guarded
    def on_retriever_end(self, documents: Sequence[Document], *, run_id: UUID, **kwargs: Any) -> None:
        """A retriever returned."""
        self.tracker.retrieved(str(run_id), [_considered(document) for document in documents])
        self.tracker.finish(str(run_id))

    @guarded
    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A retriever failed."""
        self.tracker.finish(str(run_id), error=_named(error))

    # Language models

    @guarded
    def on_llm_start(
        self,
        serialized: dict[str, Any],
        prompts: list[str],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        """A language model begins."""
        self._start(run_id, parent_run_id, "llm", prompts[-1] if prompts else None)

    @guarded
    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        """A chat model begins."""
        question = None if self._inside(parent_run_id) else _question(messages[0] if messages else None)
        self._start(run_id, parent_run_id, "llm", question)

    @guarded
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """A language model ended."""
        try:
            self.tracker.thought(str(run_id), _written(response))
        finally:
            self.tracker.finish(str(run_id))

    @guarded
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A language model failed."""
        self.tracker.finish(str(run_id), error=_named(error))

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
        **kwargs: Any,
    ) -> None:
        """A tool begins."""
        name = kwargs.get("name") or (serialized or {}).get("name") or "tool"
        query = query_of(inputs) if inputs else query_of(input_str)
        self._start(run_id, parent_run_id, "tool", query)
        if self.tracker.knows(str(run_id)):
            self._asked[run_id] = (str(name), str(input_str), query)
            while len(self._asked) > 10_000:  # tools that never ended
                self._asked.pop(next(iter(self._asked)))

    @guarded
    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool returned."""
        try:
            if (asked := self._asked.pop(run_id, None)) is not None:
                name, given, query = asked
                content, found = self._found(name, output)
                if found is None:
                    self.tracker.tool_result(str(run_id), f"{name}({given})", content)
                else:
                    self.tracker.retrieved(str(run_id), found, query)
        finally:
            self.tracker.finish(str(run_id))

    @guarded
    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool failed."""
        self._asked.pop(run_id, None)
        self.tracker.finish(str(run_id), error=_named(error))

    def _found(self, name: str, output: Any) -> tuple[str, list[Considered] | None]:
        artifact = getattr(output, "artifact", None)
        content = getattr(output, "content", output)
        for given in (artifact, content):
            if isinstance(given, list) and given and all(isinstance(one, Document) for one in given):
                return "", [_considered(one) for one in given]
        text = content if isinstance(content, str) else text_of_content(content) or str(content)
        searches = is_retrieval_name(name) if self._tools is None else name in self._tools
        if not searches:
            return text, None
        return text, read_documents(content if isinstance(content, Mapping | list) else text) or []

    def _inside(self, parent: UUID | None) -> bool:
        return parent is not None and self.tracker.knows(str(parent))

    def _start(self, run_id: UUID, parent: UUID | None, kind: Any, text: str | None) -> None:
        above = None if parent is None else str(parent)
        self.tracker.start(str(run_id), above, kind, text, metadata=self.metadata)


def _considered(document: Document) -> Considered:
    metadata = document.metadata
    id = document.id or next((str(metadata[key]) for key in _ID_KEYS if metadata.get(key) not in (None, "")), "")
    score = next(
        (found for key in ("score", "relevance_score") if (found := finite(metadata.get(key))) is not None), None
    )
    title, text = split_title(document.page_content, metadata.get("title"))
    return Considered(id or digest_id(document.page_content), text, score, title=title)


def _question(inputs: Any) -> str | None:
    return _text(inputs, _QUESTION_KEYS, "human")


def _answer(outputs: Any) -> str | None:
    return _text(outputs, _ANSWER_KEYS, "ai")


def _text(value: Any, keys: Sequence[str], role: str) -> str | None:
    if isinstance(value, str):
        return value or None
    if isinstance(value, BaseMessage):
        return text_of_content(value.content) or None
    if hasattr(value, "to_messages"):  # a prompt value
        value = value.to_messages()
    if isinstance(value, Mapping):
        for key in keys:
            if (found := _text(value.get(key), (), role)) is not None:
                return found
        texts = [one for one in value.values() if isinstance(one, str) and one]
        return texts[0] if len(texts) == 1 and keys else None
    if isinstance(value, list | tuple):
        messages = [one for one in value if isinstance(one, BaseMessage)]
        for message in reversed(messages):
            if message.type == role and (text := text_of_content(message.content)):
                return text
        for one in reversed(value):
            # Messages in their short forms: ("human", "text") and {"role": "user", "content": "text"}.
            name, content = (one.get("role"), one.get("content")) if isinstance(one, Mapping) else (None, None)
            if isinstance(one, tuple) and len(one) == 2:
                name, content = one
            wanted = ("human", "user") if role == "human" else ("ai", "assistant")
            if name in wanted and (text := text_of_content(content)):
                return text
    return None


def _written(response: LLMResult) -> str:
    texts = []
    for generation in (one for several in response.generations for one in several[:1]):
        message = getattr(generation, "message", None)
        texts.append(text_of_content(message.content) if message is not None else generation.text)
    return "\n".join(text for text in texts if text)


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500]
