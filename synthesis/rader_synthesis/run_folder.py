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

import filelock

from rader_plugins.errors import InputError
from rader_plugins.files import atomic_write, differences, fingerprint, sync_folder, write_jsonl
from rader_plugins.trajectories import Trajectory, write_trajectories
from rader_synthesis.paths import trajectories
from rader_synthesis.tree import Tree

__all__ = ["CALLS", "Finished", "RunFolder", "check_folder"]

CALLS = "calls.sqlite"
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


class RunFolder:
    """Keeps a run so that it can be killed at any moment.

    ``config.json`` says what the run is; a run with other settings is refused. ``finished.jsonl`` is the journal, the
    one source of truth: a line is appended and synchronised when a problem ends, and a last line that a kill cut off
    is dropped. :meth:`merge` makes ``trees.jsonl``, ``trajectories.jsonl`` and ``problems.jsonl`` from it, in the order
    of the problems. ``calls.sqlite`` caches what the language model wrote; ``run.log`` tells what happened when.

    Args:
        path: The folder; made if it is not there.
        settings: What decides the result: any difference is another run.
        about: What else ``config.json`` shall tell (where the server is, ...), not compared.
    """

    def __init__(self, path: str | os.PathLike[str], settings: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.calls = self.path / CALLS
        self.finished: dict[str, Finished] = {}
        self._settings = dict(settings)
        self._about = dict(about)
        self._journal = self.path / "finished.jsonl"
        self._lock = threading.Lock()
        self._stream: IO[bytes] | None = None
        self._log: IO[str] | None = None

    @contextlib.contextmanager
    def opened(self) -> Iterator[RunFolder]:
        """Read what is there, then take :meth:`add` calls until the block ends.

        Raises:
            InputError: The folder belongs to another run, is in use, or its journal is damaged.
        """
        check_folder(self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.path / "run.lock", timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise InputError(f"Another process is running in {self.path}. Choose another folder.") from None
        try:
            self._check_config()
            whole = self._read()
            with (
                self._journal.open("r+b" if self._journal.exists() else "wb") as stream,
                (self.path / "run.log").open("a", encoding="utf-8") as log,
            ):
                stream.truncate(whole)
                stream.seek(whole)
                sync_folder(self.path)
                self._stream, self._log = stream, log
                yield self
        finally:
            self._stream = self._log = None
            lock.release()

    def add(self, id: str, problem: str, tree: Tree | None, failed: str = "") -> None:
        """Write down a problem that ended. When this returns it survives a kill and a power cut.

        Args:
            id: Of the problem.
            problem: Its fingerprint.
            tree: What was found; None if it failed.
            failed: Why.

        Raises:
            OSError: The disk is full, or worse. What was added before is intact.
        """
        row = {"id": id, "problem": problem, "failed": failed, "tree": None if tree is None else tree.row()}
        line = json.dumps(row, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"
        with self._lock:
            if self._stream is None:
                raise InputError("The run folder is closed.")
            start = self._stream.tell()
            self._stream.write(line)
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self.finished[id] = Finished(problem, failed, tree is not None and tree.solved, start)

    def log(self, message: str) -> None:
        """Write a line to ``run.log``."""
        with self._lock:
            if self._log is not None:
                self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}\n")
                self._log.flush()

    def merge(self, order: Sequence[str], skipped: Mapping[str, str]) -> dict[str, int]:
        """Write ``trees.jsonl``, ``trajectories.jsonl`` and ``problems.jsonl`` anew; return how many are what.

        Args:
            order: Ids of the problems. Those that the journal holds besides come after them, by id.
            skipped: Why problems were not searched, by id.
        """
        known = set(order)
        ids = [*order, *sorted(id for id in self.finished if id not in known)]
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
                trees.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n")
                tree = Tree.from_row(row)
                found = trajectories(tree)
                rows[id] = _summary(tree, found)
                yield from found

        with atomic_write(self.path / "trees.jsonl") as stream:
            write_trajectories(self.path / "trajectories.jsonl", paths(stream))
        return rows

    def _tree(self, id: str) -> dict[str, Any]:
        with self._journal.open("rb") as stream:
            stream.seek(self.finished[id].start)
            tree: dict[str, Any] = json.loads(stream.readline())["tree"]
        return tree

    def _check_config(self) -> None:
        path = self.path / "config.json"
        if path.exists():
            try:
                before = json.loads(path.read_bytes())["settings"]
            except (ValueError, KeyError, TypeError):
                raise InputError(f"{path} is damaged. Choose another folder.") from None
            if different := differences(before, self._settings):
                raise InputError(
                    f"{self.path} holds another run: it differs in {', '.join(different)}. Choose another folder for "
                    "this one."
                )
        config = {"schema": _SCHEMA, "fingerprint": fingerprint(self._settings), "settings": self._settings}
        with atomic_write(path) as stream:
            stream.write(json.dumps({**config, "about": self._about}, indent=2, ensure_ascii=False).encode() + b"\n")

    def _read(self) -> int:
        """Read the complete lines of the journal; return how many bytes they take."""
        if not self._journal.exists():
            return 0
        start = 0
        with self._journal.open("rb") as stream:
            for line in stream:
                if not line.endswith(b"\n"):
                    break  # cut off by a kill
                try:
                    row = json.loads(line)
                    solved = bool(row["tree"] and row["tree"]["solved"])
                    self.finished[row["id"]] = Finished(row["problem"], row["failed"], solved, start)
                except (ValueError, KeyError, TypeError):
                    raise InputError(
                        f"{self._journal} is damaged at byte {start}. Delete that line: its problem is then done "
                        "again, from the cache of calls."
                    ) from None
                start += len(line)
        return start


def check_folder(path: Path) -> None:
    """Refuse a path that is a file, and a folder that holds something else than a run.

    Raises:
        InputError: It is one of these.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; a run needs a folder.")
    if path.is_dir() and not (path / "config.json").exists():
        names = {file.name for file in path.iterdir()} - {"run.lock", "index"}
        strangers = sorted(name for name in names if not name.startswith((".config.json", CALLS)))
        if strangers:
            raise InputError(
                f"{path} is no run and holds other files ({', '.join(strangers[:3])}): choose a new folder."
            )


def _summary(tree: Tree, found: Sequence[Trajectory]) -> dict[str, Any]:
    return {
        "id": tree.problem_id,
        "status": "solved" if tree.solved else "unsolved",
        "rollouts": len(tree.rollouts),
        "right_rollouts": sum(rollout.reward > 0 for rollout in tree.rollouts),
        "nodes": len(tree.nodes),
        "trajectories": len(found),
        "training": sum(one.metadata["training"] for one in found),
        "counts": dict(sorted(tree.counts.items())),
    }
