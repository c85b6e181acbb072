"""Chains, tool loops and streams of LangChain as trajectories."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, RunnableParallel, RunnablePassthrough
from langchain_core.tools import create_retriever_tool, tool
from langchain_rader import RaderRetriever, TrajectoryRecorder

from rader_plugins.recording import RecordingLimits, TrajectoryWriter, read_recorded
from rader_plugins.trajectories import Trajectory, read_trajectories

TEXTS = {
    "ramsey": "Among any six people three know each other or three do not.",
    "bayes": "Bayes' theorem turns a conditional probability around.",
    "php": "Pigeonhole principle: more items than boxes, so two share a box.",
}


class Echo(BaseChatModel):
    """Says ``answer to`` and the last line of the last message; fails where that is ``fail``."""

    @property
    def _llm_type(self) -> str:
        return "echo"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(_reply(messages)))])

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Iterator[Any]:
        for word in _reply(messages).split(" "):
            yield ChatGenerationChunk(message=AIMessageChunk(f"{word} "))


def _reply(messages: Any) -> str:
    last = str(messages[-1].content).splitlines()[-1]
    if last == "fail":
        raise RuntimeError("the provider is down")
    return f"answer to {last}"


@pytest.fixture(scope="session")
def retriever() -> RaderRetriever:
    return RaderRetriever.from_texts(list(TEXTS.values()), ids=list(TEXTS), k=2)


@pytest.fixture
def chain(retriever: RaderRetriever) -> Runnable[str, str]:
    prompt = ChatPromptTemplate.from_template("{context}\n{question}")
    both = {"context": retriever | _joined, "question": RunnablePassthrough()}
    return both | prompt | Echo() | StrOutputParser()


def _joined(documents: list[Document]) -> str:
    return "\n\n".join(document.page_content for document in documents)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.jsonl"


def recorded(recorder: TrajectoryRecorder) -> list[Trajectory]:
    assert recorder.flush()
    return list(read_recorded(recorder.writer.path))


def shape(trajectory: Trajectory) -> list[tuple[str, str]]:
    return [(step.kind, step.text) for step in trajectory.steps]


def test_a_chain_is_recorded_with_its_documents_and_feedback(chain: Runnable[str, str], path: Path) -> None:
    run_id = uuid4()
    with TrajectoryRecorder(path, metadata={"app": "v1"}) as recorder:
        chain.invoke("How many guests?", {"callbacks": [recorder], "run_id": run_id})
        assert recorder.feedback(run_id, reward=0.5, gold_answer="six", comment="nearly")
    [plain] = read_trajectories(path)
    assert (plain.reward, plain.gold_answer) == (None, None)
    [run] = read_recorded(path)
    assert (run.id, run.source, run.question) == (str(run_id), "langchain", "How many guests?")
    assert (run.answer, run.reward, run.gold_answer) == ("answer to How many guests?", 0.5, "six")
    assert run.metadata["app"] == "v1"
    assert run.metadata["feedback"] == ["nearly"]
    assert shape(run) == [
        ("query", "How many guests?"), ("retrieval", ""), ("answer", "answer to How many guests?")
    ]  # fmt: skip
    first, second = run.steps[1].considered
    assert first.text == TEXTS[first.id]
    assert first.score is not None
    assert second.score is not None
    assert first.score > second.score
    assert first.relevant is None


async def test_concurrent_runs_are_kept_apart(chain: Runnable[str, str], path: Path) -> None:
    questions = [f"question {number}" for number in range(30)]
    with TrajectoryRecorder(path) as recorder:
        config: RunnableConfig = {"callbacks": [recorder]}
        await asyncio.gather(*(chain.ainvoke(question, config) for question in questions))
        await asyncio.to_thread(chain.batch, [f"b{question}" for question in questions], config)
        await chain.abatch([f"a{question}" for question in questions], config)
        assert recorder.tracker.open_runs == 0
    runs = list(read_recorded(path))
    assert sorted(run.question for run in runs) == sorted(
        [prefix + question for prefix in ("", "a", "b") for question in questions]
    )
    for run in runs:
        assert shape(run) == [("query", run.question), ("retrieval", ""), ("answer", f"answer to {run.question}")]
        assert len(run.steps[1].considered) == 2
    assert recorder.counts["finished"] == recorder.counts["written"] == 90
    assert recorder.counts["errors"] == 0


async def test_streams_are_recorded_when_they_end(chain: Runnable[str, str], path: Path) -> None:
    with TrajectoryRecorder(path) as recorder:
        output = "".join(chain.stream("sync stream", {"callbacks": [recorder]}))
        parts = [part async for part in chain.astream("async stream", {"callbacks": [recorder]})]
        events = [event async for event in chain.astream_events("events", {"callbacks": [recorder]}, version="v2")]
    assert output == "answer to sync stream "
    assert "".join(parts) == "answer to async stream "
    assert events
    runs = list(read_recorded(path))
    assert [run.question for run in runs] == ["sync stream", "async stream", "events"]
    assert [run.answer for run in runs] == [f"answer to {run.question} " for run in runs]
    assert [[step.kind for step in run.steps] for run in runs] == [["query", "retrieval", "answer"]] * 3


def test_a_tool_loop_counts_a_search_once(retriever: RaderRetriever, path: Path) -> None:
    @tool
    def calculator(expression: str) -> str:
        """Calculates."""
        return "42"

    @tool
    def web_search(query: str) -> str:
        """Searches."""
        return '[{"id": "w1", "text": "from the web", "score": 0.3}]'

    theorems = create_retriever_tool(retriever, "theorem_search", "Finds theorems.")
    calls: list[tuple[Any, dict[str, Any]]] = [
        (theorems, {"query": "parties"}), (calculator, {"expression": "6*7"}), (web_search, {"query": "party"})
    ]  # fmt: skip

    def agent(inputs: dict[str, Any], config: RunnableConfig) -> dict[str, Any]:
        messages = list(inputs["messages"])
        for number, (called, arguments) in enumerate(calls):
            messages.append(Echo().invoke([HumanMessage(f"thought {number}")], config))
            call = {"name": called.name, "args": arguments, "id": str(number), "type": "tool_call"}
            messages.append(called.invoke(call, config))
        assert isinstance(messages[-1], ToolMessage)
        messages.append(Echo().invoke([HumanMessage("the end")], config))
        return {"messages": messages}

    with TrajectoryRecorder(path) as recorder:
        RunnableLambda(agent).invoke({"messages": [HumanMessage("How many?")]}, {"callbacks": [recorder]})
    [run] = read_recorded(path)
    assert (run.question, run.answer) == ("How many?", "answer to the end")
    assert shape(run) == [
        ("thought", "answer to thought 0"),
        ("query", "parties"),
        ("retrieval", ""),
        ("thought", "answer to thought 1"),
        ("thought", 'calculator({"expression": "6*7"}) -> 42'),
        ("thought", "answer to thought 2"),
        ("query", "party"),
        ("retrieval", ""),
        ("answer", "answer to the end"),
    ]
    assert [document.id for document in run.retrievals[1].considered] == ["w1"]


def test_of_nested_retrievers_the_outermost_counts(retriever: RaderRetriever, path: Path) -> None:
    class Narrow(BaseRetriever):
        inner: Any

        def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
            child = {"callbacks": run_manager.get_child()}
            Echo().invoke("rewrite", child)
            return list(self.inner.invoke(f"rewritten {query}", child))[:1]

    with TrajectoryRecorder(path) as recorder:
        Narrow(inner=retriever).invoke("asked", {"callbacks": [recorder]})
        parallel = RunnableParallel(one=retriever, other=Narrow(inner=retriever))
        parallel.invoke("both", {"callbacks": [recorder]})
    alone, both = read_recorded(path)
    assert shape(alone) == [("query", "asked"), ("retrieval", "")]
    assert len(alone.retrievals[0].considered) == 1
    assert [kind for kind, _ in shape(both)] == ["query", "retrieval", "query", "retrieval"]


def test_failed_runs_have_their_error_or_are_left_out(chain: Runnable[str, str], path: Path) -> None:
    with TrajectoryRecorder(path) as recorder, pytest.raises(RuntimeError):
        chain.invoke("fail", {"callbacks": [recorder]})
    [run] = read_recorded(path)
    assert (run.answer, run.reward, run.metadata["error"]) == (None, None, "RuntimeError: the provider is down")
    assert [kind for kind, _ in shape(run)] == ["query", "retrieval"]
    other = path.with_name("other.jsonl")
    with TrajectoryRecorder(other, record_failed=False) as recorder, pytest.raises(RuntimeError):
        chain.invoke("fail", {"callbacks": [recorder]})
    assert not other.exists()
    assert recorder.counts["skipped"] == 1


def test_what_hooks_raise_does_not_reach_the_application(
    chain: Runnable[str, str], path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(value: Any) -> str:
        raise ValueError("hook")

    with caplog.at_level(logging.WARNING):
        with TrajectoryRecorder(path, redact=broken) as recorder:
            assert chain.invoke("q", {"callbacks": [recorder]}) == "answer to q"
        assert not path.exists()
        assert recorder.counts["refused"] == 1
        with TrajectoryRecorder(path, question=broken, answer=broken) as recorder:
            assert chain.invoke("q", {"callbacks": [recorder]}) == "answer to q"
        assert recorder.counts["errors"] == 2
    [run] = read_recorded(path)
    assert run.metadata["question_from"] == "query"
    assert "could not read the answer" in run.metadata["error"]
    assert "hook" in caplog.text


def test_texts_are_redacted_and_hooks_find_question_and_answer(retriever: RaderRetriever, path: Path) -> None:
    chain = RunnableLambda(lambda value, config: {"found": retriever.invoke(value["ask"], config), "said": "for Ann"})
    with TrajectoryRecorder(
        path,
        question=lambda value: value["ask"],
        answer=lambda value: value["said"],
        redact=lambda text: text.replace("Ann", "X").replace("people", "Y"),
    ) as recorder:
        run_id = uuid4()
        chain.invoke({"ask": "people of Ann?"}, {"callbacks": [recorder], "run_id": run_id})
        recorder.feedback(run_id, comment="Ann was pleased")
    [run] = read_recorded(path)
    assert (run.question, run.answer, run.metadata["feedback"]) == ("Y of X?", "for X", ["X was pleased"])
    assert "Ann" not in path.read_text()
    assert "people" not in path.read_text()


def test_a_blocked_disk_does_not_hold_the_application_up(
    chain: Runnable[str, str], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import rader_plugins.recording.writer as writer_module

    released, writing = threading.Event(), threading.Event()
    append = writer_module.append_rows

    def slow(*arguments: Any) -> None:
        writing.set()
        assert released.wait(30)
        append(*arguments)

    monkeypatch.setattr(writer_module, "append_rows", slow)
    recorder = TrajectoryRecorder(path, queue_size=3)
    chain.invoke("first", {"callbacks": [recorder]})
    assert writing.wait(30)
    for number in range(10):
        chain.invoke(f"later {number}", {"callbacks": [recorder]})  # nobody reads the queue
    assert recorder.counts["dropped"] == 7
    assert not recorder.flush(timeout=0.01)
    released.set()
    assert recorder.close()
    assert [run.question for run in read_recorded(path)] == ["first", "later 0", "later 1", "later 2"]


def test_runs_that_never_end_are_forgotten(chain: Runnable[str, str], path: Path) -> None:
    with TrajectoryRecorder(path, limits=RecordingLimits(open_runs=2, characters=8)) as recorder:
        for number in range(5):
            recorder.on_chain_start({}, {"input": f"lost {number}"}, run_id=uuid4())
        chain.invoke("kept while the others are not", {"callbacks": [recorder]})
        assert recorder.tracker.open_runs == 1
        assert recorder.counts["forgotten"] == 4
    [run] = read_recorded(path)
    assert run.question == "kept whi"
    assert run.metadata["truncated"] is True


def test_recorders_share_a_writer_and_a_configuration_can_be_copied(chain: Runnable[str, str], path: Path) -> None:
    with TrajectoryWriter(path) as writer:
        first, second = TrajectoryRecorder(writer), TrajectoryRecorder(writer)
        chain.with_config(callbacks=[first]).invoke("one")
        assert first.close()
        chain.invoke("two", {"callbacks": [second]})
    assert [run.question for run in read_recorded(path)] == ["one", "two"]
    with pytest.raises(ValueError, match="belongs to the writer"):
        TrajectoryRecorder(writer, redact=str)


def test_only_part_of_an_application_can_be_recorded(chain: Runnable[str, str], path: Path) -> None:
    with TrajectoryRecorder(path) as recorder:
        part = chain.with_config(callbacks=[recorder])
        RunnableLambda(lambda text: part.invoke(f"inner {text}")).invoke("outer")
        RunnableLambda(str.upper).invoke("nothing retrieved", {"callbacks": [recorder]})
    [run] = read_recorded(path)
    assert run.question == "inner outer"
    assert recorder.counts["skipped"] == 1


@pytest.mark.parametrize("read", [1, 2, 3, 99])
async def test_a_stream_that_is_closed_early_is_marked_and_what_the_model_wrote_is_its_answer(
    chain: Runnable[str, str], path: Path, read: int
) -> None:
    with TrajectoryRecorder(path) as recorder:
        config = RunnableConfig(callbacks=[recorder])
        stream = chain.stream("sync", config)
        for number, _ in enumerate(stream, start=1):
            if number == read:
                break
        stream.close()  # type: ignore[attr-defined]
        astream = chain.astream("async", config)
        number = 0
        async for _ in astream:
            number += 1
            if number == read:
                break
        await astream.aclose()  # type: ignore[attr-defined]
    runs = {run.question: run for run in recorded(recorder)}
    for question, run in runs.items():
        words = f"answer to {question}".split()
        assert run.answer is not None
        assert run.answer.split() == words[:read]
        if read != len(words):  # after the last word nobody knows that there is none
            assert run.metadata.get("closed_early", False) is (read < len(words))
        assert [step.kind for step in run.steps] == ["query", "retrieval", "answer"]


def test_a_chain_that_is_tried_again_searched_once(retriever: RaderRetriever, path: Path) -> None:
    failures = [RuntimeError("the model wrote no JSON")]

    def parse(found: list[Document]) -> str:
        if failures:
            raise failures.pop()
        return "six"

    with TrajectoryRecorder(path) as recorder:
        (retriever | RunnableLambda(parse)).with_retry(wait_exponential_jitter=False).invoke(
            "again", {"callbacks": [recorder]}
        )
    [run] = recorded(recorder)
    assert shape(run) == [("query", "again"), ("retrieval", ""), ("answer", "six")]
