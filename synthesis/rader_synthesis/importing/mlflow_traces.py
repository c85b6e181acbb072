"""Importer of traces that MLflow exports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rader_plugins.errors import InputError
from rader_synthesis.importing.otlp import as_mapping, read_span
from rader_synthesis.importing.report import ImportReport
from rader_synthesis.importing.rows import Row, parsed_cell
from rader_synthesis.importing.spans import Span, SpanKind, TraceImporter

__all__ = ["MlflowTraces"]

_KINDS: dict[str, SpanKind] = {
    "RETRIEVER": "retriever", "RERANKER": "reranker", "TOOL": "tool", "LLM": "llm", "CHAT_MODEL": "llm",
}  # fmt: skip


class MlflowTraces(TraceImporter):
    """Reads traces of MLflow: ``trace.to_json()``, or rows of ``mlflow.search_traces()`` written as JSON or Parquet.

    A row is a trace with its spans (``data.spans``, or ``spans``). Feedback and expected answers come from its
    assessments.

    Example:
        >>> MlflowTraces().kind
        'mlflow'
    """

    kind = "mlflow"
    summary = "traces exported from MLflow (trace.to_json, search_traces)"

    @classmethod
    def recognizes(cls, value: Any) -> float:
        """Whether a row is a trace with spans of MLflow."""
        spans = _spans(value)
        return 0.9 if any("mlflow." in str(list(read_span(span, "").attributes)) for span in spans) else 0.0

    def trace_of(self, value: Any, row: Row) -> str:
        """Return the id of a trace."""
        if not _spans(value):
            raise InputError(f"{row.where} is no trace of MLflow: it has no spans.")
        info = _info(value)
        return str(info.get("trace_id") or info.get("request_id") or row.name)

    def spans_of(self, value: Any, row: Row, report: ImportReport) -> Iterable[Span]:
        """Return the spans of a trace, the first with its assessments."""
        info = _info(value)
        written = parsed_cell(info.get("assessments"))
        assessments = [entry for entry in written if isinstance(entry, Mapping)] if isinstance(written, list) else []
        metadata = as_mapping(parsed_cell(info.get("trace_metadata") or info.get("request_metadata")))
        for number, fields in enumerate(_spans(value)):
            span = read_span(fields, row.name)
            attributes = {key: _decoded(inner) for key, inner in span.attributes.items()}
            kind = _KINDS.get(str(attributes.get("mlflow.spanType") or fields.get("span_type") or "").upper(), "other")
            yield Span(
                id=span.id,
                trace="",
                parent=span.parent,
                kind=kind,
                name=span.name,
                input=attributes.get("mlflow.spanInputs", _decoded(fields.get("inputs"))),
                output=attributes.get("mlflow.spanOutputs", _decoded(fields.get("outputs"))),
                start=_number(span.start),
                failed=span.failed,
                scores=[] if number else [entry for entry in assessments if entry.get("feedback") is not None],
                gold=None if number else _expected(assessments),
                session=str(metadata.get("mlflow.trace.session") or ""),
                where=row.where,
            )


def _info(value: Mapping[str, Any]) -> Mapping[str, Any]:
    info = parsed_cell(value.get("info"))
    return info if isinstance(info, Mapping) else value


def _spans(value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, Mapping):
        return []
    if value.get("trace") is not None and (spans := _spans(parsed_cell(value["trace"]))):
        return spans
    data = parsed_cell(value.get("data"))
    spans = parsed_cell(data.get("spans") if isinstance(data, Mapping) else value.get("spans"))
    return [span for span in spans if isinstance(span, Mapping)] if isinstance(spans, list) else []


def _decoded(value: Any) -> Any:
    """Return the JSON value of an attribute, which MLflow writes as JSON, texts too."""
    if isinstance(value, str) and value[:1] == '"' and value[-1:] == '"':
        return parsed_cell(f"[{value}]")[0] if isinstance(parsed_cell(f"[{value}]"), list) else value
    return parsed_cell(value)


def _expected(assessments: Iterable[Mapping[str, Any]]) -> str | None:
    for entry in assessments:
        expectation = entry.get("expectation")
        value = expectation.get("value") if isinstance(expectation, Mapping) else None
        name = str(entry.get("name") or entry.get("assessment_name") or "")
        if isinstance(value, str) and name in ("expected_response", "expected_answer", "answer", "ground_truth"):
            return value
    return None


def _number(start: Any) -> Any:
    return int(start) if isinstance(start, str) and start.isdigit() else start
