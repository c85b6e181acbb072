"""nDCG@10 on development data whose figures were computed independently, through the command line's own parts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rader_plugins import Document, Encoder, RaderIndex, RaderRetriever

# Reference figures (x 100) with all-MiniLM-L6-v2; BM25 with a slightly different tokenizer, hence the wider margin.
REFERENCE = {"dense": (65.3, 0.5), "bm25": (54.6, 1.0), "hybrid": (67.2, 1.0)}


@pytest.fixture(scope="module")
def theoremqa(shared_data: Path, mini: Encoder) -> tuple[RaderIndex, dict[str, str], dict[str, set[str]]]:
    folder = shared_data / "theoremqa"
    index = RaderIndex.create(None, encoder=mini)
    corpus = [json.loads(line) for line in (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    index.add([Document(id=row["_id"], text=f"{row['title']} {row['text']}".strip()) for row in corpus])
    lines = (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    queries = {row["_id"]: row["text"] for row in map(json.loads, lines)}
    relevant: dict[str, set[str]] = {}
    for line in (folder / "qrels" / "dev.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, _ = line.split("\t")
        relevant.setdefault(query, set()).add(document)
    return index, queries, relevant


@pytest.mark.parametrize("mode", REFERENCE)
def test_theoremqa(theoremqa: tuple[RaderIndex, dict[str, str], dict[str, set[str]]], mode: str) -> None:
    index, queries, relevant = theoremqa
    names = [name for name in queries if name in relevant]
    results = RaderRetriever(index, mode=mode).search_batch([queries[name] for name in names], 10)  # type: ignore[arg-type]
    scores = []
    for name, hits in zip(names, results, strict=True):
        gains = [hit.document.id in relevant[name] for hit in hits]
        ideal = sum(1 / np.log2(position + 2) for position in range(min(10, len(relevant[name]))))
        scores.append(sum(gain / np.log2(position + 2) for position, gain in enumerate(gains)) / ideal)
    expected, margin = REFERENCE[mode]
    assert 100 * np.mean(scores) == pytest.approx(expected, abs=margin)
