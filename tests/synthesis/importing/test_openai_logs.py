"""Message logs: which calls are searches, what they returned, and where turns begin and end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rader_synthesis.importing import Corpus, ImportReport, OpenAILogs

from rader_plugins.documents import Document
from rader_plugins.errors import InputError
from rader_plugins.trajectories import Trajectory, read_trajectories, write_trajectories


def call(name: str, arguments: Any, id: str = "c1") -> dict[str, Any]:
    arguments_text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": id, "type": "function", "function": {"name": name, "arguments": arguments_text}}],
    }


def result(content: Any, id: str = "c1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content if isinstance(content, str) else json.dumps(content)}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


DOCUMENTS = [{"id": "ramsey", "text": "Among six people ...", "score": 0.9}, {"id": "php", "text": "Pigeonholes"}]


def read(tmp_path: Path, *rows: Any, **options: Any) -> list[Trajectory]:
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return list(OpenAILogs(**options).read(path))


def kinds(trajectory: Trajectory) -> list[str]:
    return [step.kind for step in trajectory.steps]


def test_a_conversation_with_a_search_becomes_a_trajectory(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        user("How many guests?"),
        said("I should look it up."),
        call("search_docs", {"query": "party of six", "k": 2}),
        result(DOCUMENTS),
        said("Six."),
    ]
    [trajectory] = read(tmp_path, {"id": "run-1", "messages": messages, "gold_answer": 6, "correct": True})
    assert (trajectory.id, trajectory.question, trajectory.answer) == ("run-1", "How many guests?", "Six.")
    assert (trajectory.gold_answer, trajectory.reward, trajectory.source) == ("6", 1.0, "import:openai")
    assert kinds(trajectory) == ["thought", "query", "retrieval", "answer"]
    assert trajectory.steps[1].text == "party of six"
    assert [(document.id, document.score, document.relevant) for document in trajectory.steps[2].considered] == [
        ("ramsey", 0.9, None),
        ("php", None, None),
    ]
    assert write_trajectories(tmp_path / "t.jsonl", [trajectory]) == 1
    assert list(read_trajectories(tmp_path / "t.jsonl")) == [trajectory]


def test_every_turn_is_a_trajectory_and_parallel_calls_keep_their_results(tmp_path: Path) -> None:
    both = call("lookup", {"q": "first"}, "a")
    both["tool_calls"] += call("lookup", {"q": "second"}, "b")["tool_calls"]
    messages = [
        user("One?"),
        both,
        result([{"id": "2", "text": "two"}], "b"),
        result([{"id": "1", "text": "one"}], "a"),
        said("1"),
        user("Two?"),
        call("retrieve", {"query": "third"}, "c"),
        result([{"id": "3", "text": "three"}], "c"),
        said("2"),
    ]
    first, second = read(tmp_path, messages)
    assert (first.id, second.id) == ("log#1/1", "log#1/2")
    assert first.problem_id != second.problem_id
    assert [(step.text, [document.id for document in step.considered]) for step in first.steps] == [
        ("first", []), ("", ["1"]), ("second", []), ("", ["2"]), ("1", [])
    ]  # fmt: skip
    assert second.question == "User: One?\nAssistant: 1\nUser: Two?"
    assert second.metadata == {"turn": 2, "turns": 2, "follow_up": True, "message": "Two?"}
    [only] = read(tmp_path, messages, follow_ups="leave-out")
    assert only.question == "One?"


def test_calls_of_other_tools_are_thoughts(tmp_path: Path) -> None:
    messages = [
        user("6*7?"),
        call("calculator", {"expression": "6*7"}, "a"),
        result("42", "a"),
        call("search", "six times seven", "b"),
        result("nothing like JSON", "b"),
        said("42"),
    ]
    [trajectory] = read(tmp_path, messages)
    assert kinds(trajectory) == ["thought", "query", "retrieval", "answer"]
    assert trajectory.steps[0].text == 'calculator({"expression": "6*7"}) -> 42'
    assert trajectory.steps[2].considered[0].text == "nothing like JSON"
    assert read(tmp_path, messages, tools=["calculator"])[0].steps[1].considered[0].text == "42"


def test_a_tool_of_another_name_that_returns_documents_is_a_search_unless_tools_are_named(tmp_path: Path) -> None:
    messages = [user("q"), call("theorems", {"topic": "graphs"}), result({"results": DOCUMENTS}), said("a")]
    [trajectory] = read(tmp_path, messages)
    assert kinds(trajectory) == ["query", "retrieval", "answer"]
    assert trajectory.steps[0].text == "graphs"
    assert read(tmp_path, messages, tools=["other"]) == []
    [without_search] = read(tmp_path, messages, tools=["other"], keep_all=True)
    assert kinds(without_search) == ["thought", "answer"]


def test_the_responses_interface_is_read(tmp_path: Path) -> None:
    output = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Search first."}]},
        {
            "type": "file_search_call",
            "queries": ["hobby", "guests"],
            "results": [{"file_id": "f1", "filename": "ramsey.md", "score": 0.7, "text": "Among six"}],
        },
        {"type": "function_call", "call_id": "x", "name": "kb", "arguments": '{"query": "more"}'},
        {"type": "function_call_output", "call_id": "x", "output": json.dumps(DOCUMENTS)},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Six."}]},
    ]
    [trajectory] = read(tmp_path, {"id": "r", "input": "How many?", "output": output})
    assert kinds(trajectory) == ["thought", "query", "retrieval", "query", "retrieval", "answer"]
    assert trajectory.steps[1].text == "hobby\nguests"
    assert trajectory.steps[2].considered[0].title == "ramsey.md"
    request = {"request": {"messages": [user("q"), call("search", {"query": "s"}), result(DOCUMENTS)]}}
    [trajectory] = read(tmp_path, {**request, "response": {"choices": [{"message": said("done")}]}})
    assert trajectory.answer == "done"


def test_a_corpus_gives_documents_their_ids(tmp_path: Path) -> None:
    corpus = Corpus([Document("d1", "Pigeon Two share a hole.", {"title": "Pigeon"}), Document("d2", "Another.")])
    blocks = "Pigeon Two share  a hole.\n\nUnknown text."
    report = ImportReport()
    path = tmp_path / "log.json"
    path.write_text(json.dumps([[user("q"), call("search", {"query": "s"}), result(blocks), said("a")]]))
    [trajectory] = OpenAILogs(corpus=corpus).read(path, report)
    first, second = trajectory.steps[1].considered
    assert (first.id, first.title, first.text) == ("d1", "Pigeon", "Two share a hole.")
    assert second.id.startswith("text:")
    assert report.notes == {"retrieved document that is not in the corpus": 1}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "row 1 is not JSON"),
        ('{"id": 1}', "row 1 holds no conversation"),
        ("7", "row 1 must be a list of messages"),
        ('[{"role": "user", "content": "q"}, "x"]', "row 1: message 1 is str"),
        (json.dumps([user("q"), result("x", "lost")]), "row 1 has a result of the call 'lost'"),
        ('{"messages": [{"role": "user", "content": "q"}], "reward": "much"}', "row 1: 'reward' must be a number"),
    ],
)
def test_unusable_rows_are_named_or_counted(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "log.jsonl"
    good = json.dumps([user("q"), call("search", {"query": "s"}), result(DOCUMENTS), said("a")])
    path.write_text(f"{row}\n{good}\n")
    with pytest.raises(InputError, match=message):
        list(OpenAILogs().read(path))
    report = ImportReport()
    assert [trajectory.id for trajectory in OpenAILogs(skip_faulty=True).read(path, report)] == ["log#2"]
    assert report.skipped == {"faulty row": 1}
    assert message in report.first_faults[0]


def test_ids_are_unique_over_files_and_the_same_conversation_counts_once(tmp_path: Path) -> None:
    def row(query: str) -> str:
        return json.dumps({"id": "same", "messages": [user("q"), call("search", {"query": query}), result(DOCUMENTS)]})

    (tmp_path / "a.jsonl").write_text(row("one"))
    (tmp_path / "b.jsonl").write_text(f"{row('two')}\n{row('one')}\n{row('three')}")
    report = ImportReport()
    trajectories = list(OpenAILogs().read([tmp_path / "a.jsonl", tmp_path / "b.jsonl"], report))
    assert [trajectory.id for trajectory in trajectories] == ["same", "same~2", "same~3"]
    assert {trajectory.problem_id for trajectory in trajectories} == {trajectories[0].problem_id}
    assert report.skipped == {"the same conversation again": 1}


def test_requests_that_repeat_their_conversation_are_one(tmp_path: Path) -> None:
    messages = [user("q"), call("search", {"query": "s"}), result(DOCUMENTS), said("a"), user("and?"), said("b")]
    trajectories = read(tmp_path, *({"id": n, "messages": messages[:n]} for n in range(1, 7)))
    assert [(trajectory.id, trajectory.answer) for trajectory in trajectories] == [("6/1", "a")]
