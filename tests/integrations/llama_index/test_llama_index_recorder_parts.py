"""Workflows that wait for someone: what resumes them is the same run, in whatever process each part was recorded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.evaluation import FaithfulnessEvaluator
from llama_index.core.llms import MockLLM
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import TextNode
from llama_index.core.tools import RetrieverTool, ToolMetadata
from llama_index.core.workflow import (
    Context,
    HumanResponseEvent,
    InputRequiredEvent,
    StartEvent,
    StopEvent,
    Workflow,
    step,
)
from llama_index.postprocessor.rader.tool_text import asked_text
from llama_index.retrievers.rader import RaderRetriever, TrajectoryRecorder

from rader_plugins.recording import MergeReport, read_recorded
from rader_plugins.trajectories import Trajectory

NODES = [TextNode(id_=id, text=f"text {id}") for id in ("one", "two", "three")]
RETRIEVER = RaderRetriever.from_defaults(nodes=NODES, model=MockEmbedding(embed_dim=8), similarity_top_k=2)


class Approval(Workflow):
    """Searches, lets a model write something, asks whether it may go on, and answers."""

    @step
    async def search(self, ctx: Context, ev: StartEvent) -> InputRequiredEvent:
        await ctx.store.set("found", len(await RETRIEVER.aretrieve(ev.question)))
        MockLLM(max_tokens=2).complete("an interim remark")
        return InputRequiredEvent(prefix="may I?")  # type: ignore[call-arg]

    @step
    async def answer(self, ctx: Context, ev: HumanResponseEvent) -> StopEvent:
        return StopEvent(result=f"six {await ctx.store.get('found')} {ev.response}")


def kinds(run: Trajectory) -> list[str]:
    return [step.kind for step in run.steps]


@pytest.fixture
async def waiting() -> AsyncIterator[list[Any]]:
    """Handlers that an application left waiting; ended after the test, as LlamaIndex would warn of them."""
    handlers: list[Any] = []
    yield handlers
    for handler in handlers:
        await stop(handler)


async def stop(handler: Any) -> None:
    await handler.cancel_run()
    await asyncio.gather(handler, return_exceptions=True)


async def ask(question: str, waiting: list[Any] | None = None) -> dict[str, Any]:
    """Run the workflow until it waits, and keep its context as an application would."""
    handler = Approval(timeout=None).run(question=question)
    async for event in handler.stream_events():
        if isinstance(event, InputRequiredEvent):
            break
    assert handler.ctx is not None
    context = handler.ctx.to_dict()
    if waiting is None:
        await stop(handler)
    else:
        waiting.append(handler)
    return context


async def resume(context: dict[str, Any]) -> None:
    workflow = Approval(timeout=None)
    handler = workflow.run(ctx=Context.from_dict(workflow, context))
    assert handler.ctx is not None
    handler.ctx.send_event(HumanResponseEvent(response="yes"))  # type: ignore[call-arg]
    assert await handler == "six 2 yes"


@pytest.mark.parametrize("cancel", [True, False], ids=["cancelled", "left waiting"])
async def test_parts_of_one_name_are_one_run(tmp_path: Path, waiting: list[Any], cancel: bool) -> None:
    path, report = tmp_path / "runs.jsonl", MergeReport()
    with TrajectoryRecorder(path) as recorder, recorder.run() as run:
        context = await ask("how many?", None if cancel else waiting)
    with TrajectoryRecorder(path) as recorder, recorder.run("another"):  # of somebody else, in between
        await ask("unanswered?")
    with TrajectoryRecorder(path) as recorder:  # as in another process
        with recorder.run(run.id):
            await resume(context)
        recorder.feedback(run.id, reward=1.0, comment="good")
    joined, other = read_recorded(path, report)
    assert (joined.question, joined.answer, joined.reward) == ("how many?", "six 2 yes", 1.0)
    assert kinds(joined) == ["query", "retrieval", "thought", "answer"]
    assert joined.metadata["feedback"] == ["good"]
    assert "closed_early" not in joined.metadata
    assert (other.question, other.answer, other.metadata["closed_early"]) == ("unanswered?", None, True)
    assert (report.resumed, report.repeated, report.ambiguous, report.fragments) == (1, [], [], [])


async def test_parts_without_a_name_stay_apart_and_nothing_that_waits_has_an_answer(
    tmp_path: Path, waiting: list[Any]
) -> None:
    with TrajectoryRecorder(tmp_path / "runs.jsonl") as recorder:
        for handlers in (None, waiting):
            await resume(await ask("how many?", handlers))
    runs = list(read_recorded(recorder.writer.path))
    assert [(run.question, run.answer) for run in runs] == [("how many?", None)] * 2
    assert all(run.metadata["closed_early"] for run in runs)
    assert recorder.counts["errors"] == 0


async def test_an_agent_that_is_cancelled_keeps_what_it_said_and_a_stream_nobody_read_what_it_found(
    tmp_path: Path,
) -> None:
    started = asyncio.Event()

    def reply(messages: Any, **kwargs: Any) -> ChatMessage:
        if messages[-1].role == "tool":
            started.set()
            return ChatMessage(role="assistant", content="done")
        return ChatMessage(
            role="assistant", blocks=[ToolCallBlock(tool_name="find", tool_kwargs={"input": "q"}, tool_call_id="1")]
        )

    tool = RetrieverTool(RETRIEVER, ToolMetadata(name="find", description="Searches."))
    llm = MockFunctionCallingLLM(response_generator=reply, is_chat_model=True)
    with TrajectoryRecorder(tmp_path / "runs.jsonl") as recorder:
        handler = FunctionAgent(tools=[tool], llm=llm, streaming=False).run(user_msg="agent")
        await started.wait()
        await stop(handler)
        RetrieverQueryEngine.from_args(RETRIEVER, llm=MockLLM(max_tokens=3), streaming=True).query("unread")
    runs = {run.question: run for run in read_recorded(recorder.writer.path)}
    assert runs["agent"].answer in ("done", None)  # as far as it came
    assert (runs["unread"].answer, kinds(runs["unread"])) == (None, ["query", "retrieval"])
    assert runs["unread"].metadata["closed_early"] is True


async def test_what_evaluates_the_application_can_be_left_out(tmp_path: Path) -> None:
    evaluator = FaithfulnessEvaluator(llm=MockLLM(max_tokens=3))
    engine = RetrieverQueryEngine.from_args(RETRIEVER, llm=MockLLM(max_tokens=3))
    with TrajectoryRecorder(tmp_path / "runs.jsonl") as recorder:
        with recorder.paused():
            evaluator.evaluate(query="q", response="r", contexts=["c"])
            await evaluator.aevaluate(query="q", response="r", contexts=["c"])
            assert recorder.tracker.open_runs == 0
        with recorder.run(question="mine"):
            engine.query("q")
            with recorder.paused():
                engine.query("left out")
    [run] = read_recorded(recorder.writer.path)
    assert ([step.text for step in run.steps if step.kind == "query"], recorder.counts["errors"]) == (["q"], 0)


async def test_the_question_of_a_retriever_tool_is_what_the_agent_asked(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    retriever = RaderRetriever.from_defaults(nodes=NODES, model=MockEmbedding(embed_dim=8), mode="bm25")
    tool = RetrieverTool(retriever, ToolMetadata("look it up", name="search"))
    with TrajectoryRecorder(path) as recorder:
        with recorder.run():
            tool.call(input="text one")
        with recorder.run():
            tool.call("text two")
        with recorder.run():
            await tool.acall(question="text three")
    asked = [step.text for run in read_recorded(path) for step in run.steps if step.kind == "query"]
    assert asked == ["text one", "text two", "text three"]
    # "input" and "is" are words of the tool, not of the question.
    named = TextNode(id_="input", text="the input is given")
    retriever = RaderRetriever.from_defaults(nodes=[*NODES, named], model=MockEmbedding(embed_dim=8), mode="bm25")
    output = RetrieverTool(retriever, ToolMetadata("look it up", name="search")).call(input="text one")
    assert output.raw_output[0].node_id == "one"
    assert "input" not in [scored.node_id for scored in output.raw_output if scored.score]


@pytest.mark.parametrize(
    "text", ["", "how many?", "input is what?", "a\nb is c\n", "\na is b, c is d\n", "\n\n", "\n x is y\n"]
)
def test_what_no_tool_wrote_is_asked_as_it_is(text: str) -> None:
    assert asked_text(text) == text
