from __future__ import annotations

import importlib.util
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rader_plugins.errors import InputError
from rader_plugins.evaluation import read_aspects, read_qrels, score_run
from rader_plugins.evaluation.measures import at_cutoffs, load_measure
from rader_plugins.evaluation.scoring import score_separated

# What RaDeR's authors published for their score files -> measure of ir_measures.
PUBLISHED = {
    "NDCG@{}": "nDCG@{}", "MAP@{}": "AP@{}", "Recall@{}": "R@{}", "P@{}": "P@{}",
}  # fmt: skip
CUTOFFS = (1, 5, 10, 25, 50, 100)

DOCUMENTS = [f"d{n}" for n in range(12)]
QUERIES = ["q0", "q1", "q2"]
RUN = st.dictionaries(
    st.sampled_from(QUERIES),
    st.dictionaries(st.sampled_from(DOCUMENTS), st.sampled_from([0.0, 0.2, 0.4, 0.6, 1.0]), max_size=12),
)
QRELS = st.dictionaries(
    st.sampled_from(QUERIES),
    st.dictionaries(st.sampled_from(DOCUMENTS), st.integers(-1, 3), min_size=1, max_size=6),
    min_size=1,
)
EXCLUDED = st.dictionaries(st.sampled_from(QUERIES), st.frozensets(st.sampled_from(DOCUMENTS), max_size=4))


def independent(ranked: list[str], grades: dict[str, int]) -> dict[str, float]:
    """The textbook's measures at 5, and the reciprocal rank."""
    gains = [max(0, grades.get(document, 0)) for document in ranked]
    ideal = sorted((max(0, grade) for grade in grades.values()), reverse=True)

    def dcg(values: list[int]) -> float:
        return sum(value / math.log2(position + 2) for position, value in enumerate(values[:5]))

    relevant = sum(grade > 0 for grade in grades.values())
    first = next((position for position, gain in enumerate(gains, start=1) if gain > 0), None)
    return {
        "nDCG@5": dcg(gains) / dcg(ideal) if relevant else 0.0,
        "R@5": sum(gain > 0 for gain in gains[:5]) / relevant if relevant else 0.0,
        "P@5": sum(gain > 0 for gain in gains[:5]) / 5,
        "RR": 1 / first if first else 0.0,
    }


@settings(deadline=None)
@given(run=RUN, qrels=QRELS, excluded=EXCLUDED)
def test_scores_agree_with_an_independent_computation(
    run: dict[str, dict[str, float]], qrels: dict[str, dict[str, int]], excluded: dict[str, frozenset[str]]
) -> None:
    judged_documents = {document for grades in qrels.values() for document in grades}
    remaining = {query: {*scores} - {*excluded.get(query, ())} for query, scores in run.items()}
    assume(
        not any(remaining.values())
        or (run.keys() & qrels.keys() and judged_documents & set().union(*remaining.values()))
    )
    scored = score_run(run, qrels, ["nDCG@5", "R@5", "P@5", "RR"], excluded=excluded)
    expected = {}
    for query, grades in qrels.items():
        remaining_scores = [
            (document, score)
            for document, score in run.get(query, {}).items()
            if document not in excluded.get(query, ())
        ]
        ranked = [
            document
            for _, _, document in sorted(
                (-score, position, name) for position, (name, score) in enumerate(remaining_scores)
            )
        ]
        expected[query] = independent(ranked, grades)
        assert scored.per_query[query] == pytest.approx(expected[query], abs=1e-6)
    for measure, value in scored.mean.items():
        assert value == pytest.approx(sum(row[measure] for row in expected.values()) / len(qrels), abs=1e-6)
    assert set(scored.without_judgements) == run.keys() - qrels.keys()


def test_ties() -> None:
    run, qrels = {"q": {"a": 0.5, "b": 0.5}}, {"q": {"a": 1}}
    assert score_run(run, qrels, ["RR"]).mean["RR"] == 1.0
    assert score_run(run, qrels, ["RR"], ties="trec_eval").mean["RR"] == 0.5
    # Different only in double precision: trec_eval sees a tie.
    close = {"q": {"a": 0.5 + 1e-12, "b": 0.5}}
    assert score_run(close, qrels, ["RR"]).mean["RR"] == 1.0
    assert score_run(close, qrels, ["RR"], ties="trec_eval").mean["RR"] == 0.5


