"""Hits that say why they are where they are, and the passages that are shown of them."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rader_plugins import Document, Hit, RaderIndex, RaderRetriever
from rader_plugins.analysis import Analyzer
from rader_plugins.errors import InputError
from rader_plugins.index import Bm25Config
from rader_plugins.reranking import Reranker
from rader_plugins.reranking.base import reordered
from rader_plugins.retrieval.passages import best_passage, passage_of
from tests.support.brute_index import BruteIndex
from tests.support.encoders import HashEncoder

WORDS = ("graph", "proof", "number", "colour", "guest", "month", "prime", "the", "of", "pigeons")


def _documents(count: int, seed: int = 0) -> list[Document]:
    draw = np.random.default_rng(seed)
    return [Document(f"d{number}", " ".join(draw.choice(WORDS, 12))) for number in range(count)]


@pytest.fixture(scope="module")
def index() -> Any:
    index = RaderIndex.create(None, HashEncoder())
    index.add(_documents(60))
    index.delete([f"d{number}" for number in range(0, 60, 7)])
    index.add(_documents(5, seed=1))  # replaced: rows of an earlier state are dead
    return index


QUERY = "graph proof of the zebra pigeons"


@pytest.mark.parametrize("mode", ["hybrid", "dense", "bm25"])
def test_the_parts_add_up_to_the_scores(index: Any, mode: Any) -> None:
    hits = RaderRetriever(index, mode=mode, alpha=0.6, candidates=9).search(QUERY, k=12, explain=True)
    assert hits
    for hit in hits:
        explanation = hit.explain()
        lexical = sum(term.score for term in explanation.details.terms)
        if "bm25" in hit.scores:
            assert lexical == pytest.approx(hit.scores["bm25"], rel=1e-5, abs=1e-9)
        for term in explanation.details.terms:
            assert term.frequency == Analyzer().terms(hit.document.text).count(term.term)
            assert term.documents == sum(term.term in Analyzer().terms(document.text) for document in index.documents())
        matching = {term.term for term in explanation.details.terms}
        assert matching | set(explanation.details.missing) == {"graph", "proof", "zebra", "pigeon"}
        assert "zebra" in explanation.details.missing
        if mode == "hybrid":
            shares = [entry.share for entry in explanation.details.lists.values()]
            assert math.fsum(shares) == pytest.approx(hit.score, abs=1e-9)
        assert json.loads(json.dumps(explanation.as_json(), allow_nan=False))["query"] == QUERY
        assert str(explanation).startswith(f"{hit.rank}. {hit.document.id}")


def test_ranks_are_those_of_the_lists_by_themselves(index: Any) -> None:
    candidates = 9
    lists = {mode: RaderRetriever(index, mode=mode).search(QUERY, k=candidates) for mode in ("dense", "bm25")}
    for hit in RaderRetriever(index, candidates=candidates).search(QUERY, k=candidates, explain=True):
        for mode, entry in hit.explain().details.lists.items():
            alone = {other.document.id: other.rank for other in lists[mode]}
            assert entry.rank == alone.get(hit.document.id)


def test_asking_for_an_explanation_changes_nothing_else(index: Any) -> None:
    retriever = RaderRetriever(index)
    plain, explained = (retriever.search(QUERY, k=8, explain=explain) for explain in (False, True))
    assert plain == explained
    with pytest.raises(InputError, match="explain=True"):
        plain[0].explain()
    with pytest.raises(InputError, match="explain must be True or False"):
        retriever.search(QUERY, explain="yes")


class Backwards(Reranker):
    def rerank_batch(self, queries: Any, hits: Any) -> list[list[Hit]]:
        scores = [list(map(float, range(len(ranking)))) for ranking in hits]
        return [
            reordered(ranking, values, [{"rerank": value} for value in values])
            for ranking, values in zip(hits, scores, strict=True)
        ]


def test_what_a_reranker_changed(index: Any) -> None:
    hits = RaderRetriever(index, reranker=Backwards(), rerank_top=6).search(QUERY, k=3, explain=True)
    assert [hit.explain().details.rank for hit in hits] == [6, 5, 4]
    assert "up from rank 6 to 1" in str(hits[0].explain())


def test_terms_are_shown_as_the_words_of_the_document_and_missing_ones_as_those_of_the_query() -> None:
    index = RaderIndex.create(None, encoder=None)
    index.add([Document("cell", "Theories of sugars.\nA THEORY is tested."), Document("other", "A wall.")])
    [hit] = RaderRetriever(index, mode="bm25").search("theory sugar batteries", explain=True)
    shown, data = str(hit.explain()), hit.explain().as_json()
    assert "Theories " in shown
    assert "(2 times)" in shown
    assert "sugars " in shown
    assert shown.endswith("batteries")
    words = {term["term"]: term["word"] for term in data["terms"]}
    assert words == {"theori": "Theories", "sugar": "sugars"}
    assert (data["missing"], data["missing_words"]) == (["batteri"], ["batteries"])


def test_words_and_passages_follow_the_language_of_the_index() -> None:
    index = RaderIndex.create(None, encoder=None, bm25=Bm25Config(language="german"))
    index.add([Document("dorf", "Am Rande standen HÄUSER."), Document("stadt", "Eine Mauer.")])
    [hit] = RaderRetriever(index, mode="bm25").search("ein Haus", explain=True)
    assert [term["word"] for term in hit.explain().as_json()["terms"]] == ["HÄUSER"]
    [(start, end)] = passage_of(hit).marks
    assert hit.document.text[start:end] == "HÄUSER"


def test_a_word_of_several_terms_names_none_of_them() -> None:
    index = RaderIndex.create(None, encoder=None, bm25=Bm25Config(identifiers=True))
    index.add([Document("code", "def load_encoder(): ..."), Document("prose", "The encoder is a wall.")])
    for hit in RaderRetriever(index, mode="bm25").search("load an encoder", explain=True):
        assert {term.term for term in hit.explain().details.terms} <= {"load", "encod"}
        expected = [] if hit.document.id == "code" else ["encoder"]
        assert [term["word"] for term in hit.explain().as_json()["terms"] if term["word"] != term["term"]] == expected


def test_an_index_that_cannot_explain_says_so() -> None:
    retriever = RaderRetriever(BruteIndex(HashEncoder()), mode="bm25")
    with pytest.raises(InputError, match="cannot do ranks, terms"):
        retriever.search(QUERY, explain=True)


# Words in texts


@given(st.text(st.sampled_from("Aab's. -é漢字กा\n1,5"), max_size=40))
def test_the_words_that_match_are_the_terms_of_the_text(text: str) -> None:
    analyzer = Analyzer("none")
    terms = set(analyzer.terms(text))
    matches = list(analyzer.matches(text, terms))
    assert {term for *_, term in matches} == terms
    for start, end, term in matches:
        assert 0 <= start < end <= len(text)
        assert term in analyzer.terms(text[start:end])


def test_words_are_found_by_their_stems_and_in_every_spelling() -> None:
    text = "Pigeons' holes, cafe\u0301s and CAFÉS: 漢字"
    matches = {text[start:end]: term for start, end, term in Analyzer().matches(text, {"pigeon", "café", "漢字"})}
    assert matches == {"Pigeons": "pigeon", "cafe\u0301s": "café", "CAFÉS": "café", "漢字": "漢字"}


@given(
    st.text(st.sampled_from("ab xyz\n"), max_size=200),
    st.integers(1, 60),
)
def test_a_passage_is_a_part_of_the_text(text: str, size: int) -> None:
    weights = {"a": 2.0, "b": 1.0}
    passage = best_passage(text, list(Analyzer("none").matches(text, weights)), weights, size)
    assert 0 <= passage.start <= passage.end <= len(text)
    assert passage.end - passage.start <= size
    first = passage.marks[0][0] if passage.marks else passage.start
    assert passage.line == text[:first].count("\n") + 1
    for start, end in passage.marks:
        assert passage.start <= start < end <= passage.end
        assert text[start:end] in weights
    words = Analyzer("none").terms(text)
    assert bool(passage.marks) == bool({"a", "b"} & set(words))


def test_the_passage_where_most_comes_together_is_taken() -> None:
    text = "graph " + "x " * 300 + "a proof about a graph of primes " + "y " * 300 + "proof proof proof proof"
    weights = {"graph": 1.0, "proof": 1.0, "prime": 1.0}
    passage = best_passage(text, Analyzer().matches(text, weights), weights, 80)
    assert "proof about a graph of primes" in text[passage.start : passage.end]
    assert len(passage.marks) == 3


@pytest.mark.parametrize(
    ("text", "beginning"),
    [
        ("---\ntitle: T\n---\n\n# Leave\n", "# Leave"),
        ("+++\ntitle = 1\n+++\nbody", "body"),
        ("\n\n***\n  words", "words"),
        ("---\nnot closed", "not closed"),
        ("---\nonly: this\n---\n", "only"),
        ("...", "..."),
    ],
)
def test_without_a_match_the_beginning_that_says_something(text: str, beginning: str) -> None:
    passage = best_passage(text, (), {}, 100)
    assert text[passage.start : passage.end].startswith(beginning)


def test_the_passage_of_a_hit(index: Any) -> None:
    [hit] = RaderRetriever(index, mode="bm25").search("pigeons", k=1, explain=True)
    passage = passage_of(hit)
    assert {hit.document.text[start:end] for start, end in passage.marks} == {"pigeons"}
    assert passage_of(dataclasses.replace(hit, details=None)).marks == ()
