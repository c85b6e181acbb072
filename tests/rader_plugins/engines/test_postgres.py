"""PostgreSQL when something goes wrong: each fault has a clear error, and what was reported is stored."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from rader_plugins import Document, RaderRetriever, create_index, open_index
from rader_plugins.engines.collection import Scope
from rader_plugins.engines.postgres.packing import PackedTerms, PackedVector
from rader_plugins.errors import AlreadyExistsError, EngineError, IndexVersionError, InputError, RaderWarning
from rader_plugins.index import Index, SearchRequest
from tests.support.encoders import HashEncoder, random_text
from tests.support.kill import start
from tests.support.postgres_server import PostgresServer

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore::rader_plugins.errors.DriftWarning")]
_numbers = itertools.count()


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.url(f"p{next(_numbers)}")


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """One that a test may kill."""
    server = PostgresServer()
    yield server
    server.stop()


def corpus(count: int) -> list[Document]:
    rng = np.random.default_rng(5)
    return [Document(f"d{n:04d}", random_text(rng), {"n": n}) for n in range(count)]


def execute(server: PostgresServer, *statements: str) -> None:
    import psycopg

    with psycopg.connect(host=str(server.folder), user="postgres", dbname="postgres", autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def table_of(url: str) -> str:
    return url.split("table=")[1].split("&")[0]


def test_a_server_killed_during_a_thousand_adds_keeps_all_that_was_reported(own_server: PostgresServer) -> None:
    url = own_server.url()
    index = create_index(url, HashEncoder())
    documents = corpus(1000)
    reported: list[str] = []
    underway = threading.Event()

    def add() -> None:
        for document in documents:
            index.add([document])
            reported.append(document.id)
            if len(reported) == 300:
                underway.set()

    errors: list[BaseException] = []
    writer = threading.Thread(target=lambda: _note(add, errors))
    writer.start()
    assert underway.wait(120)
    own_server.kill()
    writer.join(120)
    [error] = errors
    assert isinstance(error, EngineError)
    assert 300 <= len(reported) < 1000
    with pytest.raises(EngineError, match="cannot be reached"):
        open_index(url)
    own_server.start()
    assert set(reported) <= set(index.ids())  # the very object that lost its connections
    assert len(index) <= len(reported) + 1
    assert index.get(reported) == documents[: len(reported)]
    report = index.add(documents)
    assert (report.added + report.unchanged, len(index)) == (1000, 1000)
    index.optimize()
    other = create_index(None, HashEncoder())
    other.add(documents)
    ours, theirs = (RaderRetriever(i).search("prime heat", 20) for i in (index, other))
    assert [hit.document for hit in ours] == [hit.document for hit in theirs]
    index.close()


def _note(call: Callable[[], None], errors: list[BaseException]) -> None:
    try:
        call()
    except BaseException as error:  # noqa: BLE001 - looked at by the test
        errors.append(error)


def test_searches_go_on_after_a_restart(own_server: PostgresServer) -> None:
    index = create_index(own_server.url(), HashEncoder())
    index.add(corpus(20))
    before = RaderRetriever(index).search("prime", 3)
    own_server.kill()
    own_server.start()
    assert RaderRetriever(index).search("prime", 3) == before
    assert index.add([Document("new", "prime")]) == 1  # a write is repeated too
    index.close()


CALLS: list[tuple[str, Callable[[Any], Any], Any]] = [
    ("len", len, 20),
    ("add", lambda index: index.add([Document("new", "prime")]), 1),
    ("delete", lambda index: index.delete(["new"]), 1),
    ("optimize", lambda index: index.optimize(), None),
]


def test_everything_goes_on_after_a_restart(own_server: PostgresServer) -> None:
    with create_index(own_server.url(), HashEncoder()) as index:  # type: ignore[attr-defined]  # every index of ours
        index.add(corpus(20))
        for name, call, expected in CALLS:
            own_server.kill()
            own_server.start()
            assert call(index) == expected, name


def test_a_server_that_hangs_is_given_up(own_server: PostgresServer) -> None:
    create_index(own_server.url(), HashEncoder()).add(corpus(20))
    index = open_index(own_server.url(timeout=3), HashEncoder())
    before = RaderRetriever(index).search("prime", 3)
    own_server.halt()
    try:
        for call in (lambda: RaderRetriever(index).search("prime", 3), lambda: open_index(own_server.url(timeout=1))):
            with pytest.raises(EngineError, match="took longer than 3 seconds|cannot be reached"):
                call()
    finally:
        own_server.resume()
    assert RaderRetriever(open_index(own_server.url(), HashEncoder())).search("prime", 3) == before
    index.close()


def test_wrong_credentials_are_named_and_not_repeated(own_server: PostgresServer) -> None:
    execute(own_server, "CREATE ROLE locked LOGIN PASSWORD 'right'")
    rules = own_server.data / "pg_hba.conf"
    rules.write_text(f"local all locked scram-sha-256\n{rules.read_text()}")
    execute(own_server, "SELECT pg_reload_conf()")
    url = own_server.url(user="locked")
    with pytest.raises(EngineError, match=r"password.*PGPASSWORD") as raised:
        open_index(url)
    assert not raised.value.transient
    with pytest.raises(EngineError, match="password authentication failed") as raised:
        open_index(url.replace("locked@", "locked:s3cret%2F@"))
    assert "s3cret" not in str(raised.value)
    execute(own_server, "GRANT CREATE ON SCHEMA public TO locked")
    with pytest.raises(EngineError, match="CREATE EXTENSION"):
        create_index(url.replace("locked@", "locked:right@"), HashEncoder())
    execute(own_server, "CREATE EXTENSION vector")
    index = create_index(url.replace("locked@", "locked:right@"), HashEncoder())
    assert index.add(corpus(3)) == 3
    assert "right" not in repr(index) + str(index.stats())
    index.close()


@pytest.mark.parametrize("fault", ["database", "server"])
def test_what_is_not_there(postgres: PostgresServer, url: str, fault: str) -> None:
    wrong = {"database": url.replace("/postgres?", "/nowhere?"), "server": "postgresql://postgres@127.0.0.1:1/db"}
    for call in (open_index, lambda where: create_index(where, None)):
        with pytest.raises(EngineError, match="cannot be reached"):
            call(wrong[fault])


def test_a_table_that_is_not_ours_is_left_alone(postgres: PostgresServer, url: str) -> None:
    with pytest.raises(InputError, match="holds no index"):
        open_index(url)
    execute(postgres, f"CREATE TABLE {table_of(url)} (x int)", f"INSERT INTO {table_of(url)} VALUES (1)")
    with pytest.raises(InputError, match="not made by rader-plugins"):
        open_index(url)
    for exist_ok in (False, True):
        with pytest.raises(InputError):
            create_index(url, HashEncoder(), exist_ok=exist_ok)
    execute(postgres, f"SELECT x FROM {table_of(url)}")


@pytest.mark.parametrize(
    "column", ["id integer", "name text, value text", "name text, value bytea", "name integer, value bytea"]
)
def test_a_second_table_that_is_not_ours_is_left_alone(postgres: PostgresServer, url: str, column: str) -> None:
    execute(postgres, f"CREATE TABLE {table_of(url)}_rader ({column})")
    for call in (lambda: open_index(url), lambda: create_index(url, HashEncoder(), exist_ok=True)):
        with pytest.raises(InputError, match="not made by rader-plugins"):
            call()
    with pytest.raises(AlreadyExistsError, match=f"{table_of(url)}_rader"):
        create_index(url, HashEncoder())
    execute(postgres, f"SELECT {column.split()[0]} FROM {table_of(url)}_rader")


def test_who_may_only_read_searches_and_is_told_what_he_may_not(own_server: PostgresServer) -> None:
    create_index(own_server.url(), HashEncoder()).add(corpus(20))
    execute(
        own_server,
        "CREATE ROLE reader LOGIN", "GRANT SELECT ON docs, docs_rader TO reader", "CREATE ROLE writer LOGIN",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON docs, docs_rader TO writer", "CREATE ROLE stranger LOGIN",
    )  # fmt: skip
    index = open_index(own_server.url(user="reader"), HashEncoder())
    for mode in ("dense", "bm25", "hybrid"):
        assert len(RaderRetriever(index, mode).search("prime", 3, filter={"n": {"$gt": 1}})) == 3
    for call in (
        lambda: index.add([Document("new", "prime")]),
        lambda: index.delete(["d0001"]),
        lambda: open_index(own_server.url(user="stranger")),
        lambda: create_index(own_server.url("other", user="reader"), None),
    ):
        with pytest.raises(EngineError, match="lacks a right"):
            call()
    assert len(index) == index.stats()["documents"] == 20
    with create_index(own_server.url(user="writer"), HashEncoder(), exist_ok=True) as writer:  # type: ignore[attr-defined]
        assert writer.add([Document("new", "prime")]) == 1
        with pytest.warns(RaderWarning, match="optimize.*permission denied"):  # the table is another's
            writer.optimize()
    execute(own_server, "ALTER ROLE writer SET default_transaction_read_only = on")
    index = open_index(own_server.url(user="writer"), HashEncoder())
    assert RaderRetriever(index).search("prime", 3)
    with pytest.raises(EngineError, match="takes no writes"):
        index.add([Document("newer", "prime")])
    assert len(index) == 21


@pytest.mark.parametrize(("state", "words"), [("53200", "out of memory.*commit_every"), ("53100", "disk is full")])
def test_a_server_that_has_no_room_keeps_what_was_reported_and_no_half_of_a_part(
    postgres: PostgresServer, url: str, state: str, words: str
) -> None:
    table, encoder = table_of(url), HashEncoder()
    index = create_index(url, encoder)
    index.add(corpus(20))
    execute(
        postgres,
        f"CREATE FUNCTION {table}_full() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = '{state}'; END$$",
        f"CREATE TRIGGER full_at_70 BEFORE INSERT ON {table} FOR EACH ROW WHEN (NEW.id = 'd0070') "
        f"EXECUTE FUNCTION {table}_full()",
    )
    with pytest.raises(EngineError, match=words):
        index.add(corpus(100), commit_every=25)
    assert sorted(index.ids()) == [document.id for document in corpus(50)]
    execute(postgres, f"DROP TRIGGER full_at_70 ON {table}")
    assert index.add(corpus(100)) == 50
    assert len(RaderRetriever(index).search("prime", 200)) == 100
    index.close()


def test_other_versions_and_other_settings_are_refused_by_name(postgres: PostgresServer, url: str) -> None:
    create_index(url, HashEncoder()).close()
    with pytest.raises(AlreadyExistsError):
        create_index(url, HashEncoder())
    create_index(url, HashEncoder(), exist_ok=True).close()
    execute(
        postgres,
        f"UPDATE {table_of(url)}_rader SET value = convert_to(replace(convert_from(value, 'UTF8'), "
        "'rader-engine/1', 'rader-engine/7'), 'UTF8') WHERE name = 'header'",
    )
    with pytest.raises(IndexVersionError, match="rader-engine/7"):
        open_index(url)


def test_an_index_that_was_deleted_meanwhile(postgres: PostgresServer, url: str) -> None:
    index = create_index(url, HashEncoder())
    index.add(corpus(3))
    execute(postgres, f"DROP TABLE {table_of(url)}")
    for call in (lambda: RaderRetriever(index).search("prime"), lambda: index.add(corpus(4)), lambda: len(index)):
        with pytest.raises(EngineError, match="deleted meanwhile"):
            call()


def test_a_slow_server_is_given_up_with_a_remedy(postgres: PostgresServer, url: str) -> None:
    import psycopg

    create_index(url, HashEncoder()).close()
    index = open_index(f"{url}&timeout=0.3", HashEncoder())
    with psycopg.connect(host=str(postgres.folder), user="postgres", dbname="postgres") as connection:
        connection.execute(f"LOCK TABLE {table_of(url)}".encode())
        with pytest.raises(EngineError, match=r"longer than 0\.3 seconds.*timeout="):
            RaderRetriever(index).search("prime")
    assert RaderRetriever(index).search("prime") == []
    index.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"encoder": HashEncoder(16_001)}, "16,001 dimensions"),
        ({"encoder": HashEncoder(2001), "ann": "hnsw"}, r"2,000 dimensions.*float16"),
        ({"encoder": HashEncoder(4001), "ann": "hnsw", "dtype": "float16"}, "4,000 dimensions"),
        ({"encoder": HashEncoder(), "ann": "ivfpq"}, "hnsw"),
        ({"encoder": HashEncoder(), "lock_timeout": 3.0}, "lock_timeout"),
    ],
)
def test_limits_are_told_before_anything_is_made(url: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        create_index(url, **options)
    with pytest.raises(InputError, match="holds no index"):
        open_index(url)


def test_large_vectors_are_searched_exactly(url: str) -> None:
    index = create_index(url, HashEncoder(5120))
    index.add(corpus(12))
    assert RaderRetriever(index, "dense").search(corpus(12)[3].text, 1)[0].document.id == "d0003"
    index.close()


def test_documents_beyond_the_limits_are_named(url: str) -> None:
    index = create_index(url, None)
    for document, words in (
        (Document("i" * 2001, "x"), "2,001 bytes"),
        (Document("nul", "a\x00"), "U\\+0000"),
        (Document("words", " ".join(f"w{n}" for n in range(16_100))), r"'words' has 16,\d\d\d different words"),
    ):
        with pytest.raises(InputError, match=words):
            index.add([Document("fine", "x"), document])
    assert len(index) == 0
    assert index.get(["a\x00"]) == []
    with pytest.raises(InputError, match=r"U\+0000"):
        list(index.ids({"x": "\x00"}))
    index.close()


@pytest.mark.parametrize("name", ["docs; DROP TABLE x", 'a"b', "", "x" * 49, "ä"])
def test_names_of_tables_are_checked(postgres: PostgresServer, name: str) -> None:
    from urllib.parse import quote

    with pytest.raises(InputError, match="table must be"):
        open_index(postgres.url(quote(name)))
    with pytest.raises(InputError, match="tabel"):
        open_index(postgres.url().replace("table=", "tabel="))


def test_hnsw_finds_what_a_filter_leaves(url: str) -> None:
    index = create_index(url, HashEncoder(), ann="hnsw")
    documents = corpus(1500)
    index.add(documents)
    index.optimize()
    assert index.stats()["ann"] == "hnsw"
    [vector] = HashEncoder().encode_queries([documents[7].text])
    for mode in ("dense", "hybrid"):
        request = SearchRequest(
            [documents[7].text], vector[None], k=30, mode=mode, filter={"n": {"$lt": 60}}, candidates=30
        )  # type: ignore[arg-type]
        hits = index.search(request)[0]
        assert len(hits) == 30
        assert all(hit.document.metadata["n"] < 60 for hit in hits)
        assert hits[0].document.text == documents[7].text
    index.close()


def test_hnsw_that_looks_at_everything_gives_the_answers_of_exact_search(postgres: PostgresServer) -> None:
    documents, answers = corpus(200), []
    query = documents[7].text
    vectors = HashEncoder().encode_queries([query])
    for ann in (None, "hnsw"):
        index = create_index(postgres.url(f"p{next(_numbers)}"), HashEncoder(), ann=ann)
        index.add(documents)
        index.optimize()
        pools = [
            SearchRequest([query], vectors, k=20, mode="hybrid", candidates=30, filter={"n": {"$lt": most}})
            for most in (200, 25)
        ]
        answers.append([hit for request in pools for hit in index.search(request)[0]])
        index.close()
    exact, approximate = answers
    assert [hit.document for hit in approximate] == [hit.document for hit in exact]
    for one, other in zip(approximate, exact, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-5)


@pytest.mark.parametrize(("approximate", "passes"), [(False, 1), (True, 2)])
@pytest.mark.parametrize("plans", ["force_custom_plan", "force_generic_plan"])
def test_a_hybrid_search_reads_the_table_once_for_each_way_of_searching(
    url: str, approximate: bool, passes: int, plans: str
) -> None:
    """Also where the planner knows nothing of the table yet, and where its plan is for all values."""
    index: Any = create_index(url, HashEncoder())
    index.add(corpus(3000))
    collection = index._collection
    condition, parameters = collection._sql.condition(Scope(""))
    parameters |= {
        "vector": PackedVector.of(HashEncoder().encode_queries(["prime"])[0]),
        "terms": PackedTerms.of(index._moments.weights().query("prime heat"), collection.term_dimensions),
        "depth": 1000, "k": 10, "alpha": 0.5,
    }  # fmt: skip
    statement = collection._sql.hybrid(condition, half=False, approximate=approximate)
    with collection._connections.connection() as connection:
        connection.execute(f"SET plan_cache_mode = {plans}".encode())
        [[plan]] = connection.execute(f"EXPLAIN (FORMAT JSON) {statement}".encode(), parameters).fetchall()
        connection.execute("RESET plan_cache_mode")
    scans = [node for node in _nodes(plan[0]["Plan"]) if node.get("Relation Name") == table_of(url)]
    by_key = [node for node in scans if "(id = " in " ".join(str(value) for value in node.values())]
    assert len(scans) - len(by_key) == passes
    index.close()


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the nodes of a plan, each with what belongs to a bitmap that it reads by."""
    inner = plan.get("Plans", [])
    bitmaps = [node for node in inner if node["Node Type"].startswith("Bitmap Index")]
    yield {**{name: value for name, value in plan.items() if name != "Plans"}, "bitmaps": bitmaps}
    for node in inner:
        yield from _nodes(node)


