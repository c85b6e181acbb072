"""`ReasoningQuery`: reasoning steps, written by an LLM or read from a file, become the retrieval query."""

from __future__ import annotations

import logging
import os
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

from rader_plugins.arguments import check_choice, check_count, check_path
from rader_plugins.background import Lock, Workers
from rader_plugins.construction import ByConstruction
from rader_plugins.documents import check_text
from rader_plugins.encoding.texts import progress, wants_progress
from rader_plugins.errors import InputError, LLMError
from rader_plugins.files import fingerprint, read_jsonl
from rader_plugins.llm.asking import Asked, GiveUp, aask_all, ask_all
from rader_plugins.llm.base import ChatModel, EmptyAnswersError, without_thoughts
from rader_plugins.llm.cache import CachedChat
from rader_plugins.llm.sampling import Sampling
from rader_plugins.llm.templates import check_template, fill_template

__all__ = ["REASONING_PROMPT", "ReasoningMode", "ReasoningQuery", "ReasoningReport"]

_LOG = logging.getLogger(__name__)
_QUOTED = 200
# So many failures of the server one after another, and the questions that are left are not tried.
_DEAD = 16

ReasoningMode = Literal["append", "replace"]

REASONING_PROMPT = """Somebody is going to look for documents that help to answer the question below. Write the \
reasoning that leads from the question to such documents.

Say what the essential problem is, in general terms and free of the story around it. Then think it through step by \
step. Name the principles, theorems, mechanisms, methods or facts that each step rests on, and describe them in the \
words in which a textbook or a reference would. You need not reach a final answer. Write running text without headings.

Question:
{query}"""


@dataclass(frozen=True)
class ReasoningReport:
    """What became of the queries.

    Args:
        queries: How many were asked for.
        reasoned: Got reasoning, from the LLM, its cache or the file.
        fallbacks: Were left as they are, since there was no reasoning for them.
    """

    queries: int = 0
    reasoned: int = 0
    fallbacks: int = 0


