from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rader_plugins import RaderIndex, Recipe, load_encoder
from rader_plugins.cli.summary import ingested_facts
from rader_plugins.documents import Document
from rader_plugins.encoding.local import LocalEncoder
from rader_plugins.ingestion import Outcome, storing
from rader_plugins.ingestion.findings import Findings
from tests.rader_plugins.cli.conftest import Rader, write_rows
from tests.support.tiny_models import tiny_bert


def test_build_from_beir_folder(rader: Rader, beir: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    result = rader("index", "build", beir, "--out", out)
    assert "40 documents" in result.stdout
    assert result.stderr == ""
    with RaderIndex.open(out) as index:
        [document] = index.get(["pigeonhole-principle"])
        assert len(index) == 40
    assert document.text.startswith("Pigeonhole principle If n objects")
    assert document.metadata == {"field": "combinatorics", "kind": "principle", "title": "Pigeonhole principle"}


def test_build_again_encodes_only_what_changed(rader: Rader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"id": str(n), "text": f"text {n}", "flag": True} for n in range(4)]
    path, out = write_rows(tmp_path / "rows.jsonl", *rows), tmp_path / "index"
    rader("index", "build", path, "--out", out)
    rows[1]["text"] = "changed"
    rows[2]["flag"] = 1  # equal to True in Python, not in JSON
    write_rows(path, *rows, {"id": "new", "text": "new"})
    encoded: list[str] = []
    real = LocalEncoder.encode_documents

    def record(self: LocalEncoder, texts: list[str]) -> Any:
        encoded.extend(texts)
        return real(self, texts)

    monkeypatch.setattr(LocalEncoder, "encode_documents", record)
    summary = json.loads(rader("index", "build", path, "--out", out, "--json").stdout)
    assert sorted(encoded) == ["changed", "new"]
    assert {name: summary[name] for name in ("added", "replaced", "unchanged", "removed", "documents")} == {
        "added": 1,
        "replaced": 2,
        "unchanged": 2,
        "removed": 0,
        "documents": 5,
    }
    second_build = rader("index", "build", path, "--out", out).stdout
    assert second_build.startswith(f"Nothing to encode in {out}: 5 documents")
    assert "5: stored already, not encoded again" in second_build


def test_interrupted_build_goes_on(rader: Rader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "_FIRST_BATCH", 2)
    monkeypatch.setattr(storing, "_LARGEST_BATCH", 2)
    path = write_rows(tmp_path / "rows.jsonl", *({"id": str(n), "text": f"text {n}"} for n in range(6)))
    out = tmp_path / "index"
    real, calls = RaderIndex.add, []

    def interrupt(self: RaderIndex, documents: list[Document], **options: Any) -> int:
        calls.append(len(documents))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, documents, **options)

    with monkeypatch.context() as patch:
        patch.setattr(RaderIndex, "add", interrupt)
        result = rader("index", "build", path, "--out", out, code=130)
    assert f"4 documents committed in {out}" in result.stderr
    assert "goes on from there" in result.stderr
    assert result.stdout == ""
    summary = json.loads(rader("index", "build", path, "--out", out, "--json").stdout)
    assert (summary["unchanged"], summary["added"], summary["documents"]) == (4, 2, 6)


