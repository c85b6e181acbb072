from __future__ import annotations

import gc
import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# While modules are imported, nothing becomes garbage: looking for it took a quarter of the time of collecting tests.
gc.disable()

# The gate draws the same examples each time, `make quick` a few of them; HYPOTHESIS_PROFILE=search looks for others.
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the load of a machine fails no test
settings.register_profile("repeatable", _PATIENT, derandomize=True)
settings.register_profile("quick", _PATIENT, derandomize=True, max_examples=20)
settings.register_profile("search", _PATIENT, derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
# No test may wait for a hub; what a test needs is installed, made by it or skipped.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Each client that is made reads all authorities of the world, 20 ms and more; who speaks TLS here names his own.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).parent / "data" / "authority.pem")
# Models compute in one precision wherever the tests run; those of the choice itself take this away.
os.environ["RADER_CPU_DTYPE"] = "float32"
# Tests fork this process; gRPC's own handlers of forks may end it where clients of it (Milvus's) are at work.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
# What a command prints is as wide as in a pipe, however wide the terminal is that the tests were started from.
for _name in ("COLUMNS", "LINES"):
    os.environ.pop(_name, None)

from rader_plugins import Document, Encoder, load_encoder  # noqa: E402
from tests.support.engine_servers import SERVERS, EngineServer  # noqa: E402
from tests.support.postgres_server import PostgresServer  # noqa: E402

_numbers = itertools.count()
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

# Where nearly every test trains a model or runs a whole chain of commands.
SLOW = ("examples", *(f"training/test_training_{name}.py" for name in (
    "export", "faults", "four_bit", "options", "processes", "reranker", "retriever", "walks"
)))  # fmt: skip
SLOW_PATHS = {Path(__file__).parent / name for name in SLOW}
# Fixtures that load a real model; reading the development data as a whole takes one too.
REAL_FIXTURES = {"mini", "shared_data"}
# What names a real server or model in the imports of a test's module.
REAL_NAMES = {"small_llm", "llama", "mteb"}
# Files in which one test takes a minute or so, longest first: started last, one process would end long after the other.
LONGEST_FILES = (
    "examples/test_close_the_loop.py",
    "docs/test_tutorial.py",
    "training/test_training_walks.py",
    "rader_plugins/distributed/test_ray_build.py",
    "rader_plugins/retrieval/test_reference_figures.py",
)


def pytest_configure(config: pytest.Config) -> None:
    # Of what tests start, some runs on a full disk, and Python 3.11 keeps the half of a compiled file as if it were
    # whole. So those processes read what this one compiled, and write none of it.
    if hasattr(config, "workerinput") or config.getoption("dist", "no") == "no":
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Mark what `make quick` leaves out, where it follows from the room or from a fixture; order what is shared out."""
    mark_by_room(items)
    yield
    if hasattr(config, "workerinput"):
        items.sort(key=longest_first(items))


def pytest_collection_finish() -> None:
    # What collecting has left is there to stay: the garbage collector need not look at it again in each test.
    gc.freeze()
    gc.enable()


def longest_first(items: list[pytest.Item]) -> Callable[[pytest.Item], tuple[int, bool, int, str]]:
    """Return a key that keeps files together: the longest, those with slow tests, last what fills the gaps."""
    counts = Counter(item.path for item in items)
    turns = {Path(__file__).parent / name: turn for turn, name in enumerate(LONGEST_FILES)}
    slow = {item.path for item in items if any(map(item.get_closest_marker, ("slow", "real")))}
    return lambda item: (
        turns.get(item.path, len(turns)), item.path not in slow, -counts[item.path], str(item.path)
    )  # fmt: skip


def mark_by_room(items: list[pytest.Item]) -> None:
    for item in items:
        if SLOW_PATHS & {item.path, *item.path.parents}:
            item.add_marker(pytest.mark.slow)
        real_fixtures = REAL_FIXTURES & set(getattr(item, "fixturenames", ()))
        if real_fixtures or REAL_NAMES & vars(getattr(item, "module", item)).keys():
            item.add_marker(pytest.mark.real)


@pytest.fixture(scope="session")
def mini() -> Encoder:
    pytest.importorskip("sentence_transformers")
    return load_encoder("mini")


@pytest.fixture(scope="session")
def principles() -> list[Document]:
    """The documents of the bundled corpus."""
    corpus = files("rader_plugins").joinpath("data/principles/corpus.jsonl").read_text(encoding="utf-8")
    return [
        Document(id=row["_id"], text=f"{row['title']} {row['text']}", metadata=row["metadata"])
        for row in map(json.loads, corpus.splitlines())
    ]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Development data that lies beside a checkout; tests that use it are skipped elsewhere."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs the development data beside the checkout (public sets; see docs/benchmarks.md)")
    return SHARED_DATA


@pytest.fixture(scope="session", params=sorted(SERVERS))
def server(request: pytest.FixtureRequest) -> Iterator[EngineServer]:
    started = SERVERS[request.param]()
    yield started
    started.stop()


@pytest.fixture(scope="session")
def fresh(server: EngineServer) -> Callable[[], str]:
    """Gives the URL of an index that is not there yet."""
    return lambda: server.url(f"t{next(_numbers)}")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    started = PostgresServer()
    yield started
    started.stop()
