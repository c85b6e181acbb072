"""`evaluate`: run a retriever over a data set and score what it finds."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from rader_plugins.errors import InputError
from rader_plugins.evaluation.datasets.dataset import RetrievalDataset
from rader_plugins.evaluation.datasets.identical_ids import leave_out_identical
from rader_plugins.evaluation.job import Job
from rader_plugins.evaluation.measures import Measure, at_cutoffs, measure_set
from rader_plugins.evaluation.outcome import outcome
from rader_plugins.evaluation.progress import Progress
from rader_plugins.evaluation.result import Evaluation
from rader_plugins.evaluation.scoring import check_measures
from rader_plugins.evaluation.searching import search_all
from rader_plugins.evaluation.systems import (
    System,
    as_system,
)

__all__ = ["evaluate"]


def evaluate(
    retriever: object,
    dataset: RetrievalDataset,
    *,
    k_values: Sequence[int] = (10, 100),
    measures: Sequence[Measure] = ("nDCG", "R", "RR"),
    out: str | os.PathLike[str] | None = None,
    depth: int | None = None,
    batch_size: int = 1,
    collapse_chunks: bool = True,
    ignore_identical_ids: bool | None = None,
    max_failures: float = 0.1,
    name: str | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> Evaluation:
    """Search for every judged query of a data set and score the results.

    Excluded documents are taken out before scoring. A query without results scores 0. So does one for which the
    retriever raises: the error is recorded and the run goes on, until too many fail. Equal scores rank in the order in
    which the retriever returns them.

    Args:
        retriever: A :class:`rader_plugins.RaderRetriever`; any callable ``list[str] -> list[list[(id, score)]]`` (see
            :class:`SearchFunction`); or an object of a framework for which an adapter is installed: a retriever or
            runnable of LangChain, a retriever or query engine of LlamaIndex.
        dataset: What to search for.
        k_values: Cutoffs at which measures without one are taken.
        measures: Names as in ir_measures, its objects, or functions ``(qrels, run) -> {query: value}``; ``nDCG`` is
            taken at every one of ``k_values``, ``nDCG@5`` as it is. They are tried before anything is searched.
        out: Folder for the results (:meth:`Evaluation.save`). Finished queries are kept there as they come: the same
            call goes on where a killed one stopped, and tries again what had failed.
        depth: How many documents to ask for; by default the largest cutoff. Ask for more where many chunks of one
            document are found.
        batch_size: How many queries a call gets. 1 measures what one user waits.
        collapse_chunks: A chunk ``<id>#<n>`` counts as its document ``<id>``, which takes the score of its best chunk.
        ignore_identical_ids: BEIR's rule for queries that are documents of the corpus under their own id: True leaves
            that document out of the ranking, False does not. None leaves it out where it holds the query's text and is
            not judged relevant; what was done is among :attr:`Evaluation.left_out`.
        max_failures: The largest share of queries, 0 to 1, for which the retriever may raise.
        name: What to call the run in comparisons; by default the name of ``out``, or the mode of the retriever.
        on_progress: Called with the number of queries finished since its last call.

    Returns:
        Figures, latencies, the run, the manifest and what was left out.

    Raises:
        InputError: An argument, or what the retriever returned, is unusable (a score that is NaN, say), or ``out``
            holds another evaluation.
        RaderError: The retriever raised for too many queries. What was finished is kept.
        MissingExtraError: ir_measures is not installed.

    Example:
        >>> from rader_plugins.evaluation import RetrievalDataset, evaluate
        >>> dataset = RetrievalDataset.from_folder("theoremqa", split="dev")  # doctest: +SKIP
        >>> evaluate(retriever, dataset, out="runs/hybrid").mean["nDCG@10"]  # doctest: +SKIP
        0.672
    """
    with_cutoffs = at_cutoffs(measures, k_values)
    parsed = measure_set(with_cutoffs)
    depth = _check(depth, max(parsed.deepest, *k_values), batch_size, max_failures)
    dataset, identical = leave_out_identical(dataset, ignore_identical_ids)
    check_measures(with_cutoffs, {query: dataset.qrels[query] for query in dataset.judged}, dataset.aspects)
    system = as_system(retriever)
    label = name or _name(out, system)
    job = Job(system, dataset, tuple(with_cutoffs), depth, batch_size, collapse_chunks, max_failures, label, identical)
    manifest = job.manifest()
    with (
        contextlib.closing(system),
        Progress(Path(out) if out is not None else None, manifest).opened() as progress,
    ):
        done = {query for row in progress.rows for query in row.get("results", ())}
        if on_progress is not None and done:
            on_progress(len(done))
        failed = search_all(job, [query for query in dataset.judged if query not in done], progress, on_progress)
        evaluation = outcome(job, progress.rows, failed, manifest)
        if out is not None:
            evaluation.save(out)
    return evaluation


def _check(depth: int | None, deepest_cutoff: int, batch_size: int, max_failures: float) -> int:
    if depth is not None and depth < deepest_cutoff:
        raise InputError(
            f"depth {depth} is less than the largest cutoff {deepest_cutoff}: its figure would be too low."
        )
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, not {batch_size}.")
    if not 0 <= max_failures <= 1:
        raise InputError(f"max_failures is a share of the queries, 0 to 1, not {max_failures}.")
    return depth or deepest_cutoff


def _name(out: str | os.PathLike[str] | None, system: System) -> str:
    if out is not None:
        return Path(out).resolve().name
    return str(system.about.get("mode") or system.about.get("name", "run"))
