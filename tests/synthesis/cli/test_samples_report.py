"""What `rader samples` says of its result, and what it takes from files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")

from rader_synthesis.sampling.query_quality import QueryQuality

from rader_plugins.files import write_jsonl
from tests.support.llm_server import LLMServer
from tests.synthesis.sampling_support import (
    all_samples,
    doc,
    query,
    rader,
    retrieval,
    several,
    thought,
    told,
    trajectory,
    write,
)


def test_the_file_gives_what_the_options_leave_open(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('[samples]\nkinds = ["cot"]\nseed = 7\ndev_share = 0.5\n', encoding="utf-8")
    file = write(tmp_path, several(6))
    done = rader("samples", file, "--out", tmp_path / "s", "--config", tmp_path / "c.toml", "--dev-share", 0.1)
    assert done.exit_code == 0, done.output
    config = told(tmp_path / "s")["config"]
    assert (config["kinds"], config["seed"], config["dev_share"]) == (["cot"], 7, 0.1)
    for text, message in (("[samples]\nseeds = 1", "does not know 'seeds'"), ("[sample]\n", "the table [samples]")):
        (tmp_path / "c.toml").write_text(text, encoding="utf-8")
        refused = rader("samples", file, "--out", tmp_path / "t", "--config", tmp_path / "c.toml")
        assert refused.exit_code == 2
        assert message in refused.output


def test_it_says_what_there_is_and_what_it_is_good_for(tmp_path: Path) -> None:
    done = rader("samples", write(tmp_path, several(30)), "--out", tmp_path / "s")
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    assert "training samples of 30 different problems" in text
    assert "more problems would take it to the next level" in text
    assert "5 samples at random" in text
    queries = {sample.query.split()[0] for sample in all_samples(tmp_path / "s")}
    assert sum(text.count(f" + text of d{n}") for n in range(7)) == 5, queries
    second_run = rader("samples", tmp_path / "trajectories.jsonl", "--out", tmp_path / "s", "--overwrite", "--json")
    assert len(json.loads(second_run.stdout)["examples"]) == 5


@pytest.mark.parametrize(
    ("answer", "sign"),
    [
        ("which little group of guests is meant here?", "the same for several documents"),
        ("alpha beta alpha beta alpha beta alpha {n}", "words in a circle"),
        ("какой вопрос задан номер {n} здесь", "in another script"),
    ],
)
def test_queries_that_look_like_nonsense_are_warned_of(tmp_path: Path, answer: str, sign: str) -> None:
    trajectories = [
        trajectory(
            f"p{n}", thought(f"step {n}"), retrieval(doc(f"d{n}", True)), question=f"Question {n} about {n * n}?"
        )
        for n in range(8)
    ]

    def reply(body: dict[str, Any]) -> str:
        return answer.format(n=len(str(body["messages"][-1])) + int(body["seed"]))

    with LLMServer(reply) as served:
        done = rader(
            "samples", write(tmp_path, trajectories), "--out", tmp_path / "s", "--kinds", "question,llm",
            "--llm-url", served.url, "--llm-model", "m",
        )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert f"are {sign}" in done.stderr
    assert any(sign in warning for warning in told(tmp_path / "s")["warnings"])


def test_good_queries_give_no_warning() -> None:
    quality = QueryQuality()
    for n in range(50):
        quality.add(f"Which of the guests numbered {n} know one another?", f"Theorem {n}. In any group of {n} ...")
    assert quality.warnings() == []
    copied = QueryQuality()
    for n in range(5):
        text = f"In any group of {n} people some three know one another or are strangers."
        copied.add(text[:60], f"Title {n} {text}")
    assert any("copied" in warning for warning in copied.warnings())


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"reward": 0.0}, "6 wrong answer"),
        ({"reward": None}, "--without-reward"),
        ({"reward": 5.0}, "reward outside 0 to 1"),
        ({"steps": ()}, "nothing retrieved"),
    ],
)
def test_nothing_usable_ends_with_the_cause(tmp_path: Path, change: dict[str, Any], cause: str) -> None:
    file = write(tmp_path, [replace(path, **change) for path in several(3)])
    done = rader("samples", file, "--out", tmp_path / "s")
    assert done.exit_code == 2
    assert cause in done.output
    assert not (tmp_path / "s").exists()


def test_a_kind_without_samples_is_warned_of(tmp_path: Path) -> None:
    file = write(tmp_path, [trajectory(f"p{n}", retrieval(doc("d", True))) for n in range(3)])
    done = rader("samples", file, "--out", tmp_path / "s", "--kinds", "question,cot")
    assert done.exit_code == 0
    assert "There is no sample of the kind cot: cot: no step before the search" in " ".join(done.stderr.split())


def labelled(tmp_path: Path, *rows: dict[str, Any], code: int = 0) -> Any:
    steps = (
        thought("s"), query("first"), retrieval(doc("a", True), doc("b", False), doc("c"), kept="a"),
        thought("t"), query("second"), retrieval(doc("a", True), doc("d", True), kept="d"),
    )  # fmt: skip
    write_jsonl(tmp_path / "labels.jsonl", rows)
    file = write(tmp_path, [trajectory("p#1", *steps)])
    done = rader("samples", file, "--out", tmp_path / "s", "--labels", tmp_path / "labels.jsonl", "--overwrite")
    assert done.exit_code == code, done.output
    return done


def searches(out: Path) -> dict[str, tuple[set[str], set[str]]]:
    return {
        sample.query.rpartition("\n")[2]: (
            {passage.id for passage in sample.positives},
            {passage.id for passage in sample.negatives},
        )
        for sample in all_samples(out)
        if sample.query_kind == "cot"
    }


def test_labels_of_a_person_win(tmp_path: Path) -> None:
    def label(document: str, relevant: bool | None, **search: str) -> dict[str, Any]:
        return {"problem_id": "p", "document_id": document, "relevant": relevant, **search}

    labelled(tmp_path, label("b", True, query="First!"))
    assert searches(tmp_path / "s")["s"] == ({"a", "b"}, set())
    labelled(tmp_path, label("a", False, query="first"), label("c", True, query="first"))
    assert searches(tmp_path / "s")["s"][0] == {"c"}
    labelled(tmp_path, label("d", False))
    assert "t" not in searches(tmp_path / "s")  # without a positive there is no sample of that search
    labelled(tmp_path, label("b", None, query="first"))
    assert searches(tmp_path / "s")["s"] == ({"a"}, set())
    done = labelled(tmp_path, label("b", True, query="first"), label("b", True, query="third"))
    assert "1 of 2 labels of a person fit no search" in done.stderr
    assert told(tmp_path / "s")["positives_labelled_by"]["human"] == 2
    assert told(tmp_path / "s")["human_labels"] == {"given": 2, "applied": 1}


def test_labels_of_a_person_in_trajectories_that_are_not_used_are_counted(tmp_path: Path) -> None:
    steps = (query("first"), retrieval(doc("a", True), doc("b", False), kept="a"))
    log = [
        trajectory(f"{problem}#{number}", *steps, problem=problem, reward=reward)
        for problem, rewards in (("used", (0.0, 1.0)), ("wrong", (0.0,)), ("open", (None,)))
        for number, reward in enumerate(rewards)
    ]
    rows = [{"problem_id": name, "document_id": "b", "relevant": True} for name in ("used", "wrong", "open")]
    write_jsonl(tmp_path / "labels.jsonl", rows)
    done = rader("samples", write(tmp_path, log), "--out", tmp_path / "s", "--labels", tmp_path / "labels.jsonl")
    assert done.exit_code == 0, done.output
    assert "2 documents that a person labelled stand in trajectories that are not used" in " ".join(done.stderr.split())
    dropped = {name: number for name, number in told(tmp_path / "s")["dropped"].items() if "person" in name}
    assert sorted(dropped.values()) == [1, 1]


def test_labels_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    row = {"problem_id": "p", "document_id": "b", "query": "first", "relevant": True}
    for rows, message in (
        ([{**row, "problem_id": "q"}], "None of the 1 labels fits"),
        ([{**row, "relevant": "yes"}], "'relevant' must be"),
        ([{**row, "document_id": 7}], "'document_id' must be"),
        ([], "holds no labels"),
    ):
        assert message in labelled(tmp_path, *rows, code=2).output
