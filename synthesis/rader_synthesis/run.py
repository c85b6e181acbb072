"""`synthesize`: many problems searched at once, into a folder from which a stopped run goes on."""

from __future__ import annotations

import asyncio
import os
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rader_plugins.answers import AnswerChecker
from rader_plugins.errors import InputError, LLMError, RaderError
from rader_plugins.files import fingerprint
from rader_plugins.llm import BudgetExceededError, CachedChat, Generator
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
# Problems that must have ended before a share of failures means anything.
_ENOUGH = 20


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
        problems: With unique ids and answers.
        searcher: Finds documents: a :class:`rader_plugins.RaderRetriever`.
        llm: Writes. Bounded by its own concurrency; wrap it in a :class:`rader_plugins.llm.BudgetedLLM` to bound
            its cost.
        checker: Finds and compares answers: :func:`rader_plugins.answers.load_checker`.
        out: The run's folder; see :class:`SynthesisFolder`.
        config: The search.
        pack: A prompt pack, or what :func:`load_pack` takes.
        run: How problems are treated.
        about: More to tell in ``config.json``.
        on_progress: Called once at the start and whenever a problem ends.

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
        queue = iter(open_ones)
        workers = [
            asyncio.ensure_future(self._work(queue)) for _ in range(min(self.settings.problems_at_once, len(open_ones)))
        ]
        try:
            # The first exception (too many failures, a full disk) ends the others.
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        if not self.stopped:
            self._check_failures(at_end=True)

    async def _work(self, queue: Any) -> None:
        for problem in queue:
            try:
                await self._one(problem)
            except BudgetExceededError as error:
                # The others go on until they need a call themselves: what is under way is paid for, and kept.
                self.stopped = str(error)
            if self.stopped:
                return

    async def _one(self, problem: Problem) -> None:
        started = time.monotonic()
        tree = Tree.start(problem.id, problem.question, problem.answer or "")
        failed = ""
        try:
            await search(tree, self._actions(problem, tree), self.config)
        except BudgetExceededError:
            raise
        except LLMError as error:
            if error.permanent:  # every other request will fail too
                raise
            failed = self._failure(problem, error)
        except Exception as error:  # noqa: BLE001 - recorded; one problem must not end the run
            failed = self._failure(problem, error)
        done = None if failed else tree
        await asyncio.to_thread(self.folder.add, problem.id, _fingerprint(problem), done, failed)
        if not failed:
            seconds = time.monotonic() - started
            self.folder.log(f"{problem.id} {'solved' if tree.solved else 'not solved'} in {seconds:.1f} s")
        self._note(problem.id, not failed and tree.solved, failed)

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

    def _note(self, id: str, solved: bool, failed: str) -> None:
        progress = self.progress
        progress.done += 1
        progress.searched += 1
        progress.solved += solved
        progress.failed += bool(failed)
        self.in_a_row = self.in_a_row + 1 if failed else 0
        self._report()
        if failed:
            self.reasons.append(f"{id}: {failed}")
            self._check_failures(at_end=False)

    def _report(self) -> None:
        self.progress.seconds = time.monotonic() - self.started
        if self.on_progress is not None:
            self.on_progress(replace(self.progress))

    def _check_failures(self, *, at_end: bool) -> None:
        failed, searched = self.progress.failed, self.progress.searched
        too_many = failed > self.settings.failed_share * searched and (at_end or searched >= _ENOUGH)
        if not too_many and (at_end or self.in_a_row < self.settings.failures_in_a_row):
            return
        raise TooManyFailuresError(
            f"{failed} of {searched} problems failed, {self.in_a_row} of them in a row; the run is stopped, "
            f"what was finished is kept in {self.folder.path}, and the same call goes on from there. The last: "
            + " | ".join(self.reasons)
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
