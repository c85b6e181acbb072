"""The search: a loop over a tree that selects, expands, simulates and adds up rewards."""

from __future__ import annotations

import asyncio
import hashlib
import math
import random
from collections.abc import Callable
from typing import Protocol

from rader_plugins.files import as_utf8, canonical_json
from rader_synthesis.config import SearchConfig
from rader_synthesis.tree import Node, Tree

__all__ = ["Expander", "derived_seed", "search", "select", "uct"]


class Expander(Protocol):
    """What gives a node its children."""

    async def expand(self, tree: Tree, node: Node) -> None:
        """Add at least one child to a node that is not terminal and has none, or make it terminal after all."""


async def search(
    tree: Tree, expander: Expander, config: SearchConfig, *, on_rollout: Callable[[], object] = lambda: None
) -> Tree:
    """Run the rollouts of a problem and return the tree.

    Each one selects a node by UCT, then walks random children to a terminal node, expanding what it meets, and keeps
    all of that; the leaf's reward is added along the path (RaDeR, section 3.1). Nothing random is drawn anywhere else,
    so the tree depends on seed, problem and the children's texts alone, not on what else runs.

    Args:
        tree: The tree to grow, as :meth:`Tree.start` makes it.
        expander: The object that makes children of nodes.
        config: Parameters of the tree search.
        on_rollout: Called whenever a rollout has ended.
    """
    rng = random.Random(derived_seed(config.seed, tree.problem_id))
    for rollout in range(config.rollouts):
        node = select(tree, config.weight(rollout), rng)
        selected = node.id
        while not node.terminal:
            if not tree.children(node):
                await expander.expand(tree, node)
                if node.terminal:
                    break
            node = rng.choice(tree.children(node))
        tree.record(node, selected)
        on_rollout()
        await asyncio.sleep(0)  # where all is known already nothing waits: other problems and Ctrl-C have their turn
    return tree


def select(tree: Tree, weight: float, rng: random.Random) -> Node:
    """Walk from the root to the node that a rollout starts from.

    At each node an unvisited child is taken at random if there is one, and the walk ends with it; else the child with
    the largest UCT (the first of equals). It also ends at a terminal node and at one without children.
    """
    node = tree.root
    while not node.terminal and (children := tree.children(node)):
        if unvisited := [child for child in children if not child.n]:
            return rng.choice(unvisited)
        values = [uct(child, node, weight) for child in children]
        node = children[values.index(max(values))]
    return node


def uct(node: Node, parent: Node, weight: float) -> float:
    """Return Q / N + c * sqrt(ln N_parent / N), for a node that was visited.

    Example:
        >>> uct(Node(1, 0, "ost", "", n=2, q=1.0), Node(0, None, "root", "", n=4), 2.0)
        2.1651092223153956
    """
    return node.q / node.n + weight * math.sqrt(math.log(parent.n) / node.n)


def derived_seed(*parts: object) -> int:
    """Return a whole number below 2**31 that follows from the parts; different parts give different numbers."""
    digest = hashlib.sha256(as_utf8(canonical_json(list(parts)))).digest()
    return int.from_bytes(digest[:4], "big") >> 1
