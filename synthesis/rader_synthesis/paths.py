"""From a tree to trajectories: one for each terminal node that a rollout reached."""

from __future__ import annotations

from typing import Any

from rader_plugins.trajectories import Step, Trajectory, is_right
from rader_synthesis.tree import Node, Tree

__all__ = ["trajectories"]


def trajectories(tree: Tree) -> list[Trajectory]:
    """Return the trajectories of a tree, in the order in which their leaves were made.

    A thought becomes a ``thought`` step, a query a ``query`` step and what it found a ``retrieval`` step with every
    document that was considered; ``document_id`` is the kept one, or None where reflection kept none and the search
    went on without. A thought or solution that holds the final answer is the ``answer`` step.

    ``metadata`` holds ``leaf`` (id of the node), ``place`` (its branches from the root), ``ended`` (``complete``,
    ``thought`` or ``depth``: the depth limit), ``visits`` (rollouts that ended there) and ``training``: at least one
    retrieved document was kept and the answer is right, which is what RaDeR trains on.
    """
    return [_trajectory(tree, leaf) for leaf in tree.leaves()]


def _trajectory(tree: Tree, leaf: Node) -> Trajectory:
    path = tree.path(leaf)
    steps: list[Step] = []
    for position, node in enumerate(path[1:], start=1):
        if node.kind == "qg":
            steps.append(Step("query", node.text))
            # Its documents stand in the retrieval step: with the kept one where the next node is that.
            follows = path[position + 1] if position + 1 < len(path) else None
            if node.considered is not None and (follows is None or follows.kind != "rt"):
                steps.append(Step("retrieval", considered=node.considered))
        elif node.kind == "rt":
            considered = path[position - 1].considered or ()
            steps.append(Step("retrieval", node.text, node.document_id, considered))
        else:
            is_answer = node.kind == "crs" or node.answer is not None
            steps.append(Step("answer" if is_answer else "thought", node.text))
    used = any(node.kind == "rt" for node in path)
    metadata: dict[str, Any] = {
        "leaf": leaf.id,
        "place": leaf.place,
        "ended": "complete" if leaf.kind == "crs" else "thought" if leaf.answer is not None else "depth",
        "visits": leaf.n,
        "training": bool(used and is_right(leaf.reward)),
    }
    return Trajectory(
        id=f"{tree.problem_id}#{leaf.id}",
        problem_id=tree.problem_id,
        question=tree.question,
        steps=tuple(steps),
        answer=leaf.answer,
        gold_answer=tree.gold_answer,
        reward=leaf.reward,
        source="mcts",
        metadata=metadata,
    )
