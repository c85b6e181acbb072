"""What a finished evaluation is, and what it left out, in a few words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["remarks", "settings"]


def settings(manifest: Mapping[str, Any]) -> str:
    """Say in a few words what a run is."""
    about = manifest["retriever"]
    if about.get("kind") != "RaderRetriever":
        return str(about.get("name", about.get("kind", "")))
    alpha = f", alpha {about['alpha']:g}" if about.get("alpha") is not None else ""
    model = "" if about["mode"] == "bm25" else f", {about['recipe']['name']}"
    reranked = f", {about['reranker']['kind']}" if about.get("reranker") else ""
    return f"{about['mode']}{alpha}{model}{reranked}"


def remarks(left_out: Mapping[str, Any]) -> list[str]:
    """Say what was left out of a run or counts as 0."""
    labels = {
        "queries_failed": "{} queries failed and count as 0",
        "queries_without_results": "{} queries without results count as 0",
        "queries_without_relevant_documents": "{} queries have no relevant document and count as 0",
        "queries_without_judgements": "{} queries without judgements, not evaluated",
        "results_not_in_corpus": "{} results are not in the corpus",
        "corpus_documents_not_indexed": "{} documents of the corpus are not in the index",
        "indexed_documents_not_in_corpus": "{} documents of the index are not in the corpus",
        "chunks_merged": "{} chunks merged into their documents",
    }
    found = []
    for key, label in labels.items():
        value = left_out.get(key, 0)
        number = value if isinstance(value, int) else len(value)
        if number:
            found.append(label.format(f"{number:,}"))
    return found
