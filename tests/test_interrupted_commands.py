"""Ctrl-C in every command that waits for a server: it ends, says what was kept, and how to go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rader_plugins import Document, RaderIndex, load_encoder
from tests.support.http_server import AnsweringServer, HTTPRequest, Reply

pytest.importorskip("pyarrow")

from tests.synthesis.sampling_support import several, write  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="signals of POSIX systems")]
SOLUTION = "First a tree is grown.\nSo the tree is number 1.\nThe answer is 42."
AGAIN = "The same command goes on from there."
COMMANDS = {
    "index build texts --out new --model URL --recipe plain": ("0 documents committed in new", AGAIN),
    "index build texts --out new --model URL --recipe plain --model-option batch_size=1": ("committed in new", AGAIN),
    "index add index texts --model URL": ("1 document committed in index", AGAIN),
    "index repair damaged --model URL": ("run the same command again",),
    "search index tree --model URL": ("run the same command again",),
    "evaluate beir --out scores --index index --model URL --mode dense": ("kept in scores", AGAIN),
    "samples run --out samples --corpus corpus.jsonl --llm-url URL --llm-model m --kinds llm": (
        "No samples were written to samples; the language model's answers are kept in samples.calls.sqlite",
        AGAIN,
    ),
    "samples run --out samples --index index --model URL --kinds cot": (
        "No samples were written to samples",
        "Run the same command again",
    ),
    "import solutions solved.jsonl --out t.jsonl --index index --mode bm25 --label reflection --llm-url URL "
    "--llm-model m": ("No trajectories were written to t.jsonl", "--llm-cache FILE would keep the model's answers"),
    "import solutions solved.jsonl --out t.jsonl --index index --mode bm25 --label reflection --llm-url URL "
    "--llm-model m --llm-cache calls": ("the model's answers are kept in calls", AGAIN),
    "synthesize problems.jsonl --out tree --index index --mode bm25 --llm-url URL --llm-model m": (
        "kept in tree",
        AGAIN,
    ),
}


class Silent:
    """A server of embeddings and answers that says nothing more from a moment on."""

    def __init__(self) -> None:
        self.asked, self.over = threading.Event(), threading.Event()
        self.silent = False

    def __call__(self, request: HTTPRequest) -> Reply:
        if request.method == "GET":
            return Reply({"data": [{"id": "m"}]})
        texts = request.body.get("input", [])
        if self.silent and (len(texts) != 1 or "tree" in texts[0]):  # not that for the dimension
            self.asked.set()
            self.over.wait(60)
        return Reply({"data": [{"index": n, "embedding": [1.0, len(text)]} for n, text in enumerate(texts)]})


@pytest.fixture
def silent() -> Iterator[tuple[Silent, str]]:
    answer = Silent()
    with AnsweringServer(answer) as server:
        yield answer, server.url
        answer.over.set()


def fill(folder: Path, url: str) -> None:
    rows = [{"_id": f"d{n}", "text": f"tree number {n}"} for n in range(3)]
    (folder / "texts").mkdir()
    (folder / "beir" / "qrels").mkdir(parents=True)
    for number in range(3):
        (folder / "texts" / f"{number}.txt").write_text(f"tree number {number}")
    for path, content in (
        ("corpus.jsonl", rows),
        ("beir/corpus.jsonl", rows),
        ("beir/queries.jsonl", [{"_id": f"q{n}", "text": f"which tree {n}"} for n in range(3)]),
        ("problems.jsonl", [{"id": "p", "question": "q", "answer": "8"}]),
        (
            "solved.jsonl",
            [
                {
                    "question": "which tree is six?",
                    "solution": "First a tree is grown.\\nSo the tree is number 1.\\nThe answer is 42.",
                    "answer": "42",
                }
            ],
        ),
    ):
        (folder / path).write_text("".join(json.dumps(row) + "\n" for row in content))
    (folder / "beir" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\n")
    write(folder / "run", several(3))
    for name in ("index", "damaged"):
        with RaderIndex.create(folder / name, load_encoder(url, recipe="plain", model="m")) as index:
            index.add([Document("d1", "tree number 1")])
    file = next((folder / "damaged" / "vectors").iterdir())
    file.write_bytes(bytes(file.stat().st_size))


@pytest.mark.parametrize("line", COMMANDS)
def test_ctrl_c(line: str, silent: tuple[Silent, str], tmp_path: Path) -> None:
    if line.startswith("evaluate"):
        pytest.importorskip("ir_measures")
    answer, url = silent
    fill(tmp_path, url)
    answer.silent = True
    process = subprocess.Popen(
        [sys.executable, "-c", "from rader_plugins.cli import main; main()", *line.replace("URL", url).split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HF_HUB_OFFLINE": "1"},
        stderr=subprocess.PIPE,
        text=True,
        # However this test was started: a shell lets its background jobs ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        while not answer.asked.wait(0.1):
            assert process.poll() is None, process.communicate()[1]
        process.send_signal(signal.SIGINT)
        error = process.communicate(timeout=30)[1]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, error
    assert len(error.strip().splitlines()) == 1, error
    assert error.startswith("Interrupted")
    for words in COMMANDS[line]:
        assert words in error
