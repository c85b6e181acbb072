"""The handlers that LlamaIndex tells of spans and events, and that tell the recorder."""

from __future__ import annotations

import inspect
from typing import Any, Protocol

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.llm import LLMChatEndEvent, LLMCompletionEndEvent
from llama_index.core.instrumentation.span import BaseSpan
from llama_index.core.instrumentation.span_handlers import BaseSpanHandler

__all__ = ["Events", "Listener", "Spans"]


class Listener(Protocol):
    """What the handlers tell."""

    def entered(self, id: str, bound: inspect.BoundArguments, instance: Any, parent: str | None) -> None:
        """A span begins."""

    def exited(self, id: str, bound: inspect.BoundArguments, instance: Any, result: Any) -> None:
        """A span ended."""

    def dropped(self, id: str, instance: Any, error: BaseException | None) -> None:
        """A span failed."""

    def written(self, event: LLMChatEndEvent | LLMCompletionEndEvent) -> None:
        """A language model wrote something."""


class Spans(BaseSpanHandler[BaseSpan]):
    """Tells the recorder of spans; keeps none itself."""

    _recorder: Listener = PrivateAttr()

    def __init__(self, recorder: Listener) -> None:
        super().__init__()
        self._recorder = recorder

    @classmethod
    def class_name(cls) -> str:
        """Return the name of the class, by which LlamaIndex tells handlers apart."""
        return "RaderTrajectorySpans"

    def new_span(
        self,
        id_: str,
        bound_args: inspect.BoundArguments,
        instance: Any | None = None,
        parent_span_id: str | None = None,
        tags: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> BaseSpan | None:
        """Tell of a span that begins."""
        self._recorder.entered(id_, bound_args, instance, parent_span_id)
        return None

    def prepare_to_exit_span(
        self,
        id_: str,
        bound_args: inspect.BoundArguments,
        instance: Any | None = None,
        result: Any | None = None,
        **kwargs: Any,
    ) -> BaseSpan | None:
        """Tell of a span that ended."""
        self._recorder.exited(id_, bound_args, instance, result)
        return None

    def prepare_to_drop_span(
        self,
        id_: str,
        bound_args: inspect.BoundArguments,
        instance: Any | None = None,
        err: BaseException | None = None,
        **kwargs: Any,
    ) -> BaseSpan | None:
        """Tell of a span that failed."""
        self._recorder.dropped(id_, instance, err)
        return None


class Events(BaseEventHandler):
    """Tells the recorder of what language models wrote."""

    _recorder: Listener = PrivateAttr()

    def __init__(self, recorder: Listener) -> None:
        super().__init__()
        self._recorder = recorder

    @classmethod
    def class_name(cls) -> str:
        """Return the name of the class, by which LlamaIndex tells handlers apart."""
        return "RaderTrajectoryEvents"

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        """Tell of what a language model wrote."""
        if isinstance(event, LLMChatEndEvent | LLMCompletionEndEvent):
            self._recorder.written(event)
