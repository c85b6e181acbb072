"""What the recorders of both frameworks write becomes training samples, through the commands alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

pytest.importorskip("langchain_core")
pytest.importorskip("llama_index.core")
pytest.importorskip("datasets")

from datasets import load_dataset
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnablePassthrough
from langchain_rader import RaderRetriever as LangChainRetriever
from langchain_rader import TrajectoryRecorder as LangChainRecorder
from llama_index.core.base.llms.types import CompletionResponse, LLMMetadata
from llama_index.core.llms import CustomLLM
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.retrievers.rader import RaderRetriever as LlamaIndexRetriever
from llama_index.retrievers.rader import TrajectoryRecorder as LlamaIndexRecorder
from typer.testing import CliRunner

from rader_plugins import RaderIndex
from rader_plugins.cli import build_app
from rader_plugins.files import read_jsonl
from rader_plugins.llm import OpenAIChat
from rader_plugins.sample_files import read_samples
from rader_plugins.samples import Sample
from tests.support.llm_server import LLMServer

# Question -> what is thought of it, what is searched for, the answer that is given, the right one.
CASES = {
    "How many guests must come so that three of them know each other or three do not?": (
        "Guests are points, and acquaintance colours the lines between them.", "two colours of a complete graph",
        "The answer is 6.", "6",
    ),
    "How many people must there be so that two have their birthday in the same month?": (
        "Months are boxes and people are what is put into them.", "more objects than boxes",
        "The answer is 13.", "13",
    ),
    "Among how many whole numbers do two leave the same remainder when divided by seven?": (
        "A division by seven leaves one of seven remainders.", "boxes and remainders",
        "The answer is 9.", "8",
    ),
    "How many numbers up to ten are divisible by two or by three?": (
        "Multiples of six would be counted twice.", "size of a union of sets",
        "The answer is 7.", "7",
    ),
}  # fmt: skip


def says(body: dict[str, Any]) -> str:
    """What the application's model, the judge and the writer of queries say."""
    prompt = body["messages"][-1]["content"]
    if prompt.startswith("Document: "):  # a lexical query
        return f"What is stated about {prompt.removeprefix('Document: ').split('.')[0]}?"
    question = next(question for question in CASES if question in prompt)
    thought, query, answer, _ = CASES[question]
    if prompt.endswith("Reason:"):
        document = prompt.partition("Document: ")[2]
        helps = document.startswith(("Ramsey", "Pigeonhole", "Inclusion"))
        return f"It says {len(document)} characters.\nRelevant: {helps}"
    if prompt.endswith("Query:"):
        return f"Which zebra number {len(prompt)} solves it?"
    if prompt.startswith("Think"):
        return thought
    return query if prompt.startswith("Search") else answer


class LangChainModel(BaseChatModel):
    """A chat model of LangChain behind an OpenAI-compatible server."""

    server: Any

    @property
    def _llm_type(self) -> str:
        return "served"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        [completion] = self.server.chat([{"role": "user", "content": message.content} for message in messages])
        return ChatResult(generations=[ChatGeneration(message=AIMessage(completion.text))])


class LlamaIndexModel(CustomLLM):
    """A language model of LlamaIndex behind an OpenAI-compatible server."""

    server: Any

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="served")

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        [completion] = self.server.chat([{"role": "user", "content": prompt}])
        return CompletionResponse(text=completion.text)

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        raise NotImplementedError


def reasoning_chain(retriever: LangChainRetriever, llm: LangChainModel) -> Runnable[Any, str]:
    """Thinks, says what to search for, searches, answers."""

    def step(template: str) -> Runnable[Any, str]:
        return ChatPromptTemplate.from_template(template) | llm | StrOutputParser()

    return (
        RunnablePassthrough.assign(thought=step("Think about it: {question}"))
        | RunnablePassthrough.assign(query=step("Search for what?\n{question}\n{thought}"))
        | RunnablePassthrough.assign(documents=(lambda known: known["query"]) | retriever)
        | step("{documents}\n\nAnswer: {question}")
    )


