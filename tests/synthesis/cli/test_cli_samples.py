"""``rader samples``: what it makes, what it refuses, and that a stopped one goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")

from rader_plugins.files import read_jsonl
from tests.support.llm_server import LLMServer
from tests.synthesis.sampling_support import all_samples, contents, corpus, rader, several, told, write


@pytest.mark.slow
def test_command_with_all_four_kinds_and_a_run_folder(tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> str:
        prompt = body["messages"][-1]["content"]
        document = prompt.rpartition("Document: ")[2].split("\n")[0]
        return (
            f"What of {document}"
            if prompt.startswith("Document")
            else f"which trio{len(prompt)} is alike{len(prompt)}?"
        )

    run = tmp_path / "run"
    write(run, several(8))
    with LLMServer(answer) as served:
        options = ["--corpus", corpus(tmp_path), "--llm-url", served.url, "--llm-model", "m", "--out", tmp_path / "out"]
        stopped = rader("samples", run, *options, "--budget-calls", 2, "--concurrency", 1)
        assert stopped.exit_code == 3, stopped.output
        assert "The same command goes on" in stopped.output
        done = rader("samples", run, *options, "--json")
        assert done.exit_code == 0, done.output
        answered = len(served.requests)
        second_run = rader("samples", run, *options, "--overwrite")
        assert second_run.exit_code == 0, second_run.output
        assert len(served.requests) == answered
    report = json.loads(done.stdout)
    assert set(report["card"]["samples"]["train"]) == {"question", "cot", "llm", "lexical"}
    assert report["cost"]["cached"] == 2
    assert "0 requests" in second_run.output
    assert (tmp_path / "out.calls.sqlite").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--kinds", "question,nonsense"], "kinds holds some of"),
        (["--kinds", "llm"], "needs a language model"),
        (["--llm-url", "http://127.0.0.1:9", "--kinds", "cot"], "for the kinds llm and lexical"),
        (["--corpus", "a", "--index", "b"], "either --corpus"),
        (["--model", "mini"], "give --corpus"),
        (["--against", "nowhere"], "no evaluation set"),
        (["--corpus", "{corpus}", "--relative-margin", "0.9"], "compares cosines"),
        (["--dev-share", "1"], "dev_share below 1"),
    ],
)
def test_command_refuses_what_does_not_go_together(tmp_path: Path, options: list[str], message: str) -> None:
    file, documents = write(tmp_path, several(2)), corpus(tmp_path)
    arguments = [option.format(corpus=documents) for option in options]
    done = rader("samples", file, "--out", tmp_path / "out", *arguments)
    assert done.exit_code == 2, done.output
    assert message in done.output
    assert not (tmp_path / "out").exists()


def test_a_corpus_with_a_model_and_an_index_give_dense_negatives(tmp_path: Path, mini: Any) -> None:
    file, documents = write(tmp_path, several(4)), corpus(tmp_path)
    first = rader("samples", file, "--corpus", documents, "--model", "mini", "--out", tmp_path / "a")
    assert first.exit_code == 0, first.output
    assert rader("index", "build", documents, "--out", tmp_path / "index", "--model", "mini").exit_code == 0
    second = rader("samples", file, "--index", tmp_path / "index", "--out", tmp_path / "b")
    assert second.exit_code == 0, second.output
    assert contents(tmp_path / "a" / "data") == contents(tmp_path / "b" / "data")
    origins = {negative.origin for sample in all_samples(tmp_path / "a") for negative in sample.negatives}
    assert origins == {"reflection", "dense", "bm25"}


@pytest.mark.parametrize("llm", [False, True], ids=["alone", "with a language model"])
def test_the_proofs_of_entailmentbank(tmp_path: Path, shared_data: Path, llm: bool) -> None:
    folder = shared_data / "entailmentbank"
    lines = (folder / "proofs_train.jsonl").read_text(encoding="utf-8").splitlines()[:60]
    (tmp_path / "proofs.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert rader("import", "proofs", tmp_path / "proofs.jsonl", "--out", tmp_path / "t.jsonl").exit_code == 0
    options = ["--without-reward", "--out", tmp_path / "out", "--against", folder, "--dev-share", 0.1]

    def answer(body: dict[str, Any]) -> str:
        prompt = body["messages"][-1]["content"]
        document = prompt.rpartition("Document: ")[2].split("\n")[0]
        return (
            f"is it so that {document}?" if prompt.startswith("Document") else f"zebra {len(prompt)} {hash(document)}?"
        )

    if llm:
        options += ["--corpus", folder, "--llm-model", "m"]
        with LLMServer(answer) as served:
            done = rader("samples", tmp_path / "t.jsonl", *options, "--llm-url", served.url)
    else:
        done = rader("samples", tmp_path / "t.jsonl", *options)
    assert done.exit_code == 0, done.output
    kinds = told(tmp_path / "out")["samples"]
    assert set(kinds["train"]) == ({"question", "cot", "llm", "lexical"} if llm else {"question", "cot"})
    assert kinds["train"]["question"]["samples"] + kinds["validation"]["question"]["samples"] <= 60
    assert told(tmp_path / "out")["positives_labelled_by"].keys() == {"proof"}
    rows = [json.loads(line) for line in lines]
    proved = {row["question"]: set(row["fact_ids"]) for row in rows}
    facts = {id: text for row in rows for id, text in zip(row["fact_ids"], row["facts"], strict=True)}
    if llm:  # a corpus is given: its spelling counts
        facts = {passage["_id"]: passage["text"].strip() for passage in read_jsonl(folder / "corpus.jsonl")}
    for sample in all_samples(tmp_path / "out"):
        assert [passage.text for passage in sample.positives] == [facts[passage.id] for passage in sample.positives]
        if sample.query_kind == "question":
            assert {passage.id for passage in sample.positives} <= proved[sample.query]
        elif sample.query_kind == "cot":
            assert sample.query.split("\n")[0] in proved
    # Proofs hold nothing that was rejected: negatives are mined, where there is a corpus.
    origins = {passage.origin for sample in all_samples(tmp_path / "out") for passage in sample.negatives}
    assert origins == ({"bm25"} if llm else set())


def test_samples_of_a_tree_search(tmp_path: Path) -> None:
    """What the search writes is what sampling reads: every sample goes back to a right path of a tree."""
    from rader_plugins.trajectories import read_trajectories
    from tests.synthesis.scripted import chance, server
    from tests.synthesis.test_run import run

    with server(chance) as served:
        run(tmp_path / "run", served)
    done = rader("samples", tmp_path / "run", "--out", tmp_path / "out", "--dev-share", 0)
    assert done.exit_code == 0, done.output
    training = {
        entry.id: entry
        for entry in read_trajectories(tmp_path / "run/trajectories.jsonl")
        if entry.metadata["training"]
    }
    assert training
    samples = all_samples(tmp_path / "out")
    assert {sample.problem_id for sample in samples} == {entry.problem_id for entry in training.values()}
    for sample in samples:
        path = training[sample.trajectory_id]
        relevant = {
            step.document_id
            for trajectory in training.values()
            if trajectory.problem_id == path.problem_id
            for step in trajectory.retrievals
        }
        assert {entry.id for entry in sample.positives} <= relevant
        if sample.query_kind == "cot":
            searched = path.steps[sample.provenance["step"]]
            assert searched.document_id in {entry.id for entry in sample.positives}
            assert not any(step.text in sample.query for step in path.steps if step.kind in ("query", "retrieval"))
    assert told(tmp_path / "out")["trajectories"]["used"] == len(training)
