"""1,086 recorded runs of an agent whose searches are text: all of them, every search with its observation."""

from __future__ import annotations

import json
import re
from pathlib import Path

from rader_synthesis.importing import Corpus, ImportReport, ReactRuns, recognize

from rader_plugins.documents import Document


def test_all_runs_and_searches_are_imported(shared_data: Path) -> None:
    path = shared_data / "agent-runs" / "react_messages.jsonl"
    assert recognize([path]) == "react"
    report = ImportReport()
    runs = {run.id: run for run in ReactRuns().read(path, report)}
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert list(runs) == [row["id"] for row in rows]
    assert not report.skipped
    for row in rows:
        run = runs[row["id"]]
        searches: list[tuple[str, str]] = []
        before = ""
        for message in row["messages"]:
            actions = re.findall(r"^Action: search\[(.*)\]$", before, re.MULTILINE)
            if actions and message["role"] == "user":
                searches.append((actions[0].strip(), message["content"].removeprefix("Observation:").strip()))
            before = message["content"] if message["role"] == "assistant" else ""
        queries = [step.text for step in run.steps if step.kind == "query"]
        texts = [" ".join(document.text for document in step.considered) for step in run.retrievals]
        assert list(zip(queries, texts, strict=True)) == [
            (query, "" if text == "None" else text) for query, text in searches
        ], row["id"]
        assert run.reward in (0.0, 1.0)
        assert run.answer


def test_an_observation_is_the_document_of_the_corpus_that_holds_it(shared_data: Path) -> None:
    path = shared_data / "agent-runs" / "react_messages.jsonl"
    texts = [document.text for run in ReactRuns().read(path) for step in run.retrievals for document in step.considered]
    page = Document("page-1", f"It begins otherwise. {max(texts, key=len)} And so it ends.")
    corpus = Corpus([page, Document("page-2", "Other.")])
    ids = {
        document.id
        for run in ReactRuns(corpus=corpus).read(path)
        for step in run.retrievals
        for document in step.considered
    }
    assert "page-1" in ids
