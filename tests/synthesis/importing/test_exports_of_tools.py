"""What exports of the tracing tools look like: the shapes that Phoenix 20 and MLflow 3 were seen to write."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from rader_synthesis.importing import ImportReport, importer_class

from rader_plugins.errors import InputError
from rader_plugins.trajectories import Trajectory

DOCUMENT = {"id": "kb-1", "content": "Seats cost eight euros.", "score": 0.5}
KINDS = ("array_value", "bool_value", "bytes_value", "double_value", "int_value", "kvlist_value", "string_value")


def read(kind: str, *paths: Path, report: ImportReport | None = None) -> list[Trajectory]:
    return list(importer_class(kind)().read(list(paths), report))


def written(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def printed(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A table as pandas writes it: lists and objects as Python prints them."""
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list({name: None for row in rows for name in row}))
        table.writeheader()
        table.writerows(rows)
    return path


def spans() -> list[dict[str, Any]]:
    """A chain with a retriever and a model, as a data frame of Phoenix has them."""
    output_messages = [{"message.role": "assistant", "message.content": "Eight euros [kb-1]."}]
    common = {"context.trace_id": "t"}
    return [
        {"name": "chain", "context.span_id": "a", "attributes.openinference.span.kind": "CHAIN",
         "attributes.input.value": '{"question": "What does a seat cost?"}', "start_time": 1, **common},
        {"name": "find", "context.span_id": "b", "parent_id": "a", "attributes.openinference.span.kind": "RETRIEVER",
         "attributes.input.value": "seat price", "start_time": 2, **common,
         "attributes.retrieval.documents": [{f"document.{key}": value for key, value in DOCUMENT.items()}]},
        {"name": "model", "context.span_id": "c", "parent_id": "a", "attributes.openinference.span.kind": "LLM",
         "attributes.llm.output_messages": output_messages, "start_time": 3, **common},
    ]  # fmt: skip


def check(made: list[Trajectory]) -> None:
    [trajectory] = made
    assert (trajectory.question, trajectory.answer) == ("What does a seat cost?", "Eight euros [kb-1].")
    assert [(step.kind, step.text) for step in trajectory.steps][:1] == [("query", "seat price")]
    [document] = trajectory.retrievals[0].considered
    assert (document.id, document.text, document.score) == ("kb-1", "Seats cost eight euros.", 0.5)


@pytest.mark.parametrize("write", [written, printed])
def test_a_data_frame_of_phoenix(write: Any, tmp_path: Path) -> None:
    suffix = "csv" if write is printed else "jsonl"
    check(read("openinference", write(tmp_path / f"spans.{suffix}", spans())))


def test_a_list_in_a_table_that_cannot_be_read_back_is_an_error(tmp_path: Path) -> None:
    rows = spans()
    rows[1]["attributes.retrieval.documents"] = "[{'document.id': 'kb-1'}\n {'document.id': 'kb-2'}]"
    with pytest.raises(InputError, match="row 2 .*JSONL or Parquet"):
        read("openinference", printed(tmp_path / "spans.csv", rows))


def test_otlp_that_writes_every_kind_of_value_and_fills_one(tmp_path: Path) -> None:
    def value(plain: Any) -> dict[str, Any]:
        kind = "double_value" if isinstance(plain, float) else "string_value"
        return {name: plain if name == kind else None for name in KINDS}

    def span(id: str, parent: str | None, kind: str, attributes: dict[str, Any]) -> dict[str, Any]:
        listed = [{"key": key, "value": value(inner)} for key, inner in attributes.items()]
        listed.append({"key": "openinference.span.kind", "value": value(kind)})
        return {"name": id, "span_id": id, "trace_id": "t", "parent_span_id": parent, "attributes": listed,
                "start_time_unix_nano": ord(id)}  # fmt: skip

    documents = {f"retrieval.documents.0.document.{key}": inner for key, inner in DOCUMENT.items()}
    rows = [
        span("a", None, "CHAIN", {"input.value": "What does a seat cost?", "output.value": "Eight euros [kb-1]."}),
        span("b", "a", "RETRIEVER", {"input.value": "seat price", **documents}),
    ]
    path = tmp_path / "spans.json"
    path.write_text(json.dumps({"data": rows, "next_cursor": None}))
    check(read("openinference", path))


