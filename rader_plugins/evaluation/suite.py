"""`evaluate_all`: one kind of retriever on many data sets, and its average over them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError
from rader_plugins.evaluation.datasets.dataset import RetrievalDataset
from rader_plugins.evaluation.datasets.names import check_names, expand_names, open_dataset
from rader_plugins.evaluation.remarks import percent
from rader_plugins.evaluation.result import Evaluation
from rader_plugins.evaluation.runner import evaluate
from rader_plugins.evaluation.tables import text_table

__all__ = ["Suite", "evaluate_all", "folder_name"]


@dataclass(frozen=True, repr=False)
class Suite:
    """Evaluations of one kind of retriever on several data sets.

    Attributes:
        evaluations: Title of the data set -> evaluation.
        name: What to call the system in comparisons.
    """

    evaluations: Mapping[str, Evaluation]
    name: str = "run"

    @property
    def mean(self) -> dict[str, float]:
        """Measure -> mean of the means of all data sets, each of the same weight; of measures that all have."""
        runs = list(self.evaluations.values())
        names = [name for name in runs[0].mean if all(name in run.mean for run in runs)]
        return {name: sum(run.mean[name] for run in runs) / len(runs) for name in names}

    def __repr__(self) -> str:
        """Show a table of the data sets and the average; figures x 100."""
        return self.table()

    def table(self, room: int = 0) -> str:
        """Return a table of the data sets and the average, as wide as ``room`` (0: any); figures x 100."""
        average = self.mean
        rows = [
            [title, str(len(run.per_query)), *(percent(run.mean[name]) for name in average)]
            for title, run in self.evaluations.items()
        ]
        rows.append(["average", "", *map(percent, average.values())])
        return "\n".join(text_table(["data set (figures x 100)", "questions", *average], rows, room=room))


def evaluate_all(
    make_retriever: Callable[[RetrievalDataset], object],
    datasets: Iterable[RetrievalDataset | str],
    *,
    out: str | os.PathLike[str],
    name: str | None = None,
    **options: Any,
) -> Suite:
    """Evaluate a retriever that is made anew for every data set.

    Args:
        make_retriever: Gets a data set, indexes its corpus and returns what :func:`evaluate` takes; a retriever with a
            method ``close`` is closed afterwards.
        datasets: Data sets, or what ``rader evaluate`` calls them; ``bright:all`` is all of BRIGHT.
        out: Folder with one folder for every data set. The same call goes on where a stopped one stopped.
        name: What to call the system in comparisons; by default the name of ``out``.
        **options: Keyword arguments of :func:`evaluate`.

    Raises:
        InputError: There is no data set, or two of one name.

    Example:
        >>> suite = evaluate_all(make_retriever, ["bright:all"], out="runs/hybrid")  # doctest: +SKIP
        >>> print(suite)  # doctest: +SKIP
    """
    folder = Path(out)
    label = name or folder.resolve().name
    evaluations: dict[str, Evaluation] = {}
    for dataset in _each(list(datasets)):
        if dataset.title in evaluations:
            raise InputError(f"There are two data sets called {dataset.title!r}. Evaluate them apart.")
        retriever = make_retriever(dataset)
        part = folder / folder_name(dataset.title)
        try:
            evaluations[dataset.title] = evaluate(retriever, dataset, out=part, name=label, **options)
        finally:
            close = getattr(retriever, "close", None)
            if callable(close):
                close()
    if not evaluations:
        raise InputError("Name at least one data set.")
    return Suite(evaluations, label)


def _each(datasets: list[RetrievalDataset | str]) -> Iterator[RetrievalDataset]:
    """Load one after the other: together they may not fit into memory."""
    names = check_names([dataset for dataset in datasets if isinstance(dataset, str)])
    for dataset in datasets:
        if isinstance(dataset, str):
            yield from (open_dataset(name) for name in names if name in expand_names([dataset]))
        else:
            yield dataset


def folder_name(title: str) -> str:
    """Return the name of the folder for a data set.

    Example:
        >>> folder_name("mteb/scifact, split test")
        'mteb-scifact-test'
    """
    return re.sub(r"[^\w.@]+", "-", title.replace(", split ", "-"))
