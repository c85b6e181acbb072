"""``rader import``."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rader_plugins.cli.llm_choice import NO_LLM, LLMChoice, with_llm_options
from rader_plugins.cli.options import JsonOutput, SearchMode
from rader_plugins.cli.output import count, emit_json, facts, note, progress
from rader_plugins.errors import InputError

if TYPE_CHECKING:
    from rader_plugins.answers import AnswerChecker
    from rader_plugins.index import Index
    from rader_plugins.llm import ChatModel, OpenAIChat, Usage
    from rader_plugins.trajectories import Trajectory
    from rader_synthesis.importing import Corpus, FileImporter
    from rader_synthesis.labelling import LabelReport

__all__ = ["import_"]


class Kind(str, Enum):
    """What a file holds."""

    recorded = "recorded"
    openai = "openai"
    solutions = "solutions"
    proofs = "proofs"
    rader = "rader"
    function = "function"


class Label(str, Enum):
    """Who labels documents that nobody has judged."""

    none = "none"
    citation = "citation"
    answer = "answer"
    reflection = "reflection"


class Style(str, Enum):
    """How a prompt is sent."""

    chat = "chat"
    completion = "completion"


@dataclass
class _Totals:
    """What was written."""

    rewards: Counter[str] = field(default_factory=Counter)
    retrievals: int = 0
    documents: Counter[str] = field(default_factory=Counter)

    def count(self, trajectory: Trajectory) -> None:
        known = trajectory.reward is not None
        self.rewards["unknown" if not known else "right" if trajectory.reward == 1.0 else "not right"] += 1
        for step in trajectory.retrievals:
            self.retrievals += 1
            for one in step.considered:
                names = {None: "unlabelled", True: "relevant", False: "not relevant"}
                self.documents[names[one.relevant]] += 1


@with_llm_options
def import_(
    kind: Annotated[
        Kind,
        typer.Argument(
            metavar="KIND",
            help="recorded (what the recorders wrote, with feedback), openai (message logs), solutions (plain text), "
            "proofs (proof trees), rader (published RaDeR traces) or function (your own, see --function).",
            show_default=False,
        ),
    ],
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="JSONL or .json; for rader also folders.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Trajectories, as JSONL; replaced if there.")],
    corpus: Annotated[
        Path | None,
        typer.Option("--corpus", metavar="PATH", help="The documents: folder of texts, BEIR folder or .jsonl."),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option("--index", metavar="DIR", help="Index of the documents; solutions are searched in it."),
    ] = None,
    mode: Annotated[SearchMode, typer.Option("--mode", help="How solutions are searched.")] = SearchMode.hybrid,
    k: Annotated[int, typer.Option("-k", min=1, help="Documents found for a step of a solution.")] = 5,
    label: Annotated[
        Label, typer.Option("--label", help="Who labels the documents that have no label yet.")
    ] = Label.none,
    top: Annotated[
        int, typer.Option("--top", min=1, help="With --label answer: documents of a search that count as used.")
    ] = 1,
    checker: Annotated[
        str | None,
        typer.Option(
            "--checker", metavar="NAME", help="Judge the final answers anew: math, numeric, choice, exact, judge."
        ),
    ] = None,
    llm: LLMChoice = NO_LLM,
    llm_cache: Annotated[
        Path | None, typer.Option("--llm-cache", metavar="FILE", help="Keep the model's answers: a rerun asks nothing.")
    ] = None,
    prompts: Annotated[
        str, typer.Option("--prompts", metavar="PACK", help="For reflection: math, science, generic, or a folder.")
    ] = "generic",
    style: Annotated[
        Style, typer.Option("--style", help="Send the examples as turns (chat) or as one text (completion).")
    ] = Style.chat,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Requests to the server at once.")] = 8,
    tool: Annotated[
        list[str] | None,
        typer.Option("--tool", metavar="NAME", help="With openai: a retrieval tool; repeatable. Default: by name."),
    ] = None,
    function: Annotated[
        str | None,
        typer.Option("--function", metavar="MODULE:NAME", help="With function: takes a row, returns a Trajectory."),
    ] = None,
    keep_all: Annotated[bool, typer.Option("--keep-all", help="Also write trajectories without a retrieval.")] = False,
    skip_faulty: Annotated[
        bool, typer.Option("--skip-faulty", help="Count rows that cannot be used instead of ending at the first.")
    ] = False,
    json: JsonOutput = False,
) -> None:
    """Turn records of solved problems into trajectories.

    Training samples come from trajectories with labelled documents: see --label, and `rader samples`.
    """
    from rader_plugins.trajectories import write_trajectories
    from rader_synthesis.importing import ImportReport
    from rader_synthesis.labelling import LabelReport, judge_answers

    _check(kind, function, tool, files, out)
    asks = label is Label.reflection or checker == "judge"
    if asks != llm.is_given:
        raise InputError("--llm-url goes with --label reflection or --checker judge, and these need it.")
    report, labels, totals = ImportReport(), LabelReport(), _Totals()
    out.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        importer = _importer(stack, kind, corpus, index, mode, k, tool, function, keep_all, skip_faulty)
        server, model = _llm(stack, llm, llm_cache, concurrency)
        advance = stack.enter_context(progress("Importing"))
        found: Iterable[Trajectory] = importer.read(files, report)
        if checker is not None:
            found = judge_answers(found, _checker(checker, model))
        found = _labelled(found, label, top, labels, model, prompts, style, concurrency)
        write_trajectories(out, _counted(found, totals, advance))
    usage = None if server is None else server.usage
    summary = {
        "out": str(out),
        "rows": report.rows,
        "trajectories": report.trajectories,
        "skipped": dict(report.skipped),
        "notes": dict(report.notes),
        "rewards": dict(totals.rewards),
        "retrievals": totals.retrievals,
        "documents": dict(totals.documents),
        "labelled": dict(labels.labelled),
        "unlabelled_because": dict(labels.faults),
        "first_faults": [*report.first_faults, *labels.first_faults],
        "usage": None if usage is None else asdict(usage),
    }
    if json:
        emit_json(summary)
        return
    pairs = [
        ("rows", f"{report.rows:,}"),
        ("trajectories", f"{report.trajectories:,} ({_listed(totals.rewards) or 'none'})"),
        ("left out", _listed(report.skipped) or "none"),
        ("retrievals", f"{totals.retrievals:,}"),
        ("documents", _listed(totals.documents) or "none"),
        ("notes", _listed(report.notes) or "none"),
        *([("unlabelled", _listed(labels.faults))] if labels.faults else []),
        *([("cost", _cost(usage))] if usage is not None else []),
        ("written to", str(out)),
    ]
    typer.echo("\n".join(facts(pairs)))
    for what, faults in (("Left out", report.first_faults), ("Unlabelled", labels.first_faults)):
        for fault in faults:
            note(f"{what}: {fault}")


def _check(kind: Kind, function: str | None, tool: list[str] | None, files: list[Path], out: Path) -> None:
    if (function is not None) != (kind is Kind.function):
        raise InputError("--function names what `rader import function` calls on every row; they go together.")
    if tool and kind is not Kind.openai:
        raise InputError("--tool goes with `rader import openai`.")
    if out.is_dir():
        raise InputError(f"--out names a file, but {out} is a folder.")
    for file in files:
        if not file.exists():
            raise InputError(f"{file} does not exist.")
        if file.resolve() == out.resolve():
            raise InputError(f"--out {out} is one of the files that are read.")


def _importer(
    stack: contextlib.ExitStack,
    kind: Kind,
    corpus: Path | None,
    index: Path | None,
    mode: SearchMode,
    k: int,
    tool: list[str] | None,
    function: str | None,
    keep_all: bool,
    skip_faulty: bool,
) -> FileImporter:
    from rader_plugins.cli.options import open_index
    from rader_plugins.retrieval import RaderRetriever
    from rader_synthesis import importing

    opened = stack.enter_context(open_index(index)) if index is not None else None
    documents = _corpus(corpus, opened)
    options: dict[str, Any] = {"corpus": documents, "keep_all": keep_all, "skip_faulty": skip_faulty}
    if kind is Kind.openai:
        return importing.OpenAILogs(tools=tool, **options)
    if kind is Kind.solutions:
        searcher = RaderRetriever(opened, mode.value) if opened is not None else None
        return importing.Solutions(searcher=searcher, k=k, **options)
    if kind is Kind.recorded:
        return importing.Recorded(**options)
    if kind is Kind.proofs:
        return importing.Proofs(**options)
    if kind is Kind.rader:
        return importing.RaderTraces(**options)
    return importing.FunctionImporter(importing.load_function(function or ""), **options)


def _corpus(path: Path | None, index: Index | None) -> Corpus | None:
    from rader_plugins.index import read_documents
    from rader_plugins.ingestion import open_source
    from rader_synthesis.importing import Corpus

    if path is not None:
        return Corpus(open_source(path).documents())
    return Corpus(read_documents(index)) if index is not None else None


def _llm(
    stack: contextlib.ExitStack, choice: LLMChoice, cache: Path | None, concurrency: int
) -> tuple[OpenAIChat | None, ChatModel | None]:
    """Return the server, which counts, and what is asked."""
    from rader_plugins.llm import CachedChat

    if not choice.is_given:
        return None, None
    server = stack.enter_context(choice.connect(concurrency=concurrency))
    # Judges are asked at temperature 0: what was empty would be empty again.
    return server, server if cache is None else CachedChat(server, cache, keep_empty=True)


def _cost(usage: Usage) -> str:
    tokens = f"{usage.prompt_tokens:,} tokens read, {usage.completion_tokens:,} written"
    return f"{count(usage.requests, 'request')}, {tokens}"


def _checker(name: str, llm: ChatModel | None) -> AnswerChecker:
    from rader_plugins.answers import load_checker

    return load_checker(name, llm=llm) if name == "judge" else load_checker(name)


def _labelled(
    found: Iterable[Trajectory],
    label: Label,
    top: int,
    report: LabelReport,
    llm: ChatModel | None,
    prompts: str,
    style: Style,
    concurrency: int,
) -> Iterable[Trajectory]:
    from rader_synthesis.labelling import PackReflector, label_by_answer, label_by_citation, label_by_reflection

    if label is Label.citation:
        return (label_by_citation(trajectory, report) for trajectory in found)
    if label is Label.answer:
        return (label_by_answer(trajectory, report, top=top) for trajectory in found)
    if label is Label.reflection and llm is not None:
        reflector = PackReflector(llm, prompts, style=style.value)
        return label_by_reflection(found, reflector, concurrency=concurrency, report=report)
    return found


def _counted(found: Iterable[Trajectory], totals: _Totals, advance: Callable[[int], Any]) -> Iterator[Trajectory]:
    for trajectory in found:
        totals.count(trajectory)
        advance(1)
        yield trajectory


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counts.most_common())
