"""What a file of trees or trajectories holds, in numbers."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rader_plugins.trajectories import Considered, Trajectory, is_right, read_trajectories
from rader_synthesis.explorer.reading import Source, fit_for_training, read_source
from rader_synthesis.tree import Tree

__all__ = ["Counts", "count_source"]

_LABELS = {True: "relevant", False: "not relevant", None: "not judged"}


@dataclass
class Counts:
    """What there is.

    Args:
        kind: ``trees``, ``journal`` or ``trajectories``.
        problems: Problems by status; of trajectories, how many different ones.
        what: Name of the runs: rollouts or trajectories.
        runs: Those, by ``right``, ``wrong`` (a reward below 1) and ``not judged``.
        sources: Trajectories by who made them.
        steps: Steps of trajectories, or nodes of trees, by kind.
        searches: How many retrievals there are.
        documents: Documents considered, by label.
        labelled_by: Labelled documents by who labelled them.
        training: Trajectories with a right answer and a retrieval that kept a document: RaDeR trains on those.
    """

    kind: str
    problems: Counter[str] = field(default_factory=Counter)
    what: str = "trajectories"
    runs: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    searches: int = 0
    documents: Counter[str] = field(default_factory=Counter)
    labelled_by: Counter[str] = field(default_factory=Counter)
    training: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "kind": self.kind,
            "problems": dict(self.problems),
            self.what: dict(self.runs),
            "sources": dict(self.sources),
            "nodes" if self.what == "rollouts" else "steps": dict(self.steps),
            "searches": self.searches,
            "documents": dict(self.documents),
            "labelled_by": dict(self.labelled_by),
            "training": self.training,
        }

    def lines(self) -> list[tuple[str, str]]:
        """Return names and values to show; what is not there is left out."""
        pairs = [
            ("problems", _listed(self.problems)),
            (self.what, _listed(self.runs)),
            ("made by", _listed(self.sources)),
            ("nodes" if self.what == "rollouts" else "steps", _listed(self.steps)),
            ("searches", f"{self.searches:,}"),
            ("documents", _listed(self.documents)),
            ("labelled by", _listed(self.labelled_by)),
            ("training", f"{self.training:,} with a right answer and a kept document"),
        ]
        return [(name, value) for name, value in pairs if value]


def count_source(source: Source | str | os.PathLike[str]) -> Counts:
    """Count what a path holds, one tree or trajectory in memory at a time.

    Raises:
        InputError: It holds neither, or a row is unusable.
    """
    source = source if isinstance(source, Source) else read_source(source)
    counts = Counts(source.kind)
    if source.kind == "trajectories":
        _count_trajectories(read_trajectories(source.files[0]), counts)
        return counts
    counts.what = "rollouts"
    for problem in source.problems():
        counts.problems[problem.status] += 1
        if problem.tree is not None:
            _count_tree(problem.tree, counts)
    return counts


def _count_trajectories(trajectories: Iterable[Trajectory], counts: Counts) -> None:
    seen: set[str] = set()
    for trajectory in trajectories:
        seen.add(trajectory.problem_id)
        counts.sources[trajectory.source or "unknown"] += 1
        counts.runs[{None: "not judged", True: "right", False: "wrong"}[is_right(trajectory.reward)]] += 1
        counts.steps.update(step.kind for step in trajectory.steps)
        counts.searches += len(trajectory.retrievals)
        for step in trajectory.retrievals:
            _count_documents(step.considered, counts)
        counts.training += fit_for_training(trajectory)
    counts.problems["different"] = len(seen)


def _count_tree(tree: Tree, counts: Counts) -> None:
    counts.runs.update("right" if is_right(rollout.reward) else "wrong" for rollout in tree.rollouts)
    counts.steps.update(node.kind for node in tree.nodes)
    for node in tree.nodes:
        if node.considered is not None:
            counts.searches += 1
            _count_documents(node.considered, counts)
    counts.training += sum(bool(is_right(leaf.reward)) and _kept(tree.path(leaf)) for leaf in tree.leaves())


def _kept(path: Iterable[Any]) -> bool:
    return any(node.kind == "rt" for node in path)


def _count_documents(considered: Iterable[Considered], counts: Counts) -> None:
    for document in considered:
        counts.documents[_LABELS[document.relevant]] += 1
        if document.labelled_by:
            counts.labelled_by[document.labelled_by] += 1


def _listed(counts: Counter[str]) -> str:
    return ", ".join(_entries(counts))


def _entries(counts: Counter[str]) -> Iterator[str]:
    for name, number in counts.most_common():
        yield f"{number:,} {name}"
