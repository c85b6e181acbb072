"""Session logs of coding agents: who said what, and what their agents below them did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rader_synthesis.importing import importer_class
from rader_synthesis.labelling import label_by_opened

from rader_plugins.trajectories import Trajectory


def line(kind: str, content: Any, uuid: str, parent: str | None = None, **more: Any) -> dict[str, Any]:
    message = {"role": kind, "content": content}
    return {"type": kind, "sessionId": "s", "uuid": uuid, "parentUuid": parent, "message": message, **more}


def use(id: str, name: str, **arguments: Any) -> list[dict[str, Any]]:
    return [{"type": "tool_use", "id": id, "name": name, "input": arguments}]


def result(id: str, content: str, **more: Any) -> list[dict[str, Any]]:
    return [{"type": "tool_result", "tool_use_id": id, "content": content, **more}]


def pages(*names: str) -> dict[str, Any]:
    links = [{"title": name, "url": f"https://e.org/{name}"} for name in names]
    return {"query": "q", "results": [{"tool_use_id": "t", "content": links}]}


def read(tmp_path: Path, *lines: Any) -> list[Trajectory]:
    path = tmp_path / "session.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in lines))
    return list(importer_class("agent-sessions")().read(path))


INSERTED = [
    "<ide_opened_file>The user opened x.py</ide_opened_file>",
    "[Request interrupted by user for tool use]",
    "<bash-input>ls</bash-input>",
    "<local-command-stdout>done</local-command-stdout>",
]


@pytest.mark.parametrize("inserted", INSERTED)
def test_what_the_program_inserts_is_no_question(inserted: str, tmp_path: Path) -> None:
    before = [line("user", inserted, "0"), line("user", [{"type": "text", "text": inserted}], "1")]
    asked = line("user", [{"type": "text", "text": INSERTED[0]}, {"type": "text", "text": "How do I close it?"}], "2")
    search = line("assistant", use("t", "WebSearch", query="close"), "3")
    found = line("user", result("t", "x"), "4", toolUseResult=pages("a"))
    answered = line("assistant", [{"type": "text", "text": "With a key."}], "5")
    error = line("assistant", [{"type": "text", "text": "API Error: 529"}], "6", isApiErrorMessage=True)
    [made] = read(tmp_path, *before, asked, search, found, answered, line("user", inserted, "7"), error)
    assert (made.question, made.answer) == ("How do I close it?", "With a key.")


def test_agents_below_a_session_that_work_at_once_are_told_apart(tmp_path: Path) -> None:
    lines = []
    for step in range(4):
        for agent in "AB":
            search = use(f"u{agent}", "WebSearch", query=agent)
            content: Any = (f"Explore {agent}", search, result(f"u{agent}", "x"), f"Found {agent}.")[step]
            more = {"toolUseResult": pages(agent)} if step == 2 else {}
            parent = f"{agent}{step - 1}" if step else None
            kind = "assistant" if step % 2 else "user"
            lines.append(line(kind, content, f"{agent}{step}", parent, isSidechain=True, **more))
    made = read(tmp_path, *lines)
    assert [(one.question, one.answer) for one in made] == [("Explore A", "Found A."), ("Explore B", "Found B.")]
    assert [[document.title for document in one.retrievals[0].considered] for one in made] == [["A"], ["B"]]


def test_pages_and_files_that_were_read(tmp_path: Path) -> None:
    lines = [
        line("user", "How do I close it?", "0"),
        line("assistant", use("1", "WebSearch", query="close"), "1"),
        line("user", result("1", "x"), "2", toolUseResult=pages("a", "b", "c")),
        line("assistant", use("2", "WebFetch", url="https://e.org/b"), "3"),
        line("user", result("2", "Not there.", is_error=True), "4", toolUseResult="Error: Not there."),
        line("assistant", use("3", "WebFetch", url="https://e.org/c"), "5"),
        line("user", result("3", "It closes.<system-reminder>Be careful.</system-reminder>"), "6"),
        line("assistant", use("4", "Grep", pattern="close"), "7"),
        line("user", result("4", "x"), "8", toolUseResult={"filenames": ["/p/a.md"]}),
        line("assistant", use("5", "Read", file_path="/p/a.md"), "9"),
        line("user", result("5", "   1\tclose it"), "10", toolUseResult={"file": {"content": "close it"}}),
        line("assistant", "With a key.", "11"),
    ]
    [made] = read(tmp_path, *lines)
    documents = [document for step in label_by_opened(made).retrievals for document in step.considered]
    assert [(document.relevant, document.text) for document in documents] == [
        (False, ""), (None, ""), (True, "It closes."), (True, "close it"),
    ]  # fmt: skip
