"""``cot``: the question and the steps before the search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rader_plugins.query_kinds import KINDS
from rader_plugins.trajectories import Trajectory
from rader_synthesis.sampling.drafts import Draft, partial_solution
from rader_synthesis.sampling.kinds.base import Kind
from rader_synthesis.sampling.searches import Search, by_weight

__all__ = ["CotKind"]


class CotKind(Kind):
    """A partial solution: neither the query that was generated nor what was retrieved."""

    kind = KINDS["cot"]

    def propose(self, trajectory: Trajectory, searches: Sequence[Search], dropped: Counter[str]) -> Iterator[Draft]:
        """Yield a draft for each search that a thought comes before; without one it would be the question."""
        for search in searches:
            if not search.before:
                dropped["cot: no step before the search, so it would be the question"] += 1
                continue
            for group, weight in by_weight(search.positives, search.weights):
                yield Draft(
                    "cot",
                    f"cot:{trajectory.id}:{search.step}",
                    partial_solution(trajectory.question, search.before),
                    group,
                    dict(search.rejected),
                    trajectory.id,
                    trajectory.source,
                    search.step,
                    weight,
                )
