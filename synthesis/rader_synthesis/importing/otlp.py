"""Spans as OpenTelemetry's exporters, collectors and Phoenix write them, whatever their attributes are called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rader_synthesis.importing.rows import parsed_cell

__all__ = ["OtlpSpan", "as_mapping", "is_span", "nested", "packed_spans", "read_span"]


@dataclass(frozen=True)
class OtlpSpan:
    """A span with its attributes as plain values, by their dotted names.

    Args:
        id, trace, parent: Ids of the span, of its trace, and of the span above it.
        name: Name of the span.
        attributes: Values by dotted name.
        events: Name and attributes of its events.
        start: When it began, in whatever the exporter writes.
        failed: Whether its status is an error.
        fields: All that the exporter wrote.
    """

    id: str
    trace: str
    parent: str | None
    name: str
    attributes: Mapping[str, Any]
    events: tuple[tuple[str, Mapping[str, Any]], ...]
    start: Any
    failed: bool
    fields: Mapping[str, Any]


def packed_spans(value: Any) -> Iterator[Any]:
    """Yield the spans of an OTLP message (``resourceSpans``), or a value that is a span already."""
    resources = value.get("resourceSpans") or value.get("resource_spans") if isinstance(value, Mapping) else None
    if not isinstance(resources, list):
        yield value
        return
    for resource in resources:
        scopes = (
            resource.get("scopeSpans") or resource.get("scope_spans") or resource.get("instrumentationLibrarySpans")
        )
        for scope in scopes or []:
            yield from scope.get("spans") or []


def as_mapping(value: Any) -> Mapping[str, Any]:
    """Return an object as it is, and an empty one in place of anything else."""
    return value if isinstance(value, Mapping) else {}


def is_span(value: Any) -> bool:
    """Whether a JSON value is a span, or a message of spans."""
    return isinstance(value, Mapping) and (
        "resourceSpans" in value or "resource_spans" in value or "attributes" in value or any(
            key.startswith("attributes.") for key in map(str, value)
        )
    )  # fmt: skip


def read_span(fields: Mapping[str, Any], fallback: str) -> OtlpSpan:
    """Read a span of OTLP's JSON, of an SDK's console exporter, or of a table of Phoenix.

    Args:
        fields: The fields of the span, as they were written.
        fallback: Id of its trace, where it has none.
    """
    context = as_mapping(fields.get("context"))
    trace = _first(fields, "traceId", "trace_id", "context.trace_id") or context.get("trace_id") or fallback
    id = (
        _first(fields, "spanId", "span_id", "context.span_id") or context.get("span_id") or fields.get("id") or fallback
    )
    parent = _first(fields, "parentSpanId", "parent_span_id", "parent_id", "parentId")
    attributes = _attributes(fields.get("attributes"))
    attributes |= {
        key[len("attributes.") :]: parsed_cell(value) for key, value in fields.items() if key.startswith("attributes.")
    }
    events: list[Any] = fields["events"] if isinstance(fields.get("events"), list) else []
    status = fields.get("status")
    code = (
        _first(status, "code", "status_code", "statusCode")
        if isinstance(status, Mapping)
        else fields.get("status_code")
    )
    return OtlpSpan(
        id=str(id),
        trace=str(trace),
        parent=str(parent) if parent else None,
        name=str(fields.get("name") or ""),
        attributes=attributes,
        events=tuple((str(event.get("name")), _event(event)) for event in events if isinstance(event, Mapping)),
        start=_first(fields, "startTimeUnixNano", "start_time_unix_nano", "start_time", "startTime"),
        failed=str(code).upper() in ("2", "ERROR", "STATUS_CODE_ERROR"),
        fields=fields,
    )


def _event(event: Mapping[str, Any]) -> dict[str, Any]:
    body = event.get("body")
    return {**(_attributes(body) if isinstance(body, Mapping) else {}), **_attributes(event.get("attributes"))}


def _attributes(written: Any) -> dict[str, Any]:
    """Return attributes as plain values by dotted name, from OTLP's list of keys and values or from any object."""
    if isinstance(written, list):
        pairs = {str(pair.get("key")): _plain(pair.get("value")) for pair in written if isinstance(pair, Mapping)}
        return {key: parsed_cell(value) for key, value in pairs.items()}
    flat: dict[str, Any] = {}
    if isinstance(written, Mapping):
        for key, value in written.items():
            flat[str(key)] = parsed_cell(value)
    return flat


def _plain(value: Any) -> Any:
    """Return the JSON value of OTLP's ``AnyValue``."""
    if not isinstance(value, Mapping):
        return value
    filled = {
        kind: inner for kind, inner in value.items() if inner is not None
    }  # some write every kind, all but one null
    for kind in ("stringValue", "boolValue", "doubleValue", "string_value", "bool_value", "double_value"):
        if kind in filled:
            return filled[kind]
    for kind in ("intValue", "int_value"):
        if kind in filled:
            return int(filled[kind])
    for kind in ("arrayValue", "array_value"):
        if kind in filled:
            return [_plain(element) for element in filled[kind].get("values") or []]
    for kind in ("kvlistValue", "kvlist_value"):
        if kind in filled:
            return {str(pair["key"]): _plain(pair.get("value")) for pair in filled[kind].get("values") or []}
    return None if not filled and value else filled


def nested(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes as objects in objects: ``a.0.b`` is key ``b`` of the first of the list ``a``.

    Example:
        >>> nested({"a.0.b": 1, "a.1.b": 2, "c": 3}) == {"a": [{"b": 1}, {"b": 2}], "c": 3}
        True
    """
    root: dict[str, Any] = {}
    for key in sorted(attributes, key=lambda name: (name.count("."), name)):
        branch = root
        *path, last = key.split(".")
        for part in path:
            inner = branch.get(part)
            if not isinstance(inner, dict):
                inner = branch[part] = dict(enumerate_keys(inner)) if isinstance(inner, list) else {}
            branch = inner
        branch[last] = attributes[key]
    listed: dict[str, Any] = _lists(root)
    return listed


def enumerate_keys(elements: list[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the elements of a list by the text of their number."""
    return ((str(number), element) for number, element in enumerate(elements))


def _lists(value: Any) -> Any:
    if isinstance(value, list):
        return [nested(element) if isinstance(element, dict) else element for element in value]
    if not isinstance(value, dict):
        return value
    inner = {key: _lists(element) for key, element in value.items()}
    if inner and all(key.isdigit() for key in inner):
        return [inner[key] for key in sorted(inner, key=int)]
    return inner


def _first(fields: Mapping[str, Any], *keys: str) -> Any:
    return next((fields[key] for key in keys if fields.get(key) not in (None, "")), None)
