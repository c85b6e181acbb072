"""The project's pages, their blocks of Python and their commands, and a folder in which these can run."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"(?P<mark><!-- not run: (?P<reason>[^>]*) -->\n)?```python\n(?P<code>.*?)```", re.DOTALL)
FENCED = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"^    (?:from [\w.]+ import |import \w|class \w+.*:$|def \w+\()", re.MULTILINE)
SERVER = "http://localhost:8000"
TEXTS = {
    "ramsey": "Among any six people three know each other or three do not.",
    "bayes": "Bayes turns a conditional probability around.",
    "php": "More pigeons than holes: two pigeons share a hole.",
}
QUESTION = "How many guests must I invite so that three of them know each other or three do not?"


@dataclass(frozen=True)
class Block:
    """A block of Python.

    Args:
        code: Its text.
        reason: Why it does not run; None if it does.
    """

    code: str
    reason: str | None


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    return [Block(match["code"], match["reason"]) for match in BLOCK.finditer(text_of(page))]


def commands(page: str) -> list[str]:
    """Return the lines that call ``rader``, in blocks of either form, each on one line and without its remark."""
    text = re.sub(r" \\\n\s*", " ", text_of(page))
    lines = re.findall(r"^(?:    )?(?:\$ )?(?:torchrun .* )?(rader [a-z].*)$", _only_blocks(text), re.MULTILINE)
    return [re.sub(r"\s{2,}#.*| # .*", "", line).strip() for line in lines]


def unfenced(page: str) -> str:
    """Return a page without its fenced blocks."""
    return FENCED.sub("", text_of(page))


def _only_blocks(text: str) -> str:
    rest = FENCED.sub("", text).splitlines()
    return "\n".join([*FENCED.findall(text), *(line for line in rest if line.startswith("    "))])


def words(command: str) -> list[str]:
    """Return the words of a command or of its synopsis, ``[--option VALUE]`` as if it stood there."""
    return shlex.split(command if "'" in command else re.sub(r"[\[\]|]|\.\.\.", " ", command))


def write_world(folder: Path) -> None:
    """Write what pages speak of: an index, a benchmark, problems, runs, trajectories and models."""
    from rader_plugins import Document, RaderIndex, load_encoder
    from tests.support.tiny_models import tiny_qwen2
    from tests.support.tiny_rerankers import tiny_cross_encoder

    with RaderIndex.create(folder / "my-index", load_encoder("mini")) as index:
        index.add(
            [
                Document(id, text, {"path": f"{id}.txt", "source_id": id, "field": "combinatorics"})
                for id, text in TEXTS.items()
            ]
        )
        index.copy_to(folder / "index")
    corpus = [{"_id": id, "title": "", "text": text} for id, text in TEXTS.items()]
    for name, splits in (("theoremqa", ["dev", "test"]), ("my-benchmark", ["test"]), ("documents", [])):
        (folder / name / "qrels").mkdir(parents=True)
        _lines(folder / name / "corpus.jsonl", corpus)
        # Another question than that of the trajectory: what is evaluated on is left out of samples.
        _lines(folder / name / "queries.jsonl", [{"_id": "q1", "text": "When do two pigeons share a hole?"}])
        for split in splits:
            rows = "query-id\tcorpus-id\tscore\nq1\tphp\t1\n"
            (folder / name / "qrels" / f"{split}.tsv").write_text(rows, encoding="utf-8")
    (folder / "notes").mkdir()
    for id, text in TEXTS.items():
        (folder / "notes" / f"{id}.txt").write_text(text, encoding="utf-8")
    _lines(folder / "problems.jsonl", [{"id": "problem 7", "question": QUESTION, "answer": "6"}])
    _lines(folder / "gpt4_reason.jsonl", [{"query_id": "q1", "text": "Think of friends and strangers."}])
    context = {"id": "ramsey", "text": TEXTS["ramsey"], "score": 0.5}
    log = {"id": "1", "question": QUESTION, "contexts": [context], "search": "friends", "answer": "6", "gold": "6"}
    _lines(folder / "my_logs.jsonl", [log])
    for name in ("run-1", "run"):
        (folder / name).mkdir()
        _lines(folder / name / "trajectories.jsonl", [_trajectory()])
    for name in ("trajectories", "runs"):
        _lines(folder / f"{name}.jsonl", [_trajectory()])
    tiny_qwen2(folder / "checkpoint")
    tiny_cross_encoder(folder / "reranker")


def _trajectory() -> dict[str, Any]:
    labels = {"ramsey": True, "bayes": False}
    considered = [
        {"id": id, "text": TEXTS[id], "score": 0.5, "relevant": label, "reason": "judged", "labelled_by": "human"}
        for id, label in labels.items()
    ]
    steps: list[dict[str, Any]] = [
        {"kind": "thought", "text": "Friends and strangers come to mind."},
        {"kind": "query", "text": "friends or strangers among six"},
        {"kind": "retrieval", "document_id": "ramsey", "text": TEXTS["ramsey"], "considered": considered},
        {"kind": "answer", "text": "By [ramsey] it is 6."},
    ]
    return {
        "schema": "rader-trajectory/1", "id": "math-17#1", "problem_id": "math-17", "question": QUESTION,
        "gold_answer": "6", "answer": "By [ramsey] it is 6.", "reward": 1.0, "source": "mcts", "steps": steps,
        "metadata": {},
    }  # fmt: skip


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
