"""Every engine gives the embedded index's answers: the same ids, the same scores, whatever was written before."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rader_plugins import Document, RaderIndex, RaderRetriever, create_index, open_index
from rader_plugins.engines.collection import Collection, Limits
from rader_plugins.errors import InputError
from rader_plugins.explanation import Explanation
from rader_plugins.index import Bm25Config, Index, SearchRequest
from tests.rader_plugins.index.test_filters import conditions, metadata
from tests.support.encoders import WORDS, HashEncoder, random_text
from tests.support.examples import examples

pytestmark = [
    pytest.mark.real,
    pytest.mark.filterwarnings("ignore::rader_plugins.errors.FilterWarning"),
    pytest.mark.filterwarnings("ignore::rader_plugins.errors.DriftWarning"),
]
MODES = ("dense", "bm25", "hybrid")
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
Fresh = Callable[[], str]


def corpus(count: int, seed: int = 5) -> list[Document]:
    rng = np.random.default_rng(seed)
    return [
        Document(f"d{n:03d}", random_text(rng, int(rng.integers(1, 12))), {"n": n, "part": WORDS[n % 3]})
        for n in range(count)
    ]


def both(url: str, documents: Sequence[Document], **options: Any) -> tuple[Index, Index]:
    engine = create_index(url, HashEncoder(), **options)
    embedded = RaderIndex.create(None, HashEncoder(), **options)
    for index in (engine, embedded):
        index.add(documents)
    return engine, embedded


def assert_congruent(engine: Index, embedded: Index, request: SearchRequest, *, accuracy: float = 1e-4) -> None:
    """The same hits; where two scores are as good as equal (1e-6), either may come first."""
    for ours, theirs in zip(engine.search(request), embedded.search(request), strict=True):
        assert len(ours) == len(theirs), request
        for hit, other in zip(ours, theirs, strict=True):
            assert dict(hit.scores).keys() == dict(other.scores).keys()
            assert hit.score == pytest.approx(other.score, abs=accuracy)
            assert hit.rank == other.rank
            if hit.document.id == other.document.id:
                assert dict(hit.scores) == pytest.approx(dict(other.scores), abs=accuracy)
                assert hit.document == other.document
            else:
                assert hit.score == pytest.approx(other.score, abs=1e-6), (hit, other)


def ids(index: Index, request: SearchRequest) -> list[list[str]]:
    return [[hit.document.id for hit in hits] for hits in index.search(request)]


def requests(texts: Sequence[str], **options: Any) -> list[SearchRequest]:
    vectors = HashEncoder().encode_queries(texts)
    return [SearchRequest(texts, None if mode == "bm25" else vectors, mode=mode, **options) for mode in MODES]


@pytest.mark.parametrize("weighted", [True, False])
def test_every_mode_filter_and_depth(fresh: Fresh, weighted: bool) -> None:
    engine, embedded = both(fresh(), corpus(150), bm25=Bm25Config(query_weighted=weighted))
    engine.optimize()
    texts = [*(random_text(np.random.default_rng(seed), 5) for seed in range(5)), "unheard prime of", "unheard", ""]
    excluded = [[f"d{n:03d}" for n in range(start, 150, 7)] for start in range(len(texts))]
    for options in (
        {},
        {"candidates": 10, "k": 25},
        {"candidates": 3, "k": 2, "alpha": 0.3},
        {"exclude_ids": excluded},
        {"filter": {"part": "prime", "n": {"$gt": 20}}, "candidates": 12},
        {"filter": {"n": {"$in": [3, 4, 5]}}, "exclude_ids": [["d003"]] * len(texts)},
        {"filter": {"n": -1}},
        {"k": 1000},
    ):
        for request in requests(texts, **options):
            assert_congruent(engine, embedded, request)
    engine.close()


@pytest.mark.parametrize("candidates", [1000, 12])
def test_explanations(fresh: Fresh, candidates: int) -> None:
    engine, embedded = both(fresh(), corpus(90))
    engine.optimize()
    texts = [
        *(random_text(np.random.default_rng(seed), 5) for seed in range(4)),
        "unheard prime prime of",
        "unheard",
        "",
    ]
    for request in requests(texts, details={"ranks", "terms"}, candidates=candidates, k=15, filter={"n": {"$gt": 9}}):
        assert_congruent(engine, embedded, request)
        for hits, others in zip(engine.search(request), embedded.search(request), strict=True):
            assert_explained_alike([hit.explain() for hit in hits], {hit.document.id: hit.explain() for hit in others})
    [plain] = engine.search(SearchRequest(["prime"], mode="bm25"))
    assert plain[0].details is None
    engine.close()


def assert_explained_alike(explanations: Sequence[Explanation], others: dict[str, Explanation]) -> None:
    """As the embedded index explains; ranks of scores that are as good as equal may be exchanged."""
    scores: dict[tuple[str, int | None], float] = {}
    for other in others.values():
        scores |= {(name, place.rank): place.score for name, place in other.details.lists.items()}
    for explanation in explanations:
        details = explanation.details
        assert details.rank == explanation.rank
        for name, place in details.lists.items():
            if place.rank is not None and (name, place.rank) in scores:
                assert place.score == pytest.approx(scores[name, place.rank], abs=1e-4)
        if (other := others.get(explanation.id)) is None:
            continue
        assert other.details.query == details.query
        assert other.details.lists.keys() == details.lists.keys()
        for name, place in details.lists.items():
            expected = other.details.lists[name]
            assert (place.rank is None) == (expected.rank is None)
            assert place.weight == expected.weight
            assert place.z == (None if expected.z is None else pytest.approx(expected.z, abs=1e-3))
        assert other.details.missing == details.missing
        assert other.words == explanation.words
        shares = {term.term: (term.frequency, term.documents, term.score) for term in details.terms}
        expected_shares = {term.term: (term.frequency, term.documents, term.score) for term in other.details.terms}
        assert shares.keys() == expected_shares.keys()
        for term, share in shares.items():
            assert share == pytest.approx(expected_shares[term], abs=1e-4)
        assert [term.score for term in details.terms] == sorted((term.score for term in details.terms), reverse=True)
        if "bm25" in explanation.scores:
            assert sum(term.score for term in details.terms) == pytest.approx(explanation.scores["bm25"], abs=1e-4)


def test_equal_scores_are_ordered_by_id_and_never_cut_otherwise(fresh: Fresh) -> None:
    """Nearly all documents are the same; which of them are the candidates changes the z-scores."""
    documents = [Document(f"d{999 - n}", WORDS[n // 190] + " proof", {"n": n}) for n in range(400)]
    engine, embedded = both(fresh(), documents)
    engine.optimize()
    for options in ({"k": 7}, {"k": 7, "candidates": 9}, {"k": 30, "candidates": 200}):
        for request in requests(["prime proof", "divisor divisor"], **options):
            [ours, theirs] = (
                [[hit.document.id for hit in hits] for hits in i.search(request)] for i in (engine, embedded)
            )
            assert ours == theirs
            assert_congruent(engine, embedded, request)
    engine.close()


words = st.lists(st.sampled_from([*WORDS[:6], "the", "42", "naïve", "数学"]), max_size=6).map(" ".join)
writes = st.one_of(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), words), min_size=1, max_size=5, unique_by=lambda pair: pair[0]),
    st.sets(st.sampled_from("abcdefgh"), min_size=1, max_size=3),
)


@settings(relaxed, max_examples=examples(20))
@given(st.lists(writes, min_size=1, max_size=6), words, words)
def test_whatever_was_written_before(fresh: Fresh, history: list[Any], query: str, other: str) -> None:
    engine, embedded = both(fresh(), [])
    for write in history:
        for index in (engine, embedded):
            if isinstance(write, set):
                index.delete(sorted(write))
            else:
                index.add([Document(id, text, {"size": len(text)}) for id, text in write])
    assert len(engine) == len(embedded)
    assert sorted(engine.ids()) == sorted(embedded.ids())
    engine.optimize()
    for request in requests([query, other], k=5, candidates=3):
        assert_congruent(engine, embedded, request)
    engine.close()


@settings(relaxed, max_examples=examples(25))
@given(st.lists(metadata, min_size=1, max_size=8), st.lists(conditions, min_size=1, max_size=6))
def test_filters_admit_the_same_or_are_refused(
    fresh: Fresh, rows: list[dict[str, Any]], filters: list[dict[str, Any]]
) -> None:
    engine, embedded = both(fresh(), [Document(str(n), "prime", row) for n, row in enumerate(rows)])
    for condition in filters:
        try:
            names = sorted(engine.ids(condition))
        except InputError:
            continue  # what an engine must be able to express is held below
        assert names == sorted(embedded.ids(condition)), condition
        [hits] = engine.search(SearchRequest(["prime"], mode="bm25", filter=condition))
        assert sorted(hit.document.id for hit in hits) == names
    engine.close()


EXPRESSIBLE: list[dict[str, Any]] = [
    {"n": 3},
    {"n": 3.0},
    {"word": "graph", "n": {"$ne": 5}},
    {"n": {"$gte": 3, "$lt": 7}},
    {"n": {"$in": [1, 2, 99]}},
    {"n": {"$nin": [1, 2, 99]}},
    {"flag": True},
    {"flag": {"$ne": True}},
    {"tags": "even"},
    {"tags": {"$contains": "even"}},
    {"tags": {"$all": ["even", "low"]}},
    {"tags": {"$size": 2}},
    {"tags": ["even", "low"]},
    {"author.name": "Noether"},
    {"author": {"name": "Noether"}},
    {"papers.year": 1931},
    {"papers.year": {"$gt": 1940}},
    {r"dotted\.key": 4},
    {"dotted.key": 4},
    {"missing": None},
    {"maybe": None},
    {"maybe": {"$exists": True}},
    {"maybe": {"$exists": False}},
    {"maybe": {"$type": "null"}},
    {"tags": {"$type": "array"}},
    {"day": {"$gte": dt.date(2024, 2, 3)}},
    {"day": dt.datetime(2024, 2, 3, tzinfo=dt.timezone.utc)},
    {"$or": [{"n": 1}, {"$and": [{"word": "prime"}, {"n": {"$gt": 4}}]}]},
    {"$not": {"n": {"$lt": 8}}},
    {"n": {"$not": {"$gt": 2}}},
    {"n": {"$in": [1, 2.0, "3", None, *range(9, 2000)]}},
    {"n": {"$nin": [1, 2.0, "3", None, *range(9, 2000)]}},
    {"tags": {"$in": ["low", ["odd"], {"a": 1}, True]}},
    {"tags": {"$nin": ["low", ["odd"], {"a": 1}, True]}},
    {"day": {"$in": [dt.date(2024, 2, 2), dt.datetime(2024, 2, 3, 7, 30, tzinfo=dt.timezone.utc), "2024-02-04"]}},
    {"day": {"$nin": [dt.date(2024, 2, 2), dt.datetime(2024, 2, 3, 7, 30, tzinfo=dt.timezone.utc), "2024-02-04"]}},
    {"$or": [{"n": 1}, {"word": "prime"}, {"word": "heat"}, {"flag": {"$ne": True}}, {"maybe": {"$ne": 7}}]},
    {"$and": [{"n": {"$ne": 1}}, {"word": {"$ne": "prime"}}, {"word": {"$nin": ["heat", "x"]}}, {"flag": True}]},
]


def described(n: int) -> Document:
    values: dict[str, Any] = {
        "n": n,
        "word": WORDS[n % 4],
        "flag": n % 2 == 0,
        "tags": (["even"] if n % 2 == 0 else ["odd"]) + (["low"] if n < 5 else []),
        "author": {"name": ("Noether", "Gödel", "Erdős")[n % 3]},
        "papers": [{"year": 1930 + n}, {"year": 1940 + n}, "lost"],
        "dotted.key": n,
        "day": f"2024-02-{n + 1:02d}" + ("" if n % 2 else "T12:30:00+05:00"),
    }
    if n % 3:
        values["maybe"] = None if n % 3 == 1 else [n]
    return Document(f"d{n}", "prime heat", values)


def test_the_dialect_of_filters(fresh: Fresh) -> None:
    engine, embedded = both(fresh(), [described(n) for n in range(12)])
    for condition in EXPRESSIBLE:
        expected = sorted(embedded.ids(condition))
        assert sorted(engine.ids(condition)) == expected, condition
        for request in requests(["prime"], filter=condition, k=20):
            assert sorted(hit.document.id for hit in engine.search(request)[0]) == expected
    for text in ("g", "graph", "", "é"):
        condition = {"word": {"$gt": text}}
        with contextlib.suppress(InputError):  # an engine may not compare strings
            assert sorted(engine.ids(condition)) == sorted(embedded.ids(condition))
    assert engine.delete(filter={"n": {"$lt": 5}}) == 5
    assert engine.delete(["d5", "d9"], filter={"n": 9}) == 1
    assert len(engine) == 6
    engine.close()


def nested(levels: int) -> dict[str, Any]:
    condition: dict[str, Any] = {"n": {"$gte": 3}}
    for level in range(levels):
        part = [condition, {"word": {"$ne": "x"}}]
        condition = {"$not": {"$or": part}} if level % 3 == 2 else {"$and": part} if level % 3 else {"$or": part}
    return condition


def test_filters_many_levels_deep_are_answered_and_deeper_ones_refused(fresh: Fresh) -> None:
    engine, embedded = both(fresh(), [described(n) for n in range(9)])
    for levels in (20, 60):
        assert sorted(engine.ids(nested(levels))) == sorted(embedded.ids(nested(levels)))
    with pytest.raises(InputError, match="nested too deeply"):
        engine.ids(nested(200))
    engine.close()


@pytest.mark.parametrize("k", [10**6, 10**30])
def test_more_hits_may_be_asked_for_than_there_are(fresh: Fresh, k: int) -> None:
    engine, embedded = both(fresh(), corpus(20))
    for request in requests(["prime heat"], k=k, candidates=k):
        assert_congruent(engine, embedded, request)
    engine.close()


def test_a_query_of_very_many_words_is_answered_or_refused_by_name(fresh: Fresh) -> None:
    engine, embedded = both(fresh(), corpus(20))
    query = " ".join(["prime", *(f"word{n}" for n in range(17_000))])
    for request in requests([query], k=20)[1:]:
        if (most := limits_of(engine).terms) is None:
            assert_congruent(engine, embedded, request)
        else:
            with pytest.raises(InputError, match=rf"17,001 different words.*{most:,}"):
                engine.search(request)
    engine.close()


def limits_of(engine: Index) -> Limits:
    limits: Limits = engine._collection.limits  # type: ignore[attr-defined]  # what an engine says of itself
    return limits


def test_a_function_is_refused_before_anything_runs(fresh: Fresh) -> None:
    engine, _ = both(fresh(), corpus(3))
    with pytest.raises(InputError, match="filter_function"):
        RaderRetriever(engine).search("prime", filter=lambda _: True)
    for call in (engine.ids, lambda condition: engine.delete(filter=condition)):
        with pytest.raises(InputError, match="function"):
            call(lambda _: True)
    engine.close()


def test_documents_come_back_as_they_went(fresh: Fresh) -> None:
    kinds = {"i": 2**60, "f": 0.1, "e": 1e-7, "t": True, "z": None, "l": [1, "a", [2.5, {}]], "o": {"a": {"b": []}}}
    odd = "Ελληνικά 数学 🙂\r\n\ttab \\ ' \" % %s {0}"
    documents = [Document("types", "", kinds), Document(odd, odd, {odd: odd}), Document("x" * 500, "word " * 3000, {})]
    engine, embedded = both(fresh(), documents)
    names = [document.id for document in documents]
    assert engine.get([*names, "none"]) == documents == embedded.get(names)
    assert list(engine.ids({odd: odd})) == [odd]
    assert engine.add(documents).counts == (0, 0, 3, 0, 0)
    vectors, embedded_vectors = engine.vectors(names), embedded.vectors(names)
    for name in names:
        assert np.array_equal(vectors[name], embedded_vectors[name])
        assert engine.search(SearchRequest(["word"], mode="bm25", exclude_ids=[[name]]))
    assert engine.delete([*names, "none"]) == 3
    engine.close()


@pytest.mark.parametrize("number", [1e16, 1e22, 1e23, -1.5e17, 1e300, 1.7e308, 5e-324, 10**23, 2**64 + 1, 1.0, -0.5])
def test_numbers_come_back_with_their_type_and_are_found(fresh: Fresh, number: float) -> None:
    values = {"x": number, "list": [number, "1e+22", 'a"1e+30'], "1e+22": {"deep": number}}
    engine, embedded = both(fresh(), [Document("a", "prime", values), Document("b", "heat", {"x": 7})])
    [document] = engine.get(["a"])
    assert document.metadata == values
    assert type(document.metadata["x"]) is type(document.metadata["1e+22"]["deep"]) is type(number)
    for condition in ({"x": number}, {"x": {"$in": [number, 3]}}, {"list": number}, {"x": {"$ne": number}}):
        assert list(engine.ids(condition)) == list(embedded.ids(condition)), condition
    assert engine.add([Document("a", "prime", values)]).unchanged == 1
    engine.close()


def test_float16_vectors_round_the_same(fresh: Fresh) -> None:
    url = fresh()
    try:
        engine, embedded = both(url, corpus(60), dtype="float16")
    except InputError as error:
        pytest.skip(f"no float16 vectors: {error}")
    engine.optimize()
    for request in requests(["prime heat", "orbit"], candidates=20):
        assert_congruent(engine, embedded, request, accuracy=2e-3)
    assert np.array_equal(engine.vectors(["d001"])["d001"], embedded.vectors(["d001"])["d001"])
    assert engine.add(corpus(60)).unchanged == 60
    engine.close()


def test_an_index_without_vectors(fresh: Fresh) -> None:
    url = fresh()
    engine, embedded = create_index(url, None), create_index(None, None)
    for index in (engine, embedded):
        index.add(corpus(40))
    engine.optimize()
    for text in ("prime heat", "orbit", ""):
        assert_congruent(engine, embedded, SearchRequest([text], mode="bm25", filter={"n": {"$gt": 3}}))
    assert (engine.recipe, engine.encoder, engine.vectors(["d001"])) == (None, None, {})
    assert open_index(url).recipe is None
    engine.close()


def test_partitions(fresh: Fresh) -> None:
    url = fresh()
    joint = "&" if "?" in url else "?"
    first = create_index(f"{url}{joint}partition=one", HashEncoder())
    second = open_index(f"{url}{joint}partition=two", HashEncoder())
    first.add(corpus(30))
    second.add([Document("d001", "orbit"), Document("own", "heat")])
    assert (len(first), len(second)) == (30, 2)
    for request in requests(["orbit heat prime"], k=50):
        assert {hit.document.id for hit in second.search(request)[0]} <= {"d001", "own"}
        assert len(first.search(request)[0]) > 2
    [hits] = second.search(SearchRequest(["prime"], mode="bm25", partition="one"))
    assert hits == first.search(SearchRequest(["prime"], mode="bm25"))[0]
    assert second.get(["d001"])[0].text == "orbit"
    assert second.delete(["d001", "d002"]) == 1
    assert len(first) == 30
    first.optimize()  # of all partitions
    assert second.stats()["statistics"]["documents"] == 31
    first.close()
    second.close()


@pytest.mark.parametrize(
    "name", ["käse 素数 🧮", "a'b\"c\\d%_", "../x", "a/b", "a%20b", "\n\t", "x" * 300, "a\0b", "y" * 60_000]
)
def test_a_partition_may_have_any_name_or_is_refused(fresh: Fresh, name: str) -> None:
    url = fresh()
    joint = "&" if "?" in url else "?"
    plain = create_index(url, HashEncoder())
    plain.add(corpus(3))
    limits, own_url = limits_of(plain), f"{url}{joint}partition={quote(name, safe='')}"
    if (limits.partition_bytes or 10**9) < len(name) or ("\0" in name and not limits.nul):
        for call in (
            lambda: open_index(own_url, HashEncoder()),
            lambda: plain.search(SearchRequest(["prime"], mode="bm25", partition=name)),
        ):
            with pytest.raises(InputError, match="partition"):
                call()
    else:
        own = open_index(own_url, HashEncoder())
        assert own.add([Document("d001", "prime", {"n": 7})]) == 1
        assert list(own.ids({"n": 7})) == own.stats()["documents"] * ["d001"] == ["d001"]
        for request in requests(["prime"], k=9, partition=name):
            assert ids(plain, request) == [["d001"]]
        assert (own.delete(filter={"n": 7}), len(own)) == (1, 0)
        own.close()
    assert len(plain) == 3
    plain.close()


class Halted(Exception):
    """Stands for the end of a process."""


def test_a_renewal_that_is_killed_half_way_leaves_an_index_that_answers_and_the_next_one_completes_it(
    fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = fresh()
    engine, embedded = both(url, corpus(60))
    more = [Document(f"long{n}", "orbit matrix " * 9) for n in range(30)]
    for index in (engine, embedded):
        index.add(more)
    collection: Any = engine._collection  # type: ignore[attr-defined]
    put_terms = collection.put_terms

    def half(rows: Sequence[Any], stamp: int) -> None:
        put_terms(rows[: len(rows) // 2], stamp)
        raise Halted

    with monkeypatch.context() as patch:
        patch.setattr(collection, "put_terms", half)
        with pytest.raises(Halted):
            engine.optimize()
    survivor = open_index(url, HashEncoder())
    assert survivor.stats()["statistics"]["documents"] == 60  # the old ones are in force
    assert survivor.stats()["statistics"]["drift"] > 0  # and it is told that they are not of now
    for request in requests(["orbit heat", "prime"], k=90):
        assert ids(survivor, request)[0]
        assert survivor.search(request)[0][0].score > 0
    survivor.optimize()
    assert survivor.stats()["statistics"]["drift"] == 0
    for request in requests(["orbit heat", "prime"], k=90):
        assert_congruent(survivor, embedded, request)
    survivor.close()
    engine.close()


def test_statistics_that_a_killed_process_left_are_removed_when_they_are_old(
    fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, _ = both(fresh(), corpus(20))
    collection: Any = engine._collection  # type: ignore[attr-defined]
    old, young = f"statistics-{int(time.time()) - 90_000:x}-old", f"statistics-{int(time.time()):x}-young"
    for name in (old, young, "note-statistics", "statistics-0123456789abcdef"):
        collection.write(name, b"x" * 200_000)
    engine.add([Document("new", "orbit")])
    engine.optimize()
    [current] = set(collection.names("statistics-")) - {young, "statistics-0123456789abcdef"}
    assert collection.read(old) is None
    assert collection.read(young) == collection.read("note-statistics") == b"x" * 200_000
    assert collection.read(current)
    collection.remove(young)
    assert young not in collection.names("")
    engine.close()


def test_large_values_beside_the_documents_come_back_as_they_went(fresh: Fresh) -> None:
    engine = create_index(fresh(), None)
    collection: Collection = engine._collection  # type: ignore[attr-defined]  # what statistics are written with
    pieces = [np.random.default_rng(seed).bytes(size) for seed, size in enumerate((5_000_001, 0, 17, 4 << 20))]
    for value in (pieces, [memoryview(piece) for piece in pieces[1:]], [b""]):
        collection.write("note-large", *value)
        assert collection.read("note-large") == b"".join(value)
    engine.set_note("large", b"small")  # type: ignore[attr-defined]
    assert engine.note("large") == b"small"  # type: ignore[attr-defined]
    assert collection.read("note-other") is None
    engine.close()


def test_two_that_fill_an_empty_index_at_once(fresh: Fresh) -> None:
    """Whoever is first, all documents are there, and what the statistics lack is told until they are renewed."""
    url = fresh()
    create_index(url, HashEncoder()).close()
    one, two = open_index(url, HashEncoder()), open_index(url, HashEncoder())
    documents = corpus(60)

    def first_part() -> Iterator[Document]:
        yield from documents[:20]
        two.add(documents[40:])  # began when the index was empty, and ends before the first does
        yield from documents[20:40]

    one.add(first_part(), commit_every=10)
    embedded = RaderIndex.create(None, HashEncoder())
    embedded.add(documents)
    assert sorted(one.ids()) == sorted(embedded.ids())
    stats = one.stats()["statistics"]
    assert stats["documents"] + stats["written_since"] - stats["gone_since"] == 60
    one.optimize()
    assert one.stats()["statistics"]["documents"] == 60
    for request in requests(["orbit heat", "prime"], k=60):
        assert_congruent(open_index(url, HashEncoder()), embedded, request)
    one.close()
    two.close()


def test_what_is_stored_survives_closing_and_tells_its_state(fresh: Fresh) -> None:
    url = fresh()
    engine, _ = both(url, corpus(40))
    engine.close()
    opened = open_index(url, HashEncoder())
    assert opened.fingerprint == engine.fingerprint
    assert opened.add(corpus(41)).counts == (1, 0, 40, 1, 0)
    stats = opened.stats()
    assert stats["documents"] == 41
    assert (stats["statistics"]["written_since"], stats["statistics"]["gone_since"]) == (1, 0)
    assert stats["consistency"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert RaderRetriever(opened).search("prime", 3)
    opened.close()