def test_what_is_missing_counts_as_zero_and_is_named() -> None:
    scored = score_run(
        {"a": {"d": 1.0}, "b": {}, "c": {"d": 1.0}, "x": {"d": 1.0}},
        {"a": {"d": 1}, "b": {"d": 1}, "c": {"d": 0}, "e": {"d": 1}},
        ["RR"],
    )
    assert scored.mean == {"RR": 0.25}
    assert scored.without_results == ("b", "e")
    assert scored.without_judgements == ("x",)
    assert scored.without_relevant == ("c",)


def test_grades_count_and_negative_ones_count_as_zero() -> None:
    qrels = {"q": {"a": 1, "b": 3, "c": -2}}
    best, worse = {"q": {"b": 2.0, "a": 1.0}}, {"q": {"a": 2.0, "b": 1.0}}
    assert score_run(best, qrels, ["nDCG@2"]).mean["nDCG@2"] == pytest.approx(1)
    assert score_run(worse, qrels, ["nDCG@2"]).mean["nDCG@2"] == pytest.approx(0.7967, abs=1e-4)
    negative, zero = ({"q": {"a": 1, "c": grade}} for grade in (-2, 0))
    run = {"q": {"c": 3.0, "a": 2.0}}
    names = ["nDCG@5", "AP", "R@1", "RR"]
    assert score_run(run, negative, names).mean == score_run(run, zero, names).mean


def test_unusable_arguments_say_why() -> None:
    run, qrels = {"q": {"a": 1.0}}, {"q": {"a": 1}}
    for measures in (["nDCG@ten"], ["nothing"], ["nDCG(foo=3)@10"], [], "nDCG@10", ["RBP"]):
        with pytest.raises(InputError, match="measure|Measure"):
            score_run(run, qrels, measures)
    with pytest.raises(InputError, match="no judgements"):
        score_run(run, {})
    with pytest.raises(InputError, match="NaN"):
        score_run({"q": {"a": math.nan}}, qrels)
    with pytest.raises(InputError, match="ties"):
        score_run(run, qrels, ties="random")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["nDCG@0", "P@0", "RR@0", "P@1e3", "RBP(p=2)", "nDCG(dcg='other')@5"])
def test_parameters_that_a_scorer_would_die_of(name: str) -> None:
    with pytest.raises(InputError, match="cutoff of a measure|Unknown measure"):
        score_run({"q": {"a": 1.0}}, {"q": {"a": 1}}, [name])


@pytest.mark.parametrize("grade", [10**12, 2**31 - 1, -(10**12)])
def test_grades_that_a_scorer_would_die_of_or_take_for_others(grade: int) -> None:
    with pytest.raises(InputError, match="grades up to"):
        score_run({"q": {"a": 1.0}}, {"q": {"a": grade}}, ["nDCG@10"])
    largest = score_run({"q": {"b": 2.0, "a": 1.0}}, {"q": {"a": 1_000_000}}, ["nDCG@10"])
    assert largest.mean["nDCG@10"] == pytest.approx(1 / math.log2(3))


