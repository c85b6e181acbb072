"""Damaged files, disks that are full, folders that cannot be written, formats of the future: nothing stored is lost."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rader_plugins import Document, RaderIndex, RaderRetriever
from rader_plugins.errors import IndexCorruptError, IndexVersionError, IndexWriteError
from tests.support.encoders import HashEncoder, random_text
from tests.support.kill import start


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    with RaderIndex.create(tmp_path / "index", encoder=HashEncoder()) as index:
        for start_row in range(0, 60, 20):
            index.add([Document(id=f"d{n}", text=random_text(rng)) for n in range(start_row, start_row + 20)])
        index.optimize()
    return tmp_path / "index"


def hits(path: Path, **options: object) -> list[tuple[str, float]]:
    with RaderIndex.open(path, HashEncoder()) as index:
        ranking = RaderRetriever(index, **options).search("prime heat market", k=60)  # type: ignore[arg-type]
        return [(hit.document.id, hit.score) for hit in ranking]


def shard(path: Path) -> Path:
    return next((path / "vectors").iterdir())


def test_truncated_vectors_are_reported_and_repaired(path: Path) -> None:
    before = hits(path)
    os.truncate(shard(path), 100)
    with pytest.raises(IndexCorruptError, match=r"truncated.*repair"):
        RaderIndex.open(path, HashEncoder())
    assert RaderIndex.repair(path, HashEncoder()) == 60
    assert hits(path) == before


def test_changed_vectors_are_reported_and_only_their_block_is_repaired(path: Path) -> None:
    before = hits(path)
    content = bytearray(shard(path).read_bytes())
    content[5] ^= 0xFF
    shard(path).write_bytes(content)
    with pytest.raises(IndexCorruptError, match=r"differ.*repair"):
        RaderIndex.open(path, HashEncoder())
    assert len(RaderIndex.open(path, HashEncoder(), verify=False)) == 60
    assert RaderIndex.repair(path, HashEncoder()) == 20
    assert hits(path) == before
    assert RaderIndex.repair(path, HashEncoder()) == 0


def test_lost_vectors_are_reported_and_repaired(path: Path) -> None:
    before = hits(path)
    shard(path).unlink()
    with pytest.raises(IndexCorruptError, match="missing"):
        RaderIndex.open(path, HashEncoder())
    assert RaderIndex.repair(path, HashEncoder()) == 60
    assert hits(path) == before


@pytest.mark.parametrize("damage", ["truncate", "garbage", "remove"])
def test_damaged_postings_are_rebuilt(path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    before = hits(path, mode="bm25")
    file = next((path / "derived").glob("lexical-*"))
    if damage == "truncate":
        os.truncate(file, 50)
    elif damage == "garbage":
        file.write_bytes(b"\x80\x04K\x01." * 100)
    else:
        file.unlink()
    assert hits(path, mode="bm25") == before
    assert "Rebuilding BM25" in caplog.text


def test_truncated_database(path: Path) -> None:
    os.truncate(path / "index.db", 8192)
    with pytest.raises(IndexCorruptError, match=r"index\.db"):
        RaderIndex.open(path, HashEncoder())


def test_a_database_that_is_none(path: Path) -> None:
    (path / "index.db").write_bytes(b"this is no database" * 1000)
    with pytest.raises(IndexCorruptError, match=r"index\.db is damaged"):
        RaderIndex.open(path, HashEncoder())


def test_a_database_of_someone_else(path: Path) -> None:
    (path / "index.db").unlink()
    other = sqlite3.connect(path / "index.db")
    other.execute("CREATE TABLE notes (text)")
    other.close()
    with pytest.raises(IndexCorruptError, match="not an index"):
        RaderIndex.open(path, HashEncoder())


def test_a_newer_format_is_left_alone(path: Path) -> None:
    database = sqlite3.connect(path / "index.db")
    database.execute("PRAGMA user_version = 99")
    database.close()
    content = (path / "index.db").read_bytes()
    with pytest.raises(IndexVersionError, match=r"format 99.*upgrade"):
        RaderIndex.open(path, HashEncoder())
    assert (path / "index.db").read_bytes() == content


def test_opening_and_searching_write_nothing(path: Path) -> None:
    def state() -> dict[str, tuple[int, bytes]]:
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return {str(file): (file.stat().st_mtime_ns, file.read_bytes()) for file in files}

    before = state()
    hits(path)
    assert state() == before


FULL_DISK = """
import resource, signal, sys
from rader_plugins import Document, RaderIndex
from rader_plugins.errors import IndexWriteError
from tests.support.encoders import HashEncoder

