"""Queries that a language model writes for a document: ``llm`` in other words, ``lexical`` in the document's own."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError, LLMError
from rader_plugins.index import RaderIndex
from rader_plugins.llm import (
    BudgetExceededError,
    CachedChat,
    ChatModel,
    Completion,
    ContextOverflowError,
    RequestRefusedError,
)
from rader_plugins.llm.generator import as_generator, usage_of
from rader_plugins.retrieval import RaderRetriever
from rader_plugins.text_matching import digest, shared_words
from rader_synthesis.calls import said
from rader_synthesis.config import PromptStyle
from rader_synthesis.packs import ActionPrompt, load_pack, load_prompt, step_values
from rader_synthesis.sampling.config import SamplingConfig
from rader_synthesis.sampling.drafts import Draft
from rader_synthesis.sampling.ledger import Ledger
from rader_synthesis.sampling.requests import QueryRequest
from rader_synthesis.sampling.spool import Spool
from rader_synthesis.sampling.statistics import Statistics
from rader_synthesis.search import derived_seed

__all__ = ["QueryWriter", "fault_of"]

_PLACES = {"llm": ("question", "steps", "document"), "lexical": ("document",)}
_SHOWN = 6000  # characters of a document that the model sees
_FEWEST_WORDS = 3
_MOST_FAILURES = 10
"""Requests in a row that the server may leave unanswered before the run stops."""


@dataclass(frozen=True)
class _Answer:
    """What became of a request.

    Args:
        text: The query; empty if there is none.
        calls: Calls that it took.
        faults: Why earlier attempts, or all, were refused.
        failure: Of the server, if it did not answer.
    """

    text: str = ""
    calls: int = 0
    faults: tuple[str, ...] = ()
    failure: Exception | None = None


class QueryWriter:
    """Asks a language model for queries and checks them.

    Args:
        llm: The model; a :class:`~rader_plugins.llm.CachedChat` makes a run that was stopped go on for free.
        style: ``chat`` sends messages with the examples as earlier turns, ``completion`` one text.
        prompts: Folder with ``llm.toml`` and ``lexical.toml``; None takes those of the library.
        concurrency: Requests at once.
        temperature: Of sampling, unless a prompt file says otherwise.
        top_p: Mass of the most probable tokens to sample from.
        ledger: Counts requests and tokens over all runs that share it.

    Raises:
        InputError: A prompt file is unusable, or ``concurrency`` is below 1.
    """

    def __init__(
        self,
        llm: ChatModel,
        *,
        style: PromptStyle = "chat",
        prompts: str | os.PathLike[str] | None = None,
        concurrency: int = 8,
        temperature: float = 0.8,
        top_p: float | None = 0.95,
        ledger: Ledger | None = None,
    ) -> None:
        if concurrency < 1:
            raise InputError(f"concurrency must be at least 1, not {concurrency}.")
        folder = (
            Path(prompts) if prompts is not None else Path(str(files("rader_synthesis").joinpath("prompts/queries")))
        )
        self._pack = load_pack("generic")
        self.prompts: Mapping[str, ActionPrompt] = {
            kind: load_prompt(folder / f"{kind}.toml", places, self._pack) for kind, places in _PLACES.items()
        }
        self._llm = llm
        self._generator = as_generator(llm)
        self._style = style
        self._concurrency = concurrency
        self._refusal: RequestRefusedError | None = None
        self._temperature, self._top_p = temperature, top_p
        self._ledger = ledger
        self._calls = 0
        self._before = usage_of(llm)

    def write(
        self,
        spool: Spool,
        statistics: Statistics,
        config: SamplingConfig,
        index: RaderIndex | None,
        on_asked: Callable[[int], Any] = lambda count: None,
    ) -> None:
        """Answer the requests of a spool and add what passes as drafts, in the order of the requests.

        Raises:
            LLMError: The server left ten requests in a row unanswered, or refuses all.
            BudgetExceededError: The budget is used up.
        """
        retriever = RaderRetriever(index, mode="bm25") if index is not None else None
        waiting: deque[tuple[int, QueryRequest, Future[_Answer]]] = deque()
        failures = 0

        def settle() -> None:
            nonlocal failures
            problem, request, future = waiting.popleft()
            answer = future.result()
            self._calls += answer.calls
            failures = failures + 1 if answer.failure is not None else 0
            if answer.failure is not None and failures >= _MOST_FAILURES:
                raise answer.failure
            _settle(spool, statistics, problem, request, answer)
            self._note()
            on_asked(1)

        self._refusal = None
        try:
            with ThreadPoolExecutor(self._concurrency, thread_name_prefix="rader-queries") as pool:
                try:
                    for _, problem, row in spool.requests():
                        request = QueryRequest.from_row(row)
                        known = spool.document(request.document)
                        if known is None or not known[0].full_text.strip():
                            statistics.dropped[f"{request.kind}: document without a text"] += 1
                            continue
                        text = known[0].full_text
                        waiting.append((problem, request, pool.submit(self._answer, request, text, config, retriever)))
                        if len(waiting) >= 4 * self._concurrency:
                            settle()
                    while waiting:
                        settle()
                finally:
                    for _, _, future in waiting:
                        future.cancel()
        finally:
            self._note()  # after the requests that were under way

    def told(self) -> dict[str, Any]:
        """Return what the card tells: the model, the calls that the samples needed, and their cost over all runs."""
        spent = self._ledger.total() if self._ledger is not None else self._spent()
        return {"model": self._llm.fingerprint, "style": self._style, "calls": self._calls, **spent}

    def cost(self) -> dict[str, int]:
        """Return what this run cost."""
        cached = self._llm.hits if isinstance(self._llm, CachedChat) else 0
        return {**self._spent(), "cached": cached}

    def _spent(self) -> dict[str, int]:
        now, before = usage_of(self._llm), self._before
        names = ("requests", "prompt_tokens", "completion_tokens")
        return {name: getattr(now, name, 0) - getattr(before, name, 0) for name in names}

    def _note(self) -> None:
        if self._ledger is not None:
            self._ledger.note(self._spent())

    def _answer(
        self, request: QueryRequest, document: str, config: SamplingConfig, retriever: RaderRetriever | None
    ) -> _Answer:
        """Ask until a query passes, at most so often as the configuration says."""
        values = {"document": " ".join(document.split())[:_SHOWN]}
        if request.kind == "llm":
            values |= {"question": request.question, **step_values(request.before, self._pack)}
        faults: list[str] = []
        for attempt in range(config.attempts):
            seed = derived_seed(config.seed, request.kind, request.query_id, attempt)
            if self._refusal is not None:
                raise self._refusal
            try:
                completion = self._ask(self.prompts[request.kind], values, seed)
            except BudgetExceededError:
                raise
            except ContextOverflowError:
                return _Answer(calls=attempt + 1, faults=(*faults, "longer than the model's context"))
            except RequestRefusedError as error:
                if error.kind in ("model", "access"):
                    self._refusal = error  # so will every other request be
                    raise
                return _Answer(calls=attempt + 1, faults=(*faults, "refused by the server"), failure=error)
            except LLMError as error:
                return _Answer(calls=attempt + 1, faults=(*faults, "not answered by the server"), failure=error)
            text = _query(self.prompts[request.kind], completion, values)
            cut = completion.finish_reason == "length"
            fault = "cut at the most tokens" if cut else fault_of(text, request, document, config, retriever)
            if fault is None:
                return _Answer(text, attempt + 1, tuple(faults))
            faults.append(fault)
        return _Answer(calls=config.attempts, faults=tuple(faults))

    def _ask(self, prompt: ActionPrompt, values: Mapping[str, str], seed: int) -> Completion:
        options: dict[str, Any] = {
            "temperature": self._temperature if prompt.temperature is None else prompt.temperature,
            "top_p": self._top_p,
            "max_tokens": prompt.max_tokens,
            "seed": seed,
        }
        stop = list(prompt.stop)
        if self._style == "chat":
            return self._generator.chat(prompt.messages(values), stop=stop or None, **options)[0]
        if prompt.next_example is not None:
            stop.append(prompt.next_example)
        return self._generator.complete(prompt.text(values), stop=stop or None, **options)[0]


def fault_of(
    text: str, request: QueryRequest, document: str, config: SamplingConfig, retriever: RaderRetriever | None
) -> str | None:
    """Return why a query that was written does not pass; None if it does.

    Args:
        text: The query.
        request: What was asked for.
        document: Title and text of the document that it is for.
        config: ``max_overlap`` and ``round_trip``.
        retriever: Searches by BM25, for ``lexical``.
    """
    if len(text.split()) < _FEWEST_WORDS:
        return "too short"
    if request.kind == "llm":
        if digest(text) == digest(request.question):
            return "the question itself"
        return "too many words of the document" if shared_words(text, document) > config.max_overlap else None
    if digest(text) == digest(document):
        return "the document itself"
    hits = retriever.search(text, config.round_trip, mode="bm25") if retriever is not None else []
    if all(hit.document.id != request.document for hit in hits):
        return f"not found by BM25 among {config.round_trip}"
    return None


def _query(prompt: ActionPrompt, completion: Completion, values: Mapping[str, str]) -> str:
    """Return the query in an answer: one line, without the cue and without quotation marks around it."""
    return " ".join(prompt.clean(said(completion), values).split()).strip('"“” ')


def _settle(spool: Spool, statistics: Statistics, problem: int, request: QueryRequest, answer: _Answer) -> None:
    """Add the query as a draft, or count why there is none."""
    dropped: Sequence[str] = answer.faults if answer.text else answer.faults[:-1]
    for fault in dropped:
        statistics.dropped[f"{request.kind} query asked again: {fault}"] += 1
    if not answer.text:
        statistics.dropped[f"{request.kind} query given up: {answer.faults[-1]}"] += 1
        return
    draft = Draft(
        request.kind,
        request.query_id,
        answer.text,
        {request.document: request.labelled_by},
        dict(request.rejected),
        request.trajectory_id,
        request.source,
        request.step,
    )
    if not spool.add_draft(problem, draft):
        statistics.dropped[f"{request.kind}: merged with an equal query of the same problem"] += 1
