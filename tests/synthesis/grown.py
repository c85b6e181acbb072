"""Search trees that grow by dice, for the explorer: the search is the real one, the texts are made up."""

from __future__ import annotations

import asyncio
import random

from rader_synthesis.config import SearchConfig
from rader_synthesis.search import search
from rader_synthesis.tree import Node, Tree

from rader_plugins.trajectories import Considered

SHELF = {
    "pigeonhole": "If n items are put into m boxes and n > m, some box holds at least two items.",
    "ramsey": "For all r and s there is a least number R(r, s) of vertices from which every two-colouring of the "
    "edges of the complete graph holds a red clique of r or a blue clique of s vertices.",
    "handshake": "In every finite graph the number of vertices of odd degree is even.",
    "vieta": "The sum of the roots of a quadratic a x^2 + b x + c is -b / a and their product is c / a.",
    "fermat": "If p is prime and does not divide a, then a^(p-1) leaves the remainder 1 after division by p.",
    "crt": "A system of congruences with pairwise coprime moduli has exactly one solution modulo their product.",
    "am-gm": "The arithmetic mean of non-negative numbers is at least as large as their geometric mean.",
}
THOUGHTS = [
    "Let the acquaintances of one fixed guest be one colour and all other pairs the other; among five neighbours three "
    "share a colour.",
    "We first look at the smallest cases and count by hand what is forced there.",
    "Suppose the claim fails. Then every guest knows at most two others, which bounds the number of pairs from above.",
    "Write the condition as \\(x^2 - 5x + 6 = 0\\) and factor it.",
]


class Dice:
    """Gives nodes children as the published code does, with texts by chance."""

    def __init__(self, seed: int, gold: str, odds: float) -> None:
        self.dice = random.Random(seed)
        self.gold = gold
        self.odds = odds

    async def expand(self, tree: Tree, node: Node) -> None:
        if node.kind == "qg":
            node.considered = tuple(self._judged(id) for id in self.dice.sample(sorted(SHELF), 5))
            for candidate in node.considered:
                if candidate.relevant:
                    text = f"In plain words: {SHELF[candidate.id]}"
                    tree.add(node.id, "rt", text, document_id=candidate.id, **self._end(node, None))
            if tree.children(node):
                return
        for _ in range(2):
            tree.add(node.id, "ost", self.dice.choice(THOUGHTS), **self._end(node, None))
        if node.kind in ("root", "qg", "rt"):
            answers = [self.gold if self.dice.random() < self.odds else str(self.dice.randrange(20)) for _ in range(4)]
            text = f"Putting this together we get the smallest such number.\nThe answer is \\boxed{{{answers[0]}}}."
            tree.add(
                node.id,
                "crs",
                text,
                terminal=True,
                answer=answers[0],
                reward=float(answers[0] == self.gold),
                answers=tuple(answers),
            )
        if node.kind in ("root", "ost") and sum(ancestor.kind == "qg" for ancestor in tree.path(node)) < 3:
            tree.add(
                node.id,
                "qg",
                "smallest number of people so that three are mutual friends or strangers",
                **self._end(node, None),
            )

    def _judged(self, id: str) -> Considered:
        good = self.dice.random() < 0.3
        reason = "It speaks of the very structure that is asked for." if good else f"{id} has no bearing on this."
        return Considered(id, SHELF[id], round(self.dice.uniform(0.4, 0.9), 3), good, reason, "reflection")

    def _end(self, above: Node, answer: str | None) -> dict[str, object]:
        return {"terminal": True, "reward": 0.0} if above.depth + 1 >= 6 else {}


def grown(id: str, seed: int, *, question: str = "", gold: str = "6", odds: float = 0.25, rollouts: int = 16) -> Tree:
    """Return a tree; the same arguments give the same one."""
    tree = Tree.start(
        id,
        question or f"How many guests ({seed}) must be invited so that three of them know each other, or three do not?",
        gold,
    )
    return asyncio.run(search(tree, Dice(seed, gold, odds), SearchConfig(rollouts=rollouts, seed=seed)))
