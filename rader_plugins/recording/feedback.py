"""Feedback: what becomes known of a recorded run afterwards, and how both are put together."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO

from rader_plugins.errors import InputError
from rader_plugins.recording.append import open_recording, recorded_files
from rader_plugins.recording.parts import joined
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
        resumed: How many continued an interrupted run, and are one with it.
        fragments: Ids of parts of interrupted runs that were left out: the parts that are recorded searched for
            nothing, or nothing tells their question.
    """

    trajectories: int = 0
    with_feedback: int = 0
    unmatched: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    resumed: int = 0
    fragments: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    """Ids of runs that stand there more than once, as two recorders write them: each counts once."""
    ambiguous: list[str] = field(default_factory=list)
    """Ids that several runs share, with feedback that might be meant for either: none of them gets it."""


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
    out. A run that was interrupted and the one that resumed it are one, with the question of the first, the answer and
    id of the last and feedback for either; ``runs`` in the metadata has the ids of all. A part without a search or a
    question is left out if what it belongs to has none either. A run that stands there twice counts once; feedback for
    an id that runs with different answers share is nobody's.

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
        for id in _shared_ids(path, feedback):
            del feedback[id]
            counts.ambiguous.append(id)
        used: set[str] = set()
        for trajectory in joined(_recorded(path, counts, on_fault), counts):
            if trajectory.metadata.get("fragment"):
                counts.fragments.append(trajectory.id)
                continue
            ids = list(dict.fromkeys(trajectory.metadata.get("runs", [trajectory.id])))
            notes = [feedback[id] for id in ids if id in feedback]
            used.update(id for id in ids if id in feedback)
            counts.with_feedback += bool(notes)
            if notes:
                trajectory = _with(trajectory, notes)
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


def _recorded(
    path: str | os.PathLike[str], counts: MergeReport, on_fault: Callable[[InputError], object] | None
) -> Iterator[Trajectory]:
    if not recorded_files(path)[-1].is_file():
        raise InputError(f"{os.fspath(path)} is not a file.")
    with open_recording(path) as files:
        for file, stream in files:
            for where, row in _rows(file, stream, counts, on_fault):
                try:
                    trajectory = Trajectory.from_row(row, where)
                except InputError as error:
                    if on_fault is None:
                        raise
                    on_fault(error)
                    continue
                counts.trajectories += 1
                yield trajectory


def _shared_ids(path: str | os.PathLike[str], feedback: Mapping[str, object]) -> list[str]:
    """Return the ids with feedback that more than one answer goes by: an application named two runs the same."""
    answers: dict[str, set[tuple[object, object]]] = {}
    if feedback:
        with open_recording(path) as files:
            for file, stream in files:
                for _, row in _rows(file, stream, MergeReport(), lambda fault: None):
                    if isinstance(id := row.get("id"), str) and id in feedback and row.get("answer") is not None:
                        answers.setdefault(id, set()).add((str(row.get("question")), str(row["answer"])))
    return [id for id, different in answers.items() if len(different) > 1]


@dataclass
class _Feedback:
    """What is known of a run id: the latest reward and right answer, each with its row in the file, and comments."""

    reward: tuple[int, float | None] = (0, None)
    gold_answer: tuple[int, str | None] = (0, None)
    comments: list[str] = field(default_factory=list)


def _with(trajectory: Trajectory, notes: Sequence[_Feedback]) -> Trajectory:
    """Return a run with the feedback for its parts, of which the latest counts."""
    metadata = dict(trajectory.metadata)
    if comments := [comment for note in notes for comment in note.comments]:
        metadata["feedback"] = [*metadata.get("feedback", []), *comments]
    _, reward = max((note.reward for note in notes), key=lambda dated: dated[0])
    _, gold_answer = max((note.gold_answer for note in notes), key=lambda dated: dated[0])
    return replace(
        trajectory,
        reward=trajectory.reward if reward is None else reward,
        gold_answer=trajectory.gold_answer if gold_answer is None else gold_answer,
        metadata=metadata,
    )


def _read_feedback(path: str | os.PathLike[str], counts: MergeReport) -> dict[str, _Feedback]:
    feedback: dict[str, _Feedback] = {}
    file = feedback_path(path)
    if not file.is_file():
        return feedback
    with file.open("rb") as stream:
        _read_notes(file, stream, counts, feedback)
    return feedback


def _read_notes(file: Path, stream: BinaryIO, counts: MergeReport, feedback: dict[str, _Feedback]) -> None:
    for number, (where, row) in enumerate(_rows(file, stream, counts), start=1):
        reward, gold = row.get("reward"), row.get("gold_answer")
        sound = reward is None or (isinstance(reward, int | float) and not isinstance(reward, bool))
        if row.get("schema") != FEEDBACK_SCHEMA or not isinstance(row.get("run_id"), str) or not sound:
            raise InputError(f"{where} is no row of feedback ({FEEDBACK_SCHEMA}).")
        if gold is not None and not isinstance(gold, str):
            raise InputError(f"{where}: 'gold_answer' must be a text.")
        note = feedback.setdefault(row["run_id"], _Feedback())
        if reward is not None:
            note.reward = (number, float(reward))
        if gold is not None:
            note.gold_answer = (number, gold)
        if row.get("comment"):
            note.comments.append(row["comment"])


def _rows(
    file: Path, stream: BinaryIO, counts: MergeReport, on_fault: Callable[[InputError], object] | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
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
