"""The page that shows trees and trajectories."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from rader_synthesis.explorer import read_source, write_page
from rader_synthesis.paths import trajectories
from rader_synthesis.tree import Tree
from typer.testing import CliRunner

from rader_plugins.cli import build_app
from rader_plugins.errors import InputError
from rader_plugins.files import write_jsonl
from rader_plugins.trajectories import Considered, Step, Trajectory, write_trajectories

from .grown import grown

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Page(HTMLParser):
    """The elements of a page, and the data in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.data: dict[str, Any] = {}
        self.texts: dict[str, str] = {}
        self.inside = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        attributes = self.elements[-1][1] if self.inside else {}
        if attributes.get("type") == "application/json":
            self.data[str(attributes["id"])] = json.loads(data)
        else:
            self.texts[self.inside] = self.texts.get(self.inside, "") + data


def tree_of(id: str = "p", question: str = "1 + 1?", reason: str = "It helps.") -> Tree:
    """A query that kept one document and refused another, and two solutions; the right one was visited twice."""
    tree = Tree.start(id, question, "2")
    candidates = (
        Considered("d1", "Text of d1.", 0.9, True, reason, "reflection"),
        Considered("d2", "Text of d2.", 0.8, False, "Of no use.", "reflection"),
    )
    query = tree.add(0, "qg", "addition", considered=candidates)
    rewrite = tree.add(query.id, "rt", "One plus one.", document_id="d1")
    right = tree.add(rewrite.id, "crs", "So 2.", terminal=True, answer="2", reward=1.0, answers=("2", "3", None, "2"))
    wrong = tree.add(0, "crs", "So 3.", terminal=True, answer="3", reward=0.0)
    for leaf in (right, wrong, right):
        tree.record(leaf, leaf.id)
    return tree


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run of two problems, and a third that failed."""
    folder = tmp_path / "run"
    folder.mkdir()
    write_jsonl(folder / "trees.jsonl", [tree_of().row(), grown("q", 1, odds=0.0).row()])
    rows = [{"id": "p", "status": "solved"}, {"id": "r", "status": "failed", "reason": "The server was down."}]
    write_jsonl(folder / "problems.jsonl", rows)
    (folder / "config.json").write_text(json.dumps({"settings": {"search": {"exploration": 1.5}}}))
    return folder


def test_what_a_page_holds(run: Path, tmp_path: Path) -> None:
    report = write_page(run, tmp_path / "page.html")
    assert (report.problems, report.statuses) == (3, {"failed": 1, "solved": 1, "unsolved": 1})
    page = Page(tmp_path / "page.html")
    index = page.data["index"]
    assert (index["exploration"], index["left_out"]) == (1.5, 0)
    first, second, third = index["problems"]
    assert first == {
        "id": "p", "question": "1 + 1?", "gold": "2", "status": "solved", "right": 2, "runs": 3, "searches": 1,
        "kept": 1, "rejected": 1, "fit": 1, "unjudged": 0,
    }  # fmt: skip
    assert (second["id"], second["right"], second["runs"]) == ("q", 0, 16)
    assert third["reason"] == "The server was down."
    nodes = page.data["p0"]["nodes"]
    assert [(node["kind"], node["parent"], node["n"], node["q"]) for node in nodes] == [
        ("root", None, 3, 2.0), ("qg", 0, 2, 2.0), ("rt", 1, 2, 2.0), ("crs", 2, 2, 2.0), ("crs", 0, 1, 0.0)
    ]  # fmt: skip
    documents = page.data["documents"]
    assert nodes[1]["considered"] == [
        [0, 0.9, True, "It helps.", "reflection"], [1, 0.8, False, "Of no use.", "reflection"]
    ]  # fmt: skip
    assert documents[:2] == [["d1", "", "Text of d1."], ["d2", "", "Text of d2."]]
    assert documents[nodes[2]["document"]][0] == "d1"
    assert nodes[3]["answers"] == ["2", "3", None, "2"]
    assert page.data["p2"] == {"paths": []}


def test_documents_stand_in_a_page_once(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "trees.jsonl", [tree_of(f"p{number}").row() for number in range(50)])
    write_page(tmp_path / "trees.jsonl", tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().count("Text of d1.") == 1


def test_nothing_is_loaded_and_nothing_else_may_run(run: Path, tmp_path: Path) -> None:
    write_page(run, tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    assert not [attributes for _, attributes in page.elements if {"src", "href", "style"} & set(attributes)]
    (policy,) = (attributes["content"] for tag, attributes in page.elements if attributes.get("http-equiv") is not None)
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    for tag in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.texts[tag].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in policy
    assert "unsafe" not in policy
    outside = r"https?://|@import|url\(|innerHTML|insertAdjacent|document\.write|eval\("
    assert not re.search(outside, page.texts["script"] + page.texts["style"])


HOSTILE = (
    "</script><script>document.title='broken'</script><img src={url}/img onerror=document.title='broken'>"
    "<!--<b>\u2028&amp; 'x\""
)


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """A server, and what it was asked for."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_error(404)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", paths
    server.shutdown()
    server.server_close()


