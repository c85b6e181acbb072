"""``question``: the question itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rader_plugins.query_kinds import KINDS
from rader_plugins.trajectories import Trajectory
from rader_synthesis.sampling.drafts import Draft
from rader_synthesis.sampling.kinds.base import Kind
from rader_synthesis.sampling.searches import Search, by_weight

__all__ = ["QuestionKind"]


class QuestionKind(Kind):
    """The question, with what any of its searches found."""

    kind = KINDS["question"]

    def propose(self, trajectory: Trajectory, searches: Sequence[Search], dropped: Counter[str]) -> Iterator[Draft]:
        """Yield one draft, and one more for every positive with a weight of its own."""
        positives = {id: by for search in searches for id, by in search.positives.items()}
        weights = {id: weight for search in searches for id, weight in search.weights.items()}
        for group, weight in by_weight(positives, weights):
            yield Draft(
                "question",
                f"question:{trajectory.problem_id}",
                trajectory.question.strip(),
                group,
                {id: by for search in searches for id, by in search.rejected.items()},
                trajectory.id,
                trajectory.source,
                weight=weight,
            )
