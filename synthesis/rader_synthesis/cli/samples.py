"""``rader samples``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rader_plugins.cli.interruption import interruptible
from rader_plugins.cli.llm_choice import NO_LLM, LLMChoice
from rader_plugins.cli.option_groups import with_option_groups
from rader_plugins.cli.options import OWN_MODEL, JsonOutput, ModelChoice
from rader_plugins.cli.output import clip, count, emit_json, facts, note, one_line, progress, width
from rader_synthesis.cli.asking_options import DEFAULT_ASKING, AskingOptions
from rader_synthesis.cli.sample_options import DocumentOptions, SamplingOptions, WritingOptions

if TYPE_CHECKING:
    from rader_plugins.samples import Sample
    from rader_synthesis.sampling import SampleReport

__all__ = ["samples"]

STOPPED = 3
"""Exit code of a run that its budget stopped; the same command goes on."""
_SHOWN = 300
_DOCUMENTS, _SAMPLING, _WRITING = DocumentOptions(), SamplingOptions(), WritingOptions()


@with_option_groups
def samples(
    trajectories: Annotated[
        list[Path],
        typer.Argument(
            metavar="TRAJECTORIES...", help="JSONL files, or folders of `rader synthesize`.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the samples; all of it or nothing.")],
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="F.toml", help="Table [samples]; options given here come first."),
    ] = None,
    documents: DocumentOptions = _DOCUMENTS,
    choice: ModelChoice = OWN_MODEL,
    sampling: SamplingOptions = _SAMPLING,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="FILE", help="labels.jsonl of `rader trajectories show`, which win."),
    ] = None,
    guard: Annotated[
        str | None,
        typer.Option(
            "--guard", metavar="RERANKER", help="Cross-encoder that keeps false negatives away: name or directory."
        ),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against",
            metavar="SET",
            help="Leave out what an evaluation set asks: BEIR folder[:split], .jsonl or 'bundled'; repeatable.",
        ),
    ] = None,
    llm: LLMChoice = NO_LLM,
    writing: WritingOptions = _WRITING,
    asking: AskingOptions = DEFAULT_ASKING,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a sample set that is there.")] = False,
    json: JsonOutput = False,
) -> None:
    """Turn trajectories into training samples.

    With --index negatives are mined by BM25 and by the vectors of the index, with --corpus by BM25 alone unless a
    --model is named. Run again after an interruption, the command gets the language model's answers from the cache.
    Exit code 2: no sample came out. 3: the budget is used up.
    """
    from rader_plugins.llm import BudgetExceededError
    from rader_plugins.reranking import load_reranker
    from rader_synthesis.sampling import load_evaluation_set, make_samples
    from rader_synthesis.sampling.workspace import check_output

    sampling_config = sampling.config(config, has_llm=llm.is_given)
    documents.check(choice)
    check_output(out, overwrite=overwrite)
    sets = [load_evaluation_set(source, ngram=sampling_config.ngram) for source in against or []]
    with contextlib.ExitStack() as stack:
        stack.enter_context(interruptible(lambda: _left(out, writing.calls_file(out) if llm.is_given else None)))
        writer = stack.enter_context(writing.writer(llm, asking, sampling_config, out))
        index, dense = stack.enter_context(documents.opened(choice))
        try:
            report = make_samples(
                trajectories,
                out,
                index=index,
                dense=dense,
                config=sampling_config,
                writer=writer,
                reranker=load_reranker(guard, device=choice.device) if guard is not None else None,
                evaluation_sets=sets,
                labels=labels,
                overwrite=overwrite,
                about={"corpus": documents.name, "llm_model": llm.llm_model},
                on_progress=stack.enter_context(_shown()),
            )
        except BudgetExceededError as error:
            note(f"Stopped: {error} The same command goes on from there.")
            raise typer.Exit(STOPPED) from None
    for warning in report.card["warnings"]:
        note(f"Warning: {warning}")
    if json:
        emit_json(
            {
                "out": str(out),
                "samples": report.samples,
                "cost": dict(report.cost),
                "card": dict(report.card),
                "examples": [sample.row() for sample in report.examples],
            }
        )
        return
    typer.echo("\n".join([*facts(_facts(report)), "", *_examples(report)]))


def _left(out: Path, calls: Path | None) -> str:
    """Say what an interrupted command leaves: samples come all at once, answers as they arrive."""
    samples_left = f"No samples were written to {out}" + (": what is there is of before" if out.exists() else "")
    if calls is None:
        return f"{samples_left}. Run the same command again."
    return f"{samples_left}; the language model's answers are kept in {calls}. The same command goes on from there."


@contextlib.contextmanager
def _shown() -> Iterator[Callable[[str, int], Any]]:
    """Show how far each stage is on the standard error, if that is a terminal."""
    names = {"reading": "Reading trajectories", "asking": "Writing queries", "writing": "Writing samples"}
    with contextlib.ExitStack() as stack:
        bars: dict[str, Callable[[int], Any]] = {}

        def advance(stage: str, steps: int) -> None:
            if stage not in bars:
                stack.close()  # one bar at a time
                bars[stage] = stack.enter_context(progress(names[stage]))
            bars[stage](steps)

        yield advance


def _facts(report: SampleReport) -> list[tuple[str, str]]:
    from rader_synthesis.sampling.assessment import advice

    card = report.card
    lines = []
    for split, kinds in card["samples"].items():
        parts = ", ".join(f"{kind['samples']:,} {name}" for name, kind in kinds.items())
        lines.append((split, f"{count(report.samples[split], 'sample')}: {parts}"))
    first = next(iter(card["samples"].values()))
    negatives = [
        f"{name} {', '.join(f'{n:.3g} {origin}' for origin, n in kind['negatives_per_sample'].items()) or 'none'}"
        for name, kind in first.items()
    ]
    lines += [
        ("problems", _listed(card["problem_families"])),
        ("trajectories", _listed(card["trajectories"])),
        ("negatives", "per sample: " + "; ".join(negatives)),
        ("left out", _listed(card["dropped"]) or "nothing"),
    ]
    overlaps = card["decontamination"]
    if overlaps["against"]:
        lines.append(("evaluation", f"overlaps left out: {_listed(overlaps['overlaps']) or 'none'}"))
    if card["human_labels"]["given"]:
        lines.append(("labels", f"{card['human_labels']['applied']:,} of a person"))
    if card["llm"] is None:
        lines.append(("language model", "none was given: no llm and lexical queries"))
    else:
        cost = report.cost
        lines.append(
            (
                "language model",
                f"{count(cost['requests'], 'request')}, {cost['prompt_tokens']:,} tokens read, "
                f"{cost['completion_tokens']:,} written; {count(cost['cached'], 'call')} from the cache",
            )
        )
    lines.append(("good for", " ".join(advice(card))))
    lines.append(("written to", str(report.out)))
    return lines


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counts.items())


def _examples(report: SampleReport) -> list[str]:
    """Return a few samples to be read, a line for query, positive and negative each."""
    lines = [f"{count(len(report.examples), 'sample')} at random:"]
    for sample in report.examples:
        lines += [_example(sample.query_kind, sample.query), *_passages(sample)]
    return lines


def _passages(sample: Sample) -> list[str]:
    positives = [_example("  +", sample.positives[0].full_text)]
    return positives + [_example("  -", passage.full_text) for passage in sample.negatives[:1]]


def _example(label: str, text: str) -> str:
    return clip(f"{label}  {one_line(text[:_SHOWN])}", width())
