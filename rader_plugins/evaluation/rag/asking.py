"""`evaluate_rag`: ask a chain the questions of a set of problems and check its answers."""

from __future__ import annotations

import contextlib
import inspect
import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rader_plugins.answers import AnswerChecker, ChoiceChecker, load_checker
from rader_plugins.background import Workers
from rader_plugins.errors import InputError, RaderError
from rader_plugins.evaluation.event_loop import EventLoopThread
from rader_plugins.evaluation.progress import Progress
from rader_plugins.evaluation.rag.chains import AnyChain, RagAnswer, ReadyChain, as_chain, checked_answer
from rader_plugins.evaluation.rag.result import RagEvaluation, RagRow, row_from
from rader_plugins.evaluation.systems import versions
from rader_plugins.files import canonical_json, fingerprint
from rader_plugins.llm.asking import Asked, GaveUpError, GiveUp, aask_all
from rader_plugins.problems import Problem, read_problems

__all__ = ["evaluate_rag"]


def evaluate_rag(
    chain: AnyChain,
    problems: Sequence[Problem] | str | os.PathLike[str],
    checker: str | AnswerChecker | Callable[[str, str], bool],
    *,
    out: str | os.PathLike[str] | None = None,
    concurrency: int = 8,
    max_failures: float = 0.1,
    name: str | None = None,
    on_progress: Callable[[int], object] | None = None,
) -> RagEvaluation:
    """Ask a chain every question and check its answers.

    A chain that raises on one question: the error is recorded, the question counts as wrong, and the run goes on until
    too many fail. Chains that are async all run on one event loop of their own; others in threads.

    Args:
        chain: A :class:`InContextRag`, a LangChain or LlamaIndex chain (with its package of ours installed), or any
            function, plain or async, from a question to its answer: a text or a :class:`RagAnswer`, which also holds
            what was retrieved. With a method ``describe``, what that returns goes into the manifest.
        problems: :class:`rader_plugins.problems.Problem` objects, or a JSONL file of them. The question is asked with
            its choices.
        checker: See :func:`rader_plugins.answers.load_checker`. ``choice`` takes the choices of each problem.
        out: Folder for the results (:meth:`RagEvaluation.save`). Finished problems are kept there as they come: the
            same call goes on where a killed one stopped, and tries again what had failed.
        concurrency: How many questions are under way at once.
        max_failures: The largest share of problems, 0 to 1, for which the chain may raise.
        name: What to call the run in comparisons; by default the name of ``out``.
        on_progress: Called with the number of problems finished since its last call.

    Returns:
        Accuracy, its interval, and per problem the answer, the retrieval and the verdict.

    Raises:
        InputError: An argument is unusable, a problem has no answer or one that the checker cannot check, or ``out``
            holds another evaluation.
        RaderError: The chain raised for too many problems. What was finished is kept.
        MissingExtraError: scipy, or what the checker needs, is not installed.

    Example:
        >>> from rader_plugins.evaluation import InContextRag, compare_rag, evaluate_rag
        >>> none = evaluate_rag(InContextRag(llm), "p.jsonl", "math", out="runs/none")  # doctest: +SKIP
        >>> some = evaluate_rag(InContextRag(llm, retriever), "p.jsonl", "math", out="runs/some")  # doctest: +SKIP
        >>> print(compare_rag([none, some]).markdown())  # doctest: +SKIP
    """
    if not isinstance(concurrency, int) or concurrency < 1:
        raise InputError(f"concurrency must be a whole number of at least 1, not {concurrency!r}.")
    if not 0 <= max_failures <= 1:
        raise InputError(f"max_failures is a share of the problems, 0 to 1, not {max_failures}.")
    job = _Job(as_chain(chain), _checked(problems), load_checker(checker), concurrency, max_failures, on_progress)
    job.check_references()
    manifest = job.manifest()
    with Progress(Path(out) if out is not None else None, manifest).opened() as progress:
        done = {row["id"] for row in progress.rows if row.get("error") is None}
        if on_progress is not None and done:
            on_progress(len(done))
        missing = [problem for problem in job.problems if problem.id not in done]
        with contextlib.closing(EventLoopThread()) as loop:
            loop.run(_Run(job, progress).all_of(missing))
        last = {row["id"]: row for row in progress.rows}  # a later attempt takes the place of a failed one
        rows = {problem.id: _row(problem, last[problem.id]) for problem in job.problems}
        label = name or (Path(out).resolve().name if out is not None else "run")
        evaluation = RagEvaluation(rows, _latency(rows), manifest, label)
        if out is not None:
            evaluation.save(out)
    return evaluation


