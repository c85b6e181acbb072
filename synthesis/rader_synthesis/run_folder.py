"""The folder of a synthesis run: what was asked for, one line per finished problem, and the files made from them."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rader_plugins.errors import InputError
from rader_plugins.files import as_utf8, atomic_write, fingerprint, naming, write_jsonl
from rader_plugins.run_folders import RunFolder
from rader_plugins.trajectories import Trajectory, write_trajectories
from rader_synthesis.paths import trajectories
from rader_synthesis.tree import Tree

__all__ = ["CALLS", "Finished", "SynthesisFolder", "check_folder"]

CALLS = "calls.sqlite"
_LOG = "run.log"
_SCHEMA = "rader-run/1"
_SUMMED = ("rollouts", "right_rollouts", "nodes", "trajectories", "training")


@dataclass(frozen=True)
class Finished:
    """What the journal knows of a problem.

    Args:
        problem: Fingerprint of question and answer.
        failed: Why it failed; empty if it did not.
        solved: A rollout reached the right answer.
        start: Where its line begins in the journal.
    """

    problem: str
    failed: str
    solved: bool
    start: int


class SynthesisFolder:
    """Keeps a run so that it can be killed at any moment.

    ``config.json`` says what the run is; a run with other settings is refused. ``finished.jsonl`` is the journal, the
    one source of truth: a line is appended and synchronised when a problem ends, and a last line that a kill cut off
    is dropped. :meth:`merge` makes ``trees.jsonl``, ``trajectories.jsonl`` and ``problems.jsonl`` from it, in the order
    of the problems. ``calls.sqlite`` caches what the language model wrote; ``run.log`` tells what happened when.

    Args:
        path: The folder; made if it is not there.
        settings: What decides the result: any difference is another run.
        about: What else ``config.json`` shall tell (where the server is, ...), not compared.
        earlier: How an earlier version wrote the same settings down: a folder that holds these goes on.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        settings: Mapping[str, Any],
        about: Mapping[str, Any],
        *,
        earlier: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        if earlier is not None and _stored_settings(self.path) == earlier:
            settings = earlier
        self.calls = self.path / CALLS
        self.finished: dict[str, Finished] = {}
        head = {"schema": _SCHEMA, "fingerprint": fingerprint(dict(settings)), "about": dict(about)}
        self._folder = _run_folder(self.path, settings, head)
        self._journal = self._folder.journal("finished.jsonl")
        self._lock = threading.Lock()
        self._log: IO[bytes] | None = None

    @contextlib.contextmanager
    def opened(self) -> Iterator[SynthesisFolder]:
        """Read what is there, then take :meth:`add` calls until the block ends.

        Raises:
            InputError: The folder belongs to another run, is in use, or its journal is damaged.
        """
        with self._folder.opened(), self._journal.opened():
            self._read()
            with (self.path / _LOG).open("ab", buffering=0) as log:
                self._log = log
                try:
                    yield self
                finally:
                    self._log = None

    def add(self, id: str, problem: str, tree: Tree | None, failed: str = "") -> None:
        """Write down a problem that ended. When this returns it survives a kill and a power cut.

        Args:
            id: Id of the problem.
            problem: Fingerprint of the problem.
            tree: What was found; None if it failed.
            failed: Why it failed; empty if it did not.

        Raises:
            OSError: The disk is full, or worse. What was added before is intact.
        """
        row = {"id": id, "problem": problem, "failed": failed, "tree": None if tree is None else tree.row()}
        start = self._journal.append(row)
        with self._lock:
            self.finished[id] = Finished(problem, failed, tree is not None and tree.solved, start)

    def log(self, message: str) -> None:
        """Write a line to ``run.log``."""
        with self._lock:
            if self._log is not None:
                with naming(self.path / _LOG):
                    self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}\n".encode("utf-8", "replace"))

    def merge(self, order: Sequence[str], skipped: Mapping[str, str]) -> dict[str, int]:
        """Write ``trees.jsonl``, ``trajectories.jsonl`` and ``problems.jsonl`` anew; return how many are what.

        Args:
            order: Ids of the problems. Those that the journal holds besides come after them, by id.
            skipped: Why problems were not searched, by id.
        """
        ordered = set(order)
        ids = [*order, *sorted(id for id in self.finished if id not in ordered)]
        with self._lock:
            rows = self._write_trees([id for id in ids if id in self.finished and not self.finished[id].failed])
            for id in ids:
                if id in skipped:
                    rows[id] = {"id": id, "status": "skipped", "reason": skipped[id]}
                elif id not in self.finished:
                    rows[id] = {"id": id, "status": "open"}
                elif id not in rows:
                    rows[id] = {"id": id, "status": "failed", "reason": self.finished[id].failed}
            write_jsonl(self.path / "problems.jsonl", (rows[id] for id in ids))
        totals = dict.fromkeys(("solved", "unsolved", "failed", "skipped", "open"), 0)
        for row in rows.values():
            totals[row["status"]] += 1
            for name in _SUMMED:
                totals[name] = totals.get(name, 0) + row.get(name, 0)
            for name, number in row.get("counts", {}).items():
                totals[name] = totals.get(name, 0) + number
        return totals

    def _write_trees(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Write trees and trajectories, one tree in memory at a time; return the summaries by id."""
        rows: dict[str, dict[str, Any]] = {}

        def paths(trees: IO[bytes]) -> Iterator[Trajectory]:
            for id in ids:
                row = self._tree(id)
                trees.write(as_utf8(json.dumps(row, ensure_ascii=False, allow_nan=False)) + b"\n")
                tree = Tree.from_row(row)
                paths_found = trajectories(tree)
                rows[id] = _summary(tree, paths_found)
                yield from paths_found

        with atomic_write(self.path / "trees.jsonl") as stream:
            write_trajectories(self.path / "trajectories.jsonl", paths(stream))
        return rows

    def _tree(self, id: str) -> dict[str, Any]:
        tree: dict[str, Any] = self._journal.row_at(self.finished[id].start)["tree"]
        return tree

    def _read(self) -> None:
        for start, row in self._journal.rows():
            try:
                solved = bool(row["tree"] and row["tree"]["solved"])
                self.finished[row["id"]] = Finished(row["problem"], row["failed"], solved, start)
            except (KeyError, TypeError):
                raise InputError(
                    f"{self._journal.path} is damaged at byte {start}. Delete that line: its problem is then done "
                    "again, from the cache of calls."
                ) from None


def check_folder(path: Path) -> None:
    """Refuse a path that is a file, and a folder that holds something else than a run.

    Raises:
        InputError: It is one of these.
    """
    _run_folder(path, {}, {}).refuse_strangers()


def _run_folder(path: Path, settings: Mapping[str, Any], head: Mapping[str, Any]) -> RunFolder:
    return RunFolder(path, settings, noun="run", about=head, neighbours=("index", f"{CALLS}*"))


def _stored_settings(path: Path) -> Any:
    try:
        return json.loads((path / "config.json").read_bytes())["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # none, or damaged, which opening the folder reports


def _summary(tree: Tree, paths_found: Sequence[Trajectory]) -> dict[str, Any]:
    return {
        "id": tree.problem_id,
        "status": "solved" if tree.solved else "unsolved",
        "rollouts": len(tree.rollouts),
        "right_rollouts": sum(rollout.reward > 0 for rollout in tree.rollouts),
        "nodes": len(tree.nodes),
        "trajectories": len(paths_found),
        "training": sum(trajectory.metadata["training"] for trajectory in paths_found),
        "counts": dict(sorted(tree.counts.items())),
    }
