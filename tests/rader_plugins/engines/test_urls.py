"""URLs of engines that are wrong: each is refused, none makes a folder, and no message has its password."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import pytest

from rader_plugins import RaderRetriever, create_index, open_index
from rader_plugins.engines.urls import without_password
from rader_plugins.errors import RaderError
from tests.support.dict_collection import DictCollection, index_in

SECRET = "sEcReT"
WRONG = (
    "milvus://me:{}@127.0.0.1:port/docs",  # no number
    "milvus://me:{}@127.0.0.1:0/docs",
    "postgresql://me:{}@host:99999/db",
    "postgresql://me:{}@127.0.0.1:1/db?table=",
    "postgresql://me:{}@127.0.0.1:1/db?tables=docs",
    "postgresql://127.0.0.1:1/db?password={}",
    "postgresql:/me:{}@host/db",  # too few slashes
    "PostgreSQL:me:{}@host/db",
    "qdrant:/me:{}@host/docs",
    "mysql://me:{}@host/db",  # no engine
    "https://me:{}@host/docs",
    "milvus://me:{}@/docs",
    "milvus://127.0.0.1:1/docs?token={}",
    "qdrant://me:{}@127.0.0.1:1/docs?timeout=never",
    "  postgresql://me:{}@127.0.0.1:1/db",  # no server
    "postgresql://me:{}@127.0.0.1:1/db",
    "postgresql://me:{}@127.0.0.1:1/db?partition=%ff",  # no UTF-8: all such bytes would be one partition
    "milvus://me:{}%ff@127.0.0.1:1/docs",
)


@pytest.mark.parametrize("url", WRONG)
def test_wrong_urls_are_refused_and_their_passwords_are_told_nobody(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in ("psycopg", "pymilvus", "qdrant_client"):
        pytest.importorskip(module, reason="needs the extras milvus, postgres and qdrant")
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.DEBUG)
    for call in (open_index, lambda where: create_index(where, None)):
        with pytest.raises(RaderError) as raised:
            call(url.format(SECRET))
        assert SECRET not in str(raised.value) + caplog.text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("url", "written"),
    [
        ("postgresql://me:{}@/db?table=docs&host=%2Fa%2Fb", "postgresql://me@/db?table=docs&host=%2Fa%2Fb"),
        ("milvus://me:{}@[::1]:19530/docs?partition=a%2Fb", "milvus://me@[::1]:19530/docs?partition=a%2Fb"),
        ("qdrant://:{}@host/docs", "qdrant://host/docs"),
        ("qdrant:///a/b", "qdrant:///a/b"),
    ],
)
def test_what_is_pickled_holds_no_password(url: str, written: str) -> None:
    assert without_password(url.format(SECRET)) == written
    index = index_in(DictCollection(), None)
    index._url = url.format(SECRET)
    assert SECRET.encode() not in pickle.dumps(RaderRetriever(index, mode="bm25"))
