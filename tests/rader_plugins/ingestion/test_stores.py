"""Objects of a store are read as the same files of a folder are; what goes wrong is said, and no secret with it."""

from __future__ import annotations

import importlib
import json
import os
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

fsspec = pytest.importorskip("fsspec", reason="needs fsspec (extra stores)")

from fsspec.implementations.local import LocalFileSystem  # noqa: E402

from rader_plugins import Document  # noqa: E402
from rader_plugins.distributed import open_shared_source, shares_of  # noqa: E402
from rader_plugins.errors import InputError, MissingExtraError, SourceError  # noqa: E402
from rader_plugins.index import RaderIndex  # noqa: E402
from rader_plugins.ingestion import FileReading, Findings, ingest, open_source, stores, survey  # noqa: E402
from rader_plugins.ingestion.build_record import BuildRecord  # noqa: E402
from rader_plugins.ingestion.file_reading import FileReader  # noqa: E402
from rader_plugins.ingestion.file_records import read_records, reading_fingerprint, write_records  # noqa: E402
from rader_plugins.ingestion.stores import StorePath, read_location  # noqa: E402
from tests.rader_plugins.cli.conftest import write_rows  # noqa: E402
from tests.support.folder_server import FolderServer  # noqa: E402

FILES = {
    "a.txt": b"prime",
    "a b%20c.txt": b"a space and a percent sign",
    "\u00fcber/n\u00f6tig.md": "# \u00dcber\n\nprime".encode(),
    "odd #?*[x]{y}&.txt": b"odd",
    "deep/er/code.py": b"def f():\n    return 1\n",
    "deep-er/x.txt": b"stands behind what lies in deep",
    "deep/empty.txt": b"",
    "deep/zeros.txt": bytes(9),
    "deep/latin.txt": "na\u00efve caf\u00e9".encode("latin-1"),
    "deep/other.xyz": b"?",
    ".hidden.txt": b"hidden",
    "deep/.hidden/x.txt": b"hidden",
    "old/index.db": b"",
    "old/vectors/0.txt": b"of an index",
    "z.csv": b"title,body\nx,y\n",
}


class Shelf(LocalFileSystem):
    """A store of folder after folder, with an ETag where a test gives one."""

    protocol = "shelf"
    tags: dict[str, str] = {}

    @classmethod
    def _strip_protocol(cls, path: Any) -> str:
        return str(path).removeprefix(f"{cls.protocol}://").rstrip("/")

    def info(self, path: Any, **options: Any) -> dict[str, Any]:
        information: dict[str, Any] = super().info(path, **options)
        if tag := self.tags.get(str(information["name"])):
            information["ETag"] = tag
        return information


class FlatShelf(Shelf):
    """A store that lists all names at once, as S3 does."""

    protocol = "flatshelf"

    def find(self, path: Any, maxdepth: Any = None, withdirs: bool = False, detail: bool = False, **_: Any) -> Any:
        files = [Path(folder, name) for folder, _, names in os.walk(self._strip_protocol(path)) for name in names]
        return {str(file): self.info(str(file)) for file in files}


@pytest.fixture(autouse=True)
def shelves() -> Iterator[None]:
    for kind in (Shelf, FlatShelf):
        fsspec.register_implementation(kind.protocol, kind, clobber=True)
    Shelf.tags.clear()
    yield
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "notes"
    for name, content in FILES.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    return source


@pytest.fixture
def server(folder: Path) -> Iterator[FolderServer]:
    pytest.importorskip("aiohttp", reason="http:// needs aiohttp")
    with FolderServer(folder) as running:
        yield running


def read(source: Any, **options: Any) -> tuple[list[Document], dict[str, dict[str, str]]]:
    findings = Findings()
    documents = [document for _, document in open_source(source, **options).read(findings)]
    return documents, findings.to_dict(empty=False)


def in_memory(folder: Path) -> str:
    memory = fsspec.filesystem("memory")
    for file in folder.rglob("*"):
        if file.is_file():
            memory.pipe_file(f"/notes/{file.relative_to(folder).as_posix()}", file.read_bytes())
    return "memory://notes"


