"""Agents and graphs: what belongs to another turn, or is a printed object, never becomes an answer or a text."""

from __future__ import annotations

import asyncio
import dataclasses
import warnings
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import InjectedToolCallId, tool
from langchain_rader import RaderRetriever, RaderVectorStore, RagRunnable, TrajectoryRecorder, searchable
from pydantic import BaseModel
from typing_extensions import TypedDict

from rader_plugins.recording import MergeReport, read_recorded
from rader_plugins.trajectories import Trajectory, read_trajectories

pytest.importorskip("langgraph", reason="needs langgraph")
from langgraph.checkpoint.memory import MemorySaver  # noqa: E402
from langgraph.graph import END, START, MessagesState, StateGraph  # noqa: E402
from langgraph.prebuilt import InjectedState  # noqa: E402
from langgraph.types import Command, interrupt  # noqa: E402

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from langgraph.prebuilt import create_react_agent

IDS = ["one", "two", "three"]
CALL = {"name": "search_docs", "args": {}, "id": "1", "type": "tool_call"}


class Scripted(BaseChatModel):
    """Calls the tool and says ``done`` when it has its result; answers at once where the question says so."""

    tool_name: str = "search_docs"
    remark: str = ""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        question = [message.content for message in messages if message.type == "human"][-1]
        call = {"name": self.tool_name, "args": {"query": f"about {question}"}, "id": "1", "type": "tool_call"}
        if messages[-1].type == "tool":
            reply = AIMessage(f"done: {question}")
        else:
            reply = (
                AIMessage(f"at once: {question}") if "simple" in question else AIMessage(self.remark, tool_calls=[call])
            )
        return ChatResult(generations=[ChatGeneration(message=reply)])


@pytest.fixture(scope="module")
def store() -> RaderVectorStore:
    texts = [f"text {id}" for id in IDS]
    return RaderVectorStore.from_texts(texts, DeterministicFakeEmbedding(size=8), ids=IDS)


@pytest.fixture(scope="module")
def retriever(store: RaderVectorStore) -> RaderRetriever:
    return RaderRetriever.from_texts(
        ["text one", "text two"], ids=IDS[:2], model=DeterministicFakeEmbedding(size=8), k=2
    )


