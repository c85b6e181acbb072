"""``rader import``: what it writes, says and refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rader_plugins import Document, RaderIndex
from rader_plugins.cli.app import build_app
from rader_plugins.recording import TrajectoryWriter
from rader_plugins.sample_files import read_samples
from rader_plugins.trajectories import Considered, Step, Trajectory, read_trajectories, write_trajectories
from tests.support.encoders import HashEncoder
from tests.support.llm_server import LLMServer

SOLVED = {
    "id": "s",
    "question": "q",
    "solution": "First.\nBy the Chain Rule we get it.\n8",
    "answer": "8",
    "correct": True,
}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    rows = [{"id": "thm-1", "title": "Chain Rule", "text": "Derive inside."}, {"id": "thm-2", "text": "Other."}]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(build_app(), ["import", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_solutions_are_imported_and_counted(tmp_path: Path, corpus: Path) -> None:
    source, out = tmp_path / "solved.jsonl", tmp_path / "new" / "t.jsonl"
    source.write_text(f'{json.dumps(SOLVED)}\n{{"question": 1}}\n')
    code, _, error = run("solutions", source, "--corpus", corpus, "--out", out)
    assert (code, out.exists()) == (2, False)
    assert "row 2" in error
    code, output, _ = run("solutions", source, "--corpus", corpus, "--out", out, "--skip-faulty", "--json")
    assert code == 0
    summary = json.loads(output)
    assert (summary["rows"], summary["trajectories"], summary["skipped"]) == (2, 1, {"faulty row": 1})
    assert summary["rewards"] == {"right": 1}
    assert summary["documents"] == {"relevant": 1}
    [trajectory] = read_trajectories(out)
    assert [document.id for document in trajectory.retrievals[0].considered] == ["thm-1"]


@pytest.mark.parametrize("kind", ["openai", "solutions", "proofs", "recorded", "function"])
def test_a_row_that_is_no_utf_8_is_named_and_may_be_left_out(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "convert_rows.py").write_text(
        "from rader_plugins.trajectories import Considered, Step, Trajectory\n"
        "def convert(row):\n"
        "    return Trajectory('t', 'p', 'q', (Step('retrieval', considered=(Considered('a', 'text'),)),))\n"
    )
    source, out = tmp_path / "rows.jsonl", tmp_path / "t.jsonl"
    steps = (Step("query", "q"), Step("retrieval", considered=(Considered("a", "text"),)), Step("answer", "8"))
    good = {
        "openai": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "search", "arguments": "q"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "A document."},
        ],
        "recorded": Trajectory("r", "p", "q", steps, "8").row(),
        "proofs": {
            "id": "p", "question": "q", "answer": "a", "hypothesis": "h", "facts": ["f"], "fact_ids": ["thm-1"],
            "proof": "sent1 -> hypothesis;",
        },
    }.get(kind, SOLVED)  # fmt: skip
    source.write_bytes(json.dumps(good).encode() + b'\n{"id": "\xff"}\n' + json.dumps(good).encode() + b"\n")
    options: list[object] = ["--function", "convert_rows:convert"] if kind == "function" else []
    options += ["--corpus", corpus] if kind == "solutions" else []
    code, _, error = run(kind, source, "--out", out, *options)
    assert code == 2
    assert re.search(r"rows\.jsonl,? (row|line) 2 is not JSON", " ".join(error.split())), error
    assert not out.exists()
    code, output, error = run(kind, source, "--out", out, *options, "--skip-faulty", "--json")
    assert code == 0, error
    assert json.loads(output)["skipped"]["faulty row"] == 1


def test_an_imported_log_is_labelled(tmp_path: Path, corpus: Path) -> None:
    source, out = tmp_path / "log.jsonl", tmp_path / "t.jsonl"
    documents = [{"id": "thm-1", "text": "Derive inside."}, {"id": "thm-2", "text": "Other."}]
    call = {"id": "c", "function": {"name": "search", "arguments": '{"query": "derivative"}'}}
    messages = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": json.dumps(documents)},
        {"role": "assistant", "content": "By [thm-1] it is 8."},
    ]
    source.write_text(json.dumps({"messages": messages, "reward": 1}))
    code, output, _ = run("openai", source, "--out", out, "--label", "citation")
    assert code == 0
    assert "1 relevant, 1 not relevant" in output
    code, _, _ = run("openai", source, "--out", out, "--label", "answer", "--top", 2, "--corpus", corpus)
    [trajectory] = read_trajectories(out)
    assert [(hit.id, hit.relevant, hit.labelled_by) for hit in trajectory.retrievals[0].considered] == [
        ("thm-1", True, "answer"), ("thm-2", True, "answer")
    ]  # fmt: skip


def test_recorded_runs_come_with_their_feedback(tmp_path: Path) -> None:
    source, out = tmp_path / "runs.jsonl", tmp_path / "t.jsonl"
    steps = (Step("query", "q"), Step("retrieval", considered=(Considered("a", "text"),)), Step("answer", "8"))
    with TrajectoryWriter(source) as writer:
        writer.put(Trajectory("right", "", "one", steps, "8"))
        writer.put(Trajectory("failed", "", "two", steps, metadata={"error": "Oops"}))
        writer.feedback("right", reward=1.0)
        writer.feedback("lost", reward=1.0)
    with source.open("a") as stream:
        stream.write("[]\n")
    assert run("recorded", source, "--out", out)[0] == 2
    code, output, _ = run("recorded", source, "--out", out, "--label", "answer", "--skip-faulty", "--json")
    assert code == 0
    summary = json.loads(output)
    assert summary["skipped"] == {"failed run": 1, "faulty row": 1}
    assert summary["notes"] == {"run with feedback": 1, "feedback for a run that is not recorded": 1}
    [trajectory] = read_trajectories(out)
    assert (trajectory.id, trajectory.reward) == ("right", 1.0)
    assert trajectory.retrievals[0].considered[0].relevant is True


def test_a_function_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_import_function.py").write_text(
        "from rader_plugins.trajectories import Trajectory\n"
        "def convert(row):\n    return Trajectory(row['id'], row['id'], row['q'], ())\n"
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"id": "a", "q": "ask"}')
    arguments = ("function", "rows.jsonl", "--out", "t.jsonl", "--function", "own_import_function:convert")
    code, output, error = run(*arguments)
    assert (code, Path("t.jsonl").exists()) == (1, False)
    assert "1 nothing retrieved" in output
    assert "Nothing can be used" in error
    assert run(*arguments, "--keep-all")[0] == 0
    assert [trajectory.question for trajectory in read_trajectories("t.jsonl")] == ["ask"]


def test_reflection_is_cached_and_faults_are_counted(tmp_path: Path) -> None:
    source, out, cache = tmp_path / "runs.jsonl", tmp_path / "t.jsonl", tmp_path / "cache.sqlite"
    steps = (Step("query", "q"), Step("retrieval", considered=(Considered("a", "good"), Considered("b", "odd"))))
    write_trajectories(source, [Trajectory(f"r{number}", "p", "q", steps, "8") for number in range(3)])

    def judge(request: dict[str, Any]) -> str:
        return "Because.\nRelevant: True" if "good" in request["messages"][-1]["content"] else "!400"

    with LLMServer(judge) as server:
        arguments = ("recorded", source, "--out", out, "--label", "reflection", "--llm-url", server.url)
        code, output, _ = run(*arguments, "--llm-cache", cache, "--json")
        assert code == 0
        requests = len(server.requests)
        assert json.loads(output)["usage"]["requests"] == requests - 3  # those that were refused are not charged
        server.answer = "Because.\nRelevant: False"
        code, cached_output, _ = run(*arguments, "--llm-cache", cache, "--json")
        # Equal questions at once may each be asked; what was answered is not asked again, what failed is.
        assert 1 <= len(server.requests) - requests <= 3
    first, second = json.loads(output), json.loads(cached_output)
    assert first["documents"] == {"relevant": 3, "unlabelled": 3}
    assert first["unlabelled_because"] == {"the model did not answer": 3}
    assert second["documents"] == {"relevant": 3, "not relevant": 3}
    assert {document.labelled_by for row in read_trajectories(out) for document in row.retrievals[0].considered} == {
        "reflection"
    }


def test_matches_of_recorded_solutions_are_labelled_by_reflection_and_become_samples(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    source, out, index = tmp_path / "solved.jsonl", tmp_path / "t.jsonl", tmp_path / "index"
    solution = "There are only two colours of socks.\nSo among three socks two match in colour.\n3"
    solved = {"id": "socks", "question": "How many socks?", "solution": solution, "answer": "3"}
    source.write_text(json.dumps(solved) + "\n" + json.dumps({**solved, "id": "wrong", "answer": "4"}))
    texts = {"boxes": "Of more socks than colours two match.", "washing": "Wash socks of all colours apart."}
    with RaderIndex.create(index, HashEncoder()) as empty_index:
        empty_index.add([Document(id, text) for id, text in texts.items()])

    def judge(request: dict[str, Any]) -> str:
        prompt = request["messages"][-1]["content"]
        assert "How many socks?" in prompt
        return f"As it says.\nRelevant: {texts['boxes'] in prompt}"

    with LLMServer(judge) as server:
        arguments = ("--index", index, "--mode", "bm25", "--checker", "numeric", "--label", "reflection")
        code, output, error = run("solutions", source, "--out", out, *arguments, "--llm-url", server.url, "--json")
    assert code == 0, error
    summary = json.loads(output)
    assert summary["rewards"] == {"right": 1, "not right": 1}
    assert summary["documents"] == {"relevant": 4, "not relevant": 4}
    samples = CliRunner().invoke(build_app(), ["samples", str(out), "--out", str(tmp_path / "s"), "--dev-share", "0"])
    assert samples.exit_code == 0, samples.output
    made_of = {entry.query_kind: entry for entry in read_samples(tmp_path / "s", "train")}
    assert made_of["cot"].query == "How many socks?\nThere are only two colours of socks."
    for kind in ("question", "cot"):
        assert [entry.id for entry in made_of[kind].positives] == ["boxes"]
        assert [(entry.id, entry.origin) for entry in made_of[kind].negatives] == [("washing", "reflection")]


def test_answers_are_judged_anew(tmp_path: Path, corpus: Path) -> None:
    source, out = tmp_path / "solved.jsonl", tmp_path / "t.jsonl"
    wrong = {**SOLVED, "id": "w", "solution": "By the Chain Rule it is so.\nThe answer is 7"}
    source.write_text(f"{json.dumps(SOLVED)}\n{json.dumps(wrong)}")
    arguments = ("solutions", source, "--corpus", corpus, "--out", out, "--checker", "numeric", "--json")
    code, output, _ = run(*arguments)
    assert code == 0
    assert json.loads(output)["rewards"] == {"right": 1, "not right": 1}
    assert [(trajectory.answer, trajectory.reward) for trajectory in read_trajectories(out)] == [("8", 1.0), ("7", 0.0)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("function", "F"), "--function names"),
        (("openai", "F", "--function", "m:f"), "they go together"),
        (("proofs", "F", "--tool", "x"), "--tool goes with"),
        (("proofs", "F", "--label", "reflection"), "--llm-url goes with"),
        (("proofs", "F", "--llm-url", "http://127.0.0.1:9"), "--llm-url goes with"),
        (("proofs", "F", "--checker", "guess"), "no answer checker 'guess'"),
        (("proofs", "none.jsonl"), "none.jsonl does not exist"),
        (("rader", "F"), "pass that corpus"),
        (("solutions", "F"), "pass a corpus"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "F").write_text("")
    code, _, error = run(*arguments, "--out", "out.jsonl")
    assert code == 2
    assert message in error
    assert run("proofs", "F", "--out", "F")[0] == 2