def dom(page: Path, tmp_path: Path, fragment: str = "") -> str:
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [str(BROWSER), *options, "--dump-dom", page.as_uri() + fragment], capture_output=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.decode("utf-8")


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
@pytest.mark.slow
def test_a_browser_shows_the_way_to_the_answer(run: Path, tmp_path: Path) -> None:
    write_page(run, tmp_path / "page.html")
    page_text = dom(tmp_path / "page.html", tmp_path)
    rows = re.findall(r'<div class="row( path)?( unvisited)?" role="treeitem" data-node="(\d+)"', page_text)
    assert [int(node) for path, _, node in rows if path] == [0, 1, 2, 3]
    assert [int(node) for path, _, node in rows if not path] == [4]
    assert re.search(r'aria-level="4"[^>]* aria-selected="true"', page_text)
    assert "<b>d2</b>  Of no use." in page_text  # the document that reflection rejected, in its place
    assert '<div class="row ghost no">' in page_text
    assert page_text.count('data-at="') == 3
    assert "1.00 + 0.88 = 1.88" in page_text  # UCT of the leaf: 2 / 2 + 1.5 sqrt(ln 2 / 2), c as in the run
    unread = tree_of("u")
    unread.nodes[1].considered = (replace(unread.nodes[1].considered[1], relevant=None, reason="Unreadable"),)
    write_jsonl(tmp_path / "u.jsonl", [unread.row()])
    write_page(tmp_path / "u.jsonl", tmp_path / "u.html")
    assert '<div class="row ghost">' in dom(tmp_path / "u.html", tmp_path)  # left out, but not rejected
    query = dom(tmp_path / "page.html", tmp_path, "#problem=p&node=1")
    assert "What the search brought: 1 kept, 1 rejected" in query
    assert query.count('class="card') == 2
    assert "It helps." in query


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
@pytest.mark.slow
def test_hostile_text_is_inert_among_hundreds_of_problems(tmp_path: Path, listener: tuple[str, list[str]]) -> None:
    url, requested = listener
    hostile = HOSTILE.format(url=url)
    folder = tmp_path / "<b>run"
    folder.mkdir()
    evil = tree_of(hostile, question=hostile, reason=hostile)
    evil.nodes[1].text = evil.nodes[2].text = hostile
    write_jsonl(
        folder / "trees.jsonl", [evil.row(), *(grown(f"g{number}", number, rollouts=4).row() for number in range(300))]
    )
    page = tmp_path / "page.html"
    assert write_page(folder, page).problems == 301
    assert Page(page).data["index"]["problems"][0]["question"] == hostile
    page_text = dom(page, tmp_path, "#node=1")
    assert "<title>Trajectories: &lt;b&gt;run</title>" in page_text
    assert "<img" not in re.sub(r"<script.*?</script>", "", page_text, flags=re.DOTALL)
    assert html.escape(hostile, quote=False).replace("\u2028", " ")[:60] in page_text
    assert page_text.count('data-at="') == 301
    # Even what got into the page as markup would neither run nor load anything.
    source = page.read_text(encoding="utf-8").replace(
        "<noscript>", hostile.removeprefix("</script>") + "--><noscript>", 1
    )
    page.write_text(source, encoding="utf-8")
    assert "<title>Trajectories: &lt;b&gt;run</title>" in dom(page, tmp_path)
    assert requested == []
    page.write_text(re.sub("<meta http-equiv[^>]*>", "", source), encoding="utf-8")  # this test can fail
    assert "<title>broken</title>" in dom(page, tmp_path)
    assert requested == ["/img"]


def test_odd_texts_survive(tmp_path: Path) -> None:
    row = tree_of(question="caf\u00e9 \u6570 \U0001d49c").row()
    row["nodes"][1]["text"] = "half \ud83d"
    (tmp_path / "trees.jsonl").write_text(json.dumps(row) + "\n")
    write_page(tmp_path / "trees.jsonl", tmp_path / "page.html")
    data = Page(tmp_path / "page.html").data
    assert data["index"]["problems"][0]["question"] == "caf\u00e9 \u6570 \U0001d49c"
    assert data["p0"]["nodes"][1]["text"] == "half \ud83d"


