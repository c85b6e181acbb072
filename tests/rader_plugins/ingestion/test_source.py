from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rader_plugins.documents import Document
from rader_plugins.errors import IncompleteSourceWarning, InputError
from rader_plugins.ingestion import Chunking, Findings, Source, open_source, survey
from tests.rader_plugins.cli.conftest import write_rows


def read(source: Source) -> tuple[dict[str, Document], Findings]:
    findings = Findings()
    return {document.id: document for _, document in source.read(findings)}, findings


def test_folder_of_texts(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "a.md").write_text("```\n# no heading\n```\n\n## Real heading ##\n\nbody")
    (tmp_path / "deep" / "er" / "B.TXT").write_text("# not a heading in plain text")
    (tmp_path / "c.rst").write_text("=====\nTitle\n=====\n\ntext")
    (tmp_path / "d.markdown").write_text("---\ntitle: x\n---\nSetext\n------\ntext")
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "other.png").write_text("pass")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.txt").write_text("hidden")
    documents, findings = read(open_source(tmp_path))
    titles = {id: document.metadata.get("title") for id, document in documents.items()}
    assert titles == {"a.md": "Real heading", "deep/er/B.TXT": None, "c.rst": "Title", "d.markdown": "x"}
    assert documents["deep/er/B.TXT"].metadata["path"] == "deep/er/B.TXT"
    assert findings.names == {"left_out": {"other.png": ""}, "hidden": {".git/": ""}, "empty": {"empty.txt": ""}}
    assert findings.replaced == 0


def test_globs_choose_other_files(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.tex", "sub/b.tex", "c.md", "corpus.jsonl"):
        (tmp_path / name).write_text("text")
    assert set(read(open_source(tmp_path, ["*.tex"]))[0]) == {"a.tex", "sub/b.tex"}
    assert set(read(open_source(tmp_path, ["sub/*", "c.md"]))[0]) == {"sub/b.tex", "c.md"}
    assert set(read(open_source(tmp_path, ["**/*.tex"]))[0]) == {"a.tex", "sub/b.tex"}
    assert set(read(open_source(tmp_path, ["**"]))[0]) == {"a.tex", "sub/b.tex", "c.md", "corpus.jsonl"}
    assert set(read(open_source(tmp_path, ["./sub/[ab].tex"]))[0]) == {"sub/b.tex"}
    for wrong in ("/abs/*", "", "/", "../*", "sub/../*", "a\x00"):
        with pytest.raises(InputError, match="no pattern"):
            open_source(tmp_path, [wrong])
    with pytest.raises(InputError, match=r"match \*\.none"):
        open_source(tmp_path, ["*.none"])


def test_encodings_of_a_folder(tmp_path: Path) -> None:
    """What states its encoding is right, what does not is guessed and named, what is damaged is mended and named."""
    german = "Straße und Café – „naiv“"
    for name, encoding in (
        ("mark8", "utf-8-sig"),
        ("mark16", "utf-16"),
        ("mark32", "utf-32"),
        ("plain", "utf-8"),
        ("old", "cp1252"),
        ("wide", "utf-16-le"),
    ):
        (tmp_path / f"{name}.txt").write_bytes(german.encode(encoding))
    (tmp_path / "damaged.txt").write_bytes((german * 4).encode() + b"\xff end")
    (tmp_path / "russian.txt").write_bytes("Привет, мир".encode("koi8-r"))
    (tmp_path / "program.md").write_bytes(b"\x7fELF" + bytes(50))
    (tmp_path / "zeros.txt").write_bytes(b"text" + bytes(3) + b"text")
    documents, findings = read(open_source(tmp_path))
    assert documents.pop("damaged.txt").text == german * 4 + "\ufffd end"
    assert {id: document.text for id, document in documents.items()} == dict.fromkeys(
        ("mark8.txt", "mark16.txt", "mark32.txt", "plain.txt", "old.txt", "wide.txt"), german
    )
    assert findings.names["guessed"] == {"old.txt": "cp1252", "wide.txt": "utf-16-le"}
    assert findings.names["mended"] == {"damaged.txt": "1 replaced"}
    assert set(findings.names["binary"]) == {"russian.txt", "program.md", "zeros.txt"}
    assert findings.replaced == 1


def test_an_encoding_that_is_named_is_for_what_does_not_say_otherwise(tmp_path: Path) -> None:
    (tmp_path / "russian.txt").write_bytes("Привет, мир".encode("koi8-r"))
    (tmp_path / "utf8.txt").write_text("Привет, мир", encoding="utf-8")
    (tmp_path / "mark.txt").write_bytes("Привет, мир".encode("utf-16"))
    (tmp_path / "program.txt").write_bytes(bytes(range(256)))
    documents, findings = read(open_source(tmp_path, encoding="koi8-r"))
    assert {document.text for document in documents.values()} == {"Привет, мир"}
    assert len(documents) == 3
    assert set(findings.names) == {"binary"}
    (tmp_path / "seven.txt").write_bytes("検索".encode("iso-2022-jp"))
    assert read(open_source(tmp_path / "seven.txt", encoding="iso-2022-jp"))[0]["seven.txt"].text == "検索"
    with pytest.raises(InputError, match="encoding 'nonesuch' is unknown"):
        open_source(tmp_path, encoding="nonesuch")


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "shift_jis", "cp037"])
def test_a_named_encoding_makes_no_text_of_binary_files_nor_of_plain_ones_something_else(
    tmp_path: Path, encoding: str
) -> None:
    for name, raw in (
        ("a.txt", b"%PDF-1.4 plain letters"),
        ("b.txt", b"{\\rtf1 letters}"),
        ("c.txt", b"plain, all ASCII"),
    ):
        (tmp_path / name).write_bytes(raw)
    (tmp_path / "d.txt").write_text("letters of the encoding", encoding=encoding)
    documents, findings = read(open_source(tmp_path, encoding=encoding))
    assert {id: document.text for id, document in documents.items()} == {
        "c.txt": "plain, all ASCII",
        "d.txt": "letters of the encoding",
    }
    assert list(findings.names["binary"]) == ["a.txt", "b.txt"]


