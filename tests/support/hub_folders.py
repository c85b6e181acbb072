"""Folders laid out as data sets of the Hugging Face hub are."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BRIGHT_SPLIT = "theoremqa_theorems"

MTEB_CARD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: qrels/train.jsonl
  - split: test
    path: qrels/test.jsonl
- config_name: corpus
  data_files:
  - split: corpus
    path: corpus.jsonl
- config_name: queries
  data_files:
  - split: queries
    path: queries.jsonl
---
# A data set
"""

TEXTS = {
    "ramsey": "Ramsey's theorem: among any six people three know each other or three do not.",
    "pigeonhole": "Pigeonhole principle: more pigeons than holes means a hole with two pigeons.",
    "euclid": "Euclid's theorem: there are infinitely many primes.",
    "light": "The speed of light in vacuum is a constant of nature.",
}


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
    return path


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path


def bright_examples(reasoned: bool = False) -> list[dict[str, Any]]:
    texts = {"0": "How many guests must I invite so that three share a hobby?", "1": "Do primes end?"}
    steps = {"0": "This is Ramsey's theorem for people who know each other.", "1": "Euclid: infinitely many primes."}
    gold = {"0": ["ramsey"], "1": ["euclid"]}
    return [
        {
            "query": steps[id] if reasoned else texts[id],
            "reasoning": "N/A",
            "id": id,
            "excluded_ids": ["pigeonhole", "light"] if id == "0" else ["N/A"],
            "gold_ids_long": ["page"] if id == "0" else ["other-page"],
            "gold_ids": gold[id],
            "gold_answer": "",
        }
        for id in ("0", "1")
    ]


def write_bright(home: Path, split: str = BRIGHT_SPLIT) -> Path:
    """A copy of one split of BRIGHT: only that split's files, without a card, as --include fetches them."""
    shard = f"{split}-00000-of-00001.parquet"
    documents = [{"id": id, "content": text} for id, text in TEXTS.items()]
    write_parquet(home / "documents" / f"{split}-00000-of-00002.parquet", documents[:2])
    write_parquet(home / "documents" / f"{split}-00001-of-00002.parquet", documents[2:])
    pages = [{"id": "page", "content": "A page about parties."}, {"id": "other-page", "content": "A page on primes."}]
    write_parquet(home / "long_documents" / shard, pages)
    write_parquet(home / "examples" / shard, bright_examples())
    for writer in ("gpt4", "claude-3-opus", "Gemini-1.0", "llama3-70b", "grit"):
        write_parquet(home / f"{writer}_reason" / shard, bright_examples(reasoned=True))
    return home


def beir_rows() -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[tuple[str, str, int]]]:
    corpus = [
        {"_id": str(number), "title": text.split(":")[0] if ":" in text else "", "text": text}
        for number, text in enumerate(TEXTS.values(), start=4)
    ]
    queries = [{"_id": "1", "text": "six people"}, {"_id": "2", "text": "primes"}, {"_id": "3", "text": "light"}]
    return corpus, queries, [("1", "4", 2), ("2", "6", 1), ("2", "5", 0)]


def write_beir(home: Path) -> Path:
    """As ``BeIR/scifact``: Parquet, and judgements in a repository beside it."""
    corpus, queries, qrels = beir_rows()
    write_parquet(home / "corpus" / "corpus-00000-of-00001.parquet", corpus)
    write_parquet(home / "queries" / "queries-00000-of-00001.parquet", queries)
    lines = "".join(f"{query}\t{document}\t{grade}\n" for query, document, grade in qrels)
    beside = home.with_name(f"{home.name}-qrels")
    beside.mkdir()
    (beside / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{lines}", encoding="utf-8")
    return home


def write_mteb(home: Path, *, card: bool = True, ending: str = "jsonl") -> Path:
    """As ``mteb/scifact``: JSON lines, judgements in the configuration ``default``, with scores that are floats."""
    corpus, queries, qrels = beir_rows()
    write_lines(home / f"corpus.{ending}", corpus)
    write_lines(home / f"queries.{ending}", queries)
    for split, rows in (("test", qrels), ("train", [("3", "7", 1)])):
        write_lines(
            home / "qrels" / f"{split}.jsonl",
            [{"query-id": query, "corpus-id": document, "score": float(grade)} for query, document, grade in rows],
        )
    if card:
        (home / "README.md").write_text(MTEB_CARD, encoding="utf-8")
    return home
