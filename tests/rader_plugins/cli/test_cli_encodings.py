from __future__ import annotations

import bz2
import gzip
import json
import pickle
from pathlib import Path

import pytest

from tests.rader_plugins.cli.conftest import Rader
from tests.rader_plugins.ingestion.test_encodings import TEXTS


@pytest.mark.slow
def test_a_folder_of_many_encodings_and_kinds_of_files(rader: Rader, tmp_path: Path) -> None:
    """Everything in it is found by its words, or named with a reason."""
    folder, out = tmp_path / "texts", tmp_path / "index"
    folder.mkdir()
    encoded = [
        *(("german", encoding) for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "cp1252")),
        *(("german", encoding) for encoding in ("iso8859-15", "cp850", "cp037")),
        *(("russian", encoding) for encoding in ("utf-8", "utf-16", "koi8-r", "cp1251", "cp866")),
        *(("japanese", encoding) for encoding in ("utf-8", "shift_jis", "euc-jp", "iso-2022-jp")),
        ("chinese", "gb18030"), ("korean", "euc-kr"), ("greek", "iso8859-7"), ("hebrew", "cp1255"), ("thai", "cp874"),
    ]  # fmt: skip
    for language, encoding in encoded:
        (folder / f"{language}.{encoding}.txt").write_bytes(TEXTS[language].encode(encoding, "ignore"))
    other_files = {
        "fake.txt": b"%PDF-1.4 letters", "packed.md": gzip.compress(b"text" * 99), "p.txt": bz2.compress(b"a" * 99),
        "object.txt": pickle.dumps({"a": [1.5] * 30}), "zeros.rst": b"text" + bytes(9), "empty.md": b"",
        "mark.txt": b"\xef\xbb\xbf", "report.pdf": b"%PDF-1.4", "letter.docx": b"PK\x03\x04", "README": b"text",
        "cat.png": b"PNG",
    }  # fmt: skip
    for name, raw in other_files.items():
        (folder / name).write_bytes(raw)
    summary = json.loads(rader("index", "build", folder, "--out", out, "--json").stdout)
    findings = summary["findings"]
    search = rader(
        "search", out, "-", "--mode", "bm25", "--json", "-k", 50, input="Straße\nквадрат\nピタゴラス\n".encode()
    )
    hit_ids = {hit["id"] for line in search.stdout.splitlines() for hit in json.loads(line)["hits"]}
    named = {name for kind in ("guessed", "binary") for name in findings[kind]}
    files = {f"{language}.{encoding}.txt" for language, encoding in encoded}
    assert files <= hit_ids | named
    assert {f"{language}.{encoding}.txt" for language, encoding in encoded if "utf-" in encoding} <= hit_ids
    assert set(findings["binary"]) >= {"fake.txt", "packed.md", "p.txt", "object.txt", "zeros.rst"}
    assert {"report.pdf", "letter.docx"} <= set(findings["binary"]) | set(findings["needs_extra"]), (
        "damaged, or no extra"
    )
    assert set(findings["empty"]) == {"empty.md", "mark.txt"}
    assert set(findings["left_out"]) == {"README", "cat.png"}
    assert summary["documents"] == len(files - findings["binary"].keys())
