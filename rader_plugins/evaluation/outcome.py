"""From the results of all queries to an :class:`Evaluation`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rader_plugins.evaluation.job import Job
from rader_plugins.evaluation.rankings import separated
from rader_plugins.evaluation.result import Evaluation
from rader_plugins.evaluation.scoring import Scores, score_separated
from rader_plugins.evaluation.systems import UnusableResultsError, collapse, overlooked
from rader_plugins.evaluation.trec_files import unfit_id

__all__ = ["outcome"]

_TEXTS_OF_BEST = 10
_LONGEST_TEXT = 1000


def outcome(
    job: Job, rows: Sequence[Mapping[str, Any]], failed: Mapping[str, str], manifest: Mapping[str, Any]
) -> Evaluation:
    """Score the results.

    Args:
        job: What was to be done.
        rows: What :class:`Progress` kept.
        failed: Query -> what the retriever raised for it.
        manifest: Manifest of the job whose results are scored.

    Raises:
        UnusableResultsError: None of the results is a document of the corpus.
    """
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
    run, merged = _run(job, raw)
    _check_results(job, run)
    judgements = {query: dataset.qrels[query] for query in dataset.judged}
    scores = score_separated(run, judgements, job.measures, dataset.aspects)
    repeated = sum(row.get("repeated", 0) for row in rows)
    return Evaluation(
        mean=scores.mean,
        per_query=scores.per_query,
        run=run,
        texts={query: dataset.queries[query] for query in dataset.judged},
        seconds=seconds,
        latency=_latency(calls, len(raw), job.batch_size),
        left_out=_left_out(job, run, scores, failed, repeated + merged),
        manifest=manifest,
        name=job.name,
        judgements=judgements,
        documents=_texts(job, run),
    )


def _run(job: Job, raw: Mapping[str, Mapping[str, float]]) -> tuple[dict[str, dict[str, float]], int]:
    """Return the run as it is scored, and how many chunks were merged into their documents."""
    dataset = job.dataset
    run: dict[str, dict[str, float]] = {}
    merged = 0
    for query in dataset.judged:
        scores = raw.get(query, {})
        if job.collapse_chunks:
            collapsed = collapse(scores, dataset.corpus)
            merged += len(scores) - len(collapsed)
            scores = collapsed
        # The chunks of an excluded document show as such only now.
        excluded = dataset.excluded.get(query, frozenset())
        order = separated({document: score for document, score in scores.items() if document not in excluded})
        if order:
            run[query] = dict(list(order.items())[: job.depth])
    return run, merged


def _check_results(job: Job, run: Mapping[str, Mapping[str, float]]) -> None:
    corpus = job.dataset.corpus
    if run and not any(id in corpus for documents in run.values() for id in documents):
        first = next(iter(next(iter(run.values()))))
        raise UnusableResultsError(
            f"None of the {sum(map(len, run.values()))} results is a document of the corpus: the retriever names them "
            f"{first!r} and the like, the corpus {next(iter(corpus))!r}. Say where the ids of the corpus stand, such "
            "as searchable(retriever, id_key='source_id') of langchain_rader or llama_index.retrievers.rader."
        )


def _texts(job: Job, run: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """Return the texts of what was right and of the best that was retrieved, for reports; long ones are cut."""
    corpus = job.dataset.corpus
    ids: dict[str, None] = {}
    for query in job.dataset.judged:
        relevant = [id for id, grade in job.dataset.qrels[query].items() if grade > 0]
        ids |= dict.fromkeys((*relevant, *list(run.get(query, ()))[:_TEXTS_OF_BEST]))
    return {id: corpus[id].text[:_LONGEST_TEXT] for id in ids if id in corpus}


def _left_out(
    job: Job, run: Mapping[str, Mapping[str, float]], scores: Scores, failed: Mapping[str, str], merged: int
) -> dict[str, Any]:
    """Return what was not counted, or counts as 0."""
    dataset = job.dataset
    lacking, beyond = overlooked(job.system, dataset, job.collapse_chunks)
    unfit = unfit_id(run)
    return {
        "queries_without_judgements": len(dataset.without_judgements),
        "queries_without_relevant_documents": list(scores.without_relevant),
        "queries_without_results": [query for query in scores.without_results if query not in failed],
        "queries_without_text": [query for query in dataset.judged if not dataset.queries[query].strip()],
        "queries_failed": dict(failed),
        "queries_with_fewer_results_than_asked": sum(
            0 < len(run.get(query, {})) < job.depth for query in dataset.judged
        ),
        "queries_with_exclusions": sum(bool(dataset.excluded.get(query)) for query in dataset.judged),
        "queries_with_identical_ids": job.identical.remark(),
        "judgements_of_lost_documents": [list(pair) for pair in dataset.lost],
        "excluded_relevant_documents": [list(pair) for pair in dataset.excluded_relevant],
        "chunks_merged": merged,
        "results_not_in_corpus": sum(id not in dataset.corpus for documents in run.values() for id in documents),
        "corpus_documents_not_indexed": lacking,
        "indexed_documents_not_in_corpus": beyond,
        "trec_run": None if unfit is None else f"not written: the id {unfit!r} holds white space",
    }


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
