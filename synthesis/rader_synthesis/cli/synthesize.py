"""``rader synthesize``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rader_plugins.cli.index_place import IndexPlace
from rader_plugins.cli.interruption import resumable
from rader_plugins.cli.llm_choice import NO_LLM, LLMChoice
from rader_plugins.cli.option_groups import with_option_groups
from rader_plugins.cli.options import (
    OWN_MODEL,
    JsonOutput,
    ModelChoice,
    SearchMode,
    open_index,
)
from rader_plugins.cli.output import count, emit_json, facts, fail, note
from rader_plugins.errors import InputError
from rader_synthesis.cli.asking_options import DEFAULT_ASKING, AskingOptions, Style

if TYPE_CHECKING:
    from rader_plugins.answers import AnswerChecker
    from rader_plugins.index import Index
    from rader_plugins.llm import Generator, Usage
    from rader_synthesis.config import SearchConfig
    from rader_synthesis.run_config import RunConfig, RunProgress, RunReport

__all__ = ["synthesize"]

_NOTHING_USABLE = 1
_WIDE = 110  # columns of a terminal that has room for the bar beside the figures
STOPPED = 3
"""Exit code of a run that its budget stopped; the same command goes on."""


class WithoutAnswer(str, Enum):
    """What becomes of problems without an answer."""

    error = "error"
    skip = "skip"


@with_option_groups
def synthesize(
    problems: Annotated[
        Path,
        typer.Argument(metavar="PROBLEMS", help="JSONL of id, question and answer.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder of the run; a stopped one goes on from there.")
    ],
    corpus: Annotated[
        Path | None,
        typer.Option("--corpus", metavar="PATH", help="What to retrieve from: folder of texts, BEIR folder or .jsonl."),
    ] = None,
    index: Annotated[
        IndexPlace | None,
        typer.Option(
            "--index",
            metavar="INDEX",
            help="What to retrieve from: an index that is there, a folder or an engine's URL.",
            parser=IndexPlace,
        ),
    ] = None,
    llm: LLMChoice = NO_LLM,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="F.toml", help="Tables [search] and [run]; options given here come first."),
    ] = None,
    prompts: Annotated[
        str, typer.Option("--prompts", metavar="PACK", help="math, science, generic, or a folder of your own.")
    ] = "math",
    checker: Annotated[
        str,
        typer.Option(
            "--checker",
            metavar="NAME",
            help="How answers are found and compared: math, numeric, choice, exact, judge (asks the language model), "
            "regex:PATTERN (what the pattern finds), or MODULE:FUNCTION (yours, of answer and right answer).",
        ),
    ] = "math",
    rollouts: Annotated[
        int | None, typer.Option("--rollouts", min=1, help="Per problem. Default: 16.", metavar="N")
    ] = None,
    style: Annotated[
        Style | None,
        typer.Option("--style", help="chat (default), or completion for a model that was not trained to chat."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Of everything random. Default: 0.", metavar="N")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the first N problems.", metavar="N")] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Only the I-th of N shares of the problems, by their ids: one machine's part. "
            "`rader trajectories merge` makes one run of all.",
        ),
    ] = None,
    without_answer: Annotated[
        WithoutAnswer | None,
        typer.Option("--without-answer", help="Problems without an answer: error (default) or skip."),
    ] = None,
    asking: AskingOptions = DEFAULT_ASKING,
    mode: Annotated[SearchMode, typer.Option("--mode", help="How documents are ranked.")] = SearchMode.hybrid,
    alpha: Annotated[
        float, typer.Option("--alpha", min=0, max=1, help="Weight of the dense score in hybrid mode.", metavar="X")
    ] = 0.8,
    instruction: Annotated[
        str | None, typer.Option("--instruction", metavar="TEXT", help="Instruction for the retriever's query.")
    ] = None,
    choice: ModelChoice = OWN_MODEL,
    json: JsonOutput = False,
) -> None:
    """Solve problems by tree search with retrieval, and keep how it went as trajectories.

    Run again after an interruption, the same command goes on from there: finished problems are left alone, failed
    ones tried again, and answered calls come from the cache. Exit code 1: nothing came out that could be trained on;
    3: the budget is used up.
    """
    from rader_plugins.problems import read_problems
    from rader_plugins.retrieval import RaderRetriever
    from rader_synthesis.packs import load_pack
    from rader_synthesis.run import synthesize as run_all
    from rader_synthesis.run_folder import CALLS, check_folder
    from rader_synthesis.sharding import Shard

    overrides = {"rollouts": rollouts, "seed": seed, "style": style.value if style else None}
    search, run = _configs(config, overrides, without_answer, asking.concurrency)
    pack = load_pack(prompts)
    selected = read_problems(problems, need_answers=False)[:limit]
    if shard is not None:
        selected = Shard.parse(shard).of(selected)
    if (corpus is None) == (index is None):
        raise InputError("Say what to retrieve from: either --corpus PATH or --index DIR.")
    check_folder(out)
    with contextlib.ExitStack() as stack:
        stack.enter_context(resumable(lambda: f"finished problems and paid calls are kept in {out}", out))
        server, budgeted = stack.enter_context(asking.connected(llm))
        opened = stack.enter_context(_documents(corpus, index, out, choice, mode))
        retriever = RaderRetriever(opened, mode=mode.value, alpha=alpha, instruction=instruction)
        about = {"problems": str(problems), "llm_url": server.url, "llm_model": server.model}
        report = run_all(
            selected,
            retriever,
            budgeted,
            _checker(checker, budgeted, out / CALLS),
            out,
            config=search,
            pack=pack,
            run=run,
            about={**about, "documents": str(corpus or index)},
            on_progress=stack.enter_context(_shown(lambda: server.usage)),
        )
        usage = server.usage
    cost = {"requests": usage.requests, "read": usage.prompt_tokens, "written": usage.completion_tokens}
    if json:
        emit_json({**_object(report, cost), "out": str(out)})
    else:
        typer.echo("\n".join(facts(_facts(report, cost, out))))
    if report.stopped:
        note(f"Stopped: {report.stopped} The same command goes on from there.")
        raise typer.Exit(STOPPED)
    if report.shortfall is not None:
        fail(report.shortfall)
        raise typer.Exit(_NOTHING_USABLE)
    for remark in report.remarks:
        note(f"Warning: {remark}")


def _configs(
    path: Path | None, given: Mapping[str, Any], without_answer: WithoutAnswer | None, concurrency: int
) -> tuple[SearchConfig, RunConfig]:
    from rader_plugins.files import read_toml
    from rader_synthesis.config import SearchConfig
    from rader_synthesis.run_config import RunConfig

    tables = read_toml(path) if path is not None else {}
    if unknown := sorted(set(tables) - {"search", "run"}):
        raise InputError(f"{path} has the unknown {', '.join(map(repr, unknown))}; known: the tables [search], [run].")
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise InputError(f"{path}: {name!r} must be a table: [{name}].")
    search = SearchConfig.from_dict(tables.get("search", {}), f"{path}, [search]")
    # Twice the slots: while some problems search, compare answers or are written down, others keep the server busy.
    run = RunConfig.from_dict({"problems_at_once": 2 * concurrency, **tables.get("run", {})}, f"{path}, [run]")
    search = replace(search, **{name: value for name, value in given.items() if value is not None})
    return search, run if without_answer is None else replace(run, without_answer=without_answer.value)


def _checker(name: str, llm: Generator, calls: Path) -> AnswerChecker:
    from rader_plugins.answers import load_checker
    from rader_plugins.llm import CachedChat
    from rader_synthesis.importing import load_function

    kind, colon, pattern = name.partition(":")
    if kind == "regex" and colon:
        return load_checker("regex", pattern=pattern)
    if colon:
        function: Any = load_function(name)
        return load_checker(function)
    # What a judge was asked is kept with the other calls of the run.
    return load_checker(name, llm=CachedChat(llm, calls)) if name == "judge" else load_checker(name)


@contextlib.contextmanager
def _documents(
    corpus: Path | None, index: IndexPlace | None, out: Path, choice: ModelChoice, mode: SearchMode
) -> Iterator[Index]:
    if index is not None:
        opened = open_index(index, choice if mode is not SearchMode.bm25 else OWN_MODEL)
        with contextlib.closing(opened):
            yield opened
        return
    from rader_plugins.cli.output import progress
    from rader_plugins.index import Bm25Config, read_documents
    from rader_plugins.ingestion import ingest, open_source, survey
    from rader_synthesis.searchers import corpus_digest

    corpus_survey = survey(open_source(corpus or Path()), progress=progress)
    corpus_survey.warn()
    place = IndexPlace(str(out / "index"))
    # BM25 alone needs no model, nor has one to be installed.
    without = mode is SearchMode.bm25 and not choice.is_given
    if place.exists():
        opened = place.open() if without else open_index(place, choice)
    else:
        place.needed_folder.parent.mkdir(parents=True, exist_ok=True)
        encoder = None if without else replace(choice, model=choice.model or "mini").load()
        opened = place.create(encoder, "float32", None, Bm25Config())
    with contextlib.closing(opened):
        if not (out / "config.json").exists():  # nothing was searched yet: it may be a build that was interrupted
            outcome = ingest(opened, corpus_survey, prune=True, progress=progress)
            if outcome.added or outcome.replaced or outcome.removed:
                opened.optimize()
        elif corpus_digest(read_documents(opened)) != corpus_digest(corpus_survey.documents()):
            raise InputError(f"{out} holds a run over other documents than {corpus}. Choose another folder.")
        yield opened


@contextlib.contextmanager
def _shown(usage: Callable[[], Usage]) -> Iterator[Callable[[RunProgress], Any] | None]:
    """Show progress on the standard error if that is a terminal: also what was asked, before any problem ends."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeElapsedColumn
    from rich.text import Text

    console = Console(stderr=True)
    is_narrow = console.width < _WIDE

    class Figures(TextColumn):
        """What came out, and calls and tokens so far, which are looked at whenever the bar is drawn."""

        def render(self, task: Task) -> Text:
            parts = [part for part in (task.description, cost_text(usage())) if part]
            return Text(("\n" if is_narrow else "  ").join(parts))

    before = () if is_narrow else (BarColumn(bar_width=20), TimeElapsedColumn())
    columns = (TextColumn("Searching"), MofNCompleteColumn(), *before, Figures(""))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda now: bar.update(task, total=now.total, completed=now.done, description=progress_text(now))