@pytest.fixture
def served() -> Iterator[LLMServer]:
    with LLMServer(says) as server:
        yield server


@pytest.fixture
def index(tmp_path: Path, mini: Any, principles: Any) -> Path:
    with RaderIndex.create(tmp_path / "index", mini) as empty_index:
        empty_index.add(principles[:60])
    return tmp_path / "index"


def rader(*arguments: object) -> Any:
    done = CliRunner().invoke(build_app(), [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def found(folder: Path) -> dict[str, list[Sample]]:
    kinds: dict[str, list[Sample]] = {}
    for sample in read_samples(folder, "train"):
        kinds.setdefault(sample.query_kind, []).append(sample)
    return kinds


def test_recorded_chains_and_query_engines_become_samples(tmp_path: Path, served: LLMServer, index: Path) -> None:
    chains, engines = tmp_path / "chains.jsonl", tmp_path / "engines.jsonl"
    with OpenAIChat(served.url, "served") as server, RaderIndex.open(index) as opened:
        names = {}
        with LangChainRecorder(chains) as recorder:
            chain = reasoning_chain(LangChainRetriever(index=opened, k=5), LangChainModel(server=server))
            for question in CASES:
                names[question] = uuid4()
                chain.invoke({"question": question}, {"callbacks": [recorder], "run_id": names[question]})
        engine = RetrieverQueryEngine.from_args(LlamaIndexRetriever(opened, 5), llm=LlamaIndexModel(server=server))
        with LlamaIndexRecorder(engines) as late:
            for question in CASES:
                with late.run() as run:
                    engine.query(question)
                late.feedback(run.id, reward=float(CASES[question][2] == f"The answer is {CASES[question][3]}."))
    with LangChainRecorder(chains) as later:  # the right answers become known when the chain has long been closed
        for question, name in names.items():
            later.feedback(name, gold_answer=CASES[question][3])

    llm = ("--llm-url", served.url, "--llm-model", "served")
    both = tmp_path / "trajectories.jsonl"
    label = ("--label", "reflection", *llm)
    summary = rader("import", "recorded", chains, engines, "--out", both, "--checker", "numeric", *label, "--json")
    assert summary["rewards"] == {"right": 6, "not right": 2}
    assert summary["notes"] == {"run with feedback": 8}
    assert summary["documents"].keys() == {"relevant", "not relevant"}

    summary = rader("samples", both, "--index", index, "--out", tmp_path / "plain", "--dev-share", 0, "--json")
    # By the words of the last question nothing is found that helps; by what the chain searches for, something is.
    assert summary["card"]["trajectories"] == {"read": 8, "used": 5, "wrong answer": 2, "no positive": 1}
    assert summary["card"]["sources"] == {"langchain": 3, "llama-index": 2}
    plain = found(tmp_path / "plain")
    right = {question for question, (_, _, answer, gold) in CASES.items() if gold in answer}
    # An engine that searches for the question as it is has no thought before it: only the chain gives cot queries.
    assert {entry.query for entry in plain["question"]} == right
    assert {entry.query for entry in plain["cot"]} == {f"{question}\n{CASES[question][0]}" for question in right}
    assert plain.keys() == {"question", "cot"}
    for sample in (*plain["question"], *plain["cot"]):
        assert {entry.id for entry in sample.positives} <= {
            "ramsey-theorem",
            "pigeonhole-principle",
            "inclusion-exclusion",
        }
        assert "reflection" in {entry.origin for entry in sample.negatives}

    rader("samples", both, "--index", index, "--out", tmp_path / "all", "--dev-share", 0, *llm, "--json")
    assert found(tmp_path / "all").keys() == {"question", "cot", "llm", "lexical"}
    loaded = load_dataset(str(tmp_path / "all"), cache_dir=str(tmp_path / "cache"))["train"]
    assert set(loaded["query_kind"]) == {"question", "cot", "llm", "lexical"}
    assert len(list(read_jsonl(tmp_path / "all" / "tevatron" / "train.jsonl"))) == len(loaded)