def test_rows_in_other_encodings(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    content = '{"id": "a", "text": "Café"}\n{"id": "b", "text": "naïve"}\n'
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_bytes(content.encode(encoding))
        documents, findings = read(open_source(path))
        assert {id: document.text for id, document in documents.items()} == {"a": "Café", "b": "naïve"}
        assert findings == Findings()
    path.write_bytes(content.encode("cp1252"))
    documents, findings = read(open_source(path))
    assert documents["a"].text == "Café"
    assert findings.names == {"guessed": {"rows.jsonl": "cp1252"}}
    path.write_bytes('{"id": "a", "text": "Привет, мир"}\n'.encode("cp866"))
    with pytest.raises(InputError, match="--encoding"):
        read(open_source(path))
    assert read(open_source(path, encoding="cp866"))[0]["a"].text == "Привет, мир"


@pytest.mark.skipif(os.name != "posix", reason="makes links and pipes of POSIX systems")
def test_links_are_followed_once_or_named(tmp_path: Path) -> None:
    notes, elsewhere = tmp_path / "notes", tmp_path / "elsewhere"
    (notes / "sub").mkdir(parents=True)
    (elsewhere / "deep").mkdir(parents=True)
    for file in (notes / "a.md", notes / "sub" / "b.md", elsewhere / "c.md", elsewhere / "deep" / "d.md"):
        file.write_text(f"text of {file.name}")
    (notes / "circle").symlink_to(notes)
    (notes / "again").symlink_to(notes / "sub")
    (notes / "linked").symlink_to(elsewhere)
    (notes / "twice").symlink_to(elsewhere / "deep")
    (elsewhere / "back").symlink_to(notes)
    (notes / "gone.md").symlink_to(tmp_path / "nowhere")
    (notes / "file.md").symlink_to(elsewhere / "c.md")
    os.mkfifo(notes / "pipe.md")
    documents, findings = read(open_source(notes))
    assert set(documents) == {"a.md", "sub/b.md", "file.md"}
    assert set(findings.names["links"]) == {"circle/", "again/", "linked/", "twice/", "gone.md"}
    assert findings.names["left_out"] == {"pipe.md": "not a file"}
    assert findings.incomplete == "gone.md: leads nowhere"
    documents, findings = read(open_source(notes, follow_links=True))
    assert set(documents) == {"a.md", "sub/b.md", "file.md", "linked/c.md", "linked/deep/d.md"} or set(documents) == {
        "a.md",
        "sub/b.md",
        "file.md",
        "linked/c.md",
        "twice/d.md",
    }
    assert len(findings.names["links"]) == 5


def test_folders_of_indexes_are_never_read(tmp_path: Path) -> None:
    for folder in (tmp_path / "ix", tmp_path / "deep" / "ix"):
        (folder / "vectors").mkdir(parents=True)
        (folder / "index.db").write_text("text")
    (tmp_path / "vectors").mkdir()
    (tmp_path / "vectors" / "note").write_text("text")
    documents, findings = read(open_source(tmp_path, ["*"]))
    assert set(documents) == {"vectors/note"}
    assert findings.names["left_out"] == {"ix/": "an index", "deep/ix/": "an index"}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.txt", "b.txt", "sub/c.txt"):
        (tmp_path / name).write_text("text")
    (tmp_path / "b.txt").chmod(0)
    (tmp_path / "sub").chmod(0)
    try:
        documents, findings = read(open_source(tmp_path))
    finally:
        (tmp_path / "sub").chmod(0o755)
    assert set(documents) == {"a.txt"}
    assert set(findings.names["unreadable"]) == {"sub/", "b.txt"}


def test_links_that_bite_their_own_tail_end_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "b.txt").symlink_to("c.txt")
    (tmp_path / "c.txt").symlink_to("b.txt")
    documents, findings = read(open_source(tmp_path))
    assert set(documents) == {"a.txt"}
    assert findings.names == {"links": {"b.txt": "leads nowhere", "c.txt": "leads nowhere"}}


