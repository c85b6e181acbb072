"""Random runs: what we report agrees with pytrec_eval and scipy, asked directly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("ir_measures")
pytrec_eval = pytest.importorskip("pytrec_eval")
stats = pytest.importorskip("scipy.stats")

from rader_plugins import Document, RaderIndex, RaderRetriever  # noqa: E402
from rader_plugins.evaluation import RetrievalDataset, evaluate  # noqa: E402
from tests.support.encoders import HashEncoder, random_text  # noqa: E402
from tests.support.examples import examples  # noqa: E402

DOCUMENTS = [f"d{n}" for n in range(15)]
QUERIES = ["q0", "q1", "q2"]
# Whole numbers, each once: rounding and ties, which others break otherwise, play no part.
RANKINGS = st.fixed_dictionaries({query: st.permutations(DOCUMENTS) for query in QUERIES})
QRELS = st.dictionaries(
    st.sampled_from(QUERIES),
    st.dictionaries(st.sampled_from(DOCUMENTS), st.integers(0, 3), min_size=1, max_size=6),
    min_size=1,
)
EXCLUDED = st.dictionaries(st.sampled_from(QUERIES), st.frozensets(st.sampled_from(DOCUMENTS), max_size=5))


@pytest.mark.filterwarnings("ignore:.*judged relevant and excluded")
@settings(deadline=None, max_examples=examples(60))
@given(rankings=RANKINGS, qrels=QRELS, excluded=EXCLUDED, length=st.integers(0, 15))
def test_an_evaluation_agrees_with_pytrec_eval(
    rankings: dict[str, list[str]], qrels: dict[str, dict[str, int]], excluded: dict[str, frozenset[str]], length: int
) -> None:
    run = {query: dict(zip(ids, range(50, 0, -1), strict=False)) for query, ids in rankings.items()}
    run = {query: dict(list(scores.items())[:length]) for query, scores in run.items()}
    dataset = RetrievalDataset(
        {id: Document(id, id) for id in DOCUMENTS}, {query: query for query in QUERIES}, qrels, excluded
    )
    result = evaluate(
        lambda queries: [list(run[query].items()) for query in queries],
        dataset,
        measures=["nDCG", "R", "AP"],
        k_values=[5],
    )
    scored = {
        query: {id: score for id, score in scores.items() if id not in excluded.get(query, ())}
        for query, scores in run.items()
    }
    names = {"ndcg_cut_5": "nDCG@5", "recall_5": "R@5", "map_cut_5": "AP@5"}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.5", "recall.5", "map_cut.5"}).evaluate(
        {query: {id: float(score) for id, score in scored[query].items()} for query in qrels if scored[query]}
    )
    for query in qrels:
        for name, ours in names.items():
            assert result.per_query[query][ours] == pytest.approx(theirs.get(query, {}).get(name, 0.0), abs=1e-6)
    for name, ours in names.items():
        mean = sum(theirs.get(query, {}).get(name, 0.0) for query in qrels) / len(qrels)
        assert result.mean[ours] == pytest.approx(mean, abs=1e-6)


@settings(deadline=None, max_examples=examples(40))
@given(
    seed=st.integers(0, 10_000), alpha=st.floats(0, 0.99), banned=st.frozensets(st.sampled_from(DOCUMENTS), max_size=8)
)
def test_hybrid_search_agrees_with_scipy(seed: int, alpha: float, banned: frozenset[str]) -> None:
    rng = np.random.default_rng(seed)
    index = RaderIndex.create(None, HashEncoder())
    index.add([Document(id, random_text(rng)) for id in DOCUMENTS])
    query = random_text(rng, 4)
    excluded = sorted(banned)
    stages = {
        mode: {
            hit.document.id: hit.score
            for hit in RaderRetriever(index, mode=mode).search(query, 15, exclude_ids=excluded)
        }
        for mode in ("dense", "bm25")
    }
    names = [id for id in DOCUMENTS if id not in banned]
    assert set(stages["dense"]) == set(names)
    dense, bm25 = (np.array([stages[mode].get(id, 0.0) for id in names]) for mode in ("dense", "bm25"))
    lexical = stats.zscore(bm25) if bm25.max() > bm25.min() else np.zeros_like(bm25)
    expected = dict(zip(names, alpha * stats.zscore(dense) + (1 - alpha) * lexical, strict=True))
    hits = RaderRetriever(index, mode="hybrid", alpha=alpha).search(query, 15, exclude_ids=excluded)
    assert {hit.document.id: hit.score for hit in hits} == pytest.approx(expected, abs=1e-4)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
