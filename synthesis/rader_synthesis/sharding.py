"""One problem set on many machines: each takes its share, and their runs become one."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError
from rader_plugins.files import differences
from rader_plugins.problems import Problem
from rader_plugins.run_folders import Journal
from rader_synthesis.outcome import shortfall
from rader_synthesis.run_folder import SynthesisFolder
from rader_synthesis.tree import Tree

__all__ = ["MergeReport", "Shard", "merge_runs"]

_SCHEMA = "rader-run/1"


@dataclass(frozen=True)
class Shard:
    """A share of a problem set. Which problems are in it depends on their ids alone.

    Args:
        number: Number of the share, from 1 to ``count``.
        count: How many shares there are.

    Example:
        >>> Shard.parse("3/8")
        Shard(number=3, count=8)
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the share that a text such as ``3/8`` names.

        Raises:
            InputError: It is something else, or there is no such share.
        """
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise InputError(f"A shard is a number and how many there are, such as 3/8 (1/8 to 8/8), not {text!r}.")
        return cls(int(match[1]), int(match[2]))

    def of(self, problems: Sequence[Problem]) -> list[Problem]:
        """Return the problems that are in it.

        Raises:
            InputError: There are none.
        """
        share = [problem for problem in problems if self._holds(problem.id)]
        if not share:
            raise InputError(
                f"None of the {len(problems)} problems is in shard {self.number}/{self.count}: use fewer shards."
            )
        return share

    def _holds(self, id: str) -> bool:
        digest = hashlib.sha256(id.encode("utf-8")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1


@dataclass(frozen=True)
class MergeReport:
    """What a merged run holds.

    Attributes:
        totals: Counts of the merged folder, as :class:`rader_synthesis.run_config.RunReport` has them.
        merged: Problems that were taken from the runs this time.
        present: Problems of the runs that the folder, or a run before, had finished already.
    """

    totals: dict[str, int]
    merged: int
    present: int

    @property
    def shortfall(self) -> str | None:
        """Why there is nothing to train on; None if there is something."""
        return shortfall(self.totals)


def merge_runs(runs: Sequence[Path], out: Path) -> MergeReport:
    """Make one run of several that have the same settings.

    The runs stay as they are; one that is still going may be merged now and again later. A problem that several have
    finished is taken from the first. ``rader synthesize`` goes on in the merged folder with what is left. Cached calls
    of the language model are not merged.

    Args:
        runs: Folders of the runs to merge.
        out: The merged run's folder; made if it is not there.

    Raises:
        InputError: A folder holds no run or one with other settings, or two hold one problem with another question.
    """
    if not runs:
        raise InputError("There are no runs to merge.")
    heads = [_head(run) for run in runs]
    settings = heads[0]["settings"]
    for run, head in zip(runs[1:], heads[1:], strict=True):
        if different := differences(settings, head["settings"]):
            raise InputError(f"{run} is another run than {runs[0]}: it differs in {', '.join(different)}.")
    if out.resolve() in [run.resolve() for run in runs]:
        raise InputError(f"{out} is one of the runs: name another folder for the merged one.")
    about = {**heads[0].get("about", {}), "merged": [run.name for run in runs]}
    folder = SynthesisFolder(out, settings, about)
    with folder.opened():
        order: dict[str, None] = {}
        skipped: dict[str, str] = {}
        merged = present = 0
        for run in runs:
            for row in _problems(run):
                order[row["id"]] = None
                if row.get("status") == "skipped":
                    skipped[row["id"]] = row.get("reason", "")
            for row in _finished(run):
                order[row["id"]] = None
                taken = _take(folder, row, run)
                merged, present = merged + taken, present + (not taken)
        _copy_index(runs, out)
        skipped = {id: reason for id, reason in skipped.items() if id not in folder.finished}
        totals = folder.merge(list(order), skipped)
        folder.log(f"merged {', '.join(run.name for run in runs)}: {totals}")
    return MergeReport(totals, merged, present)


def _take(folder: SynthesisFolder, row: dict[str, Any], run: Path) -> bool:
    """Add what a run has finished, unless it is there; return whether it was added."""
    there = folder.finished.get(row["id"])
    if there is not None and there.problem != row["problem"]:
        raise InputError(f"{run} holds the problem {row['id']!r} with another question or answer than a run before.")
    if there is not None and (not there.failed or row["failed"]):
        return False
    folder.add(row["id"], row["problem"], None if row["tree"] is None else Tree.from_row(row["tree"]), row["failed"])
    return True


def _head(run: Path) -> dict[str, Any]:
    try:
        head: dict[str, Any] = json.loads((run / "config.json").read_bytes())
        if head["schema"] != _SCHEMA or not isinstance(head["settings"], dict):
            raise KeyError("settings")
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{run} holds no run of `rader synthesize`.") from None
    return head


def _problems(run: Path) -> list[dict[str, Any]]:
    """Return the problems of a run in their order; none where it was killed before it wrote them down."""
    path = run / "problems.jsonl"
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _finished(run: Path) -> Iterator[dict[str, Any]]:
    """Yield what a run's journal says last of each problem."""
    journal = Journal(run / "finished.jsonl")
    last = {row["id"]: start for start, row in journal.rows()}
    for start in last.values():
        yield journal.row_at(start)


def _copy_index(runs: Sequence[Path], out: Path) -> None:
    """Let the merged run have the index that a run made of its corpus."""
    source = next((run / "index" for run in runs if (run / "index").is_dir()), None)
    if source is not None and not (out / "index").exists():
        shutil.copytree(source, out / "index")
