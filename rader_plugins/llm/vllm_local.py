"""`VLLMGenerator`: a language model that vLLM runs in this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from rader_plugins.errors import InputError, LLMError, import_extra
from rader_plugins.files import fingerprint
from rader_plugins.llm.base import Completion, Usage, refusal
from rader_plugins.llm.generator import GeneratorBase, Request

__all__ = ["VLLMGenerator"]

# Options of the engine that change how fast it is, not what it says.
_RUNTIME = {
    "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "gpu_memory_utilization", "swap_space",
    "cpu_offload_gb", "enforce_eager", "max_num_seqs", "max_num_batched_tokens", "download_dir", "hf_token",
    "disable_log_stats", "enable_prefix_caching", "load_format",
}  # fmt: skip


@dataclass
class _Call:
    """A request, and where its answers go."""

    request: Request
    answers: Future[list[Completion]] = field(default_factory=Future)


class VLLMGenerator(GeneratorBase):
    """Runs a model with vLLM in this process. Needs the extra ``vllm``. Safe to use from several threads.

    vLLM is fast when it works on many requests at once, and its engine takes calls from one thread only: callers hand
    their requests to a thread that gives everything that has come in by then to the engine in one batch. A batch ends
    with its longest answer, so a server (``vllm serve`` and :class:`OpenAIChat`), where answers leave and requests
    enter at any time, keeps a GPU busier; in process there is nothing to set up.

    Args:
        model: Folder or hub id of the model.
        max_batch: Most requests in a batch.
        linger: Seconds to wait for more requests after the first of a batch.
        **engine: Further options of ``vllm.LLM``: ``max_model_len``, ``dtype``, ``tensor_parallel_size``, ...

    Raises:
        InputError: An option is unusable.
        MissingExtraError: vLLM is not installed.
        LLMError: vLLM cannot load the model.

    Example:
        >>> llm = VLLMGenerator("Qwen/Qwen2.5-7B-Instruct", max_model_len=8192)  # doctest: +SKIP
        >>> llm.complete("Q: 2 + 3\\nA:", stop=["\\n"], max_tokens=8)[0].text  # doctest: +SKIP
        ' 5'
    """

    def __init__(self, model: str, *, max_batch: int = 256, linger: float = 0.01, **engine: Any) -> None:
        if not isinstance(max_batch, int) or max_batch < 1:
            raise InputError(f"max_batch must be a whole number of at least 1, not {max_batch!r}.")
        if not linger >= 0:
            raise InputError(f"linger must not be negative (seconds), not {linger!r}.")
        self._vllm = import_extra("vllm", "vllm")
        self.model = model
        self.max_batch = max_batch
        self.linger = linger
        named = {name: value for name, value in engine.items() if name not in _RUNTIME}
        try:
            self._fingerprint = fingerprint({"vllm": model, "engine": named})
        except (TypeError, ValueError) as error:
            raise InputError(f"Options of the engine must be plain values: {error}.") from None
        try:
            self._llm: Any = self._vllm.LLM(model=model, **engine)
        except Exception as error:
            raise LLMError(f"vLLM cannot load {model!r}: {type(error).__name__}: {str(error)[:300]}") from error
        self._usage = Usage()
        self._usage_lock = threading.Lock()
        self._closing = threading.Lock()
        self._closed = False
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="rader-vllm", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"VLLMGenerator({self.model!r})"

    def __enter__(self) -> VLLMGenerator:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Finish what was asked, then let go of the model."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._calls.put(None)
        self._thread.join()
        self._llm = None

    @property
    def fingerprint(self) -> str:
        """Of the model's name and those options of the engine that may change its answers."""
        return self._fingerprint

    @property
    def usage(self) -> Usage:
        """Requests answered and tokens used so far; a prompt with several answers is read once."""
        with self._usage_lock:
            return self._usage

    def _generate(self, request: Request) -> list[Completion]:
        return self._hand_over(request).result()

    async def _agenerate(self, request: Request) -> list[Completion]:
        return await asyncio.wrap_future(self._hand_over(request))

    def _hand_over(self, request: Request) -> Future[list[Completion]]:
        call = _Call(request)
        with self._closing:  # nothing comes after the None that ends the thread
            if self._closed:
                raise LLMError(f"{self!r} is closed.")
            self._calls.put(call)
        return call.answers

    def _serve(self) -> None:
        going_on = True
        while going_on:
            batch, going_on = self._collect()
            # A caller that was cancelled meanwhile is not worked for.
            batch = [call for call in batch if call.answers.set_running_or_notify_cancel()]
            for raw in (False, True):
                if calls := [call for call in batch if isinstance(call.request.content, str) is raw]:
                    self._answer(calls)

    def _collect(self) -> tuple[list[_Call], bool]:
        """Wait for a request and return it with those that come in shortly after it, and whether there may be more."""
        batch: list[_Call] = []
        while len(batch) < self.max_batch:
            try:
                call = self._calls.get(timeout=self.linger) if batch else self._calls.get()
            except Empty:
                break
            if call is None:
                return batch, False
            batch.append(call)
        return batch, True

    def _answer(self, calls: Sequence[_Call]) -> None:
        try:
            answers = self._run([call.request for call in calls])
        except Exception as error:  # noqa: BLE001 - whatever the engine raises goes to the callers
            if len(calls) == 1:
                calls[0].answers.set_exception(self._failure(error))
                return
            # vLLM refuses a whole batch for one prompt that is too long.
            for call in calls:
                self._answer([call])
            return
        for call, completions in zip(calls, answers, strict=True):
            call.answers.set_result(completions)

    def _run(self, requests: Sequence[Request]) -> list[list[Completion]]:
        contents: list[Any] = [request.content for request in requests]
        parameters = [self._sampling(request) for request in requests]
        ask = self._llm.generate if isinstance(contents[0], str) else self._llm.chat
        outputs = ask(contents, parameters, use_tqdm=False)
        if len(outputs) != len(requests):
            raise LLMError(f"vLLM gave {len(outputs)} answers to {len(requests)} requests.")
        with self._usage_lock:
            prompt_tokens = sum(len(output.prompt_token_ids or ()) for output in outputs)
            completion_tokens = sum(len(choice.token_ids) for output in outputs for choice in output.outputs)
            before = self._usage
            self._usage = Usage(
                before.requests + len(requests),
                before.prompt_tokens + prompt_tokens,
                before.completion_tokens + completion_tokens,
            )
        return [_completions(output, request) for output, request in zip(outputs, requests, strict=True)]

    def _sampling(self, request: Request) -> Any:
        options = {"top_p": request.top_p, "top_k": request.top_k, "stop": list(request.stop) or None}
        return self._vllm.SamplingParams(
            n=1 if request.temperature == 0 else request.n,  # vLLM refuses to write the same text twice
            temperature=request.temperature,
            max_tokens=request.max_tokens,  # None: until the context is full, where vLLM by itself writes 16
            seed=request.seed,
            **{name: value for name, value in options.items() if value is not None},
        )

    def _failure(self, error: Exception) -> LLMError:
        if isinstance(error, LLMError):
            return error
        message = f"vLLM failed with {type(error).__name__}: {str(error)[:300]}"
        names = {base.__name__ for base in type(error).__mro__}
        wrong_input = isinstance(error, (ValueError, TypeError)) or "VLLMClientError" in names  # since 0.32
        failure = refusal(message, str(error)) if wrong_input else LLMError(message)
        failure.__cause__ = error
        return failure


def _completions(output: Any, request: Request) -> list[Completion]:
    choices = [Completion(choice.text, choice.finish_reason or "") for choice in output.outputs]
    if request.temperature == 0:
        choices *= request.n
    if len(choices) != request.n:
        raise LLMError(f"vLLM gave {len(choices)} answers where {request.n} were asked for.")
    return choices
