"""What is counted while samples are made; memory does not grow with their number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rader_plugins.evaluation.overlap import Overlap
from rader_plugins.samples import Sample
from rader_plugins.trajectories import Trajectory, is_right
from rader_synthesis.sampling.drafts import QueryRequest
from rader_synthesis.sampling.query_quality import QueryQuality

__all__ = ["KindStatistics", "Statistics", "percentiles"]

MOST_LISTED = 1000
"""Overlaps with evaluation sets that the card lists by id; all are counted."""


@dataclass
class KindStatistics:
    """What is counted of the samples of one kind and split."""

    samples: int = 0
    positives: int = 0
    negatives: Counter[str] = field(default_factory=Counter)
    without_negatives: int = 0
    words: Counter[int] = field(default_factory=Counter)
    characters: Counter[int] = field(default_factory=Counter)

    def add(self, sample: Sample) -> None:
        """Count a sample."""
        self.samples += 1
        self.positives += len(sample.positives)
        self.negatives.update(passage.origin for passage in sample.negatives)
        self.without_negatives += not sample.negatives
        self.words[len(sample.query.split())] += 1
        self.characters[len(sample.query)] += 1

    def as_dict(self) -> dict[str, Any]:
        """Return the figures."""
        return {
            "samples": self.samples,
            "positives_per_sample": _share(self.positives, self.samples),
            "negatives_per_sample": {
                origin: _share(number, self.samples) for origin, number in sorted(self.negatives.items())
            },
            "without_negatives": self.without_negatives,
            "query_words": percentiles(self.words),
            "query_characters": percentiles(self.characters),
        }


@dataclass
class Statistics:
    """What is counted in a run.

    Attributes:
        least: The least reward of a right answer.
        trajectories: ``read``, ``used``, and why the others were left out.
        rewards: ``right``, ``wrong``, ``unknown``, of all that were read.
        sources: Who made the trajectories that were used.
        labels: ``relevant``, ``not relevant``, ``unlabelled`` documents of all that were read.
        labelled_by: Who gave those labels.
        dropped: Why drafts, documents and found negatives were left out.
        overlaps: The first overlaps with evaluation sets.
        overlap_counts: All of them, by set and how.
        samples: Figures of the samples, by split and kind.
        positives_by: Who says that the positives are relevant.
        queries: What the queries that a language model wrote look like, by kind.
    """

    least: float = 1.0
    trajectories: Counter[str] = field(default_factory=Counter)
    rewards: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    labelled_by: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    overlaps: list[dict[str, str]] = field(default_factory=list)
    overlap_counts: Counter[str] = field(default_factory=Counter)
    samples: dict[str, dict[str, KindStatistics]] = field(default_factory=dict)
    positives_by: Counter[str] = field(default_factory=Counter)
    queries: dict[str, QueryQuality] = field(default_factory=dict)

    def read(self, trajectory: Trajectory) -> None:
        """Count a trajectory that was read."""
        self.trajectories["read"] += 1
        reward = trajectory.reward
        self.rewards[{None: "unknown", True: "right", False: "wrong"}[is_right(reward, self.least)]] += 1
        for step in trajectory.retrievals:
            for document in step.considered:
                name = {None: "unlabelled", True: "relevant", False: "not relevant"}[document.relevant]
                self.labels[name] += 1
                if document.relevant is not None:
                    self.labelled_by[document.labelled_by or "label"] += 1

    def overlap(self, found: Overlap, **who: str) -> None:
        """Count an overlap with an evaluation set."""
        self.overlap_counts[f"{found.dataset}: {found.how}"] += 1
        if len(self.overlaps) < MOST_LISTED:
            self.overlaps.append({"dataset": found.dataset, "query": found.query, "how": found.how, **who})

    def sample(self, split: str, sample: Sample) -> None:
        """Count a sample that was written."""
        kinds = self.samples.setdefault(split, {})
        kinds.setdefault(sample.query_kind, KindStatistics()).add(sample)
        self.positives_by.update(passage.origin for passage in sample.positives)

    def written(self, request: QueryRequest, query: str, document: str) -> None:
        """Look at a query that a language model wrote."""
        self.queries.setdefault(request.kind, QueryQuality()).add(query, document, request.question)

    def count(self, split: str) -> int:
        """Return how many samples a split has."""
        return sum(kind.samples for kind in self.samples.get(split, {}).values())

    @property
    def right_share(self) -> float | None:
        """Share of right answers among those that were judged."""
        total = self.rewards["right"] + self.rewards["wrong"]
        return _share(self.rewards["right"], total) if total else None

    @property
    def rejection_rate(self) -> float | None:
        """Share of the labelled documents that were rejected."""
        labelled = self.labels["relevant"] + self.labels["not relevant"]
        return _share(self.labels["not relevant"], labelled) if labelled else None


def percentiles(lengths: Counter[int]) -> dict[str, float]:
    """Return mean, and the lengths that 0, 50, 90, 99 and 100% do not exceed.

    Example:
        >>> percentiles(Counter({3: 1, 5: 8, 40: 1}))
        {'mean': 8.3, 'min': 3, 'p50': 5, 'p90': 5, 'p99': 40, 'max': 40}
    """
    total = sum(lengths.values())
    if not total:
        return {}
    ordered = sorted(lengths.items())
    named = {"min": 0.0, "p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    mean = sum(length * number for length, number in ordered) / total
    return {"mean": round(mean, 2), **{name: _quantile(ordered, share * total) for name, share in named.items()}}


def _quantile(ordered: Sequence[tuple[int, int]], rank: float) -> int:
    seen = 0
    for length, number in ordered:
        seen += number
        if seen >= rank:
            return length
    return ordered[-1][0]


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
