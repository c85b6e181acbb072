from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rader_plugins import Document, Encoder, RaderIndex, RaderRetriever
from rader_plugins.errors import InputError, RaderError
from rader_plugins.evaluation import Evaluation, RetrievalDataset, evaluate, index_corpus, read_run, score_run
from tests.support.kill import start

from .conftest import make_dataset

FOUND = {
    "question 0": [("d0", 0.9), ("d1", 0.5)],
    "question 1": [("d5", 0.9), ("d2", 0.5), ("d1", 0.5)],
    "question 2": [],
}


class Search:
    """Answers from a table and remembers what it was asked."""

    def __init__(self, table: dict[str, Any] | None = None, raising: Sequence[str] = ()) -> None:
        self.table = FOUND if table is None else table
        self.raising = set(raising)
        self.asked: list[list[str]] = []

    def __call__(self, queries: list[str]) -> Any:
        self.asked.append(queries)
        if self.raising & set(queries):
            raise RuntimeError("no luck")
        return [self.table[query] for query in queries]


def test_figures_and_what_is_left_out(toy: RetrievalDataset) -> None:
    evaluation = evaluate(Search(), toy, k_values=[1, 2], measures=["nDCG", "RR@2"])
    assert set(evaluation.mean) == {"nDCG@1", "nDCG@2", "RR@2"}
    assert evaluation.per_query["q0"] == {"nDCG@1": 1.0, "nDCG@2": 1.0, "RR@2": 1.0}
    # d2 and d1 have equal scores: the retriever named d2 first.
    assert evaluation.per_query["q1"]["RR@2"] == 0.5
    assert list(evaluation.run["q1"]) == ["d5", "d2"]
    assert evaluation.per_query["q2"] == {"nDCG@1": 0.0, "nDCG@2": 0.0, "RR@2": 0.0}
    assert evaluation.left_out["queries_without_results"] == ["q2"]
    assert evaluation.left_out["queries_without_judgements"] == 1
    assert evaluation.mean["RR@2"] == pytest.approx(0.5)
    assert evaluation.latency["calls"] == 3
    assert 0 < evaluation.latency["p50"] <= evaluation.latency["p95"] <= evaluation.latency["max"]
    assert evaluation.latency["queries_per_second"] > 0


def test_what_is_saved_is_read_again_and_scored_alike_by_everyone(toy: RetrievalDataset, tmp_path: Path) -> None:
    evaluation = evaluate(Search(), toy, out=tmp_path / "run")
    assert Evaluation.load(tmp_path / "run") == evaluation
    assert evaluation.name == "run"
    back = read_run(tmp_path / "run" / "run.trec")
    qrels = {query: toy.qrels[query] for query in toy.judged}
    for ties in ("file", "trec_eval"):
        assert score_run(back, qrels, list(evaluation.mean), ties=ties).mean == dict(evaluation.mean)  # type: ignore[arg-type]


def test_a_second_call_searches_for_nothing(toy: RetrievalDataset, tmp_path: Path) -> None:
    first = evaluate(Search(), toy, out=tmp_path)
    second_search = Search()
    steps: list[int] = []
    second = evaluate(second_search, toy, out=tmp_path, measures=["P@3"], on_progress=steps.append)
    assert second_search.asked == []
    assert steps == [3]
    assert second.run == first.run
    assert set(second.mean) == {"P@3"}


def test_a_folder_of_another_evaluation_is_refused(toy: RetrievalDataset, tmp_path: Path) -> None:
    evaluate(Search(), toy, out=tmp_path)
    with pytest.raises(InputError, match="depth"):
        evaluate(Search(), toy, out=tmp_path, k_values=[200])
    with pytest.raises(InputError, match="dataset.digest"):
        evaluate(Search(), make_dataset(excluded={"q0": frozenset({"d1"})}), out=tmp_path)


def test_what_a_function_says_of_itself_is_in_the_manifest(toy: RetrievalDataset, tmp_path: Path) -> None:
    class Described(Search):
        def describe(self) -> dict[str, Any]:
            return {"model": "m1"}

    evaluation = evaluate(Described(), toy, out=tmp_path)
    assert evaluation.manifest["retriever"]["description"] == {"model": "m1"}
    assert evaluation.manifest["fingerprint"] != evaluate(Search(), toy).manifest["fingerprint"]
    assert {"python", "numpy", "ir-measures"} <= set(evaluation.manifest["versions"])