@pytest.mark.parametrize("globs", [(), ("*.xyz", "deep/**/*.py"), ("old/**",)])
def test_a_store_gives_what_the_same_folder_gives(folder: Path, server: FolderServer, globs: tuple[str, ...]) -> None:
    expected = read(folder, globs=globs) if globs != ("old/**",) else None
    urls = [in_memory(folder), f"shelf://{folder}", f"flatshelf://{folder}/", f"file://{folder}", server.url]
    for url in urls:
        if expected is None:
            with pytest.raises(InputError, match="holds no files"):
                read(url, globs=globs)
        else:
            assert read(url, globs=globs) == expected, url
    if not globs:
        assert expected is not None
        assert len(expected[0]) == 8
        assert set(expected[1]) == {"empty", "binary", "left_out", "hidden", "guessed"}


def test_single_files_beir_folders_and_rows_are_as_in_a_folder(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp", reason="http:// needs aiohttp")
    rows = [{"_id": f"d{n}", "title": "T", "text": f"prime {n}", "n": n} for n in range(9)]
    beir = tmp_path / "beir"
    beir.mkdir()
    write_rows(beir / "corpus.jsonl", *rows, {"text": "without an id"})
    (beir / "more rows.jsonl").write_bytes((beir / "corpus.jsonl").read_bytes() + b'{"_id": "d1", "te\n{"_id": "d1"')
    (beir / "two.jsonl").write_bytes('\ufeff{"id": "a", "text": "x"}\n'.encode("utf-16-le"))
    (beir / "notes.md").write_text("# N\n\nleft out")
    with FolderServer(beir) as server:
        for inner in ("", "corpus.jsonl", "more rows.jsonl", "two.jsonl", "notes.md"):
            expected = read(beir / inner)
            for url in (f"shelf://{beir}/{inner}", f"flatshelf://{beir}/{inner}", f"{server.url}{inner}"):
                assert read(url) == expected, url


def test_parquet_is_the_same_in_a_folder_a_store_and_by_workers(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    pytest.importorskip("aiohttp", reason="http:// needs aiohttp")
    rows = [{"id": f"d{n}", "text": f"prime {n}" if n != 4 else " ", "n": n} for n in range(10)]
    folder = tmp_path / "rows"
    folder.mkdir()
    parquet.write_table(pyarrow.Table.from_pylist(rows[:6]), folder / "a.parquet", row_group_size=4)
    parquet.write_table(pyarrow.Table.from_pylist([*rows[6:], {"id": None, "text": "x"}]), folder / "b c.parquet")
    (folder / "damaged.parquet").write_bytes(b"PAR1 no more")
    expected = read(folder)
    assert [document.id for document in expected[0]] == [row["id"] for row in rows if row["n"] != 4]
    assert set(expected[1]) == {"empty", "faulty", "unreadable"}
    with FolderServer(folder) as server:
        for source in (folder, f"shelf://{folder}", f"flatshelf://{folder}", server.url):
            assert read(source) == expected
            assert by_workers(source) == expected
    with pytest.raises(InputError, match="--encoding has no effect"):
        open_source(folder, encoding="cp1252")


def by_workers(source: Any) -> tuple[list[Document], dict[str, dict[str, str]]]:
    """What the tasks of a cluster read, each of which gets a copy of its shares."""
    findings = Findings()
    opened = open_shared_source(source, (), None)
    findings.take(opened.listed)
    shares = pickle.loads(pickle.dumps(shares_of(opened, 2)))  # noqa: S301 - our own
    documents = [document for share in shares for document in share.documents(findings)]
    return documents, findings.to_dict(empty=False)


def test_ids_that_stand_twice_in_parquet_files_are_named(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    for name, text in (("a", "prime"), ("b", "prime"), ("c", "graph")):
        parquet.write_table(pyarrow.Table.from_pylist([{"id": "d", "text": text}]), tmp_path / f"{name}.parquet")
    documents, findings = read(tmp_path)
    assert [document.text for document in documents] == ["prime"]
    assert findings == {
        "repeated": {
            "b.parquet, row 1 of group 0": "the id 'd' is that of a.parquet, row 1 of group 0, the same",
            "c.parquet, row 1 of group 0": "the id 'd' is that of a.parquet, row 1 of group 0, with something else, "
            "which stays",
        }
    }


def test_shares_of_a_folder_and_of_rows_are_those_of_files(
    folder: Path, server: FolderServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_rows(tmp_path / "rows.jsonl", *({"id": f"d{n}", "text": f"prime {n}"} for n in range(40)))
    monkeypatch.setattr("rader_plugins.distributed.shares._BYTES", 100)
    monkeypatch.setattr("rader_plugins.distributed.shares._FILES", 2)
    assert by_workers(f"shelf://{path}") == by_workers(path)
    assert len(by_workers(path)[0]) == 40
    assert by_workers(server.url) == by_workers(folder) == read(folder)


def test_an_object_that_vanishes_or_may_not_be_read_is_named_and_keeps_out_no_others(
    folder: Path, server: FolderServer
) -> None:
    server.statuses = {"/a.txt": 404, "/z.csv": 403, "/deep/er/": 403, "/deep/latin.txt": 500}
    documents, findings = read(server.url)
    assert findings["unreadable"] == {
        "a.txt": "it is not there",
        "z.csv": "no permission; credentials come from the environment",
        "deep/er/": "no permission; credentials come from the environment",
        "deep/latin.txt": "its server answers with status 500",
    }
    assert len(documents) == 4
    for opened in [open_source(f"shelf://{folder}"), open_source(in_memory(folder))]:
        (folder / "a.txt").unlink(missing_ok=True)
        fsspec.filesystem("memory").store.pop("/notes/a.txt", None)
        noted = Findings()
        list(opened.read(noted))
        assert noted.names["unreadable"] == {"a.txt": "it is not there"}


def test_a_store_that_does_not_answer_ends_the_reading_and_is_named(
    folder: Path, server: FolderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_WAITS", (0.0,))
    opened = open_source(server.url)
    reading = opened.read(Findings())
    next(reading)
    server.statuses["/deep/latin.txt"] = 503  # as of a server behind another
    before = len(server.requests)
    with pytest.raises(SourceError, match=r"does not answer \(status 503\)"):
        list(reading)
    assert server.requests[before:].count("/deep/latin.txt") == 2  # and once more
    server.is_down = True
    for source in (server.url, f"{server.url}a.txt"):
        with pytest.raises(SourceError, match=r"does not answer .*the same command goes on"):
            read(source)
    with pytest.raises(SourceError):
        list(opened.read(Findings()))


def test_of_a_page_its_links_below_it_are_followed_and_nothing_else(folder: Path, server: FolderServer) -> None:
    page = folder / "page"
    (page / "sub").mkdir(parents=True)
    for name in ("a&b.txt", "it's #1.txt", "sub/c.txt", "unlinked.txt"):
        (page / name).write_text("prime")
    (page / "index.html").write_text(
        f"""<html>See {server.url}page/none.txt. <a href="?C=N;O=D">Name</a> <a href="../">up</a>
        <a href="a&amp;b.txt">a</a> <a class="x" href="it&#39;s%20%231.txt">b</a> <a href="/a.txt">elsewhere</a>
        <a href="{server.url}page/sub/">sub</a> <a href="#top">top</a> <a href="https://example.org/d.txt">d</a>"""
    )
    documents, findings = read(f"{server.url}page/")
    assert [document.id for document in documents] == ["a&b.txt", "it's #1.txt", "sub/c.txt"]
    assert not findings


def test_what_is_missing_or_empty_is_refused_by_name(folder: Path, server: FolderServer) -> None:
    (folder / "nothing").mkdir()
    for url, message in (
        (f"shelf://{folder}/none", "cannot be read: it is not there"),
        (f"shelf://{folder}/none/", "cannot be read: it is not there"),
        (f"shelf://{folder}/a%20b.txt", "%20 is no space"),
        (f"shelf://{folder}/nothing", "is empty"),
        (f"flatshelf://{folder}/nothing/", "is empty"),
        (f"shelf://{folder}/deep/other.xyz", "none of the known endings"),
        ("memory://none", "cannot be read: it is not there"),
        (f"{server.url}none.txt", "cannot be read: it is not there"),
        (f"{server.url}nothing/", "is empty"),
        (f"{server.url}none/", "cannot be read: it is not there"),
        ("nosuch://bucket/x", "fsspec knows no nosuch://"),
        ("shelf://", "names no bucket"),
        ("simplecache::shelf://bucket/x", "chain of URLs"),
        ("zip://inner.txt", "cannot be opened"),
    ):
        with pytest.raises(InputError) as caught:
            open_source(url)
        assert message in str(caught.value), (url, caught.value)
    with pytest.raises(InputError, match="--follow-links"):
        open_source(f"shelf://{folder}", follow_links=True)


@pytest.mark.parametrize(("protocol", "package"), [("s3", "s3fs"), ("gs", "gcsfs"), ("az", "adlfs"), ("abfs", "adlfs")])
def test_a_missing_package_is_named_with_its_pip_line(
    protocol: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(name: str) -> Any:
        raise ImportError(f"Install what reads {name}")

    monkeypatch.setattr(importlib.import_module("fsspec.registry"), "get_filesystem_class", without)
    with pytest.raises(MissingExtraError, match=f"pip install {package}"):
        open_source(f"{protocol}://bucket/folder/")


SECRETS = ("hunter2", "deadbeef", "AKIA1234")


@pytest.mark.parametrize(
    "url",
    [
        "https://AKIA1234:hunter2@host/a.jsonl?X-Amz-Signature=deadbeef",
        "https://host/a.jsonl?X-Amz-Credential=AKIA1234&X-Amz-Signature=deadbeef#hunter2",
        "https://host?token=deadbeef",
        "ftp://AKIA1234:hunter2@host/a.txt",
        "abfs://data@account.dfs.core.windows.net/a.txt",
    ],
)
def test_nothing_that_is_shown_of_a_url_is_secret(url: str) -> None:
    path = read_location(url)
    assert isinstance(path, StorePath)
    record = BuildRecord(source=stores.absolute(path)).to_json().decode()
    used = path.store.url
    reason = path.store._text(OSError(f"403, url='{used}' and {used.partition('://')[2]}"))
    for text in (str(path), repr(path), path.name, record, reason):
        assert not any(secret in text for secret in SECRETS), text
    assert ("account" in str(path)) == url.startswith("abfs")


@pytest.mark.parametrize("url", ["s3://AKIA1234:hunter2@bucket/x", "gs://bucket/x?X-Goog-Signature=deadbeef"])
def test_credentials_that_would_not_be_used_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InputError, match="environment") as caught:
        read_location(url)
    assert not any(secret in str(caught.value) for secret in SECRETS)


@pytest.mark.parametrize(
    "url", ["https://me:hunter2/x@host/a.txt", "s3://AKIA1234:hunter2/x@bucket/a", "ftp://me:hunter2/@h"]
)
def test_a_password_with_a_slash_is_not_taken_for_a_host_and_shown(url: str) -> None:
    with pytest.raises(InputError, match="%2F") as caught:
        read_location(url)
    assert not any(secret in str(caught.value) for secret in SECRETS)
    for right in ("http://[::1]:8000/a.txt", "http://host:80/b:c/a@b.txt", "https://me:hunter2@host:8443/a.txt"):
        assert isinstance(read_location(right), StorePath)


def test_a_signed_url_is_read_and_leaves_no_trace(tmp_path: Path, server: FolderServer, folder: Path) -> None:
    write_rows(folder / "rows.jsonl", {"text": "without an id"})
    url = f"http://AKIA1234:hunter2@{server.host}/rows.jsonl?X-Amz-Signature=deadbeef"
    opened = open_source(url)
    [(_, document)] = opened.read(Findings())
    assert document.id == "rows.jsonl:1"
    assert "/rows.jsonl?X-Amz-Signature=deadbeef" in server.requests
    late = open_source(url)
    server.statuses["/rows.jsonl"] = 403
    for attempt in (lambda: read(url), lambda: list(late.read(Findings()))):
        with pytest.raises(InputError, match=r"/rows\.jsonl cannot be read: no permission") as caught:
            attempt()
        assert not any(secret in str(caught.value) for secret in SECRETS)
    assert not any(secret in repr(opened) for secret in SECRETS)


def build(url: str, out: Path) -> Any:
    """As `rader index build` does it, for an index without vectors."""
    opened = open_source(url)
    reading = reading_fingerprint(opened.reader)
    surveyed = survey(opened, reading=FileReading(read_records(out, reading), out))
    index = RaderIndex.open(out) if RaderIndex.exists(out) else RaderIndex.create(out, None)
    outcome = ingest(index, surveyed, prune=True)
    write_records(out, reading, opened.path, surveyed.records)
    surveyed.discard()
    texts = {document.id: document.text for document in index.get(sorted(index.ids()))}
    index.close()
    return outcome, texts


def test_only_what_is_sure_to_be_unchanged_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.txt").write_text(f"prime {name}")
    Shelf.tags |= {str(folder / "a.txt"): '"1"', str(folder / "b.txt"): 'W/"1"'}
    reads: list[str] = []
    real = FileReader.read

    def noted(self: FileReader, file: Any, name: str) -> Any:
        reads.append(name)
        return real(self, file, name)

    monkeypatch.setattr(FileReader, "read", noted)
    build(f"shelf://{folder}", tmp_path / "index")
    assert reads == ["a.txt", "b.txt", "c.txt"]
    (folder / "a.txt").write_text("PRIME A")  # the same size, and the store says that it is the same
    (folder / "b.txt").write_text("graph b")  # the same size: a weak tag is no proof
    (folder / "c.txt").write_text("graph c")
    os.utime(folder / "c.txt", (0, 0))
    reads.clear()
    _, texts = build(f"shelf://{folder}", tmp_path / "index")
    assert reads == ["b.txt", "c.txt"]
    assert texts == {"a.txt": "prime a", "b.txt": "graph b", "c.txt": "graph c"}
    Shelf.tags[str(folder / "a.txt")] = '"2"'
    (folder / "b.txt").unlink()
    outcome, texts = build(f"shelf://{folder}/", tmp_path / "index")
    assert texts == {"a.txt": "PRIME A", "c.txt": "graph c"}
    assert (outcome.replaced, outcome.removed) == (1, 1)


def test_an_object_that_changes_between_its_shares_is_no_mixture(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", *({"id": f"d{n}", "text": f"prime {n}"} for n in range(40)))
    Shelf.tags[str(path)] = '"1"'
    first, *others = shares_of(open_shared_source(f"shelf://{path}", (), None), 2)
    assert list(first.documents(Findings()))
    Shelf.tags[str(path)] = '"2"'
    findings = Findings()
    assert not [document for share in others for document in share.documents(findings)]
    assert findings.names == {"unreadable": {"rows.jsonl": "it has changed since it was listed: run the command again"}}


def test_a_share_of_rows_does_not_fetch_much_more_than_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.spec import AbstractBufferedFile

    path = tmp_path / "rows.jsonl"
    row = json.dumps({"id": "d", "text": "prime " * 40}).encode() + b"\n"
    path.write_bytes(row * (12_000_000 // len(row)))
    fetched: list[int] = []

    class Ranges(AbstractBufferedFile):  # what the packages of stores open, by default with blocks of their own size
        DEFAULT_BLOCK_SIZE = 50 << 20

        def _fetch_range(self, start: int, end: int) -> bytes:
            fetched.append(end - start)
            return path.read_bytes()[start:end]

    def opened(self: Shelf, address: str, mode: str = "rb", block_size: Any = "default", **_: Any) -> Any:
        return Ranges(self, address, mode, block_size=block_size, size=path.stat().st_size)

    monkeypatch.setattr(FlatShelf, "open", opened)
    shares = shares_of(open_shared_source(f"flatshelf://{path}", (), None))
    rows = sum(1 for share in shares for _ in share.documents(Findings()))
    assert rows == 12_000_000 // len(row)
    assert len(shares) > 2
    assert sum(fetched) < 2 * path.stat().st_size


def test_a_text_that_is_too_large_is_named(folder: Path, server: FolderServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_LARGEST", 50)
    (folder / "a.txt").write_bytes(b"prime " * 10)
    for url in (f"shelf://{folder}", server.url):
        documents, findings = read(url)
        assert set(findings["unreadable"]) == {"a.txt"}
        assert "60 bytes" in findings["unreadable"]["a.txt"]
        assert len(documents) == 7


def test_many_names_are_listed_with_one_request(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    count = 100_000
    names = [f"{tmp_path}/{n % 100}/{n}.{'txt' if n % 2 else 'xyz'}" for n in range(count)]
    calls: list[str] = []

    def find(self: Shelf, path: str, **options: Any) -> Any:
        calls.append(path)
        return {name: {"name": name, "size": 1, "type": "file", "ETag": name} for name in names}

    monkeypatch.setattr(FlatShelf, "find", find)
    opened = open_shared_source(f"flatshelf://{tmp_path}", (), None)
    assert len(calls) == 1
    assert len(opened.files) == opened.listed.count("left_out") == count // 2
    shares = shares_of(opened, 2)
    # No share carries what was listed and is not read.
    assert not any(share.source.listed.names for share in shares)
    assert len(pickle.dumps(shares[0])) < 100_000
    assert replace(opened, files=()).listed.count("left_out") == count // 2


def test_a_pdf_in_a_store_is_read_in_a_process_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("pypdf")
    from tests.support import documents as files

    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "a.pdf").write_bytes(files.pdf(["prime", "graph"]))
    (folder / "bad.pdf").write_bytes(b"%PDF-1.4 no more")
    expected = survey(open_source(folder))
    surveyed = survey(open_source(f"shelf://{folder}"), reading=FileReading(jobs=2))
    assert list(surveyed.documents()) == list(expected.documents())
    assert surveyed.findings == expected.findings
    assert json.dumps(surveyed.findings.to_dict()).count("bad.pdf") == 1
