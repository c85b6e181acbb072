"""Query engines, chat engines, tools and streams of LlamaIndex as trajectories."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.agent.workflow import ReActAgent
from llama_index.core.base.llms.types import CompletionResponse, CompletionResponseGen, LLMMetadata
from llama_index.core.chat_engine import ContextChatEngine
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.llms import CustomLLM
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.query_engine import RetrieverQueryEngine, SubQuestionQueryEngine
from llama_index.core.question_gen.types import BaseQuestionGenerator, SubQuestion
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import TextNode
from llama_index.core.tools import FunctionTool, QueryEngineTool, RetrieverTool
from llama_index.retrievers.rader import RaderRetriever, TrajectoryRecorder

from rader_plugins.recording import RecordingLimits, read_recorded
from rader_plugins.trajectories import Trajectory, read_trajectories


class Scripted(CustomLLM):
    """Answers with the line after ``Query:``, or the last one; fails where that is ``fail``."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="scripted")

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=_reply(prompt))

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        def parts() -> CompletionResponseGen:
            text = ""
            for word in _reply(prompt).split(" "):
                text += f"{word} "
                yield CompletionResponse(text=text, delta=f"{word} ")

        return parts()


def _reply(prompt: str) -> str:
    lines = [line for line in prompt.splitlines() if line.strip() and not line.startswith(("Answer:", "assistant:"))]
    question = (
        next((line for line in reversed(lines) if line.startswith("Query:")), lines[-1]).split(":", 1)[-1].strip()
    )
    if question == "fail":
        raise RuntimeError("the provider is down")
    return f"answer to {question}"


@pytest.fixture(scope="module")
def retriever() -> RaderRetriever:
    texts = {
        "ramsey": "Among any six people three know each other or three do not.",
        "bayes": "Bayes' theorem turns a conditional probability around.",
        "php": "More items than boxes, so two share a box.",
    }
    nodes = [TextNode(id_=id, text=text, metadata={"title": id}) for id, text in texts.items()]
    return RaderRetriever.from_defaults(nodes=nodes, model="mini", similarity_top_k=2)


@pytest.fixture(scope="module")
def engine(retriever: RaderRetriever) -> RetrieverQueryEngine:
    return RetrieverQueryEngine.from_args(retriever, llm=Scripted())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.jsonl"


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    root = get_dispatcher()
    before = list(root.span_handlers), list(root.event_handlers)
    yield
    assert (root.span_handlers, root.event_handlers) == before


def shape(trajectory: Trajectory) -> list[tuple[str, str]]:
    return [(step.kind, step.text) for step in trajectory.steps]


def asked_and_answered(question: str) -> list[tuple[str, str]]:
    return [("query", question), ("retrieval", ""), ("answer", f"answer to {question}")]


def test_a_query_engine_is_recorded_with_feedback(engine: RetrieverQueryEngine, path: Path) -> None:
    with TrajectoryRecorder(path, metadata={"app": "v1"}) as recorder:
        with recorder.run() as run:
            engine.query("How many guests?")
        assert recorder.feedback(run.id, reward=1.0, gold_answer="six")
        engine.query("Another?")
    engine.query("not recorded any more")
    assert [entry.reward for entry in read_trajectories(path)] == [None, None]
    first, second = read_recorded(path)
    assert (first.id, first.source, first.question) == (run.id, "llama-index", "How many guests?")
    assert (first.reward, first.gold_answer, first.answer) == (1.0, "six", "answer to How many guests?")
    assert first.metadata["app"] == "v1"
    assert shape(first) == asked_and_answered("How many guests?")
    assert shape(second) == asked_and_answered("Another?")
    documents = first.steps[1].considered
    assert len(documents) == 2
    assert all(entry.score is not None and entry.id in ("ramsey", "bayes", "php") for entry in documents)
    assert recorder.counts["errors"] == 0


