"""``rader synthesize`` as a user calls it."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path

import pytest
from rader_synthesis.cli.synthesize import cost_text, progress_text
from rader_synthesis.run_config import RunProgress
from typer.testing import CliRunner

from rader_plugins import Document, RaderIndex
from rader_plugins.cli import build_app
from rader_plugins.llm import Usage
from rader_plugins.trajectories import read_trajectories
from tests.support.encoders import HashEncoder
from tests.synthesis.scripted import SYSTEMS, chance, server
from tests.synthesis.test_run import rows

SEARCH = "[search]\nrollouts = 3\ndepth = 4\nseed = 5\n"


def rader(*arguments: object, code: int = 0):
    result = CliRunner().invoke(build_app(), [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.exit_code, result.output, result.exception)
    return result


@pytest.fixture
def index(tmp_path: Path) -> Path:
    with RaderIndex.create(tmp_path / "index", HashEncoder()) as empty_index:
        empty_index.add([Document(f"d{number}", f"query theorem {number}") for number in range(9)])
    return tmp_path / "index"


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl"
    path.write_text(
        "".join(
            json.dumps({"id": f"p{number}", "problem": f"Question {number}?", "answer": 8}) + "\n"
            for number in range(3)
        ),
        encoding="utf-8",
    )
    return path


@pytest.fixture
def options(tmp_path: Path, index: Path):
    config = tmp_path / "config.toml"
    config.write_text(SEARCH, encoding="utf-8")
    return ["--index", index, "--mode", "bm25", "--llm-model", "served", "--config", config, "--out", tmp_path / "run"]


def test_a_run_and_the_same_command_again(tmp_path, problems, options):
    with server(chance) as served:
        output = rader("synthesize", problems, "--llm-url", served.url, *options).stdout
        assert "problems      3: " in output
        assert "in the cache" not in output
        requests = len(served.requests)
        report = json.loads(rader("synthesize", problems, "--llm-url", served.url, *options, "--json").stdout)
        assert len(served.requests) == requests
    assert (report["problems"], report["searched"], report["stopped"]) == (3, 0, None)
    assert report["totals"]["rollouts"] == 9
    assert report["usage"] == {"requests": 0, "read": 0, "written": 0}
    paths = list(read_trajectories(tmp_path / "run" / "trajectories.jsonl"))
    assert len(paths) == report["totals"]["trajectories"]
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["settings"]["checker"] == "math"
    assert config["about"]["llm_model"] == "served"


def test_a_budget_ends_with_code_3_and_the_command_goes_on(tmp_path, problems, options):
    with server(chance) as served:
        call = ["synthesize", problems, "--llm-url", served.url, *options]
        result = rader(*call, "--budget-calls", 20, code=3)
        assert "The budget of 20 calls is used up" in result.stderr
        assert "goes on from there" in result.stderr
        rader(*call)
    assert {row["status"] for row in rows(tmp_path / "run" / "problems.jsonl")} <= {"solved", "unsolved"}


def test_no_minutes_are_a_budget_too(problems, options):
    with server(chance) as served:
        result = rader("synthesize", problems, "--llm-url", served.url, *options, "--budget-minutes", 0, code=3)
        assert "The budget of 0 minutes is used up" in result.stderr
        assert served.requests == []


def test_a_model_that_the_server_does_not_know_ends_the_run(problems, options):
    with server("!no-model") as served:
        result = rader("synthesize", problems, "--llm-url", served.url, *options, code=1)
    assert "The model `served` does not exist" in result.stderr
    assert len(result.stderr.splitlines()) < 10


@pytest.mark.slow
def test_a_pack_is_known_by_what_it_says_and_not_by_its_place(tmp_path, problems, options):
    shutil.copytree(str(files("rader_synthesis").joinpath("prompts/math")), tmp_path / "mine")
    with server(chance) as served:
        call = ["synthesize", problems, "--llm-url", served.url, *options, "--prompts"]
        rader(*call, tmp_path / "mine")
        requests = len(served.requests)
        (tmp_path / "mine").rename(tmp_path / "moved")
        rader(*call, tmp_path / "moved")
        assert len(served.requests) == requests
        step = tmp_path / "moved" / "step.toml"
        step.write_text(step.read_text(encoding="utf-8").replace("max_tokens = ", "max_tokens = 1"), encoding="utf-8")
        result = rader(*call, tmp_path / "moved", code=2)
        assert "another run: it differs in prompts" in " ".join(result.stderr.split())
        assert len(served.requests) == requests


def test_options_come_before_the_file_and_limit_and_seed_count(tmp_path, problems, options):
    with server(chance) as served:
        call = ["synthesize", problems, "--llm-url", served.url, *options]
        unsolved = rader(*call, "--rollouts", 2, "--limit", 1, "--seed", 9, code=1)
    assert "0 of 1 problems solved; none of 2 rollouts" in " ".join(unsolved.stderr.split())
    settings = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]["search"]
    assert (settings["rollouts"], settings["seed"], settings["depth"]) == (2, 9, 4)
    assert len(rows(tmp_path / "run" / "problems.jsonl")) == 1


@pytest.mark.slow
def test_what_is_wrong_is_said_before_anything_is_asked(tmp_path, problems, options, index):
    bad = tmp_path / "bad.jsonl"
    with server(chance) as served:

        def refused(message, *more, file=problems, given=options):
            result = rader("synthesize", file, "--llm-url", served.url, *given, *more, code=2)
            assert message in " ".join(result.stderr.split()), result.stderr

        refused("either --corpus PATH or --index DIR", "--corpus", tmp_path)
        refused("either --corpus PATH or --index DIR", given=options[2:])
        refused("no prompt pack 'maths'", "--prompts", "maths")
        refused("no answer checker 'maths'", "--checker", "maths")
        refused("The module 'nowhere' cannot be imported", "--checker", "nowhere:same")
        refused("There is no file", file=tmp_path / "none.jsonl")
        bad.write_bytes(b'{"id": "a", "question": "\xff?", "answer": "1"}\n')
        refused("bad.jsonl, line 1 is not", file=bad)
        bad.write_text('{"id": "a", "question": "1?", "answer": "1"}\n' * 2)
        refused("the id 'a' stands twice", file=bad)
        bad.write_text('{"id": "a", "question": "1?"}\n')
        refused("1 of 1 problems have no answer", file=bad)
        for text, message in (
            ("[search]\nrollout = 3", "does not know 'rollout'"),
            ("[runs]\n", "unknown 'runs'"),
            ("search = 3", "'search' must be a table"),
            ("[run]\nfailed_share = 7", "failed_share must lie between 0 and 1"),
            ("[search", "is not TOML"),
        ):
            (tmp_path / "config.toml").write_text(text)
            refused(message)
        (tmp_path / "config.toml").write_text(SEARCH)
        (tmp_path / "empty").mkdir()
        (tmp_path / "empty" / "corpus.jsonl").write_text("")
        refused("holds no documents", "--corpus", tmp_path / "empty", given=options[2:])
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / "thesis.tex").write_text("mine")
        refused("holds no run, and other files (thesis.tex)")
        assert served.requests == []


@pytest.mark.slow
def test_a_corpus_is_indexed_into_the_run_and_must_stay_the_same(tmp_path, problems, options, monkeypatch):
    import rader_plugins.encoding as encoding

    monkeypatch.setattr(encoding, "load_encoder", lambda source, **options: HashEncoder())
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(
        "".join(json.dumps({"id": f"c{number}", "text": f"query {number}"}) + "\n" for number in range(5))
    )
    corpus_options = ["--corpus", corpus, *options[2:], "--mode", "hybrid"]
    with server(chance) as served:
        call = ["synthesize", problems, "--llm-url", served.url, *corpus_options]
        rader(*call)
        rader(*call)
        with corpus.open("a") as stream:
            stream.write('{"id": "c9", "text": "more"}\n')
        assert "over other documents" in rader(*call, code=2).stderr
    assert (tmp_path / "run" / "index" / "index.db").exists()
    considered = [document for path in read_trajectories(tmp_path / "run" / "trajectories.jsonl")
                  for step in path.retrievals for document in step.considered]  # fmt: skip
    assert {document.id for document in considered} <= {f"c{number}" for number in range(5)}
    assert considered


@pytest.mark.slow
def test_bm25_needs_no_model(tmp_path, problems, options, monkeypatch):
    import rader_plugins.encoding as encoding

    def no_model(source, **options):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(encoding, "load_encoder", no_model)
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(
        "".join(json.dumps({"id": f"c{number}", "text": f"query, question {number}"}) + "\n" for number in range(50))
    )
    with server(chance) as served:
        call = ["synthesize", problems, "--llm-url", served.url, "--corpus", corpus, *options[2:], "--rollouts", 12]
        rader(*call, "--budget-calls", 20, code=3)
        rader(*call)
    sampling = rader(
        "samples", tmp_path / "run", "--index", tmp_path / "run" / "index", "--out", tmp_path / "s", "--json"
    )
    card = json.loads(sampling.stdout)["card"]
    origins = {
        name for kinds in card["samples"].values() for kind in kinds.values() for name in kind["negatives_per_sample"]
    }
    assert "bm25" in origins
    assert "dense" not in origins  # what has no vectors is not searched by them


def test_an_index_whose_building_was_killed_is_completed(tmp_path, problems, options, monkeypatch):
    import rader_plugins.encoding as encoding

    monkeypatch.setattr(encoding, "load_encoder", lambda source, **options: HashEncoder())
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(
        "".join(json.dumps({"id": f"c{number}", "text": f"query {number}"}) + "\n" for number in range(5))
    )
    with RaderIndex.create(tmp_path / "run" / "index", HashEncoder()) as half:  # all that a kill left
        half.add([Document("c0", "query 0"), Document("old", "of an earlier version of the corpus")])
    with server(chance) as served:
        rader("synthesize", problems, "--llm-url", served.url, "--corpus", corpus, *options[2:], "--mode", "hybrid")
    with RaderIndex.open(tmp_path / "run" / "index") as completed:
        assert sorted(document.id for document in completed.documents()) == [f"c{number}" for number in range(5)]


@pytest.mark.parametrize(
    ("checker", "name"),
    [("numeric", "numeric"), ("regex:boxed.([0-9]+)", "regex"), ("own_checker:same", "same"), ("judge", "judge")],
)
def test_checkers_by_name_pattern_function_and_judge(tmp_path, problems, options, monkeypatch, checker, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_checker.py").write_text("def same(answer, gold):\n    return answer == gold\n")

    def answer(body):
        return "Correct: yes" if body["messages"][0]["content"] not in SYSTEMS else chance(body)

    with server(answer) as served:
        rader("synthesize", problems, "--llm-url", served.url, *options, "--checker", checker, "--limit", 1)
    settings = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]
    assert name in settings["checker"]


def test_a_server_that_is_not_there_is_an_error_with_code_1(problems, options):
    result = rader("synthesize", problems, "--llm-url", "http://127.0.0.1:9", *options, "--retries", 0, code=1)
    assert "3 of 3 problems failed" in result.stderr


def test_what_stands_beside_the_progress_bar():
    now = RunProgress(total=100, done=40, solved=30, failed=1, searched=20, seconds=60.0)
    assert progress_text(now) == "75% solved, 1 failed, 20.0 a minute, 3 min left"
    assert progress_text(RunProgress(100)) == ""
    assert progress_text(RunProgress(9000, done=10, solved=0, searched=10, seconds=60)) == (
        "0% solved, 10.0 a minute, 15.0 h left"
    )
    assert progress_text(RunProgress(100, rollouts=7)) == "7 rollouts", "before any problem ends"
    assert cost_text(Usage(requests=1200, prompt_tokens=5000, completion_tokens=17)) == "1,200 calls, 5,017 tokens"
