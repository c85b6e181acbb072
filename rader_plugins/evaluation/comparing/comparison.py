"""`compare`: several runs side by side."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rader_plugins.errors import InputError
from rader_plugins.evaluation.citations import citations
from rader_plugins.evaluation.comparing.groups import Group
from rader_plugins.evaluation.comparing.markdown import markdown, per_query_table
from rader_plugins.evaluation.comparing.page import page
from rader_plugins.evaluation.comparing.significance import adjusted, confidence_interval, paired_test
from rader_plugins.evaluation.comparing.summary import latex, screenful
from rader_plugins.evaluation.result import Evaluation
from rader_plugins.evaluation.suite import Suite
from rader_plugins.files import as_utf8, atomic_write

__all__ = ["Comparison", "Group", "compare"]


AnyRun = Evaluation | Suite | str | os.PathLike[str]
"""An evaluation, several of one system, or the folder of either."""


@dataclass(frozen=True, repr=False)
class Comparison:
    """Runs side by side, by data set.

    Attributes:
        measure: The measure that is tested and plotted.
        level: Coverage of the confidence intervals.
        groups: One per data set and split.
    """

    measure: str
    level: float
    groups: tuple[Group, ...]

    def __repr__(self) -> str:
        """Show the figures and the most certain differences in a screenful; figures x 100."""
        return screenful(self.groups)

    def latex(self) -> str:
        """Return the figures as a LaTeX table (booktabs)."""
        return latex(self.groups)

    def bibtex(self) -> str:
        """Return what to cite: data sets, models, measures and tests."""
        manifests = [run.manifest for group in self.groups for run in group.runs.values()]
        measures = dict.fromkeys(measure for group in self.groups for measure in group.measures)
        return citations(manifests, measures, tested=any(group.tests for group in self.groups))

    def winners(self) -> list[dict[str, object]]:
        """Return, for every query, the value of every run and the names of the best.

        A row has ``dataset``, ``query``, ``text``, ``values`` (name -> value) and ``best`` (names; all of them where
        all are equal).
        """
        return [row for group in self.groups for row in group.winners()]

    def markdown(self) -> str:
        """Return tables of figures, tests and wins as Markdown."""
        return markdown(self.groups)

    def html(self) -> str:
        """Return one self-contained page: tables and plots, no scripts, nothing loaded from elsewhere."""
        return page(self.groups)

    def write(self, out: str | os.PathLike[str]) -> list[Path]:
        """Write ``comparison.md``, ``comparison.html`` and ``per-query.tsv`` into a folder; return their paths."""
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        contents = {
            "comparison.md": self.markdown(),
            "comparison.html": self.html(),
            "per-query.tsv": per_query_table(self.groups),
        }
        for name, text in contents.items():
            with atomic_write(folder / name) as stream:
                stream.write(as_utf8(text))
        return [folder / name for name in contents]


def compare(
    runs: Sequence[AnyRun] | Mapping[str, AnyRun],
    *,
    measure: str | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Put runs side by side: means with confidence intervals, paired tests, and who wins which query.

    Runs on different data sets form groups of their own. Within a group every pair is tested by a paired permutation
    test and a paired t-test (scipy); p values are adjusted for the number of all pairs (Benjamini-Hochberg).

    Args:
        runs: Evaluations, suites (:func:`evaluate_all`) or their folders, in a list or by name.
        measure: What is tested and plotted; by default the first that all runs have.
        level: Coverage of the bootstrap confidence intervals.
        seed: Seed of bootstrap and permutations.

    Raises:
        InputError: No runs, no common measure, or two runs of the same name on the same data set.

    Example:
        >>> compare(["runs/bm25", "runs/hybrid"]).write("report")  # doctest: +SKIP
        [PosixPath('report/comparison.md'), PosixPath('report/comparison.html'), PosixPath('report/per-query.tsv')]
    """
    named = _named(runs)
    if not named:
        raise InputError("compare() needs at least one run.")
    common = [name for name in named[0][1].mean if all(name in run.mean for _, run in named)]
    if measure is None and not common:
        raise InputError("The runs have no measure in common. Evaluate them with the same measures.")
    tested = measure or common[0]
    if tested not in common:
        raise InputError(f"Not all runs have the measure {tested!r}; in common are: {', '.join(common) or 'none'}.")
    by_dataset: dict[str, list[tuple[str, Evaluation]]] = {}
    for name, run in named:
        by_dataset.setdefault(str(run.manifest["dataset"]["judgements_digest"]), []).append((name, run))
    groups = [_group(members, tested, level, seed) for members in by_dataset.values()]
    return Comparison(tested, level, tuple(_adjusted(groups)))


def _named(
    runs: Sequence[AnyRun] | Mapping[str, AnyRun],
) -> list[tuple[str, Evaluation]]:
    if isinstance(runs, str | os.PathLike | Evaluation | Suite):
        raise InputError("compare() takes a list of runs.")
    if isinstance(runs, Mapping):
        return [(name, evaluation) for name, run in runs.items() for evaluation in _loaded(run)]
    return [(evaluation.name, evaluation) for run in runs for evaluation in _loaded(run)]


def _loaded(run: AnyRun) -> list[Evaluation]:
    """Return an evaluation, or all of a folder or suite with several data sets."""
    if isinstance(run, Suite):
        return list(run.evaluations.values())
    if isinstance(run, Evaluation):
        return [run]
    folder = Path(run)
    parts = [] if Evaluation.is_in(folder) else sorted(part for part in folder.glob("*/") if Evaluation.is_in(part))
    return [Evaluation.load(part) for part in parts or [folder]]


def _group(members: list[tuple[str, Evaluation]], measure: str, level: float, seed: int) -> Group:
    runs = dict(members)
    if len(runs) != len(members):
        names = [name for name, _ in members]
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"Two runs are called {twice!r}. Give names: compare({{'a': ..., 'b': ...}}).")
    dataset = members[0][1].manifest["dataset"]
    queries = list(members[0][1].per_query)
    values = {name: [run.per_query[query][measure] for query in queries] for name, run in members}
    tests = [
        paired_test((first, second), values[first], values[second], seed)
        for first, second in itertools.combinations(values, 2)
    ]
    return Group(
        title=f"{dataset['name']}, split {dataset['split']}",
        names=tuple(runs),
        runs=runs,
        intervals={name: confidence_interval(values[name], level, seed) for name in runs},
        measure=measure,
        level=level,
        tests=tuple(tests),
    )


def _adjusted(groups: Sequence[Group]) -> Iterator[Group]:
    """Adjust the p values for the number of all pairs on all data sets: they are one table."""
    values = iter(adjusted([test.p_permutation for group in groups for test in group.tests]))
    for group in groups:
        yield replace(group, tests=tuple(replace(test, p_adjusted=next(values)) for test in group.tests))
