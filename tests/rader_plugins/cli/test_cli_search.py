from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rader_plugins import RaderIndex, RaderRetriever
from rader_plugins.cli import search as search_module
from tests.rader_plugins.cli.conftest import Rader, write_rows

QUESTION = "How many guests make sure that two of them were born in the same month?"


@pytest.mark.parametrize("mode", ["hybrid", "dense", "bm25"])
def test_json_is_what_the_library_finds(rader: Rader, built: Path, mini_encoder: Any, mode: Any) -> None:
    shown = json.loads(rader("search", built, QUESTION, "-k", 4, "--mode", mode, "--alpha", 0.5, "--json").stdout)
    with RaderIndex.open(built, mini_encoder) as index:
        hits = RaderRetriever(index, mode=mode, alpha=0.5).search(QUESTION, k=4)
        expected = [
            {
                "id": hit.document.id,
                "score": hit.score,
                "rank": hit.rank,
                "scores": dict(hit.scores),
                "text": hit.document.text,
                "metadata": dict(hit.document.metadata),
            }
            for hit in hits
        ]
    assert shown == expected
    assert len(shown) == 4


def test_table(rader: Rader, built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    lines = rader("search", built, QUESTION, "-k", 3).stdout.splitlines()
    assert lines[0].split() == ["rank", "score", "dense", "bm25", "id", "text"]
    assert [line.split()[0] for line in lines[1:]] == ["1", "2", "3"]
    assert all(len(line) <= 90 for line in lines)
    assert "\x1b" not in "".join(lines)
    lines = rader("search", built, QUESTION, "-k", 3, "--mode", "dense").stdout.splitlines()
    assert lines[0].split() == ["rank", "score", "id", "text"]


def test_documents_cannot_write_to_the_terminal(rader: Rader, tmp_path: Path) -> None:
    path = write_rows(
        tmp_path / "rows.jsonl", {"id": "an\x1b[31mid", "text": "\n\nwide 漢字 \x1b]0;title\x07 words\nnext"}
    )
    rader("index", "build", path, "--out", tmp_path / "index")
    shown = rader("search", tmp_path / "index", "words").stdout
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "wide 漢字" in shown
    assert "next" not in shown
    [hit] = json.loads(rader("search", tmp_path / "index", "words", "--json").stdout)
    assert hit["id"] == "an\x1b[31mid"


def test_long_ids_leave_the_text_a_line(rader: Rader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    path = write_rows(tmp_path / "rows.jsonl", {"id": "long/" * 14, "text": "the words of it"})
    rader("index", "build", path, "--out", tmp_path / "index")
    lines = rader("search", tmp_path / "index", "words", "--mode", "bm25").stdout.splitlines()
    assert lines[1].endswith("long/" * 14)
    assert lines[2].strip() == "the words of it"


def test_no_hits_is_no_error(rader: Rader, built: Path) -> None:
    result = rader("search", built, "zzzz", "--mode", "bm25")
    assert (result.stdout, result.stderr) == ("", "No hits.\n")
    assert json.loads(rader("search", built, "zzzz", "--mode", "bm25", "--json").stdout) == []
    assert json.loads(rader("search", built, "graph", "-k", 0, "--json").stdout) == []


def test_filter_and_exclude(rader: Rader, built: Path) -> None:
    condition = json.dumps({"kind": {"$in": ["principle"]}})
    hits = json.loads(rader("search", built, QUESTION, "-k", 40, "--filter", condition, "--json").stdout)
    assert hits
    assert {hit["metadata"]["kind"] for hit in hits} == {"principle"}
    first, second = hits[0]["id"], hits[1]["id"]
    rest = rader(
        "search", built, QUESTION, "-k", 40, "--filter", condition, "--exclude", first, "--exclude", second, "--json"
    )
    assert {hit["id"] for hit in json.loads(rest.stdout)} == {hit["id"] for hit in hits} - {first, second}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_queries_from_the_standard_input(
    rader: Rader, built: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    monkeypatch.setattr(search_module, "_BATCH", 2)
    given = "double counting\n\n  stars and bars  \npigeons\n".encode(encoding)
    result = rader("search", built, "-", "-k", 2, "--json", input=given)
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["query"] for row in found] == ["double counting", "stars and bars", "pigeons"]
    assert [row["hits"][0]["id"] for row in found[:2]] == ["double-counting", "stars-and-bars"]
    single = json.loads(rader("search", built, "stars and bars", "-k", 2, "--json").stdout)
    assert [hit["id"] for hit in found[1]["hits"]] == [hit["id"] for hit in single]
    text = rader("search", built, "-", "-k", 1, input=given).stdout
    assert [line for line in text.splitlines() if line.startswith("> ")] == [
        "> double counting",
        "> stars and bars",
        "> pigeons",
    ]
    assert rader("search", built, "-", "--json", input="").stdout == ""


def test_queries_that_are_not_utf8_are_not_searched_for_with_holes(rader: Rader, built: Path) -> None:
    result = rader("search", built, "-", "-k", 1, input="one\nna\u00efve caf\u00e9\n".encode("cp1252"), code=2)
    assert "line 2" in result.stderr
    assert "WINDOWS-1252" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--filter", "{bad"], "--filter is not JSON"),
        (["--filter", "[1]"], "--filter must be a JSON object"),
        (["--filter", '{"a": {"$foo": 1}}'], "$foo"),
        (["--instruction", "bright:none"], "no split 'none'"),
        (["--instruction", "bright:biology"], "takes no instruction"),
        (["--alpha", "1.5"], "--alpha"),
        (["-k", "-1"], "-k"),
        (["--mode", "magic"], "--mode"),
        (["--model", "nonesuch"], "nonesuch"),
    ],
)
def test_bad_input_exits_2(rader: Rader, built: Path, arguments: list[str], message: str) -> None:
    result = rader("search", built, "query", *arguments, code=2)
    assert message in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_empty_query_and_no_index_exit_2(rader: Rader, built: Path, tmp_path: Path) -> None:
    assert "empty" in rader("search", built, "  ", code=2).stderr
    assert "holds no index" in rader("search", tmp_path, "query", code=2).stderr
    assert "holds no index" in rader("search", tmp_path / "none", "query", code=2).stderr


def test_instruction_of_bright_reaches_the_recipe(rader: Rader, built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rader_plugins.recipes import BRIGHT_INSTRUCTIONS

    seen: list[str | None] = []
    real = RaderRetriever.search_batch

    def record(self: RaderRetriever, *arguments: Any, **options: Any) -> Any:
        seen.append(options.pop("instruction"))
        return real(self, *arguments, **options)

    monkeypatch.setattr(RaderRetriever, "search_batch", record)
    rader("search", built, "query", "--instruction", "bright:pony")
    rader("search", built, "query", "--instruction", "my own: ")
    assert seen == [BRIGHT_INSTRUCTIONS["pony"], "my own: "]
