"""Options that name a data set (see :func:`rader_plugins.evaluation.datasets.names.open_dataset`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["DataDir", "DatasetName"]

DatasetName = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="BEIR folder (corpus.jsonl, queries.jsonl, qrels/); bright:SPLIT or bright:SPLIT@REASONING such as "
        "bright:aops@gpt4, with long documents bright-long:SPLIT; or hub:ORGANISATION/NAME (or NAME@REVISION) for a "
        "BEIR-format data set of the Hugging Face hub.",
        show_default=False,
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
