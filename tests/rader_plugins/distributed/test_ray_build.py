"""Building with Ray: the same index as in one process, whoever is killed on the way."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rader_plugins import Document, open_index
from rader_plugins.distributed import check_names, open_shared_source, shares_of
from rader_plugins.errors import InputError
from rader_plugins.ingestion import Chunking, Findings
from rader_plugins.ingestion.tables import TableColumns
from tests.rader_plugins.cli.conftest import write_rows
from tests.support.encoders import WORDS
from tests.support.folder_server import FolderServer
from tests.support.kill import ROOT
from tests.support.postgres_server import PostgresServer

# A command with an encoder in place of the model, which stalls or kills its process where a file tells it to.
COMMAND = """
import rader_plugins.encoding
from tests.support.mortal_encoder import MortalEncoder
rader_plugins.encoding.load_encoder = lambda *_, **__: MortalEncoder(name="mini")
import rader_plugins.distributed.shares
rader_plugins.distributed.shares._BYTES = 30_000
from rader_plugins.cli import main
main()
"""
COUNT = 3000


def rows(count: int) -> list[dict[str, Any]]:
    return [{"id": f"d{n:04d}", "text": f"{WORDS[n % 16]} {WORDS[n // 16 % 16]} {n}", "n": n} for n in range(count)]


def started(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        "OMP_NUM_THREADS": "1",
        "RADER_TEST_FOLDER": str(folder),
    }
    command = [sys.executable, "-c", COMMAND, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment, cwd=folder)


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.timeout(1200)  # two starts of Ray: half a minute on an idle machine, minutes on a loaded one
def test_a_driver_and_a_worker_are_killed_and_nothing_is_lost_or_doubled(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    pytest.importorskip("ray.data", reason="needs ray (extra ray)")
    url = postgres.url("by_ray")
    source = write_rows(tmp_path / "rows.jsonl", *rows(COUNT), {"id": "empty", "text": " "})
    build = ("index", "build", source, "--out", url, "--ray", "local", "--model", "mini", "--json")
    (tmp_path / "stall").touch()  # each worker stops after its first batch
    first = started(tmp_path, *build)
    while not _stored(url):
        assert first.poll() is None, first.communicate()
        time.sleep(0.2)
    assert all(address.startswith(("127.", "::1")) for address in _listening(first.pid))
    first.kill()
    first.communicate()
    for pid in (tmp_path / "workers").read_text().split():
        _await_end(int(pid))
    (tmp_path / "stall").unlink()
    before = _stored(url)
    assert 0 < before < COUNT
    (tmp_path / "kill").touch()  # the first worker that encodes dies of it, once
    second = started(tmp_path, *build)
    out, errors = second.communicate(timeout=600)
    assert second.returncode == 0, errors
    assert not (tmp_path / "kill").exists()
    summary = json.loads(out)
    assert summary["documents"] == COUNT
    assert summary["added"] + summary["unchanged"] == COUNT
    assert summary["unchanged"] >= before  # what the first had stored was not encoded again
    assert summary["encoded"] == summary["added"]
    assert summary["skipped_empty"] == 1
    index = open_index(url)
    expected = {row["id"]: Document(row["id"], row["text"], {"n": row["n"]}) for row in rows(COUNT)}
    assert {document.id: document for document in index.get(sorted(index.ids()))} == expected
    statistics = index.stats()["statistics"]
    assert (statistics["documents"], statistics["drift"]) == (COUNT, 0)
    index.close()


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.timeout(1200)  # two starts of Ray, as above
def test_a_store_with_faulty_files_is_built_twice_as_the_embedded_build_has_its_folder(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    pytest.importorskip("ray.data", reason="needs ray (extra ray)")
    pytest.importorskip("aiohttp", reason="http:// needs aiohttp")
    folder = tmp_path / "notes"
    (folder / "deep").mkdir(parents=True)
    for row in rows(40):
        (folder / f"deep/{row['id']} %.md").write_text(f"# {row['id']}\n\n{row['text']}")
    for name, content in {"zeros.txt": bytes(9), "empty.txt": b"", "odd.xyz": b"?", ".hidden.txt": b"x"}.items():
        (folder / name).write_bytes(content)
    url = postgres.url("by_ray_from_a_store")
    with FolderServer(folder) as server:
        server.statuses["/gone.txt"] = 404
        (folder / "gone.txt").write_text("in the listing alone")
        by_ray = ("index", "build", server.url, "--out", url, "--ray", "local", "--model", "mini", "--json")
        first, _ = finished(started(tmp_path, *by_ray), code=1)
        # And once more, with another source beside it, of which two rows have the same id.
        more = write_rows(tmp_path / "more.jsonl", *[{"id": "more", "text": "x"}] * 2, {"id": "y"})
        second, said = finished(started(tmp_path, *by_ray[:3], more, *by_ray[3:]), code=1)
    (folder / "gone.txt").unlink()
    expected, _ = finished(
        started(tmp_path, "index", "build", folder, "--out", tmp_path / "index", "--model", "mini", "--json"), code=0
    )
    assert first["findings"].pop("unreadable") == {"gone.txt": "it is not there"}
    expected["findings"].pop("unreadable")
    assert first["findings"] == expected["findings"]
    assert first["encoded"] == first["added"] == expected["added"] == 40
    assert (second["encoded"], second["added"], second["documents"]) == (1, 1, 41)
    assert second["unchanged"] >= 40
    assert second["findings"]["unreadable"] == {f"{server.url}gone.txt": "it is not there"}
    assert list(second["findings"]["faulty"]) == [f"{more}, byte 56"]
    assert second["findings"]["hidden"] == {f"{server.url}.hidden.txt": ""}
    assert "1 of 42 documents share their id with another, such as 'more'" in said
    stored = []
    for place in (url, str(tmp_path / "index")):
        with contextlib.closing(open_index(place)) as index:
            stored.append({document.id: document for document in index.get(sorted(index.ids()))})
    assert stored[0].pop("more").text == "x"
    assert stored[0] == stored[1]


def finished(process: subprocess.Popen[str], code: int) -> tuple[Any, str]:
    out, errors = process.communicate(timeout=600)
    assert process.returncode == code, errors
    return json.loads(out), errors


def _stored(url: str) -> int:
    from rader_plugins.index import find_index

    index = find_index(url)
    if index is None:
        return 0
    try:
        return len(index)
    finally:
        index.close()


def _listening(pid: int) -> set[str]:
    """Addresses on which a process listens, or one that it has started."""
    psutil = pytest.importorskip("psutil")
    process = psutil.Process(pid)
    addresses = set()
    for each in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            connections = each.net_connections("tcp")
            addresses |= {socket.laddr.ip for socket in connections if socket.status == psutil.CONN_LISTEN}
    return {address.removeprefix("::ffff:") for address in addresses}


def _await_end(pid: int) -> None:
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1][:3]:
        time.sleep(0.1)


def documents(source: Path, chunking: Chunking | None = None) -> list[Document]:
    opened = open_shared_source(source, (), chunking)
    return [document for share in shares_of(opened) for document in share.documents(Findings())]


def test_shares_of_a_file_hold_each_row_once_wherever_it_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_rows(tmp_path / "rows.jsonl", *rows(40))
    source.write_bytes(b"\xef\xbb\xbf" + source.read_bytes().replace(b"\n", b"\n\n", 3).rstrip())
    whole = documents(source)
    assert [document.id for document in whole] == [row["id"] for row in rows(40)]
    for size in (1, 2, 7, 50, 51, 52, 53, 1000):
        monkeypatch.setattr("rader_plugins.distributed.shares._BYTES", size)
        assert documents(source) == whole


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_each_worker_has_shares_of_a_small_source_too(tmp_path: Path, workers: int) -> None:
    file = write_rows(tmp_path / "rows.jsonl", *rows(100))
    folder = tmp_path / "texts"
    folder.mkdir()
    for row in rows(40):
        (folder / f"{row['id']}.txt").write_text(row["text"])
    for source in (file, folder):
        opened = open_shared_source(source, (), None)
        shares = [list(share.documents(Findings())) for share in shares_of(opened, workers)]
        assert sum(bool(share) for share in shares) >= workers
        assert [document for share in shares for document in share] == documents(source)


def test_shares_give_what_a_build_in_one_process_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rader_plugins.distributed.shares._FILES", 2)
    for n in range(5):
        (tmp_path / f"{n}.md").write_text(f"# Title {n}\n\n" + "prime graph. " * 20)
    pytest.importorskip("semantic_text_splitter")
    from rader_plugins.ingestion import open_source

    for chunking in (None, Chunking(80)):
        expected = list(open_source(tmp_path, (), chunking).documents())
        assert documents(tmp_path, chunking) == expected


def test_shares_of_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.Table.from_pylist(rows(10))
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=3)
    expected = [Document(row["id"], row["text"], {"n": row["n"]}) for row in rows(10)]
    assert documents(tmp_path / "a.parquet") == documents(tmp_path) == expected
    (tmp_path / "readme.txt").touch()
    with pytest.raises(InputError, match=r"readme\.txt"):
        documents(tmp_path)


def test_parquet_files_are_chosen_and_no_option_is_ignored(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.Table.from_pylist(rows(4))
    (tmp_path / "deep").mkdir()
    for name in ("a.parquet", "deep/b.parquet"):
        parquet.write_table(table, tmp_path / name)
    (tmp_path / "readme.txt").write_text("prime")
    for globs, count in ((["*.parquet"], 8), (["a*"], 4)):
        source = open_shared_source(tmp_path, globs, None)
        assert sum(len(list(share.documents(Findings()))) for share in shares_of(source)) == count
    with pytest.raises(InputError, match="one kind at a time"):
        open_shared_source(tmp_path, ["*.parquet", "*.txt"], None)
    with pytest.raises(InputError, match="is a file"):
        open_shared_source(tmp_path / "a.parquet", ["*.parquet"], None)
    for path, globs in ((tmp_path / "a.parquet", []), (tmp_path / "deep", []), (tmp_path, ["*.parquet"])):
        with pytest.raises(InputError, match="--rows"):
            open_shared_source(path, globs, None, columns=TableColumns(("text",), "id"))


def test_files_of_two_sources_with_the_same_id_are_refused_before_they_are_read(tmp_path: Path) -> None:
    for name in ("a/x.txt", "a/y.txt", "b/y.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("prime")
    sources = [open_shared_source(tmp_path / name, (), None) for name in ("a", "b")]
    with pytest.raises(InputError, match=r"'y\.txt' stands twice: .*a.y\.txt and .*b.y\.txt"):
        check_names(sources)
    check_names([sources[0], open_shared_source(write_rows(tmp_path / "y.jsonl", *rows(2)), (), None)])


def test_rows_that_cannot_be_used_are_named_and_keep_out_no_others(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "prime"}\n{"id": "a", "text": "number"}\n{"id": "b", "te')
    findings = Findings()
    found = [
        document.id for share in shares_of(open_shared_source(path, [], None)) for document in share.documents(findings)
    ]
    assert found == ["a"]
    assert findings.names == {
        "faulty": {
            "rows.jsonl, byte 0": "there is no 'id' or '_id' or 'doc_id' that names it.",
            "rows.jsonl, byte 48": "no JSON: Unterminated string starting, at character 13",
        }
    }
    path.write_bytes('{"id": "a", "text": "é"}'.encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        documents(path)
