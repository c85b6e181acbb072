"""Servers of engines: started once for all tests that use them, and ended after the last."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from tests.support.engine_servers import SERVERS, EngineServer
from tests.support.postgres_server import PostgresServer

_numbers = itertools.count()


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
