"""`compare`: several runs side by side."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rader_plugins.errors import InputError
from rader_plugins.evaluation.comparing.groups import Group
from rader_plugins.evaluation.comparing.markdown import markdown, per_query_table
from rader_plugins.evaluation.comparing.page import page
from rader_plugins.evaluation.comparing.significance import adjusted, confidence_interval, paired_test
from rader_plugins.evaluation.result import Evaluation
from rader_plugins.files import atomic_write

__all__ = ["Comparison", "Group", "compare"]


@dataclass(frozen=True)
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
                stream.write(text.encode("utf-8"))
        return [folder / name for name in contents]


def compare(
    runs: Sequence[Evaluation | str | os.PathLike[str]] | Mapping[str, Evaluation | str | os.PathLike[str]],
    *,
    measure: str | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Put runs side by side: means with confidence intervals, paired tests, and who wins which query.

    Runs on different data sets form groups of their own. Within a group every pair is tested by a paired permutation
    test and a paired t-test (scipy); p values are adjusted for the number of pairs (Benjamini-Hochberg).

    Args:
        runs: Evaluations or their folders, in a list or by name.
        measure: What is tested and plotted; by default the first that all runs have.
        level: Coverage of the bootstrap confidence intervals.
        seed: Of bootstrap and permutations.

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
    chosen = measure or common[0]
    if chosen not in common:
        raise InputError(f"Not all runs have the measure {chosen!r}; in common are: {', '.join(common) or 'none'}.")
    by_dataset: dict[str, list[tuple[str, Evaluation]]] = {}
    for name, run in named:
        by_dataset.setdefault(str(run.manifest["dataset"]["judgements_digest"]), []).append((name, run))
    groups = tuple(_group(members, chosen, level, seed) for members in by_dataset.values())
    return Comparison(chosen, level, groups)


def _named(
    runs: Sequence[Evaluation | str | os.PathLike[str]] | Mapping[str, Evaluation | str | os.PathLike[str]],
) -> list[tuple[str, Evaluation]]:
    if isinstance(runs, str | os.PathLike | Evaluation):
        raise InputError("compare() takes a list of runs.")
    if isinstance(runs, Mapping):
        return [(name, _loaded(run)) for name, run in runs.items()]
    loaded = [_loaded(run) for run in runs]
    return [(run.name, run) for run in loaded]


def _loaded(run: Evaluation | str | os.PathLike[str]) -> Evaluation:
    return run if isinstance(run, Evaluation) else Evaluation.load(run)


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
    corrected = adjusted([test.p_permutation for test in tests])
    return Group(
        title=f"{dataset['name']}, split {dataset['split']}",
        names=tuple(runs),
        runs=runs,
        intervals={name: confidence_interval(values[name], level, seed) for name in runs},
        measure=measure,
        level=level,
        tests=tuple(replace(test, p_adjusted=p) for test, p in zip(tests, corrected, strict=True)),
    )
