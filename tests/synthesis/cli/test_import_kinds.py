"""``rader import`` and its kinds: found by entry point, recognised, refused what they have no use for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rader_plugins.cli.app import build_app
from rader_plugins.trajectories import read_trajectories
from tests.support.llm_server import LLMServer

DOCUMENTS = [{"id": "kb-1", "text": "Thirty days."}, {"id": "kb-2", "text": "Plans grant seats."}]


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(build_app(), ["import", *map(str, arguments)])
    return result.exit_code, result.stdout, " ".join(result.stderr.split())


def conversation(*questions: str, tool: str = "search", found: Any = DOCUMENTS, **more: Any) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    for number, question in enumerate(questions):
        call = {"id": f"c{number}", "function": {"name": tool, "arguments": json.dumps({"query": question})}}
        messages += [
            {"role": "user", "content": question},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": f"c{number}", "content": json.dumps(found)},
            {"role": "assistant", "content": "Thirty days [kb-1]."},
        ]
    return {"messages": messages, **more}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_auto_says_what_it_recognised(tmp_path: Path) -> None:
    source, out = write(tmp_path / "log.jsonl", conversation("How long?")), tmp_path / "t.jsonl"
    code, output, error = run("auto", source, "--out", out, "--label", "citation")
    assert code == 0, error
    assert "of the kind openai" in error
    assert output.splitlines()[0].split() == ["kind", "openai"]
    code, _, error = run("auto", write(tmp_path / "other.jsonl", {"colour": "red"}), "--out", out)
    assert code == 2
    assert "colour" in error
    assert "--function" in error


def test_where_nothing_is_of_use_the_cause_is_told_and_the_old_file_stays(tmp_path: Path) -> None:
    source, out = (
        write(tmp_path / "log.jsonl", conversation("How?", tool="weather", found="It is sunny.")),
        tmp_path / "t.jsonl",
    )
    out.write_text("from before\n")
    code, output, error = run("openai", source, "--out", out)
    assert code == 1
    assert out.read_text() == "from before\n"
    assert "1 nothing retrieved" in output
    assert "--tool weather" in error
    code, output, _ = run("openai", source, "--out", out, "--json")
    assert code == 1
    summary = json.loads(output)
    assert (summary["out"], summary["tools"]["weather"]["unsearched"]) == (None, 1)
    assert run("openai", source, "--out", out, "--tool", "weather", "--tool", "search")[0] == 0


def test_labels_that_find_nothing_relevant_are_no_success(tmp_path: Path) -> None:
    source = write(tmp_path / "log.jsonl", conversation("How?", found=[{"id": "other-1", "text": "Nothing of it."}]))
    code, output, error = run("openai", source, "--out", tmp_path / "t.jsonl", "--label", "citation")
    assert code == 1
    assert "1 unlabelled" in output
    assert "No document is relevant" in error
    assert run("openai", source, "--out", tmp_path / "t.jsonl")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("proofs", "--scale", "1-5"), "--scale or --score goes with other kinds"),
        (("react", "--group-by", "x"), "--group-by goes with other kinds"),
        (("openai", "-k", "3"), "-k goes with other kinds"),
        (("openai", "--mode", "bm25"), "--mode goes with other kinds"),
        (("proofs", "--follow-ups", "carry"), "--follow-ups goes with other kinds"),
        (("openai", "--top", "2"), "--top goes with --label answer"),
        (("openai", "--style", "chat"), "--prompts and --style go with"),
        (("openai", "--fragments", "keep"), "--fragments is about"),
        (("openai", "--concurrency", "2"), "they go with --llm-url"),
        (("openai", "--scale", "5"), "two different numbers"),
        (("openai", "--prompt-pattern", "("), "no regular expression"),
        (("openai", "--standalone-llm"), "--llm-url goes with"),
        (("openai", "--redact", "no_module_of_mine:f"), "cannot be imported"),
        (("never-heard",), "there are auto, agent-sessions, anthropic"),
    ],
)
def test_options_without_effect_are_refused(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    source = write(tmp_path / "log.jsonl", conversation("How?"))
    code, _, error = run(arguments[0], source, "--out", tmp_path / "t.jsonl", *arguments[1:])
    assert code == 2
    assert message in error


def test_personal_data_goes_before_anything_is_made_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_redaction_rules.py").write_text(
        "def clean(text):\n    return text.replace('Ann', '[name]').replace('Bob', '[name]')\n"
    )
    monkeypatch.chdir(tmp_path)
    documents = [{"id": "a", "text": "Ann pays."}]
    source = write(
        tmp_path / "log.jsonl", *(conversation(f"What of {name}?", found=documents) for name in ("Ann", "Bob"))
    )
    assert run("openai", source, "--out", "t.jsonl", "--redact", "own_redaction_rules:clean")[0] == 0
    assert "Ann" not in Path("t.jsonl").read_text()
    first, second = read_trajectories("t.jsonl")
    assert first.problem_id == second.problem_id  # nor can the name be guessed from the digest of the question
    assert first.retrievals[0].considered[0].text == "[name] pays."


def test_follow_ups_are_rewritten_into_questions_that_stand_alone(tmp_path: Path) -> None:
    source = write(tmp_path / "log.jsonl", conversation("What is the monthly plan?", "And per year?"))

    def rewrite(request: dict[str, Any]) -> str:
        prompt = request["messages"][-1]["content"]
        assert "monthly plan" in prompt
        return "<think>Easy.</think>What does the monthly plan cost per year?"

    with LLMServer(rewrite) as server:
        arguments = ("--standalone-llm", "--llm-url", server.url, "--json")
        code, output, error = run("openai", source, "--out", tmp_path / "t.jsonl", *arguments)
        assert len(server.requests) == 1
    assert code == 0, error
    first, second = read_trajectories(tmp_path / "t.jsonl")
    assert (first.question, second.question) == (
        "What is the monthly plan?", "What does the monthly plan cost per year?"
    )  # fmt: skip
    assert second.metadata["message"] == "And per year?"
    assert [step.kind for step in second.steps] == ["rewrite", "query", "retrieval", "answer"]
    assert any("stands alone" in note for note in json.loads(output)["notes"])


IMPORTER = '''
from rader_synthesis.importing import Answer, Call, Conversation, ConversationImporter, Question, Result


class DeskImporter(ConversationImporter):
    """Tickets of a help desk."""

    kind = "desk"
    summary = "tickets of a help desk"

    @classmethod
    def recognizes(cls, value):
        return 1.0 if "ticket" in value else 0.0

    def conversations_of(self, value, row, report):
        events = [Question(value["asked"]), Call("1", "search", value["query"]), Result("1", value["articles"]),
                  Answer(value["reply"])]
        yield self.judged(Conversation(value["ticket"], events, row.where), value, report)
'''


@pytest.mark.slow
def test_another_package_adds_a_kind_by_an_entry_point(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "help_desk").mkdir(parents=True)
    (site / "help_desk" / "__init__.py").write_text(IMPORTER)
    info = site / "help_desk-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: help-desk\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[rader.importers]\ndesk = help_desk:DeskImporter\nbroken = help_desk_of_nobody:None\n"
    )
    ticket = {"ticket": "T-7", "asked": "How long?", "query": "reversal", "articles": DOCUMENTS, "reply": "[kb-1]"}
    source, out = write(tmp_path / "tickets.jsonl", {**ticket, "rating": 4}), tmp_path / "t.jsonl"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}

    def rader(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-c",
            "from rader_plugins.cli.app import main; main()",
            "import",
            *map(str, arguments),
        ]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)

    done = rader("desk", source, "--out", out, "--scale", "1-5", "--label", "citation")
    assert done.returncode == 0, done.stderr
    [trajectory] = read_trajectories(out)
    assert (trajectory.id, trajectory.source, trajectory.reward) == ("T-7", "import:desk", 0.75)
    assert [document.relevant for document in trajectory.retrievals[0].considered] == [True, False]
    done = rader("broken", source, "--out", out)
    assert done.returncode == 2
    assert "cannot be loaded" in done.stderr


def test_options_in_a_file(tmp_path: Path) -> None:
    log = write(tmp_path / "log.jsonl", conversation("What?", "And then?", tool="find_it", id="c"))
    config, out = tmp_path / "import.toml", tmp_path / "out.jsonl"
    config.write_text('[import]\ntool = ["find_it"]\nlabel = "citation"\nfollow_ups = "leave-out"\n')
    assert run("openai", log, "--out", out, "--config", config)[0] == 0
    [trajectory] = read_trajectories(out)
    assert [document.relevant for document in trajectory.retrievals[0].considered] == [True, False]
    assert run("openai", log, "--out", out, "--config", config, "--follow-ups", "carry", "--label", "none")[0] == 0
    first, _ = read_trajectories(out)
    assert [document.relevant for document in first.retrievals[0].considered] == [None, None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[import]\nlabels = "citation"', "unknown 'labels'"),
        ('[samples]\nkinds = "cot"', "[import]"),
        ('import = "citation"', "must be a table"),
        ('[import]\ntool = "find_it"', "must be a list"),
        ('[import]\nlabel = ["citation"]', "must be one value"),
        ('[import]\nlabel = "nobody"', "nobody"),
        ("[import]\ntop = 3", "--top goes with"),
        ('[import]\nconfig = "other.toml"', "unknown 'config'"),
    ],
)
def test_options_in_a_file_that_are_wrong(text: str, message: str, tmp_path: Path) -> None:
    config = tmp_path / "import.toml"
    config.write_text(text)
    log = write(tmp_path / "log.jsonl", conversation("What?"))
    code, _, errors = run("openai", log, "--out", tmp_path / "out.jsonl", "--config", config)
    assert (code, message in errors) == (2, True), errors
