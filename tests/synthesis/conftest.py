from __future__ import annotations

import random
from collections.abc import Callable

import pytest


class Picks(random.Random):
    """Takes places from a list instead of at random, and remembers what there was to choose from."""

    def __init__(self, picks: list[int]) -> None:
        super().__init__(0)
        self.picks = picks
        self.offered: list[list[str]] = []

    def choice(self, options):
        self.offered.append([node.place for node in options])
        return options[self.picks.pop(0)]


@pytest.fixture
def picks(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Picks]:
    """Have the search pick these places of what is offered, in this order."""

    def use(*places: int) -> Picks:
        picker = Picks(list(places))
        monkeypatch.setattr("rader_synthesis.search.random.Random", lambda seed: picker)
        return picker

    return use
