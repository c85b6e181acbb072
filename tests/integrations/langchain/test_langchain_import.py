from __future__ import annotations

import doctest
import subprocess
import sys

import langchain_rader
import pytest
from langchain_rader import _encoders, embeddings, evaluation, query_constructor, retrievers, vectorstores

_WITHOUT = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None
import langchain_rader
"""


def _import_without(*blocked: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _WITHOUT.format(blocked=blocked)], capture_output=True, text=True, check=False
    )


def test_without_langchain_core() -> None:
    done = _import_without("langchain_core")
    assert done.returncode == 1
    assert "MissingExtraError" in done.stderr
    assert "pip install 'rader-plugins[langchain]'" in done.stderr


@pytest.mark.slow
def test_needs_langchain_core_alone() -> None:
    done = _import_without("langchain", "langchain_community", "llama_index", "torch", "sentence_transformers")
    assert done.returncode == 0, done.stderr


def test_public_names() -> None:
    assert langchain_rader.__all__ == [
        "LangChainChat",
        "RaderEmbeddings",
        "RaderReranker",
        "RaderRetriever",
        "RaderTranslator",
        "RaderVectorStore",
        "RagRunnable",
        "RecordedRun",
        "TrajectoryRecorder",
        "searchable",
    ]


@pytest.mark.parametrize("module", [embeddings, evaluation, query_constructor, retrievers, vectorstores, _encoders])
def test_examples_in_docstrings(module: object) -> None:
    names = vars(langchain_rader) | {"__name__": "examples"}
    result = doctest.testmod(module, extraglobs=names)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0
