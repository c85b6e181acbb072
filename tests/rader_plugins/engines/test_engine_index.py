"""What all engines have in common, over a collection that is a dict."""

from __future__ import annotations

import asyncio
import tracemalloc
import warnings
from collections import Counter
from typing import Any

import numpy as np
import pytest

from rader_plugins import Document, RaderRetriever
from rader_plugins.engines.blobs import Blobs
from rader_plugins.engines.index import open_engine_index
from rader_plugins.engines.statistics import Drift, Statistics, StatisticsBuilder
from rader_plugins.errors import (
    AlreadyExistsError,
    DriftWarning,
    EngineError,
    FilterWarning,
    FingerprintMismatchError,
    IndexVersionError,
    InputError,
    OutdatedTermsWarning,
)
from rader_plugins.index import Bm25Config, Index, SearchRequest, is_index
from tests.support.dict_collection import DictCollection, embedded, index_in
from tests.support.encoders import WORDS, HashEncoder, random_text


def corpus(count: int, seed: int = 5) -> list[Document]:
    rng = np.random.default_rng(seed)
    return [Document(f"d{n:03d}", random_text(rng, int(rng.integers(1, 12))), {"n": n % 3}) for n in range(count)]


def answers(index: Index, mode: Any, queries: list[str], **options: Any) -> list[list[tuple[str, dict[str, float]]]]:
    retriever = RaderRetriever(index, mode, 0.6, candidates=options.pop("candidates", 7))
    return [
        [(hit.document.id, dict(hit.scores)) for hit in hits] for hits in retriever.search_batch(queries, 9, **options)
    ]


def assert_same(ours: Any, theirs: Any) -> None:
    assert [[id for id, _ in hits] for hits in ours] == [[id for id, _ in hits] for hits in theirs]
    for hits, others in zip(ours, theirs, strict=True):
        for (_, scores), (_, other) in zip(hits, others, strict=True):
            assert scores == pytest.approx(other, abs=1e-4)


@pytest.mark.parametrize("mode", ["dense", "bm25", "hybrid"])
@pytest.mark.parametrize("weighted", [True, False])
def test_the_answers_are_those_of_the_embedded_index(mode: str, weighted: bool) -> None:
    documents = corpus(80)
    config = Bm25Config(query_weighted=weighted)
    index = index_in(DictCollection(), HashEncoder(), bm25=config)
    assert is_index(index)
    index.add(documents, commit_every=30)
    index.optimize()  # the parts were weighed by the mean length of the first
    other = embedded(HashEncoder(), documents, bm25=config)
    assert_same(answers(index, mode, ["prime orbit"]), answers(other, mode, ["prime orbit"]))
    index.delete([f"d{n:03d}" for n in range(0, 80, 9)])
    index.add([Document("d004", "orbit orbit proof"), Document("z", "")])
    index.optimize()
    other.delete([f"d{n:03d}" for n in range(0, 80, 9)])
    other.add([Document("d004", "orbit orbit proof"), Document("z", "")])
    queries = [*(random_text(np.random.default_rng(seed), 5) for seed in range(6)), "orbit unheard prime", "unheard"]
    excluded = [["d010", "d020"]] * len(queries)
    for options in ({}, {"exclude_ids": excluded}, {"filter": {"n": 1}}):
        assert_same(answers(index, mode, queries, **options), answers(other, mode, queries, **options))


