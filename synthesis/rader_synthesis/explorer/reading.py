"""What the explorer shows: trees of a run, or trajectories of any source, problem by problem."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rader_plugins.errors import InputError
from rader_plugins.files import read_jsonl
from rader_plugins.trajectories import READABLE_SCHEMAS, TRAJECTORY_SCHEMA, Trajectory, is_right
from rader_synthesis.paths import trajectories as tree_trajectories
from rader_synthesis.tree import TREE_SCHEMA, Tree

__all__ = ["Shown", "Source", "Status", "fit_for_training", "read_source"]

Status = Literal["solved", "unsolved", "unknown", "failed", "skipped", "open"]
_KINDS = Literal["trees", "journal", "trajectories"]


@dataclass(frozen=True)
class Shown:
    """One problem, as a page shows it.

    Args:
        id: Id of the problem.
        question: Question of the problem; empty where only a failure is known.
        gold_answer: The right answer, if it is known.
        status: ``solved`` (a right answer was reached), ``unsolved``, ``unknown`` (nobody judged the answers), or why
            there is nothing: ``failed``, ``skipped``, ``open`` (not searched yet).
        tree: The search tree, of a run.
        trajectories: Without a tree: what there is on the problem, in the order of the file.
        reason: Why it failed or was skipped.
    """

    id: str
    question: str
    gold_answer: str | None
    status: Status
    tree: Tree | None = None
    trajectories: tuple[Trajectory, ...] = ()
    reason: str = ""

    @property
    def fit(self) -> int:
        """How many of its trajectories are fit for training."""
        if self.tree is not None:
            return sum(bool(trajectory.metadata["training"]) for trajectory in tree_trajectories(self.tree))
        return sum(map(fit_for_training, self.trajectories))


def fit_for_training(trajectory: Trajectory) -> bool:
    """Whether a right answer came with a document that is relevant or was gone on with: RaDeR trains on those."""
    used = any(
        step.document_id is not None or any(document.relevant for document in step.considered)
        for step in trajectory.retrievals
    )
    return bool(used and is_right(trajectory.reward))


@dataclass(frozen=True)
class Source:
    """A file or a folder of a run.

    Args:
        path: The file or folder that was named.
        files: The files that are read.
        kind: What is in there: trees, the journal of a run that has not ended, or trajectories.
        exploration: Weight c of the exploration term of the run; the paper's where none is known.
    """

    path: Path
    files: tuple[Path, ...]
    kind: _KINDS
    exploration: float = 2.0

    def problems(self) -> Iterator[Shown]:
        """Yield the problems. Trees are read one at a time; of trajectories all are read first, to group them.

        Raises:
            InputError: A row is unusable; the message names file and row.
        """
        if self.kind == "trajectories":
            return _of_trajectories(self.files[0])
        if self.kind == "journal":
            return _of_journal(self.files[0])
        return _of_trees(self.files)


def read_source(path: str | os.PathLike[str]) -> Source:
    """Find out what a path holds.

    Args:
        path: The folder of a synthesis run, or a JSONL file of trees or of trajectories.

    Raises:
        InputError: It is neither.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    if not path.exists():
        raise InputError(f"{path} does not exist.")
    schema = _first_schema(path)
    if schema == TREE_SCHEMA:
        return Source(path, (path,), "trees")
    if schema in READABLE_SCHEMAS:
        return Source(path, (path,), "trajectories")
    if schema is None:
        raise InputError(f"{path} is empty.")
    raise InputError(
        f"{path} holds neither trees ({TREE_SCHEMA}) nor trajectories ({TRAJECTORY_SCHEMA}). `rader import` makes "
        "trajectories of other files."
    )


def _read_folder(path: Path) -> Source:
    trees, journal, paths, problems = (
        path / name for name in ("trees.jsonl", "finished.jsonl", "trajectories.jsonl", "problems.jsonl")
    )
    exploration = _exploration(path / "config.json")
    if trees.exists():
        files = (trees, problems) if problems.exists() else (trees,)
        return Source(path, files, "trees", exploration)
    if journal.exists():
        return Source(path, (journal,), "journal", exploration)
    if paths.exists():
        return Source(path, (paths,), "trajectories")
    raise InputError(
        f"{path} is no folder of a run: it holds neither trees.jsonl nor finished.jsonl nor trajectories.jsonl."
    )


def _first_schema(path: Path) -> str | None:
    row = next(iter(read_jsonl(path)), None)
    return None if row is None else str(row.get("schema"))


def _exploration(path: Path) -> float:
    """Return the weight c that a run was made with."""
    try:
        settings = json.loads(path.read_bytes())["settings"]
        return float(settings["search"]["exploration"])
    except (OSError, ValueError, KeyError, TypeError):
        return 2.0


def _of_trees(files: tuple[Path, ...]) -> Iterator[Shown]:
    for number, row in enumerate(read_jsonl(files[0]), start=1):
        yield _of_tree(Tree.from_row(row, f"{files[0]}, row {number}"))
    for path in files[1:]:
        for row in read_jsonl(path):
            if row.get("status") in ("failed", "skipped", "open"):
                yield Shown(str(row.get("id")), "", None, row["status"], reason=str(row.get("reason") or ""))


def _of_tree(tree: Tree) -> Shown:
    return Shown(tree.problem_id, tree.question, tree.gold_answer, "solved" if tree.solved else "unsolved", tree)


def _of_journal(path: Path) -> Iterator[Shown]:
    """Yield the problems of a journal: a later line on a problem replaces an earlier one, a torn last one is none."""
    last: dict[str, int] = {}
    with path.open("rb") as stream:
        start = 0
        for line in stream:
            if line.endswith(b"\n"):
                last[str(_journal_row(line, path, start).get("id"))] = start
            start += len(line)
        for id, offset in last.items():
            stream.seek(offset)
            row = _journal_row(stream.readline(), path, offset)
            if row.get("tree"):
                yield _of_tree(Tree.from_row(row["tree"], f"{path}, problem {id!r}"))
            else:
                yield Shown(id, "", None, "failed", reason=str(row.get("failed") or ""))


def _journal_row(line: bytes, path: Path, start: int) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(f"{path} is damaged at byte {start}: {error}.") from None
    if not isinstance(row, dict):
        raise InputError(f"{path} is damaged at byte {start}: it holds no object there.")
    return row


def _of_trajectories(path: Path) -> Iterator[Shown]:
    groups: dict[str, list[Trajectory]] = {}
    for number, row in enumerate(read_jsonl(path), start=1):
        trajectory = Trajectory.from_row(row, f"{path}, row {number}")
        groups.setdefault(trajectory.problem_id, []).append(trajectory)
    for id, trajectories in groups.items():
        rewards = [trajectory.reward for trajectory in trajectories if trajectory.reward is not None]
        status: Status = "unknown" if not rewards else "solved" if any(map(is_right, rewards)) else "unsolved"
        gold = next((trajectory.gold_answer for trajectory in trajectories if trajectory.gold_answer is not None), None)
        yield Shown(id, trajectories[0].question, gold, status, trajectories=tuple(trajectories))
