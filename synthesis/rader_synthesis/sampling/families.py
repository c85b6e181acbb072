"""Families of problems that ask nearly the same, and their way into the training or the validation split."""

from __future__ import annotations

import hashlib
from array import array

from rader_plugins.text_matching import digest
from rader_synthesis.sampling.near import NearIndex, shingles
from rader_synthesis.sampling.spool import Spool

__all__ = ["assign_splits", "find_families"]


class _Sets:
    """Disjoint sets of numbers; the least number of a set stands for it."""

    def __init__(self, size: int) -> None:
        self._parent = array("q", range(size))

    def find(self, number: int) -> int:
        while (parent := self._parent[number]) != number:
            self._parent[number] = number = self._parent[parent]
        return number

    def unite(self, number: int, other: int) -> None:
        first, second = sorted((self.find(number), self.find(other)))
        self._parent[second] = first


def find_families(spool: Spool, threshold: float | None) -> None:
    """Put problems together whose questions are the same, or near each other.

    Args:
        spool: The database that holds the problems and gets the families.
        threshold: Least similarity; None puts only those together that ask the same in other letters.
    """
    count = max((number for number, _ in spool.problems()), default=0)
    sets = _Sets(count + 1)
    # Equal questions are near each other too, unless the texts are so short that only this tells them.
    index = NearIndex(spool.connection, "near_questions", threshold if threshold is not None else 1.0)
    for number, problem, text in spool.questions():
        grams = shingles(text)
        for near in index.near(grams):
            if threshold is not None or digest(text) == spool.question_digest(near):
                sets.unite(problem, spool.problem_of_question(near))
        index.add(number, grams)
    for problem, _ in spool.problems():
        spool.set_family(problem, sets.find(problem))
    spool.index_families()


def assign_splits(spool: Spool, dev_share: float, seed: int) -> dict[str, int]:
    """Send every family to ``train`` or ``validation``, by a hash of the seed and the least name of its problems.

    So a problem stays where it is when others are added (unless they join its family). Where there are two families
    or more, each split gets one at least.

    Returns:
        How many families each split has.
    """
    families = spool.families()
    ranks = sorted((_place(seed, name), family) for family, name in families)
    validation = sum(rank < dev_share for rank, _ in ranks)
    if dev_share > 0 and len(ranks) > 1:
        validation = min(max(1, validation), len(ranks) - 1)
    for position, (_, family) in enumerate(ranks):
        spool.set_split(family, "validation" if position < validation else "train")
    return {"train": len(ranks) - validation, "validation": validation}


def _place(seed: int, name: str) -> float:
    """Return a number from 0 to 1."""
    hashed = hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=8).digest()
    return int.from_bytes(hashed, "big") / 2**64