def agent(*tools: Any, model: BaseChatModel | None = None, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return create_react_agent(model or Scripted(), list(tools), **options)


def ask(question: str) -> dict[str, Any]:
    return {"messages": [("user", question)]}


def documents(run: Trajectory) -> list[str]:
    return [document.id for step in run.retrievals for document in step.considered]


def kinds(run: Trajectory) -> list[str]:
    return [step.kind for step in run.steps]


# A conversation's state is not one run's output


@pytest.mark.parametrize("static", [True, False])
def test_an_interrupted_turn_and_what_resumes_it_are_one_run(
    retriever: RaderRetriever, tmp_path: Path, static: bool
) -> None:
    @tool
    def search_docs(query: str) -> str:
        """Search."""
        text = retriever.invoke(query)[0].page_content
        return text if static else f"{text} {interrupt('may I?')}"

    options: dict[str, Any] = {"interrupt_before": ["tools"]} if static else {}
    graph = agent(search_docs, checkpointer=MemorySaver(), **options)
    first, second, third = uuid4(), uuid4(), uuid4()
    path = tmp_path / "runs.jsonl"
    with TrajectoryRecorder(path, only_with_retrieval=False) as recorder:
        config: dict[str, Any] = {"callbacks": [recorder], "configurable": {"thread_id": "1"}}
        graph.invoke(ask("simple"), {**config, "run_id": first})
        graph.invoke(ask("hard"), {**config, "run_id": second})
        interrupted = [run for run in _flushed(recorder) if run.question == "hard"]
        graph.invoke(None if static else Command(resume="yes"), {**config, "run_id": third})
        recorder.feedback(second, reward=1.0, comment="to the first part")
        recorder.feedback(third, comment="to the last")
    assert [run.answer for run in interrupted] == [None]
    report = MergeReport()
    easy, hard = read_recorded(path, report)
    assert (easy.question, easy.answer) == ("simple", "at once: simple")
    assert (hard.question, hard.answer, hard.reward) == ("hard", "done: hard", 1.0)
    assert (hard.metadata["runs"], hard.metadata["resumed"]) == ([str(second), str(third)], True)
    assert hard.metadata["feedback"] == ["to the first part", "to the last"]
    assert kinds(hard) == ["query", "retrieval", "answer"]
    assert (report.resumed, report.unmatched) == (1, [])


def _flushed(recorder: TrajectoryRecorder) -> list[Trajectory]:
    assert recorder.flush()
    return list(read_recorded(recorder.writer.path))


def test_an_interrupted_turn_that_nobody_resumes_stays_without_an_answer(
    retriever: RaderRetriever, tmp_path: Path
) -> None:
    @tool
    def search_docs(query: str) -> str:
        """Search."""
        return f"{retriever.invoke(query)} {interrupt('may I?')}"

    graph = agent(search_docs, checkpointer=MemorySaver())
    with TrajectoryRecorder(tmp_path / "runs.jsonl", only_with_retrieval=False) as recorder:
        config: Any = {"callbacks": [recorder], "configurable": {"thread_id": "1"}}
        graph.invoke(ask("simple one"), config)
        graph.invoke(ask("hard"), config)
        result = ToolMessage("not allowed", tool_call_id="1")
        graph.invoke({"messages": [result, ("user", "simple two")]}, config)
    answers = {run.question: run.answer for run in read_recorded(recorder.writer.path)}
    assert answers == {"simple one": "at once: simple one", "hard": None, "simple two": "at once: simple two"}


def test_a_run_that_ends_with_the_result_of_a_tool_has_no_answer(retriever: RaderRetriever, tmp_path: Path) -> None:
    @tool(return_direct=True)
    def search_docs(query: str) -> str:
        """Search."""
        return retriever.invoke(query)[0].page_content

    graph = agent(search_docs, model=Scripted(remark="Let me look."), checkpointer=MemorySaver())
    with TrajectoryRecorder(tmp_path / "runs.jsonl", only_with_retrieval=False) as recorder:
        for question in ("simple", "hard"):
            graph.invoke(ask(question), {"callbacks": [recorder], "configurable": {"thread_id": "1"}})
    runs = {run.question: run for run in read_recorded(recorder.writer.path)}
    assert (runs["simple"].answer, runs["hard"].answer) == ("at once: simple", None)
    assert kinds(runs["hard"]) == ["thought", "query", "retrieval"]


class State(TypedDict, total=False):
    question: str
    context: list[Document]
    answer: str


@dataclasses.dataclass
class ObjectState:
    question: str = ""
    context: list[Document] | None = None
    answer: str | None = None


class ModelState(BaseModel):
    question: str = ""
    context: list[Any] = []
    answer: str | None = None


def _field(state: Any, name: str) -> Any:
    return state.get(name) if isinstance(state, dict) else getattr(state, name)


def rag_graph(store: RaderVectorStore, schema: Any = State, **options: Any) -> Any:
    def retrieve(state: Any) -> Any:
        return {"context": store.similarity_search(_field(state, "question"), k=2)}

    def generate(state: Any) -> Any:
        return {"answer": f"six, says {len(_field(state, 'context'))}"}

    def route(state: Any) -> str:
        return END if "greeting" in _field(state, "question") else "retrieve"

    graph = StateGraph(schema).add_node("retrieve", retrieve).add_node("generate", generate)
    graph.add_conditional_edges(START, route, ["retrieve", END])
    graph.add_edge("retrieve", "generate")
    graph.add_edge("generate", END)
    return graph.compile(**options)


@pytest.mark.parametrize("schema", [State, ObjectState, ModelState])
def test_fields_of_an_earlier_turn_are_neither_answer_nor_documents(
    store: RaderVectorStore, tmp_path: Path, schema: Any
) -> None:
    graph = rag_graph(store, schema, checkpointer=MemorySaver())
    with TrajectoryRecorder(tmp_path / "runs.jsonl", only_with_retrieval=False) as recorder:
        for question in ("how many?", "a greeting", "how many more?"):
            state = {"question": question}
            graph.invoke(state, {"callbacks": [recorder], "configurable": {"thread_id": "1"}})
    first, greeting, last = read_trajectories(recorder.writer.path)
    for run in (first, last):
        assert (run.answer, len(documents(run)), kinds(run)) == (
            "six, says 2", 2, ["query", "retrieval", "answer"]
        )  # fmt: skip
        assert run.steps[0].text == run.question
    assert greeting.question == "a greeting"
    assert (documents(greeting), recorder.counts["errors"]) == ([], 0)


def test_a_field_that_this_run_did_not_write_is_stale(store: RaderVectorStore, tmp_path: Path) -> None:
    def retrieve(state: State) -> State:
        return {"context": store.similarity_search(state["question"], k=2)}

    def answer(state: State) -> State:
        return {} if "unsure" in state["question"] else {"answer": "six"}

    graph = StateGraph(State).add_sequence([retrieve, answer]).add_edge(START, "retrieve")
    compiled = graph.compile(checkpointer=MemorySaver())
    with TrajectoryRecorder(tmp_path / "runs.jsonl") as recorder:
        for question in ("sure", "unsure"):
            compiled.invoke({"question": question}, {"callbacks": [recorder], "configurable": {"thread_id": "1"}})
    assert [run.answer for run in read_recorded(recorder.writer.path)] == ["six", None]


# Searches outside a retriever


def test_documents_that_a_step_passes_on_are_no_search(store: RaderVectorStore, tmp_path: Path) -> None:
    def retrieve(state: State) -> State:
        return {"context": store.similarity_search(state["question"], k=3)}

    def grade(state: State) -> State:
        return {"context": state["context"][:1]}

    graph = StateGraph(State).add_sequence([retrieve, grade]).add_edge(START, "retrieve").compile()
    search: Any = RunnableLambda(lambda question: store.similarity_search(question, k=2))
    chain = search | RunnableLambda(lambda found: found[::-1]) | (lambda found: {"context": found, "answer": "six"})
    with TrajectoryRecorder(tmp_path / "runs.jsonl") as recorder:
        graph.invoke({"question": "how many?"}, {"callbacks": [recorder]})
        chain.invoke("how many?", {"callbacks": [recorder]})
        list(chain.stream("how many?", {"callbacks": [recorder]}))
    runs = list(read_recorded(recorder.writer.path))
    assert [len(documents(run)) for run in runs] == [3, 2, 2]
    assert [run.answer for run in runs] == [None, "six", "six"]


def test_a_second_search_holds_what_it_found_again(store: RaderVectorStore, tmp_path: Path) -> None:
    class Loop(TypedDict, total=False):
        question: str
        documents: list[Document]
        rounds: int

    def search(state: Loop) -> Loop:
        rounds = state.get("rounds", 0) + 1
        return {"documents": store.similarity_search(state["question"], k=2 * rounds - 1), "rounds": rounds}

    builder = StateGraph(Loop).add_node("search", search)
    builder.add_node("rewrite", lambda state: {"question": f"better {state['question']}"})
    builder.add_edge(START, "search")
    builder.add_edge("rewrite", "search")
    builder.add_conditional_edges("search", lambda state: "rewrite" if state["rounds"] < 2 else END, ["rewrite", END])
    with TrajectoryRecorder(tmp_path / "runs.jsonl") as recorder:
        builder.compile().invoke({"question": "q"}, {"callbacks": [recorder]})
    [run] = read_recorded(recorder.writer.path)
    assert [step.text for step in run.steps if step.kind == "query"] == ["q", "better q"]
    assert [len(step.considered) for step in run.retrievals] == [1, 3]


def test_documents_in_any_field_are_passed_on(store: RaderVectorStore, tmp_path: Path) -> None:
    class Merged(TypedDict, total=False):
        question: str
        docs: list[Document]
        web: dict[str, list[Document]]
        context: list[Document]

    builder = StateGraph(Merged)
    builder.add_node("inside", lambda state: {"docs": store.similarity_search("a", k=1)})
    builder.add_node("outside", lambda state: {"web": {"pages": [Document("web", id="web")]}})
    builder.add_node("merge", lambda state: {"context": [*state["docs"], *state["web"]["pages"]]})
    for start, end in ((START, "inside"), ("inside", "outside"), ("outside", "merge"), ("merge", END)):
        builder.add_edge(start, end)
    with TrajectoryRecorder(tmp_path / "runs.jsonl") as recorder:
        builder.compile().invoke({"question": "q"}, {"callbacks": [recorder]})
    [run] = read_recorded(recorder.writer.path)
    assert [len(step.considered) for step in run.retrievals] == [1, 1]
    assert documents(run)[1:] == ["web"]


def test_what_langchain_asks_a_model_on_its_own_account_is_no_thought(
    retriever: RaderRetriever, tmp_path: Path
) -> None:
    agents = pytest.importorskip("langchain.agents", reason="needs langchain")
    middleware = pytest.importorskip("langchain.agents.middleware", reason="needs langchain")

    class Summing(Scripted):
        def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
            if "summar" in str(messages[0].content) and len(messages) == 1:
                return ChatResult(generations=[ChatGeneration(message=AIMessage("what was said before"))])
            return super()._generate(messages, stop, run_manager, **kwargs)

    @tool
    def search_docs(query: str) -> str:
        """Search."""
        return retriever.invoke(query)[0].page_content

    summing = middleware.SummarizationMiddleware(model=Summing(), trigger=("messages", 3), keep=("messages", 1))
    graph = agents.create_agent(Summing(), [search_docs], middleware=[summing], checkpointer=MemorySaver())
    with TrajectoryRecorder(tmp_path / "runs.jsonl") as recorder:
        for question in ("first", "second"):
            graph.invoke(ask(question), {"callbacks": [recorder], "configurable": {"thread_id": "1"}})
        messages = graph.get_state({"configurable": {"thread_id": "1"}}).values["messages"]
    runs = list(read_recorded(recorder.writer.path))
    assert any("what was said before" in str(message.content) for message in messages), "nothing was summarized"
    assert [run.question for run in runs] == ["first", "second"]
    assert all("what was said before" not in step.text for run in runs for step in run.steps if step.kind == "thought")


def test_a_search_by_hand_within_run(store: RaderVectorStore, retriever: RaderRetriever, tmp_path: Path) -> None:
    with TrajectoryRecorder(tmp_path / "runs.jsonl") as recorder:
        with recorder.run(question="How many guests?") as run:
            scored = store.similarity_search_with_score("guests", k=2)
            run.retrieved("guests", scored)
            retriever.invoke("hobby")
            run.answer = "six"
        retriever.invoke("not recorded: nobody named the recorder")
        recorder.feedback(run.id, reward=1.0)
        ids: list[str] = []
        with pytest.raises(ZeroDivisionError):
            _fail_within(recorder, retriever, ids)
    complete, broken = read_recorded(recorder.writer.path)
    assert (complete.id, complete.question, complete.answer, complete.reward) == (
        run.id,
        "How many guests?",
        "six",
        1.0,
    )
    assert kinds(complete) == ["query", "retrieval", "query", "retrieval", "answer"]
    assert ([broken.id], broken.question) == (ids, "the first call's question")
    assert broken.metadata["error"].startswith("ZeroDivisionError")


def _fail_within(recorder: TrajectoryRecorder, retriever: RaderRetriever, ids: list[str]) -> None:
    with recorder.run() as run:
        ids.append(run.id)
        retriever.invoke("the first call's question")
        raise ZeroDivisionError


# Objects


@pytest.mark.parametrize("name", ["search_docs", "theorems"])
@pytest.mark.parametrize("form", ["documents", "pairs", "artifact", "command", "commands"])
def test_what_a_tool_wraps_its_documents_in(store: RaderVectorStore, tmp_path: Path, name: str, form: str) -> None:
    @tool(name)
    def search(
        query: str,
        tool_call_id: Annotated[str, InjectedToolCallId],
        state: Annotated[dict[str, Any], InjectedState],
    ) -> Any:
        """Search."""
        assert state["messages"]
        retrieved = store.similarity_search(query, k=2)
        message = ToolMessage("two texts", tool_call_id=tool_call_id, artifact=retrieved)
        return {
            "documents": retrieved,
            "pairs": store.similarity_search_with_score(query, k=2),
            "artifact": message,
            "command": Command(update={"messages": [message]}),
            "commands": [Command(update={"messages": [message]})],
        }[form]

    with TrajectoryRecorder(tmp_path / "runs.jsonl") as recorder:
        agent(search, model=Scripted(tool_name=name)).invoke(ask("hard"), {"callbacks": [recorder]})
    [run] = read_recorded(recorder.writer.path)
    assert [step.text for step in run.steps if step.kind == "query"] == ["about hard"]
    assert len(documents(run)) == 2
    assert set(documents(run)) < set(IDS)
    assert (run.answer, recorder.counts["unread"]) == ("done: hard", 0)


@dataclasses.dataclass
class Handle:
    secret: Any

    def __repr__(self) -> str:
        return f"Handle(secret={self.secret})"


@pytest.mark.parametrize("name", ["search_docs", "calculator"])
def test_printed_objects_are_left_out_and_counted(retriever: RaderRetriever, tmp_path: Path, name: str) -> None:
    @tool(name)
    def opaque(query: str, state: Annotated[dict[str, Any], InjectedState]) -> Any:
        """Returns something that only its __repr__ can show."""
        return [Handle(object())]

    def run_both(question: str, config: Any) -> str:
        retriever.invoke("a search", config)
        return str(agent(opaque, model=Scripted(tool_name=name)).invoke(ask(question), config)["messages"][-1].content)

    with TrajectoryRecorder(tmp_path / "runs.jsonl") as recorder:
        RunnableLambda(run_both).invoke("hard", {"callbacks": [recorder]})
    text = recorder.writer.path.read_text()
    assert "Handle(" not in text
    assert "object at" not in text
    assert "HumanMessage" not in text
    [run] = read_recorded(recorder.writer.path)
    assert (run.metadata["unread"], recorder.counts["unread"], len(run.retrievals)) == (1, 1, 1)


class Verdict(BaseModel):
    answer: str
    sure: bool = True


class Numbers(BaseModel):
    smallest: int
    note: str = "ü"


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        (Verdict(answer="six"), "six"),
        (Numbers(smallest=6), '{"smallest": 6, "note": "ü"}'),
        ({"structured_response": Verdict(answer="six"), "messages": [AIMessage("", tool_calls=[])]}, "six"),
        ({"output": Numbers(smallest=6)}, '{"smallest": 6, "note": "ü"}'),
        ({"result": 6}, "6"),
        ({"answer": None, "messages": [("human", "q"), ("ai", "six")]}, "six"),
        ({"messages": [("ai", "of before"), ("human", "q")]}, None),
        (
            {"messages": [("human", "q"), AIMessage("I search", tool_calls=[{"name": "f", "args": {}, "id": "1"}])]},
            None,
        ),
        ({"answer": None, "context": []}, None),
        (ObjectState("q", None, "six"), "six"),
        (AIMessage([{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "six"}]), "six"),
    ],
)
def test_answers_in_every_form(retriever: RaderRetriever, tmp_path: Path, output: Any, answer: str | None) -> None:
    with TrajectoryRecorder(tmp_path / "runs.jsonl") as recorder:
        (retriever | RunnableLambda(lambda found: output)).invoke("question", {"callbacks": [recorder]})
    [run] = read_recorded(recorder.writer.path)
    assert (run.answer, recorder.counts["errors"]) == (answer, 0)