@pytest.mark.parametrize("program", ["no python at all", "import nothing_of_this_name", "raise RuntimeError('no')"])
def test_a_file_of_measures_that_cannot_be_run(program: str, tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(program, encoding="utf-8")
    with pytest.raises(InputError, match="cannot be imported"):
        load_measure(f"{tmp_path / 'm.py'}:f")


def test_a_run_of_other_data_is_an_error_and_not_a_row_of_zeros() -> None:
    qrels = {"q0": {"d0": 1, "d1": 0}}
    with pytest.raises(InputError, match="share no query.*'7'.*'q0'"):
        score_run({"7": {"d0": 1.0}}, qrels)
    with pytest.raises(InputError, match="share no document.*'doc-0'.*'d0'"):
        score_run({"q0": {"doc-0": 1.0}}, qrels)
    assert score_run({"q0": {}}, qrels).mean["nDCG@10"] == 0, "a system that finds nothing"
    assert score_run({"q0": {"d1": 1.0}}, qrels).mean["nDCG@10"] == 0


def test_any_measure_of_the_library() -> None:
    run, qrels = {"q": {"a": 1.0, "b": 0.5}}, {"q": {"b": 1, "c": 2}}
    mean = score_run(run, qrels, ["P(rel=2)@5", "Judged@2", "IPrec@0.1", "NumRet"]).mean
    assert (mean["Judged@2"], mean["IPrec@0.1"], mean["NumRet"]) == (0.5, 0.5, 2)
    if not importlib.util.find_spec("cwl_eval"):
        with pytest.raises(InputError, match=r"RBP.*cannot be computed here.*cwl_eval"):
            score_run(run, qrels, ["RBP(p=0.5,rel=1)"])
    with pytest.raises(
        InputError, match=r"nDCG\(dcg='exp-log2'\)@10 cannot be computed of these ids"
    ):  # its scorer wants numbers
        score_run(run, qrels, ["nDCG(dcg='exp-log2')@10"])
    two = score_run({**run, "r": {"a": 1.0}}, {**qrels, "r": {"a": 1}}, ["NumRet", "RR"]).mean
    assert two == {"NumRet": 3, "RR": 0.75}, "what counts is summed, what measures is averaged"


def test_a_function_is_a_measure() -> None:
    def misses(qrels: Any, run: Any) -> dict[str, float]:
        return {query: 1.0 - bool(run.get(query, {}).keys() & qrels[query].keys()) for query in qrels}

    scored = score_run(
        {"q": {"a": 1.0}, "r": {"z": 1.0}}, {"q": {"a": 1}, "r": {"b": 1}, "s": {"c": 1}}, ["RR", misses]
    )
    assert scored.mean == {"RR": pytest.approx(1 / 3), "misses": pytest.approx(2 / 3)}
    assert scored.per_query["q"] == {"RR": 1.0, "misses": 0.0}

    def wrong(qrels: Any, run: Any) -> Any:
        return {"q": math.nan}

    for bad, message in ((wrong, "finite number"), (lambda qrels, run: 0.5, "mapping"), (lambda qrels: {}, "raised")):
        with pytest.raises(InputError, match=message):
            score_run({"q": {"a": 1.0}}, {"q": {"a": 1}}, [bad])
    wrong.__name__ = "RR"
    with pytest.raises(InputError, match="__name__"):
        score_run({"q": {"a": 1.0}}, {"q": {"a": 1}}, ["RR", wrong])


def test_alpha_ndcg_prefers_a_ranking_that_covers_more_aspects(tmp_path: Path) -> None:
    pytest.importorskip("pyndeval")
    path = tmp_path / "aspects.qrels"
    path.write_text("q x a 1\nq x b 1\nq y c 1\nq y b 0\n")
    qrels, aspects = read_qrels(path), read_aspects(path)
    assert qrels == {"q": {"a": 1, "b": 1, "c": 1}}
    assert aspects == {"q": {"a": {"x": 1}, "b": {"x": 1, "y": 0}, "c": {"y": 1}}}
    measures = ["alpha_nDCG@2", "nDCG@2", "StRecall@2"]
    one_aspect = score_run({"q": {"a": 1.0, "b": 0.9}}, qrels, measures, aspects=aspects).mean
    both = score_run({"q": {"a": 1.0, "c": 0.9}}, qrels, measures, aspects=aspects).mean
    assert one_aspect["nDCG@2"] == both["nDCG@2"] == 1
    assert (one_aspect["StRecall@2"], both["StRecall@2"]) == (0.5, 1)
    # The second document of aspect x gains 1 - alpha = 0.5 of what the first of aspect y gains.
    assert both["alpha_nDCG@2"] == pytest.approx(1)
    assert one_aspect["alpha_nDCG@2"] == pytest.approx((1 + 0.5 / math.log2(3)) / (1 + 1 / math.log2(3)), abs=1e-5)
    with pytest.raises(InputError, match="alpha_nDCG@2, StRecall@2 takes judgements of the aspects"):
        score_run({"q": {"a": 1.0}}, qrels, measures)
    path.write_text("q 0 a 1\nq 0 b 1\nr 0 b 1\n")
    assert read_aspects(path) == {}, "TREC's iteration says nothing"


def test_cutoffs() -> None:
    assert at_cutoffs(["nDCG", "Recall@100", "R@100", "Rprec"], [5, 10]) == ["nDCG@5", "nDCG@10", "R@100", "Rprec"]
    with pytest.raises(InputError, match="k_values"):
        at_cutoffs(["nDCG"], [0])


@pytest.mark.parametrize("split", ["aops", "theoremqa_questions", "theoremqa_theorems"])
def test_published_figures_through_the_command(shared_data: Path, rader: Callable[..., Any], split: str) -> None:
    home = shared_data / "bright-golden" / split
    assert printed(rader, home, home / "reranker_scores.json") == published(home)


def test_published_figure_of_retriever_and_reranker(shared_data: Path, rader: Callable[..., Any]) -> None:
    home = shared_data / "bright-golden" / "theoremqa_theorems_gte"
    reranker, retriever = home / "reranker_scores.json", home / "retriever_scores.json"
    assert printed(rader, home, reranker, "--add", retriever, "--weights", "0.5,0.5") == published(home)
    alone = rader("score", retriever, home / "qrels.tsv", "--measure", "nDCG@10", "--json")
    # 0.434326: the notes to the data round it up to 0.43434.
    assert json.loads(alone.output)["mean"]["nDCG@10"] == pytest.approx(0.43433, abs=5e-6)


def test_the_tie_break_of_trec_eval_gives_other_figures(shared_data: Path, rader: Callable[..., Any]) -> None:
    home = shared_data / "bright-golden" / "aops"
    arguments = ("score", home / "reranker_scores.json", home / "qrels.tsv", "--measure", "nDCG@10", "--json")
    as_filed, as_trec = (
        json.loads(rader(*arguments, *option).output)["mean"]["nDCG@10"] for option in ([], ["--trec-ties"])
    )
    assert abs(as_filed - as_trec) > 1e-3


def published(home: Path) -> dict[str, float]:
    figures: dict[str, float] = json.loads((home / "published.json").read_text(encoding="utf-8"))
    return figures


def printed(rader: Callable[..., Any], home: Path, run: Path, *more: object) -> dict[str, float]:
    """Score a file by the command; figures under the names and with the digits of the publication."""
    names = {theirs.format(k): ours.format(k) for theirs, ours in PUBLISHED.items() for k in CUTOFFS} | {"MRR": "RR"}
    options = [part for name in names.values() for part in ("--measure", name)]
    arguments = ("score", run, home / "qrels.tsv", *more, *options)
    figures = json.loads(rader(*arguments, "--json").stdout)["mean"]
    lines = rader(*arguments).output.splitlines()[1:]
    assert [line.split() for line in lines] == [[name, f"{100 * value:.2f}"] for name, value in figures.items()]
    return {theirs: round(figures[ours], 5) for theirs, ours in names.items()}


def test_reciprocal_rank_with_a_cutoff_is_the_librarys() -> None:
    import ir_measures

    rng = random.Random(1)
    qrels = {f"q{i}": {f"d{j}": rng.choice([0, 0, 1, 2]) for j in rng.sample(range(40), 5)} for i in range(50)}
    run = {f"q{i}": {f"d{j}": rng.random() for j in range(40)} for i in range(49)}
    names = ["RR@1", "RR@3", "RR@10", "RR(rel=2)@5", "RR"]
    scored = score_separated(run, qrels, names)
    measures = [ir_measures.parse_measure(name) for name in names]
    expected = ir_measures.calc(measures, qrels, run)
    for measure in measures:
        assert scored.mean[str(measure)] == pytest.approx(expected.aggregated[measure], abs=1e-12)
    assert 0 < scored.mean["RR@1"] < scored.mean["RR@3"] < scored.mean["RR"]
    for metric in expected.per_query:
        assert scored.per_query[metric.query_id][str(metric.measure)] == pytest.approx(metric.value, abs=1e-12)


@pytest.mark.parametrize("name", ["R", "P", "Success"])
def test_a_measure_that_needs_a_cutoff_gets_one_or_is_refused(name: str) -> None:
    assert at_cutoffs([name], [5]) == [f"{name}@5"]
    with pytest.raises(InputError, match=f"{name}@10"):
        score_run({"q": {"a": 1.0}}, {"q": {"a": 1}}, [name])
