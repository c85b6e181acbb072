"""Options that name a data set (see :func:`rader_plugins.evaluation.datasets.names.open_dataset`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["DataDir", "DatasetNames", "Measures"]

_FORMS = (
    "BEIR folder (corpus.jsonl, queries.jsonl, qrels/), or a folder of samples; bundled:skirl or "
    "bundled:principles, which come with the library; bright:SPLIT or bright:SPLIT@REASONING "
    "such as bright:aops@gpt4, with long documents bright-long:SPLIT; bright-pro:SPLIT, judged by aspects; or "
    "hub:ORGANISATION/NAME (or NAME@REVISION) for "
    "a BEIR-format data set of the Hugging Face hub."
)

DatasetNames = Annotated[
    list[str],
    typer.Argument(
        metavar="DATASET...",
        help=f"{_FORMS} Several give a table with their average; bright:all is all of BRIGHT.",
        show_default=False,
    ),
]
Measures = Annotated[
    list[str] | None,
    typer.Option(
        "--measure",
        metavar="NAME",
        help="As in ir_measures: nDCG@10, R@100, AP, RR, P@5, alpha_nDCG@10; or FILE.py:FUNCTION, a function of "
        "judgements and run to {query: value}. Repeatable.",
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="Copy of the hub's repository to read bright: or hub: from; nothing is fetched then.",
    ),
]