# Control flow


async def test_streams_that_are_closed_or_cancelled_keep_what_was_said(
    retriever: RaderRetriever, tmp_path: Path
) -> None:
    @tool
    def search_docs(query: str) -> str:
        """Search."""
        return retriever.invoke(query)[0].page_content

    graph = agent(search_docs)
    started = asyncio.Event()

    async def hang(found: Any) -> str:
        started.set()
        await asyncio.Event().wait()
        return "never"

    with TrajectoryRecorder(tmp_path / "runs.jsonl") as recorder:
        config: Any = {"callbacks": [recorder]}
        for update in graph.stream(ask("sync"), config, stream_mode="updates"):
            if "agent" in update and update["agent"]["messages"][-1].content:
                break
        stream = graph.astream(ask("async"), config, stream_mode="updates")
        async for update in stream:
            if "tools" in update:
                break
        await stream.aclose()
        task = asyncio.create_task((retriever | RunnableLambda(hang)).ainvoke("cancelled", config))
        await started.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    runs = {run.question: run for run in read_recorded(recorder.writer.path)}
    assert {question: run.answer for question, run in runs.items()} == {
        "sync": "done: sync", "async": None, "cancelled": None
    }  # fmt: skip
    for run in runs.values():
        assert "error" not in run.metadata
        assert run.metadata["closed_early"] is True
        assert len(run.retrievals) == 1


