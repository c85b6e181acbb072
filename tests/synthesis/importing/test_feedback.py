"""Which ratings become the reward of an answer, and which are of something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rader_synthesis.importing import ImportReport, Scale, importer_class

from rader_plugins.trajectories import Trajectory

DOCUMENTS = [{"id": "kb-1", "text": "Thirty days."}, {"id": "kb-2", "text": "Plans grant seats."}]


def read(kind: str, tmp_path: Path, *rows: Any, report: ImportReport | None = None, **options: Any) -> list[Trajectory]:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(importer_class(kind)(**options).read(path, report))


def langsmith(scores: dict[str, Any], of: str) -> list[dict[str, Any]]:
    run = {"trace_id": "t", "run_type": "chain", "inputs": {"question": "How long?"}, "outputs": {"answer": "30 days"}}
    documents = [{"page_content": document["text"], "metadata": {"id": document["id"]}} for document in DOCUMENTS]
    search = {"trace_id": "t", "run_type": "retriever", "inputs": {"query": "x"}, "outputs": {"documents": documents}}
    stats = {name: {"n": 1, "avg": value} for name, value in scores.items()}
    runs = [{"id": "t", "parent_run_id": None, "start_time": "1", **run}]
    runs += [{"id": "s", "parent_run_id": "t", "start_time": "2", **search}]
    return [{**run, "feedback_stats": stats} if run["id"] == of else run for run in runs]


def langfuse(scores: dict[str, Any], of: str) -> list[dict[str, Any]]:
    search = {"id": "s", "traceId": "t", "type": "RETRIEVER", "input": "x", "output": DOCUMENTS, "startTime": "2"}
    rated = None if of == "t" else of
    named = [
        {"id": name, "traceId": "t", "observationId": rated, "name": name, "value": value, "dataType": "NUMERIC"}
        for name, value in scores.items()
    ]
    return [{"id": "t", "input": "How long?", "output": "30 days", "sessionId": None}, search, *named]


def openinference(scores: dict[str, Any], of: str) -> list[dict[str, Any]]:
    documents = {
        f"retrieval.documents.{number}.document.{name}": document[key]
        for number, document in enumerate(DOCUMENTS)
        for name, key in (("id", "id"), ("content", "text"))
    }
    annotations = {
        f"annotations.{number}.annotation.{key}": value
        for number, (name, score) in enumerate(scores.items())
        for key, value in (("name", name), ("score", score), ("annotator_kind", "HUMAN"))
    }
    spans = {
        "t": ("CHAIN", {"input.value": "How long?", "output.value": "30 days"}, None),
        "s": ("RETRIEVER", {"input.value": "x", **documents}, "t"),
    }
    return [
        {
            "context": {"trace_id": "t", "span_id": id}, "name": id, "parent_id": parent, "start_time": id == "s",
            "attributes": {"openinference.span.kind": kind, **attributes, **(annotations if id == of else {})},
        }
        for id, (kind, attributes, parent) in spans.items()
    ]  # fmt: skip


FORMATS = {"langsmith": langsmith, "langfuse": langfuse, "openinference": openinference}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", ["hallucination", "answer_toxicity", "contextPrecision", "latency_seconds"])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_score_of_something_else_is_no_reward_and_named(kind: str, name: str, value: float, tmp_path: Path) -> None:
    report = ImportReport()
    [trajectory] = read(kind, tmp_path, *FORMATS[kind]({name: value}, "t"), report=report)
    assert trajectory.reward is None
    assert any(name in field for field in report.ignored)
    [trajectory] = read(kind, tmp_path, *FORMATS[kind]({name: value, "user": 1.0 - value}, "t"))
    assert trajectory.reward == 1.0 - value
    [trajectory] = read(
        kind, tmp_path, *FORMATS[kind]({name: value, "user": 1.0 - value}, "t"), scale=Scale(1, 0, frozenset([name]))
    )
    assert trajectory.reward == 1.0 - value


@pytest.mark.parametrize("kind", FORMATS)
def test_a_rating_of_the_search_is_none_of_the_answer(kind: str, tmp_path: Path) -> None:
    report = ImportReport()
    [trajectory] = read(kind, tmp_path, *FORMATS[kind]({"relevance": 1.0}, "s"), report=report)
    assert trajectory.reward is None
    assert report.ignored


def test_a_rated_message_gives_its_own_turn_the_reward(tmp_path: Path) -> None:
    def turn(number: int, **feedback: Any) -> list[dict[str, Any]]:
        function = {"name": "search_kb", "arguments": json.dumps({"query": f"q{number}"})}
        return [
            {"role": "user", "content": f"Question {number}?"},
            {"role": "assistant", "tool_calls": [{"id": f"c{number}", "type": "function", "function": function}]},
            {"role": "tool", "tool_call_id": f"c{number}", "content": json.dumps(DOCUMENTS)},
            {"role": "assistant", "content": f"Answer {number}.", **feedback},
        ]

    messages = [*turn(1, feedback="thumbs_down"), *turn(2), *turn(3, metadata={"rating": 1})]
    assert [trajectory.reward for trajectory in read("openai", tmp_path, {"messages": messages})] == [0.0, None, 1.0]
    messages = [*turn(1, feedback={"thumbs": "up"}), *turn(2)]
    assert [trajectory.reward for trajectory in read("openai", tmp_path, {"messages": messages, "reward": 0.0})] == [
        1.0,
        0.0,
    ]


def test_traces_that_only_their_session_tells_apart_are_two(tmp_path: Path) -> None:
    def trace(session: str, name: str, question: str, start: str) -> list[dict[str, Any]]:
        trace = {"id": name, "input": question, "output": "Thirty days.", "sessionId": session, "timestamp": start}
        search = {"id": f"{name}s", "traceId": name, "type": "RETRIEVER", "input": "x", "output": DOCUMENTS}
        return [trace, {**search, "startTime": start}]

    rows = [*trace("a", "a1", "On the free plan?", "1"), *trace("a", "a2", "And per year?", "2")]
    rows += [*trace("b", "b1", "On the paid plan?", "3"), *trace("b", "b2", "And per year?", "4")]
    trajectories = read("langfuse", tmp_path, *rows)
    assert [trajectory.id for trajectory in trajectories] == ["a1", "a2", "b1", "b2"]
    assert len({trajectory.problem_id for trajectory in trajectories}) == 4


@pytest.mark.parametrize(
    ("fields", "reward"),
    [({"liked": True}, 1.0), ({"is_helpful": False}, 0.0), ({"metadata": {"liked": "no"}}, 0.0),
     ({"reaction": "+1"}, None), ({"resolved": True}, None), ({"helpful_count": 3}, None), ({"disliked": 2}, None)],
)  # fmt: skip
def test_other_names_of_feedback_are_read_or_named(
    fields: dict[str, Any], reward: float | None, tmp_path: Path
) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "search", "arguments": '{"query": "x"}'}}
    messages = [
        {"role": "user", "content": "How long?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": json.dumps(DOCUMENTS)},
        {"role": "assistant", "content": "30 days."},
    ]
    report = ImportReport()
    [trajectory] = read("openai", tmp_path, {"messages": messages, **fields}, report=report)
    assert trajectory.reward == reward
    assert set(report.ignored) == (set(fields) if reward is None else set())
