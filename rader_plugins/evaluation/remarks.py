"""What a finished evaluation is, and what it left out, in a few words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rader_plugins.recipes.training_data import training_data

__all__ = ["dataset_title", "facts", "model_remarks", "percent", "remarks", "settings"]

# Of these a first one is shown: a query and a document.
_NAMED = ("judgements_of_lost_documents", "excluded_relevant_documents")


def settings(manifest: Mapping[str, Any]) -> str:
    """Say in a few words what a run is."""
    about = manifest["retriever"]
    if about.get("kind") != "RaderRetriever":
        return str(about.get("name", about.get("kind", "")))
    alpha = f", alpha {about['alpha']:g}" if about.get("alpha") is not None else ""
    model = "" if about["mode"] == "bm25" else f", {about['recipe']['name']}"
    reranked = f", {about['reranker']['kind']}" if about.get("reranker") else ""
    return f"{about['mode']}{alpha}{model}{reranked}"


def dataset_title(manifest: Mapping[str, Any]) -> str:
    """Return data set and split."""
    dataset = manifest["dataset"]
    return f"{dataset['name']}, split {dataset['split']}"


def facts(
    mean: Mapping[str, float], latency: Mapping[str, float], left_out: Mapping[str, Any], manifest: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """Return what an evaluation says of itself, as pairs of a name and a text; figures x 100."""
    pairs = [
        ("data set", f"{dataset_title(manifest)}: {manifest['dataset']['queries']:,} questions"),
        ("retriever", settings(manifest)),
        *((name, percent(value)) for name, value in mean.items()),
    ]
    if "p50" in latency:
        pairs.append(
            (
                "latency",
                f"median {latency['p50']:.1f} ms, 95% under {latency['p95']:.1f} ms, "
                f"{latency['queries_per_second']:,.1f} queries a second",
            )
        )
    pairs += [("left out", text) for text in remarks(left_out)]
    return pairs + [("remark", text) for text in model_remarks(manifest)]


def percent(value: float) -> str:
    """Write a figure x 100, as all tables do."""
    return f"{100 * value:.2f}"


def model_remarks(manifest: Mapping[str, Any]) -> list[str]:
    """Say where a model was trained on the corpora of the benchmark that it is evaluated on."""
    name, retriever = str(manifest["dataset"]["name"]), manifest["retriever"]
    model = (retriever.get("recipe") or {}).get("model")
    data = None if model is None or retriever.get("mode") == "bm25" else training_data(str(model))
    if data is None or not data.saw_bright or "bright" not in name.lower():
        return []
    if data.splits and manifest["dataset"]["split"] not in data.splits:
        return []
    return [f"{model} saw BRIGHT's corpora in training: {data.remark}"]


def remarks(left_out: Mapping[str, Any]) -> list[str]:
    """Say what was left out of a run or counts as 0."""
    labels = {
        "queries_failed": "{} queries failed and count as 0",
        "queries_without_text": "{} queries are empty: what is found for them means nothing",
        "queries_without_results": "{} queries without results count as 0",
        "queries_without_relevant_documents": "{} queries have no relevant document and count as 0",
        "queries_without_judgements": "{} queries without judgements, not evaluated",
        "judgements_of_lost_documents": "{} judgements of documents or queries that are not there",
        "excluded_relevant_documents": "{} documents are judged relevant and excluded for the same query",
        "results_not_in_corpus": "{} results are not in the corpus",
        "corpus_documents_not_indexed": "{} documents of the corpus are not in the index",
        "indexed_documents_not_in_corpus": "{} documents of the index are not in the corpus",
        "chunks_merged": "{} chunks merged into their documents",
    }
    texts = []
    for key, label in labels.items():
        value = left_out.get(key, 0)
        number = value if isinstance(value, int) else len(value)
        if number:
            first = f" (such as {_first(value)})" if key in _NAMED else ""
            texts.append(label.format(f"{number:,}") + first)
    return texts + [text for text in (left_out.get("queries_with_identical_ids"),) if text]


def _first(value: Any) -> str:
    return " for ".join(map(repr, reversed(value[0])))
