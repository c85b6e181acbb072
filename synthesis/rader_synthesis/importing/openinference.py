"""Importer of traces that follow OpenInference's conventions, such as Phoenix's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError
from rader_synthesis.importing.conversation import Conversation
from rader_synthesis.importing.otlp import as_mapping, is_span, nested, packed_spans, read_span
from rader_synthesis.importing.report import ImportReport
from rader_synthesis.importing.rows import Row
from rader_synthesis.importing.spans import Span, SpanKind, TraceImporter

__all__ = ["OpenInferenceTraces"]

_KINDS: dict[str, SpanKind] = {"RETRIEVER": "retriever", "RERANKER": "reranker", "TOOL": "tool", "LLM": "llm"}


class OpenInferenceTraces(TraceImporter):
    """Reads spans of Phoenix, and of anything else that writes OpenInference attributes.

    A row is a span as Phoenix exports it (``client.spans.get_spans_dataframe().to_json(orient="records", lines=True)``,
    its interface's ``/spans``, Parquet), OTLP's JSON, or an annotation of a span (``/span_annotations``), which knows
    it by its id. Retrievers give ``retrieval.documents``, rerankers put these into their order; feedback comes from
    annotations.

    Example:
        >>> OpenInferenceTraces().kind
        'openinference'
    """

    kind = "openinference"
    summary = "traces with OpenInference attributes, such as exports of Arize Phoenix"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._annotations: dict[str, list[Mapping[str, Any]]] = {}
        self._annotated: set[str] = set()

    @classmethod
    def recognizes(cls, value: Any) -> float:
        """Whether a span says its kind as OpenInference does."""
        if _is_annotation(value):
            return 0.9
        spans = [read_span(span, "") for span in packed_spans(value) if is_span(span)]
        return 0.9 if any(_kind_name(span.attributes, span.fields) for span in spans) else 0.0

    def conversations(self, paths: Sequence[Path], report: ImportReport) -> Iterator[Conversation]:
        """Yield one conversation for each trace, with the annotations of its spans, in whatever rows these lie."""
        self._annotations, self._annotated = {}, set()
        yield from super().conversations(paths, report)
        lost = sum(len(entries) for id, entries in self._annotations.items() if id not in self._annotated)
        if lost:
            report.skipped["feedback for a span that is not there"] += lost

    def parts(self, value: Any) -> Iterable[Any]:
        """Return the spans of a row; annotations wait for theirs."""
        if _is_annotation(value):
            entry = nested(value)  # tables have columns such as result.score
            name = str(value.get("name") or value.get("annotation_name") or "")
            self._annotations.setdefault(str(value["span_id"]), []).append({**entry, "name": name})
            return []
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
        own = attributes.get("annotations") or span.fields.get("annotations") or []
        annotations = [*_listed(own), *self._annotations.get(span.id, ())]
        self._annotated.add(span.id)
        yield Span(
            id=span.id,
            trace=span.trace,
            parent=span.parent,
            kind=kind,
            name=str(as_mapping(attributes.get("tool")).get("name") or span.name),
            input=self._input(attributes, kind),
            output=self._output(attributes, kind, row),
            start=span.start,
            failed=span.failed,
            messages=_readable(model.get("input_messages"), row),
            completion=_readable(model.get("output_messages"), row),
            scores=[entry for entry in annotations if not _by_code(entry)],
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

    def _output(self, attributes: Mapping[str, Any], kind: SpanKind, row: Row) -> Any:
        holder = {"retriever": ("retrieval", "documents"), "reranker": ("reranker", "output_documents")}.get(kind)
        if holder is not None:
            documents = _listed(_readable(as_mapping(attributes.get(holder[0])).get(holder[1]), row))
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


def _is_annotation(value: Any) -> bool:
    """Whether a row is what somebody said of a span, and no span."""
    return (
        isinstance(value, Mapping)
        and "span_id" in value
        and "annotator_kind" in value
        and bool({"name", "annotation_name"} & value.keys())
    )


def _readable(value: Any, row: Row) -> list[Any]:
    """Return a list of messages or documents; none where there is none.

    Raises:
        InputError: A table holds it as a text that is neither JSON nor what Python prints.
    """
    if isinstance(value, str) and value.strip():
        raise InputError(
            f"{row.where} holds a list as text that cannot be read back, as tables do that were written from NumPy's "
            "arrays. Export the spans as JSONL or Parquet."
        )
    return value if isinstance(value, list) else []


def _listed(value: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []
