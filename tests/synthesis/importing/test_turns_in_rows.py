"""Turns of one conversation that lie in rows of their own: responses that continue others, rows of one session."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rader_synthesis.importing import ImportReport, importer_class

from rader_plugins.trajectories import Trajectory

DOCUMENTS = [{"id": "kb-1", "text": "Seats cost eight euros."}, {"id": "kb-2", "text": "Refunds take thirty days."}]
FOLLOW_UP = "User: What does a seat cost?\nAssistant: Eight euros [kb-1].\nUser: And the refund?"


def called(id: str, query: str) -> dict[str, Any]:
    arguments = json.dumps({"query": query})
    return {"type": "function_call", "call_id": id, "name": "search_docs", "arguments": arguments}


def returned(id: str) -> list[dict[str, Any]]:
    return [{"type": "function_call_output", "call_id": id, "output": json.dumps(DOCUMENTS)}]


def said(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def responses() -> list[dict[str, Any]]:
    """Two turns with one search each, in four responses that know one another by id only."""
    turns: list[tuple[Any, Any]] = [
        ("What does a seat cost?", called("c1", "seat price")),
        (returned("c1"), said("Eight euros [kb-1].")),
        ("And the refund?", called("c2", "refund")),
        (returned("c2"), said("Thirty days [kb-2].")),
    ]
    return [
        {"object": "response", "id": f"resp_{n}", "created_at": n, "input": question, "output": [answered]}
        for n, (question, answered) in enumerate(turns)
    ]


def linked(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"previous_response_id": f"resp_{n - 1}" if n else None} for n, row in enumerate(rows)]


def in_conversation(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"conversation": {"id": "conv_1"}} for row in rows]


def as_requests(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = ("input", "previous_response_id")
    return [{"request": {name: row.pop(name) for name in names}, "response": row} for row in linked(rows)]


def read(tmp_path: Path, rows: list[Any], report: ImportReport | None = None) -> list[Trajectory]:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(importer_class("openai")().read(path, report))


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("write", [linked, in_conversation, as_requests])
def test_responses_that_continue_others_are_one_conversation(
    write: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], newest_first: bool, tmp_path: Path
) -> None:
    rows = write(responses())
    trajectories = read(tmp_path, rows[::-1] if newest_first else rows)
    assert [trajectory.question for trajectory in trajectories] == ["What does a seat cost?", FOLLOW_UP]
    assert [[step.text for step in trajectory.steps if step.kind == "query"] for trajectory in trajectories] == [
        ["seat price"],
        ["refund"],
    ]


def test_a_response_whose_beginning_is_not_in_the_log_is_left_out_and_counted(tmp_path: Path) -> None:
    report = ImportReport()
    trajectories = read(tmp_path, linked(responses())[2:], report)
    assert trajectories == []
    assert report.skipped["continues a response that is not in the log"] == 2


def row_of_turn(question: str, answer: str, **more: Any) -> dict[str, Any]:
    call = {"id": "c", "type": "function", "function": {"name": "search_docs", "arguments": '{"query": "q"}'}}
    return {
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": json.dumps(DOCUMENTS)},
            {"role": "assistant", "content": answer},
        ],
        **more,
    }


@pytest.mark.parametrize("field", ["session_id", "thread_id", "conversation_id"])
def test_a_turn_gets_what_the_earlier_rows_of_its_session_said(field: str, tmp_path: Path) -> None:
    rows = [
        row_of_turn("What does a seat cost?", "Eight euros [kb-1].", id="1", **{field: "s"}),
        row_of_turn("Where is the export?", "In the settings.", id="2", **{field: "other"}),
        row_of_turn("And the refund?", "Thirty days.", id="3", **{field: "s"}),
    ]
    trajectories = read(tmp_path, rows)
    assert [trajectory.question for trajectory in trajectories] == [
        "What does a seat cost?",
        "Where is the export?",
        FOLLOW_UP,
    ]


def test_a_turn_that_later_rows_repeat_with_more_steps_is_no_follow_up_of_itself(tmp_path: Path) -> None:
    full_turn = row_of_turn("What does a seat cost?", "Eight euros [kb-1].", session_id="s")
    parts = [full_turn | {"messages": full_turn["messages"][:length]} for length in (2, 3, 4)]
    trajectories = read(tmp_path, [part | {"id": str(number)} for number, part in enumerate(parts)])
    assert [trajectory.question for trajectory in trajectories] == ["What does a seat cost?"]
