"""``rader train``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from rader_plugins.cli.options import Device, JsonOutput, TrustRemoteCode
from rader_plugins.cli.output import emit_json, facts

__all__ = ["app"]

app = typer.Typer(
    name="train", help="Train a retriever or a reranker on samples.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def _group() -> None:
    """Train a retriever or a reranker on samples."""


Samples = Annotated[
    str,
    typer.Argument(metavar="SAMPLES", help="Folder of `rader samples`, a file of it, Tevatron JSONL, or a hub id."),
]
Base = Annotated[str, typer.Option("--base", metavar="MODEL", help="Name, directory or hub id to start from.")]
RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME",
        help="Registered name of the recipe by which --base reads texts, where it does not say so itself.",
    ),
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the run; DIR/model is the result.")]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="F.toml", help="Hyper-parameters, under [retriever] or [reranker]."),
]
EvaluateOn = Annotated[
    Path | None,
    typer.Option("--evaluate-on", metavar="FOLDER", help="BEIR folder to evaluate on; the best weights are kept."),
]
Split = Annotated[str, typer.Option("--split", metavar="S", help="Split of --evaluate-on.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")]
Name = Annotated[str | None, typer.Option("--name", metavar="N", help="Of the new model; default: DIR's.")]
KeepAdapter = Annotated[
    bool, typer.Option("--keep-adapter", help="Write the LoRA adapter alone as well, into DIR/adapter.")
]
CheckAgainst = Annotated[
    list[str] | None,
    typer.Option(
        "--check-against",
        metavar="SET",
        help="Refuse samples with queries of an evaluation set: BEIR folder[:split], .jsonl, 'bundled', "
        "bright:SPLIT or hub:NAME; repeatable. --evaluate-on is one by itself.",
    ),
]
AllowOverlap = Annotated[bool, typer.Option("--allow-overlap", help="Train on them nevertheless; the card says so.")]


@app.command()
def retriever(
    samples: Samples,
    base: Base,
    out: Out,
    recipe: RecipeName = None,
    config: Config = None,
    corpus: Annotated[
        Path | None,
        typer.Option(
            "--corpus", metavar="PATH", help="Where random_negatives come from: texts, BEIR folder or .jsonl."
        ),
    ] = None,
    anchor: Annotated[
        Path | None,
        typer.Option("--anchor", metavar="PATH", help="Documents that anchor_weight holds where the base has them."),
    ] = None,
    evaluate_on: EvaluateOn = None,
    split: Split = "dev",
    check_against: CheckAgainst = None,
    allow_overlap: AllowOverlap = False,
    resume: Resume = False,
    name: Name = None,
    keep_adapter: KeepAdapter = False,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = False,
    json: JsonOutput = False,
) -> None:
    """Train a retriever: contrastive loss over hard and in-batch negatives, LoRA by default."""
    from rader_training.config import RetrieverConfig
    from rader_training.retriever import train_retriever

    report = train_retriever(
        samples,
        _base(base, recipe),
        out,
        RetrieverConfig() if config is None else RetrieverConfig.from_toml(config),
        corpus=corpus,
        anchor=anchor,
        evaluate_on=_dataset(evaluate_on, split),
        check_against=check_against or [],
        allow_overlap=allow_overlap,
        device=device,
        resume=resume,
        name=name,
        keep_adapter=keep_adapter,
        trust_remote_code=trust_remote_code,
    )
    _tell(report, json)


@app.command()
def reranker(
    samples: Samples,
    base: Base,
    out: Out,
    recipe: RecipeName = None,
    config: Config = None,
    evaluate_on: EvaluateOn = None,
    split: Split = "dev",
    first_stage: Annotated[
        Path | None,
        typer.Option(
            "--first-stage", metavar="RUN", help="TREC run file whose best documents are reranked; default: BM25."
        ),
    ] = None,
    check_against: CheckAgainst = None,
    allow_overlap: AllowOverlap = False,
    resume: Resume = False,
    name: Name = None,
    keep_adapter: KeepAdapter = False,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = False,
    json: JsonOutput = False,
) -> None:
    """Train a reranker: a score for query and document, cross-entropy over hard negatives, LoRA by default."""
    from rader_training.config import RerankerConfig
    from rader_training.reranker import train_reranker

    stage: Any = None
    if first_stage is not None:
        from rader_plugins.evaluation import read_run

        stage = read_run(first_stage)
    report = train_reranker(
        samples,
        _base(base, recipe),
        out,
        RerankerConfig() if config is None else RerankerConfig.from_toml(config),
        evaluate_on=_dataset(evaluate_on, split),
        first_stage=stage,
        check_against=check_against or [],
        allow_overlap=allow_overlap,
        device=device,
        resume=resume,
        name=name,
        keep_adapter=keep_adapter,
        trust_remote_code=trust_remote_code,
    )
    _tell(report, json)


def _base(base: str, recipe: str | None) -> Any:
    if recipe is None:
        return base
    from rader_plugins.recipes.resolve import restated

    name = Path(base).name if Path(base).is_dir() else base
    # What is trained may be of another size, and is no adapter of what the recipe names.
    return replace(restated(base, recipe), name=name, dimension=None, base_model=None)


def _dataset(folder: Path | None, split: str) -> Any:
    if folder is None:
        return None
    from rader_plugins.evaluation import RetrievalDataset

    return RetrievalDataset.from_folder(folder, split=split)


def _tell(report: Any, json: bool) -> None:
    from dataclasses import asdict

    from rader_training.processes import is_main, leave

    leave()
    if not is_main():
        return
    if json:
        paths = {name: str(path) for name in ("model", "curves", "adapter") if (path := getattr(report, name))}
        emit_json({**asdict(report), **paths})
        return
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in report.data["kinds"].items())
    lines = [("samples", f"{report.data['samples']:,} ({kinds})"), ("steps", f"{report.steps:,}")]
    if report.loss is not None:
        lines.append(("loss", f"{report.loss:.4f} on average"))
    lines += [(f"nDCG@10 at step {step}", f"{value:.4f}") for step, value in report.evaluations.items()]
    lines += [(f"{role} texts cut", f"{share:.1%}") for role, share in report.truncated.items() if share]
    if report.overlap is not None:
        from rader_training.overlap import told

        lines.append(("overlap", told(report.overlap)))
    lines.append(("model", f"{report.model} (weights of step {report.best_step})"))
    if report.adapter:
        lines.append(("adapter", str(report.adapter)))
    for line in facts(lines):
        typer.echo(line)
