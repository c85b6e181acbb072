"""Parts of runs that were interrupted and resumed, in whatever process each was recorded, put together again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Protocol

from rader_plugins.files import fingerprint
from rader_plugins.trajectories import Trajectory

__all__ = ["JoinCounts", "joined"]

_MOST_OPEN = 10_000


class JoinCounts(Protocol):
    """What :func:`joined` counts: how many rows continued another, and ids that stand there more than once."""

    resumed: int
    repeated: list[str]


def joined(trajectories: Iterable[Trajectory], counts: JoinCounts) -> Iterator[Trajectory]:
    """Put interrupted runs together with what resumed them; the others pass in their order, each once."""
    open_runs: OrderedDict[tuple[str, object], Trajectory] = OrderedDict()
    for trajectory in _distinct(trajectories, counts):
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


def _distinct(trajectories: Iterable[Trajectory], counts: JoinCounts) -> Iterator[Trajectory]:
    """Leave out rows of one id that say the same: two recorders that listened to one run."""
    digests: dict[str, set[str]] = {}
    for trajectory in trajectories:
        row = trajectory.row()
        digest = fingerprint([row["question"], row["answer"], row["steps"]])[:16]
        if digest in digests.setdefault(trajectory.id, set()):
            counts.repeated.append(trajectory.id)
            continue
        digests[trajectory.id].add(digest)
        yield trajectory


def _continued(first: Trajectory, second: Trajectory) -> Trajectory:
    """Return two parts of a run as one."""
    metadata = {**first.metadata, **second.metadata, "runs": [*first.metadata.get("runs", [first.id]), second.id]}
    for name in ("error", "closed_early"):  # of the whole run, its end says so
        if name not in second.metadata:
            metadata.pop(name, None)
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
