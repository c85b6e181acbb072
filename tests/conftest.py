from __future__ import annotations

import json
import os
from importlib.resources import files
from pathlib import Path

import pytest

# No test may wait for a hub; what a test needs is installed, made by it or skipped.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from rader_plugins import Document, Encoder, load_encoder  # noqa: E402

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def mini() -> Encoder:
    pytest.importorskip("sentence_transformers")
    return load_encoder("mini")


@pytest.fixture(scope="session")
def principles() -> list[Document]:
    """The documents of the bundled corpus."""
    corpus = files("rader_plugins").joinpath("data/principles/corpus.jsonl").read_text(encoding="utf-8")
    return [
        Document(id=row["_id"], text=f"{row['title']} {row['text']}", metadata=row["metadata"])
        for row in map(json.loads, corpus.splitlines())
    ]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Development data that lies beside a checkout; tests that use it are skipped elsewhere."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs the development data beside the checkout (public sets; see docs/benchmarks.md)")
    return SHARED_DATA