def test_one_question_that_raises_does_not_end_the_run(toy: RetrievalDataset, tmp_path: Path) -> None:
    broken = Search(raising=["question 1"])
    evaluation = evaluate(broken, toy, out=tmp_path, batch_size=3, max_failures=0.5)
    assert evaluation.left_out["queries_failed"] == {"q1": "RuntimeError: no luck"}
    assert evaluation.per_query["q0"]["RR@10"] == 1.0
    assert evaluation.per_query["q1"]["RR@10"] == 0.0
    # Mended, only what failed is searched for again.
    mended = Search()
    evaluation = evaluate(mended, toy, out=tmp_path, batch_size=3, max_failures=0.5)
    assert mended.asked == [["question 1"]]
    assert evaluation.left_out["queries_failed"] == {}
    assert evaluation.per_query["q1"]["RR@10"] == 0.5


def test_too_many_failures_are_an_error_and_finished_work_is_kept(toy: RetrievalDataset, tmp_path: Path) -> None:
    with pytest.raises(RaderError, match="1 of 3 queries.*0.1.*'q1': RuntimeError: no luck"):
        evaluate(Search(raising=["question 1"]), toy, out=tmp_path)
    with pytest.raises(InputError, match="no finished evaluation"):
        Evaluation.load(tmp_path)
    mended = Search()
    evaluate(mended, toy, out=tmp_path)
    assert mended.asked == [["question 1"], ["question 2"]]


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([("d0", math.nan)], "'d0' for query 'q0' is nan"),
        ([("d0", math.inf)], "finite"),
        ([("d0", "high")], "not a number"),
        (["d0"], "pairs"),
        ([(0, 0.5)], "pairs"),
        ({"d0": 0.5}, "must return a list"),
    ],
)
def test_unusable_results_end_the_run(toy: RetrievalDataset, results: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(Search({**FOUND, "question 0": results}), toy)


def test_one_list_per_query_is_needed(toy: RetrievalDataset) -> None:
    with pytest.raises(InputError, match="3 lists, not list of 1"):
        evaluate(lambda queries: [[("d0", 1.0)]], toy, batch_size=3)
    with pytest.raises(InputError, match="cannot be evaluated as it is"):
        evaluate(object(), toy)  # type: ignore[arg-type]


def test_excluded_documents_are_gone_before_scoring() -> None:
    dataset = make_dataset(excluded={"q1": frozenset({"d5", "d7"})})
    depths = []

    def search(queries: list[str], k: int) -> list[list[tuple[str, float]]]:
        depths.append(k)
        return [FOUND[query] for query in queries]

    evaluation = evaluate(search, dataset, k_values=[2], measures=["RR"])
    assert list(evaluation.run["q1"]) == ["d2", "d1"]
    assert evaluation.per_query["q1"]["RR@2"] == 1.0
    assert depths == [2, 4, 2]  # more is asked for where documents will go


def test_chunks_take_the_place_of_their_document() -> None:
    corpus = {id: Document(id, "text") for id in ("a", "b", "c", "c#1", "x")}
    dataset = make_dataset(corpus=corpus, queries={"q": "?"}, qrels={"q": {"b": 1}}, excluded={"q": frozenset({"x"})})
    chunks = [("x#0", 0.95), ("a#0", 0.9), ("b#0", 0.2), ("a#7", 0.8), ("c#1", 0.5), ("b#1", 0.85), ("a", 0.1)]
    collapsed = evaluate(lambda queries: [chunks], dataset)
    assert list(collapsed.run["q"]) == ["a", "b", "c#1"]
    assert collapsed.run["q"]["b"] == pytest.approx(0.85)
    assert collapsed.per_query["q"]["RR@10"] == 0.5
    assert collapsed.left_out["chunks_merged"] == 3
    uncollapsed = evaluate(lambda queries: [chunks], dataset, collapse_chunks=False)
    assert len(uncollapsed.run["q"]) == 7
    assert uncollapsed.left_out["results_not_in_corpus"] == 5


def test_ids_with_white_space_are_kept_out_of_the_run_file_alone(tmp_path: Path) -> None:
    corpus = {"my notes": Document("my notes", "text")}
    dataset = make_dataset(corpus=corpus, queries={"q": "?"}, qrels={"q": {"my notes": 1}})
    evaluation = evaluate(lambda queries: [[("my notes", 1.0)]], dataset, out=tmp_path)
    assert "'my notes'" in evaluation.left_out["trec_run"]
    assert not (tmp_path / "run.trec").exists()
    assert Evaluation.load(tmp_path).run == {"q": {"my notes": 1.0}}


@pytest.mark.parametrize(
    "options", [{"batch_size": 0}, {"max_failures": 2}, {"depth": 5}, {"k_values": []}, {"measures": ["nothing"]}]
)
def test_unusable_arguments(toy: RetrievalDataset, options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        evaluate(Search(), toy, **options)


KILLED = """
import os, sys
from tests.rader_plugins.evaluation.conftest import make_dataset
from rader_plugins.evaluation import evaluate

class Search:
    def __init__(self):
        self.calls = 0
    def __call__(self, queries):
        self.calls += 1
        if self.calls == 3:
            print("now", flush=True)
            os.kill(os.getpid(), 9)
        return [[("d0", 1.0)] for _ in queries]

evaluate(Search(), make_dataset(), out=sys.argv[1])
"""


@pytest.mark.slow
def test_a_killed_run_goes_on(toy: RetrievalDataset, tmp_path: Path) -> None:
    process = start(KILLED, str(tmp_path))
    assert process.communicate()[0] == "now\n"
    assert process.returncode == -9
    progress = tmp_path / "progress.jsonl"
    rows = [json.loads(line) for line in progress.read_text(encoding="utf-8").splitlines()]
    assert [list(row["results"]) for row in rows[1:]] == [["q0"], ["q1"]]
    # The process was another one; what its function is called is part of the manifest.
    rows[0]["manifest"] = evaluate(Search(), toy).manifest
    lines = [json.dumps(row) + "\n" for row in rows]
    progress.write_text("".join(lines) + '{"results": {"q2": [' + '["d9", 0.5], ' * 50, encoding="utf-8")  # cut off
    resumed_search = Search()
    evaluation = evaluate(resumed_search, toy, out=tmp_path)
    assert resumed_search.asked == [["question 2"]]
    assert evaluation.latency["calls"] == 3
    assert evaluation.per_query["q0"]["RR@10"] == 1.0
    assert evaluation.left_out["queries_without_results"] == ["q2"]
    assert len([json.loads(line) for line in progress.read_text(encoding="utf-8").splitlines()]) == 4


def test_a_folder_takes_one_process_at_a_time(toy: RetrievalDataset, tmp_path: Path) -> None:
    def meddle(queries: list[str]) -> list[list[tuple[str, float]]]:
        with pytest.raises(InputError, match="Another process is writing"):
            evaluate(Search(), toy, out=tmp_path)
        return [[("d0", 1.0)] for _ in queries]

    assert evaluate(meddle, toy, out=tmp_path).mean["RR@10"] > 0


def test_our_retriever(mini: Encoder, tmp_path: Path) -> None:
    topics = ["the sum of angles in a triangle", "photosynthesis in green leaves", "the speed of light in vacuum"]
    corpus = {f"d{n}": Document(f"d{n}", text) for n, text in enumerate([*topics, "angles of triangles in the plane"])}
    dataset = RetrievalDataset(
        corpus,
        {"q0": "how do plants make sugar from light?", "q1": "what do the angles of a triangle add up to?"},
        {"q0": {"d1": 1}, "q1": {"d3": 1}},
        {"q1": frozenset({"d0"})},
    )
    index = RaderIndex.create(None, encoder=mini)
    assert index_corpus(dataset, index) == 4
    assert index_corpus(dataset, index) == 0
    retriever = RaderRetriever(index, mode="hybrid", alpha=0.7)
    evaluation = evaluate(retriever, dataset, k_values=[3], measures=["RR"], out=tmp_path)
    assert evaluation.mean == {"RR@3": 1.0}
    assert [hit.document.id for hit in retriever.search(dataset.queries["q0"], 3)] == list(evaluation.run["q0"])
    assert "d0" not in evaluation.run["q1"]
    about = evaluation.manifest["retriever"]
    assert (about["mode"], about["alpha"], about["recipe_fingerprint"]) == ("hybrid", 0.7, mini.fingerprint)
    for other in (RaderRetriever(index, mode="hybrid", alpha=0.6), RaderRetriever(index, mode="bm25")):
        with pytest.raises(InputError, match="retriever.alpha"):
            evaluate(other, dataset, k_values=[3], out=tmp_path)
    index.add([Document("extra", "a text about nothing")])
    index.delete(["d2"])
    left_out = evaluate(retriever, dataset, k_values=[3]).left_out
    assert left_out["corpus_documents_not_indexed"] == 1
    assert left_out["indexed_documents_not_in_corpus"] == 1
    with pytest.raises(InputError, match="'extra'"):
        index_corpus(dataset, index)


def test_measures_are_tried_before_anything_is_searched(toy: RetrievalDataset) -> None:
    def broken(qrels: Any, run: Any) -> dict[str, float]:
        raise KeyError("q1")

    searched: list[str] = []

    def search(queries: list[str]) -> list[list[tuple[str, float]]]:
        searched.extend(queries)
        return [[("d0", 1.0)] for _ in queries]

    for measure in ("nDGC", "alpha_nDCG", broken):
        with pytest.raises(InputError):
            evaluate(search, toy, measures=[measure])
    assert not searched
    evaluation = evaluate(search, toy, measures=["RR", lambda qrels, run: dict.fromkeys(qrels, 0.5)])
    assert evaluation.mean["<lambda>"] == 0.5


def own_documents(**changes: Any) -> RetrievalDataset:
    """Queries that stand in the corpus themselves (q0), are merely numbered like a document (d1), or neither (q2)."""
    defaults: dict[str, Any] = {
        "corpus": {id: Document(id, text) for id, text in {"q0": "Title. A claim", "d1": "x", "d2": "y"}.items()},
        "queries": {"q0": "a  claim", "d1": "a question", "q2": "y?"},
        "qrels": {"q0": {"d2": 1}, "d1": {"d1": 1}, "q2": {"d2": 1}},
    }
    return RetrievalDataset(**{**defaults, **changes})


@pytest.mark.parametrize(
    ("option", "mean", "said"),
    [
        (None, 1.0, "1 queries have the id of a document, which is left out.*'q0'.*; 1 queries.*'d1'.*BEIR would"),
        (True, 2 / 3, "2 queries have the id of a document, which is left out"),
        (False, 5 / 6, "2 queries have the id of a document that stays"),
    ],
)
def test_queries_that_are_documents_of_their_own_corpus(option: bool | None, mean: float, said: str) -> None:
    answers = {"a  claim": ["q0", "d2"], "a question": ["d1", "d2"], "y?": ["d2"]}

    def search(queries: list[str]) -> list[list[tuple[str, float]]]:
        return [[(id, 1.0 - rank / 10) for rank, id in enumerate(answers[query])] for query in queries]

    # BEIR's rule hits the right answer of d1, which is merely numbered alike.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluation = evaluate(search, own_documents(), measures=["RR"], ignore_identical_ids=option)
    assert evaluation.mean["RR@10"] == pytest.approx(mean)
    assert re.search(said, evaluation.left_out["queries_with_identical_ids"])
    assert "id of a document" in repr(evaluation)


def test_a_result_is_a_screenful_and_keeps_what_reports_show(toy: RetrievalDataset, tmp_path: Path) -> None:
    corpus = {f"d{n}": Document(f"d{n}", "long text " * 1000) for n in range(10)}
    dataset = make_dataset(corpus=corpus)
    evaluation = evaluate(lambda queries: [[("d0", 1.0), ("d3", 0.5)] for _ in queries], dataset, out=tmp_path / "run")
    for text in (str(evaluation), repr(evaluation)):
        assert len(text) < 2000
        assert "toy, split test: 3 questions" in text
        assert "x 100" in text
    loaded = Evaluation.load(tmp_path / "run")
    assert loaded == evaluation
    assert loaded.judgements == {"q0": {"d0": 1}, "q1": {"d1": 2, "d2": 1}, "q2": {"d9": 1}}
    assert set(loaded.documents) == {"d0", "d1", "d2", "d3", "d9"}, "what was found, and what was right"
    # A folder of the version before has neither.
    (tmp_path / "run" / "documents.jsonl").unlink()
    rows = [json.loads(line) for line in (tmp_path / "run" / "queries.jsonl").read_text().splitlines()]
    (tmp_path / "run" / "queries.jsonl").write_text(
        "".join(json.dumps({key: value for key, value in row.items() if key != "judged"}) + "\n" for row in rows)
    )
    before = Evaluation.load(tmp_path / "run")
    assert before.mean == evaluation.mean
    assert before.documents == before.judgements == {}


def test_a_run_of_the_version_before_goes_on(toy: RetrievalDataset, tmp_path: Path) -> None:
    searched: list[str] = []

    def search(queries: list[str]) -> list[list[tuple[str, float]]]:
        searched.extend(queries)
        return [[("d0", 1.0)] for _ in queries]

    evaluate(search, toy, out=tmp_path)
    progress = tmp_path / "progress.jsonl"
    header, first, *_ = progress.read_text(encoding="utf-8").splitlines()
    before = json.loads(header)
    before["manifest"]["versions"]["rader-plugins"] = "0.1.0"
    before["manifest"]["fingerprint"] = "of then"
    progress.write_text(json.dumps(before) + "\n" + first + "\n", encoding="utf-8")
    searched.clear()
    evaluation = evaluate(search, toy, out=tmp_path)
    assert len(searched) == 2, "the first question was done"
    assert evaluation.manifest["versions"]["rader-plugins"] != "0.1.0"
