"""``rader import``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rader_plugins.cli.llm_choice import NO_LLM, LLMChoice, with_llm_options
from rader_plugins.cli.options import JsonOutput, SearchMode
from rader_plugins.cli.output import facts, note, progress
from rader_plugins.errors import InputError, RaderError
from rader_synthesis.cli.import_summary import Summary

if TYPE_CHECKING:
    from rader_plugins.llm import ChatModel, OpenAIChat
    from rader_plugins.trajectories import Trajectory
    from rader_synthesis.importing import Corpus, FileImporter
    from rader_synthesis.labelling import LabelReport

__all__ = ["import_"]


class Label(str, Enum):
    """Who labels documents that nobody has judged."""

    none = "none"
    citation = "citation"
    opened = "opened"
    answer = "answer"
    reflection = "reflection"


class Style(str, Enum):
    """How a prompt is sent."""

    chat = "chat"
    completion = "completion"


class FollowUps(str, Enum):
    """What becomes of questions after the first of a conversation."""

    carry = "carry"
    leave_out = "leave-out"


class Fragments(str, Enum):
    """What becomes of a result that is a part of a document of the corpus."""

    put_together = "join"
    keep = "keep"


_CONCURRENCY = 8
_OPTION_OF = {
    "tools": "--tool",
    "scale": "--scale or --score",
    "group_by": "--group-by",
    "follow_ups": "--follow-ups",
    "prompts": "--prompt-pattern",
    "searcher": "--mode",
    "k": "-k",
    "function": "--function",
}


def _list_kinds(wanted: bool) -> None:
    if wanted:
        from rader_synthesis.importing import importer_class, importer_kinds

        pairs = [("auto", "recognises the kind by the first rows of the files, and says so")]
        pairs += [(kind, importer_class(kind).summary) for kind in importer_kinds()]
        typer.echo("\n".join(facts(pairs)))
        raise typer.Exit


@with_llm_options
def import_(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="What the files hold: auto, openai, anthropic, openinference, otel, langsmith, langfuse, mlflow, "
            "atif, agent-sessions, react, sharegpt, recorded, solutions, proofs, rader, function, or what other "
            "packages add; see --list.",
            show_default=False,
        ),
    ],
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="JSONL, JSON, CSV or Parquet, also packed (.gz); for rader folders.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Trajectories, as JSONL; replaced if there.")],
    list_kinds: Annotated[
        bool, typer.Option("--list", help="Say what kinds there are.", callback=_list_kinds, is_eager=True)
    ] = False,
    corpus: Annotated[
        Path | None,
        typer.Option("--corpus", metavar="PATH", help="The documents: folder of texts, BEIR folder or .jsonl."),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option("--index", metavar="DIR", help="Index of the documents; solutions are searched in it."),
    ] = None,
    fragments: Annotated[
        Fragments | None,
        typer.Option("--fragments", help="Make a result that is a part of a document that document (join), or not."),
    ] = None,
    mode: Annotated[SearchMode | None, typer.Option("--mode", help="How solutions are searched.")] = None,
    k: Annotated[int | None, typer.Option("-k", min=1, help="Documents found for a step of a solution; 5.")] = None,
    tool: Annotated[
        list[str] | None,
        typer.Option(
            "--tool", metavar="NAME", help="A search tool; repeatable. Default: by name and by what they return."
        ),
    ] = None,
    follow_ups: Annotated[
        FollowUps | None,
        typer.Option("--follow-ups", help="Questions after the first carry their conversation, or are left out."),
    ] = None,
    prompt_pattern: Annotated[
        str | None,
        typer.Option(
            "--prompt-pattern",
            metavar="REGEX",
            help="Finds documents in prompts, by the groups documents and question.",
        ),
    ] = None,
    scale: Annotated[
        str | None, typer.Option("--scale", metavar="WORST-BEST", help="Scale of ratings, such as 1-5.")
    ] = None,
    score: Annotated[
        list[str] | None,
        typer.Option("--score", metavar="NAME", help="Of several named scores, one that is feedback; repeatable."),
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(
            "--group-by", metavar="FIELD", help="Rows with the same value of this field are one conversation."
        ),
    ] = None,
    function: Annotated[
        str | None,
        typer.Option("--function", metavar="MODULE:NAME", help="With function: takes a row, returns a Trajectory."),
    ] = None,
    redact: Annotated[
        str | None,
        typer.Option(
            "--redact", metavar="MODULE:NAME", help="Applied to every text; presidio takes out what it recognises."
        ),
    ] = None,
    keep_all: Annotated[bool, typer.Option("--keep-all", help="Also write trajectories without a retrieval.")] = False,
    skip_faulty: Annotated[
        bool, typer.Option("--skip-faulty", help="Count rows that cannot be used instead of ending at the first.")
    ] = False,
    label: Annotated[
        Label, typer.Option("--label", help="Who labels the documents that have no label yet.")
    ] = Label.none,
    top: Annotated[
        int | None,
        typer.Option("--top", min=1, help="With --label answer: documents of a search that count as used; 1."),
    ] = None,
    min_reward: Annotated[
        float, typer.Option("--min-reward", min=0.0, max=1.0, help="From which reward on an answer is right.")
    ] = 1.0,
    checker: Annotated[
        str | None,
        typer.Option(
            "--checker", metavar="NAME", help="Judge the final answers anew: math, numeric, choice, exact, judge."
        ),
    ] = None,
    standalone_llm: Annotated[
        bool, typer.Option("--standalone-llm", help="Let the model rewrite follow-ups into questions that stand alone.")
    ] = False,
    llm: LLMChoice = NO_LLM,
    llm_cache: Annotated[
        Path | None, typer.Option("--llm-cache", metavar="FILE", help="Keep the model's answers: a rerun asks nothing.")
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            "--prompts", metavar="PACK", help="For reflection: math, science, generic (default), or a folder."
        ),
    ] = None,
    style: Annotated[
        Style | None, typer.Option("--style", help="Send the examples as turns (chat, default) or as one text.")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", min=1, help="Requests to the server at once; 8.")
    ] = None,
    json: JsonOutput = False,
) -> None:
    """Turn records of solved problems, logs and traces into trajectories.

    Training samples come from trajectories with labelled documents: see --label, and `rader samples`.
    """
    from rader_plugins.trajectories import write_trajectories
    from rader_synthesis.importing import importer_class, recognize

    _check_files(files, out)
    _check_labels(label, top, prompts, style, fragments, corpus or index)
    asks = label is Label.reflection or checker == "judge" or standalone_llm
    if asks != llm.is_given:
        raise InputError(
            "--llm-url goes with --label reflection, --checker judge or --standalone-llm, and these need it."
        )
    if not asks and (llm_cache is not None or concurrency is not None):
        raise InputError(
            "--llm-cache and --concurrency are about requests to a language model: they go with --llm-url."
        )
    if kind == "auto":
        kind = recognize(files)
        note(f"The files are of the kind {kind}.")
    importer_type = importer_class(kind)
    options: dict[str, Any] = {
        "tools": tool,
        "scale": (scale or "0-1", score) if scale or score else None,
        "group_by": group_by,
        "follow_ups": follow_ups and follow_ups.value,
        "prompts": prompt_pattern,
        "searcher": mode,
        "k": k,
        "function": function,
    }
    _check_options(kind, importer_type, options)
    summary = Summary(kind, out, min_reward)
    out.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        documents, searcher = _documents(stack, corpus, index, mode, fragments)
        options |= {"searcher": searcher, "corpus": documents, "keep_all": keep_all, "skip_faulty": skip_faulty}
        importer = importer_type.from_options(_options(options, redact))
        server, model = _llm(stack, llm, llm_cache, concurrency or _CONCURRENCY)
        summary.server = server
        advance = stack.enter_context(progress("Importing"))
        trajectories: Iterable[Trajectory] = importer.read(files, summary.report)
        if standalone_llm and model is not None:
            from rader_synthesis.followups import standalone_questions

            trajectories = standalone_questions(
                trajectories, model, concurrency=concurrency or _CONCURRENCY, notes=summary.report.notes
            )
        if checker is not None:
            trajectories = _judged(trajectories, checker, model)
        labeller = _Labeller(
            label, top or 1, min_reward, model, prompts or "generic", style or Style.chat, concurrency or _CONCURRENCY
        )
        trajectories = labeller.labelled(trajectories, summary.labels)
        with contextlib.suppress(_NothingToWriteError):
            write_trajectories(out, _counted(trajectories, summary, advance))
    summary.show(as_json=json)
    if problem := summary.problem(labels_wanted=label is not Label.none):
        raise RaderError(problem)


class _NothingToWriteError(Exception):
    """No trajectory came out: the file that may be there stays as it is."""


def _counted(
    trajectories: Iterable[Trajectory], summary: Summary, advance: Callable[[int], Any]
) -> Iterator[Trajectory]:
    for trajectory in trajectories:
        summary.count(trajectory)
        advance(1)
        yield trajectory
    if not summary.written:
        raise _NothingToWriteError


def _check_files(files: list[Path], out: Path) -> None:
    if out.is_dir():
        raise InputError(f"--out names a file, but {out} is a folder.")
    for file in files:
        if not file.exists():
            raise InputError(f"{file} does not exist.")
        if file.resolve() == out.resolve():
            raise InputError(f"--out {out} is one of the files that are read.")


def _check_labels(
    label: Label,
    top: int | None,
    prompts: str | None,
    style: Style | None,
    fragments: Fragments | None,
    where: Path | None,
) -> None:
    if top is not None and label is not Label.answer:
        raise InputError("--top goes with --label answer.")
    if (prompts is not None or style is not None) and label is not Label.reflection:
        raise InputError("--prompts and --style go with --label reflection.")
    if fragments is not None and where is None:
        raise InputError("--fragments is about parts of documents: it goes with --corpus or --index.")


def _check_options(kind: str, importer: type[FileImporter], options: dict[str, Any]) -> None:
    if (options["function"] is not None) != ("function" in importer.takes):
        raise InputError("--function names what `rader import function` calls on every row; they go together.")
    for name, value in options.items():
        if value and name not in importer.takes:
            raise InputError(f"{_OPTION_OF[name]} goes with other kinds than {kind}, which has no use for it.")


def _options(options: dict[str, Any], redact: str | None) -> Any:
    from rader_synthesis.importing import ImportOptions, PromptDocuments, Scale, load_function
    from rader_synthesis.redaction import load_redaction

    options = {name: value for name, value in options.items() if value is not None}
    if "scale" in options:
        worst_and_best, names = options["scale"]
        options["scale"] = replace(Scale.parse(worst_and_best), names=frozenset(names or ()))
    if "prompts" in options:
        options["prompts"] = PromptDocuments(options["prompts"])
    if "function" in options:
        options["function"] = load_function(options["function"])
    return ImportOptions(**options, redact=None if redact is None else load_redaction(redact))


def _documents(
    stack: contextlib.ExitStack,
    path: Path | None,
    index: Path | None,
    mode: SearchMode | None,
    fragments: Fragments | None,
) -> tuple[Corpus | None, Any]:
    """Return the documents that results are looked up in, and what solutions are searched with."""
    from rader_plugins.cli.options import open_index
    from rader_plugins.index import read_documents
    from rader_plugins.ingestion import open_source
    from rader_plugins.retrieval import RaderRetriever
    from rader_synthesis.importing import Corpus

    opened = stack.enter_context(open_index(index)) if index is not None else None
    searcher = None if opened is None else RaderRetriever(opened, (mode or SearchMode.hybrid).value)
    how: Any = (fragments or Fragments.put_together).value
    if path is not None:
        return Corpus(open_source(path).documents(), fragments=how), searcher
    return (None if opened is None else Corpus(read_documents(opened), fragments=how)), searcher


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


def _judged(trajectories: Iterable[Trajectory], checker: str, llm: ChatModel | None) -> Iterator[Trajectory]:
    from rader_plugins.answers import load_checker
    from rader_synthesis.labelling import judge_answers

    return judge_answers(trajectories, load_checker(checker, llm=llm) if checker == "judge" else load_checker(checker))


class _Labeller:
    """Labels the documents of trajectories in the way that was asked for."""

    def __init__(
        self,
        label: Label,
        top: int,
        min_reward: float,
        llm: ChatModel | None,
        pack: str,
        style: Style,
        concurrency: int,
    ) -> None:
        self._label = label
        self._top = top
        self._min_reward = min_reward
        self._llm = llm
        self._pack = pack
        self._style = style
        self._concurrency = concurrency

    def labelled(self, trajectories: Iterable[Trajectory], report: LabelReport) -> Iterable[Trajectory]:
        """Yield the trajectories with their labels."""
        from rader_synthesis import labelling

        if self._label is Label.citation:
            return (labelling.label_by_citation(trajectory, report) for trajectory in trajectories)
        if self._label is Label.opened:
            return (labelling.label_by_opened(trajectory, report) for trajectory in trajectories)
        if self._label is Label.answer:
            return (
                labelling.label_by_answer(trajectory, report, top=self._top, min_reward=self._min_reward)
                for trajectory in trajectories
            )
        if self._label is Label.reflection and self._llm is not None:
            reflector = labelling.PackReflector(self._llm, self._pack, style=self._style.value)
            return labelling.label_by_reflection(trajectories, reflector, concurrency=self._concurrency, report=report)
        return trajectories
