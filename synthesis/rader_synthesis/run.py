"""`synthesize`: many problems searched at once, into a folder from which a stopped run goes on."""

from __future__ import annotations

import asyncio
import os
import time
import traceback
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from rader_plugins.answers import AnswerChecker
from rader_plugins.errors import CacheWriteError, InputError, LLMError, RaderError
from rader_plugins.files import fingerprint
from rader_plugins.llm import Asked, BudgetExceededError, CachedChat, GaveUpError, Generator, GiveUp, aask_all
from rader_plugins.problems import Problem
from rader_synthesis.actions import Actions
from rader_synthesis.calls import Calls, Summaries
from rader_synthesis.config import SearchConfig
from rader_synthesis.grading import Grading
from rader_synthesis.packs import PromptPack, load_pack
from rader_synthesis.retrieval import RetrievalFront, Searcher
from rader_synthesis.run_config import RunConfig, RunProgress, RunReport, TooManyFailuresError
from rader_synthesis.run_folder import SynthesisFolder
from rader_synthesis.search import search
from rader_synthesis.searchers import describe, described_before
from rader_synthesis.tree import Tree

__all__ = ["asynthesize", "synthesize"]

_REASON = 2000


class _ProblemFailedError(RaderError):
    """A problem could not be searched; the folder has the reason."""


def synthesize(
    problems: Sequence[Problem],
    searcher: Searcher,
    llm: Generator,
    checker: AnswerChecker,
    out: str | os.PathLike[str],
    *,
    config: SearchConfig | None = None,
    pack: PromptPack | str = "math",
    run: RunConfig | None = None,
    about: Mapping[str, Any] | None = None,
    on_progress: Callable[[RunProgress], Any] | None = None,
) -> RunReport:
    """Search problems with retrieval on the way and write trajectories (RaDeR, section 3).

    The same call again goes on where an earlier one stopped: finished problems are left alone, failed ones are tried
    again, and calls that were answered come from the cache. Output files are in the order of ``problems``, whatever
    the order in which they ended.

    Args:
        problems: The problems to search, with unique ids and answers.
        searcher: Finds documents: a :class:`rader_plugins.RaderRetriever`.
        llm: Writes. Bounded by its own concurrency; wrap it in a :class:`rader_plugins.llm.BudgetedLLM` to bound
            its cost.
        checker: Finds and compares answers: :func:`rader_plugins.answers.load_checker`.
        out: The run's folder; see :class:`SynthesisFolder`.
        config: Parameters of the tree search; None takes the defaults.
        pack: A prompt pack, or what :func:`load_pack` takes.
        run: How problems are treated.
        about: More to tell in ``config.json``.
        on_progress: Called once at the start and whenever a rollout or a problem ends.

    Raises:
        InputError: Problems are unusable, or the folder belongs to another run.
        LLMError: The server does not know the model or wants another key; or the model answers with nothing.
        TooManyFailuresError: The run was stopped; the message says what happened.
        OSError: The folder cannot be written.

    Example:
        >>> report = synthesize(problems, retriever, llm, load_checker("math"), "run-1")  # doctest: +SKIP
        >>> report.totals["solved"], report.totals["training"]  # doctest: +SKIP
        (14, 61)
    """
    return asyncio.run(
        asynthesize(
            problems,
            searcher,
            llm,
            checker,
            out,
            config=config,
            pack=pack,
            run=run,
            about=about,
            on_progress=on_progress,
        )
    )


