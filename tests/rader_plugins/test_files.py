"""Atomic writes, JSONL and fingerprints."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from rader_plugins.errors import InputError, MissingExtraError, import_extra
from rader_plugins.files import (
    atomic_write,
    canonical_json,
    fingerprint,
    read_jsonl,
    sampled_digest,
    sha256_file,
    write_jsonl,
)


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")

    def fail() -> None:
        with atomic_write(target) as stream:
            stream.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
    with atomic_write(target) as stream:
        stream.write(b"new")
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o400


def test_a_write_that_the_system_refuses_names_the_file(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic_write(tmp_path / "file"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="file") as refusal:
        fail()
    assert refusal.value.filename == str(tmp_path / "file")


@pytest.mark.skipif(os.name != "posix", reason="uses pipes of POSIX systems")
def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    """A rename over ``/dev/null`` would leave the system without it."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, what in (("pipe", "a device or a pipe"), ("folder", "a folder")):
        with pytest.raises(InputError, match=f"{name} is {what}"), atomic_write(tmp_path / name) as stream:
            stream.write(b"new")
    assert (tmp_path / "pipe").is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "pipe"]


def test_jsonl_round_trip_and_errors(tmp_path: Path) -> None:
    rows = [{"a": "ä\n\u2028"}, {"b": [1, None]}]
    assert write_jsonl(tmp_path / "rows.jsonl", rows) == 2
    assert list(read_jsonl(tmp_path / "rows.jsonl")) == rows
    (tmp_path / "wrong.jsonl").write_bytes(b'{"a": 1}\n\n{"b": \n')
    with pytest.raises(InputError, match=r"wrong\.jsonl, line 3 is not JSON"):
        list(read_jsonl(tmp_path / "wrong.jsonl"))
    (tmp_path / "list.jsonl").write_text("[1]\n")
    with pytest.raises(InputError, match="line 1 holds list"):
        list(read_jsonl(tmp_path / "list.jsonl"))
    (tmp_path / "latin.jsonl").write_bytes(b'{"a": "\xe4"}\n')
    with pytest.raises(InputError, match="line 1"):
        list(read_jsonl(tmp_path / "latin.jsonl"))


def test_fingerprints() -> None:
    assert canonical_json({"b": 1, "a": "ä"}) == '{"a":"ä","b":1}'
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_digests(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    content = bytearray(range(256)) * 4000
    file.write_bytes(content)
    before = sha256_file(file), sampled_digest(file)
    content[2] ^= 1
    file.write_bytes(content)
    assert sha256_file(file) != before[0]
    assert sampled_digest(file) != before[1]
    (tmp_path / "empty").write_bytes(b"")
    assert len(sampled_digest(tmp_path / "empty")) == 64


def test_a_missing_extra_says_which_line_mends_it() -> None:
    lines = r"pip install 'rader-plugins\[cpu\]' or pip install 'rader-plugins\[gpu\]'"
    with pytest.raises(MissingExtraError, match=lines):
        import_extra("a_library_that_nobody_has", "cpu", "gpu")
