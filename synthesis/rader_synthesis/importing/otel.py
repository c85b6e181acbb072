"""Importer of traces that follow OpenTelemetry's conventions for generative AI."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rader_plugins.errors import InputError
from rader_synthesis.importing.otlp import OtlpSpan, is_span, packed_spans, read_span
from rader_synthesis.importing.report import ImportReport
from rader_synthesis.importing.rows import Row
from rader_synthesis.importing.spans import Span, SpanKind, TraceImporter

__all__ = ["OtelTraces"]

_OPERATIONS: dict[str, SpanKind] = {
    "retrieval": "retriever",
    "execute_tool": "tool",
    "chat": "llm",
    "text_completion": "llm",
    "generate_content": "llm",
}
_MESSAGE_EVENTS = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}


class OtelTraces(TraceImporter):
    """Reads spans with ``gen_ai`` attributes: OTLP's JSON, or what an SDK's exporter prints.

    ``gen_ai.retrieval.documents`` need hold no more than ids and scores: their texts then come from the corpus. What
    models were sent and answered is read from ``gen_ai.input.messages`` and ``gen_ai.output.messages``, or from the
    events of earlier versions; feedback from ``gen_ai.evaluation`` events.

    Example:
        >>> OtelTraces().kind
        'otel'
    """

    kind = "otel"
    summary = "OpenTelemetry traces with gen_ai attributes (OTLP JSON); texts may have to come from --corpus"

    @classmethod
    def recognizes(cls, value: Any) -> float:
        """Whether a span has attributes or events of ``gen_ai``."""
        spans = [read_span(span, "") for span in packed_spans(value) if is_span(span)]
        return 0.8 if any(_speaks_of_ai(span) for span in spans) else 0.0

    def parts(self, value: Any) -> Iterable[Any]:
        """Return the spans of a row."""
        return packed_spans(value)

    def trace_of(self, value: Any, row: Row) -> str:
        """Return the id of the trace of a span."""
        if not is_span(value):
            raise InputError(f"{row.where} is no span with attributes.")
        return read_span(value, row.name).trace

    def spans_of(self, value: Any, row: Row, report: ImportReport) -> Iterable[Span]:
        """Return a span."""
        span = read_span(value, row.name)
        attributes = span.attributes
        operation = str(attributes.get("gen_ai.operation.name") or _operation(span))
        kind = _OPERATIONS.get(operation, "other")
        messages, completion = _messages(span)
        documents = attributes.get("gen_ai.retrieval.documents")
        if (
            kind == "retriever"
            and isinstance(documents, list)
            and not any(_has_text(document) for document in documents)
        ):
            report.notes["search whose log has no texts (they come from --corpus)"] += 1
        yield Span(
            id=span.id,
            trace=span.trace,
            parent=span.parent,
            kind=kind,
            name=str(attributes.get("gen_ai.tool.name") or attributes.get("gen_ai.data_source.id") or span.name),
            input=attributes.get("gen_ai.retrieval.query.text")
            if kind == "retriever"
            else attributes.get("gen_ai.tool.call.arguments"),
            output=documents if kind == "retriever" else attributes.get("gen_ai.tool.call.result"),
            start=span.start,
            failed=span.failed,
            messages=messages,
            completion=completion,
            scores=_scores(span),
            session=str(attributes.get("gen_ai.conversation.id") or ""),
            where=row.where,
        )


def _speaks_of_ai(span: OtlpSpan) -> bool:
    return any(key.startswith("gen_ai.") for key in span.attributes) or any(
        name.startswith("gen_ai.") for name, _ in span.events
    )


def _operation(span: OtlpSpan) -> str:
    if any(key in span.attributes for key in ("gen_ai.retrieval.documents", "gen_ai.retrieval.query.text")):
        return "retrieval"
    if "gen_ai.tool.call.result" in span.attributes:
        return "execute_tool"
    return "chat" if "gen_ai.output.messages" in span.attributes or "gen_ai.request.model" in span.attributes else ""


def _messages(span: OtlpSpan) -> tuple[list[Any], list[Any]]:
    """Return what the model was sent and what it answered."""
    sources = [span.attributes, *(attributes for _, attributes in span.events)]
    messages = next(
        (_list(source.get("gen_ai.input.messages")) for source in sources if source.get("gen_ai.input.messages")), []
    )
    completion = next(
        (_list(source.get("gen_ai.output.messages")) for source in sources if source.get("gen_ai.output.messages")), []
    )
    instructions = next(
        (source["gen_ai.system_instructions"] for source in sources if source.get("gen_ai.system_instructions")), None
    )
    if instructions is not None:
        messages = [{"role": "system", "content": instructions}, *messages]
    for name, attributes in span.events:
        if name in _MESSAGE_EVENTS:
            messages.append({"role": _MESSAGE_EVENTS[name], **attributes})
        elif name == "gen_ai.choice":
            inner = attributes.get("message")
            completion.append({"role": "assistant", **(inner if isinstance(inner, Mapping) else attributes)})
    return messages, completion


def _scores(span: OtlpSpan) -> list[Any]:
    sources = [
        span.attributes,
        *(attributes for name, attributes in span.events if name.startswith("gen_ai.evaluation")),
    ]
    scores = []
    for source in sources:
        value = source.get("gen_ai.evaluation.score.value")
        label = source.get("gen_ai.evaluation.score.label")
        if value is not None or label is not None:
            name = source.get("gen_ai.evaluation.name")
            scores.append({"name": name, **({"score": value} if value is not None else {"label": label})})
    return scores


def _has_text(document: Any) -> bool:
    return isinstance(document, Mapping) and any(document.get(key) for key in ("content", "text", "page_content"))


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]