def test_two_writers_of_the_same_documents(url: str) -> None:
    indexes = [create_index(url, HashEncoder()), open_index(url, HashEncoder())]
    documents = corpus(300)
    errors: list[BaseException] = []

    def write(index: Index, ordered: list[Document]) -> None:
        for first in range(0, 300, 50):
            index.add(ordered[first : first + 50])

    threads = [
        threading.Thread(target=_note, args=(lambda i=index, o=order: write(i, o), errors))
        for index, order in zip(indexes, (documents, documents[::-1]), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert sorted(indexes[0].ids()) == [document.id for document in documents]
    indexes[1].optimize()
    assert indexes[0].stats()["statistics"]["drift"] == 0
    for index in indexes:
        index.close()


def _search(index: Index) -> list[str]:
    return [hit.document.id for hit in RaderRetriever(index).search("prime heat", 5)]


# In a process of its own: clients of other engines, which tests before may have used, do not survive a fork.
FORKED = """
import multiprocessing, pickle, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from rader_plugins import create_index
from tests.rader_plugins.engines import test_postgres as tests
from tests.support.encoders import HashEncoder

def look(index, answers):
    answers.put(tests._search(index))

index = create_index(sys.argv[1], HashEncoder())
index.add(tests.corpus(30))
expected = tests._search(index)
assert tests._search(pickle.loads(pickle.dumps(index))) == expected
context = multiprocessing.get_context("fork")
answers = context.Queue()
children = [context.Process(target=look, args=(index, answers)) for _ in range(2)]
for child in children:
    child.start()
assert [answers.get(timeout=60) for _ in children] == [expected] * 2
for child in children:
    child.join()
assert tests._search(index) == expected, "the children left our connections alone"
index.close()
print("right", flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_and_pickled(url: str) -> None:
    process = start(FORKED, url)
    assert process.communicate()[0] == "right\n"
