"""BM25 against its formula, written out naively, and the English analysis."""

from __future__ import annotations

import math
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rader_plugins import Document, RaderIndex, RaderRetriever
from rader_plugins.analysis import Analyzer, analyze
from rader_plugins.errors import InputError
from rader_plugins.index import Bm25Config
from rader_plugins.index.lexical.postings import pack_counts, pack_terms
from tests.support.encoders import WORDS, HashEncoder
from tests.support.examples import examples

texts = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)


def naive_bm25(corpus: list[str], query: str, config: Bm25Config) -> list[float]:
    documents = [Counter(analyze(text)) for text in corpus]
    average = sum(map(Counter.total, documents)) / len(documents) or 1
    query_terms = Counter(analyze(query))
    frequency = {term: sum(term in document for document in documents) for term in query_terms}
    query_terms = Counter({term: count for term, count in query_terms.items() if frequency[term]})

    def saturation(count: int, length: int) -> float:
        return count / (count + config.k1 * (1 - config.b + config.b * length / average))

    scores = []
    for document in documents:
        score = 0.0
        for term, count in query_terms.items():
            idf = math.log(1 + (len(documents) - frequency[term] + 0.5) / (frequency[term] + 0.5))
            if document[term]:
                weight = idf * saturation(count, query_terms.total()) if config.query_weighted else count
                score += weight * idf * saturation(document[term], document.total())
        scores.append(score)
    return scores


@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(texts, min_size=1, max_size=15),
    texts,
    st.booleans(),
    st.floats(0, 3, allow_subnormal=False),
    st.floats(0, 1, allow_subnormal=False),
)
def test_scores_are_those_of_the_formula(
    corpus: list[str], query: str, query_weighted: bool, k1: float, b: float
) -> None:
    config = Bm25Config(k1=k1, b=b, query_weighted=query_weighted)
    index = RaderIndex.create(None, encoder=HashEncoder(), bm25=config)
    index.add([Document(id=f"{n:02d}", text=text) for n, text in enumerate(corpus)])
    expected = {f"{n:02d}": score for n, score in enumerate(naive_bm25(corpus, query, config)) if score > 0}
    hits = RaderRetriever(index, mode="bm25").search(query, k=20)
    assert {hit.document.id: hit.score for hit in hits} == pytest.approx(expected, rel=1e-5)
    index.close()


ZIPF = [f"w{number}" for number in range(40) for _ in range(120 // (number + 1) + 1)]


@settings(max_examples=examples(40), deadline=None)
@given(
    st.integers(0, 2**32),
    st.lists(st.sampled_from(ZIPF), min_size=1, max_size=8),
    st.integers(1, 40),
    st.sampled_from([1, 30, 300, 10**6]),
    st.sampled_from([100, 10**6]),
    st.booleans(),
)
def test_skipping_frequent_terms_changes_no_result(
    seed: int, query: list[str], k: int, at_once: int, most_read: int, filtered: bool
) -> None:
    rng = random.Random(seed)
    index = RaderIndex.create(None, encoder=HashEncoder())
    for first in (0, 150, 190):  # several blocks of postings
        texts = [" ".join(rng.choices(ZIPF, k=rng.randint(0, 12))) for _ in range(first, first + 100)]
        index.add(
            [Document(id=f"{first + offset:03d}", text=text) for offset, text in enumerate(texts)], commit_every=60
        )
    index.delete([f"{number:03d}" for number in rng.sample(range(290), 20)])
    snapshot = index.snapshot()
    allowed = snapshot.alive & np.array([rng.random() < 0.4 for _ in snapshot.alive]) if filtered else snapshot.alive
    every = np.where(allowed, snapshot.bm25_scores(" ".join(query)), 0.0)
    expected = sorted((-score, snapshot.ids[row]) for row, score in enumerate(every.tolist()) if score > 0)[:k]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rader_plugins.index.lexical.pruning._ROUND", at_once)
        patch.setattr("rader_plugins.index.lexical.pruning._MOST_READ", most_read)
        patch.setattr("rader_plugins.index.lexical.scoring._FREQUENT", 8)
        patch.setattr("rader_plugins.index.lexical.scoring._COLUMNS", 4)
        for _ in range(2):  # the second time with what the first has kept
            rows, scores = snapshot.bm25_best(" ".join(query), k, allowed if filtered else None)
            ranking = sorted(zip((-scores).tolist(), [snapshot.ids[row] for row in rows], strict=True))
            assert ranking == expected  # to the last bit
    index.close()


def test_terms_that_only_deleted_documents_hold_do_not_lengthen_the_query() -> None:
    index = RaderIndex.create(None, encoder=HashEncoder())
    index.add([Document(id="a", text="prime heat"), Document(id="b", text="market")])
    alone = RaderRetriever(index, mode="bm25").search("prime unheard")[0].score
    index.add([Document(id="c", text="unheard")])
    index.delete(["c"])
    assert RaderRetriever(index, mode="bm25").search("prime unheard")[0].score == alone


def test_query_weighting_is_an_option_and_changes_scores() -> None:
    scores = []
    for weighted in (True, False):
        index = RaderIndex.create(None, encoder=HashEncoder(), bm25=Bm25Config(query_weighted=weighted))
        index.add([Document(id="a", text="prime prime heat"), Document(id="b", text="heat")])
        scores.append(RaderRetriever(index, mode="bm25").search("prime heat heat")[0].score)
    assert scores[0] != pytest.approx(scores[1])


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("The Pigeons' holes AREN'T Euler's", ["pigeon", "hole", "aren't", "euler"]),
        ("3.14 is 1,000 times x^2+y_1", ["3.14", "1,000", "time", "x", "2", "y_1"]),
        ("running relational conditional", ["run", "relat", "condit"]),
        ("東京 and naïve café", ["東", "京", "東京", "naïv", "café"]),
        ("a the of", []),
        ("", []),
        ("x" * 100_000, ["x" * 255]),
    ],
)
def test_analysis(text: str, terms: list[str]) -> None:
    assert analyze(text) == terms


def test_parameters_out_of_range() -> None:
    for wrong in ({"k1": -1.0}, {"b": 1.5}, {"k1": float("nan")}):
        with pytest.raises(InputError, match="k1 >= 0"):
            Bm25Config(**wrong)


@settings(deadline=None)
@given(st.lists(texts, max_size=8))
def test_documents_packed_at_once_are_as_packed_alone(documents: list[str]) -> None:
    counts = Analyzer().count(documents)
    ids = {term: (7 * number) % 101 for number, term in enumerate(counts.names)}
    alone = [pack_terms({ids[term]: count for term, count in Counter(analyze(text)).items()}) for text in documents]
    assert pack_counts(counts, np.array(list(ids.values()), dtype=np.uint32)) == alone
