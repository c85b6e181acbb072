"""The whole way: a folder as people have them, an index, a search that explains itself, an application that cites."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.rader_plugins.cli.conftest import Rader

pytest.importorskip("markitdown", reason="needs the extra documents")
pytest.importorskip("pypdf", reason="needs the extra documents")
pytest.importorskip("semantic_text_splitter", reason="needs the extra chunk")
pytest.importorskip("tree_sitter", reason="needs the extra code")
pytest.importorskip("langchain_core", reason="needs the extra langchain")
pytest.importorskip("PIL", reason="makes a scanned page")

from tests.support import documents as files

LEAVE = "Parental leave lasts ten weeks and is paid in full."
PIGEONS = "Pigeons in fewer holes than there are pigeons must share one."


def scan() -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("L", (300, 400), 200).save(stream, "PDF")
    return stream.getvalue()


def long_pdf() -> bytes:
    pages = [f"Page {number} of the handbook says little." for number in range(1, 301)]
    pages[216] = "Whoever loses the badge pays twelve euros at the front desk."
    return files.pdf(pages)


def texts() -> dict[str, bytes]:
    written = {
        "notes/plain.txt": "The kitchen is cleaned on Fridays.",
        "notes/leave.md": f"---\ntitle: Time off\nowner: {{team: people}}\nyear: 2024\n---\n\n# Leave\n\n{LEAVE}\n",
        "notes/toml.md": '+++\ntags = ["travel"]\n+++\n# Travel\n\nTrains are booked by the office.\n',
        "notes/broken front.md": "---\na: [1\n---\n# Broken\n\nStill a text.\n",
        "notes/headings.markdown": "# Guide\n\nIntro.\n\n## Printers\n\nThe printer wants a four-digit code.\n",
        "notes/api.rst": "API\n===\n\nCall the service once a minute.\n",
        "notes/tour.rst": "Tour\n====\n\nVisitors sign the book.\n",
        "lang/deutsch.txt": "Die Schlüssel liegen beim Pförtner.",
        "lang/русский.txt": "Ключи лежат у дежурного.",
        "lang/日本語.txt": "鍵は受付にあります。",
        "lang/ελληνικά.md": "# Κλειδιά\n\nΤα κλειδιά είναι στη ρεσεψιόν.",
        "code/holes.py": f"def share(pigeons, holes):\n    '''{PIGEONS}'''\n    return pigeons > holes\n",
        "code/main.go": 'package main\n\nfunc main() {\n\tprintln("start the pump")\n}\n',
        "code/app.ts": "export function total(prices: number[]): number { return prices.length; }\n",
        "code/run.sh": "#!/bin/sh\nbackup() { tar cf backup.tar data; }\nbackup\n",
        "tables/faq.csv": "question,answer,year\nWhere is the lost property?,In the blue cupboard.,2023\n?,Ada.,1\n",
        "tables/rooms.tsv": "question\tanswer\nWhich room has a screen?\tThe yellow one.\n",
        "tables/other.csv": "name;price\nchair;12\n",
        "web/page.html": "<html><body><h1>Bikes</h1><p>Bikes stand behind the gate.</p></body></html>",
        "web/second.htm": "<p>The canteen opens at noon.</p>",
    }
    return {name: text.encode() for name, text in written.items()} | {
        "lang/latin.txt": "Le café est fermé l'été, désolé.".encode("cp1252"),
        "lang/wide.txt": "Straße und Gebäude".encode("utf-16"),
        "lang/koi8.txt": "Ключи лежат у дежурного, второй этаж".encode("koi8-r"),
        "notes/empty.md": b"",
        "notes/zeros.txt": bytes(200),
        "web/old.html": "<p>Déjà vu à l'été</p>".encode("cp1252"),
        "web/empty.html": b"<html></html>",
        "notes/mended.txt": "Gute Bücher über Bäume – schön".encode() + b" \xff end",
    }


def applications() -> dict[str, bytes]:
    office = {f"office/{name}.docx": files.docx(name.title(), f"About {name}.") for name in ("rent", "hiring", "cars")}
    office |= {f"office/{name}.pptx": files.pptx(f"{name} one", f"{name} two") for name in ("plan", "budget")}
    office |= {f"office/{n}.xlsx": files.xlsx({"Prices": [["item", "price"], [n, 12]]}) for n in ("desks", "lamps")}
    return office | {
        "pdf/handbook.pdf": long_pdf(),
        "pdf/short.pdf": files.pdf(["Fire drills take place in May."]),
        "pdf/gaps.pdf": files.pdf(["First aid kits hang by the stairs.", "", "The alarm is tested on Mondays."]),
        "pdf/locked.pdf": files.encrypted(files.pdf(["secret"]), "password"),
        "pdf/cut.pdf": files.pdf(["cut short"])[:200],
        "pdf/scan.pdf": scan(),
        "pdf/none.pdf": b"",
        "pdf/no pdf.pdf": b"a text under a wrong name",
        "office/locked.xlsx": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
        "office/cut.docx": files.docx("x", "y")[:300],
        "office/zip.pptx": files.epub("x", "y"),
        "books/book.epub": files.epub("Rules", "Silence in the library.", "Shoes stay outside."),
        "books/bad.epub": b"PK\x03\x04",
        "books/lab.ipynb": files.ipynb("# Lab\n\nWear goggles.", "mix(acid, water)"),
        "books/bad.ipynb": b"{",
        "mail/key.eml": files.eml("Key", "The spare key hangs in the cellar."),
        "mail/html.eml": files.eml("Party", "<p>The <b>party</b> begins at eight.</p>", "html"),
        "mail/none.eml": b"no headers at all",
        "picture.png": b"\x89PNG\r\n\x1a\n",
        "archive.zip": b"PK\x05\x06" + bytes(18),
        "settings.ini": b"[a]\nb=1\n",
        ".hidden.md": b"hidden",
        "old.doc": b"\xd0\xcf\x11\xe0",
    }


REASONS = {
    "lang/koi8.txt": "name its encoding",
    "notes/empty.md": "",
    "notes/zeros.txt": "zero bytes",
    "web/empty.html": "no text",
    "tables/other.csv": "no column 'question'",
    "pdf/locked.pdf": "password",
    "pdf/cut.pdf": "damaged",
    "pdf/scan.pdf": "scans are not read",
    "pdf/none.pdf": "it is empty",
    "pdf/no pdf.pdf": "damaged, or not what its name says",
    "office/locked.xlsx": "password",
    "office/cut.docx": "damaged",
    "office/zip.pptx": "damaged",
    "books/bad.epub": "damaged",
    "books/bad.ipynb": "damaged",
    "mail/none.eml": "no headers",
    "picture.png": "", "archive.zip": "", "settings.ini": "", "old.doc": "", ".hidden.md": "",
}  # fmt: skip
"""What is left out, and why."""


def application(index: str) -> Any:
    """A LangChain application; its model says what it was shown first, as `[source] sentence`."""
    from langchain_core.messages import AIMessage
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_core.runnables import RunnableLambda, RunnablePassthrough
    from langchain_rader import RaderRetriever

    def cited(documents: list[Any]) -> str:
        return "\n\n".join(f"[{source(document.metadata)}] {document.page_content}" for document in documents)

    def source(metadata: dict[str, Any]) -> str:
        places = [
            f"{name} {metadata[name]}" for name in ("page", "slide", "sheet", "section", "row") if name in metadata
        ]
        return ", ".join([metadata["path"], *places])

    prompt = ChatPromptTemplate.from_template("{question}\n\nSources:\n{context}")
    model = RunnableLambda(lambda value: AIMessage(value.to_string().split("Sources:\n")[1].split("\n\n")[0]))
    retriever = RaderRetriever(index=index, k=3)
    return {"context": retriever | cited, "question": RunnablePassthrough()} | prompt | model | StrOutputParser()


@pytest.mark.slow
def test_from_a_folder_of_all_kinds_to_an_application_that_cites(
    rader: Rader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = texts() | applications()
    assert len(folder) >= 50
    assert len({Path(name).suffix for name in folder}) >= 12
    for name, raw in folder.items():
        path = tmp_path / "desk" / "papers" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
    monkeypatch.chdir(tmp_path / "desk")
    command = ("index", "build", "papers", "--out", "index", "--chunk-size", 400, "--rows", "question,answer")
    built = json.loads(rader(*command, "--jobs", 2, "--json").stdout)
    findings = built["findings"]
    left_out = {
        name: detail for kind in ("left_out", "binary", "hidden", "empty") for name, detail in findings[kind].items()
    }
    assert findings["empty"].keys() == {"notes/empty.md", "pdf/gaps.pdf, page 2"}
    assert left_out.keys() - {"pdf/gaps.pdf, page 2"} == REASONS.keys()
    for name, reason in REASONS.items():
        assert reason in left_out[name], name
    assert findings["guessed"] == {"lang/latin.txt": "cp1252"}
    assert findings["mended"].keys() == {"notes/mended.txt"}
    assert findings["front_matter"].keys() == {"notes/broken front.md"}
    shown = " ".join(rader(*command, "--verbose").stdout.split())
    assert "Nothing to encode" in shown
    for name in REASONS:
        assert name in shown
    ids = rader("search", "index", "-", "-k", built["documents"], "--ids", "--mode", "dense", input="a\n").stdout
    files_stored = {line.split("\t")[1].partition("#")[0].partition(":")[0] for line in ids.splitlines()}
    assert files_stored == folder.keys() - REASONS.keys(), "every file is stored or named"

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    for question, place in {
        "what does a lost badge cost": "pdf/handbook.pdf#216, page 217",
        "how long is parental leave": "notes/leave.md, section Leave, line 7",
        "pigeons that share holes": "code/holes.py, section share, line 1",
        "where is lost property": "tables/faq.csv, row 1",
        "printer code": "notes/headings.markdown, section Guide, line 5",
    }.items():
        best = " ".join(rader("search", "../desk/index", question, "--explain", "-k", 1).stdout.split())
        name, _, position = place.partition(", ")
        assert best.startswith(f"1. {name}"), best
        assert position in best
        assert "bm25" in best
    app = application("../desk/index")
    assert app.invoke("what does a lost badge cost").startswith("[pdf/handbook.pdf, page 217] Whoever loses the badge")
    assert app.invoke("where is the lost property").startswith("[tables/faq.csv, row 1]")
