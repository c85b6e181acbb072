"""Importer of runs that LangSmith exports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rader_plugins.errors import InputError
from rader_synthesis.importing.report import ImportReport
from rader_synthesis.importing.rows import Row, parsed_cell
from rader_synthesis.importing.spans import Span, SpanKind, TraceImporter

__all__ = ["LangSmithRuns"]

_KINDS: dict[str, SpanKind] = {"retriever": "retriever", "tool": "tool", "llm": "llm"}
_GOLD_KEYS = ("answer", "output", "expected", "expected_output", "reference")


class LangSmithRuns(TraceImporter):
    """Reads runs of LangSmith: rows of ``client.list_runs``, a bulk export (Parquet) or the download of a project.

    A row is a run with ``run_type``, ``inputs`` and ``outputs``, with its children under ``child_runs`` or in rows of
    their own; those of one ``trace_id`` are a trajectory. Feedback comes from ``feedback_stats``, right answers from
    ``reference_outputs``.

    Example:
        >>> LangSmithRuns().kind
        'langsmith'
    """

    kind = "langsmith"
    summary = "runs exported from LangSmith (list_runs, bulk export, download)"

    @classmethod
    def recognizes(cls, value: Any) -> float:
        """Whether a row is a run."""
        return 0.9 if isinstance(value, Mapping) and "run_type" in value else 0.0

    def parts(self, value: Any) -> Iterable[Any]:
        """Return a run and, each for itself, the runs below it."""
        return _flat(value, None) if isinstance(value, Mapping) else [value]

    def trace_of(self, value: Any, row: Row) -> str:
        """Return the id of the trace of a run."""
        if not isinstance(value, Mapping) or "run_type" not in value:
            raise InputError(f"{row.where} is no run of LangSmith: it has no 'run_type'.")
        return str(
            value.get("trace_id") or str(value.get("dotted_order") or "").split(".")[0] or value.get("id") or row.name
        )

    def spans_of(self, value: Any, row: Row, report: ImportReport) -> Iterable[Span]:
        """Return a run."""
        extra = parsed_cell(value.get("extra"))
        metadata = extra.get("metadata") if isinstance(extra, Mapping) else None
        session = next(
            (
                str(metadata[key])
                for key in ("session_id", "thread_id", "conversation_id")
                if isinstance(metadata, Mapping) and metadata.get(key)
            ),
            "",
        )
        reference = parsed_cell(value.get("reference_outputs"))
        feedback = [parsed_cell(value[key]) for key in ("feedback_stats", "feedback") if value.get(key)]
        kind = _KINDS.get(str(value.get("run_type")), "other")
        outputs = parsed_cell(value.get("outputs"))
        yield Span(
            id=str(value.get("id") or row.name),
            trace="",
            parent=str(value["parent_run_id"]) if value.get("parent_run_id") else None,
            kind=kind,
            name=str(value.get("name") or ""),
            input=parsed_cell(value.get("inputs")),
            output=_tool_output(outputs) if kind == "tool" else outputs,
            start=value.get("dotted_order") or value.get("start_time"),
            failed=bool(value.get("error")) or _is_error(outputs),
            scores=[score for entry in feedback for score in _scores(entry)],
            gold=next((str(reference[key]) for key in _GOLD_KEYS if reference.get(key)), None)
            if isinstance(reference, Mapping)
            else None,
            session=session,
            where=row.where,
        )


def _flat(run: Mapping[str, Any], above: Mapping[str, Any] | None) -> Iterator[dict[str, Any]]:
    own = {key: value for key, value in run.items() if key != "child_runs"}
    if above is not None:
        own.setdefault("trace_id", above.get("trace_id") or above.get("id"))
        own.setdefault("parent_run_id", above.get("id"))
    yield own
    for child in run.get("child_runs") or []:
        if isinstance(child, Mapping):
            yield from _flat(child, {**own, "trace_id": own.get("trace_id") or own.get("id")})


def _scores(feedback: Any) -> Iterator[Any]:
    """Yield named scores, which are a list or an object of them by name."""
    if isinstance(feedback, Mapping):
        for name, score in feedback.items():
            yield {"name": name, **(score if isinstance(score, Mapping) else {"value": score})}
    elif isinstance(feedback, list):
        yield from feedback


def _is_error(outputs: Any) -> bool:
    """Whether the message of a tool says that it failed, which the run then does not."""
    inner = outputs.get("output") if isinstance(outputs, Mapping) else None
    inner = inner["kwargs"] if isinstance(inner, Mapping) and isinstance(inner.get("kwargs"), Mapping) else inner
    return isinstance(inner, Mapping) and inner.get("type") == "tool" and inner.get("status") == "error"


def _tool_output(outputs: Any) -> Any:
    """Return what a tool returned: its output, which may be a message around it."""
    if isinstance(outputs, Mapping):
        inner = outputs.get("output", outputs.get("outputs", outputs))
        if isinstance(inner, Mapping) and isinstance(inner.get("kwargs"), Mapping):
            inner = inner["kwargs"]
        if isinstance(inner, Mapping) and inner.get("type") == "tool":
            return inner.get("artifact") or inner.get("content")
        return inner
    return outputs
