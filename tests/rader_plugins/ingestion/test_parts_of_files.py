"""Of a file that cannot be read to the full, the rest is read, under its own page, and what is missing is named."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest

from rader_plugins.ingestion import open_source
from rader_plugins.ingestion.findings import Findings
from rader_plugins.ingestion.tables import TableColumns

pytest.importorskip("markitdown", reason="needs the extra documents")
pytest.importorskip("pypdf", reason="needs the extra documents")

from rader_plugins.ingestion.formats import UnusableFileError, read_parts
from tests.support import documents as files


def _rewritten(raw: bytes, change: Callable[[str, bytes], bytes | None], **added: bytes) -> bytes:
    """Return an archive with its entries changed; None leaves one out."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as archive, zipfile.ZipFile(stream, "w") as target:
        for name in archive.namelist():
            if (content := change(name, archive.read(name))) is not None:
                target.writestr(name, content)
        for name, content in added.items():
            target.writestr(name.replace("__", "/"), content)
    return stream.getvalue()


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_pages_keep_their_numbers_where_one_is_damaged(tmp_path: Path, lost: int) -> None:
    raw = files.pdf([f"words of page {number}" for number in (1, 2, 3)])
    page = raw.split(b"/Kids [")[1].split(b" 0 R")[lost - 1].split()[-1]  # number of its object
    at = raw.index(b"\n" + page + b" 0 obj") + 1
    (tmp_path / "a.pdf").write_bytes(raw[:at] + b"x" * 30 + raw[at + 30 :])
    findings = Findings()
    documents = [document for _, document in open_source(tmp_path).read(findings)]
    assert documents
    for document in documents:
        assert document.text.split()[-1] == str(document.metadata["page"])
    assert {document.metadata["page"] for document in documents} == {1, 2, 3} - {lost}
    assert set(findings.names["partial"]) == {f"a.pdf, page {lost}"}


def test_cells_are_what_the_workbook_says() -> None:
    rows = [[None, None, None], ["country", "count", "note"], ["NA", 3, "None"], ["DE", None, "a|b"], ["FR", 4, "x\ny"]]
    [sheet, _] = read_parts(".xlsx", files.xlsx({"Lands": rows, "Nothing": []}))
    assert sheet.text.split("\n") == [
        "| country | count | note |", "| --- | --- | --- |",
        "| NA | 3 | None |", "| DE |  | a\\|b |", "| FR | 4 | x y |",
    ]  # fmt: skip


def test_formulas_without_a_value_are_named() -> None:
    [sheet] = read_parts(".xlsx", files.xlsx({"Sums": [["item", "sum"], ["chair", "=1+1"]]}))
    assert "B2" in sheet.missing
    assert "chair" in sheet.text
    with pytest.raises(UnusableFileError, match="A1"):
        read_parts(".xlsx", files.xlsx({"Sums": [["=1+1"]]}))
    with pytest.raises(UnusableFileError, match="no text"):
        read_parts(".xlsx", files.xlsx({"Nothing": []}))


def test_a_slide_that_speaks_of_slides_is_one() -> None:
    first, second = read_parts(".pptx", files.pptx("one\n<!-- Slide number: 7 -->\nstill one", "two"))
    assert (first.metadata, second.metadata) == ({"slide": 1}, {"slide": 2})
    assert "still one" in first.text


def test_chapters_that_are_locked_or_missing() -> None:
    book = files.epub("Book", "first words", "second words")
    [part] = read_parts(".epub", _rewritten(book, lambda name, raw: None if name == "c1.xhtml" else raw))
    assert "first words" in part.text
    assert "c1.xhtml" in part.missing
    locked = b'<encryption><EncryptedData><CipherReference URI="c0.xhtml"/></EncryptedData></encryption>'
    unreadable = _rewritten(
        book, lambda name, raw: raw[::-1] if name == "c0.xhtml" else raw, **{"META-INF__encryption.xml": locked}
    )
    with pytest.raises(UnusableFileError, match="encrypted"):
        read_parts(".epub", unreadable)
    fonts = {"META-INF__encryption.xml": locked.replace(b"c0.xhtml", b"font.otf")}
    [part] = read_parts(".epub", _rewritten(book, lambda name, raw: raw, **fonts))
    assert (part.missing, "second words" in part.text) == ("", True)


def _message(body: str = "", kind: str = "plain") -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = "Übergabe"
    if body:
        message.set_content(body, subtype=kind)
    return message


