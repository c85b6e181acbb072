"""What files state about themselves: front matter, columns, headings, functions; and where a chunk of them stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rader_plugins.documents import Document
from rader_plugins.errors import IncompleteSourceWarning, InputError
from rader_plugins.index import RaderIndex
from rader_plugins.ingestion import Chunking, Findings, chunking, ingest, open_source, survey
from rader_plugins.ingestion.tables import TableColumns


def read(path: Path, **options: Any) -> tuple[dict[str, Document], Findings]:
    findings = Findings()
    return {document.id: document for _, document in open_source(path, **options).read(findings)}, findings


@pytest.mark.parametrize(
    ("front", "metadata"),
    [
        ("---\ntitle: Leave\ntags: [a, b]\ndate: 2024-05-01\n---\n", {"tags": ["a", "b"], "date": "2024-05-01"}),
        ('+++\ntitle = "Leave"\ntags = ["a"]\ndate = 2024-05-01\n+++\n\n', {"tags": ["a"], "date": "2024-05-01"}),
        ("---\r\ntitle: Leave\r\n1: {2: x}\r\n---\r\n", {"1": {"2": "x"}}),
    ],
)
def test_front_matter_becomes_metadata(tmp_path: Path, front: str, metadata: dict[str, Any]) -> None:
    (tmp_path / "a.md").write_bytes(f"{front}\n# Rules\n\nTen weeks.\n".encode())
    document = read(tmp_path / "a.md")[0]["a.md"]
    assert document.text == "Leave\n\n# Rules\n\nTen weeks.\n", "a title that no heading says is searched too"
    assert {key: value for key, value in document.metadata.items() if key in metadata} == metadata
    assert document.metadata["title"] == "Leave"
    lines = (tmp_path / "a.md").read_text().splitlines()
    for number, line in enumerate(document.text.splitlines()[2:], start=2):
        assert lines[document.metadata["line"] + number - 1] == line


def test_front_matter_does_not_say_where_a_document_is(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("---\npath: /etc/passwd\ntitle: T\n---\n# T\nbody")
    assert read(tmp_path / "a.md")[0]["a.md"] == Document(
        "a.md", "# T\nbody", {"title": "T", "path": "a.md", "line": 5}
    )


@pytest.mark.parametrize(
    "front",
    [
        "---\na: [1\n---\n",
        "---\na: &x [1]\nb: *x\n---\n",
        "---\n- list\n---\n",
        "---\na: !!binary aGk=\n---\n",
        "---\na: .nan\n---\n",
        "---\na: !!bool maybe\n---\n",
        '---\na: !!int ""\n---\n',
        "---\na: !!timestamp soon\n---\n",
        "---\na: !!python/object/apply:os.system [ls]\n---\n",
        "+++\na = \n+++\n",
        "---\na: " + "[" * 1500 + "\n---\n",
        "---\na: " + "x" * 70_000 + "\n---\n",
    ],
)
def test_front_matter_that_cannot_be_read_stays_and_is_named(tmp_path: Path, front: str) -> None:
    (tmp_path / "a.md").write_text(front + "body")
    documents, findings = read(tmp_path / "a.md")
    assert documents["a.md"].text == front + "body"
    assert list(findings.names["front_matter"]) == ["a.md"]


@pytest.mark.parametrize("text", ["---\n\n---\nbody", "---\nWords.\n---\nbody", "---\nno end", "a\n---\nb: 1\n---\n"])
def test_rules_are_no_front_matter(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.md").write_text(text)
    documents, findings = read(tmp_path / "a.md")
    assert documents["a.md"].text == text
    assert not findings.names


def test_a_row_is_a_document(tmp_path: Path) -> None:
    table = (
        'key;title;body;year;code;price\nx1;Leave;"Ten; ""weeks""\nof it";2020;007;1.5\nx2;;Rooms;;010;2\nx3;;;1;1;1\n'
    )
    (tmp_path / "a.csv").write_text(table)
    (tmp_path / "b.tsv").write_text("body\ttitle\tx,y\nThird\tT\t1\t2\n")
    documents, findings = read(tmp_path, columns=TableColumns(("title", "body")))
    assert list(documents) == ["a.csv:1", "a.csv:2", "b.tsv:1"]
    assert documents["a.csv:1"] == Document(
        "a.csv:1",
        'Leave\nTen; "weeks"\nof it',
        {"key": "x1", "year": 2020, "code": "007", "price": 1.5, "path": "a.csv", "row": 1},
    )
    assert dict(documents["a.csv:2"].metadata) == {"key": "x2", "code": "010", "price": 2.0, "path": "a.csv", "row": 2}
    assert dict(documents["b.tsv:1"].metadata) == {"x,y": 1, "column 4": 2, "path": "b.tsv", "row": 1}
    assert findings.names["empty"] == {"a.csv, row 3": ""}
    assert set(findings.names["partial"]) == {"b.tsv, row 1"}  # a cell without a name may be the end of another
    documents, findings = read(tmp_path, columns=TableColumns(("body",), id="key"))
    assert list(documents) == ["x1", "x2"]
    assert findings.names["binary"] == {"b.tsv": "it has no column 'key'; it has body, title, x,y"}
    assert set(read(tmp_path)[0]) == {"a.csv", "b.tsv"}, "without the option they are texts"


def test_rows_are_judged_one_by_one(tmp_path: Path) -> None:
    """A row without an id, or with that of an earlier one, is named, and costs no other row."""
    (tmp_path / "0.csv").write_text("k,t,n\na,x,1\n,lost,2\na,x,1\na,y,1\nb,z,1\n")
    (tmp_path / "1.csv").write_text("k,t\n,x\n")
    (tmp_path / "2.csv").write_text("")
    documents, findings = read(tmp_path, columns=TableColumns(("t",), id="k"))
    assert {id: document.text for id, document in documents.items()} == {"a": "x", "b": "z"}
    assert findings.names == {
        "unnamed": {"0.csv, row 2": "nothing in column 'k'", "1.csv, row 1": "nothing in column 'k'"},
        "repeated": {
            "0.csv, row 3": "the id 'a' is that of row 1, the same",
            "0.csv, row 4": "the id 'a' is that of row 1, with something else, which stays",
        },
        "binary": {"2.csv": "it is empty"},
    }
    (tmp_path / "0.csv").unlink()
    with pytest.raises(InputError, match="1.csv, row 1: nothing in column 'k'"):
        survey(open_source(tmp_path, columns=TableColumns(("t",), id="k")))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_quotes_that_do_not_end_swallow_no_rows_in_silence(tmp_path: Path, end: str) -> None:
    (tmp_path / "a.csv").write_text(end.join(["k,t", "a,x", 'b,"y', "c,z", ""]), newline="")
    documents, findings = read(tmp_path, columns=TableColumns(("t",), id="k"))
    assert list(documents) == ["a"]
    assert findings.names == {"faulty": {"a.csv, row 2 to the end": "a cell begins with quotes that do not end"}}
    assert findings.incomplete is not None
    (tmp_path / "a.csv").write_text(end.join(["k,t", "a,x", f'b,"y{end}and ""z""{end}"', ""]), newline="")
    documents, findings = read(tmp_path, columns=TableColumns(("t",), id="k"))
    assert (list(documents), findings) == (["a", "b"], Findings())


def test_a_row_that_lost_its_id_does_not_lose_its_document(tmp_path: Path) -> None:
    """Which documents rows without an id are is not known, so that none of the file is taken for gone."""
    columns = TableColumns(("t",), id="k")
    (tmp_path / "a.csv").write_text("k,t\na,x\nb,y\n")
    (tmp_path / "b.csv").write_text("k,t\nc,z\nd,z\n")
    with RaderIndex.create(None, encoder=None) as index:
        ingest(index, survey(open_source(tmp_path, columns=columns)))
        (tmp_path / "a.csv").write_text("k,t\na,x\n,y\n")
        (tmp_path / "b.csv").write_text("k,t\nc,z\n")
        outcome = ingest(index, survey(open_source(tmp_path, columns=columns)), prune=True)
        assert (outcome.removed, outcome.kept, sorted(index.ids())) == (1, ["b"], ["a", "b", "c"])


def test_what_a_corpus_lacks_is_told_by_whoever_reads_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    assert [document.id for document in open_source(tmp_path).documents()] == ["a.txt"], "and nothing is said"
    (tmp_path / "b.txt").write_bytes(bytes(9))
    (tmp_path / "c.png").write_bytes(b"png")
    expected = r"1 of other kinds, such as c\.png; 1 no text, such as b\.txt \(binary content: zero bytes\)"
    with pytest.warns(IncompleteSourceWarning, match=expected):
        assert len(list(open_source(tmp_path).documents())) == 1
    with pytest.warns(IncompleteSourceWarning, match=expected):
        survey(open_source(tmp_path)).warn()


def test_a_table_without_rows_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("text")
    (tmp_path / "none.csv").write_text("q,a\n")
    columns = TableColumns(("q",))
    with pytest.raises(InputError, match=r"none\.csv: it has no rows"):
        survey(open_source(tmp_path, columns=columns))
    (tmp_path / "rows.csv").write_text("q,a\n1,2\n")
    documents, findings = read(tmp_path, columns=columns)
    assert list(documents) == ["a.md", "rows.csv:1"]
    assert findings.names == {"empty": {"none.csv": "it has no rows"}}


def test_columns_named_like_what_documents_have_anyway_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("t,path,row,parent_id,chunk\nwords,/b,7,p,9\n")
    columns = {"column path": "/b", "column row": 7, "column parent_id": "p", "column chunk": 9}
    [document] = read(tmp_path, columns=TableColumns(("t",)))[0].values()
    assert document == Document("a.csv:1", "words", {**columns, "path": "a.csv", "row": 1})
    [chunk] = read(tmp_path, columns=TableColumns(("t",)), chunking=Chunking(100))[0].values()
    assert columns.items() <= chunk.metadata.items()


def test_rows_of_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("text")
    with pytest.raises(InputError, match="no CSV or TSV"):
        open_source(tmp_path, columns=TableColumns(("t",)))
    (tmp_path / "a.csv").write_text("q,a\n1,2\n")
    with pytest.raises(InputError, match=r"a\.csv: it has no column 't'; it has q, a"):
        survey(open_source(tmp_path, columns=TableColumns(("t",))))
    assert len(survey(open_source(tmp_path, columns=TableColumns(("q",)))).origins) == 2
    with pytest.raises(InputError, match="Name the columns"):
        TableColumns(())
    with pytest.raises(InputError, match="'t' stands twice"):
        TableColumns(("t", "q", "t"))


def test_chunks_know_their_section_and_line(tmp_path: Path) -> None:
    pytest.importorskip("semantic_text_splitter")
    text = "---\ntags: [x]\n---\nIntro.\n\n# Guide\n\nFirst.\n\n## Install\n\n```\n# no heading\n```\n\nUse\n---\n\n"
    text += "Last words.\n"
    (tmp_path / "a.md").write_text(text)
    chunks, _ = read(tmp_path / "a.md", chunking=Chunking(24))
    sections = {chunk.text.splitlines()[-1]: chunk.metadata.get("section") for chunk in chunks.values()}
    assert sections["Intro."] is None or "Guide" in sections["Intro."]
    assert sections["First."] == "Guide"
    assert sections["Last words."] == "Guide > Use"
    assert "Guide > Install" in sections.values()
    for chunk in chunks.values():
        line = text.splitlines()[chunk.metadata["chunk_line"] - 1]
        assert line.strip() == chunk.text.splitlines()[0].strip()


CODE = {
    "a.py": """import os


