"""`Group`: runs on one data set, with what was computed of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rader_plugins.evaluation.comparing.significance import PairedTest
from rader_plugins.evaluation.result import Evaluation

__all__ = ["Group"]


@dataclass(frozen=True)
class Group:
    """Runs on one data set.

    Attributes:
        title: Data set and split.
        names: Names of the runs, in the order in which they were compared.
        runs: The evaluations, by name of the run.
        intervals: Name -> confidence interval of the mean of the measure.
        tests: Every pair of runs; the first of a pair was named before the second.
        measure: The measure that is tested, such as ``nDCG@10``.
        level: Coverage of the intervals.
    """

    title: str
    names: tuple[str, ...]
    runs: Mapping[str, Evaluation]
    intervals: Mapping[str, tuple[float, float]]
    tests: tuple[PairedTest, ...]
    measure: str
    level: float

    def values(self, name: str, measure: str | None = None) -> dict[str, float]:
        """Return query -> value of a run."""
        return {query: figures[measure or self.measure] for query, figures in self.runs[name].per_query.items()}

    @property
    def measures(self) -> list[str]:
        """The measures that all runs have."""
        runs = list(self.runs.values())
        return [name for name in runs[0].mean if all(name in run.mean for run in runs)]

    @property
    def queries(self) -> list[str]:
        """The queries, in the order of the first run."""
        return list(self.runs[self.names[0]].per_query)

    def winners(self) -> list[dict[str, object]]:
        """Return a row for every query; see :meth:`Comparison.winners`."""
        first = self.runs[self.names[0]]
        rows: list[dict[str, object]] = []
        for query in self.queries:
            values = {name: self.runs[name].per_query[query][self.measure] for name in self.names}
            top = max(values.values())
            best = [name for name, value in values.items() if top - value < 1e-12]
            text = first.texts.get(query, "")
            rows.append({"dataset": self.title, "query": query, "text": text, "values": values, "best": best})
        return rows
