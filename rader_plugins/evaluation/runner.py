"""`evaluate`: run a retriever over a data set and score what it finds."""

from __future__ import annotations

import contextlib
import json
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rader_plugins.errors import InputError, RaderError, RaderWarning
from rader_plugins.evaluation.datasets.dataset import RetrievalDataset
from rader_plugins.evaluation.progress import Progress
from rader_plugins.evaluation.rankings import separated
from rader_plugins.evaluation.result import Evaluation
from rader_plugins.evaluation.scoring import at_cutoffs, deepest, score_separated
from rader_plugins.evaluation.systems import (
    System,
    UnusableResultsError,
    as_system,
    clean,
    collapse,
    one_list_each,
    overlooked,
    versions,
)
from rader_plugins.evaluation.trec_files import unfit_id
from rader_plugins.files import canonical_json, fingerprint

__all__ = ["evaluate"]


def evaluate(
    retriever: object,
    dataset: RetrievalDataset,
    *,
    k_values: Sequence[int] = (10, 100),
    measures: Sequence[str] = ("nDCG", "R", "RR"),
    out: str | os.PathLike[str] | None = None,
    depth: int | None = None,
    batch_size: int = 1,
    collapse_chunks: bool = True,
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
        measures: Names as in ir_measures; ``nDCG`` is taken at every one of ``k_values``, ``nDCG@5`` as it is.
        out: Folder for the results (:meth:`Evaluation.save`). Finished queries are kept there as they come: the same
            call goes on where a killed one stopped, and tries again what had failed.
        depth: How many documents to ask for; by default the largest cutoff. Ask for more where many chunks of one
            document are found.
        batch_size: How many queries a call gets. 1 measures what one user waits.
        collapse_chunks: A chunk ``<id>#<n>`` counts as its document ``<id>``, which takes the score of its best chunk.
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
    names = at_cutoffs(measures, k_values)
    depth = _check(depth, max(deepest(names), *k_values), batch_size, max_failures)
    system = as_system(retriever)
    job = _Job(
        system, dataset, tuple(names), depth, batch_size, collapse_chunks, max_failures, name or _name(out, system)
    )
    manifest = job.manifest()
    with (
        contextlib.closing(system),
        Progress(Path(out) if out is not None else None, manifest).opened() as progress,
    ):
        done = {query for row in progress.rows for query in row.get("results", ())}
        if on_progress is not None and done:
            on_progress(len(done))
        failed = _search(job, [query for query in dataset.judged if query not in done], progress, on_progress)
        evaluation = _score(job, progress.rows, failed, manifest)
        if out is not None:
            evaluation.save(out)
    return evaluation


@dataclass(frozen=True)
class _Job:
    system: System
    dataset: RetrievalDataset
    measures: tuple[str, ...]
    depth: int
    batch_size: int
    collapse_chunks: bool
    max_failures: float
    name: str

    def manifest(self) -> dict[str, Any]:
        """Return everything that decides the results. Measures are not part of it: they can be added later."""
        dataset = self.dataset
        manifest: dict[str, Any] = {
            "dataset": {
                "name": dataset.name,
                "split": dataset.split,
                "digest": dataset.digest,
                "judgements_digest": dataset.judgements_digest,
                "documents": len(dataset.corpus),
                "queries": len(dataset.judged),
            },
            "retriever": dict(self.system.about),
            "depth": self.depth,
            "batch_size": self.batch_size,
            "chunks": "collapsed to their document, best score" if self.collapse_chunks else "kept",
            "ties": "in the order of the retriever",
            "versions": versions(),
        }
        try:
            return {**json.loads(canonical_json(manifest)), "fingerprint": fingerprint(manifest)}
        except (TypeError, ValueError) as error:
            raise InputError(f"What describe() of the retriever returned is not a JSON object: {error}.") from None


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


def _search(
    job: _Job, queries: Sequence[str], progress: Progress, on_progress: Callable[[int], object] | None
) -> dict[str, str]:
    """Search; results go to ``progress``. Returns query -> error."""
    failed: dict[str, str] = {}
    total = len(job.dataset.judged)
    for start in range(0, len(queries), job.batch_size):
        batch = list(queries[start : start + job.batch_size])
        error = _call(job, batch, progress)
        if error is not None and len(batch) > 1:
            # One question may have spoilt its batch: find it.
            errors = {query: _call(job, [query], progress) for query in batch}
        else:
            errors = dict.fromkeys(batch, error)
        for query, problem in errors.items():
            if problem is not None:
                failed[query] = problem
                progress.add({"query": query, "error": problem})
        if len(failed) > job.max_failures * total:
            query, problem = next(iter(failed.items()))
            raise RaderError(
                f"The retriever raised for {len(failed)} of {total} queries, more than the share of "
                f"{job.max_failures:g} that max_failures allows. The first was {query!r}: {problem}. Finished queries "
                "are kept where a folder was named: mend the retriever and run the same evaluation again."
            )
        if on_progress is not None:
            on_progress(len(batch))
    return failed


def _call(job: _Job, batch: list[str], progress: Progress) -> str | None:
    """Search for a batch and keep its results; returns what went wrong, if the retriever raised."""
    excluded = [sorted(job.dataset.excluded.get(query, ())) for query in batch]
    texts = [job.dataset.queries[query] for query in batch]
    asked = [job.dataset.question(query) for query in batch]
    start = time.perf_counter()
    try:
        found = job.system.search(texts, excluded, job.depth, asked)
    except UnusableResultsError:
        raise
    except Exception as error:  # noqa: BLE001 - one question must not end the run: recorded, counted and limited
        return f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - start
    lists = one_list_each(found, len(batch))
    results, repeated = {}, 0
    for query, result, banned in zip(batch, lists, excluded, strict=True):
        left = clean(result, query, banned)
        results[query] = list(left.items())
        repeated += len(result) - len(left) - (sum(pair[0] in banned for pair in result) if banned else 0)
    progress.add({"results": results, "seconds": seconds, **({"repeated": repeated} if repeated else {})})
    return None


def _score(
    job: _Job, rows: Sequence[Mapping[str, Any]], failed: Mapping[str, str], manifest: Mapping[str, Any]
) -> Evaluation:
    dataset = job.dataset
    raw: dict[str, dict[str, float]] = {}
    seconds: dict[str, float] = {}
    calls: list[float] = []
    for row in rows:
        for query, pairs in row.get("results", {}).items():
            raw[query] = dict(pairs)
            seconds[query] = row["seconds"]
        if "results" in row:
            calls.append(row["seconds"])
    collapsed = {query: collapse(raw.get(query, {}), dataset.corpus) for query in dataset.judged}
    merged = sum(len(raw.get(query, {})) - len(collapsed[query]) for query in dataset.judged)
    repeated = sum(row.get("repeated", 0) for row in rows)
    run: dict[str, dict[str, float]] = {}
    for query in dataset.judged:
        found = collapsed[query] if job.collapse_chunks else raw.get(query, {})
        # The chunks of an excluded document show as such only now.
        banned = dataset.excluded.get(query, frozenset())
        left = separated({document: score for document, score in found.items() if document not in banned})
        if left:
            run[query] = dict(list(left.items())[: job.depth])
    scores = score_separated(run, {query: dataset.qrels[query] for query in dataset.judged}, job.measures)
    lacking, beyond = overlooked(job.system, dataset, job.collapse_chunks)
    unfit = unfit_id(run)
    unknown = [id for found in run.values() for id in found if id not in dataset.corpus]
    if unknown and len(unknown) == sum(map(len, run.values())):
        warnings.warn(
            f"None of the {len(unknown)} results is a document of the corpus: the retriever names them {unknown[0]!r} "
            f"and the like, the corpus {next(iter(dataset.corpus))!r}. Say where the ids of the corpus stand, such as "
            "searchable(retriever, id_key='source_id') of langchain_rader or llama_index.retrievers.rader.",
            RaderWarning,
            stacklevel=3,
        )
    left_out = {
        "queries_without_judgements": len(dataset.without_judgements),
        "queries_without_relevant_documents": list(scores.without_relevant),
        "queries_without_results": [query for query in scores.without_results if query not in failed],
        "queries_failed": dict(failed),
        "queries_with_fewer_results_than_asked": sum(
            0 < len(run.get(query, {})) < job.depth for query in dataset.judged
        ),
        "queries_with_exclusions": sum(bool(dataset.excluded.get(query)) for query in dataset.judged),
        "chunks_merged": repeated + (merged if job.collapse_chunks else 0),
        "results_not_in_corpus": len(unknown),
        "corpus_documents_not_indexed": lacking,
        "indexed_documents_not_in_corpus": beyond,
        "trec_run": None if unfit is None else f"not written: the id {unfit!r} holds white space",
    }
    return Evaluation(
        mean=scores.mean,
        per_query=scores.per_query,
        run=run,
        texts={query: dataset.queries[query] for query in dataset.judged},
        seconds=seconds,
        latency=_latency(calls, len(raw), job.batch_size),
        left_out=left_out,
        manifest=manifest,
        name=job.name,
    )


def _latency(calls: Sequence[float], queries: int, batch_size: int) -> dict[str, float]:
    if not calls:
        return {"batch_size": batch_size, "calls": 0}
    milliseconds = 1000 * np.asarray(calls)
    p50, p95, p99 = np.percentile(milliseconds, [50, 95, 99]).tolist()
    total = float(np.sum(calls))
    return {
        "batch_size": batch_size,
        "calls": len(calls),
        "mean": float(milliseconds.mean()),
        "p50": p50,
        "p95": p95,
        "p99": p99,
        "max": float(milliseconds.max()),
        "queries_per_second": queries / total if total else 0.0,
    }
