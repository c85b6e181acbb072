from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rader_plugins import Document, RaderIndex, RaderRetriever
from rader_plugins.cli import search as search_module
from rader_plugins.reranking import Reranker
from rader_plugins.reranking.base import reordered
from tests.rader_plugins.cli.conftest import Rader, write_rows
from tests.support.llm_server import LLMServer

QUESTION = "How many guests make sure that two of them were born in the same month?"


@pytest.mark.parametrize("mode", ["hybrid", "dense", "bm25"])
def test_json_is_what_the_library_finds(rader: Rader, built: Path, mini_encoder: Any, mode: Any) -> None:
    alpha = ("--alpha", 0.5) if mode == "hybrid" else ()
    printed = json.loads(rader("search", built, QUESTION, "-k", 4, "--mode", mode, *alpha, "--json").stdout)
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
    assert printed == expected
    assert len(printed) == 4


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
    output = rader("search", tmp_path / "index", "words").stdout
    assert "\x1b" not in output
    assert "\x07" not in output
    assert "wide 漢字" in output
    assert len(output.splitlines()) == 2, "one line a hit"
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
    excluding = rader(
        "search", built, QUESTION, "-k", 40, "--filter", condition, "--exclude", first, "--exclude", second, "--json"
    )
    assert {hit["id"] for hit in json.loads(excluding.stdout)} == {hit["id"] for hit in hits} - {first, second}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_queries_from_the_standard_input(
    rader: Rader, built: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    monkeypatch.setattr(search_module, "_BATCH", 2)
    queries = "double counting\n\n  stars and bars  \npigeons\n".encode(encoding)
    result = rader("search", built, "-", "-k", 2, "--json", input=queries)
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["query"] for row in rows] == ["double counting", "stars and bars", "pigeons"]
    assert [row["hits"][0]["id"] for row in rows[:2]] == ["double-counting", "stars-and-bars"]
    single = json.loads(rader("search", built, "stars and bars", "-k", 2, "--json").stdout)
    assert [hit["id"] for hit in rows[1]["hits"]] == [hit["id"] for hit in single]
    text = rader("search", built, "-", "-k", 1, input=queries).stdout
    assert [line for line in text.splitlines() if line.startswith("> ")] == [
        "> double counting",
        "> stars and bars",
        "> pigeons",
    ]
    for nothing in ("", "\n \n"):
        result = rader("search", built, "-", "--json", input=nothing, code=2)
        assert result.stdout == ""
        assert "No query came on the standard input" in result.stderr


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


# What is shown of hits


def _notes(tmp_path: Path) -> Path:
    (tmp_path / "notes").mkdir()
    leave = "---\ntitle: Leave\n---\n\n# Leave\n\nParents may stay at home for ten weeks.\n\n"
    (tmp_path / "notes" / "leave.md").write_text(leave + "Weeks are counted from the birth of the child.\n")
    rooms = "\n\n".join(f"Room {number} holds {number} chairs and a projector." for number in range(1, 9))
    (tmp_path / "notes" / "rooms.md").write_text(f"# Rooms\n\n{rooms}\n")
    return tmp_path / "notes"


def test_the_passage_that_matches_is_shown_and_not_front_matter(rader: Rader, tmp_path: Path) -> None:
    rader("index", "build", _notes(tmp_path), "--out", tmp_path / "index")
    search = ("search", tmp_path / "index")
    output = rader(*search, "birth", "--mode", "bm25").stdout
    assert "from the birth of the child" in output
    assert "---" not in output
    output = rader(*search, "zebra", "--mode", "dense").stdout
    assert "# Leave" in output
    assert "---" not in output
    [first, *_] = json.loads(rader(*search, "birth", "--mode", "bm25", "--json", "--explain").stdout)
    assert first["passage"]["line"] == 9
    assert first["passage"]["terms"] == ["birth"]


def test_terms_are_called_by_their_words(rader: Rader, tmp_path: Path) -> None:
    rader("index", "build", _notes(tmp_path), "--out", tmp_path / "index")
    search = ("search", tmp_path / "index", "What is Today's parental leave?", "--mode", "bm25", "--explain")
    lines = {line.split()[0]: line for line in rader(*search).stdout.splitlines() if line.strip()}
    assert "Leave " in lines["terms"]
    assert "leav " not in lines["terms"]
    assert "Today" in lines["not"]
    assert "todai" not in lines["not"]


def test_an_index_of_words_alone_names_the_mode(rader: Rader, tmp_path: Path) -> None:
    with RaderIndex.create(tmp_path / "index", encoder=None) as index:
        index.add([Document("a", "The lamp blinks red.")])
    assert "search it with --mode bm25" in rader("search", tmp_path / "index", "lamp", code=2).stderr
    assert "a" in rader("search", tmp_path / "index", "lamp", "--mode", "bm25", "--ids").stdout


