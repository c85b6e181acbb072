"""`LLMReranker`: an LLM grades every document for its query; the grade is interpolated with the first stage."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, fields
from numbers import Real
from typing import NamedTuple

from rader_plugins.arguments import check_count, check_number
from rader_plugins.background import Lock, Workers
from rader_plugins.documents import Hit, check_text
from rader_plugins.encoding.texts import progress, wants_progress
from rader_plugins.errors import InputError, LLMError
from rader_plugins.llm.asking import Asked, GiveUp, aask_all, ask_all
from rader_plugins.llm.base import ChatModel
from rader_plugins.llm.cache import CachedChat
from rader_plugins.llm.sampling import Sampling
from rader_plugins.reranking.base import Reranker, candidates_of
from rader_plugins.reranking.grade_prompts import GRADE_PROMPTS, GradePrompt, read_grade
from rader_plugins.reranking.placing import placed

__all__ = ["GradingError", "GradingReport", "LLMReranker"]

_LOG = logging.getLogger(__name__)
_QUOTED = 200
# So many failures of the server one after another, and the documents that are left are not tried.
_DEAD = 16


@dataclass(frozen=True)
class GradingReport:
    """What became of the documents.

    Args:
        documents: How many were to be graded.
        graded: How many documents got a grade.
        unparsable: The answer held no grade (prose, a number out of range, nothing).
        refused: The model or its provider declined to answer.
        failed: The server did not answer (errors, timeouts, a document too long for the model).
        not_asked: Given up, since too many had failed before.
    """

    documents: int = 0
    graded: int = 0
    unparsable: int = 0
    refused: int = 0
    failed: int = 0
    not_asked: int = 0

    @property
    def ungraded(self) -> int:
        """Documents without a grade, which kept their first-stage places."""
        return self.documents - self.graded

    def __add__(self, other: GradingReport) -> GradingReport:
        """Add up two reports."""
        names = [field.name for field in fields(self)]
        return GradingReport(**{name: getattr(self, name) + getattr(other, name) for name in names})


class GradingError(LLMError):
    """More documents than allowed got no grade. What was graded is not lost.

    Args:
        message: How many and why.
        hits: What the call would have returned: ranked by the grades that there are.
        report: The counts of the call.
    """

    def __init__(self, message: str, hits: list[list[Hit]], report: GradingReport) -> None:
        super().__init__(message)
        self.hits = hits
        self.report = report


class _Outcome(NamedTuple):
    kind: str  # a field of GradingReport
    grade: int | None = None
    said: str = ""


class _Pair(NamedTuple):
    query: str
    document: str


class LLMReranker(Reranker):
    """Ranks by ``weight * grade / 5 + (1 - weight) * first-stage score``; an LLM gives the grade, 0 to 5 (as in RaDeR).

    The first-stage score is the hit's own: raw cosine in dense mode, as for RaDeR's mathematical splits, where the
    grade decides and the cosine breaks ties; fused z-scores in hybrid mode, which weigh more than a grade does.

    A document for which no grade comes (prose, refusal, error, timeout) keeps its place: the rank that it had in the
    list is its rank afterwards, and the graded documents share the other ranks among them. Its ``scores`` hold no
    ``grade``; ``report`` counts it and a warning is logged. See
    :func:`~rader_plugins.reranking.placing.placed` for its score.

    All pairs of a batch, and of calls from other threads, go through one queue, ``concurrency`` at a time.

    Args:
        llm: The language model that grades, a :class:`~rader_plugins.llm.ChatModel`.
        prompt: ``general``, ``math``, ``code``, a template with ``{query}`` and ``{document}`` that asks for
            ``Grade: N``, or a :class:`~rader_plugins.reranking.grade_prompts.GradePrompt`.
        weight: Weight of the grade, 0 to 1.
        concurrency: Pairs graded at once. The model's own bound applies too.
        max_failures: Largest share of the documents of one call that may go without a grade; 1.0 allows all.
        temperature: Sampling temperature; 0 is greedy.
        max_tokens: Most tokens in an answer; a model that thinks before it answers needs many more.
        seed: Seed of the sampling; None leaves it to the server.
        cache: File that keeps the answers, so that a repeated or interrupted run asks only for the rest.
        show_progress: True, False, or None for "if the standard error is a terminal".

    Raises:
        InputError: An argument is outside its range.

    Example:
        >>> from rader_plugins.llm import OpenAIChat
        >>> reranker = LLMReranker(OpenAIChat("http://localhost:8000"), prompt="math")  # doctest: +SKIP
        >>> reranker.rerank(question, retriever.search(question, k=100), top_n=10)  # doctest: +SKIP
    """

    def __init__(
        self,
        llm: ChatModel,
        *,
        prompt: str | GradePrompt = "general",
        weight: float = 0.5,
        concurrency: int = 8,
        max_failures: float = 0.2,
        temperature: float = 0.0,
        max_tokens: int = 64,
        seed: int | None = None,
        cache: str | os.PathLike[str] | None = None,
        show_progress: bool | None = None,
    ) -> None:
        if not isinstance(llm, ChatModel):
            raise InputError(
                f"llm must be a ChatModel, for example OpenAIChat(url), not {type(llm).__name__}. LangChain's and "
                "LlamaIndex's models are adapted in their integration packages."
            )
        for name, share in (("weight", weight), ("max_failures", max_failures)):
            check_number(share, name, 0, 1)
        check_count(concurrency, "concurrency", 1)
        check_count(max_tokens, "max_tokens", 1)
        Sampling.of(temperature=temperature, seed=seed)  # checks them
        self.llm: ChatModel = llm if cache is None else CachedChat(llm, cache)
        self.prompt = _find_prompt(prompt)
        self.weight = weight
        self.max_failures = max_failures
        self.temperature = temperature
        self.max_tokens = max_tokens
        self.seed = seed
        self.show_progress = show_progress
        self._workers = Workers(concurrency, "rader-grader")
        self._give_up = GiveUp(
            in_a_row=max(_DEAD, 2 * concurrency),
            count_refusals=False,
            share=max_failures,
            is_useful=lambda outcome: outcome.grade is not None,
        )
        self._report = GradingReport()
        self._report_lock = Lock()

    @property
    def report(self) -> GradingReport:
        """The counts of all calls so far, those that ended in an error included."""
        with self._report_lock:
            return self._report

    def rerank_batch(self, queries: Sequence[str], hits: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        """Rerank the hits of many queries; see :meth:`Reranker.rerank_batch`.

        Raises:
            InputError: Queries and hits do not match, or a first-stage score is not finite.
            GradingError: More than ``max_failures`` of the documents got no grade.
        """
        hits = candidates_of(queries, hits)
        pairs = _pairs(queries, hits)
        grading = _Grading(len(pairs))
        answers = ask_all(pairs, self._grade, concurrency=self._workers, give_up=self._give_up, in_order=False)
        visible = wants_progress(self.show_progress, len(pairs))
        # Where it gave up, the report counts what was not asked.
        with progress(len(pairs), visible, "Grading") as advance, suppress(LLMError):
            for outcome in answers:
                advance(1)
                grading.add(outcome)
        return self._finish(hits, grading)

    async def arerank_batch(self, queries: Sequence[str], hits: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        """As :meth:`rerank_batch`, without blocking the event loop; pairs not yet asked end with the task."""
        hits = candidates_of(queries, hits)
        pairs = _pairs(queries, hits)
        grading = _Grading(len(pairs))
        answers = aask_all(pairs, self._grade, concurrency=self._workers, give_up=self._give_up)
        async with aclosing(answers):
            with suppress(LLMError):
                async for outcome in answers:
                    grading.add(outcome)
        return self._finish(hits, grading)

    def _grade(self, pair: _Pair) -> _Outcome:
        answer = self.llm.chat(
            [{"role": "user", "content": self.prompt.fill(pair.query, pair.document)}],
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            seed=self.seed,
        )[0]
        grade = read_grade(answer.text, self.prompt.marker)
        if answer.refusal:
            return _Outcome("refused", said=answer.text)
        if grade is None:
            return _Outcome("unparsable", said=f"{answer.text} [ended: {answer.finish_reason}]")
        return _Outcome("graded", grade)

    def _finish(self, hits: Sequence[Sequence[Hit]], grading: _Grading) -> list[list[Hit]]:
        grades = iter(grading.grades())
        ranked = [placed(candidates, [next(grades) for _ in candidates], self.weight) for candidates in hits]
        report = grading.report()
        with self._report_lock:
            self._report += report
        if report.ungraded:
            message = grading.explain(report)
            if report.ungraded > self.max_failures * report.documents:
                raise GradingError(
                    f"{message} At most a share of {self.max_failures:g} may (max_failures). The lists with the "
                    "grades that there are stand in this error's hits.",
                    ranked,
                    report,
                )
            _LOG.warning("%s They keep their first-stage places.", message)
        return ranked


class _Grading:
    """The outcomes of one call."""

    def __init__(self, count: int) -> None:
        self._outcomes: list[_Outcome | None] = [None] * count

    def add(self, asked: Asked[_Pair, _Outcome]) -> None:
        self._outcomes[asked.position] = asked.result or _Outcome("failed", said=str(asked.error))

    def grades(self) -> list[int | None]:
        return [None if outcome is None else outcome.grade for outcome in self._outcomes]

    def report(self) -> GradingReport:
        kinds = ["not_asked" if outcome is None else outcome.kind for outcome in self._outcomes]
        return GradingReport(documents=len(kinds), **{kind: kinds.count(kind) for kind in set(kinds)})

    def explain(self, report: GradingReport) -> str:
        parts = []
        for kind in ("unparsable", "refused", "failed", "not_asked"):
            if count := getattr(report, kind):
                reason = next((outcome.said for outcome in self._outcomes if outcome and outcome.kind == kind), "")
                example = f", for example {reason[:_QUOTED]!r}" if reason else ""
                parts.append(f"{count} {kind.replace('_', ' ')}{example}")
        return f"{report.ungraded} of {report.documents} documents got no grade ({'; '.join(parts)})."


def _find_prompt(prompt: str | GradePrompt) -> GradePrompt:
    if isinstance(prompt, GradePrompt):
        return prompt
    if isinstance(prompt, str) and prompt in GRADE_PROMPTS:
        return GRADE_PROMPTS[prompt]
    if isinstance(prompt, str) and "{" not in prompt:
        raise InputError(f"There is no prompt {prompt!r}; built in are {', '.join(GRADE_PROMPTS)}.")
    return GradePrompt(prompt)


def _pairs(queries: Sequence[str], hits: Sequence[Sequence[Hit]]) -> list[_Pair]:
    pairs: list[_Pair] = []
    for number, (query, candidates) in enumerate(zip(queries, hits, strict=True)):
        check_text(query, f"query {number}")
        for hit in candidates:
            if not isinstance(hit.score, Real) or not math.isfinite(hit.score):
                raise InputError(f"Document {hit.document.id!r} of query {number} has the score {hit.score}.")
            pairs.append(_Pair(query, check_text(hit.document.text, f"document {hit.document.id!r}")))
    return pairs
