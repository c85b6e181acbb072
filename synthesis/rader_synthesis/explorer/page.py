"""Writes the page: a shell of HTML, style and script from files, and the problems as data that it reads when asked."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import IO, Any

from rader_plugins.errors import InputError
from rader_plugins.files import as_utf8, atomic_write
from rader_plugins.trajectories import Considered, Step, Trajectory, is_right
from rader_synthesis.explorer.reading import Shown, Source, read_source
from rader_synthesis.tree import Node, Tree

__all__ = ["PageReport", "write_page"]

_DATA = "<!-- data -->"
_MOST_NAMES = 50


@dataclass(frozen=True)
class PageReport:
    """What a page shows.

    Args:
        problems: How many problems the page shows.
        statuses: How many of each status.
        left_out: Problems that were there besides, beyond ``most``.
        size: Size of the page, in bytes.
    """

    problems: int
    statuses: dict[str, int]
    left_out: int
    size: int


class _Documents:
    """The documents of a page, each once however often it was considered."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []
        self._places: dict[tuple[str, str, str], int] = {}

    def place(self, id: str, title: str, text: str) -> int:
        key = (id, title, text)
        if key not in self._places:
            self._places[key] = len(self.rows)
            self.rows.append(key)
        return self._places[key]


def write_page(
    source: Source | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    problems: Sequence[str] = (),
    most: int = 1000,
) -> PageReport:
    """Write trees or trajectories as an HTML page that loads nothing from elsewhere.

    Every text is data, never markup: the page builds its elements with ``textContent`` alone, and a content security
    policy forbids any script, style, image or request but its own script and style.

    Args:
        source: A run's folder, a file of trees or of trajectories, or what :func:`read_source` made of it.
        out: The page; replaced if it is there.
        problems: Ids of those to show; none shows all.
        most: Most problems to show. A browser opens hundreds of trees at ease and thousands with patience.

    Raises:
        InputError: The source holds no such thing, or a problem that was asked for is not there.

    Example:
        >>> write_page("run-1", "run-1.html").problems  # doctest: +SKIP
        20
    """
    source = source if isinstance(source, Source) else read_source(source)
    if most < 1:
        raise InputError(f"most must be at least 1, not {most!r}.")
    problem_ids = set(problems)
    before, _, after = _shell(source.path.resolve().name).partition(_DATA)
    documents = _Documents()
    index: list[dict[str, Any]] = []
    left_out = 0
    with atomic_write(out) as stream:
        stream.write(as_utf8(before))
        for problem in source.problems():
            if problem_ids and problem.id not in problem_ids:
                continue
            if len(index) == most:
                left_out += 1
                continue
            _block(stream, f"p{len(index)}", _problem(problem, documents))
            index.append(_entry(problem))
        if missing := sorted(problem_ids - {entry["id"] for entry in index}):
            raise InputError(f"{source.path} holds no problem {', '.join(map(repr, missing[:5]))}.")
        _block(stream, "documents", documents.rows)
        facts = {"exploration": source.exploration, "left_out": left_out, "kind": source.kind}
        _block(stream, "index", {**facts, "problems": index})
        stream.write(as_utf8(after))
        size = stream.tell()
    statuses = Counter(entry["status"] for entry in index)
    return PageReport(len(index), dict(sorted(statuses.items())), left_out, size)


def _shell(name: str) -> str:
    """Return the page without data: the policy names the digests of its script and style, so that no other runs."""
    folder = files("rader_synthesis.explorer") / "assets"
    html, style, script = ((folder / file).read_text(encoding="utf-8") for file in ("page.html", "page.css", "page.js"))
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {"policy": policy, "style": style, "script": script, "name": escape(name)}
    for key, text in parts.items():
        html = html.replace(f"[[{key}]]", text, 1 if key != "name" else -1)
    return html


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _block(stream: IO[bytes], id: str, value: object) -> None:
    """Write data into the page. No text can end its element: there is no ``<`` in it."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    # Half a surrogate pair becomes the JSON escape that it came from.
    content = text.encode("utf-8", "backslashreplace")
    stream.write(f'<script type="application/json" id="{id}">'.encode("ascii") + content + b"</script>\n")


def _entry(problem: Shown) -> dict[str, Any]:
    """Return what the list of problems needs to know."""
    if problem.tree is not None:
        right = [bool(is_right(rollout.reward)) for rollout in problem.tree.rollouts]
        searches = [node.considered for node in problem.tree.nodes if node.considered is not None]
    else:
        right = [bool(is_right(trajectory.reward)) for trajectory in problem.trajectories]
        searches = [step.considered for trajectory in problem.trajectories for step in trajectory.retrievals]
    labels = Counter(document.relevant for considered in searches for document in considered)
    entry: dict[str, Any] = {
        "id": problem.id,
        "question": problem.question,
        "gold": problem.gold_answer,
        "status": problem.status,
        "right": sum(right),
        "runs": len(right),
        "searches": len(searches),
        "kept": labels[True],
        "rejected": labels[False],
        "fit": problem.fit,
        "unjudged": labels[None] + sum(is_right(trajectory.reward) is None for trajectory in problem.trajectories),
    }
    if problem.trajectories:
        entry["logs"] = [trajectory.id for trajectory in problem.trajectories[:_MOST_NAMES]]
    return entry | ({"reason": problem.reason} if problem.reason else {})


def _problem(problem: Shown, documents: _Documents) -> dict[str, Any]:
    if problem.tree is not None:
        return _tree(problem.tree, documents)
    return {"paths": [_path(trajectory, documents) for trajectory in problem.trajectories]}


def _tree(tree: Tree, documents: _Documents) -> dict[str, Any]:
    return {
        "nodes": [_node(node, tree, documents) for node in tree.nodes],
        "rollouts": [[rollout.leaf, rollout.selected, rollout.reward] for rollout in tree.rollouts],
        "counts": tree.counts,
    }


def _node(node: Node, tree: Tree, documents: _Documents) -> dict[str, Any]:
    row: dict[str, Any] = {"parent": node.parent, "kind": node.kind, "n": node.n, "q": node.q, "depth": node.depth}
    if node.parent is not None:  # the root's text is the question
        row["text"] = node.text
    if node.terminal:
        row |= {"terminal": True, "answer": node.answer, "reward": node.reward}
    if node.answers:
        row["answers"] = node.answers
    if node.considered is not None:
        row["considered"] = [_considered(document, documents) for document in node.considered]
    if node.document_id is not None:
        row["id"] = node.document_id
        candidates = tree.nodes[node.parent].considered if node.parent is not None else None
        row["document"] = next(
            (_place(document, documents) for document in candidates or () if document.id == node.document_id), None
        )
    return row


def _path(one: Trajectory, documents: _Documents) -> dict[str, Any]:
    return {
        "id": one.id,
        "source": one.source,
        "answer": one.answer,
        "reward": one.reward,
        "steps": [_step(step, documents) for step in one.steps],
        "metadata": dict(one.metadata),
    }


def _step(step: Step, documents: _Documents) -> dict[str, Any]:
    row: dict[str, Any] = {"kind": step.kind, "text": step.text}
    if step.kind == "open":
        row["id"] = step.document_id
    if step.kind == "retrieval":
        row |= {
            "id": step.document_id,
            "considered": [_considered(document, documents) for document in step.considered],
        }
    return row


def _considered(one: Considered, documents: _Documents) -> list[Any]:
    return [_place(one, documents), one.score, one.relevant, one.reason, one.labelled_by]


def _place(one: Considered, documents: _Documents) -> int:
    return documents.place(one.id, one.title, one.text)
