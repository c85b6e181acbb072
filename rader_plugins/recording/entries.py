"""What :class:`RunAssembly` keeps of a run: its nodes under way, and the steps of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rader_plugins.trajectories import Step

__all__ = ["Entry", "Node", "RunKind"]

RunKind = Literal["chain", "retriever", "tool", "llm"]
"""What a node of a run is; everything that is none of the others is a ``chain``."""


@dataclass
class Node:
    """A node under way.

    Args:
        parent: The node that started it; None for a root.
        kind: Kind of the node.
        hidden: Whether nothing of it, and of what runs below, is a step.
        order: How many nodes began before it.
        searched: Whether it, or something below it, searched.
        parts: What a model that streams wrote so far.
        remark: Whether that comes with calls of tools.
    """

    parent: str | None
    kind: RunKind
    hidden: bool
    order: int
    searched: bool = False
    parts: list[str] = field(default_factory=list)
    remark: bool = False


@dataclass
class Entry:
    """The steps of one node, which stand where it began.

    Args:
        node: Id of the node.
        steps: A query and its retrieval, or a thought.
        failed: Whether it is a search that failed.
        answers: Whether it may be the answer.
        above: The nodes above it.
        abandoned: Whether it was made within an attempt that failed, though the run went on.
    """

    node: str
    steps: list[Step] = field(default_factory=list)
    failed: bool = False
    answers: bool = False
    above: frozenset[str] = frozenset()
    abandoned: bool = False

    @property
    def search(self) -> tuple[str, tuple[str, ...]] | None:
        """What was searched for and the ids that came back; None for what is no search."""
        if self.steps[0].kind != "query":
            return None
        return self.steps[0].text, tuple(item.id for step in self.steps[1:] for item in step.considered)