class ReasoningQuery(ByConstruction):
    """Turns questions into retrieval queries that hold the reasoning steps (RaDeR is evaluated on such queries too).

    A reranker goes on working with the original question. Where the LLM fails, refuses or writes nothing, the plain
    question is the query; ``report`` counts that and a warning is logged. Safe to use from several threads.

    Args:
        llm: The language model that writes the reasoning, a :class:`~rader_plugins.llm.ChatModel`.
        mode: ``append`` gives the question, a line break and the reasoning; ``replace`` the reasoning alone.
        prompt: The user message, with ``{query}`` in it.
        cache: File that keeps what the LLM wrote.
        concurrency: Questions at once. The model's own bound applies too.
        temperature: Sampling temperature; 0 is greedy.
        max_tokens: Most tokens of reasoning; what is cut there is used nevertheless.
        seed: Seed of the sampling; None leaves it to the server.
        show_progress: True, False, or None for "if the standard error is a terminal".

    Raises:
        InputError: An argument is unusable.

    Example:
        >>> from rader_plugins.llm import OpenAIChat
        >>> reasoning = ReasoningQuery(OpenAIChat("http://localhost:8000"), cache="reasoning.sqlite")  # doctest: +SKIP
        >>> reasoning.expand(["How many guests must I invite?"])  # doctest: +SKIP
        ['How many guests must I invite?\\nThe question asks for a Ramsey number ...']
    """

    def __init__(
        self,
        llm: ChatModel,
        *,
        mode: ReasoningMode = "append",
        prompt: str = REASONING_PROMPT,
        cache: str | os.PathLike[str] | None = None,
        concurrency: int = 8,
        temperature: float = 0.0,
        max_tokens: int = 1024,
        seed: int | None = None,
        show_progress: bool | None = None,
    ) -> None:
        if not isinstance(llm, ChatModel):
            raise InputError(
                f"llm must be a ChatModel, for example OpenAIChat(url), not {type(llm).__name__}. LangChain's and "
                "LlamaIndex's models are adapted in their integration packages; ReasoningQuery.from_file() needs none."
            )
        check_count(concurrency, "concurrency", 1)
        check_count(max_tokens, "max_tokens", 1)
        Sampling.of(temperature=temperature, seed=seed)  # checks them
        self._file: tuple[str, ReasoningMode] | None = None
        self.llm: ChatModel | None = llm if cache is None else CachedChat(llm, cache)
        self.prompt = check_template(prompt, ("query",))
        self.temperature = temperature
        self.max_tokens = max_tokens
        self.seed = seed
        self.show_progress = show_progress
        self._set_up(mode, _Written({}, {}), concurrency)

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        *,
        mode: ReasoningMode = "append",
    ) -> ReasoningQuery:
        """Take the reasoning from a JSONL file, without an LLM.

        Args:
            path: Rows with the reasoning under ``text`` (or ``reasoning``) and what it belongs to: ``query_id`` (or
                ``id``, ``_id``), the question itself under ``query`` (or ``question``), or both.
            mode: How question and reasoning are joined, as for the class. A file whose texts repeat the question wants
                ``replace``.

        Raises:
            InputError: A row lacks these, or two rows contradict each other.

        Example:
            >>> reasoning = ReasoningQuery.from_file("gpt4.jsonl", mode="replace")  # doctest: +SKIP
            >>> reasoning.expand(["How many guests must I invite?"], ids=["q1"])  # doctest: +SKIP
        """
        reasoning = cls.__new__(cls)
        reasoning._file = (os.path.abspath(check_path(path, "the file of reasoning")), mode)  # noqa: PTH100 - as it is, links and all
        reasoning.llm = None
        reasoning.show_progress = False
        reasoning._set_up(mode, _read(path), 1)
        return reasoning

    def __reduce__(self) -> tuple[Any, ...]:
        if self._file is None:
            return super().__reduce__()
        path, mode = self._file
        return partial(type(self).from_file, path, mode=mode), ()

    def _set_up(self, mode: ReasoningMode, written: _Written, concurrency: int) -> None:
        check_choice(mode, "mode", get_args(ReasoningMode))
        self.mode: ReasoningMode = mode
        self._written = written
        self._workers = Workers(concurrency, "rader-reasoning")
        self._give_up = GiveUp(in_a_row=max(_DEAD, 2 * concurrency))
        self._report = ReasoningReport()
        self._report_lock = Lock()

    @property
    def fingerprint(self) -> str:
        """Of everything that decides what is written: model, prompt and sampling, or the content of the file."""
        settings: dict[str, Any] = {"mode": self.mode, "by_id": self._written.by_id, "by_query": self._written.by_query}
        if self.llm is not None:
            settings |= {"llm": self.llm.fingerprint, "prompt": self.prompt, "temperature": self.temperature}
            settings |= {"max_tokens": self.max_tokens, "seed": self.seed}
        return fingerprint(settings)

    @property
    def report(self) -> ReasoningReport:
        """The counts of all calls so far."""
        with self._report_lock:
            return self._report

    def expand(self, queries: Sequence[str], *, ids: Sequence[str] | None = None) -> list[str]:
        """Return a retrieval query for every question.

        Args:
            queries: The questions. Equal ones are asked for once; empty ones stay empty.
            ids: Ids of the questions, for a file that goes by id.

        Raises:
            InputError: A question is no text, ids do not match, or the file goes by id and there are none.
        """
        run = _Run(queries, ids, self._written, has_llm=self.llm is not None)
        is_visible = wants_progress(self.show_progress, len(run.asked))
        answers = ask_all(run.asked, self._write, concurrency=self._workers, give_up=self._give_up, in_order=False)
        # Where it gave up, the questions that are left stay as they are and are counted.
        with progress(len(run.asked), is_visible, "Reasoning") as advance, suppress(LLMError):
            for outcome in answers:
                advance(1)
                run.add(outcome)
        return self._finish(run)

    async def aexpand(self, queries: Sequence[str], *, ids: Sequence[str] | None = None) -> list[str]:
        """As :meth:`expand`, without blocking the event loop."""
        run = _Run(queries, ids, self._written, has_llm=self.llm is not None)
        answers = aask_all(run.asked, self._write, concurrency=self._workers, give_up=self._give_up)
        async with aclosing(answers):
            with suppress(LLMError):
                async for outcome in answers:
                    run.add(outcome)
        return self._finish(run)

    def _write(self, query: str) -> _Answer:
        if self.llm is None:  # pragma: no cover - nothing is asked without a model
            return _Answer("", "there is no model")
        try:
            answer = self.llm.chat(
                [{"role": "user", "content": fill_template(self.prompt, {"query": query})}],
                temperature=self.temperature,
                max_tokens=self.max_tokens,
                seed=self.seed,
            )[0]
        except EmptyAnswersError as error:  # answers that are thoughts alone are of use here
            if not error.answers:
                raise
            answer = error.answers[0]
        if answer.refusal:
            return _Answer("", f"refused: {answer.text}")
        reply = without_thoughts(answer.text)
        # Thoughts that were cut off are reasoning all the same.
        text = (answer.text.replace("<think>", "") if reply is None else reply).strip() or answer.thoughts.strip()
        return _Answer(text, "" if text else f"an empty answer (ended: {answer.finish_reason})")

    def _finish(self, run: _Run) -> list[str]:
        queries, reasoned = run.assembled(self.mode)
        fallbacks = len(queries) - reasoned
        with self._report_lock:
            before = self._report
            self._report = ReasoningReport(
                before.queries + len(queries), before.reasoned + reasoned, before.fallbacks + fallbacks
            )
        if fallbacks:
            _LOG.warning(
                "%d of %d queries have no reasoning (for example: %s) and are searched as they are.",
                fallbacks,
                len(queries),
                textwrap.shorten(run.reason, _QUOTED, placeholder=" ..."),
            )
        return queries


