"""Milvus, over its own server for one machine: what is Milvus's own, and what goes wrong with a server."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from rader_plugins import Document, RaderIndex, RaderRetriever, create_index, open_index
from rader_plugins.engines.milvus.connection import MilvusConnection
from rader_plugins.errors import AlreadyExistsError, EngineError, IndexVersionError, InputError
from tests.support.encoders import HashEncoder, random_text
from tests.support.milvus_server import MilvusServer

pytestmark = pytest.mark.real
_numbers = itertools.count()


@pytest.fixture(scope="module")
def milvus() -> Iterator[MilvusServer]:
    started = MilvusServer()
    yield started
    started.stop()


@pytest.fixture
def lonely() -> Iterator[MilvusServer]:
    """A server that may be killed."""
    started = MilvusServer()
    yield started
    started.stop()


@pytest.fixture
def name() -> str:
    return f"docs_{next(_numbers)}"


def corpus(count: int) -> list[Document]:
    rng = np.random.default_rng(5)
    return [Document(f"d{n:04d}", random_text(rng, int(rng.integers(1, 12))), {"n": n}) for n in range(count)]


def test_an_index_is_there_as_a_whole_or_not_at_all(milvus: MilvusServer, name: str) -> None:
    client = MilvusConnection(f"http://127.0.0.1:{milvus.port}", "milvus")
    before = set(client.call("list_collections"))
    with pytest.raises(InputError, match="float16"):  # of this server; the second collection was made by then
        create_index(milvus.url(name), HashEncoder(), dtype="float16")
    with pytest.raises(InputError, match="holds no index"):
        open_index(milvus.url(name))
    assert set(client.call("list_collections")) == before
    create_index(milvus.url(name), HashEncoder())
    with pytest.raises(AlreadyExistsError, match=name):
        create_index(milvus.url(name), HashEncoder())
    assert len(set(client.call("list_collections")) - before) == 2


def test_of_many_that_make_one_index_one_succeeds(milvus: MilvusServer, name: str) -> None:
    outcomes: list[object] = []

    def make() -> None:
        try:
            outcomes.append(create_index(milvus.url(name), HashEncoder()))
        except AlreadyExistsError:
            outcomes.append(None)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 4
    assert sum(outcome is not None for outcome in outcomes) == 1
    assert open_index(milvus.url(name), HashEncoder()).add(corpus(3)) == 3


def test_a_collection_that_is_not_ours_is_left_alone(milvus: MilvusServer, name: str) -> None:
    client = MilvusConnection(f"http://127.0.0.1:{milvus.port}", "milvus")
    client.call("create_collection", name, dimension=4)
    for call in (lambda: open_index(milvus.url(name)), lambda: create_index(milvus.url(name), None, exist_ok=True)):
        with pytest.raises(InputError, match="not made by rader-plugins"):
            call()
    with pytest.raises(AlreadyExistsError):
        create_index(milvus.url(name), HashEncoder())
    assert client.call("describe_collection", name)["properties"] == {}


def test_an_index_of_a_newer_version_is_refused_by_name(milvus: MilvusServer, name: str) -> None:
    index: Any = create_index(milvus.url(name), None)
    collection = index._collection
    collection.write("header", collection.read("header").replace(b"rader-engine/1", b"rader-engine/7"))
    with pytest.raises(IndexVersionError, match="rader-engine/7"):
        open_index(milvus.url(name))


def test_what_milvus_cannot_store_is_refused_by_name(milvus: MilvusServer, name: str) -> None:
    index = create_index(milvus.url(name), HashEncoder())
    for fault, words in (
        (Document("long", "é" * 33_000), "'long' has 66,000 bytes, and Milvus stores 65,535"),
        (Document("wide", "x", {"values": list(range(4100))}), "'wide' has more fields and values than Milvus can"),
    ):
        with pytest.raises(InputError, match=words):
            index.add([Document("fine", "prime"), fault])
        assert len(index) == 0
    longest = Document("é" * 2000 + '"/\\\n%', "é" * 32_000, {"a": "x" * 60_000})
    assert index.add([longest]) == 1
    assert index.get([longest.id]) == [longest]
    assert list(index.ids({"a": "x" * 60_000})) == [longest.id]
    assert len(RaderRetriever(index, "dense").search("prime", 20_000)) == 1  # no more than there are


def test_a_text_without_terms_is_found_by_meaning_alone(milvus: MilvusServer, name: str) -> None:
    index = create_index(milvus.url(name), HashEncoder())
    index.add([Document("none", ""), Document("words", "prime heat")])
    assert {hit.document.id for hit in RaderRetriever(index, "dense").search("prime", 5)} == {"none", "words"}
    assert [hit.document.id for hit in RaderRetriever(index, "bm25").search("prime", 5)] == ["words"]
    assert [hit.scores["bm25"] for hit in RaderRetriever(index).search("prime", 5) if hit.document.id == "none"] == [0]


@pytest.mark.parametrize("ann", ["hnsw", {"kind": "ivfpq", "lists": 4, "code_bytes": 8}])
def test_approximate_structures_are_made_by_milvus(milvus: MilvusServer, name: str, ann: Any) -> None:
    index = create_index(milvus.url(name), HashEncoder(), ann=ann)
    index.add(corpus(60))
    hits = RaderRetriever(open_index(milvus.url(name), HashEncoder()), "dense").search("prime heat", 5)
    assert len(hits) == 5
    with pytest.raises(InputError, match="ann"):
        create_index(milvus.url(name), HashEncoder(), ann="flat", exist_ok=True)
    with pytest.raises(InputError, match="gpu"):
        create_index(milvus.url(name + "_gpu"), HashEncoder(), ann={"kind": "ivfpq", "gpu": True})


def test_urls_are_looked_at(milvus: MilvusServer) -> None:
    for tail, words in (
        ("a-b", "names no collection"), ("", "names no collection"), ("docs?x=1", "not x"),
        ("docs?timeout=soon", "timeout"), ("docs?consistency=some", "consistency"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            open_index(f"milvus://127.0.0.1:{milvus.port}/{tail}")
    weak = create_index(milvus.url("weak", consistency="Bounded"), None)
    assert weak.stats()["consistency"].startswith("Bounded")


@pytest.mark.parametrize("scheme", ["milvus", "milvus+https"])
def test_no_server(scheme: str) -> None:
    address = re.escape(f"{scheme}://127.0.0.1:1.")
    with pytest.raises(EngineError, match=f"No Milvus server can be reached at {address}") as raised:
        open_index(f"{scheme}://me:secret@127.0.0.1:1/docs?timeout=5")
    assert "secret" not in str(raised.value)


def test_refused_credentials_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Milvus Lite asks for none, so its answer is put together as Milvus documents it."""
    connection = MilvusConnection("http://127.0.0.1:1", "milvus://127.0.0.1:1", token="secret")
    error = connection.library.MilvusException(65535, "auth check failure, please check api key is correct")

    def refuse() -> None:
        raise error

    monkeypatch.setattr(connection, "_connected", refuse)
    with pytest.raises(EngineError, match="MILVUS_TOKEN") as raised:
        connection.call("list_collections")
    assert not raised.value.transient
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "words", "transient"),
    [
        ("memory quota exceeded, please allocate more resources", "failed: memory quota", True),
        ("quota exceeded[reason=rate type: DMLInsert]", "failed: quota", True),
        ("collection schema mismatch", "failed: collection schema", False),
        ("DEADLINE_EXCEEDED", "did not answer within", True),
    ],
)
def test_what_passes_is_tried_again_and_nothing_else(
    text: str, words: str, transient: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answers are put together as Milvus documents them."""
    connection = MilvusConnection("http://127.0.0.1:1", "milvus://127.0.0.1:1")
    error = connection.library.MilvusException(65535, text)

    def refuse() -> None:
        raise error

    monkeypatch.setattr(connection, "_connected", refuse)
    with pytest.raises(EngineError, match=words) as raised:
        connection.call("upsert", "docs", [])
    assert raised.value.transient == transient


def test_a_server_that_does_not_answer(milvus: MilvusServer, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rader_plugins.engines.writing.time.sleep", lambda _: None)
    index = create_index(milvus.url(name, timeout="1"), None)
    index.add(corpus(3))
    milvus.halt()
    try:
        with pytest.raises(EngineError, match="did not answer within 1 seconds"):
            RaderRetriever(index, "bm25").search("prime")
    finally:
        milvus.resume()
    assert open_index(milvus.url(name)).add(corpus(5)) == 2


def test_a_server_that_is_killed_while_documents_are_added(lonely: MilvusServer) -> None:
    """Whatever was reported is stored, nothing is stored twice, and the same objects go on when it is there again."""
    documents = corpus(1000)
    batches = [documents[start : start + 50] for start in range(0, 1000, 50)]
    index = create_index(lonely.url("docs"), HashEncoder())
    reported_batches = [batches[0]]
    index.add(batches[0])
    progress, up_again = threading.Event(), threading.Event()

    def restart() -> None:
        progress.wait()
        lonely.kill()
        lonely.start()
        up_again.set()

    thread = threading.Thread(target=restart)
    thread.start()
    failures = 0
    for number, batch in enumerate(batches[1:], 1):
        if number == 3:
            progress.set()
        while True:
            try:
                index.add(batch)
                break
            except EngineError:
                failures += 1
                up_again.wait()
                reported = [document for part in reported_batches for document in part]
                assert open_index(lonely.url("docs")).get([item.id for item in reported]) == reported
        reported_batches.append(batch)
    thread.join()
    lonely.kill()  # also what was not flushed is there
    lonely.start()
    assert len(index) == 1000
    assert sorted(index.ids()) == [document.id for document in documents]
    embedded = RaderIndex.create(None, HashEncoder())
    embedded.add(documents)
    index.optimize()
    ours, theirs = (RaderRetriever(item).search("prime heat orbit", 5) for item in (index, embedded))
    assert [hit.document for hit in ours] == [hit.document for hit in theirs]


# A search between another's documents and its new statistics is right to say so.
@pytest.mark.filterwarnings("ignore::rader_plugins.errors.DriftWarning")
def test_two_writers_and_readers_at_once(milvus: MilvusServer, name: str) -> None:
    create_index(milvus.url(name), HashEncoder())
    documents = corpus(120)
    faults: list[Exception] = []

    def write(part: int) -> None:
        try:
            index = open_index(milvus.url(name), HashEncoder())
            for start in range(0, 60, 20):
                index.add(documents[60 * part + start : 60 * part + start + 20])
                assert RaderRetriever(index).search("prime", 3)
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=write, args=(part,)) for part in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    index = open_index(milvus.url(name), HashEncoder())
    index.optimize()
    assert index.stats()["statistics"]["documents"] == 120
    assert sorted(index.ids()) == [document.id for document in documents]
