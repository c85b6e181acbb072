"""Runs of many problems: the same whatever happens in between, and what they do when something goes wrong."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from pathlib import Path

import pytest
from rader_synthesis.config import SearchConfig
from rader_synthesis.run import synthesize
from rader_synthesis.run_config import RunConfig, RunProgress, TooManyFailuresError

from rader_plugins import Document, RaderIndex, RaderRetriever
from rader_plugins.answers import load_checker
from rader_plugins.errors import InputError, RaderError
from rader_plugins.llm import Budget, BudgetedLLM, RequestRefusedError
from rader_plugins.problems import Problem
from rader_plugins.trajectories import read_trajectories
from tests.support.encoders import HashEncoder
from tests.synthesis.scripted import Shelf, action_of, asked, chance, client, server

CONFIG = SearchConfig(rollouts=3, depth=4, seed=5)
PROBLEMS = [Problem(f"p{number}", f"Question {number}?", "8") for number in range(4)]
LONG = Problem("long", "Question 9? " + "word " * 12_000, "8")
OUTPUT = ("trees.jsonl", "trajectories.jsonl", "problems.jsonl")


def run(out: Path, served, problems=PROBLEMS, *, config=CONFIG, searcher=None, options=None, llm=None, **settings):
    with client(served, **(options or {})) as model:
        return synthesize(
            problems,
            searcher or Shelf(),
            llm(model) if llm else model,
            load_checker("math"),
            out,
            config=config,
            run=RunConfig(**settings),
        )


def output(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in OUTPUT}


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> dict[str, bytes]:
    """What a run gives that nothing disturbs."""
    out = tmp_path_factory.mktemp("clean") / "run"
    with server(chance) as served:
        report = run(out, served, problems_at_once=1)
    assert report.totals["solved"] + report.totals["unsolved"] == len(PROBLEMS)
    assert report.totals["rollouts"] == 3 * len(PROBLEMS)
    assert 0 < report.totals["training"] < report.totals["trajectories"]
    assert report.totals["documents_rejected"] > 0
    assert report.totals["unreadable_reflections"] > 0
    return output(out)


def test_eight_at_once_give_the_same_bytes_as_one(tmp_path, clean):
    with server(chance) as served:
        run(tmp_path / "run", served, problems_at_once=8)
        assert served.most >= 2
    assert output(tmp_path / "run") == clean


def test_another_seed_gives_something_else(tmp_path, clean):
    with server(chance) as served:
        run(tmp_path / "run", served, config=SearchConfig(rollouts=3, depth=4, seed=1))
    files = output(tmp_path / "run")
    assert files["trajectories.jsonl"] != clean["trajectories.jsonl"]


def test_output_does_not_depend_on_the_order_in_which_problems_end(tmp_path, clean):
    """The first problem is held back until the others are done."""
    others_done = threading.Event()

    def slow_first(body):
        if "Question 0?" in asked(body):
            others_done.wait(20)
        return chance(body)

    done_counts = []

    def watch(now: RunProgress) -> None:
        done_counts.append(now.done)
        if now.done == len(PROBLEMS) - 1:
            others_done.set()

    with server(slow_first) as served, client(served) as llm:
        synthesize(
            PROBLEMS, Shelf(), llm, load_checker("math"), tmp_path / "run",
            config=CONFIG, run=RunConfig(problems_at_once=8), on_progress=watch,
        )  # fmt: skip
    assert list(dict.fromkeys(done_counts)) == list(range(5))
    assert output(tmp_path / "run") == clean
    journal = [row["id"] for row in rows(tmp_path / "run" / "finished.jsonl")]
    assert journal[-1] == "p0"


@pytest.mark.slow
def test_with_a_real_retriever_too(tmp_path):
    index = RaderIndex.create(None, encoder=HashEncoder())
    index.add([Document(f"d{number}", f"prime {number} heat {number % 7}") for number in range(40)])
    outputs = []
    for at_once in (1, 8):
        with server(chance) as served:
            run(tmp_path / str(at_once), served, searcher=RaderRetriever(index), problems_at_once=at_once)
        outputs.append(output(tmp_path / str(at_once)))
    assert outputs[0] == outputs[1]
    settings = json.loads((tmp_path / "1" / "config.json").read_text())["settings"]
    assert settings["retriever"]["index"]["documents"] == 40
    assert settings["search"]["rollouts"] == 3


def test_the_same_call_again_asks_nothing_and_changes_nothing(tmp_path, clean):
    out = tmp_path / "run"
    with server(chance) as served:
        run(out, served)
        before = len(served.requests)
        report = run(out, served)
        assert len(served.requests) == before
    assert report.searched == 0
    assert output(out) == clean


def test_more_problems_go_into_the_same_folder(tmp_path, clean):
    out = tmp_path / "run"
    with server(chance) as served:
        run(out, served, PROBLEMS[2:])
        report = run(out, served)
        assert report.searched == 2
        assert output(out) == clean
        # Those that are not named this time are kept, after the others.
        report = run(out, served, PROBLEMS[3:])
    assert (report.searched, report.problems) == (0, 4)
    assert [row["id"] for row in rows(out / "problems.jsonl")] == ["p3", "p0", "p1", "p2"]


def test_trajectories_and_problems_say_what_was_found(clean, tmp_path):
    (tmp_path / "t.jsonl").write_bytes(clean["trajectories.jsonl"])
    paths = list(read_trajectories(tmp_path / "t.jsonl"))
    summaries = [json.loads(line) for line in clean["problems.jsonl"].splitlines()]
    trees = [json.loads(line) for line in clean["trees.jsonl"].splitlines()]
    assert (
        [row["id"] for row in summaries]
        == [tree["problem_id"] for tree in trees]
        == [problem.id for problem in PROBLEMS]
    )
    for summary in summaries:
        mine = [path for path in paths if path.problem_id == summary["id"]]
        assert len(mine) == summary["trajectories"]
        assert sum(path.metadata["visits"] for path in mine) == summary["rollouts"] == 3
        assert sum(path.metadata["visits"] for path in mine if path.reward) == summary["right_rollouts"]
        assert (summary["status"] == "solved") == any(path.reward == 1.0 for path in mine)
        for path in mine:
            has_document = any(step.document_id for step in path.retrievals)
            assert path.metadata["training"] == (has_document and path.reward == 1.0)


def fails_for(*numbers: int, how: str = "!400"):
    def answer(body):
        return how if any(f"Question {number}?" in asked(body) for number in numbers) else chance(body)

    return answer


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("!400", "scripted failure 400"),
        ("!context", "ContextOverflowError"),
        ("!500", "500"),
        ("!garbage", "JSON"),
        ("!no-choices", "without a choice"),
    ],
)
def test_a_problem_that_fails_is_recorded_and_tried_again(tmp_path, clean, how, reason):
    out = tmp_path / "run"
    with server(fails_for(2, how=how)) as served:
        report = run(out, served, options={"max_retries": 1})
        assert report.totals["failed"] == 1
        failed = rows(out / "problems.jsonl")[2]
        assert failed["status"] == "failed"
        assert re.search(reason, failed["reason"])
        assert [tree["problem_id"] for tree in rows(out / "trees.jsonl")] == ["p0", "p1", "p3"]
        assert "p2 failed: " in (out / "run.log").read_text()
        served.answer = chance
        report = run(out, served)
    assert (report.searched, report.totals["failed"]) == (1, 0)
    assert output(out) == clean


def test_an_error_that_nobody_foresaw_is_a_failure_of_its_problem(tmp_path):
    checker = load_checker("math")

    class Broken:
        name = "broken"
        extract = checker.extract

        def equal(self, answer, gold, *, question=""):
            if "Question 1?" in question:
                raise ZeroDivisionError("by a user's own code")
            return answer == gold

    out = tmp_path / "run"
    with server(chance) as served, client(served) as llm:
        report = synthesize(PROBLEMS, Shelf(), llm, Broken(), out, config=CONFIG)
    assert report.totals["failed"] == 1
    assert rows(out / "problems.jsonl")[1]["reason"] == "ZeroDivisionError: by a user's own code"
    assert "Traceback" in (out / "run.log").read_text()


def test_a_server_that_is_down_stops_the_run(tmp_path, clean):
    out = tmp_path / "run"
    with server(chance) as served:
        run(out, served, PROBLEMS[:1])
    with pytest.raises(TooManyFailuresError, match="2 of 2 problems failed, 2 of them in a row.*goes on from there"):
        run(out, served, options={"max_retries": 0}, problems_at_once=1, failures_in_a_row=2)
    assert [row["status"] for row in rows(out / "problems.jsonl")][1:] == ["failed"] * 2 + ["open"]
    with server(chance) as served:
        run(out, served)
    assert output(out) == clean


def test_the_wrong_model_name_stops_the_run_with_the_server_s_words(tmp_path):
    out = tmp_path / "run"
    with server("!404") as served, pytest.raises(RequestRefusedError, match="404.*Is the model name right"):
        run(out, served)
    assert len(served.requests) < 40  # at once, not after so many failures in a row
    assert [row["status"] for row in rows(out / "problems.jsonl")] == ["open"] * 4
    assert "stopped: RequestRefusedError" in (out / "run.log").read_text()


@pytest.mark.parametrize("budget", [Budget(calls=40), Budget(tokens=9_000), Budget(minutes=0.0)])
def test_a_budget_stops_the_run_cleanly_and_it_goes_on_later(tmp_path, clean, budget):
    out = tmp_path / "run"
    with server(chance) as served:
        report = run(out, served, llm=lambda llm: BudgetedLLM(llm, budget), problems_at_once=2)
        assert report.stopped.startswith("The budget of")
        assert report.totals["open"] > 0
        assert report.totals["failed"] == 0
        assert (len(served.requests) == 0) == (budget.minutes == 0.0)
        assert run(out, served).stopped == ""
        calls = Counter((action_of(body), asked(body), body["seed"]) for body in served.requests)
    assert max(calls.values()) == 1  # calls that were under way were finished and kept
    assert output(out) == clean


def test_too_large_a_share_of_failures_is_an_error_at_the_end(tmp_path):
    out = tmp_path / "run"
    with server(fails_for(0, 2, 3)) as served, pytest.raises(TooManyFailuresError, match="3 of 4 problems failed"):
        run(out, served, problems_at_once=1)
    assert sum(row["status"] == "failed" for row in rows(out / "problems.jsonl")) == 3
    with server(fails_for(0, 2)) as served:
        run(tmp_path / "other", served)


def test_many_failures_among_many_problems_stop_the_run_early(tmp_path):
    problems = [Problem(f"p{number}", f"Question {number % 3}?", "8") for number in range(60)]
    with (
        server(fails_for(0, 1)) as served,
        pytest.raises(TooManyFailuresError, match="11 of (1.|2[01]) problems failed"),
    ):
        run(tmp_path / "run", served, problems, config=SearchConfig(rollouts=1, depth=1), problems_at_once=1)


def test_a_server_that_hangs_is_given_up(tmp_path):
    out = tmp_path / "run"
    with server(fails_for(1, how="!hang")) as served:
        report = run(out, served, PROBLEMS[:3], options={"timeout": 0.3, "max_retries": 0})
        assert report.totals["failed"] == 1
        assert "LLMError" in rows(out / "problems.jsonl")[1]["reason"]


def test_a_retriever_that_fails_fails_those_who_asked(tmp_path):
    class Broken(Shelf):
        async def asearch_batch(self, queries, k=10):
            raise RaderError("the embedding server is gone")

    out = tmp_path / "run"
    with server(chance) as served, pytest.raises(TooManyFailuresError, match="the embedding server is gone"):
        run(out, served, searcher=Broken())


def test_another_run_in_the_same_folder_is_refused_by_what_differs(tmp_path):
    out = tmp_path / "run"
    with server(chance) as served:
        run(out, served, PROBLEMS[:1])
        with pytest.raises(InputError, match=r"another run: it differs in search.rollouts \(3, now 5\)\. Choose"):
            run(out, served, config=SearchConfig(rollouts=5, depth=4, seed=5))
        changed = [Problem("p0", "Question 0?", "9")]
        with pytest.raises(InputError, match="finished problem 'p0' with another question or answer"):
            run(out, served, changed)
    assert len(rows(out / "problems.jsonl")) == 1


def test_folders_that_are_no_run_and_such_as_are_in_use(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with server(chance) as served:
        with pytest.raises(InputError, match=r"holds no run, and other files \(notes.txt\)"):
            run(tmp_path, served)
        with pytest.raises(InputError, match="is a file"):
            run(tmp_path / "notes.txt", served)
        inside = []

        def intrude(now: RunProgress) -> None:
            if not inside:
                inside.append(now)
                from rader_synthesis.run_folder import SynthesisFolder

                with (
                    pytest.raises(InputError, match="Another process is writing"),
                    SynthesisFolder(out, {}, {}).opened(),
                ):
                    pass

        out = tmp_path / "run"
        with client(served) as llm:
            synthesize(PROBLEMS[:1], Shelf(), llm, load_checker("math"), out, config=CONFIG, on_progress=intrude)
    assert inside


def test_a_line_that_was_cut_off_is_done_again_and_one_that_is_damaged_is_named(tmp_path, clean):
    out = tmp_path / "run"
    with server(chance) as served:
        run(out, served, problems_at_once=1)
        journal = out / "finished.jsonl"
        content = journal.read_bytes()
        journal.write_bytes(content[:-100])
        report = run(out, served)
        assert report.searched == 1
        assert report.asked == 0  # all of it came from the cache of calls
        assert output(out) == clean
        assert journal.read_bytes() == content
        journal.write_bytes(b"{}\n" + content)
        with pytest.raises(InputError, match=r"finished.jsonl is damaged at byte 0"):
            run(out, served)


def test_problems_that_cannot_be_used(tmp_path):
    blank = [PROBLEMS[0], Problem("q", "No answer?", None), Problem("r", "Nor here?", " ")]
    with server(chance) as served:
        with pytest.raises(InputError, match="2 of 3 problems have no answer .*'q'.*--without-answer skip"):
            run(tmp_path / "a", served, blank)
        with pytest.raises(InputError, match="'p1' stands twice"):
            run(tmp_path / "a", served, [*PROBLEMS, PROBLEMS[1]])
        with pytest.raises(InputError, match="no problems"):
            run(tmp_path / "a", served, [])
        with pytest.raises(InputError, match="No problem has an answer"):
            run(tmp_path / "a", served, blank[1:], without_answer="skip")
        with pytest.raises(InputError, match="index is empty"):
            run(tmp_path / "a", served, searcher=RaderRetriever(RaderIndex.create(None, encoder=HashEncoder())))
        assert not (tmp_path / "a").exists()
        assert served.requests == []
        report = run(tmp_path / "b", served, blank, without_answer="skip")
    assert (report.totals["skipped"], report.problems) == (2, 3)
    assert rows(tmp_path / "b" / "problems.jsonl")[1] == {
        "id": "q", "status": "skipped", "reason": "no answer to compare with"
    }  # fmt: skip


def test_choices_are_shown_to_the_model_and_kept_out_of_the_trajectory(tmp_path):
    problem = Problem("p", "Which is odd?", "7", choices={"A": "7", "B": "8"})
    with server(chance) as served:
        run(tmp_path / "run", served, [problem])
    assert "Problem: Which is odd?\n(A) 7\n(B) 8\nSteps so far:" in asked(served.requests[0])
    assert rows(tmp_path / "run" / "trees.jsonl")[0]["question"] == "Which is odd?"


def test_summaries_are_asked_for_once_however_many_problems_keep_a_document(tmp_path):
    with server(chance) as served:
        run(tmp_path / "run", served, problems_at_once=4)
    summaries = [asked(body) for body in served.requests if action_of(body) == "summarise"]
    assert len(summaries) == len(set(summaries)) > 3


def test_bad_settings_of_a_run():
    for options in ({"problems_at_once": 0}, {"failures_in_a_row": 1.5}, {"failed_share": 2}, {"without_answer": "x"}):
        with pytest.raises(InputError, match=next(iter(options))):
            RunConfig(**options)
    with pytest.raises(InputError, match="F.toml does not know 'parallel'"):
        RunConfig.from_dict({"parallel": 3}, "F.toml")


def test_progress_tells_rate_and_time_left():
    now = RunProgress(total=10, done=4, solved=3, searched=2, seconds=4.0)
    assert (now.rate, now.left) == (0.5, 12.0)
    assert RunProgress(10).left is None


@pytest.mark.parametrize("mode", ["bm25", "hybrid"])
def test_a_run_of_the_version_before_goes_on(tmp_path, mode):
    """Version 0.1 described the retriever in other words; it did not tell how many candidates there were."""
    with RaderIndex.create(None, encoder=HashEncoder()) as index, server(chance) as served:
        index.add([Document(f"d{n}", f"rule {n} of payments") for n in range(6)])
        out = tmp_path / "run"
        first = run(out, served, searcher=RaderRetriever(index, mode))
        config = json.loads((out / "config.json").read_text(encoding="utf-8"))
        corpus = config["settings"]["retriever"]["corpus"]
        config["settings"]["retriever"] = {
            "kind": "RaderRetriever", "mode": mode, "alpha": 0.8, "instruction": None, "reranker": None,
            "model": index.fingerprint, "documents": 6, "corpus": corpus,
        }  # fmt: skip
        (out / "config.json").write_text(json.dumps(config), encoding="utf-8")
        second = run(out, served, searcher=RaderRetriever(index, mode))
        assert (first.searched, second.searched) == (len(PROBLEMS), 0)
        with pytest.raises(InputError, match="another run"):
            run(out, served, searcher=RaderRetriever(index, mode, candidates=7))


def test_a_run_does_not_go_on_under_another_retriever(tmp_path):
    with RaderIndex.create(None, encoder=HashEncoder()) as index, server(chance) as served:
        index.add([Document(f"d{n}", f"rule {n} of payments") for n in range(6)])
        run(tmp_path / "run", served, searcher=RaderRetriever(index))
        for other in (
            RaderRetriever(index, candidates=5),
            RaderRetriever(index, "bm25"),
            RaderRetriever(index, alpha=1),
        ):
            with pytest.raises(InputError, match="another run: it differs in retriever"):
                run(tmp_path / "run", served, searcher=other)
