from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from rader_plugins.errors import InputError
from rader_plugins.run_folders import Journal, RunFolder
from tests.support.kill import start

CODE = """
import sys
from rader_plugins.run_folders import RunFolder
with RunFolder(sys.argv[1], {"seed": 1}).opened() as folder, folder.journal("rows.jsonl").opened() as journal:
    start = sum(1 for _ in journal.rows())
    for number in range(start, start + 100000):
        journal.append({"number": number, "text": "x" * 2000})
        print(number)
"""


def rows_of(folder: Path, settings: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    with RunFolder(folder, settings, **options).opened() as home, home.journal("rows.jsonl").opened() as journal:
        return [row for _, row in journal.rows()]


def test_a_killed_run_goes_on_with_all_that_was_reported(tmp_path: Path) -> None:
    reported = -1
    for _ in range(3):
        process = start(CODE, str(tmp_path / "run"))
        assert process.stdout is not None
        for _ in range(7):
            reported = int(process.stdout.readline())
        process.kill()
        process.communicate()
    rows = rows_of(tmp_path / "run", {"seed": 1})
    assert [row["number"] for row in rows] == list(range(len(rows))), "no gap, nothing twice, nothing in half"
    assert len(rows) > reported


def test_another_run_is_refused_and_named(tmp_path: Path) -> None:
    rows_of(tmp_path, {"model": {"name": "a"}, "seed": 1})
    for options in ({}, {"settings_file": "config.json"}):
        with pytest.raises(InputError, match=r"another evaluation.*model\.name \(\"a\", now \"b\"\)"):
            RunFolder(tmp_path, {"model": {"name": "b"}, "seed": 1}, noun="evaluation", **options).check()
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(InputError, match="seed"):
        rows_of(tmp_path, {"model": {"name": "a"}, "seed": 2})
    assert (tmp_path / "config.json").read_bytes() == before
    with pytest.raises(InputError, match="--resume"):
        RunFolder(tmp_path, {"model": {"name": "a"}, "seed": 1}).check(resume=False)


def test_settings_of_a_later_version_stand_for_what_was_done_before(tmp_path: Path) -> None:
    rows_of(tmp_path, {"data": {"path": "x"}})
    later = {"data": {"path": "x", "weights": None}, "holdout": 0.0}
    absent = {"data": {"weights": None}, "holdout": 0.0}
    rows_of(tmp_path, later, absent=absent)
    rows_of(tmp_path, later)
    with pytest.raises(InputError, match="holdout"):
        rows_of(tmp_path, {**later, "holdout": 0.1}, absent=absent)


@pytest.mark.parametrize("file", ["config.json", "rows.jsonl"])
def test_one_at_a_time_and_the_settings_are_where_they_shall_be(tmp_path: Path, file: str) -> None:
    options: dict[str, Any] = {"settings_file": file, "settings_key": "manifest", "about": {"server": "here"}}
    folder = RunFolder(tmp_path / "new" / "run", {"seed": 1}, **options)
    with folder.opened(), folder.journal("rows.jsonl").opened() as journal:
        assert not folder.resumed
        assert list(journal.rows()) == []
        starts = [journal.append({"n": n}) for n in range(3)]
        assert [journal.row_at(offset) for offset in starts] == [{"n": 0}, {"n": 1}, {"n": 2}]
        with (
            pytest.raises(InputError, match="Another process"),
            RunFolder(folder.path, {"seed": 1}, **options).opened(),
        ):
            pass
    with (folder.path / file).open(encoding="utf-8") as stream:
        content = json.loads(stream.readline() if file == "rows.jsonl" else stream.read())
    assert content == {"server": "here", "manifest": {"seed": 1}}
    with RunFolder(folder.path, {"seed": 1}, **options).opened() as reopened:
        assert reopened.resumed
        with reopened.journal("rows.jsonl").opened() as journal:
            assert [row for _, row in journal.rows()] == [{"n": 0}, {"n": 1}, {"n": 2}]
    with pytest.raises(InputError, match="not open"):
        journal.append({})


@pytest.mark.parametrize("cut", ["", '{"n": 3', '{"n": "' + "long" * 50_000])
def test_a_line_that_was_cut_off_is_dropped_and_one_that_is_wrong_is_named(tmp_path: Path, cut: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"n": 0}\n{"n": 1}\n' + cut)
    with Journal(path).opened() as journal:
        assert [row for _, row in journal.rows()] == [{"n": 0}, {"n": 1}]
        journal.append({"n": 2})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"n": 0}, {"n": 1}, {"n": 2}]
    path.write_text('{"n": 0}\n{"n": \n{"n": 2}\n')
    with pytest.raises(InputError, match="damaged at byte 9"), Journal(path).opened() as journal:
        list(journal.rows())


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def fill(descriptor: int, data: bytes) -> int:
        if b"fails" not in data:
            return write(descriptor, data)
        if data.startswith(b"{"):
            return write(descriptor, data[:5])
        raise OSError(28, "No space left on device")

    with Journal(tmp_path / "rows.jsonl").opened() as journal:
        journal.append({"n": 0})
        monkeypatch.setattr("rader_plugins.run_folders.os.write", fill)
        with pytest.raises(OSError, match="No space"):
            journal.append({"fails": "fails"})
        journal.append({"n": 1})
        assert [row for _, row in journal.rows()] == [{"n": 0}, {"n": 1}]


def test_threads_share_a_journal(tmp_path: Path) -> None:
    with Journal(tmp_path / "rows.jsonl", sync_every=10).opened() as journal:
        threads = [
            threading.Thread(target=lambda me=me: [journal.append({"by": me, "n": n}) for n in range(50)])
            for me in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rows = [row for _, row in journal.rows()]
    assert all([row["n"] for row in rows if row["by"] == me] == list(range(50)) for me in range(8))


def test_a_folder_of_something_else_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    assert rows_of(tmp_path, {}, neighbours=("index",)) == []
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"other files \(thesis.tex\)"):
        rows_of(other, {}, neighbours=("index",))
    assert [file.name for file in other.iterdir()] == ["thesis.tex"]
    with pytest.raises(InputError, match="is a file"):
        rows_of(other / "thesis.tex", {})
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        rows_of(tmp_path, {})