@pytest.mark.parametrize("mode", ["dense", "bm25", "hybrid"])
def test_equal_scores_at_the_end_of_a_list_are_ordered_by_id(mode: str) -> None:
    # The engine cuts ties in the order of insertion, and nearly all documents are alike.
    documents = [Document(f"d{999 - n}", WORDS[n // 190] + " proof") for n in range(400)]
    index = index_in(DictCollection(), HashEncoder())
    index.add(documents)
    index.optimize()
    other = embedded(HashEncoder(), documents)
    assert_same(
        answers(index, mode, ["prime proof"], candidates=20), answers(other, mode, ["prime proof"], candidates=20)
    )


def test_only_what_changed_is_encoded_and_written() -> None:
    encoder, collection = HashEncoder(), DictCollection()
    index = index_in(collection, encoder)
    assert index.add(corpus(20)).counts == (20, 0, 0, 20, 0)
    assert index.add(corpus(20)).counts == (0, 0, 20, 0, 0)
    changed = [Document("d001", "heat"), Document("d002", corpus(20)[2].text, {"n": "x"}), *corpus(20)[3:]]
    encoder.calls.clear()
    assert index.add(changed).counts == (0, 2, 17, 1, 0)
    assert encoder.calls == [1]
    assert index.get(["d002", "none", "d001"]) == [changed[1], changed[0]]
    assert np.allclose(index.vectors(["d002"])["d002"], encoder.encode_documents([changed[1].text])[0])
    vectors = np.ones((1, 16)) / 4
    assert index.add([changed[0]], vectors=vectors).counts == (0, 1, 0, 0, 0)
    assert index.add([changed[0]], vectors=vectors).counts == (0, 0, 1, 0, 0)


def test_a_write_that_broke_is_repeated_and_nothing_is_reported_that_is_not_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rader_plugins.engines.writing.time.sleep", lambda _: None)
    encoder, collection = HashEncoder(), DictCollection()
    index = index_in(collection, encoder)
    collection.failures = 2
    assert index.add(corpus(20)) == 20
    assert len(index) == 20
    collection.failures = 100
    encoder.calls.clear()
    fresh = [Document(f"e{n}", "heat") for n in range(4)]
    with pytest.raises(EngineError, match=r"broke.*1 vectors.*kept"):
        index.add(fresh)
    collection.failures = 0
    assert index.add(fresh) == 2  # the first half was stored before it broke
    assert encoder.calls == [1]
    assert len(index) == 24


def test_of_parts_in_flight_what_is_stored_stays_and_what_was_encoded_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, collection = HashEncoder(), DictCollection()
    index, documents = index_in(collection, encoder), [Document(f"d{n:02d}", f"prime {n}") for n in range(20)]
    upsert, parts = collection.upsert, 0

    def second_fails(partition: str, rows: Any) -> None:
        nonlocal parts
        parts += 1
        if parts == 2:
            raise EngineError("broke")
        upsert(partition, rows)

    with monkeypatch.context() as patch:
        patch.setattr(collection, "upsert", second_fails)
        with pytest.raises(EngineError, match=r"broke.*kept"):
            index.add(documents, commit_every=5)
    assert (len(index), sum(encoder.calls)) == (5, 15)  # the third part was encoded while the second was written
    assert index.add(documents, commit_every=5).counts == (15, 0, 5, 5, 0)
    assert sum(encoder.calls) == 20
    fault = [*(Document(f"e{n}", "heat") for n in range(11)), Document("nul", "a\x00b"), Document("z", "heat")]
    with pytest.raises(InputError, match="nul"):
        index.add(iter(fault), commit_every=5)
    assert sorted(id for id in index.ids() if id.startswith("e")) == sorted(f"e{n}" for n in range(10))


def test_a_renewal_counts_a_text_again_that_changed_in_between() -> None:
    collection = DictCollection()
    index = index_in(collection, HashEncoder())
    index.add(corpus(30))
    other = open_engine_index(collection, url="dict://", encoder=HashEncoder())
    index.add([Document("d001", "orbit")])
    scan, calls = collection.scan, 0

    def changing(stamp: int) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:  # all were counted
            other.add([Document("d002", "zyxgloo orbit")])
        return scan(stamp)

    collection.scan = changing  # type: ignore[method-assign]
    index.optimize()
    collection.scan = scan  # type: ignore[method-assign]
    assert [id for [(id, _)] in answers(index, "bm25", ["zyxgloo"])] == ["d002"]


def test_new_words_are_found_before_the_statistics_know_them() -> None:
    index = index_in(DictCollection(), None)
    index.add([Document(f"d{n}", "prime divisor") for n in range(20)])
    index.add([Document("new", "prime zyxgloo")])
    retriever = RaderRetriever(index, "bm25")
    assert [hit.document.id for hit in retriever.search("zyxgloo", 3)] == ["new"]
    assert retriever.search("prime zyxgloo", 3)[0].document.id == "new"


def test_statistics_tell_their_age_and_drift_and_are_renewed() -> None:
    collection = DictCollection()
    index = index_in(collection, None)
    index.add(corpus(40))
    before = index.stats()["statistics"]
    assert (before["documents"], before["written_since"], before["gone_since"], before["drift"]) == (40, 0, 0, 0.0)
    index.delete(["d001", "d002"])
    index.add([Document("d003", "orbit"), Document("new", "heat")])
    moved = index.stats()["statistics"]
    assert (moved["documents"], moved["written_since"], moved["gone_since"]) == (40, 2, 3)
    blobs = set(collection.blobs)
    index.optimize()
    renewed = index.stats()["statistics"]
    assert (renewed["documents"], renewed["written_since"], renewed["gone_since"]) == (39, 0, 0)
    assert sum(name.startswith("statistics-") for name in collection.blobs) == 1
    assert not blobs & set(collection.blobs) - {"header"}
    upserts = collection.blobs.copy()
    index.optimize()
    assert collection.blobs == upserts  # nothing had changed


def test_an_interrupted_renewal_leaves_the_old_statistics_and_the_next_one_is_complete() -> None:
    collection = DictCollection()
    index = index_in(collection, HashEncoder())
    index.add(corpus(60))
    index.add([Document(f"long{n}", "orbit matrix " * 9) for n in range(20)])
    put, count = collection.put_terms, 0

    def broken(rows: Any, stamp: int) -> None:
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt
        put(rows, stamp)

    collection.put_terms = broken  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        index.optimize()
    assert index.stats()["statistics"]["documents"] == 60
    index.add([Document("more", "heat wave heat")])
    index.optimize()
    other = embedded(HashEncoder(), list(index.get(list(index.ids()))))
    assert_same(answers(index, "hybrid", ["orbit heat"]), answers(other, "hybrid", ["orbit heat"]))


def test_two_renewals_at_once_leave_statistics_that_are_there() -> None:
    collection = DictCollection()
    index = index_in(collection, HashEncoder())
    index.add(corpus(60))
    first, second = (open_engine_index(collection, url="dict://", encoder=HashEncoder()) for _ in range(2))
    first.add([Document(f"new{n}", "orbit matrix " * 9) for n in range(10)])
    size, scan = collection.size, collection.scan

    def overtaken(stamp: int | None = None) -> int:  # the first has read the header, and has not yet written anything
        collection.size = size  # type: ignore[method-assign]
        second.optimize()
        return size(stamp)

    def looked_at(stamp: int) -> Any:
        third = open_engine_index(collection, url="dict://", encoder=HashEncoder())
        assert third.stats()["documents"] == 70
        assert answers(third, "bm25", ["orbit heat"])[0]
        return scan(stamp)

    collection.size, collection.scan = overtaken, looked_at  # type: ignore[method-assign]
    first.optimize()
    collection.scan = scan  # type: ignore[method-assign]
    other = embedded(HashEncoder(), list(index.get(list(index.ids()))))
    last = open_engine_index(collection, url="dict://", encoder=HashEncoder())
    assert_same(answers(last, "hybrid", ["orbit heat"]), answers(other, "hybrid", ["orbit heat"]))


def test_a_small_index_renews_its_statistics_and_a_large_one_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    index = index_in(DictCollection(), None)
    for document in corpus(30):
        index.add([document])
    assert index.stats()["statistics"]["drift"] <= 0.5
    monkeypatch.setattr("rader_plugins.engines.writing._FEW", 30)
    with pytest.warns(DriftWarning, match="optimize"):
        index.add([Document(f"new{n}", "heat") for n in range(40)])
    opened = open_engine_index(index._collection, None, url="dict://")
    with pytest.warns(DriftWarning, match="optimize"):
        RaderRetriever(opened, "bm25").search("heat")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RaderRetriever(opened, "bm25").search("heat")  # said once


def test_statistics_that_a_writer_renews_at_this_moment_are_taken_without_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    collection = DictCollection()
    index = index_in(collection, None)
    index.add(corpus(4))
    with monkeypatch.context() as patch:
        patch.setattr("rader_plugins.engines.writing._FEW", 0)  # so that the writer leaves them for the moment
        with pytest.warns(DriftWarning):
            index.add([Document(f"new{n}", "heat") for n in range(20)])
    reader = open_engine_index(collection, None, url="dict://")
    count = reader._moments.drift

    def drift() -> Drift:
        drift = count()
        index.optimize()  # the writer comes to it after the reader has counted
        return drift

    monkeypatch.setattr(reader._moments, "drift", drift)
    assert RaderRetriever(reader, "bm25").search("heat")  # a warning would be an error here
    assert reader.stats()["statistics"]["documents"] == 24


def test_words_of_another_version_are_told_and_renewed() -> None:
    collection = DictCollection()
    index = index_in(collection, None)
    index.add(corpus(9))
    collection.blobs["header"] = collection.blobs["header"].replace(b"rader/2:english", b"rader/1:english")
    with pytest.warns(OutdatedTermsWarning, match="rader/1:english"):
        RaderRetriever(open_engine_index(collection, None, url="dict://"), "bm25").search("heat")
    open_engine_index(collection, None, url="dict://").optimize()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RaderRetriever(open_engine_index(collection, None, url="dict://"), "bm25").search("heat")


def test_another_object_sees_renewed_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    collection = DictCollection()
    index = index_in(collection, None)
    index.add([Document(f"d{n}", "prime divisor") for n in range(20)])
    reader = open_engine_index(collection, None, url="dict://")
    old = RaderRetriever(reader, "bm25").search("prime", 3)
    index.add([Document(f"e{n}", "orbit") for n in range(9)])
    index.optimize()
    monkeypatch.setattr("rader_plugins.engines.moments._REFRESH", -1.0)
    fresh = RaderRetriever(reader, "bm25").search("prime", 3)
    assert fresh == RaderRetriever(index, "bm25").search("prime", 3)
    assert fresh != old


def test_partitions_do_not_see_each_other() -> None:
    collection = DictCollection()
    one = index_in(collection, HashEncoder(), partition="one")
    two = open_engine_index(collection, HashEncoder(), url="dict://", partition="two")
    one.add([Document("a", "prime"), Document("b", "heat")])
    two.add([Document("a", "orbit")])
    assert (len(one), len(two)) == (2, 1)
    assert [document.text for document in two.get(["a", "b"])] == ["orbit"]
    assert [hit.document.text for hit in RaderRetriever(two).search("prime heat orbit", 5)] == ["orbit"]
    request = SearchRequest(["prime"], mode="bm25", partition="one")
    assert [hit.document.text for hit in two.search(request)[0]] == ["prime"]
    assert two.delete(["a", "b"]) == 1
    assert sorted(one.ids()) == ["a", "b"]


def test_what_cannot_be_stored_is_refused_by_name_before_anything_is() -> None:
    encoder = HashEncoder()
    index = index_in(DictCollection(), encoder)
    for fault, words in (
        (Document("long", "x" * 1001), "'long' has 1,001 bytes, and A dict stores 1,000"),
        (Document("nul", "a\x00b"), r"'nul' holds the character U\+0000"),
        (Document("nul", "a", {"x": ["\x00"]}), r"'nul' holds the character U\+0000"),
    ):
        with pytest.raises(InputError, match=words):
            index.add([Document("fine", "prime"), fault])
        assert len(index) == 0
    assert not encoder.calls
    with pytest.raises(InputError, match="lock_timeout"):
        index.add([], lock_timeout=3)
    with pytest.raises(InputError, match="filter_function"):
        RaderRetriever(index, "dense").search("x", filter=lambda _: True)


def test_more_hits_than_an_engine_returns_are_refused_where_there_are_more() -> None:
    collection = DictCollection()
    index = index_in(collection, HashEncoder())
    index.add(corpus(20))
    assert len(RaderRetriever(index, "dense").search("x", 5000)) == 20
    collection.most = 19
    for mode, name in (("dense", "k"), ("bm25", "k"), ("hybrid", "candidates")):
        with pytest.raises(InputError, match=f"19 hits at most: {name}"):
            RaderRetriever(index, mode, candidates=20).search("x", 19 + (name == "k"))
    assert len(RaderRetriever(index, "dense", candidates=5000).search("x", 19)) == 19


def test_an_index_that_was_replaced_by_one_of_another_recipe_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    collection, other = DictCollection(), DictCollection()
    index = index_in(collection, HashEncoder())
    index.add(corpus(5))
    index_in(other, HashEncoder(16, "other"))
    collection.rows, collection.blobs = {}, other.blobs
    for call in (lambda: index.add(corpus(5)), index.optimize, index.stats):
        with pytest.raises(FingerprintMismatchError, match="replaced by one of another recipe"):
            call()
    assert not collection.rows
    monkeypatch.setattr("rader_plugins.engines.moments._REFRESH", -1.0)
    for mode in ("dense", "bm25", "hybrid"):
        with pytest.raises(FingerprintMismatchError, match="replaced by one of another recipe"):
            RaderRetriever(index, mode).search("prime")


def test_opening_looks_at_what_is_there() -> None:
    collection = DictCollection()
    with pytest.raises(InputError, match="holds no index"):
        open_engine_index(collection, None, url="dict://")
    collection.blobs["other"] = b""
    with pytest.raises(InputError, match="not made by rader-plugins"):
        open_engine_index(collection, None, url="dict://")
    collection.blobs.clear()
    index = index_in(collection, HashEncoder())
    with pytest.raises(AlreadyExistsError):
        index_in(collection, HashEncoder())
    assert index_in(collection, HashEncoder(), exist_ok=True).fingerprint == index.fingerprint
    with pytest.raises(FingerprintMismatchError):
        index_in(collection, HashEncoder(8), exist_ok=True)
    with pytest.raises(InputError, match="dtype"):
        index_in(collection, HashEncoder(), exist_ok=True, dtype="float16")
    with pytest.raises(FingerprintMismatchError):
        open_engine_index(collection, HashEncoder(8), url="dict://")
    collection.blobs["header"] = collection.blobs["header"].replace(b"rader-engine/1", b"rader-engine/2")
    with pytest.raises(IndexVersionError, match="rader-engine/2"):
        open_engine_index(collection, None, url="dict://")


def test_an_index_that_is_made_while_it_is_looked_for_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    collection = DictCollection()
    read = collection.read

    def overtaken(name: str) -> bytes | None:
        monkeypatch.setattr(collection, "read", read)
        index_in(collection, HashEncoder())
        return None

    monkeypatch.setattr(collection, "read", overtaken)
    assert open_engine_index(collection, HashEncoder(), url="dict://").dimension == 16


def test_a_deletion_by_a_missing_key_says_so() -> None:
    index = index_in(DictCollection(), HashEncoder())
    index.add(corpus(3))
    with pytest.warns(FilterWarning, match="'absent'"):
        assert index.delete(filter={"absent": 1}) == 0
    assert index.delete(filter={"n": 77}) == 0
    assert len(index) == 3


def test_a_filter_that_asks_for_a_missing_key_says_so() -> None:
    index = index_in(DictCollection(), HashEncoder())
    index.add(corpus(5))
    with pytest.warns(FilterWarning, match="no document has the key 'year'"):
        assert RaderRetriever(index).search("prime", filter={"year": 3}) == []


def test_searching_from_asyncio() -> None:
    index = index_in(DictCollection(), HashEncoder())
    index.add(corpus(30))
    retriever = RaderRetriever(index)

    async def both() -> Any:
        return await asyncio.gather(*(retriever.asearch(word) for word in WORDS))

    assert asyncio.run(both()) == [retriever.search(word) for word in WORDS]


def test_nothing_is_deleted_for_want_of_a_condition() -> None:
    index = index_in(DictCollection(), HashEncoder())
    index.add(corpus(4))
    for condition in (None, {}):
        with pytest.raises(InputError, match=r"index\.ids"):
            index.delete(filter=condition)
    assert len(index) == 4
    assert index.delete(["d000"], filter={}) == 1
    assert index.delete(index.ids()) == 3


def test_the_statistics_of_many_terms_take_no_more_memory_than_they_hold_twice() -> None:
    """100 MB for five million terms are 20 bytes a term: 8 are what is held."""
    count = 300_000
    numbers = np.arange(count, dtype=np.uint32)
    stored: dict[str, str] = {}
    blobs = Blobs(
        stored.update, lambda keys: {key: stored[key] for key in keys if key in stored}, lambda _: None,
        lambda _: [], chunk=10_000,
    )  # fmt: skip
    blobs.write("statistics", *Statistics(7, 3.0, numbers, numbers).pieces())
    tracemalloc.start()
    try:
        data = blobs.read("statistics")
        assert data is not None
        statistics = Statistics.from_bytes(data, 7, 3.0)
        del data
        size, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert statistics.frequency_of(numbers[[5, 77]]).tolist() == [5, 77]
    assert size < 10 * count
    assert peak < 20 * count


def test_statistics_grow_in_place_and_those_that_were_returned_stay_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rader_plugins.engines.statistics._PENDING", 50)
    monkeypatch.setattr("rader_plugins.engines.statistics._BLOCK", 16)
    rng = np.random.default_rng(5)
    builder, expected = StatisticsBuilder(), Counter[int]()
    returned = [(builder.statistics(), dict(expected))]
    for step in range(60):
        names = np.unique(rng.integers(0, 400, size=int(rng.integers(0, 140)))).astype(np.uint32)
        builder.add([(names, np.ones(len(names), np.int64))])
        expected.update(names.tolist())
        if step % 7 == 6:
            returned.append((builder.statistics(), dict(expected)))
    for statistics, counts in returned:
        assert statistics.dimensions.tolist() == sorted(counts)
        assert dict(zip(statistics.dimensions.tolist(), statistics.frequencies.tolist(), strict=True)) == counts


def test_counting_many_terms_takes_little_more_memory_than_they_hold() -> None:
    count, part = 2_000_000, 1000
    numbers = (np.arange(count, dtype=np.uint64) * 2_654_435_761 % 2**32).astype(np.uint32)  # all over the range
    ones = np.ones(part, np.int64)
    tracemalloc.start()
    try:
        builder = StatisticsBuilder()
        builder.add((np.sort(numbers[start : start + part]), ones) for start in range(0, count, part))
        statistics = builder.statistics()
        pieces = statistics.pieces()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(map(len, pieces)) == 8 * count
    assert peak < 16 * count
