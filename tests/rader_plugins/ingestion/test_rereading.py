"""Files are read once: what is unchanged is not read again, what was read is not lost, and no file ends the others."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from rader_plugins.index import RaderIndex, read_documents
from rader_plugins.ingestion import Chunking, FileReading, Survey, file_records, ingest, open_source, survey
from rader_plugins.ingestion.file_reading import FileReader
from rader_plugins.ingestion.file_records import intact_records, read_records, reading_fingerprint, write_records
from rader_plugins.ingestion.reader_processes import ReaderProcesses, ReadingLimits
from tests.support import documents as files

HOUR = 3600


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Texts that were written an hour ago."""
    source = tmp_path / "notes"
    for name in ("a.md", "b.txt", "sub/c.md", "sub/empty.md", "zeros.txt"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes({"empty": b"", "zeros": bytes(9)}.get(Path(name).stem, f"text {name}".encode()))
    age(source)
    return source


def age(folder: Path, seconds: float = HOUR) -> None:
    for file in folder.rglob("*.*"):
        times = file.stat().st_mtime - seconds
        os.utime(file, (times, times))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read, emptied by who looks at them."""
    names: list[str] = []
    real = FileReader.read

    def read(self: FileReader, file: Path, name: str) -> Any:
        names.append(name)
        return real(self, file, name)

    monkeypatch.setattr(FileReader, "read", read)
    return names


def build(folder: Path, out: Path, **options: Any) -> tuple[Survey, Any]:
    """As `rader index build --prune` does it, for an index without vectors."""
    source = open_source(folder, chunking=options.pop("chunking", None))
    reading = reading_fingerprint(source.reader)
    index = RaderIndex.open(out) if RaderIndex.exists(out) else RaderIndex.create(out, None)
    with index:
        records = intact_records(index, read_records(out, reading))
        surveyed = survey(source, reading=FileReading(records, out, **options))
        outcome = ingest(index, surveyed, prune=True)
        write_records(out, reading, source.path, surveyed.records)
        surveyed.discard()
    return surveyed, outcome


def stored(out: Path) -> list[Any]:
    with RaderIndex.open(out) as index:
        return list(read_documents(index))


def test_what_is_unchanged_is_not_read_again(folder: Path, tmp_path: Path, reads: list[str]) -> None:
    out = tmp_path / "index"
    first, _ = build(folder, out)
    assert sorted(reads) == ["a.md", "b.txt", "sub/c.md", "sub/empty.md", "zeros.txt"]
    reads.clear()
    again, outcome = build(folder, out)
    assert not reads
    assert again.findings == first.findings, "what is wrong with files is told again"
    assert (outcome.unchanged, outcome.changed) == (3, False)
    (folder / "a.md").write_text("another text")
    (folder / "new.md").write_text("new")
    (folder / "b.txt").unlink()
    _, outcome = build(folder, out)
    assert sorted(reads) == ["a.md", "new.md"]
    assert (outcome.added, outcome.replaced, outcome.removed, outcome.unchanged) == (1, 1, 1, 1)
    assert {document.id: document.text for document in stored(out)} == {
        "a.md": "another text", "new.md": "new", "sub/c.md": "text sub/c.md",
    }  # fmt: skip


def test_size_time_and_content_tell_a_change(folder: Path, tmp_path: Path, reads: list[str]) -> None:
    out = tmp_path / "index"
    build(folder, out)
    reads.clear()
    age(folder, seconds=-60)
    build(folder, out)
    assert not reads, "files that were only touched hold what they held"
    status = (folder / "a.md").stat()
    (folder / "a.md").write_text("TEXT a.md")
    os.utime(folder / "a.md", ns=(status.st_atime_ns, status.st_mtime_ns))
    build(folder, out, check_content=True)
    assert reads == ["a.md"]
    reads.clear()
    (folder / "b.txt").write_text("TEXT b.txt")  # now: the time is too fresh to say anything
    build(folder, out)
    (folder / "b.txt").write_text("text B.TXT")
    os.utime(folder / "b.txt")
    build(folder, out)
    assert reads == ["b.txt", "b.txt"]
    assert next(document.text for document in stored(out) if document.id == "b.txt") == "text B.TXT"


@pytest.mark.skipif(os.name != "posix", reason="Windows does not note when a file was changed")
def test_a_file_in_the_place_of_another_of_its_size_and_time_is_seen(
    folder: Path, tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, first, second = tmp_path / "index", folder / "1.md", folder / "2.md"
    first.write_text("some text")
    second.write_text("more text")
    for file in (first, second):
        os.utime(file, ns=(10**18, 10**18))
    monkeypatch.setattr(file_records, "_SETTLED", -1.0)  # as if all of this took hours
    build(folder, out)
    reads.clear()
    with monkeypatch.context() as patch:
        patch.setattr(file_records, "sha256_file", lambda file: pytest.fail(f"{file} was looked into"))
        build(folder, out)
    assert not reads
    before = first.stat().st_ctime_ns
    while first.stat().st_ctime_ns == before or first.read_text() != "more text":  # that clock goes by milliseconds
        first.rename(folder / "3.md")
        second.rename(first)
        (folder / "3.md").rename(second)
    build(folder, out)
    texts = {document.id: document.text for document in stored(out)}
    assert (texts["1.md"], texts["2.md"]) == ("more text", "some text")


def test_records_are_believed_only_as_far_as_the_index_goes(folder: Path, tmp_path: Path, reads: list[str]) -> None:
    out = tmp_path / "index"
    build(folder, out)
    reads.clear()
    with RaderIndex.open(out) as index:
        index.delete(["a.md"])
        [document] = index.get(["b.txt"])
        index.add([type(document)(document.id, document.text, {"other": 1})])
    build(folder, out)
    assert sorted(reads) == ["a.md", "b.txt"]
    reads.clear()
    build(folder, out, chunking=Chunking(5))
    assert len(reads) == 5, "split otherwise, all is read"
    assert all("#" in document.id for document in stored(out))
    for damage in ("", "{", '{"schema": "rader-files/1"}\n{"file": 1}\n', '{"schema": "rader-files/9"}\n'):
        (out / "files.jsonl").write_text(damage)
        reads.clear()
        build(folder, out, chunking=Chunking(5))
        assert len(reads) == 5


def test_sources_keep_their_records_beside_each_other(folder: Path, tmp_path: Path, reads: list[str]) -> None:
    other, out = tmp_path / "notes2", tmp_path / "index"
    other.mkdir()
    (other / "z.md").write_text("text z")
    age(other)
    for source in (folder, other):
        opened = open_source(source)
        with RaderIndex.open(out) if RaderIndex.exists(out) else RaderIndex.create(out, None) as index:
            surveyed = survey(opened)
            ingest(index, surveyed)
            write_records(out, reading_fingerprint(opened.reader), source, surveyed.records)
    reads.clear()
    with RaderIndex.open(out) as index:
        records = intact_records(index, read_records(out, reading_fingerprint(FileReader())))
    for source in (folder, other):
        survey(open_source(source), reading=FileReading(records))
    assert not reads


def test_a_file_has_the_name_that_it_has_in_its_source(folder: Path, tmp_path: Path) -> None:
    (folder.parent / "a.md").write_text("another of that name")
    build(folder, tmp_path / "index")
    build(folder.parent, tmp_path / "index")
    build(folder.parent, tmp_path / "new")
    assert stored(tmp_path / "index") == stored(tmp_path / "new")
    assert {"a.md", "notes/a.md"} <= {document.id for document in stored(tmp_path / "index")}
    build(folder, tmp_path / "index")
    assert {document.id for document in stored(tmp_path / "index")} == {"a.md", "b.txt", "sub/c.md"}


def mixed(folder: Path, copies: int) -> None:
    for number in range(copies):
        (folder / f"{number}.pdf").write_bytes(files.pdf([f"page {number}", "", "last"]))
        (folder / f"{number}.md").write_text(f"# Title\n\nbody {number}")
        (folder / f"{number}.docx").write_bytes(b"PK damaged" if number % 2 else files.docx("Head", f"body {number}"))
        (folder / f"{number}.txt").write_bytes(f"Straße {number}".encode("cp1252"))


@pytest.mark.slow
def test_more_processes_give_the_same_index(tmp_path: Path) -> None:
    pytest.importorskip("pypdf", reason="needs the extra documents")
    pytest.importorskip("markitdown", reason="needs the extra documents")
    source = tmp_path / "mixed"
    source.mkdir()
    mixed(source, 6)
    alone, _ = build(source, tmp_path / "one")
    together, _ = build(source, tmp_path / "two", jobs=2)
    assert stored(tmp_path / "one") == stored(tmp_path / "two")
    assert list(alone.origins) == list(together.origins)
    assert alone.findings.names == together.findings.names
    assert list(alone.findings.names["binary"]) == list(together.findings.names["binary"])
    records = (tmp_path / "one" / "files.jsonl").read_bytes(), (tmp_path / "two" / "files.jsonl").read_bytes()
    assert records[0].splitlines()[0] == records[1].splitlines()[0]
    assert {path: asdict(record) for path, record in alone.records.items()}.keys() == together.records.keys()


def test_a_reader_that_takes_too_long_is_ended_and_named(tmp_path: Path) -> None:
    pytest.importorskip("pypdf", reason="needs the extra documents")
    (tmp_path / "long.pdf").write_bytes(files.pdf(["x"] * 20))
    (tmp_path / "note.md").write_text("text")
    limits = ReadingLimits(seconds=0.001)  # less than a process needs to begin
    surveyed = survey(open_source(tmp_path), reading=FileReading(limits=limits))
    assert list(surveyed.origins) == ["note.md"]
    assert surveyed.findings.names["binary"] == {"long.pdf": "reading it took longer than 0.001 seconds"}
    assert str(tmp_path / "long.pdf") not in surveyed.records, "it is tried again"
    assert len(survey(open_source(tmp_path)).origins) == 21


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux")
@pytest.mark.slow
def test_a_reader_that_takes_all_memory_is_named(tmp_path: Path) -> None:
    pytest.importorskip("markitdown", reason="needs the extra documents")
    raw = files.docx("Head", "body")
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as good, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as bomb:
        for entry in good.infolist():
            content = good.read(entry)
            bomb.writestr(entry, content.replace(b"body", b"x" * (128 << 20)) if b"body" in content else content)
    (tmp_path / "bomb.docx").write_bytes(stream.getvalue())
    (tmp_path / "good.docx").write_bytes(raw)
    limits = ReadingLimits(memory=900 << 20)
    surveyed = survey(open_source(tmp_path), reading=FileReading(limits=limits))
    assert list(surveyed.origins) == ["good.docx"]
    assert "memory" in surveyed.findings.names["binary"]["bomb.docx"]


def test_a_reader_that_dies_is_named_and_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = subprocess.Popen
    program = "import sys\nfor line in sys.stdin:\n    if 'bad' in line: sys.exit('it broke')\n    " + (
        'if \'path\' in line: print(\'{"documents": [], "findings": {}, "replaced": 0, "sha256": "0"}\', flush=True)'
    )

    def start(command: list[str], **options: Any) -> Any:
        return real([command[0], "-c", program], **options)

    monkeypatch.setattr(subprocess, "Popen", start)
    with ReaderProcesses[int](FileReader(), 1, ReadingLimits()) as processes:
        names = ["a.pdf", "bad.pdf", "b.pdf"]
        tasks: Iterator[Any] = ((number, tmp_path / name, name) for number, name in enumerate(names))
        contents = [content for _, content in processes.read(tasks)]
    assert [content.findings.names for content in contents if content is not None] == [
        {}, {"binary": {"bad.pdf": "its reader ended with code 1: it broke"}}, {},
    ]  # fmt: skip


READING = """
import os, sys
from pathlib import Path
from rader_plugins.ingestion import FileReading, open_source, survey
from rader_plugins.ingestion.file_reading import FileReader
real, count = FileReader.read, 0
def read(self, file, name):
    global count
    count += 1
    if count == 4:
        os.kill(os.getpid(), 9)
    return real(self, file, name)
FileReader.read = read
survey(open_source(sys.argv[1]), reading=FileReading(folder=Path(sys.argv[2])))
"""


@pytest.mark.skipif(os.name != "posix", reason="kills as POSIX systems do")
@pytest.mark.slow
def test_a_reading_that_was_killed_goes_on(folder: Path, tmp_path: Path, reads: list[str]) -> None:
    out = tmp_path / "index"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run([sys.executable, "-c", READING, folder, out], env=environment, check=False)
    assert killed.returncode == -9
    with (out / ".reading.jsonl").open("ab") as stream:
        stream.write(b'{"file": "cut sh')
    surveyed, _ = build(folder, out)
    assert len(reads) == 2, "three of five were read"
    assert set(surveyed.findings.names) == {"empty", "binary"}
    assert [document.id for document in stored(out)] == ["a.md", "b.txt", "sub/c.md"]
    assert not list(out.glob(".reading*"))


@pytest.mark.parametrize("damage", ['{"a": 1}', "[]", '{"file": "x", "record": {"state": 3}}', "{"])
def test_what_a_reading_left_is_believed_up_to_a_damaged_line(folder: Path, tmp_path: Path, damage: str) -> None:
    source = open_source(folder)
    left = tmp_path / "index" / ".reading.jsonl"
    earlier = survey(source, reading=FileReading(folder=left.parent))
    header, first, *others = left.read_text().splitlines()
    earlier.discard()
    left.parent.mkdir()
    left.write_text("\n".join([header, first, damage, *others, ""]))
    surveyed = survey(source, reading=FileReading(folder=left.parent))
    assert {document.id for document in surveyed.documents()} == {"a.md", "b.txt", "sub/c.md"}
    assert damage not in left.read_text().splitlines()
    surveyed.discard()