@dataclass(frozen=True)
class _Job:
    chain: ReadyChain
    problems: Sequence[Problem]
    checker: AnswerChecker
    concurrency: int
    max_failures: float
    on_progress: Callable[[int], object] | None

    def checker_of(self, problem: Problem) -> AnswerChecker:
        if problem.choices and isinstance(self.checker, ChoiceChecker) and not self.checker.choices:
            return ChoiceChecker(problem.choices)
        return self.checker

    def check_references(self) -> None:
        """Find out now, not after hours, that a right answer is none for this checker."""
        for problem in self.problems:
            gold = problem.answer or ""
            if not self.checker_of(problem).equal(gold, gold, question=problem.text):
                raise InputError(
                    f"The checker {self.checker.name!r} does not accept the right answer of problem {problem.id!r} "
                    f"({gold[:60]!r}) itself. Use another checker for these problems."
                )

    def manifest(self) -> dict[str, Any]:
        """Return everything that decides the results."""
        rows = [[problem.id, problem.text, problem.answer] for problem in self.problems]
        manifest: dict[str, Any] = {
            "problems": {"digest": fingerprint(rows), "count": len(rows)},
            "chain": dict(self.chain.about),
            "checker": self.checker.name,
            "versions": versions(),
        }
        try:
            canonical_json(manifest)
        except (TypeError, ValueError) as error:
            raise InputError(f"What describe() of the chain returned is not a JSON object: {error}.") from None
        return {**manifest, "fingerprint": fingerprint(manifest)}


class _Run:
    """The questions under way."""

    def __init__(self, job: _Job, progress: Progress) -> None:
        self._job = job
        self._progress = progress
        self._failed: dict[str, str] = {}
        self._workers = Workers(job.concurrency, "rader-rag")

    async def all_of(self, problems: Sequence[Problem]) -> None:
        """Ask all questions, ``concurrency`` at once."""
        total = len(self._job.problems)
        rule = GiveUp(
            in_a_row=None,
            share=self._job.max_failures * total / max(1, len(problems)),
            is_useful=lambda row: "error" not in row,
            caught=(),
        )
        answers: AsyncGenerator[Asked[Problem, dict[str, Any]], None]
        answers = aask_all(problems, self._answered, concurrency=self._workers, give_up=rule)
        try:
            async with contextlib.aclosing(answers) as rows:
                async for outcome in rows:
                    self._keep(outcome.result or {})
        except GaveUpError:
            problem, error = next(iter(self._failed.items()))
            raise RaderError(
                f"The chain raised for {len(self._failed)} of {total} problems, more than the share of "
                f"{self._job.max_failures:g} that max_failures allows. The first was {problem!r}: {error}. Finished "
                "problems are kept where a folder was named: mend the chain and run the same evaluation again."
            ) from None
        finally:
            self._workers.shutdown(wait=False, cancel_futures=True)

    def _keep(self, row: dict[str, Any]) -> None:
        if "error" in row:
            self._failed[row["id"]] = row["error"]
        self._progress.add(row)
        if self._job.on_progress is not None:
            self._job.on_progress(1)

    async def _answered(self, problem: Problem) -> dict[str, Any]:
        row: dict[str, Any] = {"id": problem.id}
        start = time.perf_counter()
        try:
            returned = await self._ask(problem.text)
        except Exception as error:  # noqa: BLE001 - one question must not end the run: recorded, counted and limited
            return {**row, "error": f"{type(error).__name__}: {error}"}
        row["seconds"] = time.perf_counter() - start
        answer = checked_answer(returned, problem.text)
        row |= {"answer": answer.answer, "contexts": list(answer.contexts), "ids": list(answer.ids)}
        row["scores"] = [float(score) for score in answer.scores]
        try:
            row["extracted"], row["correct"] = await self._workers.call(self._verdict, problem, answer)
        except Exception as error:  # noqa: BLE001 - as above
            row["error"] = f"The checker raised {type(error).__name__}: {error}"
        return row

    async def _ask(self, question: str) -> Any:
        chain = self._job.chain
        if not chain.blocking:
            return await chain.ask(question)
        returned = await self._workers.call(chain.ask, question)
        return await returned if inspect.isawaitable(returned) else returned

    def _verdict(self, problem: Problem, answer: RagAnswer) -> tuple[str | None, bool]:
        checker = self._job.checker_of(problem)
        extracted = checker.extract(answer.answer)
        if extracted is None:
            return None, False
        return extracted, checker.equal(extracted, problem.answer or "", question=problem.text)


def _checked(problems: Sequence[Problem] | str | os.PathLike[str]) -> Sequence[Problem]:
    if isinstance(problems, str | os.PathLike):
        return read_problems(problems)
    seen: set[str] = set()
    for problem in problems:
        if not isinstance(problem, Problem):
            raise InputError(f"problems must hold Problem objects, not {type(problem).__name__}.")
        if problem.id in seen:
            raise InputError(f"The id {problem.id!r} stands twice. Ids must be unique.")
        if problem.answer is None:
            raise InputError(f"Problem {problem.id!r} has no answer to check against. Leave it out.")
        seen.add(problem.id)
    if not seen:
        raise InputError("There are no problems.")
    return problems


def _row(problem: Problem, outcome: Mapping[str, Any]) -> RagRow:
    fields = {key: value for key, value in outcome.items() if key != "id"}
    return row_from({"correct": False, **fields, "question": problem.text, "reference": problem.answer or ""})


def _latency(rows: Mapping[str, RagRow]) -> dict[str, float]:
    times = [row.seconds * 1000 for row in rows.values() if row.seconds is not None]
    if not times:
        return {}
    middle, high = np.percentile(times, [50, 95])
    return {"mean": float(np.mean(times)), "p50": float(middle), "p95": float(high), "max": max(times)}
