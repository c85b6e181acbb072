"""``rader train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rader_plugins.cli.option_groups import with_option_groups
from rader_training.cli.choice import Samples, TrainingChoice

__all__ = ["app"]

app = typer.Typer(
    name="train", help="Train a retriever or a reranker on samples.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def _group() -> None:
    """Train a retriever or a reranker on samples."""


@app.command()
@with_option_groups
def retriever(
    samples: Samples,
    choice: TrainingChoice,
    pooling: Annotated[
        str | None,
        typer.Option(
            "--pooling",
            metavar="P",
            help="mean, cls or lasttoken: makes a retriever of a plain checkpoint, which reads texts as they are.",
        ),
    ] = None,
    corpus: Annotated[
        Path | None,
        typer.Option(
            "--corpus",
            metavar="PATH",
            help="Where random_negatives come from: texts, BEIR folder or .jsonl; default: the samples' passages.",
        ),
    ] = None,
    anchor: Annotated[
        Path | None,
        typer.Option("--anchor", metavar="PATH", help="Documents that anchor_weight holds where the base has them."),
    ] = None,
) -> None:
    """Train a retriever: contrastive loss over hard, in-batch and random negatives.

    Exit code 3: the result is worse than the base, or nothing was learned; nothing was exported.
    """
    from rader_training.config import RetrieverConfig
    from rader_training.retriever import prepare_retriever

    choice.train(samples, prepare_retriever, RetrieverConfig, pooling=pooling, corpus=corpus, anchor=anchor)


@app.command()
@with_option_groups
def reranker(
    samples: Samples,
    choice: TrainingChoice,
    first_stage: Annotated[
        Path | None,
        typer.Option(
            "--first-stage", metavar="RUN", help="TREC run file whose best documents are reranked; default: BM25."
        ),
    ] = None,
) -> None:
    """Train a reranker: a score for query and document, cross-entropy over hard negatives.

    Exit code 3: it ranks worse than its first stage, or nothing was learned; nothing was exported.
    """
    from rader_training.config import RerankerConfig
    from rader_training.reranker import prepare_reranker

    stage: Any = None
    if first_stage is not None:
        from rader_plugins.evaluation import read_run

        stage = read_run(first_stage)
    choice.train(samples, prepare_reranker, RerankerConfig, first_stage=stage)