async def asynthesize(
    problems: Sequence[Problem],
    searcher: Searcher,
    llm: Generator,
    checker: AnswerChecker,
    out: str | os.PathLike[str],
    *,
    config: SearchConfig | None = None,
    pack: PromptPack | str = "math",
    run: RunConfig | None = None,
    about: Mapping[str, Any] | None = None,
    on_progress: Callable[[RunProgress], Any] | None = None,
) -> RunReport:
    """As :func:`synthesize`, inside a running event loop."""
    config, run = config or SearchConfig(), run or RunConfig()
    pack = load_pack(pack) if isinstance(pack, str) else pack
    skipped = _check(problems, run)
    settings = await asyncio.to_thread(_settings, config, pack, checker, llm, searcher)
    # What the pack is called, or where its folder lies, decides nothing.
    retriever = described_before(searcher, settings["retriever"])
    earlier = None if retriever is None else {**settings, "retriever": retriever}
    folder = SynthesisFolder(out, settings, {"prompts": pack.name, **(about or {})}, earlier=earlier)
    with folder.opened():
        _check_unchanged(problems, folder)
        cached = CachedChat(llm, folder.calls, keep_empty=True)  # calls have seeds: asking again changes nothing
        runner = _Runner(folder, RetrievalFront(searcher), cached, checker, config, pack, run, on_progress)
        to_search = [problem for problem in problems if problem.id not in skipped]
        try:
            await runner.run(to_search)
        except OSError:
            raise  # nothing more can be written
        except BaseException as error:
            folder.log(f"stopped: {type(error).__name__}: {error}")
            folder.merge([problem.id for problem in problems], skipped)
            raise
        finally:
            cached.cache.close()
        totals = await asyncio.to_thread(folder.merge, [problem.id for problem in problems], skipped)
        folder.log(f"{'stopped: ' + runner.stopped if runner.stopped else 'done'}: {totals}")
    progress = runner.progress
    return RunReport(totals, runner.stopped, progress.searched, progress.seconds, cached.hits, cached.misses)


@dataclass
class _Runner:
    folder: SynthesisFolder
    front: RetrievalFront
    llm: CachedChat
    checker: AnswerChecker
    config: SearchConfig
    pack: PromptPack
    settings: RunConfig
    on_progress: Callable[[RunProgress], Any] | None
    stopped: str = ""
    in_a_row: int = 0
    reasons: deque[str] = field(default_factory=lambda: deque(maxlen=3))

    def __post_init__(self) -> None:
        self.started = time.monotonic()
        self.progress = RunProgress(0)
        self.summaries = Summaries(Calls(self.llm, self.pack, self.config, None))

    async def run(self, problems: Sequence[Problem]) -> None:
        open_ones = []
        for problem in problems:
            entry = self.folder.finished.get(problem.id)
            if entry is None or entry.failed:
                open_ones.append(problem)
            else:
                self.progress.solved += entry.solved
        self.progress.total, self.progress.done = len(problems), len(problems) - len(open_ones)
        self._report()
        self.folder.log(f"{len(open_ones)} of {len(problems)} problems to search")
        rule = GiveUp(
            in_a_row=self.settings.failures_in_a_row,
            share=self.settings.failed_share,
            caught=(_ProblemFailedError,),
        )
        outcomes: AsyncGenerator[Asked[Problem, bool | None], None] = aask_all(
            self._until_stopped(open_ones), self._search, concurrency=self.settings.problems_at_once, give_up=rule
        )
        try:
            async with aclosing(outcomes):
                async for outcome in outcomes:
                    self._note(outcome)
        except GaveUpError as error:
            raise self._too_many_failures() from error
        failed, searched = self.progress.failed, self.progress.searched
        if not self.stopped and failed > self.settings.failed_share * searched:
            raise self._too_many_failures()

    def _until_stopped(self, problems: Sequence[Problem]) -> Iterator[Problem]:
        """Yield problems until the budget is spent.

        Without a length, so that :class:`GiveUp` takes the share of failures of what has ended so far.
        """
        for problem in problems:
            if self.stopped:
                return
            yield problem

    async def _search(self, problem: Problem) -> bool | None:
        """Search a problem and keep its tree; returns whether it is solved, None where the budget was spent.

        Raises:
            _ProblemFailedError: It failed; that is in the folder.
            LLMError: Every other problem will fail in the same way.
        """
        started = time.monotonic()
        tree = Tree.start(problem.id, problem.question, problem.answer or "")
        try:
            await search(tree, self._actions(problem, tree), self.config, on_rollout=self._count_rollout)
        except BudgetExceededError as error:
            # The others go on until they need a call themselves: what is under way is paid for, and kept.
            self.stopped = str(error)
            return None
        except Exception as error:  # recorded; one problem must not end the run
            if isinstance(error, CacheWriteError) or isinstance(error, LLMError) and error.permanent:
                raise
            reason = self._failure(problem, error)
            await asyncio.to_thread(self.folder.add, problem.id, _fingerprint(problem), None, reason)
            raise _ProblemFailedError(reason) from error
        await asyncio.to_thread(self.folder.add, problem.id, _fingerprint(problem), tree, "")
        seconds = time.monotonic() - started
        self.folder.log(f"{problem.id} {'solved' if tree.solved else 'not solved'} in {seconds:.1f} s")
        return tree.solved

    def _failure(self, problem: Problem, error: Exception) -> str:
        reason = f"{type(error).__name__}: {error}"[:_REASON]
        details = "" if isinstance(error, RaderError) else "\n" + "".join(traceback.format_exception(error))
        self.folder.log(f"{problem.id} failed: {reason}{details}")
        return reason

    def _actions(self, problem: Problem, tree: Tree) -> Actions:
        problem_text = problem.text
        return Actions(
            Calls(self.llm, self.pack, self.config, tree),
            Grading(self.checker, problem_text, problem.answer or ""),
            self.front,
            self.summaries,
            self.config,
            problem_text,
        )

    def _note(self, outcome: Asked[Problem, bool | None]) -> None:
        if outcome.result is None and outcome.error is None:
            return  # the budget was spent: neither searched nor failed
        progress = self.progress
        progress.done += 1
        progress.searched += 1
        progress.solved += bool(outcome.result)
        self.in_a_row = 0 if outcome.error is None else self.in_a_row + 1
        if outcome.error is not None:
            progress.failed += 1
            self.reasons.append(f"{outcome.item.id}: {outcome.error}")
        self._report()

    def _count_rollout(self) -> None:
        self.progress.rollouts += 1
        self._report()

    def _report(self) -> None:
        self.progress.seconds = time.monotonic() - self.started
        if self.on_progress is not None:
            self.on_progress(replace(self.progress))

    def _too_many_failures(self) -> TooManyFailuresError:
        return TooManyFailuresError(
            f"{self.progress.failed} of {self.progress.searched} problems failed, {self.in_a_row} of them in a row; "
            f"the run is stopped, what was finished is kept in {self.folder.path}, and the same call goes on from "
            "there. The last: " + " | ".join(self.reasons)
        )


