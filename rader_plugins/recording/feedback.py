"""Feedback: what becomes known of a recorded run afterwards, and how both are put together."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError
from rader_plugins.recording.append import recorded_files
from rader_plugins.trajectories import Trajectory, write_trajectories

__all__ = ["FEEDBACK_SCHEMA", "MergeReport", "feedback_path", "feedback_row", "merge_feedback", "read_recorded"]

FEEDBACK_SCHEMA = "rader-feedback/1"


@dataclass
class MergeReport:
    """What was put together.

    Args:
        trajectories: How many were read.
        with_feedback: How many of them have feedback.
        unmatched: Run ids of feedback whose run is not recorded.
        unfinished: Files whose last row was not whole, because its writer was killed; that row is left out.
    """

    trajectories: int = 0
    with_feedback: int = 0
    unmatched: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)


def feedback_path(path: str | os.PathLike[str]) -> Path:
    """Return the file that the feedback for a recording goes to: ``runs.jsonl`` -> ``runs.feedback.jsonl``."""
    file = Path(path)
    return file.with_name(f"{file.stem}.feedback{file.suffix}")


def feedback_row(run_id: str, reward: float | None, gold_answer: str | None, comment: str | None) -> dict[str, Any]:
    """Return a row of the feedback file."""
    return {
        "schema": FEEDBACK_SCHEMA,
        "run_id": run_id,
        "reward": None if reward is None else float(reward),
        "gold_answer": gold_answer,
        "comment": comment,
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def read_recorded(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    report: MergeReport | None = None,
    *,
    on_fault: Callable[[InputError], object] | None = None,
) -> Iterator[Trajectory]:
    """Yield recorded trajectories with their feedback, one at a time.

    Reward and right answer come from the feedback, the latest of each; comments are under ``feedback`` in the metadata.
    Files that were renamed because they had grown are read too, oldest first. A last row that is not whole is left
    out.

    Args:
        paths: What recorders wrote; their feedback files lie beside them.
        report: Counts what was read.
        on_fault: Gets the error of a row of a trajectory that is unusable, which is then passed over; None raises it.

    Raises:
        InputError: There is no such file, or a row is unusable; the message names file and row.
    """
    counts = report if report is not None else MergeReport()
    for path in [paths] if isinstance(paths, str | os.PathLike) else paths:
        feedback = _read_feedback(path, counts)
        used = set()
        for file in recorded_files(path):
            for where, row in _rows(file, counts, on_fault):
                try:
                    trajectory = Trajectory.from_row(row, where)
                except InputError as error:
                    if on_fault is None:
                        raise
                    on_fault(error)
                    continue
                counts.trajectories += 1
                if (given := feedback.get(trajectory.id)) is not None:
                    counts.with_feedback += 1
                    used.add(trajectory.id)
                    trajectory = _with(trajectory, given)
                yield trajectory
        counts.unmatched += [id for id in feedback if id not in used]


def merge_feedback(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]
) -> MergeReport:
    """Write recorded trajectories with their feedback to one file, atomically.

    Raises:
        InputError: As :func:`read_recorded`.
    """
    report = MergeReport()
    write_trajectories(out, read_recorded(paths, report))
    return report


def _with(trajectory: Trajectory, given: Mapping[str, Any]) -> Trajectory:
    metadata = dict(trajectory.metadata)
    if given["comments"]:
        metadata["feedback"] = given["comments"]
    return replace(
        trajectory,
        reward=trajectory.reward if given["reward"] is None else given["reward"],
        gold_answer=trajectory.gold_answer if given["gold_answer"] is None else given["gold_answer"],
        metadata=metadata,
    )


def _read_feedback(path: str | os.PathLike[str], counts: MergeReport) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    file = feedback_path(path)
    for where, row in _rows(file, counts) if file.exists() else ():
        reward, gold = row.get("reward"), row.get("gold_answer")
        sound = reward is None or (isinstance(reward, int | float) and not isinstance(reward, bool))
        if row.get("schema") != FEEDBACK_SCHEMA or not isinstance(row.get("run_id"), str) or not sound:
            raise InputError(f"{where} is no row of feedback ({FEEDBACK_SCHEMA}).")
        if gold is not None and not isinstance(gold, str):
            raise InputError(f"{where}: 'gold_answer' must be a text.")
        one = found.setdefault(row["run_id"], {"reward": None, "gold_answer": None, "comments": []})
        one["reward"] = one["reward"] if reward is None else float(reward)
        one["gold_answer"] = one["gold_answer"] if gold is None else gold
        if row.get("comment"):
            one["comments"].append(row["comment"])
    return found


def _rows(
    file: Path, counts: MergeReport, on_fault: Callable[[InputError], object] | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    if not file.is_file():
        raise InputError(f"{file} is not a file.")
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            where = f"{file}, row {number}"
            try:
                row = json.loads(line)
                fault = None if isinstance(row, dict) else f"{where} holds {type(row).__name__}, not a JSON object."
            except ValueError as error:
                if not line.endswith(b"\n"):
                    counts.unfinished.append(str(file))
                    return
                fault = f"{where} is not JSON: {error}"
            if fault is None:
                yield where, row
            elif on_fault is None:
                raise InputError(fault)
            else:
                on_fault(InputError(fault))