def test_texts_beside_a_corpus_are_not_read_and_named(tmp_path: Path) -> None:
    write_rows(tmp_path / "corpus.jsonl", {"_id": "a", "text": "text"})
    write_rows(tmp_path / "queries.jsonl", {"_id": "q", "text": "text"})
    for name in ("README.md", "note.md"):
        (tmp_path / name).write_text("text")
    documents, findings = read(open_source(tmp_path))
    assert set(documents) == {"a"}
    assert findings.names == {"left_out": {"note.md": "corpus.jsonl alone is read, where there is one"}}


def test_a_folder_that_may_be_listed_and_not_entered_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the system refuses of one folder costs nothing of the others, and makes the listing incomplete."""
    for name in ("a.txt", "shut/deep/b.txt", "z/c.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text")
    real = Path.stat

    def stat(self: Path, **options: Any) -> os.stat_result:
        if self.name in ("deep", "b.txt"):
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, **options)

    monkeypatch.setattr(Path, "stat", stat)
    documents, findings = read(open_source(tmp_path))
    assert set(documents) == {"a.txt", "z/c.txt"}
    assert findings.names == {"unreadable": {"shut/deep/": "Permission denied"}}
    assert findings.incomplete is not None


def test_a_source_without_a_single_text_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(bytes(9))
    (tmp_path / "b.txt").write_text(" ")
    with pytest.raises(InputError, match=r"1 without text, such as b\.txt; 1 not text, such as a\.txt: binary"):
        survey(open_source(tmp_path))


@pytest.mark.skipif(os.name != "posix", reason="file names are text there")
def test_undecodable_file_name(tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/n\xff.txt")).write_text("body")
    except OSError:
        pytest.skip("this file system refuses such names")
    documents, findings = read(open_source(tmp_path))
    assert list(documents) == ["n\ufffd.txt"]
    assert findings.replaced == 1


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
    documents, findings = read(open_source(path))
    assert list(documents) == ["7", "rows.jsonl:3", "d", "raw"]
    assert documents["7"] == Document("7", "lone \ufffd half", {"_id": "under", "year": 1999})
    assert documents["rows.jsonl:3"].text == "pair \U0001f600"
    assert documents["rows.jsonl:3"].metadata == {"n\ufffd": ["\ufffd"], "year": 2}
    assert documents["d"] == Document("d", "Head body", {"title": "Head"})
    assert documents["raw"].text == "byte ÿ"
    assert findings.names == {
        "guessed": {"rows.jsonl": "cp1252"},
        "empty": {"e (line 5)": ""},
        "mended": {"7": "line 1: 1 replaced", "rows.jsonl:3": "line 3: 2 replaced"},
    }


def test_beir_ids_come_first_from_underscore_id(tmp_path: Path) -> None:
    write_rows(tmp_path / "corpus.jsonl", {"id": "other", "_id": "beir", "title": "T", "text": ""})
    documents, _ = read(open_source(tmp_path))
    assert documents == {"beir": Document("beir", "T", {"id": "other", "title": "T"})}


FAULTY_ROWS: dict[str, tuple[str, str | None]] = {
    "no text": ('{"id": "a", "body": "b"}', "there is no 'text' (keys: 'id', 'body')."),
    "null": ('{"text": null}', "'text' must be a string, not null."),
    "list": ('{"text": ["words"]}', "'text' must be a string, not a list."),
    "empty id": ('{"text": "a", "id": ""}', "'id' must be a non-empty string or a whole number, not \"\"."),
    "boolean id": ('{"text": "a", "id": true}', "'id' must be a non-empty string or a whole number, not true."),
    "NUL": ('{"text": "a", "id": "nul\\u0000"}', "The id 'nul\\x00' holds a NUL character."),
    "metadata": ('{"text": "a", "metadata": [1]}', "'metadata' must be a JSON object, not a list."),
    "NaN": ('{"text": "a", "n": NaN}', "NaN is not JSON. Write null, or leave the key out."),
    "infinite": ('{"text": "a", "n": 1e999}', None),
    "array": ("[1]", "it holds a list, not a JSON object."),
    "broken": ("{broken", "no JSON: Expecting property name enclosed in double quotes, at character 2"),
    "cut": ('{"id": "whole", "text": "cut sho', "no JSON: Unterminated string starting, at character 25"),
    "zeros": ("\x00\x00\x00", "no JSON: Expecting value, at character 1"),
    "brackets": ("[" * 100_000, "nested too deeply"),
    "deep": ('{"text": "a", "deep": ' + "[" * 5000 + "]" * 5000 + "}", None),
    "long keys": ('{"' + "k" * 10_000 + '": 1}', None),
}


@given(st.lists(st.sampled_from(["usable", *FAULTY_ROWS]), max_size=12))
@example(["usable", *FAULTY_ROWS])
def test_each_row_is_judged_by_itself(rows: list[str]) -> None:
    # One that can be used comes first: zeros at the very beginning say that it is no file of one-byte letters.
    rows = ["usable", *rows]
    lines = [
        FAULTY_ROWS[row][0] if row in FAULTY_ROWS else json.dumps({"id": str(number), "text": "words"})
        for number, row in enumerate(rows, start=1)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.jsonl")
        path.write_text("\n".join(lines), encoding="utf-8")
        surveyed = survey(open_source(path))
        documents = list(surveyed.documents())
    numbers = [number for number, row in enumerate(rows, start=1) if row == "usable"]
    assert documents == [Document(str(number), "words") for number in numbers]
    assert surveyed.origins == {str(number): number for number in numbers}
    faulty = surveyed.findings.names.get("faulty", {})
    expected = {f"rows.jsonl, line {n}": FAULTY_ROWS[row][1] for n, row in enumerate(rows, 1) if row in FAULTY_ROWS}
    assert {name: expected.get(name) and detail for name, detail in faulty.items()} == expected
    assert all(0 < len(detail) <= 200 and "\n" not in detail for detail in faulty.values())
    assert (surveyed.findings.incomplete is None) == (not faulty)


def test_of_rows_with_one_id_the_first_stays(tmp_path: Path) -> None:
    pytest.importorskip("semantic_text_splitter")
    path = write_rows(
        tmp_path / "rows.jsonl",
        {"id": "a", "text": " "},
        {"id": "a", "text": "one. two.", "n": 1, "m": 2},
        {"id": 7, "text": "seven"},
        {"m": 2, "n": 1, "text": "one. two.", "id": "a"},
        {"id": "7", "text": "seven. eight. nine."},
        {"id": "a", "text": "one. two.", "n": 1, "m": 3},
    )
    repeated = {
        "rows.jsonl, line 4": "the id 'a' is that of line 2, the same",
        "rows.jsonl, line 5": "the id '7' is that of line 3, with something else, which stays",
        "rows.jsonl, line 6": "the id 'a' is that of line 2, with something else, which stays",
    }
    for chunking, ids in ((None, ["a", "7"]), (Chunking(6), ["a#0", "a#1", "7#0"])):
        source = open_source(path, chunking=chunking)
        surveyed = survey(source)
        assert surveyed.findings.names == {"empty": {"a (line 1)": ""}, "repeated": repeated}
        assert [document.id for document in surveyed.documents()] == ids
        with pytest.warns(IncompleteSourceWarning, match="3 with the id of an earlier row"):
            assert [document.id for document in source.documents()] == ids


def test_rows_that_are_all_faulty_are_no_corpus(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{\n  "text": "pretty"\n}\n')
    with pytest.raises(InputError, match=r"no documents \(3 faulty, such as rows\.jsonl, line 1: no JSON"):
        survey(open_source(path))


def test_unusable_paths(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text("x")
    (tmp_path / "a.md").write_text("x")
    with pytest.raises(InputError, match="does not exist"):
        open_source(tmp_path / "none")
    with pytest.raises(InputError, match="known endings"):
        open_source(tmp_path / "a.xyz")
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
    with pytest.raises(InputError, match="chunk (size|overlap)"):
        Chunking(size, overlap)


def test_keys_that_a_chunk_has_too_are_kept_under_another_name(tmp_path: Path) -> None:
    pytest.importorskip("semantic_text_splitter")
    path = write_rows(
        tmp_path / "rows.jsonl", {"id": "c1", "text": "one. two.", "parent_id": "post", "chunk": 9, "n": 1}
    )
    documents, _ = read(open_source(path, chunking=Chunking(5)))
    for number, document in enumerate(documents.values()):
        own = {"document parent_id": "post", "document chunk": 9, "n": 1}
        assert document.metadata.items() >= {**own, "parent_id": "c1", "chunk": number}.items()
