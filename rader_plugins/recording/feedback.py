"""Feedback: what becomes known of a recorded run afterwards, and how both are put together."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError
from rader_plugins.recording.append import recorded_files
from rader_plugins.trajectories import Trajectory, write_trajectories

__all__ = ["FEEDBACK_SCHEMA", "MergeReport", "feedback_path", "feedback_row", "merge_feedback", "read_recorded"]

FEEDBACK_SCHEMA = "rader-feedback/1"
_MOST_OPEN = 10_000


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
    question is left out if what it belongs to has none either.

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
        used: set[str] = set()
        for trajectory in _joined(_recorded(path, counts, on_fault), counts):
            if trajectory.metadata.get("fragment"):
                counts.fragments.append(trajectory.id)
                continue
            ids = trajectory.metadata.get("runs", [trajectory.id])
            notes = [feedback[id] for id in ids if id in feedback]
            used.update(id for id in ids if id in feedback)
            counts.with_feedback += bool(notes)
            for note in notes:
                trajectory = _with(trajectory, note)
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
            yield trajectory


def _joined(trajectories: Iterable[Trajectory], counts: MergeReport) -> Iterator[Trajectory]:
    """Put interrupted runs together with what resumed them; the others pass in their order."""
    open_runs: OrderedDict[tuple[str, object], Trajectory] = OrderedDict()
    for trajectory in trajectories:
        thread = trajectory.metadata.get("thread")
        if not isinstance(thread, str):
            yield trajectory
            continue
        key = (thread, trajectory.metadata.get("graph"))
        if trajectory.metadata.get("resumed"):
            # An application may call each of its calls something else; two graphs may have threads of one name.
            others = [other for other in open_runs if other[0] == thread]
            earlier_key = key if key in open_runs else others[0] if len(others) == 1 else None
            if earlier_key is not None:
                key, trajectory = earlier_key, _continued(open_runs.pop(earlier_key), trajectory)
                counts.resumed += 1
        elif (earlier := open_runs.pop(key, None)) is not None:
            yield earlier  # nobody went on with it
        if trajectory.answer is not None:
            yield trajectory
            continue
        open_runs[key] = trajectory
        if len(open_runs) > _MOST_OPEN:
            yield open_runs.popitem(last=False)[1]
    yield from open_runs.values()


def _continued(first: Trajectory, second: Trajectory) -> Trajectory:
    """Return two parts of a run as one."""
    metadata = {**first.metadata, **second.metadata, "runs": [*first.metadata.get("runs", [first.id]), second.id]}
    if "error" not in second.metadata:
        metadata.pop("error", None)
    if "question_from" not in first.metadata:
        metadata.pop("question_from", None)
    metadata["seconds"] = round(sum(float(part.metadata.get("seconds") or 0) for part in (first, second)), 3)
    metadata["started"] = first.metadata.get("started", second.metadata.get("started"))
    # A node that was interrupted runs anew from its beginning, so that its searches are made twice.
    repeated_queries = {step.text for step in second.steps if step.kind == "query"}
    steps = list(first.steps)
    while steps and (
        (steps[-1].kind == "query" and steps[-1].text in repeated_queries)
        or (
            len(steps) > 1
            and steps[-1].kind == "retrieval"
            and steps[-2].kind == "query"
            and steps[-2].text in repeated_queries
        )
    ):
        steps.pop()
    run = replace(second, question=first.question or second.question, steps=(*steps, *second.steps), metadata=metadata)
    if run.question and run.retrievals:
        metadata.pop("fragment", None)
    return run


def _with(trajectory: Trajectory, given: Mapping[str, Any]) -> Trajectory:
    metadata = dict(trajectory.metadata)
    if given["comments"]:
        metadata["feedback"] = [*metadata.get("feedback", []), *given["comments"]]
    return replace(
        trajectory,
        reward=trajectory.reward if given["reward"] is None else given["reward"],
        gold_answer=trajectory.gold_answer if given["gold_answer"] is None else given["gold_answer"],
        metadata=metadata,
    )


def _read_feedback(path: str | os.PathLike[str], counts: MergeReport) -> dict[str, dict[str, Any]]:
    feedback: dict[str, dict[str, Any]] = {}
    file = feedback_path(path)
    for where, row in _rows(file, counts) if file.exists() else ():
        reward, gold = row.get("reward"), row.get("gold_answer")
        sound = reward is None or (isinstance(reward, int | float) and not isinstance(reward, bool))
        if row.get("schema") != FEEDBACK_SCHEMA or not isinstance(row.get("run_id"), str) or not sound:
            raise InputError(f"{where} is no row of feedback ({FEEDBACK_SCHEMA}).")
        if gold is not None and not isinstance(gold, str):
            raise InputError(f"{where}: 'gold_answer' must be a text.")
        entry = feedback.setdefault(row["run_id"], {"reward": None, "gold_answer": None, "comments": []})
        entry["reward"] = entry["reward"] if reward is None else float(reward)
        entry["gold_answer"] = entry["gold_answer"] if gold is None else gold
        if row.get("comment"):
            entry["comments"].append(row["comment"])
    return feedback


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
