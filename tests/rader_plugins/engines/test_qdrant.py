"""Qdrant: what is its own. The server's side of the network is not tried, since no package brings a server."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from rader_plugins import Document, RaderRetriever, create_index, open_index
from rader_plugins.engines.qdrant.connection import QdrantConnection
from rader_plugins.errors import AlreadyExistsError, EngineError, IndexVersionError, InputError
from tests.support.encoders import HashEncoder
from tests.support.http_server import AnsweringServer, HTTPRequest, Reply
from tests.support.kill import start
from tests.support.qdrant_folder import QdrantFolder

pytestmark = pytest.mark.real


@pytest.fixture
def folder() -> Iterator[QdrantFolder]:
    started = QdrantFolder()
    yield started
    started.stop()


def test_a_folder_is_opened_by_many_objects_of_one_process(folder: QdrantFolder) -> None:
    one = create_index(folder.url("docs"), HashEncoder())
    two = open_index(folder.url("docs"), HashEncoder())
    one.add([Document("a", "prime heat")])
    assert [hit.document.id for hit in RaderRetriever(two).search("prime", 3)] == ["a"]
    one.close()
    assert len(two) == 1
    two.close()
    assert len(open_index(folder.url("docs"))) == 1


def test_indexes_of_one_folder_take_turns_in_its_client(folder: QdrantFolder) -> None:
    """The client of a folder does not stand two calls at once, whichever index makes them."""
    one = create_index(folder.url("docs"), None)
    two = open_index(folder.url("docs"))
    len(two)
    connections = [index._collection._connection for index in (one, two)]
    assert connections[0]._connected() is connections[1]._connected()
    free: list[bool] = []

    class Client:
        def count(self) -> None:
            other = threading.Thread(target=lambda: free.append(connections[1]._turn.acquire(blocking=False)))
            other.start()
            other.join()

    original, connections[0]._client = connections[0]._client, Client()
    connections[0].call("count")
    connections[0]._client = original
    assert free == [False]
    one.close()
    two.close()


def test_what_is_deleted_while_statistics_are_renewed_stays_deleted(
    folder: QdrantFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = create_index(folder.url("docs"), None)
    one.add([Document(f"d{n}", f"prime heat w{n}") for n in range(6)])
    two = open_index(folder.url("docs"))
    two.delete(["d0"])
    connection = one._collection._connection
    call = connection.call
    left = ["d1"]

    def interrupted(method: str, *arguments: Any, **options: Any) -> Any:
        if method == "update_vectors" and left:
            two.delete([left.pop()])
        return call(method, *arguments, **options)

    monkeypatch.setattr(connection, "call", interrupted)
    one.optimize()
    assert not left
    assert sorted(one.ids()) == ["d2", "d3", "d4", "d5"]
    assert one.stats()["statistics"]["gone_since"] <= 1
    one.close()
    two.close()


def test_a_folder_that_another_process_has_open_says_so(folder: QdrantFolder) -> None:
    index = create_index(folder.url("docs"), None)
    program = f"from rader_plugins import open_index; open_index({folder.url('docs')!r})"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "EngineError" in finished.stderr
    assert "open in another process" in finished.stderr
    index.close()
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


# In a process of its own: clients of other engines, which tests before may have used, do not survive a fork.
FORKED = """
import multiprocessing, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from rader_plugins import create_index, open_index
from rader_plugins.errors import EngineError

def look(answers):
    try:
        len(open_index(sys.argv[1]))
        answers.put("opened")
    except EngineError as error:
        answers.put(str(error))

create_index(sys.argv[1], None)
context = multiprocessing.get_context("fork")
answers = context.Queue()
process = context.Process(target=look, args=(answers,))
process.start()
print(answers.get(timeout=120), flush=True)
process.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_is_told(folder: QdrantFolder) -> None:
    assert "forked" in start(FORKED, folder.url("docs")).communicate()[0]


