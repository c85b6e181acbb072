"""Files of applications: what they say and where, and those that say nothing, by name and reason."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from rader_plugins.errors import IncompleteSourceWarning
from rader_plugins.ingestion import open_source
from rader_plugins.ingestion.chunking import Chunking
from rader_plugins.ingestion.findings import Findings

pytest.importorskip("markitdown", reason="needs the extra documents")
pytest.importorskip("pypdf", reason="needs the extra documents")

from rader_plugins.ingestion.formats import DOCUMENT_SUFFIXES, UnusableFileError, read_parts
from tests.support import documents as files

PAGE = "<html><head><title>T</title><meta charset='{}'></head><body><h1>Rooms</h1><p>Привет, grün {}</p></body></html>"


@pytest.mark.parametrize(
    ("suffix", "raw", "parts"),
    [
        (".pdf", files.pdf(["Ramsey (theory)", "", "Third"]), [("Ramsey (theory)", 1), ("", 2), ("Third", 3)]),
        (".docx", files.docx("Leave", "Ten weeks."), [("# Leave\n\nTen weeks.", None)]),
        (".pptx", files.pptx("First", "Second"), [("First", 1), ("Second", 2)]),
        (".epub", files.epub("Book", "One chapter", "Another"), [("**Title:** Book\n\nOne chapter\n\nAnother", None)]),
        (".ipynb", files.ipynb("# Title", "x = 1"), [("# Title\n\n```python\nx = 1\n```", None)]),
        (".html", b"<p>one <b>two</b></p><script>var three</script>", [("one **two**", None)]),
        (".htm", PAGE.format("utf-8", "x").encode(), [("# Rooms\n\nПривет, grün x", None)]),
    ],
)
def test_what_files_say(suffix: str, raw: bytes, parts: list[tuple[str, int | None]]) -> None:
    read = [(part.text.strip(), next(iter(part.metadata.values()), None)) for part in read_parts(suffix, raw)]
    assert read == parts


def test_sheets_and_messages() -> None:
    prices, rooms = read_parts(".xlsx", files.xlsx({"Prices": [["item", "price"], ["chair", 12]], "Rooms": [["blue"]]}))
    assert (prices.metadata, rooms.metadata) == ({"sheet": "Prices"}, {"sheet": "Rooms"})
    assert "chair" in prices.text
    assert "12" in prices.text
    for kind, body in (("plain", "Die Schlüssel"), ("html", "<p>Die <b>Schlüssel</b></p>")):
        [message] = read_parts(".eml", files.eml("Übergabe", body, kind))
        assert "Übergabe" in message.text
        assert "Schlüssel" in message.text
        assert "<p>" not in message.text


def test_a_page_that_does_not_state_its_encoding() -> None:
    [page] = read_parts(".html", "<p>naïve café, déjà vu à l'été</p>".encode("cp1252"))
    assert page.text == "naïve café, déjà vu à l'été"
    [page] = read_parts(".html", PAGE.format("windows-1251", "").replace("ü", "u").encode("cp1251"))
    assert "Привет" in page.text


@pytest.mark.parametrize(
    ("suffix", "raw", "reason"),
    [
        (".pdf", files.encrypted(files.pdf(["secret"]), "pw"), "password"),
        (".pdf", files.pdf(["", ""]), "scans are not read"),
        (".pdf", files.pdf(["cut short"])[:200], "damaged"),
        (".pdf", b"no pdf", "damaged"),
        (".docx", b"PK\x03\x04 damaged", "damaged"),
        (".docx", files.docx("x", "y")[:300], "damaged"),
        (".xlsx", b"\xd0\xcf\x11\xe0" + bytes(600), "password"),
        (".pptx", files.pdf(["x"]), "damaged"),
        (".epub", b"zz", "damaged"),
        (".ipynb", b"{", "damaged"),
        (".eml", b"no headers at all", "no message"),
        (".html", b"<html></html>", "no text"),
        (".html", files.pdf(["x"]), "PDF"),
    ],
)
def test_what_gives_no_text_says_why(suffix: str, raw: bytes, reason: str) -> None:
    with pytest.raises(UnusableFileError, match=reason):
        read_parts(suffix, raw)


@pytest.mark.parametrize("suffix", DOCUMENT_SUFFIXES)
@pytest.mark.parametrize("raw", [b"", b" \n", bytes(range(256)) * 40, b"PK\x05\x06" + bytes(18), b"\xff" * 5000])
def test_bytes_are_never_text(suffix: str, raw: bytes) -> None:
    with pytest.raises(UnusableFileError):
        read_parts(suffix, raw)


def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name, raw in {
        "notes.md": b"# Notes\n\nplain",
        "report.pdf": files.pdf(["Ramsey says so.", "", "Pigeons live in holes."]),
        "leave.docx": files.docx("Leave", "Ten weeks."),
        "locked.PDF": files.encrypted(files.pdf(["secret"]), "pw"),
        "broken.xlsx": b"PK\x03\x04",
    }.items():
        (folder / name).write_bytes(raw)
    return folder


def test_a_folder_of_all_kinds(tmp_path: Path) -> None:
    findings = Findings()
    documents = {document.id: document for _, document in open_source(_folder(tmp_path)).read(findings)}
    assert set(documents) == {"notes.md", "report.pdf#0", "report.pdf#1", "leave.docx"}
    assert dict(documents["report.pdf#1"].metadata) == {
        "path": "report.pdf", "page": 3, "parent_id": "report.pdf", "chunk": 1,
    }  # fmt: skip
    assert documents["leave.docx"].metadata["title"] == "Leave"
    assert set(findings.names["binary"]) == {"locked.PDF", "broken.xlsx"}
    assert "password" in findings.names["binary"]["locked.PDF"]
    assert set(findings.names["empty"]) == {"report.pdf, page 2"}


def test_chunks_are_numbered_through_the_pages(tmp_path: Path) -> None:
    pages = ["one two three four five six", "seven eight nine"]
    (tmp_path / "a.pdf").write_bytes(files.pdf(pages))
    documents = list(open_source(tmp_path / "a.pdf", chunking=Chunking(14)).documents())
    assert [document.id for document in documents] == [f"a.pdf#{number}" for number in range(len(documents))]
    assert [document.metadata["page"] for document in documents] == sorted(d.metadata["page"] for d in documents)
    assert {document.metadata["page"] for document in documents} == {1, 2}
    assert " ".join(document.text for document in documents).split() == " ".join(pages).split()


def test_without_the_extra_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _folder(tmp_path)
    for module in ("markitdown", "markitdown.converters", "pypdf"):
        monkeypatch.setitem(sys.modules, module, None)
    findings = Findings()
    assert [document.id for _, document in open_source(folder).read(findings)] == ["notes.md"]
    assert findings.names == {"needs_extra": dict.fromkeys(sorted(set(findings.names["needs_extra"])), "")}
    assert "report.pdf" in findings.names["needs_extra"]


def test_a_hit_is_cited_by_file_and_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from rader_plugins import RaderIndex
    from rader_plugins.cli import build_app

    def rader(*arguments: object) -> Any:
        return CliRunner().invoke(build_app(), [str(argument) for argument in arguments])

    with (
        RaderIndex.create(tmp_path / "index", None) as index,
        pytest.warns(IncompleteSourceWarning, match=r"2 no text, such as broken\.xlsx"),
    ):
        index.add(open_source(_folder(tmp_path)).documents())
    monkeypatch.chdir("/")
    output = rader("search", tmp_path / "index", "where do pigeons live", "--mode", "bm25", "--explain").stdout
    assert "report.pdf, page 3" in output
    assert "Pigeons live in holes." in output