def test_a_search_that_is_tried_again_is_one_query(retriever: RaderRetriever, tmp_path: Path) -> None:
    class Flaky(RaderRetriever):
        failures: list[int] = [1]

        def _get_relevant_documents(self, query: str, *, run_manager: Any, **kwargs: Any) -> list[Document]:
            if self.failures:
                self.failures.pop()
                raise TimeoutError("the index is far away")
            return super()._get_relevant_documents(query, run_manager=run_manager, **kwargs)

    with TrajectoryRecorder(tmp_path / "runs.jsonl") as recorder:
        flaky = Flaky(index=retriever.index)
        flaky.with_retry(wait_exponential_jitter=False).invoke("again", {"callbacks": [recorder]})
        flaky.failures.append(1)
        flaky.with_fallbacks([retriever]).invoke("elsewhere", {"callbacks": [recorder]})
    runs = list(read_recorded(recorder.writer.path))
    assert [kinds(run) for run in runs] == [["query", "retrieval"]] * 2
    assert [run.metadata["failed_searches"] for run in runs] == [1, 1]


def test_a_conversation_state_with_a_plain_model(retriever: RaderRetriever, tmp_path: Path) -> None:
    def respond(state: MessagesState) -> Any:
        question = str(state["messages"][-1].content)
        retrieved = retriever.invoke(question)
        return Command(update={"messages": [AIMessage(f"{len(retrieved)} texts on {question}")]}, goto=END)

    graph = StateGraph(MessagesState).add_node("respond", respond).add_edge(START, "respond")
    compiled: Any = graph.compile(checkpointer=MemorySaver())
    with TrajectoryRecorder(tmp_path / "runs.jsonl") as recorder:
        for question in ("a", "b"):
            compiled.invoke(ask(question), {"callbacks": [recorder], "configurable": {"thread_id": "1"}})
    runs = list(read_recorded(recorder.writer.path))
    assert [(run.question, run.answer) for run in runs] == [("a", "2 texts on a"), ("b", "2 texts on b")]


