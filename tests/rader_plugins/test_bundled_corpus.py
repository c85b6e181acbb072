"""The bundled corpus: well formed, and hard for words alone."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

import pytest

DATA = files("rader_plugins").joinpath("data/principles")


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in DATA.joinpath(name).read_text(encoding="utf-8").splitlines()]


def judgements(split: str) -> list[list[str]]:
    header, *lines = DATA.joinpath(f"qrels/{split}.tsv").read_text(encoding="utf-8").splitlines()
    assert header == "query-id\tcorpus-id\tscore"
    return [line.split("\t") for line in lines]


def test_sizes_and_ids() -> None:
    corpus = rows("corpus.jsonl")
    assert len(corpus) >= 200
    assert len({row["_id"] for row in corpus}) == len(corpus)
    assert len({row["title"] for row in corpus}) == len(corpus)
    assert all(row["text"] and row["metadata"].keys() == {"field", "kind"} for row in corpus)
    assert len(rows("queries.jsonl")) >= 60


@pytest.mark.parametrize(("split", "queries"), [("test", "queries.jsonl"), ("train", "train_queries.jsonl")])
def test_every_question_is_judged_and_every_judged_document_exists(split: str, queries: str) -> None:
    corpus = {row["_id"] for row in rows("corpus.jsonl")}
    question_ids = {row["_id"] for row in rows(queries)}
    pairs = judgements(split)
    assert {query for query, _, _ in pairs} == question_ids
    assert {document for _, document, _ in pairs} <= corpus
    assert {score for _, _, score in pairs} == {"1"}


def test_no_question_names_its_document() -> None:
    titles = {row["_id"]: row["title"] for row in rows("corpus.jsonl")}
    questions = {row["_id"]: row["text"] for row in rows("queries.jsonl")}
    for query, document, _ in judgements("test"):
        words = set(re.findall(r"[a-z]{4,}", titles[document].lower()))
        assert not words & set(re.findall(r"[a-z]+", questions[query].lower())), (query, document)


def test_the_splits_share_no_question() -> None:
    test_questions, train_questions = (
        {row["text"] for row in rows(name)} for name in ("queries.jsonl", "train_queries.jsonl")
    )
    assert not test_questions & train_questions
