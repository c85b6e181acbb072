"""`SearchConfig`: every parameter of the tree search, with the paper's value as default."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeVar, get_args

from rader_plugins.errors import InputError

__all__ = ["MOST_ROLLOUTS", "PromptStyle", "Schedule", "SearchConfig", "from_table"]

T = TypeVar("T")

Schedule = Literal["constant", "linear", "exponential"]
PromptStyle = Literal["chat", "completion"]

MOST_ROLLOUTS = 10_000
"""Rollouts per problem beyond which nothing is to be found any more."""


@dataclass(frozen=True)
class SearchConfig:
    """How a problem is searched. The defaults are those of RaDeR (section 3 and appendix of the paper).

    Args:
        rollouts: Rollouts per problem, at most 10,000; there is no early stop.
        depth: A node this many edges below the root is terminal, whatever it is.
        steps: One-step thoughts (OST) that a node branches into.
        queries: Queries (QG) that the root or a thought branches into.
        queries_per_path: Most queries on the way from the root to a leaf; None is half the depth, rounded down.
        documents: Documents that a query retrieves.
        completions: Solutions written for a "complete the remaining steps" node (CRS); the most frequent answer wins.
        exploration: Weight c of the exploration term in UCT.
        exploration_schedule: ``constant``; ``linear`` and ``exponential`` lower c to a tenth over the rollouts.
        temperature: Sampling temperature of every call whose prompt file does not set its own; 0 is greedy.
        top_p: Mass of the most probable tokens to sample from.
        top_k: Most probable tokens to sample from; 0 leaves it to the server (OpenAI's does not take it).
        style: ``chat`` sends messages with the examples as earlier turns; ``completion`` sends one text, for models
            that were not trained to chat.
        seed: Seed of everything random. The seed of each call follows from it, from the problem and from the node.

    Raises:
        InputError: A value is outside its range.

    Example:
        >>> SearchConfig(depth=6).max_queries
        3
    """

    rollouts: int = 16
    depth: int = 6
    steps: int = 2
    queries: int = 1
    queries_per_path: int | None = None
    documents: int = 5
    completions: int = 4
    exploration: float = 2.0
    exploration_schedule: Schedule = "constant"
    temperature: float = 0.8
    top_p: float | None = 0.95
    top_k: int = 40
    style: PromptStyle = "chat"
    seed: int = 0

    def __post_init__(self) -> None:
        lower_bounds = {
            "rollouts": 1,
            "depth": 1,
            "steps": 0,
            "queries": 0,
            "documents": 1,
            "completions": 1,
            "seed": 0,
            "top_k": 0,
        }
        for name, bound in lower_bounds.items():
            _whole(name, getattr(self, name), bound)
        if self.rollouts > MOST_ROLLOUTS:
            # A tree of which all is known is walked through without a call: only memory grows.
            raise InputError(f"rollouts must be at most {MOST_ROLLOUTS:,}, not {self.rollouts:,} (the paper's are 16).")
        if self.queries_per_path is not None:
            _whole("queries_per_path", self.queries_per_path, 0)
        for name in ("exploration", "temperature"):
            if not _is_number(getattr(self, name)) or not getattr(self, name) >= 0:
                raise InputError(f"{name} must be a number of at least 0, not {getattr(self, name)!r}.")
        if self.top_p is not None and not (_is_number(self.top_p) and 0 < self.top_p <= 1):
            raise InputError(f"top_p must be above 0 and at most 1, not {self.top_p!r}.")
        for name, choices in (("exploration_schedule", get_args(Schedule)), ("style", get_args(PromptStyle))):
            if getattr(self, name) not in choices:
                raise InputError(f"{name} is one of {', '.join(choices)}, not {getattr(self, name)!r}.")

    @property
    def max_queries(self) -> int:
        """Most queries on a path."""
        return self.depth // 2 if self.queries_per_path is None else self.queries_per_path

    def weight(self, rollout: int) -> float:
        """Return the exploration weight c of a rollout, counted from 0."""
        done = rollout / self.rollouts
        if self.exploration_schedule == "linear":
            return self.exploration * (1 - 0.9 * done)
        if self.exploration_schedule == "exponential":
            return self.exploration * math.pow(0.1, done)
        return self.exploration

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "the search configuration") -> SearchConfig:
        """Make a configuration from some of its fields.

        Raises:
            InputError: A name is unknown, or a value is outside its range.
        """
        return from_table(cls, values, where)


def from_table(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """Make a dataclass from some of its fields; messages begin with ``where``.

    Raises:
        InputError: A name is unknown, or a value is outside its range.
    """
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(names)):
        raise InputError(f"{where} does not know {', '.join(map(repr, unknown))}; known: {', '.join(names)}.")
    try:
        return kind(**values)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _whole(name: str, value: object, bound: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < bound:
        raise InputError(f"{name} must be a whole number of at least {bound}, not {value!r}.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