async def test_concurrent_runs_are_kept_apart(engine: RetrieverQueryEngine, path: Path) -> None:
    questions = [f"question {number}" for number in range(20)]

    async def named(question: str) -> str:
        with recorder.run(f"run of {question}"):
            await engine.aquery(question)
        return question

    with TrajectoryRecorder(path) as recorder:
        await asyncio.gather(*map(named, questions))
        await asyncio.gather(*(asyncio.to_thread(engine.query, f"t{question}") for question in questions))
        assert recorder.tracker.open_runs == 0
    runs = {run.question: run for run in read_recorded(path)}
    assert sorted(runs) == sorted([*questions, *(f"t{question}" for question in questions)])
    for question, run in runs.items():
        assert shape(run) == asked_and_answered(question)
    assert all(runs[question].id == f"run of {question}" for question in questions)


async def test_streams_are_recorded_when_they_have_been_read(retriever: RaderRetriever, path: Path) -> None:
    engine = RetrieverQueryEngine.from_args(retriever, llm=Scripted(), streaming=True)
    with TrajectoryRecorder(path) as recorder:
        response = engine.query("sync stream")
        assert recorder.flush()
        assert not path.exists()
        assert "".join(response.response_gen) == "answer to sync stream "
        assert recorder.tracker.open_runs == 0
        async_stream = await engine.aquery("async stream")
        assert "".join([part async for part in async_stream.async_response_gen()]) == "answer to async stream "
        assert recorder.tracker.open_runs == 0
    runs = list(read_recorded(path))
    assert [(run.question, (run.answer or "").strip()) for run in runs] == [
        ("sync stream", "answer to sync stream"), ("async stream", "answer to async stream")
    ]  # fmt: skip
    assert [[step.kind for step in run.steps] for run in runs] == [["query", "retrieval", "answer"]] * 2


def test_a_chat_engine_is_recorded_turn_by_turn(retriever: RaderRetriever, path: Path) -> None:
    chat = ContextChatEngine.from_defaults(retriever=retriever, llm=Scripted())
    with TrajectoryRecorder(path):
        chat.chat("first")
        chat.chat("second")
        assert "".join(chat.stream_chat("third").response_gen)
    first, second, third = read_recorded(path)
    assert shape(first) == asked_and_answered("first")
    assert shape(second) == asked_and_answered("second")
    assert third.question == "third"
    assert [kind for kind, _ in shape(third)] == ["query", "retrieval", "answer"]


class Questions(BaseQuestionGenerator):
    def _get_prompts(self) -> dict[str, Any]:
        return {}

    def _update_prompts(self, prompts: Any) -> None:
        pass

    def generate(self, tools: Any, query: Any) -> list[SubQuestion]:
        return [SubQuestion(sub_question=f"part {number}", tool_name="facts") for number in (1, 2)]

    async def agenerate(self, tools: Any, query: Any) -> list[SubQuestion]:
        return self.generate(tools, query)


@pytest.mark.parametrize("use_async", [False, True])
def test_sub_questions_belong_to_their_question(engine: RetrieverQueryEngine, path: Path, use_async: bool) -> None:
    tool = QueryEngineTool.from_defaults(engine, name="facts", description="Facts.")
    sub_question_engine = SubQuestionQueryEngine.from_defaults(
        [tool],
        llm=Scripted(),
        question_gen=Questions(),
        response_synthesizer=get_response_synthesizer(llm=Scripted()),
        use_async=use_async,
        verbose=False,
    )
    with TrajectoryRecorder(path):
        sub_question_engine.query("the whole")
    [run] = read_recorded(path)
    assert (run.question, run.answer) == ("the whole", "answer to the whole")
    steps = shape(run)
    assert sorted(text for kind, text in steps if kind == "query") == ["part 1", "part 2"]
    assert sorted(text for kind, text in steps if kind == "thought") == ["answer to part 1", "answer to part 2"]
    for step, following in zip(run.steps, run.steps[1:], strict=False):
        assert (step.kind == "query") == (following.kind == "retrieval")


