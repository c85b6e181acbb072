"""`SparseBm25`: inner products of its vectors are the embedded index's BM25."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rader_plugins import Document, RaderIndex, RaderRetriever
from rader_plugins.analysis import Analyzer
from rader_plugins.engines import SparseBm25
from rader_plugins.engines.sparse import count_terms, term_counts
from rader_plugins.errors import IndexCorruptError, InputError
from rader_plugins.index import Bm25Config
from tests.support.encoders import random_text

TEXTS = [random_text(np.random.default_rng(seed), 3 + seed % 9) for seed in range(60)] + ["", "the of"]


def product(one: dict[int, float], other: dict[int, float]) -> float:
    return sum(weight * other[dimension] for dimension, weight in one.items() if dimension in other)


@pytest.mark.parametrize(
    "config", [None, Bm25Config(query_weighted=False), Bm25Config(k1=1.2, b=0.75, language="german")]
)
def test_inner_products_are_the_scores_of_the_embedded_index(config: Bm25Config | None) -> None:
    bm25 = SparseBm25.fit(iter(TEXTS), config)
    documents = bm25.documents(TEXTS)
    index = RaderIndex.create(None, None, bm25=config)
    index.add([Document(f"{n:02d}", text) for n, text in enumerate(TEXTS)])
    for query in ("prime heat orbit prime", "unheard", "the", "", TEXTS[0]):
        scores = {f"{n:02d}": product(bm25.query(query), weights) for n, weights in enumerate(documents)}
        best = sorted((id for id in scores if scores[id] > 0), key=lambda id: (-round(scores[id], 5), id))
        hits = RaderRetriever(index, "bm25").search(query, len(TEXTS))
        assert {hit.document.id: hit.score for hit in hits} == pytest.approx({id: scores[id] for id in best}, abs=1e-5)


def test_no_vector_is_empty_and_stand_ins_never_meet() -> None:
    bm25 = SparseBm25.fit(TEXTS)
    [empty, words], query = bm25.documents(["", "prime"]), bm25.query("the")
    assert empty
    assert query
    assert not (set(empty) | set(words)) & set(query)
    assert max(*empty, *query) < 2**32 - 1


def test_it_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    bm25 = SparseBm25.fit(TEXTS, Bm25Config(b=0.3))
    bm25.save(tmp_path / "bm25")
    loaded = SparseBm25.load(tmp_path / "bm25")
    assert loaded.config == bm25.config
    assert loaded.documents(TEXTS) == bm25.documents(TEXTS)
    assert loaded.query(TEXTS[3]) == bm25.query(TEXTS[3])


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda data: b"", IndexCorruptError, "holds no statistics"),
        (lambda data: data.replace(b"rader-bm25/1", b"rader-bm25/9"), IndexCorruptError, "rader-bm25/9"),
        (lambda data: data[:-3], IndexCorruptError, "damaged"),
        (lambda data: data.replace(b'"analyzer": "', b'"analyzer": "old-'), InputError, "fit again"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, change: Any, error: type[Exception], words: str) -> None:
    SparseBm25.fit(TEXTS).save(tmp_path / "bm25")
    (tmp_path / "bm25").write_bytes(change((tmp_path / "bm25").read_bytes()))
    with pytest.raises(error, match=words):
        SparseBm25.load(tmp_path / "bm25")
    with pytest.raises(InputError, match="cannot be read"):
        SparseBm25.load(tmp_path / "none")


def test_what_is_no_corpus_is_refused() -> None:
    for texts in ("one text", [], [3]):
        with pytest.raises(InputError):
            SparseBm25.fit(texts)  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from("ab é検索' \n"), max_size=20), max_size=6), st.sampled_from([3, 2**32 - 4]))
def test_terms_of_many_texts_are_counted_as_those_of_each(texts: list[str], dimensions: int) -> None:
    together = count_terms(texts, Analyzer(), dimensions)
    assert len(together) == len(texts)
    for text, (names, counts) in zip(texts, together, strict=True):
        expected_names, expected_counts = term_counts(Analyzer().terms(text), dimensions)
        assert (names.tolist(), counts.tolist()) == (expected_names.tolist(), expected_counts.tolist())