# Evaluation reads as the recorder does


@pytest.mark.parametrize("schema", [State, ObjectState, ModelState])
def test_graphs_and_agents_are_evaluated_as_they_are(
    store: RaderVectorStore, retriever: RaderRetriever, schema: Any
) -> None:
    @tool
    def search_docs(query: str) -> str:
        """Search."""
        return retriever.invoke(query)[0].page_content

    conversation = agent(search_docs, checkpointer=MemorySaver())
    for runnable, answer in ((conversation, "done: how many?"), (rag_graph(store, schema), "six, says 2")):
        rag_answer = asyncio.run(RagRunnable(runnable).aanswer("how many?"))
        assert (rag_answer.answer, len(rag_answer.ids)) == (answer, 2)
    with pytest.raises(ValueError, match="one conversation"):
        RagRunnable(conversation, config={"configurable": {"thread_id": "1"}})


def test_an_agent_is_searched_through_its_tools(store: RaderVectorStore) -> None:
    @tool(response_format="content_and_artifact")
    def search_docs(query: str) -> tuple[str, list[Document]]:
        """Search."""
        retrieved = store.similarity_search(query, k=2)
        return "two texts", retrieved

    pairs: Any = searchable(agent(search_docs))(["how many?", "simple"])
    assert [len(ranking) for ranking in pairs] == [2, 0]
