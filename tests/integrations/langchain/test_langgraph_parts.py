"""Runs in parts: paused and resumed in another process, handed over between agents; no part is lost or mixed up."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from langchain_rader import RaderRetriever, TrajectoryRecorder
from typing_extensions import TypedDict

from rader_plugins.recording import MergeReport, read_recorded
from rader_plugins.trajectories import Trajectory

pytest.importorskip("langgraph", reason="needs langgraph")
from langgraph.checkpoint.memory import MemorySaver  # noqa: E402
from langgraph.func import entrypoint, task  # noqa: E402
from langgraph.graph import END, START, MessagesState, StateGraph  # noqa: E402
from langgraph.types import Command, interrupt  # noqa: E402

RETRIEVER = RaderRetriever.from_texts(["text one"], ids=["one"], model=DeterministicFakeEmbedding(size=8), k=1)
OPTIONS: list[dict[str, Any]] = [{}, {"run_name": "another name"}]


class State(TypedDict, total=False):
    question: str
    approval: str
    answer: str


def graph(name: str, *, searches: bool = True) -> Any:
    """Searches, asks whether it may go on, and answers without a further search."""
    builder = StateGraph(State)
    builder.add_node("search", lambda state: {"docs": RETRIEVER.invoke(state["question"])} if searches else {})
    builder.add_node("ask", lambda state: {"approval": interrupt("may I?")})
    builder.add_node("say", lambda state: {"answer": f"{name}: {state['approval']}"})
    for start, end in ((START, "search"), ("search", "ask"), ("ask", "say"), ("say", END)):
        builder.add_edge(start, end)
    return builder.compile(checkpointer=MemorySaver(), name=name)


def call(compiled: Any, path: Path, value: Any, **options: Any) -> None:
    """One call with a recorder of its own, as another process has one."""
    with TrajectoryRecorder(path) as recorder:
        compiled.invoke(value, {"callbacks": [recorder], "configurable": {"thread_id": "1"}, **options})
    assert recorder.counts["errors"] == 0


def kinds(run: Trajectory) -> list[str]:
    return [step.kind for step in run.steps]


@pytest.mark.parametrize("options", OPTIONS, ids=["same name", "another name"])
def test_the_part_that_searches_nothing_has_the_answer(tmp_path: Path, options: dict[str, Any]) -> None:
    path, compiled, report = tmp_path / "runs.jsonl", graph("a"), MergeReport()
    call(compiled, path, {"question": "how?"})
    call(compiled, path, Command(resume="yes"), **options)
    [run] = read_recorded(path, report)
    assert (run.question, run.answer, kinds(run)) == ("how?", "a: yes", ["query", "retrieval", "answer"])
    assert (report.resumed, report.fragments, "fragment" in run.metadata) == (1, [], False)


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_graphs_with_threads_of_one_name_are_kept_apart(tmp_path: Path, order: str) -> None:
    path, graphs = tmp_path / "runs.jsonl", {name: graph(name) for name in "ab"}
    for name, compiled in graphs.items():
        call(compiled, path, {"question": f"{name}?"})
    for name in order:
        call(graphs[name], path, Command(resume="yes"))
    assert {run.question: run.answer for run in read_recorded(path)} == {"a?": "a: yes", "b?": "b: yes"}


def test_what_resumes_a_run_is_never_its_question(tmp_path: Path) -> None:
    path, compiled = tmp_path / "runs.jsonl", graph("a")
    compiled.invoke({"question": "how?"}, {"configurable": {"thread_id": "1"}})  # in a process without a recorder
    with TrajectoryRecorder(path, only_with_retrieval=False) as recorder:
        compiled.invoke(Command(resume="yes"), {"callbacks": [recorder], "configurable": {"thread_id": "1"}})
    assert [(run.question, run.answer) for run in read_recorded(path)] == [("how?", "a: yes")]


def test_parts_that_stay_without_a_search_or_a_question_are_counted(tmp_path: Path) -> None:
    path, report = tmp_path / "runs.jsonl", MergeReport()
    call(graph("a", searches=False), path, {"question": "never resumed?"})

    @task
    def find(query: str) -> list[str]:
        return [document.page_content for document in RETRIEVER.invoke(query)]

    @entrypoint(checkpointer=MemorySaver())
    def answer(question: str) -> str:
        return f"{find(question).result()[0]}: {interrupt('may I?')}"

    answer.invoke("how?", {"configurable": {"thread_id": "2"}})
    with TrajectoryRecorder(path) as recorder:
        answer.invoke(Command(resume="yes"), {"callbacks": [recorder], "configurable": {"thread_id": "2"}})
    assert list(read_recorded(path, report)) == []
    assert len(report.fragments) == 2


@pytest.mark.parametrize("checkpointer", [None, MemorySaver()], ids=["plain", "with threads"])
def test_an_agent_that_hands_over_is_not_interrupted(tmp_path: Path, checkpointer: Any) -> None:
    @tool
    def to_second(tool_call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
        """Hand over."""
        reply = ToolMessage("handed over", tool_call_id=tool_call_id)
        return Command(goto="second", graph=Command.PARENT, update={"messages": [reply]})

    inner = StateGraph(MessagesState)
    inner.add_node("tool", lambda state: to_second.invoke({"type": "tool_call", "name": "to_second", "args": {},
                                                           "id": "1"}))  # fmt: skip
    inner.add_edge(START, "tool")
    outer = StateGraph(MessagesState)
    outer.add_node("first", inner.compile())
    outer.add_node("second", lambda state: {"messages": [AIMessage(f"six {len(RETRIEVER.invoke('guests'))}")]})
    outer.add_edge(START, "first")
    outer.add_edge("second", END)
    path = tmp_path / "runs.jsonl"
    call(outer.compile(checkpointer=checkpointer), path, {"messages": [("user", "how?")]})
    [run] = read_recorded(path)
    assert (run.question, run.answer) == ("how?", "six 1")
    assert kinds(run) == ["thought", "query", "retrieval", "answer"]
    assert "interrupted" not in run.metadata
