"""``rader samples``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rader_plugins.cli.llm_choice import NO_LLM, LLMChoice, with_llm_options
from rader_plugins.cli.options import (
    Device,
    JsonOutput,
    Model,
    ModelChoice,
    RecipeName,
    ServedModel,
    TrustRemoteCode,
)
from rader_plugins.cli.output import count, emit_json, facts, note, progress
from rader_plugins.errors import InputError
from rader_synthesis.cli.sample_inputs import Asked, documents_of, kinds_of, query_writer

if TYPE_CHECKING:
    from rader_synthesis.sampling import SampleReport

__all__ = ["samples"]

STOPPED = 3
"""Exit code of a run that its budget stopped; the same command goes on."""


class Negatives(str, Enum):
    """When negatives are searched for queries that reflection has judged documents for."""

    auto = "auto"
    always = "always"
    never = "never"


class PositivesFrom(str, Enum):
    """Which documents of a retrieval are positives."""

    kept = "kept"
    relevant = "relevant"


class Style(str, Enum):
    """How prompts are sent."""

    chat = "chat"
    completion = "completion"


@with_llm_options
def samples(
    trajectories: Annotated[
        list[Path],
        typer.Argument(
            metavar="TRAJECTORIES...", help="JSONL files, or folders of `rader synthesize`.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the samples; all of it or nothing.")],
    corpus: Annotated[
        Path | None,
        typer.Option("--corpus", metavar="PATH", help="The documents: folder of texts, BEIR folder or .jsonl."),
    ] = None,
    index: Annotated[
        Path | None, typer.Option("--index", metavar="DIR", help="An index of the documents, instead of --corpus.")
    ] = None,
    kinds: Annotated[
        str | None,
        typer.Option(
            "--kinds",
            metavar="K,K",
            help="Of question, cot, llm, lexical. Default: all with --llm-url, else the first two.",
        ),
    ] = None,
    llm: LLMChoice = NO_LLM,
    style: Annotated[
        Style, typer.Option("--style", help="How it is asked; completion for a model not trained to chat.")
    ] = Style.chat,
    prompts: Annotated[
        Path | None, typer.Option("--prompts", metavar="DIR", help="Folder with your own llm.toml and lexical.toml.")
    ] = None,
    calls: Annotated[
        Path | None,
        typer.Option("--calls", metavar="FILE", help="Cache of its answers. Default: DIR.calls.sqlite beside --out."),
    ] = None,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, help="Requests to the language model at once: its slots.")
    ] = 8,
    retries: Annotated[int, typer.Option("--retries", min=0, help="Attempts after the first.")] = 3,
    budget_calls: Annotated[
        int | None, typer.Option("--budget-calls", min=1, help="Stop after so many calls; the cache is free.")
    ] = None,
    budget_tokens: Annotated[
        int | None, typer.Option("--budget-tokens", min=1, help="Stop after so many tokens, read and written.")
    ] = None,
    budget_minutes: Annotated[
        float | None, typer.Option("--budget-minutes", min=0.0, help="Stop after so many minutes.")
    ] = None,
    positives: Annotated[
        PositivesFrom,
        typer.Option("--positives", help="kept: what the solution went on with; relevant: all labelled so."),
    ] = PositivesFrom.kept,
    without_reward: Annotated[
        bool,
        typer.Option(
            "--without-reward", help="Also use unjudged answers, with labels of a proof, a citation or a human."
        ),
    ] = False,
    min_reward: Annotated[float, typer.Option("--min-reward", help="Least reward of a trajectory.")] = 1.0,
    negatives: Annotated[
        Negatives,
        typer.Option("--negatives", help="Search negatives: where there are too few (auto), always, or never."),
    ] = Negatives.auto,
    enough: Annotated[
        int, typer.Option("--enough", min=0, help="With --negatives auto: negatives that a sample should have.")
    ] = 11,
    relative_margin: Annotated[
        float | None,
        typer.Option(
            "--relative-margin", metavar="R", help="A found negative scores below R times its positive, such as 0.95."
        ),
    ] = None,
    absolute_margin: Annotated[
        float | None,
        typer.Option("--absolute-margin", metavar="M", help="A found negative scores M below its positive."),
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
    ngram: Annotated[int, typer.Option("--ngram", min=2, help="Words in a row that count as the same question.")] = 13,
    near_duplicates: Annotated[
        float, typer.Option("--near-duplicates", help="Similarity of equal queries; 1 removes equal 3-grams only.")
    ] = 0.8,
    dev_share: Annotated[float, typer.Option("--dev-share", help="Share of problems for validation.")] = 0.05,
    max_overlap: Annotated[
        float, typer.Option("--max-overlap", help="Most of an llm query's words that its document may hold.")
    ] = 0.5,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of everything random.")] = 0,
    model: Model = None,
    recipe: RecipeName = None,
    served_model: ServedModel = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a sample set that is there.")] = False,
    json: JsonOutput = False,
) -> None:
    """Turn trajectories into training samples.

    With --index negatives are mined by BM25 and by the vectors of the index, with --corpus by BM25 alone unless a
    --model is named. Run again after an interruption, the command gets the language model's answers from the cache.
    Exit code 3: its budget is used up.
    """
    from rader_plugins.llm import BudgetExceededError
    from rader_plugins.reranking import load_reranker
    from rader_synthesis.sampling import SamplingConfig, load_evaluation_set, make_samples
    from rader_synthesis.sampling.workspace import check_output

    config = SamplingConfig(
        kinds=kinds_of(kinds, llm.is_given),
        min_reward=min_reward,
        without_reward=without_reward,
        positives=positives.value,
        mine=negatives.value,
        enough=enough,
        relative_margin=relative_margin,
        absolute_margin=absolute_margin,
        near_duplicates=near_duplicates,
        ngram=ngram,
        dev_share=dev_share,
        max_overlap=max_overlap,
        seed=seed,
    )
    if corpus is not None and index is not None:
        raise InputError("Say where the documents are: either --corpus PATH or --index DIR.")
    check_output(out, overwrite=overwrite)
    choice = ModelChoice(model, recipe, served_model, device, trust_remote_code)
    asked = Asked(llm, style.value, prompts, calls or out.with_name(f"{out.name}.calls.sqlite"))
    limits = (budget_calls, budget_tokens, budget_minutes)
    sets = [load_evaluation_set(source, ngram=ngram) for source in against or []]
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(query_writer(asked, config, concurrency, retries, limits))
        opened, dense = stack.enter_context(documents_of(corpus, index, choice))
        try:
            report = make_samples(
                trajectories,
                out,
                index=opened,
                dense=dense,
                config=config,
                writer=writer,
                reranker=load_reranker(guard, device=device) if guard is not None else None,
                evaluation_sets=sets,
                overwrite=overwrite,
                about={"corpus": (corpus or index or Path("none")).name, "llm_model": llm.llm_model},
                on_progress=stack.enter_context(_shown()),
            )
        except BudgetExceededError as error:
            note(f"Stopped: {error} The same command goes on from there.")
            raise typer.Exit(STOPPED) from None
    if json:
        emit_json({"out": str(out), "samples": report.samples, "cost": dict(report.cost), "card": dict(report.card)})
        return
    typer.echo("\n".join(facts(_facts(report))))


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
    told = report.card
    lines = []
    for split, kinds in told["samples"].items():
        parts = ", ".join(f"{kind['samples']:,} {name}" for name, kind in kinds.items())
        lines.append((split, f"{count(report.samples[split], 'sample')}: {parts}"))
    first = next(iter(told["samples"].values()))
    negatives = [
        f"{name} {', '.join(f'{n:g} {origin}' for origin, n in kind['negatives_per_sample'].items()) or 'none'}"
        for name, kind in first.items()
    ]
    lines += [
        ("trajectories", ", ".join(f"{number:,} {name}" for name, number in told["trajectories"].items())),
        ("negatives", "per sample: " + "; ".join(negatives)),
        ("left out", ", ".join(f"{number:,} {name}" for name, number in told["dropped"].items()) or "nothing"),
    ]
    overlaps = told["decontamination"]
    if overlaps["against"]:
        found = ", ".join(f"{number:,} {name}" for name, number in overlaps["overlaps"].items())
        lines.append(("evaluation", f"overlaps left out: {found or 'none'}"))
    if told["llm"] is None:
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
    lines.append(("written to", str(report.out)))
    return lines