def _check(problems: Sequence[Problem], run: RunConfig) -> dict[str, str]:
    """Return why problems are skipped, by id."""
    if not problems:
        raise InputError("There are no problems.")
    seen: set[str] = set()
    for problem in problems:
        if problem.id in seen:
            raise InputError(f"The problem id {problem.id!r} stands twice. Make ids unique.")
        seen.add(problem.id)
    blank = [problem.id for problem in problems if not (problem.answer or "").strip()]
    if blank and run.without_answer == "error":
        raise InputError(
            f"{len(blank)} of {len(problems)} problems have no answer (the first: {blank[0]!r}), and without one "
            "nothing tells whether a solution is right. Add it, or leave such problems out with without_answer='skip' "
            "(--without-answer skip)."
        )
    if len(blank) == len(problems):
        raise InputError("No problem has an answer, so there is nothing to do.")
    return dict.fromkeys(blank, "no answer to compare with")


def _settings(
    config: SearchConfig, pack: PromptPack, checker: AnswerChecker, llm: Generator, searcher: Searcher
) -> dict[str, Any]:
    return {
        "search": config.as_dict(),
        "prompts": pack.fingerprint,
        "checker": checker.name,
        "llm": llm.fingerprint,
        "retriever": describe(searcher),
    }


def _check_unchanged(problems: Sequence[Problem], folder: SynthesisFolder) -> None:
    for problem in problems:
        entry = folder.finished.get(problem.id)
        if entry is not None and not entry.failed and entry.problem != _fingerprint(problem):
            raise InputError(
                f"{folder.path} holds the finished problem {problem.id!r} with another question or answer. Give the "
                "changed problem another id, or choose another folder."
            )


def _fingerprint(problem: Problem) -> str:
    return fingerprint([problem.question, problem.answer, dict(problem.choices)])
