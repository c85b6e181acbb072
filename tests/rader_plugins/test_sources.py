from __future__ import annotations

import os
from pathlib import Path

import pytest

from rader_plugins.documents import Document
from rader_plugins.errors import InputError
from rader_plugins.sources import Chunking, Report, Source, open_source
from tests.rader_plugins.cli.conftest import write_rows


def read(source: Source) -> tuple[dict[str, Document], Report]:
    report = Report()
    return {document.id: document for _, document in source.read(report)}, report


def test_folder_of_texts(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "a.md").write_text("```\n# no heading\n```\n\n## Real heading ##\n\nbody")
    (tmp_path / "deep" / "er" / "B.TXT").write_text("# not a heading in plain text")
    (tmp_path / "c.rst").write_text("=====\nTitle\n=====\n\ntext")
    (tmp_path / "d.markdown").write_text("---\ntitle: x\n---\nSetext\n------\ntext")
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "other.py").write_text("pass")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.txt").write_text("hidden")
    documents, report = read(open_source(tmp_path))
    titles = {id: document.metadata.get("title") for id, document in documents.items()}
    assert titles == {"a.md": "Real heading", "deep/er/B.TXT": None, "c.rst": "Title", "d.markdown": "Setext"}
    assert documents["deep/er/B.TXT"].metadata["path"] == "deep/er/B.TXT"
    assert (report.empty, report.replaced) == (1, 0)


def test_globs_choose_other_files(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.tex", "sub/b.tex", "c.md", "corpus.jsonl"):
        (tmp_path / name).write_text("text")
    assert set(read(open_source(tmp_path, ["*.tex"]))[0]) == {"a.tex", "sub/b.tex"}
    assert set(read(open_source(tmp_path, ["sub/*", "c.md"]))[0]) == {"sub/b.tex", "c.md"}
    with pytest.raises(InputError, match="no pattern"):
        open_source(tmp_path, ["/abs/*"])
    with pytest.raises(InputError, match=r"match \*\.none"):
        open_source(tmp_path, ["*.none"])


def test_bytes_and_surrogates_become_replacement_characters_and_are_counted(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_bytes(b"a\xff\xfeb \xef\xbf\xbd kept")
    (tmp_path / "bom.txt").write_bytes(b"\xef\xbb\xbfclean")
    (tmp_path / "utf16.txt").write_bytes("wide text é".encode("utf-16"))
    documents, report = read(open_source(tmp_path))
    assert documents["bad.txt"].text == "a\ufffd\ufffdb \ufffd kept"
    assert documents["bom.txt"].text == "clean"
    assert documents["utf16.txt"].text == "wide text é"
    assert (report.mended, report.replaced) == (1, 2)


@pytest.mark.skipif(os.name != "posix", reason="file names are text there")
def test_undecodable_file_name(tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/n\xff.txt")).write_text("body")
    except OSError:
        pytest.skip("this file system refuses such names")
    documents, report = read(open_source(tmp_path))
    assert list(documents) == ["n\ufffd.txt"]
    assert report.replaced == 1


def test_jsonl_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        b'{"id": 7, "_id": "under", "text": "lone \\ud800 half", "year": 1999}\n'
        b"\n"
        b'{"text": "pair \\ud83d\\ude00", "metadata": {"n\\udc00": ["\\ud801"], "year": 1}, "year": 2}\n'
        b'{"doc_id": "d", "title": "Head", "text": "body"}\n'
        b'{"id": "e", "title": "", "text": "  "}\n'
        b'{"id": "raw", "text": "byte \xff"}\n'
    )
    documents, report = read(open_source(path))
    assert list(documents) == ["7", "rows.jsonl:3", "d", "raw"]
    assert documents["7"] == Document("7", "lone \ufffd half", {"_id": "under", "year": 1999})
    assert documents["rows.jsonl:3"].text == "pair \U0001f600"
    assert documents["rows.jsonl:3"].metadata == {"n\ufffd": ["\ufffd"], "year": 2}
    assert documents["d"] == Document("d", "Head body", {"title": "Head"})
    assert documents["raw"].text == "byte \ufffd"
    assert (report.empty, report.mended, report.replaced) == (1, 3, 4)


def test_beir_ids_come_first_from_underscore_id(tmp_path: Path) -> None:
    write_rows(tmp_path / "corpus.jsonl", {"id": "other", "_id": "beir", "title": "T", "text": ""})
    documents, _ = read(open_source(tmp_path))
    assert documents == {"beir": Document("beir", "T", {"id": "other", "title": "T"})}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"id": "a", "body": "b"}', r"line 2: there is no 'text' \(keys: 'id', 'body'\)"),
        ('{"text": null}', "line 2: 'text' must be a string, not null"),
        ('{"text": "a", "id": ""}', "line 2: 'id' must be a non-empty string"),
        ('{"text": "a", "id": true}', "line 2: 'id' must be"),
        ('{"text": "a", "metadata": [1]}', "line 2: 'metadata' must be a JSON object, not a list"),
        ('{"text": "a", "n": NaN}', "line 2: NaN is not JSON"),
        ("[1]", "line 2: it holds a list"),
        ("{broken", "line 2: "),
        ("[" * 100_000, "line 2: "),
    ],
)
def test_unusable_rows_name_file_and_line(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "fine"}\n' + row + "\n")
    with pytest.raises(InputError, match=message) as caught:
        read(open_source(path))
    assert str(path) in str(caught.value)


def test_unusable_paths(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x")
    (tmp_path / "a.md").write_text("x")
    with pytest.raises(InputError, match="does not exist"):
        open_source(tmp_path / "none")
    with pytest.raises(InputError, match="known endings"):
        open_source(tmp_path / "a.csv")
    with pytest.raises(InputError, match="--glob"):
        open_source(tmp_path / "a.md", ["*"])
    (tmp_path / "bare").mkdir()
    with pytest.raises(InputError, match="no files that match"):
        open_source(tmp_path / "bare")


def test_single_text_file(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# T\nbody")
    documents, _ = read(open_source(tmp_path / "a.md"))
    assert documents == {"a.md": Document("a.md", "# T\nbody", {"path": "a.md", "title": "T"})}


def test_chunks_lie_where_they_say(tmp_path: Path) -> None:
    pytest.importorskip("semantic_text_splitter")
    text = "# Héading\n\n" + " ".join(f"Sentence {n} is ünique." for n in range(40)) + "\n\n## Second\n\nEnd."
    (tmp_path / "a.md").write_text(text, encoding="utf-8")
    (tmp_path / "b.txt").write_text("short")
    documents, _ = read(open_source(tmp_path, chunking=Chunking(120, 20)))
    chunks = [document for document in documents.values() if document.metadata["parent_id"] == "a.md"]
    assert [chunk.id for chunk in chunks] == [f"a.md#{n}" for n in range(len(chunks))]
    assert len(chunks) > 5
    for chunk in chunks:
        start = chunk.metadata["chunk_start"]
        assert len(chunk.text) <= 120
        assert text[start : start + len(chunk.text)] == chunk.text
        assert chunk.metadata["title"] == "Héading"
    assert documents["b.txt#0"].text == "short"


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (10, 10), (10, -1)])
def test_chunk_sizes_that_do_not_work(size: int, overlap: int) -> None:
    with pytest.raises(InputError, match="chunk size"):
        Chunking(size, overlap)