def test_of_builds_that_begin_at_once_the_later_adds_to_what_the_first_has_made(
    rader: Rader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rader_plugins.cli.index_place import IndexPlace

    path, out = write_rows(tmp_path / "rows.jsonl", {"id": "x", "text": "a"}), tmp_path / "index"
    real = IndexPlace.create

    def be_late(self: IndexPlace, *arguments: Any) -> Any:
        real(self, *arguments).close()
        return real(self, *arguments)

    monkeypatch.setattr(IndexPlace, "create", be_late)
    assert json.loads(rader("index", "build", path, "--out", out, "--json").stdout)["documents"] == 1
    monkeypatch.undo()
    rader("index", "build", path, "--out", out, "--dtype", "float16", code=2)


def test_faulty_rows_keep_out_no_others_and_prune_nothing(rader: Rader, tmp_path: Path) -> None:
    usable = [{"id": name, "text": f"text {name}"} for name in "abc"]
    path, out = write_rows(tmp_path / "rows.jsonl", *usable), tmp_path / "index"
    rader("index", "build", path, "--out", out)
    with path.open("a") as stream:
        stream.write('{"id": "d", "text": 4}\n' * 11 + '{"id": "e", "text": "te')
    write_rows(tmp_path / "more.jsonl", {"id": "f", "text": "text f"}, {"id": "a\x00", "text": "nul"})
    for arguments, last in (
        (("build", path, "--out", out), "was not read completely: 12 faulty, such as rows.jsonl, line 4 ('text' must"),
        (("build", path, "--out", out, "--prune"), "Nothing was removed, as a part of the source could not be seen"),
        (("add", out, tmp_path / "more.jsonl"), "was not read completely: 1 faulty, such as more.jsonl, line 2"),
    ):
        result = rader("index", *arguments, code=1)
        assert last in result.stderr.splitlines()[-1]
        assert " left out: " in " ".join(result.stdout.split())
    brief, full = (
        " ".join(rader("index", "build", path, "--out", out, *more, code=1).stdout.split())
        for more in ((), ("--verbose",))
    )
    assert "line 13 ('text' must be a string, not a number.) and 2 more (--verbose)" in brief
    assert "line 15 (no JSON: Unterminated string starting, at character 21)" in full
    summary = json.loads(rader("index", "build", path, "--out", out, "--json", code=1).stdout)
    assert len(summary["findings"]["faulty"]) == 12
    with RaderIndex.open(out) as index:
        assert sorted(index.ids()) == ["a", "b", "c", "f"]
    write_rows(path, *usable[:2])
    assert json.loads(rader("index", "build", path, "--out", out, "--prune", "--json").stdout)["removed"] == 2


def test_nothing_but_faulty_rows_is_refused_before_a_model_is_loaded(rader: Rader, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", {"id": "x", "body": "a"}, {"id": "y", "body": "b"})
    result = rader("index", "build", path, "--out", tmp_path / "index", code=2)
    assert f"{path} holds no documents (2 faulty, such as rows.jsonl, line 1: there is no 'text'" in result.stderr
    assert not (tmp_path / "index").exists()


def test_an_id_that_stands_twice_in_rows_is_named(rader: Rader, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", {"id": "x", "text": "a"}, {"text": "b"}, {"id": "x", "text": "c"})
    result = rader("index", "build", path, "--out", tmp_path / "index")
    assert "line 3 (the id 'x' is that of line 1, with something else, which stays)" in " ".join(result.stdout.split())
    with RaderIndex.open(tmp_path / "index") as index:
        assert [document.text for document in index.get(["x", "rows.jsonl:2"])] == ["a", "b"]


def test_what_was_left_out_or_mended_is_counted_and_named(rader: Rader, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "bad.txt").write_bytes("äöüß".encode() * 3 + b" bytes \xff\xfe")
    (folder / "old.txt").write_bytes("Straße".encode("cp1252"))
    (folder / "empty.md").write_text("")
    (folder / "program.txt").write_bytes(bytes(20))
    for number in range(12):
        (folder / f"{number:02}.png").write_bytes(b"\x89PNG")
    out = tmp_path / "index"
    output = " ".join(rader("index", "build", folder, "--out", out).stdout.split())
    assert "1 empty text: empty.md" in output
    assert "2 characters in 1 text replaced by U+FFFD (not valid Unicode): bad.txt" in output
    assert "12 files of other kinds (12 .png)" in output
    assert "00.png, 01.png" in output
    assert "09.png and 2 more (--verbose)" in output
    assert "old.txt (cp1252)" in output
    assert "program.txt (binary content: zero bytes)" in output
    assert "11.png" in rader("index", "build", folder, "--out", out, "--verbose").stdout
    summary = json.loads(rader("index", "build", folder, "--out", out, "--json").stdout)
    assert (summary["skipped_empty"], summary["mended_texts"], summary["replaced_characters"]) == (1, 1, 2)
    assert summary["source"] == "text"
    assert len(summary["findings"]["left_out"]) == 12
    assert summary["findings"]["guessed"] == {"old.txt": "cp1252"}
    assert rader("index", "build", folder, "--out", out, "--encoding", "cp1253").exit_code == 0
    with RaderIndex.open(out) as index:
        assert index.get(["old.txt"])[0].text == "Straίe", "as it is read in the encoding that was named"


def test_what_an_extra_would_read_is_told_once() -> None:
    findings = Findings()
    for name in ("a.pdf", "b.pdf", "c.docx"):
        findings.add("needs_extra", name)
    for number in range(12):
        findings.add("left_out", f"{number}.png")
    for name, detail in (("d.txt", "zero bytes"), ("e.pdf", "encrypted"), ("f.txt", "zero bytes")):
        findings.add("binary", name, detail)
    survey: Any = SimpleNamespace(findings=findings, source=SimpleNamespace(chunking=None))
    stats = {"recipe": "mini", "dimension": 384, "dtype": "float32"}
    lines = dict(ingested_facts(stats, Outcome(), survey, 256))
    command = "pip install 'rader-plugins[documents]' and the same command read them"
    assert lines["not read"] == f"3 files (2 .pdf, 1 .docx); {command}: a.pdf, b.pdf, c.docx"
    assert lines["left out"].startswith("12 files of other kinds (12 .png)")
    assert lines["no text"] == "3 files left out: d.txt, f.txt (zero bytes); e.pdf (encrypted)"


def test_the_own_index_is_never_a_source(rader: Rader, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("a note")
    for _ in range(2):
        summary = json.loads(
            rader("index", "build", tmp_path, "--out", tmp_path / "ix", "--glob", "*", "--json").stdout
        )
        assert summary["documents"] == 1


def test_cut_texts_are_counted(rader: Rader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "_FIRST_BATCH", 1)
    path = write_rows(
        tmp_path / "rows.jsonl", *({"id": str(n), "text": f"{n} " + "word " * 400 * (n > 0)} for n in range(3))
    )
    out = tmp_path / "index"
    result = rader("index", "build", path, "--out", out)
    assert "2 documents longer than 256 tokens, which is what the model reads (--chunk-size splits): 1, 2" in " ".join(
        result.stdout.split()
    )
    assert result.stderr == ""
    assert json.loads(rader("index", "build", path, "--out", out, "--json").stdout)["truncated"] == 0


def test_another_model_is_refused(rader: Rader, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", {"id": "a", "text": "text"})
    rader("index", "build", path, "--out", tmp_path / "index")
    model = tmp_path / "model"
    recipe = Recipe(name="tiny", model=str(tiny_bert(tmp_path / "plain")), pooling="mean")
    load_encoder(recipe, show_progress=False).save(model)
    result = rader("index", "build", path, "--out", tmp_path / "index", "--model", model, code=2)
    assert "fingerprint" in result.stderr
    assert result.stderr.count("\n") == 1
    other = tmp_path / "other"
    rader("index", "build", path, "--out", other, "--model", model)
    hits = json.loads(rader("search", other, "text", "--json").stdout)
    assert [hit["id"] for hit in hits] == ["a"], "the index remembers where its model lies"
    model = model.rename(tmp_path / "moved")
    result = rader("search", other, "text", code=2)
    assert "--model" in result.stderr
    hits = json.loads(rader("search", other, "text", "--model", model, "--json").stdout)
    assert [hit["id"] for hit in hits] == ["a"]
    assert json.loads(rader("search", other, "text", "--mode", "bm25", "--json").stdout)


def test_options_of_a_stored_index_cannot_change(rader: Rader, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", {"id": "a", "text": "text"})
    out = tmp_path / "index"
    assert json.loads(rader("index", "build", path, "--out", out, "--dtype", "float16", "--json").stdout)["dtype"] == (
        "float16"
    )
    assert (
        "built with --dtype float16" in rader("index", "build", path, "--out", out, "--dtype", "float32", code=2).stderr
    )
    assert "--ann (none: exact search)" in rader("index", "build", path, "--out", out, "--ann", "hnsw", code=2).stderr
    assert "--language english" in rader("index", "build", path, "--out", out, "--language", "german", code=2).stderr
    assert "--identifiers False" in rader("index", "build", path, "--out", out, "--identifiers", code=2).stderr
    rader("index", "build", path, "--out", out)


def test_words_of_another_language(rader: Rader, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", {"id": "a", "text": "die Häuser"}, {"id": "b", "text": "get_user_name"})
    out, refused = tmp_path / "index", tmp_path / "refused"
    assert (
        "no language 'klingon'"
        in rader("index", "build", path, "--out", refused, "--language", "klingon", code=2).stderr
    )
    assert not refused.exists()
    rader("index", "build", path, "--out", out, "--language", "german", "--identifiers")
    for query, id in (("haus", "a"), ("user", "b")):
        hits = json.loads(rader("search", out, query, "--mode", "bm25", "--json").stdout)
        assert [hit["id"] for hit in hits] == [id]
    assert "rader/2:german+identifiers" in rader("index", "info", out).stdout


def test_build_does_not_spread_over_a_foreign_folder(rader: Rader, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", {"id": "a", "text": "text"})
    assert "choose a new folder" in rader("index", "build", path, "--out", tmp_path, code=2).stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == ["rows.jsonl"]
    assert "is a file" in rader("index", "build", path, "--out", path, code=2).stderr


@pytest.mark.slow
def test_chunks_are_built_replaced_and_deleted(rader: Rader, tmp_path: Path) -> None:
    pytest.importorskip("semantic_text_splitter")
    folder, out = tmp_path / "texts", tmp_path / "index"
    folder.mkdir()
    (folder / "a.md").write_text(" ".join(f"Sentence number {n}." for n in range(30)))
    (folder / "b.txt").write_text("other")
    size = ("--chunk-size", 100, "--chunk-overlap", 10)
    first = json.loads(rader("index", "build", folder, "--out", out, *size, "--json").stdout)
    assert first["documents"] == first["added"] > 4
    (folder / "a.md").write_text("Short now.")
    second = json.loads(rader("index", "build", folder, "--out", out, *size, "--json").stdout)
    assert (second["documents"], second["replaced"], second["unchanged"]) == (2, 1, 1)
    assert second["removed"] == first["documents"] - 2
    # The index remembers its chunks; another size needs a yes.
    remembered = json.loads(rader("index", "build", folder, "--out", out, "--json").stdout)
    assert (remembered["unchanged"], remembered["removed"]) == (2, 0)
    assert remembered["chunking"] == {"size": 100, "overlap": 10}
    for command in (("build", folder, "--out", out), ("add", out, folder)):
        assert "--rechunk" in rader("index", *command, "--chunk-size", 50, code=2).stderr
    # Whole documents take the place of their chunks, and the other way round.
    third = json.loads(rader("index", "build", folder, "--out", out, "--rechunk", "--json").stdout)
    assert (third["documents"], third["added"], third["removed"]) == (2, 2, 2)
    assert "--rechunk" in rader("index", "add", out, folder, *size, code=2).stderr
    fourth = json.loads(rader("index", "add", out, folder, *size, "--rechunk", "--json").stdout)
    assert (fourth["documents"], fourth["added"], fourth["removed"]) == (2, 2, 2)
    gone = json.loads(rader("index", "delete", out, "a.md", "--chunks", "--json").stdout)
    assert gone == {"deleted": 1, "missing": [], "documents": 1}
    assert "--chunk-size" in rader("index", "add", out, folder, "--chunk-overlap", 3, code=2).stderr


def test_prune_removes_what_the_source_lost(rader: Rader, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", {"id": "a", "text": "one"}, {"id": "b", "text": "two"})
    out = tmp_path / "index"
    rader("index", "build", path, "--out", out)
    write_rows(path, {"id": "b", "text": "two"})
    assert json.loads(rader("index", "build", path, "--out", out, "--json").stdout)["documents"] == 2
    pruned = json.loads(rader("index", "build", path, "--out", out, "--prune", "--json").stdout)
    assert (pruned["documents"], pruned["removed"]) == (1, 1)


def test_a_copy_remembers_how_it_was_built(rader: Rader, tmp_path: Path) -> None:
    pytest.importorskip("semantic_text_splitter")
    path = write_rows(tmp_path / "rows.jsonl", {"id": "a", "text": "One sentence. Another sentence. A third sentence."})
    rader("index", "build", path, "--out", tmp_path / "index", "--chunk-size", 20)
    for copy in ("copy", "copy"):
        with RaderIndex.open(tmp_path / "index") as index:
            index.copy_to(tmp_path / copy)
        assert "chunks" in rader("index", "build", path, "--out", tmp_path / copy).stdout
    with RaderIndex.create(None, load_encoder("mini")) as other:
        other.add([Document("whole", "not split")])
        other.copy_to(tmp_path / "copy")
    assert "chunks" not in rader("index", "build", path, "--out", tmp_path / "copy").stdout


def test_an_index_that_remembers_nothing_keeps_its_chunks(rader: Rader, tmp_path: Path) -> None:
    """As those of earlier versions, which wrote no record."""
    pytest.importorskip("semantic_text_splitter")
    path, out = tmp_path / "a.txt", tmp_path / "index"
    path.write_text("One sentence. " * 20)
    rader("index", "build", path, "--out", out, "--chunk-size", 60)
    (out / "build.json").unlink()
    assert "does not remember their size" in rader("index", "build", path, "--out", out, "--prune", code=2).stderr
    second_build = json.loads(
        rader("index", "build", path, "--out", out, "--chunk-size", 60, "--prune", "--json").stdout
    )
    assert (second_build["added"], second_build["removed"]) == (0, 0)
    assert json.loads(rader("index", "build", path, "--out", out, "--json").stdout)["chunking"]["size"] == 60
    (out / "build.json").write_text("{")
    assert "build.json is damaged" in rader("index", "build", path, "--out", out, code=1).stderr


def test_pruning_needs_the_source_that_the_index_was_built_from(rader: Rader, tmp_path: Path) -> None:
    right, wrong, out = tmp_path / "notes", tmp_path / "nodes", tmp_path / "index"
    for folder, names in ((right, "abcd"), (wrong, "dxyz")):
        folder.mkdir()
        for name in names:
            (folder / f"{name}.txt").write_text(f"text {name}")
    rader("index", "build", right, "--out", out)
    refused = rader("index", "build", wrong, "--out", out, "--prune", code=2).stderr
    assert "would remove 3 of 4 documents" in refused
    assert "--new-source" in refused
    rader("index", "build", wrong, "--out", out, "--prune", code=2)
    assert json.loads(rader("index", "info", out, "--json").stdout)["documents"] == 4
    done = json.loads(rader("index", "build", wrong, "--out", out, "--prune", "--new-source", "--json").stdout)
    assert (done["documents"], done["removed"]) == (4, 3)
    rader("index", "build", wrong, "--out", out, "--new-source", code=2)


def test_pruning_needs_the_patterns_that_the_index_was_built_with(rader: Rader, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "c.txt", "d.tex"):
        (tmp_path / "notes" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "notes" / name).write_text(f"text {name}")
    command = ("index", "build", tmp_path / "notes", "--out", tmp_path / "index")
    rader(*command)
    assert "would remove 3 of 3" in rader(*command, "--glob", "*.tex", "--prune", code=2).stderr
    done = json.loads(rader(*command, "--prune", "--json").stdout)
    assert (done["documents"], done["removed"]) == (3, 0)
    done = json.loads(rader(*command, "--glob", "*.tex", "--prune", "--new-source", "--json").stdout)
    assert (done["documents"], done["removed"]) == (1, 3)
    (tmp_path / "notes" / "e.tex").write_text("text e")
    assert json.loads(rader(*command, "--prune", "--json").stdout)["documents"] == 2, "the patterns are remembered"


@pytest.mark.parametrize("lost", ["link", "mount"])
def test_what_could_not_be_seen_is_not_pruned(
    rader: Rader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    source, out = tmp_path / "notes", tmp_path / "index"
    (source / "sub").mkdir(parents=True)
    for name in ("a", "b", "sub/c"):
        (source / f"{name}.txt").write_text(f"text {name}")
    command = ("index", "build", source, "--out", out, "--prune", "--json")
    rader(*command)
    (source / "sub" / "c.txt").unlink()
    (source / "b.txt").unlink()
    if lost == "link":
        (source / "b.txt").symlink_to(tmp_path / "nowhere")
    else:
        record = json.loads((out / "build.json").read_text())
        (out / "build.json").write_text(json.dumps({**record, "mounts": ["sub"]}))
    result = rader(*command, code=1)
    assert "Nothing was removed" in result.stderr
    assert json.loads(result.stdout)["removed"] == 0
    if lost == "link":
        (source / "b.txt").unlink()
    else:
        monkeypatch.setattr("os.path.ismount", lambda path: True)
    assert json.loads(rader(*command).stdout)["removed"] == 2


@pytest.mark.parametrize("chunked", [False, True])
def test_a_file_that_holds_no_text_any_more_is_not_taken_for_deleted(
    rader: Rader, tmp_path: Path, chunked: bool
) -> None:
    """A file that an interrupted copy filled with zeros is there: its document stays, and is named."""
    source, out = tmp_path / "notes", tmp_path / "index"
    source.mkdir()
    for name in ("a", "b", "c"):
        (source / f"{name}.txt").write_text(f"text {name}. " * 9)
    command = ("index", "build", source, "--out", out, "--prune", *(("--chunk-size", 40) if chunked else ()))
    before = json.loads(rader(*command, "--json").stdout)["documents"]
    (source / "a.txt").write_bytes(bytes(99))
    (source / "b.txt").unlink()
    done = json.loads(rader(*command, "--json").stdout)
    assert done["removed"] == before // 3, "what is gone is removed"
    assert {name.partition("#")[0] for name in done["kept"]} == {"a.txt"}
    assert "of files that are there, but hold no text now, or rows without ids: a.txt" in " ".join(
        rader(*command).stdout.split()
    )
    (source / "a.txt").unlink()
    assert json.loads(rader(*command, "--json").stdout)["documents"] == before // 3


def test_an_unchanged_source_needs_no_model(rader: Rader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, out = write_rows(tmp_path / "rows.jsonl", {"id": "a", "text": "text"}), tmp_path / "index"
    rader("index", "build", path, "--out", out)
    before = {file: file.stat().st_mtime_ns for file in (out / "vectors").iterdir()}

    def load(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("a model is loaded for nothing")

    monkeypatch.setattr("rader_plugins.encoding.load_encoder", load)
    assert "Nothing to encode" in rader("index", "build", path, "--out", out).stdout
    assert {file: file.stat().st_mtime_ns for file in (out / "vectors").iterdir()} == before


def test_add_delete_info_optimize(rader: Rader, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", *({"id": str(n), "text": f"text {n}"} for n in range(5)))
    out = tmp_path / "index"
    rader("index", "build", path, "--out", out)
    write_rows(path, {"id": "0", "text": "anew"}, {"id": "new", "text": "new"})
    added = json.loads(rader("index", "add", out, path, "--json").stdout)
    assert (added["added"], added["replaced"], added["documents"]) == (1, 1, 6)
    result = rader("index", "delete", out, "1", "nowhere")
    assert "Deleted 1 document; 5 left." in result.stdout
    assert "nowhere" in result.stderr
    (tmp_path / "ids").write_bytes("2\n\n3\n".encode("utf-16"))
    assert json.loads(rader("index", "delete", out, "--ids-file", tmp_path / "ids", "--json").stdout)["deleted"] == 2
    assert json.loads(rader("index", "delete", out, "--ids-file", "-", "--json", input="4\n").stdout)["documents"] == 2
    rader("index", "delete", out, code=2)
    info = json.loads(rader("index", "info", out, "--verify", "--json").stdout)
    assert (info["documents"], info["verified"]) == (2, True)
    assert info["deleted_rows"] > 0
    rader("index", "optimize", out)
    optimized = json.loads(rader("index", "info", out, "--json").stdout)
    assert optimized["deleted_rows"] == 0
    assert "verified" not in optimized
    assert "2" in rader("index", "info", out).stdout
    assert json.loads(rader("index", "optimize", out, "--json").stdout)["documents"] == 2


def test_damaged_vectors_are_told_and_repaired(rader: Rader, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", *({"id": str(n), "text": f"text {n}"} for n in range(5)))
    out = tmp_path / "index"
    rader("index", "build", path, "--out", out)
    [shard] = [file for file in (out / "vectors").iterdir() if file.is_file()]
    content = bytearray(shard.read_bytes())
    content[100] ^= 0xFF
    shard.write_bytes(content)
    result = rader("index", "info", out, "--verify", "--json", code=1)
    assert json.loads(result.stdout)["verified"] is False
    assert "rader index repair" in result.stderr
    assert "rader index repair" in rader("search", out, "text", code=1).stderr
    assert json.loads(rader("index", "repair", out, "--json").stdout)["encoded_again"] == 5
    assert json.loads(rader("index", "info", out, "--verify", "--json").stdout)["verified"] is True
    assert "0 documents encoded again" in rader("index", "repair", out).stdout


@pytest.mark.parametrize(
    "arguments", [("info",), ("optimize",), ("repair",), ("delete", "x"), ("add", "rows.jsonl")], ids=lambda a: a[0]
)
def test_not_an_index(rader: Rader, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    name, *options = arguments
    for folder in (tmp_path, tmp_path / "none"):
        result = rader("index", name, folder, *options, code=2)
        assert "holds no index" in result.stderr
        assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_locked_index_is_a_failure_not_bad_input(rader: Rader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    defaults: Any = RaderIndex.open.__func__.__kwdefaults__  # type: ignore[attr-defined]
    monkeypatch.setitem(defaults, "lock_timeout", 0.1)
    path = write_rows(tmp_path / "rows.jsonl", {"id": "a", "text": "text"})
    out = tmp_path / "index"
    rader("index", "build", path, "--out", out)
    with RaderIndex.open(out) as writer, writer._write_lock.held(0):
        assert "writing" in rader("index", "delete", out, "a", code=1).stderr


def test_model_options_that_do_not_go_together(rader: Rader, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", {"id": "a", "text": "text"})
    build = ("index", "build", path, "--out", tmp_path / "index")
    assert "--recipe" in rader(*build, "--model", "http://localhost:1", code=2).stderr
    url = ("--model", "http://localhost:1", "--recipe", "plain")
    assert "--device" in rader(*build, *url, "--device", "cpu", code=2).stderr
    assert "--served-model" in rader(*build, "--served-model", "x", code=2).stderr
    assert "no registered recipe" in rader(*build, "--model", "nonesuch", code=2).stderr
    assert not (tmp_path / "index").exists()


def test_delete_by_filter(rader: Rader, tmp_path: Path) -> None:
    rows = ({"id": str(n), "text": f"text {n}", "source": "old" if n % 2 else "new"} for n in range(6))
    out = tmp_path / "index"
    rader("index", "build", write_rows(tmp_path / "rows.jsonl", *rows), "--out", out)
    with_ids = rader("index", "delete", out, "0", "1", "--filter", '{"source": "old"}', "--json").stdout
    assert json.loads(with_ids) == {"deleted": 1, "missing": [], "documents": 5}
    assert json.loads(rader("index", "delete", out, "--filter", '{"source": "old"}', "--json").stdout)["deleted"] == 2
    for wrong in ("[1]", "{", '{"source": {"$near": 1}}'):
        assert "filter" in rader("index", "delete", out, "--filter", wrong, code=2).stderr
    (tmp_path / "empty").touch()
    rader("index", "delete", out, "--ids-file", tmp_path / "empty", "--filter", '{"source": "new"}', code=2)
    with RaderIndex.open(out) as index:
        assert list(index.ids()) == ["0", "2", "4"]


def test_an_index_without_vectors_is_shown_and_extended(rader: Rader, tmp_path: Path) -> None:
    with RaderIndex.create(tmp_path / "index", None) as index:
        index.add([Document("a", "six people")])
    for arguments in (
        ("info",),
        ("add", write_rows(tmp_path / "b.jsonl", {"id": "b", "text": "pigeon"})),
        ("optimize",),
    ):
        output = rader("index", arguments[0], tmp_path / "index", *arguments[1:]).stdout
        assert "None" not in output
    assert "none: searched by words alone" in rader("index", "info", tmp_path / "index").stdout
    assert json.loads(rader("search", tmp_path / "index", "pigeon", "--mode", "bm25", "--json").stdout)[0]["id"] == "b"


def test_folders_are_meant_as_a_shell_would_have_written_them(
    rader: Rader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("TEXTS", "texts")
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "texts.jsonl", {"id": "a", "text": "six people"})
    for _ in range(2):
        rader("index", "build", "~/${TEXTS}.jsonl", "--out=~/index")
    rader("index", "add", "~/index", "$TEXTS.jsonl")
    assert rader("index", "info", "~/index").stdout.split()[1] == str(tmp_path / "index")
    assert {path.name for path in tmp_path.iterdir()} == {"texts.jsonl", "index"}


def test_a_url_of_no_engine_is_refused_and_its_password_is_not_repeated(
    rader: Rader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url, rows = "engine://me:secret@host/name", write_rows(tmp_path / "rows.jsonl", {"id": "a", "text": "a"})
    for arguments in (("index", "info", url), ("search", url, "a"), ("index", "build", rows, "--out", url)):
        error = rader(*arguments, code=2).stderr
        assert "No engine is known for URLs that begin with engine://" in error
        assert "secret" not in error
    assert list(tmp_path.iterdir()) == [rows]


def test_what_the_system_refuses_is_told_in_a_short_line(rader: Rader, tmp_path: Path) -> None:
    for arguments in (("index", "info", "x" * 5000), ("index", "build", "x" * 5000, "--out", tmp_path / "index")):
        error = rader(*arguments, code=2).stderr
        assert "too long" in error
        assert len(error) < 300
        assert "Errno" not in error
    RaderIndex.create(tmp_path / "index", None).close()
    error = rader("index", "delete", tmp_path / "index", "--ids-file", tmp_path / "none", code=1).stderr
    assert error == f"Error: '{tmp_path / 'none'}': No such file or directory.\n"


def test_options_about_files_are_refused_where_there_are_none(rader: Rader, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", {"text": "a"})
    for options in (("--jobs", 2), ("--file-timeout", 9), ("--check-content",)):
        result = rader("index", "build", path, "--out", tmp_path / "index", *options, code=2)
        assert f"{options[0]} is about a folder of files" in result.stderr
    assert "no CSV or TSV" in rader("index", "build", path, "--out", tmp_path / "i", "--rows", "a", code=2).stderr
    assert "goes with --rows" in rader("index", "build", path, "--out", tmp_path / "i", "--row-id", "a", code=2).stderr


@pytest.mark.parametrize("seconds", ["nan", "inf", "1e300", "0", "-1"])
def test_a_time_that_no_clock_can_measure_is_refused(rader: Rader, tmp_path: Path, seconds: str) -> None:
    (tmp_path / "a.html").write_text("<p>hello</p>")
    command = ("index", "build", tmp_path / "a.html", "--out", tmp_path / "index", "--file-timeout", seconds)
    assert "'--file-timeout'" in rader(*command, code=2).stderr
    assert not (tmp_path / "index").exists()


def test_rows_of_tables_are_remembered_and_cited(rader: Rader, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "faq.csv").write_text(
        "q,a,year\nWhere do pigeons live?,In holes,1999\nLeave?,Ten weeks,2001\n"
    )
    command = ("index", "build", tmp_path / "notes", "--out", tmp_path / "index", "--prune")
    assert json.loads(rader(*command, "--rows", "q,a", "--json").stdout)["documents"] == 2
    done = json.loads(rader(*command, "--json").stdout)
    assert (done["unchanged"], done["documents"]) == (2, 2)
    filter = '{"year": {"$gte": 2000}}'
    shown = rader("search", tmp_path / "index", "how long is leave", "--explain", "--filter", filter).stdout
    assert "faq.csv, row 2" in shown
    assert "faq.csv, row 1" not in shown
    wrong = rader("index", "build", tmp_path / "notes", "--out", tmp_path / "new", "--model", "nonesuch", code=2)
    assert "nonesuch" in wrong.stderr
    assert not (tmp_path / "new").exists(), "nothing of the reading stays behind"