def cost_text(usage: Usage) -> str:
    """Return what a model was asked so far, in few words."""
    tokens = usage.prompt_tokens + usage.completion_tokens
    return f"{count(usage.requests, 'call')}, {tokens:,} tokens"


def progress_text(now: RunProgress) -> str:
    """Return what stands beside the bar: rollouts, share that was solved, failures, rate and time left."""
    parts = [count(now.rollouts, "rollout")] if now.rollouts else []
    parts += [f"{now.solved / now.done:.0%} solved"] if now.done else []
    if now.failed:
        parts.append(f"{now.failed} failed")
    if now.left is not None:
        parts.append(f"{60 * now.rate:.1f} a minute")
        minutes = now.left / 60
        parts.append(f"{minutes:.0f} min left" if minutes < 120 else f"{minutes / 60:.1f} h left")
    return ", ".join(parts)


def _facts(report: RunReport, cost: Mapping[str, int], out: Path) -> list[tuple[str, str]]:
    totals = report.totals
    states = ", ".join(
        f"{totals[status]:,} {status}"
        for status in ("solved", "unsolved", "failed", "skipped", "open")
        if totals[status]
    )
    rate = f", {totals['right_rollouts'] / totals['rollouts']:.1%} of them right" if totals["rollouts"] else ""
    tokens = f"{cost['read']:,} tokens read, {cost['written']:,} written"
    return [
        ("problems", f"{report.problems:,}: {states}"),
        ("rollouts", f"{totals['rollouts']:,}{rate}"),
        ("trajectories", f"{totals['trajectories']:,}, {totals['training']:,} of them fit for training"),
        (
            "reflection",
            f"{totals.get('documents_kept', 0):,} documents kept, {totals.get('documents_rejected', 0):,} rejected, "
            f"{totals.get('unreadable_reflections', 0):,} unreadable",
        ),
        ("this time", f"{count(report.searched, 'problem')} in {report.seconds:.1f} s"),
        ("cost", f"{count(cost['requests'], 'request')}, {tokens}; {count(report.cached, 'call')} from the cache"),
        ("written to", str(out)),
    ]


def _object(report: RunReport, cost: Mapping[str, int]) -> dict[str, Any]:
    return {
        "problems": report.problems,
        "totals": dict(report.totals),
        "searched": report.searched,
        "seconds": round(report.seconds, 2),
        "cached_calls": report.cached,
        "usage": dict(cost),
        "stopped": report.stopped or None,
        "shortfall": report.shortfall,
        "remarks": report.remarks,
    }