class Index:
    def add(self):
        return 'one long enough line'


def main():
    return 1
""",
    "b.go": """package main

func main() {
	println("a long enough line, and more")
}

func other() int {
	return 1
}
""",
    "c.ts": """class Index {
  add(): string {
    return 'one long enough line';
  }
}

function main() { return 1; }
""",
    "d.c": """int main(void) {
    puts("a long enough line");
}

int other(int a) {
    return a;
}
""",
}


def test_code_is_split_along_its_functions(tmp_path: Path) -> None:
    for module in ("semantic_text_splitter", "tree_sitter"):
        pytest.importorskip(module, reason="needs the extra code")
    for name, text in CODE.items():
        (tmp_path / name).write_text(text)
    chunks, findings = read(tmp_path, chunking=Chunking(60))
    assert not findings.names
    sections = {(chunk.metadata["path"], chunk.metadata.get("section")) for chunk in chunks.values()}
    assert sections >= {("a.py", "Index.add"), ("a.py", "main"), ("b.go", "main"), ("b.go", "other")}
    assert sections >= {("c.ts", "main"), ("d.c", "main"), ("d.c", "other")}
    assert {chunk.metadata["language"] for chunk in chunks.values()} == {"Python", "Go", "TypeScript", "C"}
    for chunk in chunks.values():
        start, lines = chunk.metadata["chunk_start"], CODE[chunk.metadata["path"]].splitlines()
        assert CODE[chunk.metadata["path"]][start : start + len(chunk.text)] == chunk.text
        assert chunk.text.splitlines()[0].strip() in lines[chunk.metadata["chunk_line"] - 1]


def test_without_what_knows_the_language_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("semantic_text_splitter")
    monkeypatch.setitem(__import__("sys").modules, "tree_sitter", None)
    from rader_plugins.ingestion import code

    code._parser.cache_clear()
    (tmp_path / "a.py").write_text(CODE["a.py"])
    chunks, findings = read(tmp_path / "a.py", chunking=Chunking(60))
    assert chunks
    assert "rader-plugins[code]" in findings.names["unstructured"]["a.py"]


@pytest.mark.parametrize("blanks", [True, False])
@pytest.mark.parametrize("suffix", ["txt", "md", "js"])
def test_lines_without_end_are_cut_before_they_are_split(
    tmp_path: Path, suffix: str, blanks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What splits texts takes a time that grows with the square of a line's length."""
    pytest.importorskip("semantic_text_splitter")
    if suffix == "js":
        pytest.importorskip("tree_sitter")
    monkeypatch.setattr(chunking, "_LONGEST_LINE", 500)
    line = " ".join(f"word{number}" for number in range(900))
    text = f"begins here\n{line if blanks else line.replace(' ', '_')}\nends here\n"
    (tmp_path / f"a.{suffix}").write_text(text)
    pieces = list(chunking._without_endless_lines(text, 500))
    assert "".join(piece for _, piece in pieces) == text
    assert all(text.startswith(piece, start) for start, piece in pieces)
    assert max(len(part) for _, piece in pieces for part in piece.splitlines()) <= 500
    documents, _ = read(tmp_path / f"a.{suffix}", chunking=Chunking(50))
    assert {letter for chunk in documents.values() for letter in chunk.text.split()} == set(text.split()) or not blanks
    assert sum(len("".join(chunk.text.split())) for chunk in documents.values()) == len("".join(text.split()))
    for chunk in documents.values():
        start = chunk.metadata["chunk_start"]
        assert text.startswith(chunk.text, start)
        assert chunk.metadata["chunk_line"] == text.count("\n", 0, start) + 1
