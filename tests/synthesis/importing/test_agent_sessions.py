"""Session logs of coding agents: who said what, and what their agents below them did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rader_synthesis.importing import importer_class
from rader_synthesis.importing.shell_searches import shell_command
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
    question = line(
        "user", [{"type": "text", "text": INSERTED[0]}, {"type": "text", "text": "How do I close it?"}], "2"
    )
    search = line("assistant", use("t", "WebSearch", query="close"), "3")
    search_result = line("user", result("t", "x"), "4", toolUseResult=pages("a"))
    answered = line("assistant", [{"type": "text", "text": "With a key."}], "5")
    error = line("assistant", [{"type": "text", "text": "API Error: 529"}], "6", isApiErrorMessage=True)
    [trajectory] = read(
        tmp_path, *before, question, search, search_result, answered, line("user", inserted, "7"), error
    )
    assert (trajectory.question, trajectory.answer) == ("How do I close it?", "With a key.")


def test_agents_below_a_session_that_work_at_once_are_told_apart(tmp_path: Path) -> None:
    lines = []
    for step in range(4):
        for agent in "AB":
            search = use(f"u{agent}", "WebSearch", query=agent)
            content: Any = (f"Explore {agent}", search, result(f"u{agent}", "x"), f"Found {agent}.")[step]
            search_result = {"toolUseResult": pages(agent)} if step == 2 else {}
            parent = f"{agent}{step - 1}" if step else None
            kind = "assistant" if step % 2 else "user"
            lines.append(line(kind, content, f"{agent}{step}", parent, isSidechain=True, **search_result))
    trajectories = read(tmp_path, *lines)
    assert [(branch.question, branch.answer) for branch in trajectories] == [
        ("Explore A", "Found A."),
        ("Explore B", "Found B."),
    ]
    assert [[document.title for document in branch.retrievals[0].considered] for branch in trajectories] == [
        ["A"],
        ["B"],
    ]


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
    [trajectory] = read(tmp_path, *lines)
    documents = [document for step in label_by_opened(trajectory).retrievals for document in step.considered]
    assert [(document.relevant, document.text) for document in documents] == [
        (False, ""), (None, ""), (True, "It closes."), (True, "close it"),
    ]  # fmt: skip


def searched_and_opened(made: Trajectory) -> list[tuple[str, str, bool | None]]:
    labelled = label_by_opened(made)
    return [
        (document.id, document.text, document.relevant) for step in labelled.retrievals for document in step.considered
    ]


LINES = "src/old.py:12:# close it later\nsrc/key.py:1:close = 'key'\nREADME.md:4:close"
SNIPPETS = [
    ("src/old.py", "# close it later", False),
    ("src/key.py", "close = 'key'", True),
    ("README.md", "close", None),
]


def test_a_search_that_prints_lines_and_a_file_that_is_read_by_its_whole_path(tmp_path: Path) -> None:
    lines = [
        line("user", "How do I close it?", "0", cwd="/srv/app"),
        line("assistant", use("1", "Grep", pattern="clos.*", output_mode="content"), "1"),
        line("user", result("1", LINES), "2", toolUseResult={"mode": "content", "filenames": [], "content": LINES}),
        line("assistant", use("2", "Read", file_path="/srv/app/src/key.py"), "3"),
        line("user", result("2", "1\tclose = 'key'"), "4", toolUseResult={"file": {"content": "close = 'key'"}}),
        line("assistant", "With a key.", "5"),
    ]
    [trajectory] = read(tmp_path, *lines)
    assert [step.text for step in trajectory.steps if step.kind == "query"] == ["clos.*"]
    assert searched_and_opened(trajectory) == SNIPPETS


def item(call: str, name: str, arguments: Any, output: Any) -> list[dict[str, Any]]:
    output_text = output if isinstance(output, str) else json.dumps(output)
    pair = [
        {"type": "function_call", "name": name, "arguments": json.dumps(arguments), "call_id": call},
        {"type": "function_call_output", "call_id": call, "output": output_text},
    ]
    return [{"type": "response_item", "payload": payload} for payload in pair]


@pytest.mark.parametrize(
    ("tool", "search", "opening", "report"),
    [
        ("shell", {"command": ["bash", "-lc", "rg -n -i 'clos.*' -g '*' ."]}, {"command": ["cat", "./src/key.py"]},
         lambda text: {"output": text, "metadata": {"exit_code": 0}}),
        ("exec_command", {"cmd": "grep -rn -e 'clos.*' . | head -20"}, {"cmd": "sed -n '1,40p' src/key.py"},
         lambda text: f"Chunk ID: 1\nWall time: 0.1 seconds\nProcess exited with code 0\nOutput:\n{text}"),
        ("shell_command", {"command": "cd app && git grep -n 'clos.*'"}, {"command": "nl -ba src/key.py | head -40"},
         lambda text: f"Exit code: 0\nOutput:\n{text}"),
    ],
)  # fmt: skip
def test_searches_in_a_shell(tool: str, search: Any, opening: Any, report: Any, tmp_path: Path) -> None:
    question = {"role": "user", "type": "message", "content": [{"type": "input_text", "text": "How do I close it?"}]}
    answer = {"role": "assistant", "type": "message", "content": [{"type": "output_text", "text": "With a key."}]}
    lines = [
        {"type": "session_meta", "payload": {"id": "s", "cwd": "/srv/app"}},
        {"type": "response_item", "payload": question},
        *item("1", tool, search, report(LINES)),
        *item("2", tool, opening, report("close = 'key'")),
        {"type": "response_item", "payload": answer},
    ]
    [trajectory] = read(tmp_path, *lines)
    assert [step.text for step in trajectory.steps if step.kind == "query"] == ["clos.*"]
    assert [step.text for step in trajectory.steps if step.kind == "open"] == ["close = 'key'"]
    assert searched_and_opened(trajectory) == SNIPPETS


@pytest.mark.parametrize(
    "command",
    ["make test", "rm -r src", "rg --files", "grep x a.py; rm a.py", "cat a.py > b.py", "rg x | xargs rm",
     "sed -i s/a/b/ a.py", "cat a.py b.py", "echo 'unclosed", "", "grep -c x a.py", None, 3, ["ls"]],
)  # fmt: skip
def test_what_else_a_shell_does_is_no_search(command: Any) -> None:
    assert shell_command({"command": command}) is None