@dataclass(frozen=True)
class _Written:
    by_id: Mapping[str, str]
    by_query: Mapping[str, str]


@dataclass(frozen=True)
class _Answer:
    text: str
    failure: str = ""


class _Run:
    """The questions of one call and the reasoning found for them."""

    def __init__(self, queries: Sequence[str], ids: Sequence[str] | None, written: _Written, *, has_llm: bool) -> None:
        if isinstance(queries, (str, bytes)):
            raise InputError("expand() takes a list of queries: [query].")
        self._queries = [check_text(query, f"query {number}") for number, query in enumerate(queries)]
        if ids is not None and (isinstance(ids, str) or len(ids) != len(self._queries)):
            raise InputError("ids holds one id for every query.")
        if queries and ids is None and written.by_id and not written.by_query:
            raise InputError("The file of reasoning goes by query id: pass ids=, or give its rows a 'query'.")
        self.reason = "no row in the file"
        self._texts = [
            written.by_id.get(ids[position] if ids is not None else "", "") or written.by_query.get(query, "")
            for position, query in enumerate(self._queries)
        ]
        self.asked = list(dict.fromkeys(query for query in self._queries if query.strip())) if has_llm else []
        self._answers: dict[str, str] = {}

    def add(self, asked: Asked[str, _Answer]) -> None:
        answer = asked.result or _Answer("", str(asked.error))
        self._answers[asked.item] = answer.text
        self.reason = answer.failure or self.reason

    def assembled(self, mode: ReasoningMode) -> tuple[list[str], int]:
        """Return the queries, and how many of them were given reasoning or are blank."""
        expansions, reasoned = [], 0
        for query, text in zip(self._queries, self._texts, strict=True):
            steps = text or self._answers.get(query, "")
            reasoned += bool(steps) or not query.strip()
            expansions.append(query if not steps else steps if mode == "replace" else f"{query}\n{steps}")
        return expansions, reasoned


def _read(path: str | os.PathLike[str]) -> _Written:
    by_id: dict[str, str] = {}
    by_query: dict[str, str] = {}
    for number, row in enumerate(read_jsonl(path), start=1):
        where = f"{os.fspath(path)}, row {number}"
        text = _field(row, ("text", "reasoning"), where)
        identity = _field(row, ("query_id", "id", "_id"), where)
        query = _field(row, ("query", "question"), where)
        if text is None or (identity is None and query is None):
            raise InputError(f"{where} needs 'text' and one of 'query_id' and 'query'; it has {sorted(row)}.")
        for table, key in ((by_id, identity), (by_query, query)):
            if key is not None and table.setdefault(key, text.strip()) != text.strip():
                raise InputError(f"{where} contradicts an earlier row for {key[:_QUOTED]!r}.")
    return _Written(by_id, by_query)


def _field(row: Mapping[str, Any], names: Sequence[str], where: str) -> str | None:
    for name in names:
        if (value := row.get(name)) is not None:
            return check_text(value, f"{name!r} in {where}")
    return None
