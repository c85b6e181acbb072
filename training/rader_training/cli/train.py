"""``rader train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rader_plugins.cli.options import Device, JsonOutput, TrustRemoteCode
from rader_plugins.cli.output import emit_json, facts

__all__ = ["app"]

app = typer.Typer(name="train", help="Train a retriever on samples.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Train a retriever on samples."""


@app.command()
def retriever(
    samples: Annotated[
        str,
        typer.Argument(metavar="SAMPLES", help="Folder of `rader samples`, a file of it, Tevatron JSONL, or a hub id."),
    ],
    base: Annotated[str, typer.Option("--base", metavar="MODEL", help="Name, directory or hub id to start from.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the run; DIR/model is the result.")],
    config: Annotated[
        Path | None, typer.Option("--config", metavar="F.toml", help="Hyper-parameters, under [retriever].")
    ] = None,
    corpus: Annotated[
        Path | None,
        typer.Option(
            "--corpus", metavar="PATH", help="Where random_negatives come from: texts, BEIR folder or .jsonl."
        ),
    ] = None,
    evaluate_on: Annotated[
        Path | None,
        typer.Option("--evaluate-on", metavar="FOLDER", help="BEIR folder to evaluate on; the best weights are kept."),
    ] = None,
    split: Annotated[str, typer.Option("--split", metavar="S", help="Split of --evaluate-on.")] = "dev",
    check_against: Annotated[
        list[str] | None,
        typer.Option(
            "--check-against",
            metavar="SET",
            help="Refuse samples with queries of an evaluation set: BEIR folder[:split], .jsonl, 'bundled', "
            "bright:SPLIT or hub:NAME; repeatable. --evaluate-on is one by itself.",
        ),
    ] = None,
    allow_overlap: Annotated[
        bool, typer.Option("--allow-overlap", help="Train on them nevertheless; the card says so.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
    name: Annotated[str | None, typer.Option("--name", metavar="N", help="Of the new model; default: DIR's.")] = None,
    device: Device = None,
    trust_remote_code: TrustRemoteCode = False,
    json: JsonOutput = False,
) -> None:
    """Train a retriever: contrastive loss over hard and in-batch negatives, LoRA by default."""
    from dataclasses import asdict

    from rader_training.config import RetrieverConfig
    from rader_training.overlap import told
    from rader_training.retriever import train_retriever

    dataset: Any = None
    if evaluate_on is not None:
        from rader_plugins.evaluation import RetrievalDataset

        dataset = RetrievalDataset.from_folder(evaluate_on, split=split)
    report = train_retriever(
        samples,
        base,
        out,
        RetrieverConfig() if config is None else RetrieverConfig.from_toml(config),
        corpus=corpus,
        evaluate_on=dataset,
        check_against=check_against or [],
        allow_overlap=allow_overlap,
        device=device,
        resume=resume,
        name=name,
        trust_remote_code=trust_remote_code,
    )
    if json:
        row = asdict(report)
        emit_json({**row, "model": str(report.model), "curves": str(report.curves) if report.curves else None})
        return
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in report.data["kinds"].items())
    lines = [("samples", f"{report.data['samples']:,} ({kinds})"), ("steps", f"{report.steps:,}")]
    if report.loss is not None:
        lines.append(("loss", f"{report.loss:.4f} on average"))
    lines += [(f"nDCG@10 at step {step}", f"{value:.4f}") for step, value in report.evaluations.items()]
    lines += [(f"{role} texts cut", f"{share:.1%}") for role, share in report.truncated.items() if share]
    if report.overlap is not None:
        lines.append(("overlap", told(report.overlap)))
    lines.append(("model", f"{report.model} (weights of step {report.best_step})"))
    for line in facts(lines):
        typer.echo(line)
