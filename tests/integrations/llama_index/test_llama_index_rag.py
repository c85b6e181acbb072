"""Query engines of LlamaIndex through evaluate_rag."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.retrievers.rader import RagQueryEngine
from llama_index.retrievers.rader._rag import adapt

from rader_plugins import evaluate_rag
from rader_plugins.errors import InputError
from rader_plugins.problems import Problem
from tests.support.entries import declared

pytest.importorskip("scipy")

SUMS = [Problem(f"p{at}", f"What is {at} + {at}?", str(2 * at)) for at in range(6)]


class Notes(BaseRetriever):
    """Finds a note on the question."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        node = TextNode(text="Double it.", id_=f"note on {query_bundle.query_str}")
        return [NodeWithScore(node=node, score=0.9)]


class Doubles(CustomLLM):
    """Doubles the number of the question, if a note says so."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata()

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        number = int(re.findall(r"What is ([0-9]+)", prompt)[-1])
        return CompletionResponse(text=f"The answer is {2 * number if 'Double it' in prompt else number}.")

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        yield self.complete(prompt, **kwargs)


def engine(**options: Any) -> RetrieverQueryEngine:
    return RetrieverQueryEngine(Notes(), get_response_synthesizer(llm=Doubles(), **options))


def test_a_query_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rader_plugins.evaluation.adapters.entry_points", lambda group: declared(group))
    found = evaluate_rag(engine(), SUMS, "numeric")  # adapted by itself
    assert found.accuracy == 1.0
    row = found.rows["p3"]
    assert (row.contexts, row.ids, row.scores) == (("Double it.",), ("note on What is 3 + 3?",), (0.9,))
    assert found.manifest["chain"]["description"] == {"engine": "RetrieverQueryEngine"}


def test_what_cannot_be_evaluated() -> None:
    with pytest.raises(InputError, match="remembers"):
        adapt(SimpleChatEngine.from_defaults(llm=Doubles()))
    assert adapt(5) is None
    with pytest.raises(InputError, match="not int"):
        RagQueryEngine(5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="streams"):
        asyncio.run(RagQueryEngine(engine(streaming=True)).aanswer("What is 3 + 3?"))


def test_an_engine_that_raises_on_one_question() -> None:
    class Picky(Notes):
        def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            if "3" in query_bundle.query_str:
                raise ValueError("not this one")
            return super()._retrieve(query_bundle)

    picky = RetrieverQueryEngine(Picky(), get_response_synthesizer(llm=Doubles()))
    found = evaluate_rag(RagQueryEngine(picky, description={"k": 1}), SUMS, "numeric", max_failures=0.5)
    assert found.failed == {"p3": "ValueError: not this one"}
    assert found.accuracy == pytest.approx(5 / 6)