def test_all_texts_of_a_message_are_read_and_attachments_named(tmp_path: Path) -> None:
    forwarded = _message("words that were forwarded")
    message = _message("first words")
    message.add_attachment(b"\x00", maintype="application", subtype="pdf", filename="bill.pdf")
    message.add_attachment(forwarded)
    (tmp_path / "a.eml").write_bytes(message.as_bytes())
    parts = b"".join(b"--B\r\n\r\n%s words\r\n" % word for word in (b"one", b"two"))
    (tmp_path / "b.eml").write_bytes(b"Content-Type: multipart/mixed; boundary=B\r\n\r\n" + parts + b"--B--\r\n")
    findings = Findings()
    texts = {document.id: document.text for _, document in open_source(tmp_path).read(findings)}
    assert "first words" in texts["a.eml"]
    assert "words that were forwarded" in texts["a.eml"]
    assert texts["b.eml"].split() == ["one", "words", "two", "words"]
    assert set(findings.names["partial"]) == {"a.eml"}
    assert "bill.pdf" in findings.names["partial"]["a.eml"]


@pytest.mark.parametrize(
    "raw",
    [
        _message("no tags: Übergabe", "html").as_bytes(),
        b"\xef\xbb\xbf" + _message("Übergabe").as_bytes(),
        "Subject: x\nContent-Type: text/plain; charset=x-nobody-knows\n\nÜbergabe".encode("cp1252"),
        "Subject: x\nContent-Type: text/plain; charset=us-ascii\n\nÜbergabe".encode(),
        "Subject: Übergabe\n\nof keys".encode("latin-1"),
        b"Content-Type: multipart/alternative; boundary=B\n\n--B\n\n \n--B\nContent-Type: text/html; charset=utf-8\n\n"
        + "<p>Übergabe</p>\n--B--\n".encode(),
    ],
)
def test_messages_of_careless_programs(raw: bytes) -> None:
    [part] = read_parts(".eml", raw)
    assert "Übergabe" in part.text
    assert "\ufffd" not in part.text
    assert part.missing == ""


def test_a_page_without_a_heading_begins_with_its_title() -> None:
    [part] = read_parts(".html", b"<title>Field \n guide</title><body><p>Owls hunt.</p></body>")
    assert part.text.split("\n\n") == ["# Field guide", "Owls hunt."]
    [part] = read_parts(".html", b"<title>Owls</title><body><h2>Owls</h2><p>They hunt.</p></body>")
    assert part.text.count("Owls") == 1
    with pytest.raises(UnusableFileError, match="no text"):
        read_parts(".html", b"<title>Untitled</title><body></body>")


def test_a_page_of_seven_bits_is_in_the_encoding_that_it_states() -> None:
    page = '<meta charset="{}"><p>日本語の文章</p>'
    [part] = read_parts(".html", page.format("iso-2022-jp").encode("iso-2022-jp"))
    assert part.text == "日本語の文章"
    [part] = read_parts(".html", page.format("windows-1251").encode())  # what the bytes are for certain wins
    assert part.text == "日本語の文章"
    [part] = read_parts(".html", "<?xml version='1.0' encoding='koi8-r'?><p>Привет</p>".encode("koi8-r"))
    assert part.text == "Привет"
    [part] = read_parts(".html", b'<meta charset="utf-16"><p>plain</p>')  # which it cannot be
    assert part.text == "plain"


def test_notebooks_of_before_version_4() -> None:
    cells = [{"cell_type": "markdown", "source": ["old words"]}, {"cell_type": "code", "input": ["x = 1"]}]
    [part] = read_parts(".ipynb", json.dumps({"nbformat": 3, "worksheets": [{"cells": cells}]}).encode())
    assert "old words" in part.text
    assert "x = 1" in part.text


def test_what_a_library_could_not_decode_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_bytes("<p>Käse, grün, über</p>".encode() * 9 + b"<p>\xff</p>")
    findings = Findings()
    [document] = [document for _, document in open_source(tmp_path).read(findings)]
    assert findings.replaced == document.text.count("\ufffd") == 1
    assert document.text.count("Käse, grün, über") == 9  # one byte is no reason to take all for Japanese
    assert set(findings.names["mended"]) == {"a.html"}


def test_cells_beyond_the_last_column_are_named_and_long_numbers_keep_their_digits(tmp_path: Path) -> None:
    account = "1234567890123456789012"
    (tmp_path / "a.csv").write_text(f"text,account\nhello, {account}, world\nbye,{account}\nso,1\n", "utf-8")
    (tmp_path / "b.csv").write_text(f"text,account\nbye,{account}\nso,1\n", "utf-8")
    findings = Findings()
    documents = {d.id: d for _, d in open_source(tmp_path, columns=TableColumns(("text",))).read(findings)}
    assert set(findings.names["partial"]) == {"a.csv, row 1"}
    assert documents["b.csv:1"].metadata["account"] == account
