"""`rader index build` from a URL: what the same folder gives, and no secret of the URL anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.rader_plugins.cli.conftest import Rader, write_rows
from tests.support.folder_server import FolderServer

pytest.importorskip("fsspec", reason="needs fsspec (extra stores)")
pytest.importorskip("aiohttp", reason="http:// needs aiohttp")


def test_a_url_is_built_from_again_and_again(rader: Rader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rader_plugins.ingestion.stores._WAITS", (0.0, 0.0))
    folder, out = tmp_path / "notes", tmp_path / "index"
    folder.mkdir()
    for name in ("a b.txt", "b.md", "c.txt"):
        (folder / name).write_text(f"prime {name}")
    write_rows(folder / "rows.ndjson", {"id": "r", "text": "row"}, {"id": "s"})
    with FolderServer(folder) as server:
        first = json.loads(rader("index", "build", server.url, "--out", out, "--json").stdout)
        assert (first["added"], first["source"]) == (3, "text")
        again = json.loads(rader("index", "build", server.url, "--out", out, "--json", "--jobs", 2).stdout)
        assert (again["added"], again["unchanged"], again["encoded"]) == (0, 3, 0)
        (folder / "c.txt").unlink()
        (folder / "b.md").write_text("graph b.md")
        server.statuses["/a%20b.txt"] = 403
        kept = rader("index", "build", server.url, "--out", out, "--json", "--prune", code=1)
        assert "Nothing was removed" in kept.output
        assert "a b.txt: no permission" in kept.output
        server.statuses.clear()
        pruned = json.loads(rader("index", "build", server.url, "--out", out, "--json", "--prune").stdout)
        assert (pruned["removed"], pruned["unchanged"], pruned["documents"]) == (1, 2, 2)
        url = f"http://me:hunter2@{server.host}/rows.ndjson?token=deadbeef"
        added = rader("index", "add", out, url, code=1)
        assert "rows.ndjson was not read completely: 1 faulty" in added.output
        server.statuses["/rows.ndjson"] = 403
        refused = rader("index", "build", url, "--out", tmp_path / "other", code=2)
        assert "no permission" in refused.output
        server.is_down = True
        down = rader("index", "build", server.url, "--out", out, code=1)
        assert "does not answer" in down.output
    assert not (tmp_path / "other").exists()
    written = b"".join(file.read_bytes() for file in out.rglob("*") if file.is_file())
    for secret in ("hunter2", "deadbeef"):
        assert secret.encode() not in written
        assert secret not in added.output + refused.output


def test_several_sources_are_for_workers(rader: Rader, tmp_path: Path) -> None:
    paths = [write_rows(tmp_path / f"{name}.jsonl", {"id": name, "text": "prime"}) for name in "ab"]
    refused = rader("index", "build", *paths, "--out", tmp_path / "index", code=2)
    assert "Without --ray one PATH" in refused.output
    assert "rader index add" in refused.output
    assert not (tmp_path / "index").exists()
