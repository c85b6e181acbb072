"""vLLM in process, against a stand-in.

The real one needs a GPU, or gigabytes and minutes on a CPU. The stand-in has the documented signatures and rules of
``vllm.LLM`` and ``vllm.SamplingParams`` and refuses what they refuse; ``test_vllm_real.py`` asks the real one.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest

from rader_plugins.errors import InputError, LLMError, MissingExtraError
from rader_plugins.llm import Budget, BudgetedLLM, ContextOverflowError, Generator, RequestRefusedError, Usage
from rader_plugins.llm.vllm_local import VLLMGenerator

HELLO = [{"role": "user", "content": "hello there"}]


@dataclass
class SamplingParams:
    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: str | list[str] | None = None
    max_tokens: int | None = 16

    def __post_init__(self) -> None:
        if self.temperature == 0 and self.n > 1:
            raise ValueError(f"n must be 1 when using greedy sampling, got {self.n}.")


@dataclass
class Choice:
    index: int
    text: str
    token_ids: list[int]
    finish_reason: str | None = "stop"


@dataclass
class Output:
    prompt_token_ids: list[int]
    outputs: list[Choice] = field(default_factory=list)


class LLM:
    """Says its prompt and its seed; ``busy`` is set while it works and ``go`` lets it."""

    made: list[LLM] = []

    def __init__(self, model: str, *, max_model_len: int | None = None, dtype: str = "auto", **kwargs: Any) -> None:
        if model == "missing":
            raise OSError("no such model")
        self.model, self.max_model_len, self.options = model, max_model_len or 1000, kwargs
        self.batches: list[tuple[str, list[Any], list[SamplingParams]]] = []
        self.busy, self.go = threading.Event(), threading.Event()
        self.go.set()
        self.threads: set[int] = set()
        self.made.append(self)

    def generate(
        self, prompts: Any, sampling_params: Any = None, *, use_tqdm: bool = True, lora_request: Any = None
    ) -> list[Output]:
        return self._run("generate", prompts, sampling_params, use_tqdm)

    def chat(
        self, messages: Any, sampling_params: Any = None, use_tqdm: bool = True, lora_request: Any = None
    ) -> list[Output]:
        return self._run("chat", messages, sampling_params, use_tqdm)

    def _run(self, kind: str, contents: list[Any], parameters: list[SamplingParams], use_tqdm: bool) -> list[Output]:
        assert not use_tqdm
        assert len(contents) == len(parameters)
        self.threads.add(threading.get_ident())
        self.batches.append((kind, contents, parameters))
        self.busy.set()
        self.go.wait(20)
        texts = [content if kind == "generate" else content[-1]["content"] for content in contents]
        for text in texts:
            if len(text.split()) > self.max_model_len:
                raise ValueError(
                    f"The decoder prompt (length {len(text.split())}) is longer than the maximum model length of "
                    f"{self.max_model_len}."
                )
            if text == "crash":
                raise RuntimeError("CUDA error")
            if text == "odd":
                return []
        return [
            Output(
                list(range(len(text.split()))),
                [Choice(index, f"{kind} {text} {sp.seed}", [1, 2]) for index in range(sp.n)],
            )
            for text, sp in zip(texts, parameters, strict=True)
        ]


@pytest.fixture(autouse=True)
def vllm(monkeypatch) -> ModuleType:
    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SamplingParams
    monkeypatch.setitem(sys.modules, "vllm", module)
    LLM.made.clear()
    return module


def test_a_call_in_the_engine_s_terms():
    with VLLMGenerator("m", max_model_len=50, tensor_parallel_size=2) as llm:
        assert isinstance(llm, Generator)
        (engine,) = LLM.made
        assert (engine.model, engine.max_model_len, engine.options) == ("m", 50, {"tensor_parallel_size": 2})
        options = {"n": 2, "temperature": 0.8, "top_p": 0.9, "top_k": 40, "max_tokens": 9, "stop": ["x"], "seed": 5}
        answers = llm.complete("a b c", **options)
        assert [(answer.text, answer.finish_reason) for answer in answers] == [("generate a b c 5", "stop")] * 2
        assert engine.batches[0][2] == [SamplingParams(**options)]
        assert llm.chat(HELLO)[0].text == "chat hello there None"
        assert engine.batches[1] == ("chat", [HELLO], [SamplingParams(temperature=0.0, max_tokens=None)])
        assert llm.usage == Usage(requests=2, prompt_tokens=5, completion_tokens=6)


def test_without_sampling_all_answers_are_one():
    with VLLMGenerator("m") as llm:
        assert [answer.text for answer in llm.complete("a", n=3)] == ["generate a None"] * 3
        assert llm.usage.completion_tokens == 2


async def test_what_comes_in_while_the_engine_works_is_one_batch():
    with VLLMGenerator("m", linger=0.0) as llm:
        (engine,) = LLM.made
        engine.go.clear()
        first = asyncio.create_task(llm.acomplete("first"))
        await asyncio.to_thread(engine.busy.wait, 20)
        tasks = [asyncio.create_task(llm.acomplete(f"p{number}", temperature=1.0, seed=number)) for number in range(20)]
        tasks += [asyncio.create_task(llm.achat(HELLO, seed=number)) for number in range(5)]
        await asyncio.sleep(0)
        tasks[3].cancel()
        await asyncio.sleep(0)
        assert not first.done()
        engine.go.set()
        assert (await first)[0].text == "generate first None"
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(answers.pop(3), asyncio.CancelledError)
        expected = [f"generate p{number} {number}" for number in range(20) if number != 3] + [
            f"chat hello there {number}" for number in range(5)
        ]
        assert [answer[0].text for answer in answers] == expected
        assert [(kind, len(contents)) for kind, contents, _ in engine.batches] == [
            ("generate", 1), ("chat", 5), ("generate", 19)
        ]  # fmt: skip
        assert len(engine.threads) == 1


def test_batches_are_bounded():
    with VLLMGenerator("m", max_batch=3, linger=0.0) as llm:
        (engine,) = LLM.made
        engine.go.clear()
        threads = [threading.Thread(target=llm.complete, args=(f"p{number}",)) for number in range(10)]
        for thread in threads:
            thread.start()
        engine.go.set()
        for thread in threads:
            thread.join(20)
        assert sum(len(contents) for _, contents, _ in engine.batches) == 10
        assert max(len(contents) for _, contents, _ in engine.batches) <= 3


async def test_one_bad_request_does_not_spoil_the_batch():
    with VLLMGenerator("m", max_model_len=4, linger=0.0) as llm:
        (engine,) = LLM.made
        engine.go.clear()
        prompts = ["first", "a", "far too long a prompt", "crash", "b", "odd"]
        tasks = [asyncio.create_task(llm.acomplete(prompt)) for prompt in prompts]
        await asyncio.to_thread(engine.busy.wait, 20)
        engine.go.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [answers[index][0].text for index in (0, 1, 4)] == [
            f"generate {prompts[index]} None" for index in (0, 1, 4)
        ]
        assert isinstance(answers[2], ContextOverflowError)
        assert isinstance(answers[3], LLMError)
        assert not isinstance(answers[3], RequestRefusedError)
        assert "CUDA error" in str(answers[3])
        assert "0 answers" in str(answers[5])


def test_closing_ends_what_was_asked():
    llm = VLLMGenerator("m")
    (engine,) = LLM.made
    engine.go.clear()
    got = []
    caller = threading.Thread(target=lambda: got.append(llm.complete("a")))
    caller.start()
    engine.busy.wait(20)
    closer = threading.Thread(target=llm.close)
    closer.start()
    engine.go.set()
    closer.join(20)
    caller.join(20)
    assert got[0][0].text == "generate a None"
    llm.close()
    with pytest.raises(LLMError, match="closed"):
        llm.complete("a")


def test_a_budget_of_tokens():
    with VLLMGenerator("m") as llm:
        budgeted = BudgetedLLM(llm, Budget(tokens=3))
        budgeted.complete("a")
        assert budgeted.spent.tokens == 3


def test_fingerprint_is_of_what_changes_answers():
    fingerprint = VLLMGenerator("m", dtype="bfloat16").fingerprint
    assert fingerprint == VLLMGenerator("m", dtype="bfloat16", tensor_parallel_size=2).fingerprint
    assert fingerprint != VLLMGenerator("m").fingerprint
    assert fingerprint != VLLMGenerator("m2", dtype="bfloat16").fingerprint


def test_what_cannot_be(monkeypatch):
    with pytest.raises(LLMError, match="cannot load 'missing'.*no such model"):
        VLLMGenerator("missing")
    for options in ({"max_batch": 0}, {"linger": -1}, {"dtype": object()}):
        with pytest.raises(InputError):
            VLLMGenerator("m", **options)
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtraError, match="vllm"):
        VLLMGenerator("m")


class VLLMClientError(Exception):
    """What vLLM 0.32 raises for a request that it refuses: no ``ValueError`` any more."""


def test_what_newer_versions_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> list[Output]:
        raise VLLMClientError("This model's maximum context length is 512 tokens. However, your prompt contains 513.")

    with VLLMGenerator("m") as llm:
        monkeypatch.setattr(LLM, "_run", refuse)
        with pytest.raises(ContextOverflowError):
            llm.complete("far too long")
