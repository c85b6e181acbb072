"""``rader import``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rader_plugins.cli.interruption import interruptible
from rader_plugins.cli.llm_choice import NO_LLM, LLMChoice
from rader_plugins.cli.option_file import options_from_table
from rader_plugins.cli.option_groups import with_option_groups
from rader_plugins.cli.options import JsonOutput
from rader_plugins.cli.output import facts, note, progress
from rader_plugins.errors import InputError, RaderError
from rader_synthesis.cli.import_labels import NO_LABELLING, Label, Labelling
from rader_synthesis.cli.import_options import DEFAULT_READING, NO_DOCUMENTS, ImportDocuments, RowReading
from rader_synthesis.cli.import_summary import Summary

if TYPE_CHECKING:
    from rader_plugins.llm import ChatModel, OpenAIChat
    from rader_plugins.trajectories import Trajectory

__all__ = ["import_"]


_CONCURRENCY = 8


def _list_kinds(wanted: bool) -> None:
    if wanted:
        from rader_synthesis.importing import importer_class, importer_kinds

        pairs = [("auto", "recognises the kind by the first rows of the files, and says so")]
        pairs += [(kind, importer_class(kind).summary) for kind in importer_kinds()]
        typer.echo("\n".join(facts(pairs)))
        raise typer.Exit


@with_option_groups
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
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="F.toml",
            help="Table [import] with these options; those given here come first.",
            callback=options_from_table("import"),
            is_eager=True,
        ),
    ] = None,
    documents: ImportDocuments = NO_DOCUMENTS,
    reading: RowReading = DEFAULT_READING,
    labelling: Labelling = NO_LABELLING,
    llm: LLMChoice = NO_LLM,
    llm_cache: Annotated[
        Path | None, typer.Option("--llm-cache", metavar="FILE", help="Keep the model's answers: a rerun asks nothing.")
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option("--concurrency", min=1, help="Requests to the server at once. Default: 8.", metavar="N"),
    ] = None,
    json: JsonOutput = False,
) -> None:
    """Turn records of solved problems, logs and traces into trajectories.

    Training samples come from trajectories with labelled documents: see --label, and `rader samples`.
    """
    from rader_plugins.trajectories import write_trajectories
    from rader_synthesis.importing import importer_class, recognize

    _check_files(files, out)
    labelling.check()
    documents.check()
    if labelling.asks != llm.is_given:
        raise InputError(
            "--llm-url goes with --label reflection, --checker judge or --standalone-llm, and these need it."
        )
    if not labelling.asks and (llm_cache is not None or concurrency is not None):
        raise InputError(
            "--llm-cache and --concurrency are about requests to a language model: they go with --llm-url."
        )
    if kind == "auto":
        kind = recognize(files)
        note(f"The files are of the kind {kind}.")
    importer_type = importer_class(kind)
    reading.check(kind, importer_type, documents)
    summary = Summary(kind, out, labelling.min_reward)
    out.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(interruptible(lambda: _left(out, llm.is_given, llm_cache)))
        corpus, searcher = documents.opened(stack)
        importer = importer_type.from_options(reading.options(corpus=corpus, searcher=searcher, k=documents.k))
        summary.server, model = _llm(stack, llm, llm_cache, concurrency or _CONCURRENCY)
        advance = stack.enter_context(progress("Importing"))
        trajectories: Iterable[Trajectory] = importer.read(files, summary.report)
        trajectories = labelling.labelled(
            trajectories, model, concurrency or _CONCURRENCY, summary.labels, summary.report.notes
        )
        with contextlib.suppress(_NothingToWriteError):
            write_trajectories(out, _counted(trajectories, summary, advance))
    summary.show(as_json=json)
    if problem := summary.problem(labels_wanted=labelling.label is not Label.none):
        raise RaderError(problem)


def _left(out: Path, asks: bool, cache: Path | None) -> str:
    """Say what an interrupted import leaves: trajectories come all at once, answers as they arrive."""
    trajectories_left = f"No trajectories were written to {out}" + (": it is as it was" if out.exists() else "")
    if cache is not None:
        return f"{trajectories_left}; the model's answers are kept in {cache}. The same command goes on from there."
    advice = "; --llm-cache FILE would keep the model's answers" if asks else ""
    return f"{trajectories_left}. Run the same command again{advice}."


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
