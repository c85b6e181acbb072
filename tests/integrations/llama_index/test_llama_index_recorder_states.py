"""Workflows, agents and tools: state objects are read, printed objects left out, cancelled runs are no failures."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import MockEmbedding, Response
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock
from llama_index.core.base.response.schema import PydanticResponse
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.tools import FunctionTool
from llama_index.core.workflow import Context, Event, StartEvent, StopEvent, Workflow, step
from llama_index.retrievers.rader import RaderRetriever, TrajectoryRecorder
from llama_index.retrievers.rader.recorder_reading import answer_of, nodes_of, question_of
from llama_index_instrumentation import get_dispatcher
from pydantic import BaseModel

from rader_plugins.recording import read_recorded
from rader_plugins.trajectories import Trajectory

NODES = [TextNode(id_=id, text=f"text {id}") for id in ("one", "two")]
SCORED = [NodeWithScore(node=node, score=0.5) for node in NODES]


def kinds(run: Trajectory) -> list[str]:
    return [step.kind for step in run.steps]


def documents(run: Trajectory) -> list[str]:
    return [document.id for step in run.retrievals for document in step.considered]


def scripted(tool_name: str = "search_docs") -> MockFunctionCallingLLM:
    def reply(messages: Any, **kwargs: Any) -> ChatMessage:
        if any(message.role == "tool" for message in messages):
            return ChatMessage(role="assistant", content="done")
        call = ToolCallBlock(tool_name=tool_name, tool_kwargs={"query": "q"}, tool_call_id="1")
        return ChatMessage(role="assistant", blocks=[call])

    return MockFunctionCallingLLM(response_generator=reply, is_chat_model=True)


class Ask(StartEvent):
    question: str


class Found(Event):
    nodes: list[NodeWithScore]


class Answered(StopEvent):
    answer: str
    nodes: list[NodeWithScore]


class Steps(Workflow):
    @step
    async def retrieve(self, ev: Ask) -> Found:
        return Found(nodes=SCORED)

    @step
    async def grade(self, ctx: Context, ev: Found) -> Answered:
        return Answered(answer="six", nodes=ev.nodes[:1])


class Loose(Workflow):
    """Events without declared fields, and a dict as result."""

    @step
    async def answer(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result={"answer": f"six: {ev.get('query')}", "source_nodes": SCORED})


async def test_steps_that_return_nodes_are_searches_and_custom_events_are_read(tmp_path: Path) -> None:
    with TrajectoryRecorder(tmp_path / "runs.jsonl") as recorder:
        await Steps().run(start_event=Ask(question="how many?"))
        await Loose().run(query="how many?")
    steps, loose = read_recorded(recorder.writer.path)
    assert (steps.question, steps.answer, documents(steps)) == ("how many?", "six", ["one", "two"])
    assert kinds(steps) == ["query", "retrieval", "answer"]
    assert (loose.question, loose.answer, documents(loose)) == ("how many?", "six: how many?", ["one", "two"])


@dataclasses.dataclass
class Row:
    id: str
    text: str
    score: float


class Opaque:
    pass


@pytest.mark.parametrize(
    ("name", "output", "ids", "unread"),
    [
        ("theorems", SCORED, ["one", "two"], 0),
        ("theorems", NODES, ["one", "two"], 0),
        ("theorems", str(SCORED), ["one", "two"], 0),
        ("theorems", {"nodes": SCORED}, ["one", "two"], 0),
        ("theorems", Response("both", source_nodes=SCORED), ["one", "two"], 0),
        ("search_docs", [Row("one", "text one", 0.5)], ["one"], 0),
        ("search_docs", [{"id": "one", "text": "it's one"}], ["one"], 0),
        ("search_docs", str([{"id": "one", "text": "it's one"}]), ["one"], 0),
        ("search_docs", "No results found.", [], 0),
        ("search_docs", [Opaque()], None, 1),
        ("search_docs", str(NODES[0]), None, 1),
        ("calculator", Opaque(), None, 1),
    ],
)
async def test_what_a_tool_of_an_agent_returns(
    tmp_path: Path, name: str, output: Any, ids: list[str] | None, unread: int
) -> None:
    def call(query: str) -> Any:
        """Search."""
        return output

    tool = FunctionTool.from_defaults(call, name=name)
    agent = FunctionAgent(tools=[tool], llm=scripted(name), streaming=False)
    with TrajectoryRecorder(tmp_path / "runs.jsonl", only_with_retrieval=False) as recorder:
        await agent.run(user_msg="how many?")
    [run] = read_recorded(recorder.writer.path)
    assert (run.question, run.answer) == ("how many?", "done")
    assert [documents(run)] == [ids or []]
    assert len(run.retrievals) == int(ids is not None)
    assert (recorder.counts["unread"], recorder.counts["errors"]) == (unread, 0)
    text = recorder.writer.path.read_text()
    assert not any(printed in text for printed in ("object at", "NodeWithScore(", "Row(", "Node ID"))


class Verdict(BaseModel):
    answer: str
    sure: bool = True


class Numbers(BaseModel):
    smallest: int


@pytest.mark.parametrize(
    ("result", "answer"),
    [
        (Answered(answer="six", nodes=[]), "six"),
        (StopEvent(result=Verdict(answer="six")), "six"),
        (StopEvent(result={"result": Numbers(smallest=6)}), '{"smallest": 6}'),
        (PydanticResponse(response=Numbers(smallest=6)), '{"smallest": 6}'),
        (Response(None), ""),
        (Response("six"), "six"),
        ([ChatMessage(role="user", content="q"), ChatMessage(role="assistant", content="six")], "six"),
        ([ChatMessage(role="assistant", content="of before"), ChatMessage(role="user", content="q")], ""),
        ({"messages": [ChatMessage(role="assistant", content="six")]}, "six"),
        (ChatMessage(role="assistant", content="I search", additional_kwargs={"tool_calls": [{}]}), ""),
        ({"query": "only the question"}, None),
        (SCORED, None),
        (None, None),
    ],
)
def test_answers_in_every_form(result: Any, answer: str | None) -> None:
    assert answer_of(result) == answer


def test_questions_and_nodes_in_every_form() -> None:
    loose: Any = StartEvent
    for start in (Ask(question="q"), loose(user_msg="q"), loose(input="q"), loose(topic="q")):
        assert question_of({"start_event": start}) == "q"
    history = [ChatMessage(role="user", content="q"), ChatMessage(role="assistant", content="a")]
    assert question_of({"start_event": loose(chat_history=history)}) == "q"
    for value in (SCORED, {"context": SCORED}, Found(nodes=SCORED), StopEvent(result={"answer": "a", "nodes": SCORED})):
        assert [scored.node.node_id for scored in nodes_of(value) or []] == ["one", "two"]
    assert nodes_of({"context": []}) == []
    assert [nodes_of(value) for value in ("text", 1, {"answer": "six"}, [1, 2])] == [None] * 4
    assert nodes_of(NODES, scored=True) is None


class Hangs(Workflow):
    searched: asyncio.Event
    retriever: Any

    @step
    async def answer(self, ev: Ask) -> StopEvent:
        await self.retriever.aretrieve(ev.question)
        self.searched.set()
        await asyncio.Event().wait()
        return StopEvent(result="never")


async def test_a_cancelled_run_is_no_failure(tmp_path: Path) -> None:
    retriever = RaderRetriever.from_defaults(nodes=NODES, model=MockEmbedding(embed_dim=8))
    with TrajectoryRecorder(tmp_path / "runs.jsonl") as recorder:
        workflow = Hangs(timeout=None)
        workflow.searched, workflow.retriever = asyncio.Event(), retriever
        handler = workflow.run(start_event=Ask(question="how many?"))
        await workflow.searched.wait()
        await handler.cancel_run()
        await asyncio.gather(handler, return_exceptions=True)
    [run] = read_recorded(recorder.writer.path)
    assert (run.question, run.answer, "error" in run.metadata) == ("how many?", None, False)
    assert run.metadata["closed_early"] is True


def test_a_search_by_hand_within_run(tmp_path: Path) -> None:
    with TrajectoryRecorder(tmp_path / "runs.jsonl") as recorder, recorder.run(question="How many guests?") as run:
        run.retrieved("guests", SCORED)
        run.retrieved("rows", [("not", "readable")])
        run.answer = "six"
    [recorded] = read_recorded(recorder.writer.path)
    assert (recorded.id, recorded.answer, documents(recorded)) == (run.id, "six", ["one", "two"])
    assert recorded.metadata["unread"] == 1


def test_nodes_that_are_being_indexed_are_no_search(tmp_path: Path) -> None:
    class Splitter:
        @get_dispatcher().span
        def split(self) -> list[TextNode]:
            return NODES

    with TrajectoryRecorder(tmp_path / "runs.jsonl") as recorder:
        Splitter().split()
    assert recorder.counts["skipped"] == 1
