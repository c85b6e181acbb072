"""Results of tools: whose they are where there are no ids, and those of calls that failed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rader_synthesis.importing import ImportReport, importer_class
from rader_synthesis.labelling import label_by_opened

from rader_plugins.trajectories import Trajectory

FIRST, SECOND = {"id": "kb-1", "text": "Thirty days."}, {"id": "kb-2", "text": "Plans grant seats."}
ASK = {"role": "user", "content": "How long, and for how many?"}
END = {"role": "assistant", "content": "Thirty days, for all."}


def read(kind: str, tmp_path: Path, *rows: Any, report: ImportReport | None = None) -> list[Trajectory]:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(importer_class(kind)(keep_all=True).read(path, report))


def pairs(trajectory: Trajectory) -> list[tuple[str, list[str]]]:
    """The queries with what each found."""
    steps = trajectory.steps
    return [
        (before.text, [document.id for document in step.considered])
        for before, step in zip(steps, steps[1:], strict=False)
        if before.kind == "query" and step.kind == "retrieval"
    ]


def _functions() -> list[dict[str, Any]]:
    return [{"function": {"name": "search_kb", "arguments": {"query": query}}} for query in ("window", "seats")]


def _chat(**name: str) -> tuple[str, dict[str, Any]]:
    results = [{"role": "tool", **name, "content": json.dumps([document])} for document in (FIRST, SECOND)]
    return "openai", {"messages": [ASK, {"role": "assistant", "tool_calls": _functions()}, *results, END]}


def _gemini() -> tuple[str, dict[str, Any]]:
    calls = [{"functionCall": {"name": "search_kb", "args": call["function"]["arguments"]}} for call in _functions()]
    results = [
        {"functionResponse": {"name": "search_kb", "response": {"results": [document]}}} for document in (FIRST, SECOND)
    ]
    contents = [
        {"role": "user", "parts": [{"text": ASK["content"]}]},
        {"role": "model", "parts": calls},
        {"role": "user", "parts": results},
        {"role": "model", "parts": [{"text": END["content"]}]},
    ]
    return "openai", {"contents": contents}


def _sharegpt() -> tuple[str, dict[str, Any]]:
    calls = [{"from": "function_call", "value": json.dumps(call["function"])} for call in _functions()]
    results = [{"from": "observation", "value": json.dumps([document])} for document in (FIRST, SECOND)]
    ends = {"from": "human", "value": ASK["content"]}, {"from": "gpt", "value": END["content"]}
    return "sharegpt", {"conversations": [ends[0], *calls, *results, ends[1]]}


@pytest.mark.parametrize(
    "log", [_chat(), _chat(name="search_kb"), _chat(tool_name="search_kb"), _gemini(), _sharegpt()]
)
def test_calls_made_together_get_their_results_in_order(log: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    kind, row = log
    [trajectory] = read(kind, tmp_path, row)
    assert pairs(trajectory) == [("window", ["kb-1"]), ("seats", ["kb-2"])]


def test_a_call_that_was_never_answered_takes_no_result_of_a_later_one(tmp_path: Path) -> None:
    first, second = _functions()
    results = [{"role": "tool", "name": "search_kb", "content": json.dumps([document])} for document in (FIRST, SECOND)]
    calls = [{"role": "assistant", "tool_calls": [call]} for call in (first, first, second)]
    [trajectory] = read(
        "openai", tmp_path, {"messages": [ASK, calls[0], results[0], calls[1], END, ASK, calls[2], results[1], END]}
    )[1:]
    assert pairs(trajectory) == [("seats", ["kb-2"])]


FAILURES: list[dict[str, Any]] = [
    {"content": "The store is busy, the answer comes later.", "status": "error"},
    {"content": "The store is busy, the answer comes later.", "is_error": True},
    {"content": "Error: the store is busy."},
    {"content": json.dumps({"error": {"message": "busy"}})},
]


@pytest.mark.parametrize("failure", FAILURES)
def test_the_message_of_a_search_that_failed_is_no_document(failure: dict[str, Any], tmp_path: Path) -> None:
    report = ImportReport()
    asking = {"role": "assistant", "tool_calls": [{"id": "c", **_functions()[0]}]}
    rows = {"messages": [ASK, asking, {"role": "tool", "tool_call_id": "c", **failure}, END]}
    [trajectory] = read("openai", tmp_path, rows, report=report)
    assert pairs(trajectory) == [("window", [])]
    assert report.notes["search that failed"] == 1


def test_what_could_not_be_opened_is_neither_read_nor_passed_over(tmp_path: Path) -> None:
    pages = [{"id": f"p{n}", "title": f"Page {n}", "text": f"What page {n} says."} for n in range(4)]
    functions = [("search_kb", {"query": "window"}), ("fetch", {"id": "p1"}), ("fetch", {"id": "p2"})]
    contents = [json.dumps(pages), "Request failed with status code 404", "All of page 2."]
    messages: list[dict[str, Any]] = [ASK]
    for number, ((name, arguments), content) in enumerate(zip(functions, contents, strict=True)):
        call = {"id": f"c{number}", "function": {"name": name, "arguments": json.dumps(arguments)}}
        messages += [{"role": "assistant", "tool_calls": [call]}]
        messages += [{"role": "tool", "tool_call_id": f"c{number}", "content": content}]
    [trajectory] = read("openai", tmp_path, {"messages": [*messages, END]})
    [step] = label_by_opened(trajectory).retrievals
    assert {document.id: document.relevant for document in step.considered} == {
        "p0": False, "p1": None, "p2": True, "p3": None,
    }  # fmt: skip
