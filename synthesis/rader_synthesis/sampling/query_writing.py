"""Queries that a language model writes for a document, asked for again until one passes the checks of its kind."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rader_plugins.errors import InputError, RaderError
from rader_plugins.llm import (
    BudgetExceededError,
    CachedChat,
    ChatModel,
    Completion,
    ContextOverflowError,
    GiveUp,
    RequestRefusedError,
    ask_all,
)
from rader_plugins.llm.generator import as_generator, usage_of
from rader_plugins.query_kinds import KINDS, query_kinds
from rader_plugins.text_matching import words
from rader_synthesis.calls import said
from rader_synthesis.config import PromptStyle
from rader_synthesis.packs import ActionPrompt, load_pack, load_prompt
from rader_synthesis.sampling.drafts import QueryRequest
from rader_synthesis.sampling.kinds import Checks, WrittenKind, written_kinds
from rader_synthesis.sampling.ledger import Ledger
from rader_synthesis.search import derived_seed

__all__ = ["QueryWriter", "WrittenQuery"]

_SHOWN = 6000  # characters of a document that the model sees
_FEWEST_WORDS = 3
_MOST_FAILURES = 10
"""Requests in a row that the server may leave unanswered before the run stops."""


@dataclass(frozen=True)
class WrittenQuery:
    """What became of a request.

    Args:
        query: The text; empty if there is none.
        calls: Calls that it took.
        faults: Why earlier attempts, or all, were refused.
    """

    query: str = ""
    calls: int = 0
    faults: tuple[str, ...] = ()


_NOT_ASKED = WrittenQuery()


class QueryWriter:
    """Asks a language model for queries and checks them.

    Args:
        llm: The model; a :class:`~rader_plugins.llm.CachedChat` makes a run that was stopped go on for free.
        style: ``chat`` sends messages with the examples as earlier turns, ``completion`` one text.
        prompts: Folder with ``llm.toml`` and ``lexical.toml``; None takes those of the library.
        concurrency: How many requests are under way at once.
        temperature: Sampling temperature, unless a prompt file says otherwise.
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
        self._pack = load_pack("generic")
        self._kinds = written_kinds([name for name, kind in query_kinds().items() if kind.written])
        self.prompts: Mapping[str, ActionPrompt] = {
            name: load_prompt(_prompt_file(kind, prompts), kind.places, self._pack)
            for name, kind in self._kinds.items()
        }
        self._llm = llm
        self._generator = as_generator(llm)
        self._style = style
        self._concurrency = concurrency
        self._temperature, self._top_p = temperature, top_p
        self._ledger = ledger
        self._stop: RaderError | None = None
        self._calls = 0
        self._before = usage_of(llm)

    def write(
        self, requests: Iterable[tuple[int, QueryRequest, str]], checks: Checks
    ) -> Iterator[tuple[int, QueryRequest, WrittenQuery]]:
        """Yield what became of each request, in their order.

        Args:
            requests: Problem, request, and title and text of the document.
            checks: What a query has to pass.

        Raises:
            LLMError: The server left ten requests in a row unanswered, or refuses all.
            BudgetExceededError: The budget is used up.
        """
        self._stop = None
        answers = ask_all(
            itertools.takewhile(lambda item: self._stop is None, requests),
            lambda item: self._write(item[1], item[2], checks),
            concurrency=self._concurrency,
            give_up=GiveUp(in_a_row=_MOST_FAILURES),
        )
        try:
            for outcome in answers:
                if outcome.result is _NOT_ASKED:
                    continue
                problem, request, _ = outcome.item
                query_result = outcome.result or _unwritten(outcome.error)
                self._calls += query_result.calls
                self._note()
                yield problem, request, query_result
        finally:
            self._note()  # after the requests that were under way
        if self._stop is not None:
            raise self._stop

    def described(self) -> dict[str, Any]:
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

    def _write(self, request: QueryRequest, document: str, checks: Checks) -> WrittenQuery:
        """Ask until a query passes, at most so often as the configuration says."""
        kind, prompt, config = self._kinds[request.kind], self.prompts[request.kind], checks.config
        values = kind.values(request, " ".join(document.split())[:_SHOWN], self._pack)
        faults: list[str] = []
        for attempt in range(config.attempts):
            seed = derived_seed(config.seed, request.kind, request.query_id, attempt)
            if self._stop is not None:
                return _NOT_ASKED
            try:
                completion = self._ask(prompt, values, seed)
            except BudgetExceededError as error:
                self._stop = error  # calls that are under way are paid for, and waited for
                return _NOT_ASKED
            except RequestRefusedError as error:
                if error.permanent:
                    self._stop = error  # so will every other request be refused
                raise
            query = _query(prompt, completion, values)
            if completion.finish_reason == "length":
                faults.append("cut at the most tokens")
            elif len(words(query)) < _FEWEST_WORDS:
                faults.append("too short")
            elif (fault := kind.fault(query, request, document, checks)) is not None:
                faults.append(fault)
            else:
                return WrittenQuery(query, attempt + 1, tuple(faults))
        return WrittenQuery(calls=config.attempts, faults=tuple(faults))

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


def _unwritten(error: Exception | None) -> WrittenQuery:
    """Return what is counted of a request that the server did not answer."""
    if isinstance(error, ContextOverflowError):
        return WrittenQuery(calls=1, faults=("longer than the model's context",))
    if isinstance(error, RequestRefusedError):
        return WrittenQuery(calls=1, faults=(f"refused by the server ({error.kind})",))
    return WrittenQuery(calls=1, faults=("not answered by the server",))


def _prompt_file(kind: WrittenKind, folder: str | os.PathLike[str] | None) -> Path:
    if folder is None:
        return kind.prompt
    file = Path(folder) / kind.prompt.name
    # A folder of the user's holds the paper's kinds; other packages' kinds may bring their own prompts.
    return kind.prompt if not file.is_file() and kind.kind.name not in KINDS else file


def _query(prompt: ActionPrompt, completion: Completion, values: Mapping[str, str]) -> str:
    """Return the query in an answer: one line, without the cue and without quotation marks around it."""
    return " ".join(prompt.clean(said(completion), values).split()).strip('"“” ')
