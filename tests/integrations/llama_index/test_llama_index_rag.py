"""Query engines of LlamaIndex through evaluate_rag."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.tools import FunctionTool
from llama_index.core.workflow import StartEvent, StopEvent, Workflow, step
from llama_index.retrievers.rader import RagQueryEngine, RagWorkflow, searchable
from llama_index.retrievers.rader._rag import adapt
from llama_index_instrumentation import get_dispatcher

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
    evaluation = evaluate_rag(engine(), SUMS, "numeric")  # adapted by itself
    assert evaluation.accuracy == 1.0
    row = evaluation.rows["p3"]
    assert (row.contexts, row.ids, row.scores) == (("Double it.",), ("note on What is 3 + 3?",), (0.9,))
    assert evaluation.manifest["chain"]["description"] == {"engine": "RetrieverQueryEngine"}


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
    evaluation = evaluate_rag(RagQueryEngine(picky, description={"k": 1}), SUMS, "numeric", max_failures=0.5)
    assert evaluation.failed == {"p3": "ValueError: not this one"}
    assert evaluation.accuracy == pytest.approx(5 / 6)


class Ask(StartEvent):
    question: str


class Told(StopEvent):
    answer: str


class Steps(Workflow):
    @step
    async def answer(self, ev: Ask) -> Told:
        nodes = await Notes().aretrieve(ev.question)
        await asyncio.sleep(0)
        number = int(re.findall(r"[0-9]+", ev.question)[0])
        return Told(answer=f"By {len(nodes)} notes it is {2 * number}.")


class Loose(Workflow):
    @step
    async def answer(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result={"answer": "6", "source_nodes": Notes().retrieve(str(ev.get("query")))})


def test_a_workflow_with_events_of_its_own() -> None:
    evaluation = evaluate_rag(RagWorkflow(Steps(), description={"k": 1}), SUMS, "numeric", concurrency=3)
    assert evaluation.accuracy == 1.0
    assert all(row.ids == (f"note on {row.question}",) for row in evaluation.rows.values())
    with pytest.raises(InputError, match="input_key"):
        RagWorkflow(Loose())
    loose = asyncio.run(RagWorkflow(Loose(), input_key="query").aanswer("What is 3 + 3?"))
    assert (loose.answer, loose.ids) == ("6", ("note on What is 3 + 3?",))
    assert not [
        handler for handler in get_dispatcher().event_handlers if type(handler).__name__ == "RaderTrajectoryEvents"
    ]


async def _awaited(pending: Any) -> Any:
    return await pending


def test_an_agent_is_evaluated_as_it_is() -> None:
    def reply(messages: Any, **kwargs: Any) -> ChatMessage:
        if messages[-1].role == "tool":
            return ChatMessage(role="assistant", content=f"It is {messages[-1].content}")
        question = str(messages[-1].content)
        call = ToolCallBlock(tool_name="double", tool_kwargs={"query": question}, tool_call_id="1")
        return ChatMessage(role="assistant", blocks=[call])

    def double(query: str) -> str:
        """Double."""
        Notes().retrieve(query)
        return str(2 * int(re.findall(r"[0-9]+", query)[0]))

    llm = MockFunctionCallingLLM(response_generator=reply, is_chat_model=True)
    agent = FunctionAgent(tools=[FunctionTool.from_defaults(double)], llm=llm, streaming=False)
    evaluation = evaluate_rag(RagWorkflow(agent), SUMS, "numeric", concurrency=3)
    assert evaluation.accuracy == 1.0
    assert all(row.ids == (f"note on {row.question}",) for row in evaluation.rows.values())
    assert isinstance(adapt(agent), RagWorkflow)
    pending: Any = searchable(agent)(["What is 3 + 3?"])
    pairs = asyncio.run(_awaited(pending))
    assert [[id for id, _ in ranking] for ranking in pairs] == [["note on What is 3 + 3?"]]