def annotation(span: str, label: str, score: float | None) -> dict[str, Any]:
    result = {"label": label, "score": score, "explanation": None}
    return {"id": "U3", "name": "user feedback", "annotator_kind": "HUMAN", "result": result, "span_id": span}


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_annotations_that_phoenix_exports_apart_from_the_spans(flat: bool, first: bool, tmp_path: Path) -> None:
    rows = [annotation("a", "thumbs-up", 1.0), annotation("gone", "thumbs-down", 0.0)]
    if flat:
        rows = [
            {"annotation_name": row["name"], "annotator_kind": "HUMAN", "span_id": row["span_id"],
             **{f"result.{key}": value for key, value in row["result"].items()}}
            for row in rows
        ]  # fmt: skip
    paths = [written(tmp_path / "spans.jsonl", spans()), written(tmp_path / "annotations.jsonl", rows)]
    report = ImportReport()
    [trajectory] = read("openinference", *(paths[::-1] if first else paths), report=report)
    assert trajectory.reward == 1.0
    assert report.skipped["feedback for a span that is not there"] == 1


def test_a_table_of_mlflow(tmp_path: Path) -> None:
    def span(id: str, parent: str | None, kind: str, inputs: Any, outputs: Any) -> dict[str, Any]:
        values = {"mlflow.spanType": kind, "mlflow.spanInputs": inputs, "mlflow.spanOutputs": outputs}
        attributes = {key: json.dumps(value) for key, value in values.items()}
        return {"span_id": id, "parent_span_id": parent, "name": id, "start_time_unix_nano": ord(id),
                "attributes": attributes, "status": {"code": "STATUS_CODE_OK"}}  # fmt: skip

    document = {"page_content": DOCUMENT["content"], "metadata": {"score": 0.5}, "id": "kb-1"}
    assessment = {"assessment_name": "user_feedback", "feedback": {"value": True}}
    row = {
        "trace_id": "tr-1",
        "trace_metadata": {"mlflow.trace.session": "s"},
        "spans": [
            span("a", None, "CHAIN", {"question": "What does a seat cost?"}, "Eight euros [kb-1]."),
            span("b", "a", "RETRIEVER", {"query": "seat price"}, [document]),
        ],
        "assessments": [assessment],
    }
    trajectories = read("mlflow", printed(tmp_path / "traces.csv", [row]))
    check(trajectories)
    assert (trajectories[0].reward, trajectories[0].metadata) == (1.0, {"session": "s"})


def test_a_batch_export_of_langfuse_with_texts_in_quotes_and_scores_by_name(tmp_path: Path) -> None:
    def row(id: str, parent: str | None, kind: str, asked: Any, said: Any, **more: Any) -> dict[str, Any]:
        texts = {"input": json.dumps(asked), "output": json.dumps(said)}
        return {"id": id, "traceId": "t", "parentObservationId": parent, "type": kind, "name": id, **texts, **more}

    documents = [{"pageContent": DOCUMENT["content"], "metadata": {"id": "kb-1", "score": 0.5}}]
    scores = {"user-thumbs": [1, 0, 1, 0], "context-relevance": [0.2]}
    rows = [
        row("a", None, "CHAIN", {"question": "What does a seat cost?"}, "Eight euros [kb-1].", startTime="1",
            scores=scores),
        row("b", "a", "RETRIEVER", "seat price", documents, startTime="2"),
        row("c", "a", "GENERATION", "Context: ...", "Eight euros [kb-1].", startTime="3"),
    ]  # fmt: skip
    report = ImportReport()
    trajectories = read("langfuse", written(tmp_path / "observations.jsonl", rows), report=report)
    check(trajectories)
    assert trajectories[0].reward == 0.5
    assert [step.kind for step in trajectories[0].steps] == ["query", "retrieval", "answer"]
    assert dict(report.ignored) == {"score context-relevance": 1}
