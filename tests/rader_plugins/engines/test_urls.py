"""URLs of engines that are wrong: each is refused, none makes a folder, and no message has its password."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from rader_plugins import create_index, open_index
from rader_plugins.errors import RaderError

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