path, limited = sys.argv[1], sys.argv[2]
index = RaderIndex.open(path, HashEncoder())
len(index)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit then fails as on a full disk
size = (index.path / "index.db").stat().st_size if limited == "database" else 4000
resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
try:
    index.add([Document(id=f"new{n}", text="prime " * 50) for n in range(200)])
except IndexWriteError as error:
    print("refused:", error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(len(index))
index.add([Document(id="afterwards", text="prime")])
print(len(index))
"""


@pytest.mark.skipif(os.name != "posix", reason="uses the resource limits of POSIX systems")
@pytest.mark.parametrize("limited", ["vectors", "database"])
@pytest.mark.slow
def test_full_disk(path: Path, limited: str) -> None:
    before = hits(path)
    output, _ = start(FULL_DISK, str(path), limited).communicate()
    assert "refused:" in output
    assert "intact" in output
    assert output.split()[-2:] == ["60", "61"]
    with RaderIndex.open(path, HashEncoder()) as index:
        index.delete(["afterwards"])
    assert hits(path) == before


OPTIMIZED_ON_A_FULL_DISK = """
import resource, signal, sys
from rader_plugins import RaderIndex
from rader_plugins.errors import IndexWriteError
from tests.support.encoders import HashEncoder

index = RaderIndex.open(sys.argv[1], HashEncoder())
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for size in (0, 200, 1000, resource.RLIM_INFINITY):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        index.optimize()
        print("done")
    except IndexWriteError as error:
        print("refused:", error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert len(index) == 60
    index.verify()
"""


@pytest.mark.skipif(os.name != "posix", reason="uses the resource limits of POSIX systems")
def test_optimizing_on_a_full_disk_is_refused_or_done(path: Path) -> None:
    output, error = start(OPTIMIZED_ON_A_FULL_DISK, str(path)).communicate()
    assert output.count("The search structures") == 3, (output, error)
    assert output.endswith("done\n")
    assert not list((path / "derived").glob("*.tmp"))


@contextlib.contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Keep everybody from writing into a folder and those in it."""
    if os.geteuid() != 0:
        folders = [path, *(inner for inner in path.iterdir() if inner.is_dir())]
        for folder in folders:
            folder.chmod(0o555)
        try:
            yield
        finally:
            for folder in folders:
                folder.chmod(0o755)
        return
    # Root may write anywhere: only a read-only mount stops it.
    if subprocess.run(["mount", "--bind", str(path), str(path)], capture_output=True, check=False).returncode:
        pytest.skip("root cannot be kept from writing, and this system lets nobody mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(path)], check=True)
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


def test_read_only_folder(path: Path) -> None:
    before = hits(path)
    with read_only(path):
        assert hits(path) == before
        with RaderIndex.open(path, HashEncoder()) as index:
            for change in (
                lambda: index.add([Document(id="x", text="x")]),
                lambda: index.delete(["d1"]),
                index.optimize,
            ):
                with pytest.raises(IndexWriteError, match="(cannot|could not) be written"):
                    change()
    assert hits(path) == before
    other = path.parent / "other"
    other.mkdir()
    with read_only(other), pytest.raises(IndexWriteError, match="cannot be made or written"):
        RaderIndex.create(other / "inside", encoder=HashEncoder())
