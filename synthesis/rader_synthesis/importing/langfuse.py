"""Importer of traces that Langfuse exports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rader_plugins.errors import InputError
from rader_synthesis.importing.report import ImportReport
from rader_synthesis.importing.rows import Row, unquoted_cell
from rader_synthesis.importing.spans import Span, SpanKind, TraceImporter

__all__ = ["LangfuseTraces"]

_KINDS: dict[str, SpanKind] = {
    "RETRIEVER": "retriever", "RERANKER": "reranker", "TOOL": "tool", "GENERATION": "llm",
}  # fmt: skip
_OBSERVATIONS = frozenset(
    ("SPAN", "EVENT", "AGENT", "CHAIN", "EVALUATOR", "EMBEDDING", "GUARDRAIL", *_KINDS)
)  # fmt: skip


class LangfuseTraces(TraceImporter):
    """Reads traces, observations and scores of Langfuse, in rows of their own or the latter within their trace.

    Rows are those of the interface (``/api/public/traces``, ``/observations``, ``/scores``), of a batch export (JSON,
    JSONL, CSV) or of the export to a bucket; those of one ``traceId`` are a trajectory. Scores are feedback: numeric
    ones on the scale, booleans, and categories such as ``good``.

    Example:
        >>> LangfuseTraces().kind
        'langfuse'
    """

    kind = "langfuse"
    summary = "traces, observations and scores exported from Langfuse"

    @classmethod
    def recognizes(cls, value: Any) -> float:
        """Whether a row is a trace, an observation or a score."""
        if not isinstance(value, Mapping):
            return 0.0
        if isinstance(value.get("observations"), list) or _is_score(value):
            return 0.9
        if _trace_id(value) is not None:
            return 0.9 if str(value.get("type")) in _OBSERVATIONS else 0.0
        return (
            0.6
            if {"input", "output"} <= value.keys() and {"sessionId", "userId", "htmlPath", "session_id"} & value.keys()
            else 0.0
        )

    def parts(self, value: Any) -> Iterable[Any]:
        """Return a trace, and each for itself the observations and scores within it."""
        return _flat(value) if isinstance(value, Mapping) else [value]

    def trace_of(self, value: Any, row: Row) -> str:
        """Return the id of the trace of a row."""
        if not isinstance(value, Mapping) or not ({"input", "output", "type", "value"} & value.keys()):
            raise InputError(f"{row.where} is no trace, observation or score of Langfuse.")
        return str(_trace_id(value) or value.get("id") or row.name)

    def spans_of(self, value: Any, row: Row, report: ImportReport) -> Iterable[Span]:
        """Return a trace or an observation, or the feedback of a score."""
        if _is_score(value):
            rated = str(value.get("observationId") or value.get("observation_id") or "score")
            yield Span(id=str(value.get("id") or row.name), trace="", parent=rated, scores=[value], where=row.where)
            return
        observed = _trace_id(value) is not None
        parent = value.get("parentObservationId") or value.get("parent_observation_id")
        trace = str(_trace_id(value) or value.get("id") or row.name)
        yield Span(
            id=str(value.get("id") or row.name) if observed else f"trace:{trace}",
            trace=trace,
            parent=(str(parent) if parent else f"trace:{trace}") if observed else None,
            kind=_KINDS.get(str(value.get("type")).upper(), "other") if observed else "other",
            name=str(value.get("name") or ""),
            input=unquoted_cell(value.get("input")),
            output=unquoted_cell(value.get("output")),
            start=value.get("startTime") or value.get("start_time") if observed else "",
            failed=str(value.get("level")).upper() == "ERROR",
            session=str(value.get("sessionId") or value.get("session_id") or ""),
            where=row.where,
        )


def _flat(value: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    trace = str(_trace_id(value) or value.get("id") or "")
    yield {key: inner for key, inner in value.items() if key not in ("observations", "scores")}
    for number, observation in enumerate(value.get("observations") or []):
        if isinstance(observation, Mapping):
            yield {"id": f"{trace}/{number}", **observation, "traceId": trace}
    own = {"observationId": value.get("id")} if _trace_id(value) is not None else {}
    for number, score in enumerate(_scores(value.get("scores"))):
        yield {"dataType": None, "id": f"{value.get('id')}/score/{number}", **own, **score, "traceId": trace}


def _scores(scores: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the scores of a trace: a list, or, as tables have them, an object of values or lists of them by name."""
    if isinstance(scores, Mapping):
        for name, values in scores.items():
            for score in values if isinstance(values, list) else [values]:
                yield {"name": name, **(score if isinstance(score, Mapping) else {"value": score})}
    elif isinstance(scores, list):
        yield from (score for score in scores if isinstance(score, Mapping))


def _trace_id(value: Mapping[str, Any]) -> Any:
    return next((value[key] for key in ("traceId", "trace_id") if value.get(key)), None)


def _is_score(value: Mapping[str, Any]) -> bool:
    named = _trace_id(value) is not None and ("dataType" in value or "data_type" in value)
    return named and ("value" in value or "stringValue" in value or "string_value" in value)
