from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rader_plugins import Encoder, Hit
from rader_plugins.evaluation import Evaluation
from rader_plugins.reranking import Reranker

from .conftest import write, write_jsonl

Rader = Callable[..., Any]


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    home = tmp_path / "set"
    texts = ["angles of a triangle", "green leaves make sugar", "the speed of light", "stars and constellations"]
    write_jsonl(home / "corpus.jsonl", [{"_id": f"d{n}", "title": "", "text": text} for n, text in enumerate(texts)])
    write_jsonl(
        home / "queries.jsonl", [{"_id": "q0", "text": "how fast is light"}, {"_id": "q1", "text": "photosynthesis"}]
    )
    write(home / "qrels" / "dev.tsv", "query-id\tcorpus-id\tscore\nq0\td2\t1\nq1\td1\t1\n")
    return home


@pytest.fixture
def loaded(mini: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mini model is loaded once for all tests."""
    import rader_plugins.encoding as encoding

    monkeypatch.setattr(encoding, "load_encoder", lambda source, **options: mini)


def test_evaluate_and_compare(rader: Rader, loaded: None, beir: Path, tmp_path: Path) -> None:
    index, hybrid, words = tmp_path / "index", tmp_path / "hybrid", tmp_path / "words"
    shared = ("evaluate", beir, "--split", "dev", "--index", index)
    output = rader(*shared, "--model", "mini", "--alpha", 0.7, "--out", hybrid, "-k", 3, "--measure", "RR").output
    assert "hybrid, alpha 0.7, mini" in output
    assert "RR@3" in output
    bm25 = json.loads(rader(*shared, "--mode", "bm25", "--out", words, "-k", 3, "--measure", "RR", "--json").stdout)
    assert bm25["mean"] == {"RR@3": 0.5}
    assert bm25["left_out"]["queries_without_results"] == ["q1"]
    assert Evaluation.load(hybrid).mean == {"RR@3": 1.0}
    # The same command again: nothing is searched for, the outcome is the same.
    second_report = json.loads(
        rader(*shared, "--mode", "bm25", "--out", words, "-k", 3, "--measure", "RR", "--json").stdout
    )
    assert second_report == bm25
    comparison = json.loads(rader("compare", hybrid, words, "--out", tmp_path / "report", "--json").stdout)
    assert comparison["groups"][0]["means"]["hybrid"] == {"RR@3": 1.0}
    assert comparison["groups"][0]["tests"][0]["losses"] == 1
    assert (tmp_path / "report" / "comparison.html").is_file()
    output = rader("compare", hybrid, words, "--cite").output
    assert re.search(r"^hybrid .* 100\.00", output, re.MULTILINE)
    assert "&lt;" not in output
    assert "macavaney2022" in output
    assert re.search(r"hybrid & 100\.00 ", rader("compare", hybrid, words, "--latex").output)
    assert "goes without" in rader("compare", hybrid, words, "--latex", "--json", code=2).output


def test_bm25_needs_no_model(rader: Rader, beir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import rader_plugins.encoding as encoding

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(encoding, "load_encoder", refuse)
    output = rader("evaluate", beir, "--mode", "bm25", "--out", tmp_path / "run", "-k", 3, "--measure", "RR").output
    assert "split dev" in output, "the only split, and named"
    assert re.search(r"^RR@3 +50\.00$", output, re.MULTILINE)
    refused = rader("evaluate", beir, "--index", tmp_path / "run" / "index", "--out", tmp_path / "other", code=2).output
    assert "without vectors" in refused


def test_options_without_effect_are_refused(rader: Rader, beir: Path, tmp_path: Path) -> None:
    start = ("evaluate", beir, "--out", tmp_path / "out")
    for options, message in (
        (("--mode", "dense", "--alpha", 0.5), "--alpha weighs"),
        (("--mode", "bm25", "--instruction", "x"), "--instruction is for a model"),
        (("--rerank-top", 5), "goes with --rerank"),
        (("--mode", "bm25", "--measure", "nDGC"), "Unknown measure"),
        (("--mode", "bm25", "--measure", "nowhere.py:f"), "no file nowhere.py"),
        (("--data-dir", tmp_path), "--data-dir goes with"),
        ((beir.parent / "other", "--mode", "bm25"), "There is no folder"),
    ):
        assert message in rader(*start, *options, code=2).output
    assert not (tmp_path / "out" / "index").exists(), "nothing long was begun"


@pytest.mark.parametrize(("lost", "value"), [("grade", 0), ("document", " "), ("query", "")])
def test_a_data_set_that_can_show_nothing_is_refused(rader: Rader, tmp_path: Path, lost: str, value: object) -> None:
    parts: dict[str, object] = {"document": "a text", "query": "a question", "grade": 1, lost: value}
    folder = tmp_path / "set"
    write_jsonl(folder / "corpus.jsonl", [{"_id": "d", "text": parts["document"]}, {"_id": "e", "text": "other"}])
    write_jsonl(folder / "queries.jsonl", [{"_id": "q", "text": parts["query"]}])
    write(folder / "qrels" / "test.tsv", f"q\td\t{parts['grade']}\n")
    refused = rader("evaluate", folder, "--mode", "bm25", "--out", tmp_path / "out", code=2)
    assert "can show nothing" in refused.output
    assert not (tmp_path / "out" / "index").exists(), "nothing long was begun"
    if lost == "grade":
        run = write(tmp_path / "run.trec", "q Q0 d 1 0.5 x\n")
        assert "has a relevant document" in rader("score", run, folder / "qrels" / "test.tsv", code=2).output


def test_many_data_sets_have_a_table_with_their_average_and_go_on(
    rader: Rader, beir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "second"
    shutil.copytree(beir, other)
    write(other / "qrels" / "dev.tsv", "q0\td2\t1\n")
    measure = write(tmp_path / "mine.py", "def found(qrels, run):\n    return {q: float(q in run) for q in qrels}\n")
    arguments = ("evaluate", beir, other, "--mode", "bm25", "-k", 3, "--measure", "RR", "--measure", f"{measure}:found")
    table = rader(*arguments, "--out", tmp_path / "words").stdout
    assert [line.split()[-3:] for line in table.splitlines()[:4]] == [
        ["questions", "RR@3", "found"], ["2", "50.00", "50.00"], ["1", "100.00", "100.00"],
        ["average", "75.00", "75.00"],
    ]  # fmt: skip
    from rader_plugins.retrieval import RaderRetriever

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("searched again")

    with monkeypatch.context() as patched:
        patched.setattr(RaderRetriever, "search_batch", refuse)
        assert rader(*arguments, "--out", tmp_path / "words").stdout == table
    rader(*arguments, "--out", tmp_path / "same")
    compared = rader("compare", tmp_path / "words", tmp_path / "same").output
    assert re.search(r"^words +100\.00 +50\.00 +75\.00$", compared, re.MULTILINE)
    report = json.loads(rader(*arguments, "--out", tmp_path / "words", "--json").stdout)
    assert report["average"] == {"RR@3": 0.75, "found": 0.75}
    assert "single data set" in rader(*arguments, "--index", tmp_path / "x", "--out", tmp_path / "y", code=2).output
    assert "named twice" in rader("evaluate", beir, beir, "--mode", "bm25", "--out", tmp_path / "y", code=2).output


def test_a_folder_can_be_scored_again(rader: Rader, beir: Path, tmp_path: Path) -> None:
    rader("evaluate", beir, "--mode", "bm25", "--out", tmp_path / "run", "-k", 3)
    output = rader("score", tmp_path / "run", "--measure", "Success@1").output
    assert "set, split dev" in output
    assert re.search(r"^Success@1 +50\.00$", output, re.MULTILINE)
    by_folder = rader("score", tmp_path / "run" / "run.trec", beir, "--measure", "Success@1").output
    assert by_folder == output
    assert "no split 'test'" in rader("score", tmp_path / "run", beir, "--split", "test", code=2).output
    assert "Name the judgements" in rader("score", tmp_path / "run" / "run.trec", code=2).output
    assert "share no query" in rader("score", write(tmp_path / "r", "x Q0 d2 1 1 x\n"), beir, code=2).output


def test_identical_ids_in_a_run_are_remarked_on(rader: Rader, tmp_path: Path) -> None:
    run = write(tmp_path / "run", "q0 Q0 q0 1 0.9 x\nq0 Q0 d2 2 0.8 x\n")
    qrels = write(tmp_path / "qrels.tsv", "q0\td2\t1\n")
    output = rader("score", run, qrels, "--measure", "RR").output
    assert "50.00" in output
    assert "--ignore-identical-ids" in output
    output = rader("score", run, qrels, "--measure", "RR", "--ignore-identical-ids").output
    assert "100.00" in output
    assert "identical" not in output


def test_other_texts_are_searched_for(rader: Rader, loaded: None, beir: Path, tmp_path: Path) -> None:
    texts = write_jsonl(
        tmp_path / "steps.jsonl", [{"_id": "q0", "text": "stars"}, {"_id": "q1", "text": "sugar in leaves"}]
    )
    out = tmp_path / "out"
    arguments = ("evaluate", beir, "--split", "dev", "--model", "mini", "--mode", "bm25", "--out", out)
    rader(*arguments, "--queries-file", texts)
    evaluation = Evaluation.load(out)
    assert list(evaluation.run["q0"]) == ["d3"]
    assert list(evaluation.run["q1"]) == ["d1"]
    assert evaluation.texts["q1"] == "sugar in leaves"
    # Without them it would be another evaluation.
    assert "dataset.digest" in rader(*arguments, code=2).output


def test_bad_input(rader: Rader, beir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "no split 'test'; it has dev" in rader("evaluate", beir, "--split", "test", "--out", out, code=2).output
    assert "--model" in rader("evaluate", beir, "--split", "dev", "--out", out, code=2).output
    run = write(tmp_path / "run", "q0 Q0 d2 1 nan x\n")
    qrels = beir / "qrels" / "dev.tsv"
    assert "NaN" in rader("score", run, qrels, code=2).output
    write(run, "q0 Q0 d1 1 0.9 x\nq0 Q0 d2 2 0.8 x\n")
    assert "--weights goes with --add" in rader("score", run, qrels, "--weights", "1", code=2).output
    assert "one weight per run" in rader("score", run, qrels, "--add", run, "--weights", "1", code=2).output
    assert "takes numbers" in rader("score", run, qrels, "--add", run, "--weights", "1,x", code=2).output
    assert "no finished evaluation" in rader("compare", out, code=2).output


def test_score_with_exclusions(rader: Rader, beir: Path, tmp_path: Path) -> None:
    run = write(tmp_path / "run", "q0 Q0 d1 1 0.9 x\nq0 Q0 d2 2 0.8 x\nq9 Q0 d2 1 0.8 x\n")
    excluded = write_jsonl(tmp_path / "excluded.jsonl", [{"_id": "q0", "excluded_ids": ["d1"]}])
    arguments = ("score", run, beir / "qrels" / "dev.tsv", "--measure", "RR", "--json")
    assert json.loads(rader(*arguments).stdout)["mean"] == {"RR": 0.25}
    report = json.loads(rader(*arguments, "--excluded", excluded).stdout)
    assert report["mean"] == {"RR": 0.5}
    assert report["without_results"] == ["q1"]
    assert report["without_judgements"] == ["q9"]
    output = rader(*arguments[:-1]).output
    assert "1 judged queries have no results and count as 0 (first: 'q1')" in output


class Backwards(Reranker):
    """Turns the order of the first stage around."""

    fingerprint = "backwards"

    def rerank_batch(self, queries: Sequence[str], hits: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        return [
            [replace(hit, score=-float(rank), rank=rank) for rank, hit in enumerate(reversed(ranking), start=1)]
            for ranking in hits
        ]


def test_a_reranker_takes_part_and_is_in_the_manifest(
    rader: Rader, loaded: None, beir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import rader_plugins.reranking as reranking

    names: list[object] = []
    monkeypatch.setattr(reranking, "load_reranker", lambda name, **options: names.append(name) or Backwards())
    shared = ("evaluate", beir, "--split", "dev", "--model", "mini", "-k", 4, "--index", tmp_path / "index")
    rader(*shared, "--out", tmp_path / "plain")
    outcome = rader(*shared, "--out", tmp_path / "reranked", "--rerank", "some-model", "--rerank-top", 2)
    assert names == ["some-model"]
    assert "hybrid, alpha 0.8, mini, Backwards" in outcome.output
    plain, reranked = (Evaluation.load(tmp_path / name) for name in ("plain", "reranked"))
    about = reranked.manifest["retriever"]["reranker"]
    assert about == {"kind": "Backwards", "rerank_top": 2, "fingerprint": "backwards"}
    assert list(reranked.run["q0"]) == list(plain.run["q0"])[::-1]


def test_stopped_before_anything_was_kept(
    rader: Rader, beir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import rader_plugins.encoding as encoding

    def stop(source: object, **options: object) -> Encoder:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(encoding, "load_encoder", stop)
    out = tmp_path / "out"
    output = rader("evaluate", beir, "--split", "dev", "--model", "mini", "--out", out, code=1).output
    assert f"Stopped: nothing is kept in {out} yet. Run the same command again." in output
    out.mkdir()
    (out / "index").mkdir()
    output = rader("evaluate", beir, "--split", "dev", "--model", "mini", "--out", out, code=1).output
    assert "The same command goes on from there." in output