def test_a_run_that_has_not_ended(run: Path, tmp_path: Path) -> None:
    (run / "trees.jsonl").unlink()
    lines = [
        {"id": "p", "problem": "f", "failed": "Once.", "tree": None},
        {"id": "r", "problem": "f", "failed": "Down.", "tree": None},
        {"id": "p", "problem": "f", "failed": "", "tree": tree_of().row()},
    ]
    torn = json.dumps({"id": "z", "tree": None})[:9]
    (run / "finished.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + torn)
    report = write_page(run, tmp_path / "page.html")
    assert report.statuses == {"failed": 1, "solved": 1}


def answered(id: str, problem: str, reward: float | None) -> Trajectory:
    candidates = (Considered("d", "t", 1.0, True, "good", "human"), Considered("e", "u", None, None))
    steps = (Step("query", "q"), Step("retrieval", "t", "d", candidates), Step("thought", "so"), Step("answer", "a"))
    return Trajectory(id, problem, f"What is {problem}?", steps, "a", None, reward, "langchain")


def test_trajectories_by_problem(tmp_path: Path) -> None:
    paths = [answered("1", "x", None), answered("2", "y", 0.0), answered("3", "x", None), answered("4", "y", 1.0)]
    write_trajectories(tmp_path / "t.jsonl", paths)
    report = write_page(tmp_path / "t.jsonl", tmp_path / "page.html")
    assert report.statuses == {"solved": 1, "unknown": 1}
    data = Page(tmp_path / "page.html").data
    assert [path["id"] for path in data["p0"]["paths"]] == ["1", "3"]
    assert data["p1"]["paths"][1]["steps"][1] == {
        "kind": "retrieval", "text": "t", "id": "d",
        "considered": [[0, 1.0, True, "good", "human"], [1, None, None, "", ""]],
    }  # fmt: skip
    write_page(tmp_path / "t.jsonl", tmp_path / "page.html", problems=["y"])
    assert [problem["id"] for problem in Page(tmp_path / "page.html").data["index"]["problems"]] == ["y"]
    assert write_page(tmp_path / "t.jsonl", tmp_path / "page.html", most=1).left_out == 1


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
@pytest.mark.slow
def test_a_browser_shows_trajectories(tmp_path: Path) -> None:
    write_trajectories(tmp_path / "t.jsonl", [answered("1", "x", 1.0), answered("2", "x", 0.5)])
    write_page(tmp_path / "t.jsonl", tmp_path / "page.html")
    page_text = dom(tmp_path / "page.html", tmp_path)
    assert page_text.count('<details class="trajectory"') == 2
    assert page_text.count('class="steps"') == 1  # the second is made when it is opened
    assert re.findall(r'<li><span class="tag (\w+)"', page_text) == ["query", "retrieval", "thought", "answer"]
    assert "by human" in page_text
    assert "reward 0.50" in page_text


def test_what_cannot_be_shown(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    (tmp_path / "other.jsonl").write_text('{"schema": "rader-sample/1"}\n')
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "folder").mkdir()
    wrong = {"other.jsonl": "rader import", "empty.jsonl": "empty", "folder": "no folder of a run", "gone": "not exist"}
    for name, words in wrong.items():
        with pytest.raises(InputError, match=words):
            write_page(tmp_path / name, out)
    with pytest.raises(InputError, match="no problem 'z'"):
        write_page(run, out, problems=["p", "z"])
    (run / "trees.jsonl").write_text('{"schema": "rader-tree/1", "problem_id": "p"}\n')
    with pytest.raises(InputError, match="row 1 is damaged"):
        write_page(run, out)
    assert not out.exists()


def rader(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(build_app(), ["trajectories", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.slow
def test_commands(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "new" / "page.html"
    assert "3 problems (1 failed, 1 solved, 1 unsolved)" in rader("show", run, "--out", page)
    summary = json.loads(rader("show", run, "--out", page, "--problem", "p", "--json"))
    assert (summary["problems"], summary["statuses"], summary["bytes"]) == (1, {"solved": 1}, page.stat().st_size)
    assert "no problem 'z'" in rader("show", run, "--out", page, "--problem", "z", code=2)
    write_jsonl(tmp_path / "one.jsonl", [tree_of().row()])
    assert json.loads(rader("info", tmp_path / "one.jsonl", "--json")) == {
        "kind": "trees",
        "problems": {"solved": 1},
        "rollouts": {"right": 2, "wrong": 1},
        "sources": {},
        "nodes": {"root": 1, "qg": 1, "rt": 1, "crs": 2},
        "searches": 1,
        "documents": {"relevant": 1, "not relevant": 1},
        "labelled_by": {"reflection": 2},
        "training": 1,
    }
    write_trajectories(tmp_path / "t.jsonl", [*trajectories(tree_of()), answered("a", "x", None)])
    counts = json.loads(rader("info", tmp_path / "t.jsonl", "--json"))
    assert counts["problems"] == {"different": 2}
    assert counts["trajectories"] == {"right": 1, "wrong": 1, "not judged": 1}
    assert counts["sources"] == {"mcts": 2, "langchain": 1}
    assert (counts["searches"], counts["training"]) == (2, 1)
    assert counts["documents"] == {"relevant": 2, "not relevant": 1, "not judged": 1}
    assert "langchain" in rader("info", tmp_path / "t.jsonl")


def test_the_source_of_a_folder_without_a_configuration(run: Path) -> None:
    (run / "config.json").write_text("{")
    assert read_source(run).exploration == 2.0