def test_tools_of_a_loop_by_hand_are_steps_of_one_run(retriever: RaderRetriever, path: Path) -> None:
    search = RetrieverTool.from_defaults(retriever, name="theorems", description="Finds theorems.")
    web = FunctionTool.from_defaults(
        lambda query: [{"id": "w", "text": "from the web"}], name="web_search", description="d"
    )
    sums = FunctionTool.from_defaults(lambda a, b: a + b, name="add", description="Adds.")
    llm = Scripted()
    with TrajectoryRecorder(path) as recorder, recorder.run(question="How many?") as run:
        search.call("parties")
        llm.complete("so far")
        sums(a=1, b=2)
        web.call(query="party")
        run.answer = llm.complete("the end").text
    [trajectory] = read_recorded(path)
    assert (trajectory.question, trajectory.answer) == ("How many?", "answer to the end")
    assert shape(trajectory) == [
        ("query", "parties"),
        ("retrieval", ""),
        ("thought", "answer to so far"),
        ("thought", 'add({"a": 1, "b": 2}) -> 3'),
        ("query", "party"),
        ("retrieval", ""),
        ("answer", "answer to the end"),
    ]
    assert [document.id for document in trajectory.retrievals[1].considered] == ["w"]


class Reasoner(Scripted):
    """Searches first, then answers: the text format of a ReAct agent."""

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        text = 'Thought: Search.\nAction: theorems\nAction Input: {"input": "parties"}'
        if "user: Observation: " in prompt:
            text = "Thought: I can answer without using any more tools.\nAnswer: six"

        def parts() -> CompletionResponseGen:
            yield CompletionResponse(text=text, delta=text)

        return parts()


async def test_agents_are_one_run(retriever: RaderRetriever, path: Path) -> None:
    search = RetrieverTool.from_defaults(retriever, name="theorems", description="Finds theorems.")
    agent = ReActAgent(tools=[search], llm=Reasoner(), verbose=False)
    with TrajectoryRecorder(path) as recorder:
        await asyncio.gather(*(agent.run(f"question {number}") for number in range(3)))
        with recorder.run("named"):
            await agent.run("one more")
        await asyncio.sleep(0)  # the span of an agent ends in a callback of the loop
    runs = sorted(read_recorded(path), key=lambda run: run.question)
    assert [run.question for run in runs] == ["one more", "question 0", "question 1", "question 2"]
    assert runs[0].id == "named"
    for run in runs:
        assert run.answer == "six"
        assert [kind for kind, _ in shape(run)] == ["thought", "query", "retrieval", "thought", "answer"]
        assert len(run.retrievals[0].considered) == 2


def test_of_nested_retrievers_the_outermost_counts(retriever: RaderRetriever, path: Path) -> None:
    fusion = QueryFusionRetriever([retriever], llm=Scripted(), num_queries=1, use_async=False, similarity_top_k=1)
    with TrajectoryRecorder(path):
        fusion.retrieve("asked")
    [run] = read_recorded(path)
    assert shape(run) == [("query", "asked"), ("retrieval", "")]
    assert len(run.retrievals[0].considered) == 1


def test_failed_runs_and_raising_hooks(engine: RetrieverQueryEngine, path: Path) -> None:
    def broken(value: Any) -> str:
        raise ValueError("hook")

    with TrajectoryRecorder(path), pytest.raises(RuntimeError):
        engine.query("fail")
    [run] = read_recorded(path)
    assert (run.reward, run.answer, run.metadata["error"]) == (None, None, "RuntimeError: the provider is down")
    path.unlink()
    with TrajectoryRecorder(path, question=broken, answer=broken) as recorder:
        assert str(engine.query("q")) == "answer to q"
    assert recorder.counts["errors"] >= 2
    [run] = read_recorded(path)
    assert (run.question, run.metadata["question_from"]) == ("q", "query")
    path.unlink()
    with TrajectoryRecorder(path, redact=broken) as recorder:
        assert str(engine.query("q")) == "answer to q"
    assert recorder.counts["refused"] == 1
    assert not path.exists()


def test_texts_are_redacted_and_limits_hold(engine: RetrieverQueryEngine, path: Path) -> None:
    limits = RecordingLimits(documents=1, characters=30)
    with TrajectoryRecorder(path, redact=lambda text: text.replace("Ann", "X"), limits=limits):
        engine.query("Is Ann here?")
    [run] = read_recorded(path)
    assert (run.question, run.answer) == ("Is X here?", "answer to Is X here?")
    assert len(run.retrievals[0].considered) == 1
    assert all(len(document.text) <= 30 for document in run.retrievals[0].considered)
    assert run.metadata["truncated"] is True
    assert "Ann" not in path.read_text()
