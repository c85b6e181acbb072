"""One writer, many readers, in threads and in processes."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rader_plugins import Document, RaderIndex, RaderRetriever
from rader_plugins.errors import IndexLockedError
from tests.support.encoders import HashEncoder

READER = """
import sys
from rader_plugins import RaderIndex, RaderRetriever
from tests.support.encoders import HashEncoder
retriever = RaderRetriever(RaderIndex.open(sys.argv[1], HashEncoder()))
for line in sys.stdin:
    print(",".join(sorted(hit.document.id for hit in retriever.search(line.strip(), k=10))))
"""


@pytest.mark.slow
def test_a_reader_in_another_process_sees_each_commit_at_its_next_search(tmp_path: Path) -> None:
    import subprocess
    import sys

    index = RaderIndex.create(tmp_path / "i", encoder=HashEncoder())
    index.add([Document(id="a", text="prime")])
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", READER, str(tmp_path / "i")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[3],
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def ask() -> str:
        process.stdin.write("prime\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
        return process.stdout.readline().strip()  # type: ignore[union-attr]

    assert ask() == "a"
    index.add([Document(id="b", text="heat")])
    assert ask() == "a,b"
    index.delete(["a"])
    assert ask() == "b"
    index.optimize()
    assert ask() == "b"
    index.add([Document(id="c", text="prime")])
    assert ask() == "b,c"
    process.stdin.close()
    assert process.wait() == 0


def test_a_second_writer_gets_a_clear_error_and_later_its_turn(tmp_path: Path) -> None:
    first = RaderIndex.create(tmp_path / "i", encoder=HashEncoder())
    second = RaderIndex.open(tmp_path / "i", HashEncoder(), lock_timeout=0)
    with first._write_lock.held(0):
        for change in (
            lambda: second.add([Document(id="x", text="x")]),
            lambda: second.delete(["x"]),
            second.optimize,
        ):
            with pytest.raises(IndexLockedError, match="writing to"):
                change()
        assert len(second) == 0, "readers go on"
    second.add([Document(id="x", text="x")])
    first.add([Document(id="y", text="y")])
    assert len(first) == len(second) == 2


@pytest.mark.parametrize("where", ["memory", "disk"])
@pytest.mark.slow
def test_threads_write_and_search_at_once(tmp_path: Path, where: str) -> None:
    index = RaderIndex.create(tmp_path / "i" if where == "disk" else None, encoder=HashEncoder())
    index.add([Document(id="fixed", text="prime divisor", metadata={"fixed": True})])
    retriever = RaderRetriever(index)
    done = threading.Event()

    def write(worker: int) -> None:
        for round_number in range(8):
            index.add([Document(id=f"{worker}-{n}", text=f"prime heat {round_number}") for n in range(5)])
            index.delete([f"{worker}-{n}" for n in range(round_number % 3)])
            if worker == 0 and round_number % 4 == 3:
                index.optimize()

    def search() -> int:
        searches = 0
        while not done.is_set() or searches == 0:
            for mode in ("dense", "bm25", "hybrid"):
                hits = retriever.search("prime divisor", k=1, mode=mode)  # type: ignore[arg-type]
                assert [hit.document.id for hit in hits] == ["fixed"]
            for hit in retriever.search("heat", k=20, filter={"fixed": {"$exists": False}}):
                assert "heat" in hit.document.text
            searches += 1
        return searches

    with ThreadPoolExecutor(6) as pool:
        searchers = [pool.submit(search) for _ in range(3)]
        try:
            for writer in [pool.submit(write, worker) for worker in range(3)]:
                writer.result()
        finally:
            done.set()
        assert all(searcher.result() > 0 for searcher in searchers)
    assert len(index) == 1 + 3 * 4, "the last round deleted one of five"


def _is_in(thread: threading.Thread, file: str, function: str) -> bool:
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        if frame.f_code.co_name == function and frame.f_code.co_filename.endswith(file):
            return True
        frame = frame.f_back
    return False


def test_a_search_that_keeps_writers_waiting_and_one_with_a_filter_do_not_wait_for_each_other() -> None:
    index = RaderIndex.create(None, encoder=HashEncoder())
    index.add([Document(id="a", text="prime", metadata={"n": 1})])
    condition = {"n": {"$gte": 1}}
    stale = index.snapshot()
    other = threading.Thread(target=index.mask, args=(stale, condition), daemon=True)
    masks: list[Any] = []

    def hold() -> None:
        with index.frozen() as snapshot:
            other.start()
            while not _is_in(other, "fields.py", "mask"):
                assert other.is_alive()
            masks.append(index.mask(snapshot, condition))

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    holder.join(60)
    assert not holder.is_alive(), "each waits for what the other holds"
    other.join(60)
    assert not other.is_alive()
    assert masks[0].tolist() == [True]


def test_the_snapshot_of_a_search_is_consistent_while_another_object_compacts(tmp_path: Path) -> None:
    """Rows are renumbered between ranking and reading the texts: the search is made anew, never mixed up."""
    index = RaderIndex.create(tmp_path / "i", encoder=HashEncoder())
    index.add([Document(id=str(n), text=f"prime word{n}") for n in range(20)])
    retriever = RaderRetriever(index)
    other = RaderIndex.open(tmp_path / "i", HashEncoder())
    original = index.fetch
    interruptions = iter([True, True])

    def fetch(ids: list[str], snapshot: object) -> object:
        if next(interruptions, False):
            other.delete(["0"] if "0" in other else ["1"])
            other.optimize()
        return original(ids, snapshot)  # type: ignore[arg-type]

    index.fetch = fetch  # type: ignore[method-assign,assignment]
    hits = retriever.search("prime", k=20)
    assert {hit.document.id for hit in hits} == {str(n) for n in range(2, 20)}
    assert all(hit.document.text == f"prime word{hit.document.id}" for hit in hits)


def test_constant_commits_do_not_starve_a_search(tmp_path: Path) -> None:
    index = RaderIndex.create(tmp_path / "i", encoder=HashEncoder())
    index.add([Document(id="a", text="prime")])
    other = RaderIndex.open(tmp_path / "i", HashEncoder())
    original = index.fetch
    commits = []

    def fetch(ids: list[str], snapshot: object) -> object:
        if len(commits) < 3:  # as many as a search tries before it holds the writer off
            commits.append(other.add([Document(id="b", text=f"heat {len(commits)}")]))
        return original(ids, snapshot)  # type: ignore[arg-type]

    index.fetch = fetch  # type: ignore[method-assign,assignment]
    assert {hit.document.id for hit in RaderRetriever(index).search("prime")} == {"a", "b"}
    assert len(commits) == 3
