"""Searching for the queries of an evaluation."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rader_plugins.errors import RaderError
from rader_plugins.evaluation.job import Job
from rader_plugins.evaluation.progress import Progress
from rader_plugins.evaluation.systems import UnusableResultsError, clean, one_list_each

__all__ = ["search_all"]


def search_all(
    job: Job, queries: Sequence[str], progress: Progress, on_progress: Callable[[int], object] | None
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


def _call(job: Job, batch: list[str], progress: Progress) -> str | None:
    """Search for a batch and keep its results; returns what went wrong, if the retriever raised."""
    excluded = [sorted(job.dataset.excluded.get(query, ())) for query in batch]
    texts = [job.dataset.queries[query] for query in batch]
    questions = [job.dataset.question(query) for query in batch]
    start = time.perf_counter()
    try:
        returned = job.system.search(texts, excluded, job.depth, questions)
    except UnusableResultsError:
        raise
    except Exception as error:  # noqa: BLE001 - one question must not end the run: recorded, counted and limited
        return f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - start
    lists = one_list_each(returned, len(batch))
    results, repeated = {}, 0
    for query, result, banned in zip(batch, lists, excluded, strict=True):
        scores = clean(result, query, banned)
        results[query] = list(scores.items())
        repeated += len(result) - len(scores) - (sum(pair[0] in banned for pair in result) if banned else 0)
    progress.add({"results": results, "seconds": seconds, **({"repeated": repeated} if repeated else {})})
    return None