def test_explanations_are_shown(rader: Rader, tmp_path: Path) -> None:
    rader("index", "build", _notes(tmp_path), "--out", tmp_path / "index")
    lines = rader("search", tmp_path / "index", "weeks of zebras", "--explain").stdout.splitlines()
    assert lines[0].startswith("1. leave.md")
    assert "line " in lines[0]
    for heading in ("dense", "bm25", "fused", "terms", "not in it"):
        assert any(line.split("  ")[1].strip() == heading for line in lines if line.startswith("   ")), heading
    [hit, _] = json.loads(rader("search", tmp_path / "index", "weeks of zebras", "--explain", "--json").stdout)
    assert hit["explanation"]["missing"] == ["zebra"]
    assert hit["explanation"]["missing_words"] == ["zebras"]
    assert sum(entry["share"] for entry in hit["explanation"]["lists"].values()) == pytest.approx(hit["score"])


def test_groups_and_neighbours(rader: Rader, tmp_path: Path) -> None:
    rader("index", "build", _notes(tmp_path), "--out", tmp_path / "index", "--chunk-size", 60)
    search = ("search", tmp_path / "index", "chairs and a projector", "--mode", "bm25", "--json")
    chunks = json.loads(rader(*search, "-k", 20).stdout)
    assert len(chunks) > 2
    [grouped] = json.loads(rader(*search, "--group", "-k", 2).stdout)
    assert grouped["id"] == chunks[0]["id"]
    assert [chunk_hit["id"] for chunk_hit in grouped["folded"]] == [chunk["id"] for chunk in chunks[1:]]
    middle = next(chunk for chunk in chunks if chunk["metadata"]["chunk"] == 3)
    query = middle["text"]
    [hit, *_] = json.loads(rader("search", tmp_path / "index", query, "--context", 2, "--json").stdout)
    by_number = {chunk["metadata"]["chunk"]: chunk["text"] for chunk in chunks}
    number = hit["metadata"]["chunk"]
    assert hit["context"]["after"][0] == by_number[number + 1]
    assert hit["context"]["before"][-1] == by_number[number - 1]
    text = (tmp_path / "notes" / "rooms.md").read_text()
    line = text[: text.index(hit["text"])].count("\n") + 1
    assert hit["metadata"]["chunk_line"] == line


def test_forms_for_pipes(rader: Rader, built: Path) -> None:
    hits = json.loads(rader("search", built, QUESTION, "-k", 3, "--json").stdout)
    lines = rader("search", built, QUESTION, "-k", 3, "--jsonl").stdout.splitlines()
    assert [json.loads(line) for line in lines] == hits
    assert rader("search", built, QUESTION, "-k", 3, "--ids").stdout.split() == [hit["id"] for hit in hits]
    many = rader("search", built, "-", "-k", 1, "--ids", input="graph\nstars and bars\n").stdout.splitlines()
    assert [line.split("\t")[0] for line in many] == ["1", "2"]
    [line] = rader("search", built, "-", "-k", 1, "--jsonl", input="graph\n").stdout.splitlines()
    assert json.loads(line)["query"] == "graph"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json", "--ids"], "choose one"),
        (["--ids", "--explain"], "no effect"),
        (["--rerank-top", "3"], "goes with --rerank"),
        (["--reasoning"], "--llm-url"),
        (["--mode", "dense", "--alpha", "0.5"], "no effect"),
        (["--mode", "bm25", "--instruction", "Find"], "no effect"),
        (["--mode", "bm25", "--model", "mini"], "no effect"),
        (["--mode", "bm25", "--device", "cpu"], "no effect"),
        (["--llm-url", "http://127.0.0.1:1/v1"], "add --reasoning"),
    ],
)
def test_options_of_hits_without_effect_are_refused(
    rader: Rader, built: Path, arguments: list[str], message: str
) -> None:
    assert message in rader("search", built, "graph", *arguments, code=2).stderr


class Backwards(Reranker):
    def rerank_batch(self, queries: Any, hits: Any) -> Any:
        stages = [[{"rerank": float(position)} for position in range(len(ranking))] for ranking in hits]
        return [
            reordered(ranking, [stage["rerank"] for stage in own], own)
            for ranking, own in zip(hits, stages, strict=True)
        ]


def test_reranker_and_reasoning(rader: Rader, built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import rader_plugins.reranking as reranking

    monkeypatch.setattr(reranking, "load_reranker", lambda name, **options: Backwards())
    plain = json.loads(rader("search", built, "graph", "-k", 4, "--json").stdout)
    command = ("search", built, "graph", "-k", 2, "--rerank", "some", "--rerank-top", 4)
    reranked = json.loads(rader(*command, "--json", "--explain").stdout)
    assert [hit["id"] for hit in reranked] == [hit["id"] for hit in plain[:1:-1]]
    assert [hit["explanation"]["first_stage_rank"] for hit in reranked] == [4, 3]
    assert "up from rank 4 to 1" in rader(*command, "--explain").stdout
    with LLMServer("stars and bars") as server:
        options = ("--reasoning", "--llm-url", server.url, "--mode", "bm25", "--explain", "--json")
        [hit, *_] = json.loads(rader("search", built, "zzzz", *options).stdout)
    assert hit["id"] == "stars-and-bars"
    assert "stars and bars" in hit["explanation"]["query"]