def test_a_collection_that_is_not_ours_is_left_alone(folder: QdrantFolder) -> None:
    create_index(folder.url("docs"), None).close()
    connection = QdrantConnection.local(folder.folder)
    models = connection.models
    connection.call("create_collection", "theirs", models.VectorParams(size=4, distance=models.Distance.DOT))
    connection.close()
    with pytest.raises(InputError, match="not made by rader-plugins"):
        open_index(folder.url("theirs"))
    with pytest.raises(AlreadyExistsError):
        create_index(folder.url("theirs"), HashEncoder())


def test_an_index_of_a_newer_version_is_refused_by_name(folder: QdrantFolder) -> None:
    index: Any = create_index(folder.url("docs"), None)
    collection = index._collection
    collection.write("header", collection.read("header").replace(b"rader-engine/1", b"rader-engine/7"))
    with pytest.raises(IndexVersionError, match="rader-engine/7"):
        open_index(folder.url("docs"))


def test_strings_have_no_order_in_qdrant_and_numbers_and_dates_have(folder: QdrantFolder) -> None:
    index = create_index(folder.url("docs"), HashEncoder())
    index.add([Document("a", "prime", {"name": "x", "n": 3})])
    with pytest.raises(InputError, match="order"):
        RaderRetriever(index).search("prime", filter={"name": {"$gt": "a"}})
    with pytest.raises(InputError, match="order"):  # also where it is negated, or one of several
        list(index.ids({"$or": [{"n": 3}, {"$not": {"name": {"$lte": "a"}}}]}))
    assert list(index.ids({"n": {"$gt": 2}})) == ["a"]


def test_structures_that_qdrant_has_not_are_refused(folder: QdrantFolder) -> None:
    for ann in ("ivfpq", {"kind": "flat", "gpu": True}):
        with pytest.raises(InputError, match="hnsw"):
            create_index(folder.url("docs"), HashEncoder(), ann=ann)
    assert create_index(folder.url("docs"), HashEncoder(), ann="hnsw").stats()["ann"] == "hnsw"


def test_urls_are_looked_at(folder: QdrantFolder) -> None:
    for url, words in (
        ("qdrant:///", "names no collection"), ("qdrant://host", "names no collection"),
        (folder.url("docs", timeout="3"), "not timeout"), ("qdrant://host/docs?x=1", "not x"),
        ("qdrant://host/docs?timeout=soon", "timeout"), ("qdrant://host/docs?transport=post", "transport"),
        ("qdrant://host/docs?consistency=some", "consistency"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            open_index(url)


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_no_server(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "secret")
    url = f"qdrant+https://127.0.0.1:1/docs?transport={transport}&timeout=3"
    with pytest.raises(EngineError, match=r"No Qdrant server can be reached at qdrant\+https://127.0.0.1:1") as raised:
        open_index(url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("status", "words", "transient"),
    [
        (401, "refuses the key: set QDRANT_API_KEY", False),
        (403, "refuses the key", False),
        (429, "failed", True),
        (500, "out of memory", True),
        (503, "No Qdrant server can be reached", True),
        (507, "out of memory", False),
    ],
)
def test_what_a_server_refuses_is_named_and_only_what_passes_is_tried_again(
    status: int, words: str, transient: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answers are put together as Qdrant documents them."""
    monkeypatch.setenv("QDRANT_API_KEY", "s3cret")
    reply = Reply({"status": {"error": "out of memory"}}, status)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the key goes over http
        with AnsweringServer(lambda _: reply) as server:
            url = f"qdrant://127.0.0.1:{server.port}/docs?transport=http"
            with pytest.raises(EngineError, match=words) as raised:
                open_index(url)
    assert raised.value.transient == transient
    assert "s3cret" not in str(raised.value)


def test_a_server_that_does_not_answer_is_given_up_with_a_remedy() -> None:
    ended = threading.Event()

    def wait(_: HTTPRequest) -> Reply:
        ended.wait(60)
        return Reply({})

    with AnsweringServer(wait) as server:
        try:
            with pytest.raises(EngineError, match=r"did not answer within 1 seconds \(\?timeout="):
                open_index(f"qdrant://127.0.0.1:{server.port}/docs?transport=http&timeout=1")
        finally:
            ended.set()
