"""Importer of traces that follow OpenInference's conventions, such as Phoenix's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rader_plugins.errors import InputError
from rader_synthesis.importing.otlp import as_mapping, is_span, nested, packed_spans, read_span
from rader_synthesis.importing.report import ImportReport
from rader_synthesis.importing.rows import Row
from rader_synthesis.importing.spans import Span, SpanKind, TraceImporter

__all__ = ["OpenInferenceTraces"]

_KINDS: dict[str, SpanKind] = {"RETRIEVER": "retriever", "RERANKER": "reranker", "TOOL": "tool", "LLM": "llm"}


class OpenInferenceTraces(TraceImporter):
    """Reads spans of Phoenix, and of anything else that writes OpenInference attributes.

    A row is a span as Phoenix exports it (``client.spans.get_spans_dataframe().to_json(orient="records", lines=True)``,
    its interface's ``/spans``, Parquet), or OTLP's JSON. Retrievers give ``retrieval.documents``, rerankers put these
    into their order; feedback comes from ``annotations``.

    Example:
        >>> OpenInferenceTraces().kind
        'openinference'
    """

    kind = "openinference"
    summary = "traces with OpenInference attributes, such as exports of Arize Phoenix"

    @classmethod
    def recognizes(cls, value: Any) -> float:
        """Whether a span says its kind as OpenInference does."""
        spans = [read_span(span, "") for span in packed_spans(value) if is_span(span)]
        return 0.9 if any(_kind_name(span.attributes, span.fields) for span in spans) else 0.0

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
        attributes = nested(span.attributes)
        name = _kind_name(span.attributes, span.fields)
        kind = _KINDS.get(name, "other")
        model = as_mapping(attributes.get("llm"))
        annotations = attributes.get("annotations") or span.fields.get("annotations") or []
        yield Span(
            id=span.id,
            trace=span.trace,
            parent=span.parent,
            kind=kind,
            name=str(as_mapping(attributes.get("tool")).get("name") or span.name),
            input=self._input(attributes, kind),
            output=self._output(attributes, kind),
            start=span.start,
            failed=span.failed,
            messages=model.get("input_messages") or (),
            completion=model.get("output_messages") or (),
            scores=[entry for entry in _listed(annotations) if not _by_code(entry)],
            session=str(as_mapping(attributes.get("session")).get("id") or ""),
            where=row.where,
        )

    def _input(self, attributes: Mapping[str, Any], kind: SpanKind) -> Any:
        if kind == "reranker" and (query := as_mapping(attributes.get("reranker")).get("query")):
            return query
        value = as_mapping(attributes.get("input")).get("value")
        if kind == "tool":
            parameters = as_mapping(attributes.get("tool")).get("parameters")
            return value if value is not None else parameters
        return value

    def _output(self, attributes: Mapping[str, Any], kind: SpanKind) -> Any:
        holder = {"retriever": ("retrieval", "documents"), "reranker": ("reranker", "output_documents")}.get(kind)
        if holder is not None:
            documents = _listed(as_mapping(attributes.get(holder[0])).get(holder[1]))
            if documents:
                return [_document(document) for document in documents]
        return as_mapping(attributes.get("output")).get("value")


def _document(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    return entry["document"] if isinstance(entry.get("document"), Mapping) else entry


def _kind_name(attributes: Mapping[str, Any], fields: Mapping[str, Any]) -> str:
    name = attributes.get("openinference.span.kind")
    if name is None and isinstance(inner := attributes.get("openinference"), Mapping):
        name = as_mapping(inner.get("span")).get("kind")
    return str(name or fields.get("span_kind") or "").upper()


def _by_code(entry: Mapping[str, Any]) -> bool:
    """Whether an annotation tells of the text's form rather than of the answer: what code wrote and no one judged."""
    inner = entry["annotation"] if isinstance(entry.get("annotation"), Mapping) else entry
    return str(inner.get("annotator_kind") or "").upper() == "CODE"


def _listed(value: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []
